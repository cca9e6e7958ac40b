"""Activations; those of one NumPy call are the reference."""

from __future__ import annotations

from functools import partial

import numpy as np

from fastnn.kernels import OPERATIONS

from .making import MAKERS, Array, Make, Scratch, Work, apart, bits, makes


def _reference(name: str) -> Make:
    return lambda _, **given: partial(OPERATIONS[name].reference, **given)


MAKERS.update({name: _reference(name) for name in ("relu_forward", "tanh_forward")})


@makes("relu_backward", in_pieces=True)
def _relu_backward(scratch: Scratch, dx: Array, dy: Array, y: Array) -> Work:
    positive, result, grad = scratch(y, bool), bits(dx), bits(dy)

    def run() -> None:
        np.greater(y, 0, out=positive)
        np.multiply(grad, positive, out=result)

    return run


@makes("tanh_backward", in_pieces=True)
def _tanh_backward(scratch: Scratch, dx: Array, dy: Array, y: Array) -> Work:
    slope = apart(scratch, dx, dy)

    def run() -> None:
        np.multiply(y, y, out=slope)
        np.subtract(1, slope, out=slope)
        np.multiply(dy, slope, out=dx)

    return run


@makes("sigmoid_forward", in_pieces=True)
def _sigmoid_forward(scratch: Scratch, y: Array, x: Array) -> Work:
    """1 / (1 + exp(-x)): half the time of the form that cannot overflow. Beyond exp's range, which in float32 is x
    below -88, it is 0 instead of less than 1e-38, and NumPy warns."""

    def run() -> None:
        np.negative(x, out=y)
        np.exp(y, out=y)
        np.add(y, 1, out=y)
        np.divide(1, y, out=y)

    return run


@makes("sigmoid_backward", in_pieces=True)
def _sigmoid_backward(scratch: Scratch, dx: Array, dy: Array, y: Array) -> Work:
    slope = apart(scratch, dx, dy, y)

    def run() -> None:
        np.subtract(1, y, out=slope)
        np.multiply(slope, y, out=slope)
        np.multiply(dy, slope, out=dx)

    return run
