"""The NumPy forms that benchmarks compare with (bench/baselines/numpy_operations.py): as exact as kernels have to be,
and without arrays on the way."""

import sys
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cases
import judge
import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from bench.baselines import numpy_operations
from fastnn.kernels import OPERATIONS

WITHOUT = {name for name in OPERATIONS if name.endswith("_bf16")} | {name for name in OPERATIONS if "gelu" in name}
"""NumPy has no bfloat16, no error function, and no exponential that is exact where its argument is rounded."""
FORMS = [
    (name, dtype) for name, entry in OPERATIONS.items() for dtype in entry.dtypes
    if numpy_operations.prepared(name, cases.arguments(name, dict.fromkeys(entry.sizes, 2), dtype)) is not None
]  # fmt: skip


def times(count: int, name: str) -> Callable[..., None]:
    """Prepares an operation and does it so many times, called as a kernel is."""

    def run(**arguments: Any) -> None:
        work = numpy_operations.prepared(name, arguments)
        assert work is not None
        for _ in range(count):
            work()

    return run


def drawn(name: str, dtype: str, sizes: dict[str, int], generator: np.random.Generator) -> dict[str, Any]:
    arguments = cases.arguments(name, sizes, dtype, int(generator.integers(2**31))) | cases.scalars(name, generator)
    for array in OPERATIONS[name].arrays:
        if array.optional and not arguments[array.optional]:
            arguments[array.name] = None
    return arguments


def length_for(name: str, dtype: str, megabytes: float) -> int:
    """The length of all axes with which the largest operand has about that size."""
    axes = max(len(array.axes) for array in OPERATIONS[name].arrays)
    return int((megabytes * 2**20 / np.dtype(dtype).itemsize) ** (1 / axes))


def test_only_operations_on_bfloat16_and_gelu_have_no_form() -> None:
    assert {name for name, _ in FORMS} == OPERATIONS.keys() - WITHOUT
    assert numpy_operations.prepared("no_such_operation", {}) is None


@pytest.mark.parametrize(("name", "dtype"), FORMS)
def test_form_agrees_with_the_reference_and_changes_nothing_else(name: str, dtype: str) -> None:
    entry, generator = OPERATIONS[name], np.random.default_rng([5, *name.encode()])
    once = any(array.access == "updates" for array in entry.arrays)
    for sizes in cases.shapes(name, generator):
        arguments = drawn(name, dtype, sizes, generator)
        for count in (1,) if once and arguments.get("accumulate") != 0 else (1, 2):
            judge.check(entry, arguments, times(count, name), dict.fromkeys(arguments, "contiguous"))


@pytest.mark.parametrize(("name", "dtype"), [form for form in FORMS if OPERATIONS[form[0]].in_place])
def test_form_works_in_place_where_the_table_allows_it(name: str, dtype: str) -> None:
    entry, generator = OPERATIONS[name], np.random.default_rng([6, *name.encode()])
    assert entry.in_place is not None
    for sizes in cases.shapes(name, generator, count=6):
        arguments = drawn(name, dtype, sizes, generator)
        if arguments[entry.in_place[1]] is not None:
            judge.check(entry, arguments, times(1, name), dict.fromkeys(arguments, "contiguous"), in_place=True)


@pytest.mark.parametrize(("name", "dtype"), FORMS)
def test_form_that_works_in_pieces_agrees_with_the_reference(
    name: str, dtype: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(numpy_operations, "PIECE", 2048)
    entry, generator = OPERATIONS[name], np.random.default_rng([7, *name.encode()])
    for length in (100, 129):
        arguments = drawn(name, dtype, dict.fromkeys(entry.sizes, length), generator)
        judge.check(entry, arguments, times(1, name), dict.fromkeys(arguments, "contiguous"))


@pytest.mark.parametrize(("name", "dtype"), FORMS)
def test_call_allocates_no_array_of_the_operands_size(name: str, dtype: str) -> None:
    entry = OPERATIONS[name]
    arguments = cases.arguments(name, dict.fromkeys(entry.sizes, length_for(name, dtype, 1)), dtype)
    work = numpy_operations.prepared(name, arguments)
    assert work is not None
    work()  # what is made once
    tracemalloc.start()
    try:
        work()
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < max(arguments[array.name].nbytes for array in entry.arrays) / 8


def test_arrays_must_be_contiguous() -> None:
    arguments = cases.arguments("relu_backward", {"F": 4, "B": 6}, "float32")
    arguments["y"] = np.zeros((4, 12), np.float32)[:, ::2]
    with pytest.raises(ValueError, match=r"y has strides .* must be C-contiguous"):
        numpy_operations.prepared("relu_backward", arguments)
