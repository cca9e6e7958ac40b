"""The bounds that fastnn/kernels/numba/special.py states for its functions, measured as those of vecmath.py are,
through the operations that are made of them: float32 against float64 at every 256th bit pattern, float64 against the
platform's long double.
"""

import functools
import math
import platform
import re
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import cases
import exact
import numpy as np
import pytest
import test_vecmath

from fastnn import ops
from fastnn.kernels import OPERATIONS, cpu
from fastnn.kernels.numba import special

Array = np.ndarray[Any, Any]
DTYPES = ("float32", "float64")
FUNCTIONS = ("elu", "selu", "softsign", "softplus", "silu", "mish", "gelu", "gelu_tanh")
WITH_SLOPE = tuple(name for name in FUNCTIONS if f"{name}_forward_with_slope" in OPERATIONS)

each = pytest.mark.parametrize("name", FUNCTIONS)
both = pytest.mark.parametrize("dtype", DTYPES)
compiled = pytest.mark.parametrize("backend", cases.COMPILED)


def stated_bound(name: str, dtype: str, module: ModuleType = special) -> float:
    """The table in the docstring of special, or of other kernels; of CPUs without FMA that below it."""
    table, _, without_fma = (module.__doc__ or "").partition("without FMA")
    if cpu.isa() == "baseline" and platform.machine() in ("x86_64", "AMD64"):
        table = without_fma
    rows = re.findall(r"^    (\w+) +([\d.]+) +([\d.]+)", table, re.MULTILINE)
    return {name: float(bounds[DTYPES.index(dtype)]) for name, *bounds in rows}[name]


def applied(name: str, x: Array, backend: str, slope: bool = False) -> list[Array]:
    """The activation of a vector, and its derivative if asked for."""
    given = {"alpha": 1.0} if name == "elu" else {}
    out = [np.empty((1, len(x)), x.dtype) for _ in range(1 + slope)]
    getattr(ops, f"{name}_forward{'_with_slope' if slope else ''}")(*out, x[None], **given, backend=backend)
    return [row[0] for row in out]


def samples(dtype: str) -> Iterator[Array]:
    """Those of test_vecmath, and where the tails are."""
    yield from test_vecmath.samples(dtype)
    generator = np.random.default_rng(1)
    for low, high in ((-115, -80), (-40, -12), (-15, 15), (-2, 2)):
        yield generator.uniform(low, high, 100_000).astype(dtype)
    if dtype == "float64":
        yield generator.uniform(-765, -700, 100_000)


@functools.cache
def _expected(name: str, dtype: str) -> list[tuple[Array, Array]]:
    """Pieces of arguments, and the function there; of GELU fewer, whose judges are slow."""
    wide = np.float64 if dtype == "float32" else np.longdouble
    found = []
    with np.errstate(all="ignore"):
        for x in samples(dtype):
            some = x[:: 4 if name.startswith("gelu") else 1]
            if name == "gelu":
                some = some[(np.abs(some) < 45) & (np.abs(some) > 1e-6)]
            found.append((some, exact.ACTIVATIONS[name](some.astype(wide))))
    return found


@both
@each
def test_functions_keep_their_stated_bounds(name: str, dtype: str) -> None:
    if dtype == "float64" and np.finfo(np.longdouble).nmant <= 52:
        pytest.skip("long double is no wider than float64 here")
    worst, backend = (0.0, 0.0), cases.COMPILED[-1]
    for x, expected in _expected(name, dtype):
        with np.errstate(over="ignore"):  # SELU has larger values than arguments
            error = test_vecmath.ulps(applied(name, x, backend)[0], expected)
        if error.size and error.max() > worst[0]:
            worst = float(error.max()), float(x[error.argmax()])
    bound = stated_bound(name, dtype)
    assert 0.75 * bound <= worst[0] <= bound, f"(ulp, at): {worst}"


