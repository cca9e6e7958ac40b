"""Activations, a vector at a time."""

from . import vecmath
from .entry import kernel
from .simd import lanes, load, select, store


@kernel
def relu_forward(y, x, F, B):
    for f in range(F):
        for b in range(0, B, lanes(y.data)):
            value = load(x.data, f * x.stride0 + b)
            store(y.data, f * y.stride0 + b, select(value < 0.0, 0.0, value))  # NaN < 0 is false: NaN stays


@kernel
def relu_backward(dx, dy, y, F, B):
    for f in range(F):
        for b in range(0, B, lanes(dx.data)):
            positive = load(y.data, f * y.stride0 + b) > 0.0
            store(dx.data, f * dx.stride0 + b, select(positive, load(dy.data, f * dy.stride0 + b), 0.0))


@kernel
def tanh_forward(y, x, F, B):
    for f in range(F):
        for b in range(0, B, lanes(y.data)):
            store(y.data, f * y.stride0 + b, vecmath.tanh(load(x.data, f * x.stride0 + b)))


@kernel
def tanh_backward(dx, dy, y, F, B):
    for f in range(F):
        for b in range(0, B, lanes(dx.data)):
            value = load(y.data, f * y.stride0 + b)
            store(dx.data, f * dx.stride0 + b, load(dy.data, f * dy.stride0 + b) * (1.0 - value * value))


@kernel
def sigmoid_forward(y, x, F, B):
    for f in range(F):
        for b in range(0, B, lanes(y.data)):
            store(y.data, f * y.stride0 + b, vecmath.sigmoid(load(x.data, f * x.stride0 + b)))


@kernel
def sigmoid_backward(dx, dy, y, F, B):
    for f in range(F):
        for b in range(0, B, lanes(dx.data)):
            value = load(y.data, f * y.stride0 + b)
            store(dx.data, f * dx.stride0 + b, load(dy.data, f * dy.stride0 + b) * (value * (1.0 - value)))
