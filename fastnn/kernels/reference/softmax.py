"""Softmax and its logarithm over the features of each row. Backward kernels take the output y."""

from typing import Any

import numpy as np

from ..table import operation

Array = np.ndarray[Any, Any]


@operation(writes="y[F,B]", reads="x[F,B]", in_place="y=x", splits="B")
def softmax_forward(y: Array, x: Array) -> None:
    """y = exp(x) / sum exp(x), the sum over the features of each row.

    y  (F, B)  written; may be x
    x  (F, B)  read

    The largest feature of a row is subtracted first. A row that holds NaN or +inf, or nothing but -inf, becomes NaN (as
    PyTorch's `softmax(dim=1)` of rows).
    """
    e = np.exp(x - x.max(axis=0, initial=-np.inf))
    y[...] = e / e.sum(axis=0)


@operation(writes="dx[F,B]", reads="dy[F,B] y[F,B]", in_place="dx=dy", splits="B")
def softmax_backward(dx: Array, dy: Array, y: Array) -> None:
    """dx = y (dy - sum y dy), the sum over the features of each row.

    dx  (F, B)  written; may be dy
    dy  (F, B)  read
    y   (F, B)  read
    """
    dx[...] = y * (dy - (y * dy).sum(axis=0))


@operation(writes="y[F,B]", reads="x[F,B]", in_place="y=x", splits="B")
def log_softmax_forward(y: Array, x: Array) -> None:
    """y = x - log sum exp(x), the sum over the features of each row.

    y  (F, B)  written; may be x
    x  (F, B)  read

    The largest feature of a row is subtracted first, and its exponential, 1, left out of the sum, of which log1p is
    taken: so the logarithm of a probability near 1 keeps its digits. NaN and infinities as in `softmax_forward`.
    """
    shifted = x - x.max(axis=0, initial=-np.inf)
    others = np.exp(shifted)
    if len(x):
        others[shifted.argmax(axis=0), np.arange(x.shape[1])] -= 1
    y[...] = shifted - np.log1p(others.sum(axis=0))


@operation(writes="dx[F,B]", reads="dy[F,B] y[F,B]", in_place="dx=dy", splits="B")
def log_softmax_backward(dx: Array, dy: Array, y: Array) -> None:
    """dx = dy - exp(y) sum dy, the sum over the features of each row.

    dx  (F, B)  written; may be dy
    dy  (F, B)  read
    y   (F, B)  read
    """
    dx[...] = dy - np.exp(y) * dy.sum(axis=0)