@both
@pytest.mark.parametrize("name", WITH_SLOPE)
def test_derivatives_are_those_of_differences_in_wider_arithmetic(name: str, dtype: str) -> None:
    x = np.random.default_rng(2).uniform(-12, 12, 20_000).astype(dtype)
    x = np.concatenate([x, np.linspace(-3, 3, 1001, dtype=dtype)])
    wide, h = x.astype(np.longdouble), np.longdouble(2.0**-12)
    function = exact.ACTIVATIONS[name]

    def difference(step: Any) -> Array:
        return np.asarray((function(wide + step) - function(wide - step)) / (2 * step))

    quotient = (64 * difference(h) - 20 * difference(2 * h) + difference(4 * h)) / 45  # exact to h**6
    slope = applied(name, x, cases.COMPILED[-1], slope=True)[1]
    off = np.abs(slope - quotient)
    sizes = np.minimum(1, (1 + np.abs(wide)) * np.exp(np.minimum(wide, 0)))
    assert np.max(off / sizes) < 3 * np.finfo(dtype).eps + 2e-14


@both
@compiled
@pytest.mark.parametrize("name", WITH_SLOPE)
def test_value_with_its_slope_is_the_value_alone(name: str, backend: str, dtype: str) -> None:
    for x in samples(dtype):
        some = x[:5000]
        value, (beside, _) = applied(name, some, backend)[0], applied(name, some, backend, slope=True)
        assert value.tobytes() == beside.tobytes()


@both
def test_coefficients_of_the_tail_are_the_minimax_fit(dtype: str) -> None:
    pytest.importorskip("mpmath", reason="mpmath is one of the peers")
    from bench import minimax

    coefficients, error = minimax.fit("tail", dtype)
    assert error < np.finfo(dtype).eps / 10
    constants = special._FLOAT32 if dtype == "float32" else special._FLOAT64
    stored = np.array([constants.tail_first, *constants.tail], dtype)
    np.testing.assert_array_equal(stored, np.array([float(c) for c in coefficients], dtype))


INF, NAN = math.inf, math.nan
AT_INFINITY = {
    "elu": (INF, -1.0), "selu": (INF, -1.7580993408473766), "softsign": (1.0, -1.0), "softplus": (INF, 0.0),
    "silu": (INF, -0.0), "mish": (INF, -0.0), "gelu": (INF, -0.0), "gelu_tanh": (INF, -0.0),
}  # fmt: skip


@both
@pytest.mark.parametrize("backend", cases.BACKENDS)
@each
def test_values_that_are_not_ordinary(name: str, backend: str, dtype: str) -> None:
    small = float(np.finfo(dtype).smallest_subnormal)
    x = np.array([INF, -INF, NAN, 0.0, -0.0, 1e4, -1e4, 1000 * small, -1000 * small], dtype)
    with np.errstate(all="ignore"):
        y = applied(name, x, backend)[0]
    above, below = AT_INFINITY[name]
    far = 1e4 / (1 + 1e4) if name == "softsign" else 1e4 * (1.0507009873554804934 if name == "selu" else 1)
    origin = math.log(2) if name == "softplus" else 0.0
    expected = [above, below, NAN, origin, origin if origin else -0.0, far, -far if name == "softsign" else below]
    np.testing.assert_array_equal(y[:7], np.array(expected, dtype))
    assert list(np.signbit(y[[1, 3, 4, 6]])) == [
        bool(np.signbit(v)) for v in (below, expected[3], expected[4], expected[6])
    ]
    slope = {"elu": (1, 1), "selu": (1.0507009873554804934, 1.7580993408473766), "softsign": (1, 1), "mish": (0.6, 0.6)}
    up, down = slope.get(name, (0.5, 0.5))
    if name != "softplus":  # which is log(2) + x / 2 there
        np.testing.assert_allclose(y[7:], [up * 1000 * small, down * -1000 * small], rtol=2e-3)


@both
@pytest.mark.parametrize("backend", cases.BACKENDS)
@pytest.mark.parametrize("name", WITH_SLOPE)
def test_derivatives_at_infinity_are_one_and_zero(name: str, backend: str, dtype: str) -> None:
    x = np.array([INF, 1e30, 1e4, -1e4, -1e30, -INF, NAN], dtype)
    with np.errstate(all="ignore"):
        slope = applied(name, x, backend, slope=True)[1]
    np.testing.assert_array_equal(slope, np.array([1, 1, 1, 0, 0, 0, NAN], dtype))
