"""Losses: value and gradient in one pass, a vector of rows at a time. Rows beyond B in the last vector count
nothing."""

from .entry import kernel
from .simd import fma, horizontal_sum, lanes, lanes_below, load, load_integers, select, splat, store
from .vecmath import absolute, exp_nonpositive, log, log1p_unit


@kernel
def cross_entropy(dz, loss, z, labels, C, B, scale):
    total = splat(z.data, 0.0)
    for b in range(0, B, lanes(z.data)):
        label, valid = load_integers(labels, b, z.data), lanes_below(z.data, B - b)
        top = load(z.data, b)
        for c in range(1, C):
            value = load(z.data, c * z.stride0 + b)
            top = select(value > top, value, top)
        partition, wanted = splat(z.data, 0.0), splat(z.data, 0.0)
        for c in range(C):
            shifted = load(z.data, c * z.stride0 + b) - top
            wanted = select(label == c, shifted, wanted)
            e = exp_nonpositive(shifted)
            partition = partition + e
            store(dz.data, c * dz.stride0 + b, e)
        total = total + select(valid, log(partition) - wanted, 0.0)
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


@kernel
def bce(dz, loss, z, targets, C, B, scale):
    total = splat(z.data, 0.0)
    for c in range(C):
        for b in range(0, B, lanes(z.data)):
            valid = lanes_below(z.data, B - b)
            x, t = load(z.data, c * z.stride0 + b), load(targets.data, c * targets.stride0 + b)
            e = exp_nonpositive(-absolute(x))
            term = fma(-x, t, select(x < 0.0, 0.0, x)) + log1p_unit(e)
            total = total + select(valid, term, 0.0)
            sigmoid = select(x < 0.0, e, 1.0) / (e + 1.0)
            store(dz.data, c * dz.stride0 + b, select(valid, (sigmoid - t) * scale, 0.0))
    loss[0] = scale * horizontal_sum(total)
