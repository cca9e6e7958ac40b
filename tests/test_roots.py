"""Roots in optimizers' loops: correctly rounded, whichever way they are made."""

import cases
import numpy as np
import pytest

import fastnn as fnn
from fastnn.kernels import cpu

FLOAT32 = np.float32


def root_reciprocals(x: np.ndarray, backend: str) -> np.ndarray:
    """1 / sqrt(x) out of AdaGrad's update of parameters that are 0, with gradients whose squares count for nothing."""
    param, total = np.zeros_like(x), x.copy()
    grad = np.full_like(x, 2.0**-75)
    fnn.ops.adagrad_update(param, total, grad, lr=2.0**75, eps=0.0, backend=backend)
    return -param


def twice(numbers: np.ndarray) -> np.ndarray:
    """Each vector of the numbers twice, at an even and an odd place."""
    return np.repeat(numbers.reshape(-1, cpu.vector_bytes() // 4), 2, axis=0).ravel()


@pytest.mark.slow
@pytest.mark.parametrize("backend", cases.COMPILED)
@pytest.mark.parametrize("exponent", [-100, -1, 0, 127])
def test_roots_of_a_whole_binade_are_correctly_rounded(exponent: int, backend: str) -> None:
    x = twice(np.arange((exponent + 127) << 23, (exponent + 128) << 23, dtype=np.uint32).view(FLOAT32))
    np.testing.assert_array_equal(root_reciprocals(x, backend), FLOAT32(1) / np.sqrt(x))


@pytest.mark.parametrize("backend", cases.COMPILED)
def test_roots_of_any_number_do_not_depend_on_its_place(backend: str) -> None:
    generator = np.random.default_rng(0)
    numbers = generator.integers(0, 2**32, 2**16, np.uint64).astype(np.uint32).view(FLOAT32)
    numbers[::37] = 0.0
    numbers[5::1000] = np.finfo(FLOAT32).smallest_subnormal
    numbers[6::1000] = np.inf
    numbers[7::1000] = -0.0
    x = twice(numbers)
    with np.errstate(all="ignore"):
        got, expected = root_reciprocals(x, backend), FLOAT32(1) / np.sqrt(x)
    pairs = got.reshape(-1, 2, cpu.vector_bytes() // 4)
    np.testing.assert_array_equal(pairs[:, 0], pairs[:, 1])
    usual = x >= FLOAT32(2.0**-100)
    np.testing.assert_array_equal(got[usual], expected[usual])
