"""The bounds that fastnn/kernels/numba/vecmath.py states for its functions, measured: float32 against float64 at every
256th bit pattern, float64 against the platform's long double.
"""

import ctypes
import functools
import platform
import re
from collections.abc import Callable, Iterator
from typing import Any

import llvmlite.binding as llvm
import numpy as np
import pytest
from numba import types

from fastnn.kernels import cpu, objects
from fastnn.kernels.numba import lookup, vecmath
from fastnn.kernels.numba.entry import object_code
from fastnn.kernels.numba.simd import lanes, load, store

Array = np.ndarray[Any, Any]

DTYPES = ("float32", "float64")
FUNCTIONS = ("exp", "exp_nonpositive", "log", "log1p_unit", "tanh", "sigmoid")


def stated_bounds(dtype: str) -> dict[str, float]:
    """The table in the docstring of vecmath; without FMA or with tables, what is said of that in its place."""
    table, _, others = (vecmath.__doc__ or "").partition("without FMA")
    without_fma, _, with_tables = others.partition("with tables")
    has_fma = cpu.isa() != "baseline" or platform.machine() not in ("x86_64", "AMD64")
    table += with_tables if cpu.isa() == "avx512" else "" if has_fma else without_fma
    rows = re.findall(r"^    (\w+) +([\d.]+) +([\d.]+)", table, re.MULTILINE)
    return {name: float(bounds[DTYPES.index(dtype)]) for name, *bounds in rows}


def _evaluate(out, x, n):  # one row of `out` for each of FUNCTIONS
    for i in range(0, n, lanes(x)):
        value = load(x, i)
        store(out, i, vecmath.exp(value))
        store(out, i + n, vecmath.exp_nonpositive(value))
        store(out, i + 2 * n, vecmath.log(value))
        store(out, i + 3 * n, vecmath.log1p_unit(value))
        store(out, i + 4 * n, vecmath.tanh(value))
        store(out, i + 5 * n, vecmath.sigmoid(value))


@functools.cache
def _compiled(dtype: str) -> tuple[Callable[..., None], Any]:
    numbers = types.CPointer(getattr(types, dtype))
    symbol = f"evaluate_{dtype}"
    engine = objects._engine()
    code = object_code(_evaluate, types.void(numbers, numbers, types.int64), symbol)
    engine.add_object_file(llvm.ObjectFileRef.from_data(code))
    engine.finalize_object()
    prototype = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64)
    return prototype(engine.get_function_address(symbol)), engine  # the engine owns the code


