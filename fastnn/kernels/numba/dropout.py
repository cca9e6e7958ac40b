"""Dropout with a counter-based generator; the mask is computed twice rather than stored."""

from numba import njit

from .entry import kernel
from .simd import below_unsigned, lane_numbers, lanes, load, select, store


@njit(error_model="numpy")
def _hash32(x):
    """`triple32`, see the reference."""
    x = (x ^ (x >> 17)) * 0xED5AD4BB
    x = (x ^ (x >> 11)) * 0xAC4C1B51
    x = (x ^ (x >> 15)) * 0x31848BAB
    return x ^ (x >> 14)


@njit(error_model="numpy")
def _hash_one(x):
    """The same for one number."""
    x = x & 0xFFFFFFFF
    x = ((x ^ (x >> 17)) * 0xED5AD4BB) & 0xFFFFFFFF
    x = ((x ^ (x >> 11)) * 0xAC4C1B51) & 0xFFFFFFFF
    x = ((x ^ (x >> 15)) * 0x31848BAB) & 0xFFFFFFFF
    return x ^ (x >> 14)


@njit(error_model="numpy")
def _scale_kept(out, x, features, rows, key, threshold, scale, first):
    columns = lane_numbers(x.data)
    for f in range(features):
        feature = _hash_one((first + f) ^ key)
        for b in range(0, rows, lanes(x.data)):
            kept = below_unsigned(_hash32(columns + (feature + b)), threshold)
            value = load(x.data, f * x.stride0 + b) * scale
            store(out.data, f * out.stride0 + b, select(kept, value, 0.0))


@kernel
def dropout_forward(y, x, F, B, key, threshold, scale, first):
    _scale_kept(y, x, F, B, key, threshold, scale, first)


@kernel
def dropout_backward(dx, dy, F, B, key, threshold, scale, first):
    _scale_kept(dx, dy, F, B, key, threshold, scale, first)
