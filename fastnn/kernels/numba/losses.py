"""Losses: value and gradient in one pass, a vector of rows at a time. Rows beyond B in the last vector count
nothing."""

from numba import njit

from .entry import kernel
from .groups import group, load_group, load_pair, pair_of, store_group, store_pair, sum_of_group
from .simd import absolute, fma, horizontal_sum, lanes, lanes_below, load, load_integers, select, splat, store
from .vecmath import exp_nonpositive, log, log1p_unit


@kernel
def cross_entropy(dz, loss, z, labels, C, B, scale):
    total = splat(z.data, 0.0)
    for b in range(0, B, lanes(z.data)):
        label, valid = load_integers(labels, b, z.data), lanes_below(z.data, B - b)
        top = load(z.data, b)
        wanted = top
        for c in range(1, C):
            value = load(z.data, c * z.stride0 + b)
            top = select(value > top, value, top)
            wanted = select(label == c, value, wanted)
        partition = splat(z.data, 0.0)
        for c in range(0, C - 1, 2):  # more than two would cost more in registers than they gain
            e = exp_nonpositive(load_pair(z.data, c * z.stride0 + b, z.stride0) - pair_of(top))
            store_pair(dz.data, c * dz.stride0 + b, dz.stride0, e)
            partition = partition + sum_of_group(e)
        for c in range(C // 2 * 2, C):
            e = exp_nonpositive(load(z.data, c * z.stride0 + b) - top)
            store(dz.data, c * dz.stride0 + b, e)
            partition = partition + e
        total = total + select(valid, log(partition) - (wanted - top), 0.0)
        weight = select(valid, splat(z.data, scale), 0.0)
        factor = weight / partition
        for c in range(C):
            hit = select(label == c, weight, 0.0)
            store(dz.data, c * dz.stride0 + b, load(dz.data, c * dz.stride0 + b) * factor - hit)
    loss[0] = scale * horizontal_sum(total)


@kernel
def mse(dz, loss, z, targets, C, B, scale):
    total = splat(z.data, 0.0)
    for c in range(C):
        for b in range(0, B, lanes(z.data)):
            difference = load(z.data, c * z.stride0 + b) - load(targets.data, c * targets.stride0 + b)
            difference = select(lanes_below(z.data, B - b), difference, 0.0)
            total = fma(difference, difference, total)
            store(dz.data, c * dz.stride0 + b, difference * (2.0 * scale))
    loss[0] = scale * horizontal_sum(total)


@njit(error_model="numpy")
def _bce(x, t):
    """Terms of the loss and its gradient before scaling: log(1 + e**x) - x t and sigmoid(x) - t."""
    e = exp_nonpositive(-absolute(x))
    sigmoid = select(x < 0.0, e, 1.0) / (e + 1.0)
    return fma(-x, t, select(x < 0.0, 0.0, x)) + log1p_unit(e), sigmoid - t


@kernel
def bce(dz, loss, z, targets, C, B, scale):
    total = splat(z.data, 0.0)
    width = lanes(z.data)
    grouped = B // (group(z.data) * width) * (group(z.data) * width)
    for c in range(C):
        for b in range(0, grouped, group(z.data) * width):
            x = load_group(z.data, c * z.stride0 + b, width)
            term, slope = _bce(x, load_group(targets.data, c * targets.stride0 + b, width))
            total = total + sum_of_group(term)
            store_group(dz.data, c * dz.stride0 + b, width, slope * scale)
        for b in range(grouped, B, width):
            valid = lanes_below(z.data, B - b)
            term, slope = _bce(load(z.data, c * z.stride0 + b), load(targets.data, c * targets.stride0 + b))
            total = total + select(valid, term, 0.0)
            store(dz.data, c * dz.stride0 + b, select(valid, slope * scale, 0.0))
    loss[0] = scale * horizontal_sum(total)