def evaluate(x: Array) -> dict[str, Array]:
    """Every function at x, whatever its domain."""
    vector = cpu.vector_bytes() // x.itemsize
    padded = np.zeros(-(-len(x) // vector) * vector, x.dtype)
    padded[: len(x)] = x
    out = np.empty((len(FUNCTIONS), len(padded)), x.dtype)
    _compiled(str(x.dtype))[0](out.ctypes.data, padded.ctypes.data, len(padded))
    return {name: row[: len(x)] for name, row in zip(FUNCTIONS, out, strict=True)}


def exact(name: str, x: Array) -> Array:
    """The function at wide x."""
    if name == "log1p_unit":
        return np.log1p(x)
    if name == "sigmoid":
        e = np.exp(-np.abs(x))
        return np.where(x < 0, e, 1) / (1 + e)
    function: Callable[[Array], Array] = getattr(np, name.removesuffix("_nonpositive"))
    return function(x)


def inside(name: str, x: Array) -> Array:
    """The mask of the arguments for which the function is made and its bound holds."""
    info = np.finfo(x.dtype)
    if name == "exp_nonpositive":  # below: zero or a subnormal number
        return (x > np.log(info.smallest_normal)) & (x <= 0)
    if name == "log":
        return x >= info.smallest_normal
    return (x >= 0) & (x <= 1) if name == "log1p_unit" else np.full(x.shape, True)


def ulps(got: Array, expected: Array) -> Array:
    """|got - expected| in units of the spacing at the expected result; infinite if one is finite and the other not."""
    rounded = expected.astype(got.dtype)
    with np.errstate(all="ignore"):
        error = np.abs(got - expected) / np.spacing(np.abs(np.where(np.isfinite(rounded), rounded, 1)))
    return np.where(got == rounded, np.where(np.isfinite(rounded), error, 0), np.where(np.isfinite(got), error, np.inf))


def samples(dtype: str) -> Iterator[Array]:
    """Finite numbers: of float32 every 256th, of float64 all magnitudes and, denser, those where something happens."""
    if dtype == "float32":
        for start in range(0, 2**32, 2**28):
            patterns = np.arange(start + 37, start + 2**28, 2**8, dtype=np.uint64).astype(np.uint32)
            x = patterns.view(np.float32)
            yield x[np.isfinite(x)]
        return
    generator = np.random.default_rng(0)
    x = generator.integers(0, 2**64, 200_000, dtype=np.uint64).view(np.float64)
    yield x[np.isfinite(x)]
    for low, high in ((-745, 710), (-40, 40), (-1, 1), (0, 2), (-1e-3, 1e-3)):
        yield generator.uniform(low, high, 200_000)
    yield np.exp2(generator.uniform(-60, 10, 200_000)) * generator.choice([-1, 1], 200_000)


@pytest.mark.parametrize("dtype", DTYPES)
def test_functions_keep_their_stated_bounds(dtype: str) -> None:
    if dtype == "float64" and np.finfo(np.longdouble).nmant <= 52:
        pytest.skip("long double is no wider than float64 here")
    wide = np.float64 if dtype == "float32" else np.longdouble
    worst = dict.fromkeys(FUNCTIONS, (0.0, 0.0))
    for x in samples(dtype):
        results = evaluate(x)
        for name in FUNCTIONS:
            part = inside(name, x)
            with np.errstate(all="ignore"):
                error = ulps(results[name][part], exact(name, x[part].astype(wide)))
            if error.size and error.max() > worst[name][0]:
                worst[name] = (float(error.max()), float(x[part][error.argmax()]))
    bounds = stated_bounds(dtype)
    assert set(bounds) == set(FUNCTIONS)
    beyond = {name: worst[name] for name in FUNCTIONS if worst[name][0] > bounds[name]}
    assert not beyond, f"(ulp, at): {beyond}"
    slack = {name: worst[name] for name in FUNCTIONS if worst[name][0] < 0.75 * bounds[name]}
    assert not slack, f"stated too high, (ulp, at): {slack}"


INF = float("inf")
SPECIAL = {
    "exp": [(-INF, 0.0), (-1e4, 0.0), (0.0, 1.0), (-0.0, 1.0), (1e4, INF), (INF, INF)],
    "exp_nonpositive": [(-INF, 0.0), (-1e4, 0.0), (0.0, 1.0), (-0.0, 1.0)],
    "log": [(1.0, 0.0), (INF, INF)],
    "log1p_unit": [(0.0, 0.0)],
    "tanh": [(-INF, -1.0), (-1e4, -1.0), (0.0, 0.0), (-0.0, -0.0), (1e4, 1.0), (INF, 1.0)],
    "sigmoid": [(-INF, 0.0), (-1e4, 0.0), (0.0, 0.5), (-0.0, 0.5), (1e4, 1.0), (INF, 1.0)],
}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", FUNCTIONS)
def test_special_values_come_out_exactly(name: str, dtype: str) -> None:
    for x, y in SPECIAL[name]:
        got = evaluate(np.array([x], dtype))[name]
        assert got.tobytes() == np.array([y], dtype).tobytes(), f"{name}({x}) is {got[0]}"


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", FUNCTIONS)
def test_nan_stays_nan(name: str, dtype: str) -> None:
    assert np.isnan(evaluate(np.array([np.nan, -np.nan], dtype))[name]).all()


@pytest.mark.parametrize("dtype", DTYPES)
def test_tanh_is_odd_and_tiny_arguments_are_their_own_tanh(dtype: str) -> None:
    info = np.finfo(dtype)
    tiny = np.array([info.smallest_subnormal, info.smallest_normal, info.eps / 8], dtype)
    assert np.array_equal(evaluate(tiny)["tanh"], tiny)
    x = np.linspace(-30, 30, 10_001, dtype=dtype)
    assert np.array_equal(evaluate(-x)["tanh"], -evaluate(x)["tanh"])


@pytest.mark.parametrize("dtype", DTYPES)
def test_exp_reaches_both_ends_of_the_range(dtype: str) -> None:
    info = np.finfo(dtype)
    high, low = np.log(info.max), np.log(info.smallest_subnormal)
    below_high = np.nextafter(high, np.zeros((), dtype))
    got = evaluate(np.array([below_high, high + 1, low, low - 1], dtype))["exp"]
    assert info.max / 2 < got[0] < INF
    assert got[1] == INF
    assert 0 < got[2] <= 2 * info.smallest_subnormal
    assert got[3] == 0
    subnormal = np.linspace(low, np.log(info.smallest_normal), 1001, dtype=dtype)[1:-1]
    found, exact_ones = evaluate(subnormal)["exp_nonpositive"], np.exp(subnormal)
    assert ((found == 0) | (np.abs(found - exact_ones) <= 2 * info.smallest_subnormal)).all()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ["exp", "log", "log1p", "power", "tanh"])
def test_coefficients_are_the_minimax_fits(name: str, dtype: str) -> None:
    pytest.importorskip("mpmath", reason="mpmath is one of the peers")
    from bench import minimax

    coefficients, error = minimax.fit(name, dtype)
    assert error < np.finfo(dtype).eps / 20
    stored = getattr(vecmath._FLOAT32 if dtype == "float32" else vecmath._FLOAT64, name)
    np.testing.assert_array_equal(np.array(stored, dtype), np.array([float(c) for c in coefficients], dtype))


def test_the_entries_of_the_tables_of_exp_and_tanh_are_what_they_are_said_to_be() -> None:
    mp = pytest.importorskip("mpmath", reason="mpmath is one of the peers")
    from bench import minimax

    with mp.workdps(40):
        powers = [mp.mpf(2) ** (mp.mpf(k) / 16) for k in range(16)]
        rounded = [np.float32(float(power)) for power in powers]
        rests = [np.float32(float(power - mp.mpf(float(r)))) for power, r in zip(powers, rounded, strict=True)]
    np.testing.assert_array_equal(np.array(lookup._POWERS, np.float32), rounded)
    np.testing.assert_array_equal(np.array(lookup._POWERS_REST, np.float32), rests)
    rows, error = minimax.tanh_table()
    assert error < np.finfo(np.float32).eps / 8
    expected = np.array([[float(x) for x in row] for row in rows], np.float32)
    np.testing.assert_array_equal(np.array(lookup._TANH_TABLE, np.float32), expected)
    short, error = minimax.fit("exp_lookup", "float32")
    assert error < np.finfo(np.float32).eps / 20
    assert [float(np.float32(float(c))) for c in short] == [float(np.float32(c)) for c in lookup._EXP]
