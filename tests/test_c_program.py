"""The C kernels in a program of their own: under AddressSanitizer and UBSan, each array in memory that ends where the
contract ends (see c_program.py). FASTNN_TEST_CC and its neighbours run the same tests with another compiler or CPU."""

import ctypes
import functools
import importlib.util
import os
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import c_program
import cases
import judge
import networks
import numpy as np
import pytest
from c_program import Died, Program, ProgramRunner, Request, Setting
from test_kernels import DTYPES, STORED, drawn

import fastnn as fnn
from fastnn.kernels import OPERATIONS, Operation, backends, cpu, native
from fastnn.plan.threads import cut_of

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Program]:
    folder = tmp_path_factory.mktemp("program")
    reason = c_program.why_not(folder)
    if reason and "FASTNN_TEST_CC" not in os.environ:  # who asks for a compiler gets an error instead
        pytest.skip(f"there is no C compiler with sanitizers: {reason}")
    program = Program(c_program.build(folder))
    yield program
    program.close()


def needs(program: Program, level: str) -> None:
    if level not in program.levels:
        pytest.skip(f"this CPU only has {program.best_isa}")


def symbol(name: str, dtype: str, level: str) -> str:
    return f"fastnn_{name}_{dtype}_{level}"


def settings(entry: Operation, by_outputs: bool, level: str, arguments: dict[str, Any], seed: int) -> Iterator[Setting]:
    """Ways to call a kernel in which it has to write the same bits."""
    first = Setting(level, by_outputs, padding=0x00, seed=2 * seed)
    yield first
    yield replace(first, padding=0xFF, seed=2 * seed + 1)
    if entry.in_place is not None and arguments[entry.in_place[1]] is not None:
        yield replace(first, padding=0xFF, in_place=True)


def run_and_note(
    results: list[dict[str, bytes]], program: Program, name: str, dtype: str, setting: Setting, **given: Any
) -> None:  # fmt: skip
    """Runs a kernel as those of fastnn.ops are run, and appends the bits that it wrote."""
    laid = c_program.lay_out(OPERATIONS[name], setting, given)
    written = c_program.run_kernel(program, symbol(name, dtype, setting.level), laid)
    for array, values in written.items():
        given[array][...] = values
    results.append({array: values.tobytes() for array, values in written.items()})


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("level", c_program.LEVELS)
@pytest.mark.parametrize(("name", "by_outputs"), STORED)
def test_kernel_stays_within_its_memory_and_agrees_with_its_reference(
    program: Program, name: str, by_outputs: bool, level: str, dtype: str
) -> None:
    needs(program, level)
    cases.skip_unless_there(name, dtype=dtype, isa=level)
    entry, generator = OPERATIONS[name], np.random.default_rng([4, by_outputs, *name.encode()])
    for seed, sizes in enumerate(cases.shapes(name, generator, count=8)):
        arguments = drawn(name, dtype, sizes, generator)
        if 0 in sizes.values():
            continue  # nobody calls a kernel for nothing
        results: list[dict[str, bytes]] = []
        run = functools.partial(run_and_note, results, program, name, dtype)
        ways = settings(entry, by_outputs, level, arguments, seed)
        judge.check(entry, arguments, functools.partial(run, next(ways)), dict.fromkeys(arguments, "contiguous"))
        for setting in ways:
            run(setting, **cases.copied(arguments))
            assert results[-1] == results[0], f"{setting} decides what {name} writes for {sizes}"


@functools.cache
def library() -> ctypes.CDLL:
    """The library that is installed, built as it is for users."""
    specification = importlib.util.find_spec("fastnn.kernels._native")
    assert specification is not None
    return ctypes.CDLL(specification.origin)


@pytest.mark.skipif(bool(c_program.emulator()), reason="the program runs on another CPU")
@pytest.mark.skipif(not native.available() or native.is_stale(), reason="there is no library of these sources")
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("level", c_program.LEVELS)
@pytest.mark.parametrize(("name", "by_outputs"), STORED)
def test_compiler_and_optimisation_decide_no_bit(
    program: Program, name: str, by_outputs: bool, level: str, dtype: str
) -> None:
    needs(program, level)
    cases.skip_unless_there(name, dtype=dtype, isa=level)
    entry, generator = OPERATIONS[name], np.random.default_rng([5, by_outputs, *name.encode()])
    for seed, sizes in enumerate(cases.shapes(name, generator, count=4)):
        arguments = drawn(name, dtype, sizes, generator)
        if 0 in sizes.values():
            continue
        setting = Setting(level, by_outputs, seed=seed)
        ours, theirs = (c_program.lay_out(entry, setting, arguments) for _ in range(2))
        c_program.run_kernel(program, symbol(name, dtype, level), ours)
        library()[symbol(name, dtype, level)](theirs.words.ctypes.data_as(ctypes.c_void_p))
        for array, values in theirs.written().items():
            same = values.tobytes() == ours.written()[array].tobytes()
            assert same, f"{array} of {name} has other bits than the library's for {sizes}"


# What the program notices: without this, the tests above would prove nothing.

FAULTS = {
    "writes_behind_the_last_row": "heap-buffer-overflow",
    "reads_behind_the_last_row": "heap-buffer-overflow",
    "writes_behind_the_first_row": "use-after-poison",
    "reads_behind_the_first_row": "use-after-poison",
    "writes_before_the_first_row": "use-after-poison",
    "reads_a_word_too_many": "heap-buffer-overflow",
    "takes_rows_to_be_aligned": "misaligned address",
    "overflows_an_integer": "signed integer overflow",
    "divides_by_zero": "division by zero",
}
"""Kernels of tests/c/faults.c, and what the sanitizers call what they do."""


