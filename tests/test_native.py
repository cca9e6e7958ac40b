"""The C kernels: all of them are there, they read their words as declared and write the bits of their Numba twins, and
a process that trains with them loads nothing else. How they are built is in test_build.py.
"""

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import cases
import networks
import numpy as np
import pytest

import fastnn as fnn
from fastnn import ops
from fastnn.kernels import OPERATIONS, Operation, backends, built, cpu, native, objects

ROOT = Path(__file__).parents[1]
DTYPES = ("float32", "float64")
BY_NUMBER = [
    name for name, entry in OPERATIONS.items()
    if entry.reference.__module__.endswith(("activations", "smooth")) and "backward" not in name
]  # fmt: skip
"""Activations that go number by number."""
LEVELS = ("avx512", "avx2", "baseline")

built_only = pytest.mark.skipif(not native.available(), reason=native.why_not() or "")

# The sources.


def bodies() -> dict[str, str]:
    """The text of each C kernel, up to the next one."""
    text = "".join(path.read_text(encoding="utf-8") for path in sorted((ROOT / "kernels").glob("*.c")))
    parts = re.split(r"^KERNEL\((\w+)\)$", text, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


BODIES = bodies()


def expected_reads(entry: Operation) -> list[tuple[str, str]]:
    """The name of each operand and what reads it, in the order of the words."""
    arrays = [
        (a.name, "matrix" if len(a.axes) == 2 else "address" if a.dtype else "array") for a in entry.arrays
    ]  # fmt: skip
    scalars = [(s.name, "integer" if s.integer else "scalar") for s in entry.scalars]
    return [*arrays, *((size, "integer") for size in entry.sizes), *scalars]


SEVERAL = {
    "gradient": [("grad", "array"), ("rates", "array"), ("decays", "array"), ("N", "integer")],
    "decay": [("weight_decay", "scalar"), ("shrink", "scalar"), ("grouped", "integer")],
    "betas": [("beta1", "scalar"), ("beta2", "scalar")],
}
"""What reads several operands at once, in kernels/optimizers.h and kernels/adam.c."""


def reads_of(name: str) -> list[tuple[str, str]]:
    """The variable that each operand of a C kernel goes to, and what reads it."""
    found: list[tuple[str, str]] = []
    for variable, kind in re.findall(r"(?:(\w+) = (?:\w+\(|\(\w+\))*)?next_(\w+)\(&words\)", BODIES[name]):
        found += SEVERAL.get(kind, [(variable, "scalar" if kind in ("splat", "average") else kind)])
    return found


@pytest.mark.parametrize("name", OPERATIONS)
def test_a_c_kernel_reads_its_operands_in_the_declared_order(name: str) -> None:
    entry = OPERATIONS[name]
    expected = expected_reads(entry)
    found = reads_of(name)
    read, unread = expected[: len(found)], expected[len(found) :]
    assert [kind for _, kind in found] == [kind for _, kind in read]
    for (variable, _), (operand, kind) in zip(found, read, strict=True):
        # A scalar may get a better name, or none; if it has the name of an operand, it must be this one.
        assert variable == operand or (kind == "scalar" and variable not in entry.operands)
    assert {operand for operand, _ in unread} <= set(entry.sizes)


def test_there_is_a_c_kernel_for_each_operation_and_no_other() -> None:
    assert sorted(BODIES) == sorted(OPERATIONS)


# The library.


@built_only
@pytest.mark.parametrize("isa", LEVELS if native.available() and native.best_isa() != "baseline" else LEVELS[2:])
@pytest.mark.parametrize("name", OPERATIONS)
def test_the_library_has_a_kernel_for_each_operation_dtype_and_level(name: str, isa: str) -> None:
    entry = OPERATIONS[name]
    expected = entry.dtypes if entry.needs.startswith(isa) or not entry.needs else ()
    assert [dtype for dtype in DTYPES if native.find(name, dtype, isa)] == list(expected)


@built_only
def test_a_kernel_that_is_not_there_has_no_address() -> None:
    assert native.find("relu_sideways", "float32", "baseline") == 0


@built_only
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", OPERATIONS)
def test_c_and_numba_kernels_write_the_same_bits(name: str, dtype: str) -> None:
    cases.skip_unless_there(name, dtype=dtype)
    generator = np.random.default_rng([4, *name.encode()])
    entry = OPERATIONS[name]
    for sizes in cases.shapes(name, generator, count=10):
        arguments = cases.arguments(name, sizes, dtype, int(generator.integers(2**31)))
        arguments |= cases.scalars(name, generator)
        results = []
        for kernels in ("numba", "c"):
            given = cases.copied(arguments)
            getattr(ops, name)(**given, backend=kernels)
            results.append([given[array.name].tobytes() for array in entry.arrays])
        assert results[0] == results[1], sizes


@built_only
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", BY_NUMBER)
def test_c_and_numba_functions_have_the_same_bits_over_their_whole_range(name: str, dtype: str) -> None:
    usual = {scalar.name: cases.SCALARS[scalar.name] for scalar in OPERATIONS[name].scalars}
    steps = np.linspace(-110, 45, 64 * 301, dtype=dtype).reshape(-1, 301)
    small = np.linspace(-12, 12, 64 * 301, dtype=dtype).reshape(-1, 301)  # every entry of every table
    for x in (steps, small, small * 2.0**-6):
        results = []
        for kernels in ("numba", "c"):
            written = [np.empty_like(x) for array in OPERATIONS[name].arrays if array.access == "writes"]
            getattr(ops, name)(*written, x, **usual, backend=kernels)
            results.append([y.tobytes() for y in written])
        assert results[0] == results[1]


@built_only
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("mix", networks.MIXES)
def test_c_and_numba_trainings_write_the_same_bits(mix: str, dtype: str) -> None:
    assert trained("c", mix, dtype) == trained("numba", mix, dtype)


def trained(backend: str, mix: str = "all kinds", dtype: str = "float32") -> tuple[bytes, bytes]:
    """The losses and the numbers of a model after some steps, batches and all rows."""
    model = networks.network(mix, 5, 33, 3, dtype)
    data = fnn.Trainer(model, "cross_entropy", batch_size=16, backend=backend).bind(
        *networks.data("cross_entropy", 70, 5, 3, dtype)
    )
    losses = [data.run(np.tile(np.arange(70), 3)), data.run_full(3)]
    return np.concatenate(losses).tobytes(), networks.numbers(model).tobytes()


@built_only
@pytest.mark.parametrize("missing", [{"tanh_forward", "sigmoid_backward"}, {"adam_update"}, set(OPERATIONS)])
def test_operations_without_a_c_kernel_are_their_numba_twins(
    missing: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, asked = trained("c"), []

    def address(operation: str, dtype: str) -> int:
        asked.append(operation)
        return 0 if operation in missing else native.address(operation, dtype)

    monkeypatch.setitem(backends.COMPILED, "c", address)
    for name in (name for name, entry in OPERATIONS.items() if backends.can_run("c", entry)):
        twin, own = objects.address(name, "float32"), native.address(name, "float32")
        assert backends.kernel_address("c", name, "float32") == (twin if name in missing else own) != 0
    asked.clear()
    assert trained("c") == whole
    assert missing & set(asked)


# Whether the library can be used, and what is said where it cannot.


def python(script: str, **variables: str) -> str:
    """What a process of its own prints."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **variables}
    done = subprocess.run([sys.executable, "-c", script], env=environment, check=True, capture_output=True, text=True)
    return done.stdout


@built_only
def test_auto_picks_the_c_kernels() -> None:
    assert backends.resolve("auto") == "c"


@built_only
def test_a_process_with_c_kernels_trains_without_numba_and_loads_nothing_it_does_not_need() -> None:
    script = """
import sys
import numpy as np, fastnn
model = fastnn.Sequential([fastnn.Dense(8, "tanh"), fastnn.BatchNorm(), fastnn.Dropout(0.1), fastnn.Dense(3)], inputs=4)
trainer = fastnn.Trainer(model, "cross_entropy", batch_size=4)
trainer.run(np.ones((9, 4)), np.arange(9) % 3, steps=5)
trainer.run(np.ones((9, 4)), np.arange(9) % 3, order=np.arange(9))
model.predict(np.ones((2, 4)))
unwanted = {"numba", "llvmlite", "tqdm", "safetensors", "cffi", "pycparser", "scipy", "pandas", "sklearn", "matplotlib"}
print(trainer.backend, sorted(unwanted & set(sys.modules)))
"""
    assert python(script) == "c []\n"


@built_only
def test_fastnn_native_0_hides_the_library() -> None:
    script = """
import fastnn
print(fastnn.backends().auto, fastnn.backends().missing["c"])
fastnn.Trainer(fastnn.Sequential([fastnn.Dense(1)], inputs=1), "mse", backend="reference")
"""
    assert python(script, FASTNN_NATIVE="0") == "numba the C kernels are hidden by FASTNN_NATIVE=0\n"


@built_only
def test_a_library_of_another_calling_convention_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    number = native.CONTRACT
    monkeypatch.setattr(native, "CONTRACT", number + 1)
    with pytest.raises(ImportError, match=f"their calling convention is number {number}, this fastnn has {number + 1}"):
        native._load.__wrapped__()
    native._load.cache_clear()
    native.why_not.cache_clear()
    try:
        assert "install fastnn again" in (native.why_not() or "")
        assert cpu.best_isa() in LEVELS  # from LLVM, without the library
    finally:
        monkeypatch.undo()
        native._load.cache_clear()
        native.why_not.cache_clear()


@built_only
def test_the_library_was_built_from_these_sources() -> None:
    assert not native.is_stale(), "build it again: python setup.py build_ext --inplace"


@built_only
def test_info_tells_the_compiler_and_a_stale_library(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    _, out, _ = run("info")
    assert f"built by {native.compiler()}\n" in out
    assert "setup.py" not in out
    monkeypatch.setattr(built, "source_hash", lambda folder: "of other sources")
    _, out, _ = run("info")
    assert "from other sources than those beside the package: python setup.py build_ext --inplace" in out
