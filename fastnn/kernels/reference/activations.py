"""Activations, elementwise over N numbers. Backward kernels take the output y, which training keeps, not the input."""

from typing import Any

import numpy as np

from ..table import operation

Array = np.ndarray[Any, Any]


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
