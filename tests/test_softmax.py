"""The bounds that fastnn/kernels/numba/softmax.py states, measured: float32 against float64, float64 against the
platform's long double, over logits of all spreads, few and many features.
"""

import functools
from collections.abc import Iterator
from typing import Any

import cases
import exact
import numpy as np
import pytest
import test_special
import test_vecmath

from fastnn import ops
from fastnn.kernels.numba import softmax

Array = np.ndarray[Any, Any]
DTYPES = ("float32", "float64")
FEATURES = (1, 2, 3, 10, 100, 1000)
FUNCTIONS = {"softmax": exact.softmax, "log_softmax": exact.log_softmax}

each = pytest.mark.parametrize("name", FUNCTIONS)
both = pytest.mark.parametrize("dtype", DTYPES)
compiled = pytest.mark.parametrize("backend", cases.COMPILED)


def applied(name: str, x: Array, backend: str) -> Array:
    y = np.empty_like(x)
    getattr(ops, f"{name}_forward")(y, x, backend=backend)
    return y


def samples(dtype: str) -> Iterator[Array]:
    """Features of rows: normal logits about 0, all alike, far from 0, with one that stands out, and many equal ones."""
    generator = np.random.default_rng(7)
    for features in FEATURES:
        shape = features, 40_000 // features + 64
        for spread in (1e-3, 1.0, 5.0, 30.0, 300.0):
            yield (spread * generator.standard_normal(shape)).astype(dtype)
        x = generator.standard_normal(shape)
        yield np.full(shape, 3.7, dtype)
        for origin in (-1e4, -450.0, -225.0, 223.0, 226.0, 1e3, 1e30):
            yield (4 * x + origin).astype(dtype)
        x[features // 2] += generator.uniform(0, 30, shape[1])
        yield x.astype(dtype)
        yield (5 * np.round(x)).astype(dtype)


@functools.cache
def _expected(name: str, dtype: str) -> list[tuple[Array, Array]]:
    wide = np.float64 if dtype == "float32" else np.longdouble
    return [(x, FUNCTIONS[name](x.astype(wide))) for x in samples(dtype)]


@both
@each
def test_functions_keep_their_stated_bounds(name: str, dtype: str) -> None:
    if dtype == "float64" and np.finfo(np.longdouble).nmant <= 52:
        pytest.skip("long double is no wider than float64 here")
    worst, backend = 0.0, cases.COMPILED[-1]
    for x, expected in _expected(name, dtype):
        error = test_vecmath.ulps(applied(name, x, backend), expected)
        worst = max(worst, float(error[np.abs(expected) >= np.finfo(dtype).smallest_normal].max(initial=0)))
    bound = test_special.stated_bound(name, dtype, softmax)
    assert 0.75 * bound <= worst <= bound


@both
def test_subnormal_probabilities_are_within_two_units(dtype: str) -> None:
    """Of the least number; what is smaller still becomes zero."""
    least = np.finfo(dtype).smallest_subnormal
    x = np.zeros((2, 4000), dtype)
    x[1] = np.linspace(-120, -80, 4000) if dtype == "float32" else np.linspace(-770, -700, 4000)
    y = applied("softmax", x, cases.COMPILED[-1])
    with np.errstate(under="ignore"):
        expected = exact.softmax(x.astype(np.float64 if dtype == "float32" else np.longdouble))
        error = np.abs(y - expected)[:, expected[1] < np.finfo(dtype).smallest_normal]
    assert error.max() <= 2 * np.longdouble(least)
    assert y[1, 0] == 0
    assert (y[1] > 0).any()


@compiled
@both
@each
def test_special_values_come_out_exactly(name: str, dtype: str, backend: str) -> None:
    info, inf, nan = np.finfo(dtype), np.inf, np.nan
    rows = [
        [-inf, 0, -inf],
        [info.max, -info.max, 0],
        [info.max, info.max, info.max],
        [-info.max, -info.max, -info.max],
    ]
    rows += [[inf, 0, 1], [inf, -inf, nan], [-inf, -inf, -inf], [0, nan, 1], [nan, nan, nan]]
    y = applied(name, np.ascontiguousarray(np.array(rows, dtype).T), backend).T
    assert np.isnan(y[4:]).all()
    one, zero, third = (1, 0, 1 / 3) if name == "softmax" else (0, -inf, -np.log(3))
    expected = np.array([[zero, one, zero], [one, zero, zero], [third] * 3, [third] * 3], dtype)
    if name == "log_softmax":
        expected[1] = [0, -inf, -info.max]
    np.testing.assert_allclose(y[:4], expected, rtol=info.eps)


@compiled
@both
@each
def test_rows_do_not_depend_on_each_other(name: str, dtype: str, backend: str) -> None:
    """A row with NaN, infinities or large numbers beside it gives the same bits."""
    x = np.random.default_rng(8).standard_normal((7, 64)).astype(dtype)
    alone = applied(name, x, backend)
    x[:, ::2] = np.random.default_rng(9).choice([np.inf, -np.inf, np.nan, 1e30, -1e4], (7, 32))
    with np.errstate(all="ignore"):
        beside = applied(name, x, backend)
    assert beside[:, 1::2].tobytes() == alone[:, 1::2].tobytes()
