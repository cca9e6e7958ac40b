"""Activations whose derivative follows from their output y, number by number: backward kernels take y, which training
keeps, not the input.
"""

from typing import Any

import numpy as np

from ..table import operation

Array = np.ndarray[Any, Any]

SELU_SCALE, SELU_ALPHA = 1.0507009873554804934193349852946, 1.6732632423543772848170429916717
"""With these, mean 0 and variance 1 are a fixed point of a layer: Klambauer et al. 2017."""


@operation(writes="y[F,B]", reads="x[F,B]", in_place="y=x", splits="F B")
def relu_forward(y: Array, x: Array) -> None:
    """y = max(x, 0).

    y  (F, B)  written; may be x
    x  (F, B)  read

    NaN stays NaN.
    """
    np.maximum(x, 0, out=y)


@operation(writes="dx[F,B]", reads="dy[F,B] y[F,B]", in_place="dx=dy", splits="F B")
def relu_backward(dx: Array, dy: Array, y: Array) -> None:
    """dx = dy where y > 0, else 0: the gradient at zero is zero (as PyTorch, JAX).

    dx  (F, B)  written; may be dy
    dy  (F, B)  read
    y   (F, B)  read
    """
    dx[...] = np.where(y > 0, dy, 0)


@operation(writes="y[F,B]", reads="x[F,B]", scalars="negative_slope", in_place="y=x", splits="F B")
def leaky_relu_forward(y: Array, x: Array, negative_slope: float) -> None:
    """y = x where x > 0, else negative_slope x (as PyTorch; Maas, Hannun and Ng 2013).

    y               (F, B)  written; may be x
    x               (F, B)  read
    negative_slope  at least 0
    """
    y[...] = np.where(x > 0, x, x.dtype.type(negative_slope) * x)


@operation(writes="dx[F,B]", reads="dy[F,B] y[F,B]", scalars="negative_slope", in_place="dx=dy", splits="F B")
def leaky_relu_backward(dx: Array, dy: Array, y: Array, negative_slope: float) -> None:
    """dx = dy where y > 0, else negative_slope dy, at zero too (as PyTorch).

    dx              (F, B)  written; may be dy
    dy              (F, B)  read
    y               (F, B)  read
    negative_slope  that of forward
    """
    dx[...] = np.where(y > 0, dy, dy.dtype.type(negative_slope) * dy)


@operation(writes="y[F,B]", reads="x[F,B]", scalars="alpha", in_place="y=x", splits="F B")
def elu_forward(y: Array, x: Array, alpha: float) -> None:
    """y = x where x > 0, else alpha (exp(x) - 1) (as PyTorch; Clevert, Unterthiner and Hochreiter 2016).

    y      (F, B)  written; may be x
    x      (F, B)  read
    alpha  at least 0

    The sign of zero stays.
    """
    y[...] = np.where(x < 0, x.dtype.type(alpha) * np.expm1(np.minimum(x, 0)), x)


@operation(writes="dx[F,B]", reads="dy[F,B] y[F,B]", scalars="alpha", in_place="dx=dy", splits="F B")
def elu_backward(dx: Array, dy: Array, y: Array, alpha: float) -> None:
    """dx = dy where y > 0, else dy (y + alpha): at zero the derivative is alpha (as PyTorch).

    dx     (F, B)  written; may be dy
    dy     (F, B)  read
    y      (F, B)  read
    alpha  that of forward
    """
    dx[...] = dy * np.where(y > 0, 1, y + y.dtype.type(alpha))


@operation(writes="y[F,B]", reads="x[F,B]", in_place="y=x", splits="F B")
def selu_forward(y: Array, x: Array) -> None:
    """y = 1.0507... x where x > 0, else 1.0507... 1.6732... (exp(x) - 1) (as PyTorch; Klambauer et al. 2017).

    y  (F, B)  written; may be x
    x  (F, B)  read

    The sign of zero stays.
    """
    real = x.dtype.type
    below = real(SELU_SCALE * SELU_ALPHA) * np.expm1(np.minimum(x, 0))
    y[...] = np.where(x < 0, below, real(SELU_SCALE) * x)


