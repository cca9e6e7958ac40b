"""Activations by their operations, as plans call them: elements per nanosecond, and how exact they are; softmax and its
logarithm on as many rows, of few and of many features. Rows of bench/functions.py.
"""

from __future__ import annotations

import platform
from collections.abc import Callable, Mapping
from typing import Any

import cases
import exact
import numpy as np

from bench import native, timing
from bench.baselines import numpy_operations
from fastnn import ops
from fastnn.kernels import OPERATIONS, Operation, cpu

Array = np.ndarray[Any, Any]

SHAPE = (32, 128)  # features and rows: a layer's output in L1
NAMES = tuple(
    name for name, entry in OPERATIONS.items()
    if entry.reference.__module__.endswith(("activations", "smooth")) and "_forward" in name
    and name not in ("tanh_forward", "sigmoid_forward")
)  # fmt: skip
"""The operations; tanh and sigmoid are functions of vectors in bench/functions.py."""
OF_ROWS = ("softmax_forward", "log_softmax_forward")
FEATURES = (10, 100)
MOST_ULP = {"selu_forward": 3.0}  # in float64
HAS_FMA = cpu.isa() != "baseline" or platform.machine() not in ("x86_64", "AMD64")
BOUND = 2.5 if HAS_FMA else 4.5
ELU = {"alpha": 1.0}


def activation(name: str) -> str:
    """The activation that an operation makes."""
    return name.removesuffix("_with_slope").removesuffix("_forward")


def row(
    name: str, dtype: str, sets: list[str], quick: bool, errors: Callable[[str, str, Any, bool], dict[str, Any]]
) -> dict[str, Any]:
    """The row of one operation.

    errors   what measures them, `functions.errors`: called with the name of the activation, the dtype, a function
             (out, x, count) and `quick`
    """
    entry = OPERATIONS[name]
    usual = cases.SCALARS | ELU
    scalars = {scalar.name: usual[scalar.name] for scalar in entry.scalars}
    arguments: dict[str, Any] = {array.name: np.zeros(SHAPE, dtype) for array in entry.arrays} | scalars
    arguments["x"] = np.random.default_rng(0).uniform(-8, 8, SHAPE).astype(dtype)
    found: dict[str, Any] = {"name": activation(name), "dtype": dtype, "elements": arguments["x"].size, "unit": "ulp"}
    if name.endswith("_with_slope"):
        found["name"] += " and its derivative"
    found["errors"] = {
        one: errors(activation(name), dtype, _values(entry, scalars, one), quick) for one in sets
    }  # fmt: skip
    most = MOST_ULP.get(name, BOUND)
    found["wrong"] = {one: found["errors"][one] for one in sets if not _is_right(found["errors"][one], most)}
    if found["wrong"]:
        return found
    candidates: dict[str, native.Run] = {
        "NumPy": _repeated(numpy_operations.prepared(name, arguments) or _reference(entry, arguments))
    }
    candidates |= {one: native.one_call(one, entry, dtype, arguments)[0] for one in sets}
    return found | {"timed": timing.interleaved(candidates, 5 if quick else 15, stretch=0.01)}


def row_of_rows(name: str, features: int, dtype: str, sets: list[str], quick: bool) -> dict[str, Any]:
    """The row of softmax or its logarithm over so many features."""
    entry = OPERATIONS[name]
    shape = features, SHAPE[1]
    logits = np.random.default_rng(0).standard_normal(shape).astype(dtype)
    arguments: dict[str, Any] = {"y": np.zeros(shape, dtype), "x": logits}
    found: dict[str, Any] = {"name": f"{activation(name)}, {features} features", "dtype": dtype, "unit": "ulp"}
    found |= {
        "elements": logits.size,
        "errors": {one: errors_of_rows(name, features, dtype, one, quick) for one in sets},
    }
    found["wrong"] = {one: found["errors"][one] for one in sets if not _is_right(found["errors"][one], BOUND)}
    if found["wrong"]:
        return found
    candidates: dict[str, native.Run] = {"NumPy": _repeated(numpy_operations.prepared(name, arguments))}
    candidates |= {one: native.one_call(one, entry, dtype, arguments)[0] for one in sets}
    return found | {"timed": timing.interleaved(candidates, 5 if quick else 15, stretch=0.01)}


