"""Activations whose derivative follows from their output; those of one NumPy call are the reference."""

from __future__ import annotations

from functools import partial

import numpy as np

from fastnn.kernels import OPERATIONS
from fastnn.kernels.reference.activations import SELU_ALPHA, SELU_SCALE

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


@makes("leaky_relu_forward", in_pieces=True)
def _leaky_relu_forward(scratch: Scratch, y: Array, x: Array, negative_slope: float) -> Work:
    positive, below = scratch(x, bool), apart(scratch, y, x)

    def run() -> None:
        np.greater(x, 0, out=positive)
        np.multiply(x, negative_slope, out=below)
        np.copyto(below, x, where=positive)
        if below is not y:
            np.copyto(y, below)

    return run


@makes("leaky_relu_backward", in_pieces=True)
def _leaky_relu_backward(scratch: Scratch, dx: Array, dy: Array, y: Array, negative_slope: float) -> Work:
    positive, below = scratch(y, bool), apart(scratch, dx, dy, y)

    def run() -> None:
        np.greater(y, 0, out=positive)
        np.multiply(dy, negative_slope, out=below)
        np.copyto(below, dy, where=positive)
        if below is not dx:
            np.copyto(dx, below)

    return run


def _elu(scratch: Scratch, y: Array, x: Array, scale: float, alpha: float) -> Work:
    negative, below = scratch(x, bool), scratch(x)

    def run() -> None:
        np.less(x, 0, out=negative)
        np.minimum(x, 0, out=below)
        np.expm1(below, out=below)
        np.multiply(below, scale * alpha, out=below)
        np.multiply(x, scale, out=y)
        np.copyto(y, below, where=negative)

    return run


def _elu_backward(scratch: Scratch, dx: Array, dy: Array, y: Array, scale: float, alpha: float) -> Work:
    positive, slope = scratch(y, bool), apart(scratch, dx, dy, y)

    def run() -> None:
        np.greater(y, 0, out=positive)
        np.add(y, scale * alpha, out=slope)
        np.copyto(slope, scale, where=positive)
        np.multiply(dy, slope, out=dx)

    return run


@makes("elu_forward", in_pieces=True)
def _elu_forward_of(scratch: Scratch, y: Array, x: Array, alpha: float) -> Work:
    return _elu(scratch, y, x, 1.0, alpha)


@makes("elu_backward", in_pieces=True)
def _elu_backward_of(scratch: Scratch, dx: Array, dy: Array, y: Array, alpha: float) -> Work:
    return _elu_backward(scratch, dx, dy, y, 1.0, alpha)


@makes("selu_forward", in_pieces=True)
def _selu_forward(scratch: Scratch, y: Array, x: Array) -> Work:
    return _elu(scratch, y, x, SELU_SCALE, SELU_ALPHA)


@makes("selu_backward", in_pieces=True)
def _selu_backward(scratch: Scratch, dx: Array, dy: Array, y: Array) -> Work:
    return _elu_backward(scratch, dx, dy, y, SELU_SCALE, SELU_ALPHA)


@makes("hard_tanh_forward")
def _hard_tanh_forward(_: Scratch, y: Array, x: Array, min_val: float, max_val: float) -> Work:
    return partial(np.clip, x, x.dtype.type(min_val), x.dtype.type(max_val), out=y)


@makes("hard_tanh_backward", in_pieces=True)
def _hard_tanh_backward(scratch: Scratch, dx: Array, dy: Array, y: Array, min_val: float, max_val: float) -> Work:
    inside, below = scratch(y, bool), scratch(y, bool)
    low, high, result, grad = y.dtype.type(min_val), y.dtype.type(max_val), bits(dx), bits(dy)

    def run() -> None:
        np.greater(y, low, out=inside)
        np.less(y, high, out=below)
        np.logical_and(inside, below, out=inside)
        np.multiply(grad, inside, out=result)

    return run


@makes("softsign_forward", in_pieces=True)
def _softsign_forward(scratch: Scratch, y: Array, x: Array) -> Work:
    size = apart(scratch, y, x)

    def run() -> None:
        np.abs(x, out=size)
        np.add(size, 1, out=size)
        np.divide(x, size, out=y)

    return run


@makes("softsign_backward", in_pieces=True)
def _softsign_backward(scratch: Scratch, dx: Array, dy: Array, y: Array) -> Work:
    rest = apart(scratch, dx, dy, y)

    def run() -> None:
        np.abs(y, out=rest)
        np.subtract(1, rest, out=rest)
        np.multiply(rest, rest, out=rest)
        np.multiply(dy, rest, out=dx)

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
