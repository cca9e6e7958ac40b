"""Activations whose derivative does not follow from their output, number by number: in training one operation makes
value and derivative, which share the exponential, and backward multiplies by the derivative.

What a formula loses in the tails is not lost here: numbers are float64 at least, and wider where an exponential would
magnify the rounding of its argument.
"""

import math
from typing import Any

import numpy as np

from ..table import operation

Array = np.ndarray[Any, Any]


def _at_least_double(x: Array) -> Array:
    return x.astype(np.result_type(x, np.float64))


def _decay(x: Array) -> tuple[Array, Array]:
    """e**-|x|, and the sigmoid of x."""
    e = np.exp(-np.abs(x))
    return e, np.where(x < 0, e, 1) / (1 + e)


def _normal(x: Array) -> tuple[Array, Array]:
    """The share Q of a normal distribution beyond |x|, and its density there.

    The error function is Python's, of float64; what its argument was rounded by is put back by the derivative.
    """
    a = np.minimum(np.abs(x), 1e4).astype(np.longdouble)
    wide = a / np.sqrt(np.longdouble(2))
    z = wide.astype(np.float64)
    share = np.frompyfunc(math.erfc, 1, 1)(z).astype(np.longdouble)
    share -= (wide - z) * np.exp(-z * z) * (2 / math.sqrt(math.pi))
    return share / 2, np.exp(-a * a / 2) / math.sqrt(2 * math.pi)


@operation(writes="y[F,B]", reads="x[F,B]", in_place="y=x", splits="F B")
def softplus_forward(y: Array, x: Array) -> None:
    """y = log(1 + exp(x)) (as PyTorch with beta 1, which takes x itself from 20 on; Dugas et al. 2001).

    y  (F, B)  written; may be x
    x  (F, B)  read
    """
    wide = _at_least_double(x)
    y[...] = np.maximum(wide, 0) + np.log1p(_decay(wide)[0])


@operation(writes="y[F,B] slope[F,B]", reads="x[F,B]", in_place="slope=x", splits="F B")
def softplus_forward_with_slope(y: Array, slope: Array, x: Array) -> None:
    """The same y, and the derivative: slope = sigmoid(x).

    y      (F, B)  written
    slope  (F, B)  written; may be x
    x      (F, B)  read
    """
    wide = _at_least_double(x)
    y[...] = np.maximum(wide, 0) + np.log1p(_decay(wide)[0])
    slope[...] = _decay(wide)[1]


@operation(writes="y[F,B]", reads="x[F,B]", in_place="y=x", splits="F B")
def silu_forward(y: Array, x: Array) -> None:
    """y = x sigmoid(x), also called swish (as PyTorch; Hendrycks and Gimpel 2016; Elfwing, Uchibe and Doya 2018).

    y  (F, B)  written; may be x
    x  (F, B)  read
    """
    wide = np.maximum(_at_least_double(x), -1e4)  # -0 from there on
    y[...] = wide * _decay(wide)[1]


@operation(writes="y[F,B] slope[F,B]", reads="x[F,B]", in_place="slope=x", splits="F B")
def silu_forward_with_slope(y: Array, slope: Array, x: Array) -> None:
    """The same y, and the derivative: slope = s + x s (1 - s) with s = sigmoid(x).

    y      (F, B)  written
    slope  (F, B)  written; may be x
    x      (F, B)  read
    """
    wide = np.maximum(_at_least_double(x), -1e4)  # -0 from there on
    e, s = _decay(wide)
    y[...] = wide * s
    slope[...] = s + np.minimum(wide, 1e4) * e / (1 + e) ** 2


@operation(writes="y[F,B]", reads="x[F,B]", in_place="y=x", splits="F B")
def mish_forward(y: Array, x: Array) -> None:
    """y = x tanh(log(1 + exp(x))) (as PyTorch; Misra 2020).

    y  (F, B)  written; may be x
    x  (F, B)  read
    """
    wide = np.maximum(_at_least_double(x), -1e4)  # -0 from there on
    e, _ = _decay(wide)
    n = np.where(wide < 0, e * (e + 2), 1 + 2 * e)
    t = n / (n + np.where(wide < 0, 2, 2 * e * e))
    y[...] = wide * t


