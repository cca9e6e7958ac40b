"""Every kernel of every set against its reference in wider arithmetic: values, side effects, memory around arrays."""

import functools
import re
from typing import Any

import cases
import judge
import numpy as np
import pytest

from fastnn import ops
from fastnn.kernels import OPERATIONS

BACKENDS = cases.BACKENDS
DTYPES = ("float32", "float64")
STORED = [(name, way) for name in OPERATIONS for way in ((True, False) if name.startswith("dense_") else (True,))]
"""Operations, and whether weights are stored [out][in]."""
IN_PLACE = [name for name, entry in OPERATIONS.items() if entry.in_place]


def drawn(name: str, dtype: str, sizes: dict[str, int], generator: np.random.Generator) -> dict[str, Any]:
    """Arguments with drawn scalars; arrays that may be absent sometimes are, an optimizer has no past."""
    seed = int(generator.integers(2**31))
    arguments = cases.arguments(name, sizes, dtype, seed) | cases.scalars(name, generator)
    for array in OPERATIONS[name].arrays:
        if array.optional and not arguments[array.optional] and generator.random() < 0.5:
            arguments[array.name] = None
    if name in cases.UPDATES and generator.random() < 0.3:
        arguments = cases.first_step(name, arguments)
    return arguments


def layouts(name: str, generator: np.random.Generator) -> dict[str, str]:
    """Mostly what kernels work on directly, for every array on its own."""
    usual = ["contiguous", "rows apart"] * 2
    return {array.name: str(generator.choice([*usual, *judge.LAYOUTS])) for array in OPERATIONS[name].arrays}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", OPERATIONS)
def test_kernel_agrees_with_its_reference_and_changes_nothing_else(name: str, backend: str, dtype: str) -> None:
    cases.skip_unless_there(name, backend, dtype)
    generator = np.random.default_rng([1, *name.encode()])
    entry, run = OPERATIONS[name], functools.partial(getattr(ops, name), backend=backend)
    for sizes in cases.shapes(name, generator):
        arguments = drawn(name, dtype, sizes, generator)
        judge.check(entry, arguments, run, layouts(name, generator))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", IN_PLACE)
def test_kernel_works_in_place_where_the_table_allows_it(name: str, backend: str, dtype: str) -> None:
    cases.skip_unless_there(name, backend, dtype)
    generator = np.random.default_rng([2, *name.encode()])
    entry, run = OPERATIONS[name], functools.partial(getattr(ops, name), backend=backend)
    for sizes in cases.shapes(name, generator, count=6):
        if generator.random() < 0.5:  # whole vectors, so that compiled kernels work where the arrays are
            sizes = sizes | {"B": -(-sizes["B"] // 16) * 16}
        arguments = drawn(name, dtype, sizes, generator)
        if arguments[entry.in_place[1]] is None:
            continue
        judge.check(entry, arguments, run, layouts(name, generator), in_place=True)


@pytest.mark.parametrize("name", OPERATIONS)
def test_docstring_names_what_may_be_in_place(name: str) -> None:
    entry = OPERATIONS[name]
    said = re.findall(r"^    (\w+) .*\bmay be (\w+)", entry.reference.__doc__ or "", re.MULTILINE)
    assert said == ([entry.in_place] if entry.in_place else [])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("backend", cases.COMPILED)
@pytest.mark.parametrize(("name", "by_outputs"), STORED)
def test_kernel_ignores_what_lies_in_the_padding(name: str, by_outputs: bool, backend: str, dtype: str) -> None:
    cases.skip_unless_there(name, backend, dtype)
    entry = OPERATIONS[name]
    generator = np.random.default_rng([3, *name.encode()])
    for sizes in cases.shapes(name, generator, count=6):
        if 0 in sizes.values():
            continue
        arguments = drawn(name, dtype, sizes, generator)
        results = []
        for padding, in_place in ((0x00, False), (0xFF, False), (0xFF, True)):
            if in_place and (entry.in_place is None or arguments[entry.in_place[1]] is None):
                continue
            given = cases.copied(arguments)
            if in_place:
                given[entry.in_place[0]] = given[entry.in_place[1]]
            run = judge.as_in_a_plan(entry, backend, by_outputs, padding, in_place)
            if padding == 0 and not in_place:
                judge.check(entry, arguments, run, dict.fromkeys(given, "contiguous"))
            run(**given)
            written = [given[a.name] for a in entry.arrays if a.access != "reads"]
            results.append([array.tobytes() for array in written])
        assert all(result == results[0] for result in results), sizes