@operation(writes="dx[F,B]", reads="dy[F,B] y[F,B]", in_place="dx=dy", splits="F B")
def selu_backward(dx: Array, dy: Array, y: Array) -> None:
    """dx = 1.0507... dy where y > 0, else dy (y + 1.0507... 1.6732...), at zero too (as PyTorch).

    dx  (F, B)  written; may be dy
    dy  (F, B)  read
    y   (F, B)  read
    """
    real = y.dtype.type
    dx[...] = dy * np.where(y > 0, real(SELU_SCALE), y + real(SELU_SCALE * SELU_ALPHA))


@operation(writes="y[F,B]", reads="x[F,B]", in_place="y=x", splits="F B")
def tanh_forward(y: Array, x: Array) -> None:
    """y = tanh(x).

    y  (F, B)  written; may be x
    x  (F, B)  read
    """
    np.tanh(x, out=y)


@operation(writes="dx[F,B]", reads="dy[F,B] y[F,B]", in_place="dx=dy", splits="F B")
def tanh_backward(dx: Array, dy: Array, y: Array) -> None:
    """dx = dy (1 - y**2).

    dx  (F, B)  written; may be dy
    dy  (F, B)  read
    y   (F, B)  read
    """
    dx[...] = dy * (1 - y * y)


@operation(writes="y[F,B]", reads="x[F,B]", scalars="min_val max_val", in_place="y=x", splits="F B")
def hard_tanh_forward(y: Array, x: Array, min_val: float, max_val: float) -> None:
    """y = x between min_val and max_val, else the nearer of the two (as PyTorch's `hardtanh`; Collobert 2004).

    y                 (F, B)  written; may be x
    x                 (F, B)  read
    min_val, max_val  min_val < max_val

    NaN stays NaN.
    """
    low, high = x.dtype.type(min_val), x.dtype.type(max_val)
    y[...] = np.where(x < low, low, np.where(x > high, high, x))


@operation(writes="dx[F,B]", reads="dy[F,B] y[F,B]", scalars="min_val max_val", in_place="dx=dy", splits="F B")
def hard_tanh_backward(dx: Array, dy: Array, y: Array, min_val: float, max_val: float) -> None:
    """dx = dy where min_val < y < max_val, else 0: the derivative at both kinks is 0 (as PyTorch).

    dx                (F, B)  written; may be dy
    dy                (F, B)  read
    y                 (F, B)  read
    min_val, max_val  those of forward
    """
    real = y.dtype.type
    dx[...] = np.where((y <= real(min_val)) | (y >= real(max_val)), 0, dy)


@operation(writes="y[F,B]", reads="x[F,B]", in_place="y=x", splits="F B")
def softsign_forward(y: Array, x: Array) -> None:
    """y = x / (1 + |x|), and -1 or 1 of an infinite x (as PyTorch; Bergstra et al. 2009).

    y  (F, B)  written; may be x
    x  (F, B)  read
    """
    size = np.minimum(np.abs(x), x.dtype.type(2.0**60))  # 1 + 2**60 is 2**60
    y[...] = np.copysign(size / (1 + size), x)


@operation(writes="dx[F,B]", reads="dy[F,B] y[F,B]", in_place="dx=dy", splits="F B")
def softsign_backward(dx: Array, dy: Array, y: Array) -> None:
    """dx = dy (1 - |y|)**2, which is dy / (1 + |x|)**2; the derivative at 0 is 1.

    dx  (F, B)  written; may be dy
    dy  (F, B)  read
    y   (F, B)  read
    """
    dx[...] = dy * (1 - np.abs(y)) ** 2


@operation(writes="y[F,B]", reads="x[F,B]", in_place="y=x", splits="F B")
def sigmoid_forward(y: Array, x: Array) -> None:
    """y = 1 / (1 + exp(-x)), in the form that cannot overflow: with e = exp(-|x|), 1 / (1 + e) for x >= 0 and
    e / (1 + e) below.

    y  (F, B)  written; may be x
    x  (F, B)  read
    """
    e = np.exp(-np.abs(x))
    y[...] = np.where(x < 0, e, 1) / (1 + e)


@operation(writes="dx[F,B]", reads="dy[F,B] y[F,B]", in_place="dx=dy", splits="F B")
def sigmoid_backward(dx: Array, dy: Array, y: Array) -> None:
    """dx = dy y (1 - y).

    dx  (F, B)  written; may be dy
    dy  (F, B)  read
    y   (F, B)  read
    """
    dx[...] = dy * (y * (1 - y))
