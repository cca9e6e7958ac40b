"""Activations in wider arithmetic, written to lose nothing where the reference kernels are content with a few ulp of
float64: what bounds in ulp are measured against, by tests and benchmarks.
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]

LARGE = 1e3
_PI_REST = np.longdouble("3.14159265358979323846264338327950288") - np.longdouble(math.pi)
_RATE = np.sqrt(8 / (np.longdouble(math.pi) + _PI_REST))


def _decay(x: Array) -> tuple[Array, Array]:
    e = np.exp(-np.abs(x))
    return e, np.where(x < 0, e, 1) / (1 + e)


def _mish(x: Array) -> Array:
    e, _ = _decay(x)
    n = np.where(x < 0, e * (e + 2), 1 + 2 * e)
    return np.asarray(n / (n + np.where(x < 0, 2, 2 * e * e)))


def _share(a: Array) -> Array:
    """Of a normal distribution beyond a >= 0: a continued fraction behind 3, the series of the rest before it. Both are
    of the argument's own precision, which Python's error function is not."""
    near, far = np.minimum(a, 3), np.maximum(a, 3)
    density = np.exp(-a * a / 2) / np.sqrt(2 * a.dtype.type(math.pi) + (0 if a.dtype == np.float64 else _PI_REST * 2))
    fraction = far
    for k in range(120, 0, -1):
        fraction = far + k / fraction
    term = total = near
    for k in range(3, 121, 2):
        term = term * near * near / k
        total = total + term
    return np.where(a < 3, a.dtype.type(0.5) - density * total, density / fraction)


def _gelu_tanh(x: Array) -> Array:
    near = np.clip(x.astype(np.longdouble), -LARGE, LARGE)
    z = _RATE * near * (1 + np.longdouble("0.044715") * near * near)
    return np.asarray(np.maximum(x, -LARGE) * _decay(z)[1])


ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
    "elu": lambda x: np.where(x < 0, np.expm1(np.minimum(x, 0)), x),
    "selu": lambda x: (
        np.longdouble("1.0507009873554804934193349852946")
        * np.where(x < 0, np.longdouble("1.6732632423543772848170429916717") * np.expm1(np.minimum(x, 0)), x)
    ),
    "softsign": lambda x: x / (1 + np.abs(x)),
    "softplus": lambda x: np.maximum(x, 0) + np.log1p(_decay(x)[0]),
    "silu": lambda x: np.maximum(x, -1e5) * _decay(x)[1],
    "mish": lambda x: np.maximum(x, -1e5) * _mish(x),
    "gelu": lambda x: np.where(x < 0, -0.0, x) - np.minimum(np.abs(x), LARGE) * _share(np.minimum(np.abs(x), LARGE)),
    "gelu_tanh": _gelu_tanh,
}


def softmax(x: Array) -> Array:
    """Over the first axis."""
    e = np.exp(x - x.max(axis=0))
    return np.asarray(e / e.sum(axis=0))


def log_softmax(x: Array) -> Array:
    """Over the first axis; what is near 0 keeps its digits."""
    largest = x.argmax(axis=0), np.arange(x.shape[1])
    others = np.exp(x - x[largest])
    others[largest] = 0
    return np.asarray(x - x[largest] - np.log1p(others.sum(axis=0)))