@operation(writes="y[F,B] slope[F,B]", reads="x[F,B]", in_place="slope=x", splits="F B")
def mish_forward_with_slope(y: Array, slope: Array, x: Array) -> None:
    """The same y, and the derivative: slope = t + x (1 - t**2) sigmoid(x) with t = tanh(log(1 + exp(x))).

    y      (F, B)  written
    slope  (F, B)  written; may be x
    x      (F, B)  read
    """
    wide = np.maximum(_at_least_double(x), -1e4)  # -0 from there on
    e, s = _decay(wide)
    n = np.where(wide < 0, e * (e + 2), 1 + 2 * e)
    t = n / (n + np.where(wide < 0, 2, 2 * e * e))
    y[...] = wide * t
    rest = np.where(wide < 0, 2, 2 * e * e) / (n + np.where(wide < 0, 2, 2 * e * e))  # 1 - t
    slope[...] = t + np.minimum(wide, 1e4) * rest * (1 + t) * s


@operation(writes="y[F,B]", reads="x[F,B]", in_place="y=x", splits="F B")
def gelu_forward(y: Array, x: Array) -> None:
    """y = x P(x) with P(x) = (1 + erf(x / sqrt(2))) / 2 (PyTorch's default; Hendrycks and Gimpel 2016).

    y  (F, B)  written; may be x
    x  (F, B)  read
    """
    y[...] = np.where(x < 0, -0.0, x) - np.minimum(np.abs(x), 1e4) * _normal(x)[0]


@operation(writes="y[F,B] slope[F,B]", reads="x[F,B]", in_place="slope=x", splits="F B")
def gelu_forward_with_slope(y: Array, slope: Array, x: Array) -> None:
    """The same y, and the derivative: slope = P(x) + x p(x) with the density p(x) = exp(-x**2 / 2) / sqrt(2 pi).

    y      (F, B)  written
    slope  (F, B)  written; may be x
    x      (F, B)  read
    """
    share, density = _normal(x)
    size = np.minimum(np.abs(x), 1e4)
    y[...] = np.where(x < 0, -0.0, x) - size * share
    below = share - size * density
    slope[...] = np.where(x < 0, below, 1 - below)


@operation(writes="y[F,B]", reads="x[F,B]", in_place="y=x", splits="F B")
def gelu_tanh_forward(y: Array, x: Array) -> None:
    """y = x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x**3))) / 2 (PyTorch's approximate="tanh"; the same source).

    y  (F, B)  written; may be x
    x  (F, B)  read
    """
    wide = np.maximum(x.astype(np.longdouble), -1e3)  # -0 from there on
    near, cubic = np.minimum(wide, 1e3), np.longdouble("0.044715")
    rate = np.sqrt(8 / np.longdouble("3.14159265358979323846264338327950288"))
    s = _decay(rate * near * (1 + cubic * near * near))[1]
    y[...] = wide * s


@operation(writes="y[F,B] slope[F,B]", reads="x[F,B]", in_place="slope=x", splits="F B")
def gelu_tanh_forward_with_slope(y: Array, slope: Array, x: Array) -> None:
    """The same y, and the derivative: slope = s + x s (1 - s) z' with s = sigmoid(z), z being
    2 sqrt(2 / pi) (x + 0.044715 x**3).

    y      (F, B)  written
    slope  (F, B)  written; may be x
    x      (F, B)  read
    """
    wide = np.maximum(x.astype(np.longdouble), -1e3)  # -0 from there on
    near, cubic = np.minimum(wide, 1e3), np.longdouble("0.044715")
    rate = np.sqrt(8 / np.longdouble("3.14159265358979323846264338327950288"))
    e, s = _decay(rate * near * (1 + cubic * near * near))
    y[...] = wide * s
    slope[...] = s + near * e / (1 + e) ** 2 * rate * (1 + 3 * cubic * near * near)


@operation(writes="dx[F,B]", reads="dy[F,B] slope[F,B]", in_place="dx=dy", splits="F B")
def slope_backward(dx: Array, dy: Array, slope: Array) -> None:
    """dx = dy slope, the derivative that a `_with_slope` operation has made.

    dx     (F, B)  written; may be dy
    dy     (F, B)  read
    slope  (F, B)  read
    """
    dx[...] = dy * slope
