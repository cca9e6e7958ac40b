"""Activations whose derivative follows from their output, a vector or a group of vectors at a time."""

from numba import njit

from ..reference.activations import SELU_ALPHA, SELU_SCALE
from . import special, vecmath
from .entry import kernel
from .groups import group, load_group, store_group
from .simd import absolute, lanes, load, select, store


@njit(error_model="numpy")
def joined_rows(stride0, stride1, stride2, F, B, lanes):
    """F and B; rows without a gap between them are one long row: short ones make up whole groups, too."""
    same = stride0 == stride1 and stride0 == stride2
    if same and stride0 - B < lanes and stride0 >= B and stride0 % lanes == 0:
        return min(F, 1), F * stride0
    return F, B


def elementwise(function):
    """y = function(x, *more) on groups of vectors, whose latencies overlap, and then on what is left of a row."""

    @njit(error_model="numpy")
    def apply(y, x, F, B, *more):
        F, B = joined_rows(y.stride0, x.stride0, x.stride0, F, B, lanes(y.data))
        width = lanes(y.data)
        whole = (B + width - 1) // (group(y.data) * width) * (group(y.data) * width)
        for f in range(F):
            for b in range(0, whole, group(y.data) * width):
                value = function(load_group(x.data, f * x.stride0 + b, width), *more)
                store_group(y.data, f * y.stride0 + b, width, value)
            for b in range(whole, B, width):
                store(y.data, f * y.stride0 + b, function(load(x.data, f * x.stride0 + b), *more))

    return apply


_elu, _selu = elementwise(special.elu), elementwise(special.selu)
_tanh, _softsign, _sigmoid = elementwise(vecmath.tanh), elementwise(special.softsign), elementwise(vecmath.sigmoid)


@kernel
def relu_forward(y, x, F, B):
    F, B = joined_rows(y.stride0, x.stride0, x.stride0, F, B, lanes(y.data))
    for f in range(F):
        for b in range(0, B, lanes(y.data)):
            value = load(x.data, f * x.stride0 + b)
            store(y.data, f * y.stride0 + b, select(value < 0.0, 0.0, value))  # NaN < 0 is false: NaN stays


@kernel
def relu_backward(dx, dy, y, F, B):
    F, B = joined_rows(dx.stride0, dy.stride0, y.stride0, F, B, lanes(dx.data))
    for f in range(F):
        for b in range(0, B, lanes(dx.data)):
            positive = load(y.data, f * y.stride0 + b) > 0.0
            store(dx.data, f * dx.stride0 + b, select(positive, load(dy.data, f * dy.stride0 + b), 0.0))


@kernel
def leaky_relu_forward(y, x, F, B, negative_slope):
    F, B = joined_rows(y.stride0, x.stride0, x.stride0, F, B, lanes(y.data))
    for f in range(F):
        for b in range(0, B, lanes(y.data)):
            value = load(x.data, f * x.stride0 + b)
            store(y.data, f * y.stride0 + b, select(value > 0.0, value, value * negative_slope))


@kernel
def leaky_relu_backward(dx, dy, y, F, B, negative_slope):
    F, B = joined_rows(dx.stride0, dy.stride0, y.stride0, F, B, lanes(dx.data))
    for f in range(F):
        for b in range(0, B, lanes(dx.data)):
            grad, value = load(dy.data, f * dy.stride0 + b), load(y.data, f * y.stride0 + b)
            store(dx.data, f * dx.stride0 + b, select(value > 0.0, grad, grad * negative_slope))


@kernel
def elu_forward(y, x, F, B, alpha):
    _elu(y, x, F, B, alpha)


@kernel
def elu_backward(dx, dy, y, F, B, alpha):
    F, B = joined_rows(dx.stride0, dy.stride0, y.stride0, F, B, lanes(dx.data))
    for f in range(F):
        for b in range(0, B, lanes(dx.data)):
            grad, value = load(dy.data, f * dy.stride0 + b), load(y.data, f * y.stride0 + b)
            store(dx.data, f * dx.stride0 + b, grad * select(value > 0.0, 1.0, value + alpha))


@kernel
def selu_forward(y, x, F, B):
    _selu(y, x, F, B)


@kernel
def selu_backward(dx, dy, y, F, B):
    F, B = joined_rows(dx.stride0, dy.stride0, y.stride0, F, B, lanes(dx.data))
    for f in range(F):
        for b in range(0, B, lanes(dx.data)):
            grad, value = load(dy.data, f * dy.stride0 + b), load(y.data, f * y.stride0 + b)
            slope = select(value > 0.0, SELU_SCALE, value + SELU_SCALE * SELU_ALPHA)
            store(dx.data, f * dx.stride0 + b, grad * slope)


@kernel
def tanh_forward(y, x, F, B):
    _tanh(y, x, F, B)


@kernel
def tanh_backward(dx, dy, y, F, B):
    F, B = joined_rows(dx.stride0, dy.stride0, y.stride0, F, B, lanes(dx.data))
    for f in range(F):
        for b in range(0, B, lanes(dx.data)):
            value = load(y.data, f * y.stride0 + b)
            store(dx.data, f * dx.stride0 + b, load(dy.data, f * dy.stride0 + b) * (1.0 - value * value))


@kernel
def hard_tanh_forward(y, x, F, B, min_val, max_val):
    F, B = joined_rows(y.stride0, x.stride0, x.stride0, F, B, lanes(y.data))
    for f in range(F):
        for b in range(0, B, lanes(y.data)):
            value = load(x.data, f * x.stride0 + b)
            value = select(value < min_val, min_val, value)  # NaN stays
            store(y.data, f * y.stride0 + b, select(value > max_val, max_val, value))


@kernel
def hard_tanh_backward(dx, dy, y, F, B, min_val, max_val):
    F, B = joined_rows(dx.stride0, dy.stride0, y.stride0, F, B, lanes(dx.data))
    for f in range(F):
        for b in range(0, B, lanes(dx.data)):
            grad, value = load(dy.data, f * dy.stride0 + b), load(y.data, f * y.stride0 + b)
            grad = select(value <= min_val, 0.0, grad)
            store(dx.data, f * dx.stride0 + b, select(value >= max_val, 0.0, grad))


@kernel
def softsign_forward(y, x, F, B):
    _softsign(y, x, F, B)


@kernel
def softsign_backward(dx, dy, y, F, B):
    F, B = joined_rows(dx.stride0, dy.stride0, y.stride0, F, B, lanes(dx.data))
    for f in range(F):
        for b in range(0, B, lanes(dx.data)):
            grad, value = load(dy.data, f * dy.stride0 + b), load(y.data, f * y.stride0 + b)
            rest = 1.0 - absolute(value)
            store(dx.data, f * dx.stride0 + b, grad * (rest * rest))


@kernel
def sigmoid_forward(y, x, F, B):
    _sigmoid(y, x, F, B)


@kernel
def sigmoid_backward(dx, dy, y, F, B):
    F, B = joined_rows(dx.stride0, dy.stride0, y.stride0, F, B, lanes(dx.data))
    for f in range(F):
        for b in range(0, B, lanes(dx.data)):
            value = load(y.data, f * y.stride0 + b)
            store(dx.data, f * dx.stride0 + b, load(dy.data, f * dy.stride0 + b) * (value * (1.0 - value)))
