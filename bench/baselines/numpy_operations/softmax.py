"""Softmax and its logarithm over the features of each row; sums over features are products with ones."""

from __future__ import annotations

import numpy as np

from .making import Array, Scratch, Work, apart, makes


@makes("softmax_forward")
def _softmax_forward(scratch: Scratch, y: Array, x: Array) -> Work:
    top, total, ones = scratch(x[0]) if len(x) else None, np.empty(x.shape[1], x.dtype), np.ones(len(x), x.dtype)

    def run() -> None:
        if top is None:
            return
        np.max(x, axis=0, out=top)
        np.subtract(x, top, out=y)
        np.exp(y, out=y)
        np.matmul(ones, y, out=total)
        np.divide(y, total, out=y)

    return run


@makes("softmax_backward")
def _softmax_backward(scratch: Scratch, dx: Array, dy: Array, y: Array) -> Work:
    product, total, ones = apart(scratch, dx, dy, y), np.empty(y.shape[1], y.dtype), np.ones(len(y), y.dtype)

    def run() -> None:
        np.multiply(dy, y, out=product)
        np.matmul(ones, product, out=total)
        np.subtract(dy, total, out=dx)
        np.multiply(dx, y, out=dx)

    return run


@makes("log_softmax_forward")
def _log_softmax_forward(scratch: Scratch, y: Array, x: Array) -> Work:
    top, e = scratch(x[0]) if len(x) else None, scratch(x)
    total, ones = np.empty(x.shape[1], x.dtype), np.ones(len(x), x.dtype)

    def run() -> None:
        if top is None:
            return
        np.max(x, axis=0, out=top)
        np.subtract(x, top, out=y)
        np.exp(y, out=e)
        np.matmul(ones, e, out=total)
        np.log(total, out=total)
        np.subtract(y, total, out=y)

    return run


@makes("log_softmax_backward")
def _log_softmax_backward(scratch: Scratch, dx: Array, dy: Array, y: Array) -> Work:
    e, total, ones = apart(scratch, dx, dy, y), np.empty(y.shape[1], y.dtype), np.ones(len(y), y.dtype)

    def run() -> None:
        np.matmul(ones, dy, out=total)
        np.exp(y, out=e)
        np.multiply(e, total, out=e)
        np.subtract(dy, e, out=dx)

    return run
