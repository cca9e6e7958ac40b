"""Activations whose derivative does not follow from their output. GELU has no form here: NumPy has no error function,
and the argument of its tanh would have to be more exact than its numbers are."""

from __future__ import annotations

from functools import partial

import numpy as np

from .making import Array, Scratch, Work, apart, makes


@makes("slope_backward")
def _slope_backward(_: Scratch, dx: Array, dy: Array, slope: Array) -> Work:
    return partial(np.multiply, dy, slope, out=dx)


@makes("softplus_forward", in_pieces=True)
def _softplus_forward(scratch: Scratch, y: Array, x: Array) -> Work:
    e = scratch(x)

    def run() -> None:
        np.abs(x, out=e)
        np.negative(e, out=e)
        np.exp(e, out=e)
        np.log1p(e, out=e)
        np.maximum(x, 0, out=y)
        np.add(y, e, out=y)

    return run


@makes("softplus_forward_with_slope", in_pieces=True)
def _softplus_with_slope(scratch: Scratch, y: Array, slope: Array, x: Array) -> Work:
    value, sigmoid = _softplus_forward(scratch, y, x), _sigmoid(scratch(x), x)

    def run() -> None:
        value()
        np.copyto(slope, sigmoid())

    return run


def _sigmoid(s: Array, x: Array) -> partial[Array]:
    """s = sigmoid(x), as bench/baselines/numpy_operations/activations.py does it."""

    def run() -> Array:
        np.negative(x, out=s)
        np.exp(s, out=s)
        np.add(s, 1, out=s)
        return np.divide(1, s, out=s)

    return partial(run)


@makes("silu_forward", in_pieces=True)
def _silu_forward(scratch: Scratch, y: Array, x: Array) -> Work:
    e = apart(scratch, y, x)

    def run() -> None:
        np.negative(x, out=e)
        np.exp(e, out=e)
        np.add(e, 1, out=e)
        np.divide(x, e, out=y)

    return run


@makes("silu_forward_with_slope", in_pieces=True)
def _silu_with_slope(scratch: Scratch, y: Array, slope: Array, x: Array) -> Work:
    """s (1 + y e) with e = e**-x of at most e**80, s = 1 / (1 + e)."""
    e, s = scratch(x), scratch(x)

    def run() -> None:
        np.negative(x, out=e)
        np.minimum(e, 80, out=e)
        np.exp(e, out=e)
        np.add(e, 1, out=s)
        np.divide(x, s, out=y)
        np.divide(1, s, out=s)
        np.multiply(y, e, out=slope)
        np.add(slope, 1, out=slope)
        np.multiply(slope, s, out=slope)

    return run


def _mish(e: Array, t: Array, x: Array) -> Work:
    """e = e**x of at most e**20, from where on the quotient t is 1, and t = tanh(log(1 + e)) = n / (n + 2) with
    n = e (e + 2)."""

    def run() -> None:
        np.minimum(x, 20, out=e)
        np.exp(e, out=e)
        np.add(e, 2, out=t)
        np.multiply(t, e, out=t)

    return run


@makes("mish_forward", in_pieces=True)
def _mish_forward(scratch: Scratch, y: Array, x: Array) -> Work:
    e, n = scratch(x), scratch(x)
    prepare = _mish(e, n, x)

    def run() -> None:
        prepare()
        np.add(n, 2, out=e)
        np.divide(n, e, out=n)
        np.multiply(x, n, out=y)

    return run


@makes("mish_forward_with_slope", in_pieces=True)
def _mish_with_slope(scratch: Scratch, y: Array, slope: Array, x: Array) -> Work:
    """t + x 4 e (1 + e) / (n + 2)**2."""
    e, n, d = scratch(x), scratch(x), scratch(x)
    prepare = _mish(e, n, x)

    def run() -> None:
        prepare()
        np.add(n, 2, out=d)
        np.divide(n, d, out=n)
        np.multiply(x, n, out=y)
        np.multiply(d, d, out=d)
        np.divide(e, d, out=d)
        np.add(e, 1, out=e)
        np.multiply(d, e, out=d)
        np.multiply(d, 4, out=d)
        np.multiply(d, x, out=d)
        np.add(n, d, out=slope)

    return run
