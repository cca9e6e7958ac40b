"""Activations whose derivative does not follow from their output: value and derivative in one pass."""

from numba import njit

from . import special
from .activations import elementwise, joined_rows
from .entry import kernel
from .groups import group, load_group, store_group
from .simd import lanes, load, store


def _value_of(function):
    """The value alone: LLVM leaves out what only the derivative needs."""

    @njit(error_model="numpy")
    def value(x):
        return function(x)[0]

    return elementwise(value)


def _with_slope(function):
    """y and slope = function(x)."""

    @njit(error_model="numpy")
    def apply(y, slope, x, F, B):
        same = y.stride0 == slope.stride0
        F, B = joined_rows(y.stride0, x.stride0, x.stride0 if same else -1, F, B, lanes(y.data))
        width = lanes(y.data)
        whole = (B + width - 1) // (group(y.data) * width) * (group(y.data) * width)
        for f in range(F):
            for b in range(0, whole, group(y.data) * width):
                value, derivative = function(load_group(x.data, f * x.stride0 + b, width))
                store_group(y.data, f * y.stride0 + b, width, value)
                store_group(slope.data, f * slope.stride0 + b, width, derivative)
            for b in range(whole, B, width):
                value, derivative = function(load(x.data, f * x.stride0 + b))
                store(y.data, f * y.stride0 + b, value)
                store(slope.data, f * slope.stride0 + b, derivative)

    return apply


_softplus, _softplus_with_slope = _value_of(special.softplus), _with_slope(special.softplus)
_silu, _silu_with_slope = _value_of(special.silu), _with_slope(special.silu)
_mish, _mish_with_slope = _value_of(special.mish), _with_slope(special.mish)
_gelu, _gelu_with_slope = _value_of(special.gelu), _with_slope(special.gelu)
_gelu_tanh, _gelu_tanh_with_slope = _value_of(special.gelu_tanh), _with_slope(special.gelu_tanh)


@kernel
def softplus_forward(y, x, F, B):
    _softplus(y, x, F, B)


@kernel
def softplus_forward_with_slope(y, slope, x, F, B):
    _softplus_with_slope(y, slope, x, F, B)


@kernel
def silu_forward(y, x, F, B):
    _silu(y, x, F, B)


@kernel
def silu_forward_with_slope(y, slope, x, F, B):
    _silu_with_slope(y, slope, x, F, B)


@kernel
def mish_forward(y, x, F, B):
    _mish(y, x, F, B)


@kernel
def mish_forward_with_slope(y, slope, x, F, B):
    _mish_with_slope(y, slope, x, F, B)


@kernel
def gelu_forward(y, x, F, B):
    _gelu(y, x, F, B)


@kernel
def gelu_forward_with_slope(y, slope, x, F, B):
    _gelu_with_slope(y, slope, x, F, B)


@kernel
def gelu_tanh_forward(y, x, F, B):
    _gelu_tanh(y, x, F, B)


@kernel
def gelu_tanh_forward_with_slope(y, slope, x, F, B):
    _gelu_tanh_with_slope(y, slope, x, F, B)


@kernel
def slope_backward(dx, dy, slope, F, B):
    F, B = joined_rows(dx.stride0, dy.stride0, slope.stride0, F, B, lanes(dx.data))
    for f in range(F):
        for b in range(0, B, lanes(dx.data)):
            grad = load(dy.data, f * dy.stride0 + b)
            store(dx.data, f * dx.stride0 + b, grad * load(slope.data, f * slope.stride0 + b))
