"""Activations, a vector at a time."""

from numba import njit

from . import vecmath
from .entry import kernel
from .groups import group, load_group, store_group
from .simd import lanes, load, select, store


@njit(error_model="numpy")
def _joined(stride0, stride1, stride2, F, B, lanes):
    """F and B; rows without a gap between them are one long row: short ones make up whole groups, too."""
    same = stride0 == stride1 and stride0 == stride2
    if same and stride0 - B < lanes and stride0 >= B and stride0 % lanes == 0:
        return min(F, 1), F * stride0
    return F, B


@kernel
def relu_forward(y, x, F, B):
    F, B = _joined(y.stride0, x.stride0, x.stride0, F, B, lanes(y.data))
    for f in range(F):
        for b in range(0, B, lanes(y.data)):
            value = load(x.data, f * x.stride0 + b)
            store(y.data, f * y.stride0 + b, select(value < 0.0, 0.0, value))  # NaN < 0 is false: NaN stays


@kernel
def relu_backward(dx, dy, y, F, B):
    F, B = _joined(dx.stride0, dy.stride0, y.stride0, F, B, lanes(dx.data))
    for f in range(F):
        for b in range(0, B, lanes(dx.data)):
            positive = load(y.data, f * y.stride0 + b) > 0.0
            store(dx.data, f * dx.stride0 + b, select(positive, load(dy.data, f * dy.stride0 + b), 0.0))


@kernel
def tanh_forward(y, x, F, B):
    F, B = _joined(y.stride0, x.stride0, x.stride0, F, B, lanes(y.data))
    width = lanes(y.data)
    whole = (B + width - 1) // (group(y.data) * width) * (group(y.data) * width)
    for f in range(F):
        for b in range(0, whole, group(y.data) * width):
            value = vecmath.tanh(load_group(x.data, f * x.stride0 + b, width))
            store_group(y.data, f * y.stride0 + b, width, value)
        for b in range(whole, B, width):
            store(y.data, f * y.stride0 + b, vecmath.tanh(load(x.data, f * x.stride0 + b)))


@kernel
def tanh_backward(dx, dy, y, F, B):
    F, B = _joined(dx.stride0, dy.stride0, y.stride0, F, B, lanes(dx.data))
    for f in range(F):
        for b in range(0, B, lanes(dx.data)):
            value = load(y.data, f * y.stride0 + b)
            store(dx.data, f * dx.stride0 + b, load(dy.data, f * dy.stride0 + b) * (1.0 - value * value))


@kernel
def sigmoid_forward(y, x, F, B):
    F, B = _joined(y.stride0, x.stride0, x.stride0, F, B, lanes(y.data))
    width = lanes(y.data)
    whole = (B + width - 1) // (group(y.data) * width) * (group(y.data) * width)
    for f in range(F):
        for b in range(0, whole, group(y.data) * width):
            value = vecmath.sigmoid(load_group(x.data, f * x.stride0 + b, width))
            store_group(y.data, f * y.stride0 + b, width, value)
        for b in range(whole, B, width):
            store(y.data, f * y.stride0 + b, vecmath.sigmoid(load(x.data, f * x.stride0 + b)))


@kernel
def sigmoid_backward(dx, dy, y, F, B):
    F, B = _joined(dx.stride0, dy.stride0, y.stride0, F, B, lanes(dx.data))
    for f in range(F):
        for b in range(0, B, lanes(dx.data)):
            value = load(y.data, f * y.stride0 + b)
            store(dx.data, f * dx.stride0 + b, load(dy.data, f * dy.stride0 + b) * (value * (1.0 - value)))
