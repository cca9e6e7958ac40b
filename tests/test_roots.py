"""Roots in optimizers' loops: correctly rounded, whichever way they are made, in a plan and on arrays."""

from typing import Any

import cases
import numpy as np
import pytest

import fastnn as fnn
from fastnn.kernels import OPERATIONS, cpu
from fastnn.plan.arena import Layout, Ref
from fastnn.plan.passes import Passes
from fastnn.plan.plan import Plan
from fastnn.plan.program import Program

Array = np.ndarray[Any, Any]
TINY, HUGE = np.float32(2.0**-75), 2.0**75
"""A gradient whose square counts for nothing beside numbers from 2**-100 on, and its reciprocal."""

every_set = pytest.mark.parametrize("backend", cases.COMPILED)


def on_arrays(x: Array, eps: float, backend: str) -> Array:
    """1 / (sqrt(x) + eps) out of AdaGrad's update of parameters that are 0."""
    param = np.zeros_like(x)
    fnn.ops.adagrad_update(param, x.copy(), np.full_like(x, TINY), lr=HUGE, eps=eps, backend=backend)
    return -param


def in_a_plan(x: Array, eps: float, backend: str) -> Array:
    """The same where subnormal numbers count as zeros."""
    layout = Layout()
    values = {"param": np.zeros_like(x), "sum": x, "grad": np.full_like(x, TINY)}
    refs = {name: Ref("operands", layout.vector(name, len(x), x.dtype)) for name in values}
    arenas = {"operands": layout.allocate()}
    for name, value in values.items():
        refs[name].view(arenas)[...] = value
    plan = Plan("one update", x.dtype, 1)
    others = {"rates": None, "decays": None, "inner_eps": 0.0, "weight_decay": 0.0, "shrink": 0.0, "grouped": 0}
    plan.add(OPERATIONS["adagrad_update"].name, "", {**refs, "lr": HUGE, "eps": eps, **others})
    Program(plan, arenas, backend).runner.run(Passes(np.array([[0, 1]]), np.array([1])))
    return -refs["param"].view(arenas)


def twice(numbers: Array) -> Array:
    """Each vector of the numbers twice, at an even and an odd place."""
    return np.repeat(numbers.reshape(-1, cpu.vector_bytes() // 4), 2, axis=0).ravel()


@pytest.mark.slow
@every_set
@pytest.mark.parametrize("way", [on_arrays, in_a_plan])
@pytest.mark.parametrize("exponent", [-100, -99, 0, 1, 126, 127])
def test_roots_of_a_whole_binade_are_correctly_rounded(exponent: int, way: Any, backend: str) -> None:
    x = twice(np.arange((exponent + 127) << 23, (exponent + 128) << 23, dtype=np.uint32).view(np.float32))
    eps = np.float32(-(2.0 ** (exponent // 2)))  # sqrt(x) + eps is exact, and shows each ulp of the root
    with np.errstate(divide="ignore"):
        np.testing.assert_array_equal(way(x, float(eps), backend), np.float32(1) / (np.sqrt(x) + eps))


@every_set
def test_roots_of_any_number_do_not_depend_on_its_place(backend: str) -> None:
    """Half of the vectors have none but usual numbers, the others one or some that are not."""
    generator, lanes = np.random.default_rng(0), cpu.vector_bytes() // 4
    numbers = np.exp2(generator.uniform(-99, 127, (4096, lanes))).astype(np.float32)
    unusual = [0.0, -0.0, np.inf, -np.inf, np.nan, -1.0, 2.0**-101, 2.0**-120, np.finfo(np.float32).smallest_subnormal]
    for row in range(0, len(numbers), 2):
        numbers[row, generator.integers(lanes)] = unusual[row // 2 % len(unusual)]
    x = twice(numbers)
    with np.errstate(all="ignore"):
        got, expected = on_arrays(x, 0.0, backend), np.float32(1) / np.sqrt(x)
    pairs = got.reshape(-1, 2, lanes)
    np.testing.assert_array_equal(pairs[:, 0], pairs[:, 1])
    usual = x >= np.float32(2.0**-100)
    np.testing.assert_array_equal(got[usual], expected[usual])