def run_fault(program: Program, fault: str) -> None:
    """Runs one of them as y (3, 5) = relu(x (3, 5)), neither of which is aligned to vectors."""
    entry = OPERATIONS["relu_forward"]
    arguments = cases.arguments(entry.name, {"F": 3, "B": 5}, np.float32)
    for seed in range(100):
        laid = c_program.lay_out(entry, Setting("baseline", seed=seed), arguments)
        if all(block.lead > 16 and block.lead % 16 for block in laid.blocks):
            break
    c_program.run_kernel(program, f"fastnn_fault_{fault}", laid)


@pytest.mark.parametrize("fault", FAULTS)
def test_program_notices_what_is_forbidden(program: Program, fault: str) -> None:
    run_fault(program, "none")
    if c_program.sanitized():
        with pytest.raises(Died, match=FAULTS[fault]):
            run_fault(program, fault)
    elif "last_row" in fault:
        with pytest.raises(Died):
            run_fault(program, fault)
    elif fault.startswith("writes"):
        with pytest.raises(AssertionError, match="wrote around the rows of y"):
            run_fault(program, fault)
    else:
        pytest.skip("only sanitizers see this")
    run_fault(program, "none")


def test_program_notices_a_kernel_that_writes_what_it_reads(program: Program) -> None:
    with pytest.raises(AssertionError, match="changed x or its padding"):
        run_fault(program, "writes_what_it_reads")


def test_program_names_a_kernel_that_is_not_there(program: Program) -> None:
    with pytest.raises(Died, match="fastnn_fault_of_another_kind"):
        run_fault(program, "of_another_kind")


# The native loop.


@pytest.fixture
def in_program(program: Program, monkeypatch: pytest.MonkeyPatch) -> list[ProgramRunner]:
    """Trainers run their plans in the program; the runners that they had."""
    level = cpu.isa() if cpu.isa() in program.levels else program.best_isa
    runners: list[ProgramRunner] = []

    def runner(*arguments: Any) -> ProgramRunner:
        runners.append(ProgramRunner(program, level, *arguments))
        return runners[-1]

    monkeypatch.setattr("fastnn.plan.program.NativeRunner", runner)
    monkeypatch.setattr("fastnn.plan.threads.TeamRunner", runner)
    monkeypatch.setattr(backends, "kernel_address", lambda *_: 0)
    monkeypatch.setattr(backends, "check_threads", lambda *_: None)
    monkeypatch.setattr(native, "loop", lambda: None)
    monkeypatch.setattr("fastnn.bound.CHUNK_SECONDS", 1e9)  # a request takes all passes that it can
    return runners


def trained(mix: str, loss: str, dtype: str, backend: str, threads: int = 1) -> np.ndarray[Any, Any]:
    """Losses and numbers after mini-batches, the last one smaller, and then a full batch in tiles."""
    model = networks.network(mix, 7, 150, 5, dtype)
    optimizer = fnn.SGD(lr=0.05, momentum=0.9)
    trainer = fnn.Trainer(model, loss=loss, optimizer=optimizer, batch_size=256, threads=threads, backend=backend)
    bound = trainer.bind(*networks.data(loss, 2100, 7, 5, dtype))
    order = np.random.default_rng(1).permutation(2100)[:600]
    return np.concatenate([bound.run(order), bound.run_full(3), networks.numbers(model)])


@pytest.mark.parametrize(
    ("mix", "loss", "dtype"),
    [("all kinds", "cross_entropy", "float32"), ("tanh", "mse", "float64"), ("dropout after tanh", "bce", "float32")],
)
def test_training_in_the_program_agrees_with_the_reference_for_any_number_of_threads(
    in_program: list[ProgramRunner], mix: str, loss: str, dtype: str
) -> None:
    one = trained(mix, loss, dtype, "numba")
    assert sum(len(request.table) for runner in in_program for request in runner.requests) >= 7
    reference = trained(mix, loss, dtype, "reference")
    tolerance = 2000 * np.finfo(dtype).eps
    np.testing.assert_allclose(one, reference, rtol=tolerance, atol=tolerance)
    for threads in (2, 3):
        in_program.clear()
        several = trained(mix, loss, dtype, "numba", threads)
        assert any(request.threads == threads for runner in in_program for request in runner.requests)
        assert several.tobytes() == one.tobytes()


def test_program_notices_threads_that_write_the_same_rows(program: Program) -> None:
    """A call is cut along its features, but the cut leaves out y: both threads write the first half of it."""
    if not c_program.sanitized("thread"):
        pytest.skip("only ThreadSanitizer sees this")
    entry = OPERATIONS["relu_forward"]
    arguments = cases.arguments(entry.name, {"F": 64, "B": 512}, np.float32)
    laid = c_program.lay_out(entry, Setting("baseline"), arguments)
    cut = cut_of(entry, laid.words, 512, np.dtype(np.float32), 2)
    cut["grain"] = 1
    request = Request(
        ["fastnn_relu_forward_float32_baseline"], [0], laid.words, laid.blocks, laid.relocations,
        table=np.array([[0, 1]]), threads=2, cuts=np.array([cut]), waves=np.array([0, 1]), chains=np.array([0, 1]),
    )  # fmt: skip
    program.ask(request)
    y = [array.name for array in entry.arrays].index("y")
    assert y == 0
    cut["address"][0], cut["stride"][0] = cut["address"][1], cut["stride"][1]
    cut["arrays"] = 1
    request.cuts = np.array([cut])
    with pytest.raises(Died, match="data race"):
        program.ask(request)