def errors_of_rows(name: str, features: int, dtype: str, kernel_set: str, quick: bool) -> dict[str, Any]:
    """As `functions.errors`, over normal logits of several spreads; special are rows with NaN and infinities."""
    generator, info = np.random.default_rng(1), np.finfo(dtype)
    wide = np.float64 if dtype == "float32" else np.longdouble
    worst = {"normal": 0.0, "subnormal": 0.0}

    def evaluate(x: Array) -> Array:
        y = np.empty_like(x)
        getattr(ops, name)(y, x, backend=kernel_set)
        return y

    for spread in (0.1, 1, 5, 30, 300):
        x = (spread * generator.standard_normal((features, (2**17 if quick else 2**20) // features))).astype(dtype)
        with np.errstate(under="ignore"):
            expected = getattr(exact, activation(name))(x.astype(wide))
            error = np.abs(evaluate(x) - expected) / np.spacing(np.abs(expected).astype(dtype))
        normal = np.abs(expected) >= info.smallest_normal
        for kind, part in (("normal", normal), ("subnormal", ~normal)):
            worst[kind] = max(worst[kind], float(np.max(error[part], initial=0.0)))
    x = generator.standard_normal((features, 3)).astype(dtype)
    x[0, 0], x[1, 1], x[:, 2] = np.nan, np.inf, -np.inf
    with np.errstate(all="ignore"):
        return worst | {"special": bool(np.isnan(evaluate(x)).all())}


def _is_right(found: Mapping[str, Any], most: float) -> bool:
    return bool(found["special"]) and max(found["normal"], found["subnormal"]) <= most


def _values(entry: Operation, scalars: Mapping[str, Any], kernel_set: str) -> Callable[[Array, Array, int], None]:
    """The operation on arrays of one axis, its derivative dropped."""

    def evaluate(out: Array, x: Array, count: int) -> None:
        written = [out[None], *(np.empty_like(x)[None] for array in entry.arrays[1:] if array.access == "writes")]
        for _ in range(count):
            getattr(ops, entry.name)(*written, x[None], **scalars, backend=kernel_set)

    return evaluate


def _reference(entry: Operation, arguments: Mapping[str, Any]) -> Callable[[], object]:
    return lambda: entry.reference(**arguments)


def _repeated(work: Callable[[], object] | None) -> native.Run:
    assert work is not None

    def run(count: int) -> None:
        for _ in range(count):
            work()

    return run


def value(name: str, wide: Array) -> Array:
    """The activation in wider arithmetic."""
    if name in exact.ACTIVATIONS:
        return exact.ACTIVATIONS[name](wide)
    entry, y = OPERATIONS[f"{name}_forward"], np.empty_like(wide)
    entry.reference(y, wide, *(cases.SCALARS[scalar.name] for scalar in entry.scalars))
    return y


_FAR = {"softsign": 1e4 / (1 + 1e4), "hard_tanh": 1.0, "selu": 1e4 * 1.0507009873554804934}


def special(name: str) -> list[tuple[float, float]]:
    """Infinite arguments, both zeros and +-1e4, and the values there."""
    below = {"elu": -1.0, "selu": -1.7580993408473766, "softsign": -1.0, "hard_tanh": -1.0, "leaky_relu": -np.inf}
    above = {"softsign": 1.0, "hard_tanh": 1.0}.get(name, np.inf)
    origin = np.log(2.0) if name == "softplus" else 0.0
    least = below.get(name, 0.0 if name in ("relu", "softplus") else -0.0)
    far = -_FAR["softsign"] if name == "softsign" else -100.0 if name == "leaky_relu" else least
    zeros = [(0.0, origin)] if name == "relu" else [(0.0, origin), (-0.0, origin or -0.0)]
    return [(-np.inf, least), (np.inf, above), *zeros, (1e4, _FAR.get(name, 1e4)), (-1e4, far)]
