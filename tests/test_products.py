"""Products so long or wide that they are cut into blocks: which block computes a number changes no bit of it."""

from typing import Any

import cases
import numpy as np
import pytest

import fastnn as fnn
from fastnn.kernels.reference.dense import NOTHING, WHERE_POSITIVE

Array = np.ndarray[Any, Any]
every_set = pytest.mark.parametrize("backend", cases.COMPILED)
both_dtypes = pytest.mark.parametrize("dtype", ["float32", "float64"])


def drawn(dtype: str, *shape: int) -> Array:
    return np.random.default_rng(shape).standard_normal(shape).astype(dtype)


def assert_near(result: Array, left: Array, right: Array) -> None:
    """Within K eps of the product in float64, K the terms of each sum."""
    wide, terms = (left.astype(np.float64), right.astype(np.float64)), left.shape[1]
    allowed = (terms + 2) * np.finfo(result.dtype).eps * (np.abs(wide[0]) @ np.abs(wide[1]))
    assert (np.abs(result - wide[0] @ wide[1]) <= allowed).all()


@every_set
@both_dtypes
@pytest.mark.parametrize("by_outputs", [True, False])
def test_forward_of_long_sums(by_outputs: bool, dtype: str, backend: str) -> None:
    O, K, B, few = 9, 2600, 300, 32
    x, weight = drawn(dtype, K, B), drawn(dtype, O, K)
    weight = weight if by_outputs else np.asfortranarray(weight)
    y, narrow = np.empty((O, B), dtype), np.empty((O, few), dtype)
    fnn.ops.dense_forward(y, x, weight, -np.inf, backend=backend)
    fnn.ops.dense_forward(narrow, x[:, :few].copy(), weight, -np.inf, backend=backend)
    assert_near(y, weight, x)
    np.testing.assert_array_equal(y[:, :few], narrow)


@every_set
@both_dtypes
@pytest.mark.parametrize("in_place", [True, False])
@pytest.mark.parametrize("derivative", [NOTHING, WHERE_POSITIVE])
def test_input_gradient_of_long_sums(derivative: int, in_place: bool, dtype: str, backend: str) -> None:
    I, O, B, few = 21, 2600, 500, 32
    dy, weight, x = drawn(dtype, O, B), drawn(dtype, O, I), drawn(dtype, I, B)

    def gradient(columns: int) -> Array:
        h = x[:, :columns].copy()
        dx = h if in_place else np.empty_like(h)
        fnn.ops.dense_backward_input(
            dx, dy[:, :columns].copy(), weight, h, derivative, 0.0, 0.0, 0.0, backend=backend
        )  # fmt: skip
        return dx

    dx = gradient(B)
    np.testing.assert_array_equal(dx[:, :few], gradient(few))
    if derivative == NOTHING:
        assert_near(dx, weight.T, dy)
    else:
        plain = np.empty_like(dx)
        fnn.ops.dense_backward_input(plain, dy, weight, x, NOTHING, 0.0, 0.0, 0.0, backend=backend)
        np.testing.assert_array_equal(dx, np.where(x > 0, plain, 0))


@every_set
@both_dtypes
@pytest.mark.parametrize("by_outputs", [True, False])
def test_weight_gradient_wider_than_the_caches(by_outputs: bool, dtype: str, backend: str) -> None:
    O, K = (9, 1100) if by_outputs else (1100, 9)
    few, dy, x = 64, drawn(dtype, O, 700), drawn(dtype, K, 700)

    def gradient(outputs: int, inputs: int) -> Array:
        """The operand that has the long axis of the gradient lies with it contiguous: no dot products."""
        dweight = np.empty((outputs, inputs), dtype, "C" if by_outputs else "F")
        given = dy[:outputs].copy("C" if by_outputs else "F"), x[:inputs].copy("F" if by_outputs else "C")
        fnn.ops.dense_backward_weight(dweight, *given, 0, backend=backend)
        return dweight

    dweight = gradient(O, K)
    assert_near(dweight, dy, x.T)
    if by_outputs:
        np.testing.assert_array_equal(dweight[:, :few], gradient(O, few))
    else:
        np.testing.assert_array_equal(dweight[:few], gradient(few, K))


@every_set
def test_rows_that_lie_on_each_other_are_one_row(backend: str) -> None:
    """NumPy's `a[None]` has a stride of 0 between its only row and the next."""
    x, weight = drawn("float32", 48, 128), drawn("float32", 1, 48)
    y = np.empty(128, np.float32)[None]
    fnn.ops.dense_forward(y, x, weight, -np.inf, backend=backend)
    assert_near(y, weight, x)
    dy, x, dweight = drawn("float32", 1, 48), drawn("float32", 128, 48), np.empty(128, np.float32)[None]
    fnn.ops.dense_backward_weight(dweight, dy, x.copy("F"), 0, backend=backend)
    assert_near(dweight, dy, x.T)
