"""Losses of one class among several: value and gradient in one pass, a vector of rows at a time. Rows beyond B in the
last vector count nothing."""

from numba import njit

from .entry import kernel
from .groups import group, lanes_below_group, load_integers_group, load_like, splat_group, sum_of_group
from .simd import fma, horizontal_sum, lanes, lanes_below, load, load_integers, select, splat, store
from .vecmath import exp_nonpositive, log, log1p_unit

_TINY = 1.2e-38
"""Where a probability counts as zero: the smallest normal number of float32, of which log can be taken."""


@njit(error_model="numpy", forceinline=True)
def _cross_entropy(dz, z, weights, C, b, label, valid, weight, weighted, label_smoothing, plain):
    """Terms of the loss of some rows, whose gradient it makes: a vector of rows, or a group of them side by side, since
    one alone waits for the latency of its sums and its logarithm.

    label, valid, weight   of these rows: class, whether there is such a row, scale of the loss
    plain                  known where this is called: neither weights nor smoothing, and nothing is spent on them
    """
    top = load_like(z.data, b, weight)
    wanted = top
    for c in range(1, C):
        value = load_like(z.data, c * z.stride0 + b, weight)
        top = select(value > top, value, top)
        wanted = select(label == c, value, wanted)
    wanted = wanted - top
    even = label_smoothing / C
    if not plain and label_smoothing > 0.0:
        shifted = load_like(z.data, b, weight) - top
        for c in range(1, C):
            shifted = shifted + (load_like(z.data, c * z.stride0 + b, weight) - top)
        wanted = fma(wanted, 1.0 - label_smoothing, shifted * even)
    partition = exp_nonpositive(load_like(z.data, b, weight) - top)
    store(dz.data, b, partition)
    for c in range(1, C):
        e = exp_nonpositive(load_like(z.data, c * z.stride0 + b, weight) - top)
        store(dz.data, c * dz.stride0 + b, e)
        partition = partition + e
    term = log(partition) - wanted
    if not plain and weighted != 0:
        given = load_like(weights, b, weight)
        term, weight = term * given, given * weight
    weight = select(valid, weight, 0.0)
    factor = weight / partition
    least = weight * even
    most = fma(weight, 1.0 - label_smoothing, least)
    for c in range(C):
        hit = select(label == c, weight, 0.0) if plain else select(label == c, most, least)
        e = load_like(dz.data, c * dz.stride0 + b, weight)
        store(dz.data, c * dz.stride0 + b, e * factor - hit)
    return select(valid, term, 0.0)


@kernel
def cross_entropy(dz, loss, z, labels, weights, C, B, scale, weighted, label_smoothing):
    total, width = splat(z.data, 0.0), lanes(z.data)
    side, plain = group(z.data) * width, weighted == 0 and not label_smoothing > 0.0
    grouped = (B + width - 1) // side * side if plain else 0
    for b in range(0, grouped, side):
        label, valid = load_integers_group(labels, b, z.data), lanes_below_group(z.data, B - b)
        weight = splat_group(z.data, scale)
        term = _cross_entropy(dz, z, weights, C, b, label, valid, weight, 0, 0.0, True)
        total = total + sum_of_group(term)
    for b in range(grouped, B if plain else 0, width):
        label, valid = load_integers(labels, b, z.data), lanes_below(z.data, B - b)
        total = total + _cross_entropy(dz, z, weights, C, b, label, valid, splat(z.data, scale), 0, 0.0, True)
    for b in range(B if plain else 0, B, width):
        label, valid, weight = load_integers(labels, b, z.data), lanes_below(z.data, B - b), splat(z.data, scale)
        total = total + _cross_entropy(dz, z, weights, C, b, label, valid, weight, weighted, label_smoothing, False)
    loss[0] = scale * horizontal_sum(total)


@kernel
def soft_cross_entropy(dz, loss, z, targets, weights, C, B, scale, weighted, label_smoothing):
    total = splat(z.data, 0.0)
    even, rest = label_smoothing / C, 1.0 - label_smoothing
    for b in range(0, B, lanes(z.data)):
        valid = lanes_below(z.data, B - b)
        top = load(z.data, b)
        for c in range(1, C):
            value = load(z.data, c * z.stride0 + b)
            top = select(value > top, value, top)
        partition, mass, wanted = splat(z.data, 0.0), splat(z.data, 0.0), splat(z.data, 0.0)
        for c in range(C):
            shifted = load(z.data, c * z.stride0 + b) - top
            t = load(targets.data, c * targets.stride0 + b) * rest + even
            mass = mass + t
            wanted = fma(t, shifted, wanted)
            e = exp_nonpositive(shifted)
            store(dz.data, c * dz.stride0 + b, e)
            partition = partition + e
        term, weight = log(partition) * mass - wanted, splat(z.data, scale)
        if weighted != 0:
            given = load(weights, b)
            term, weight = term * given, given * scale
        total = total + select(valid, term, 0.0)
        factor = weight * mass / partition
        for c in range(C):
            t = load(targets.data, c * targets.stride0 + b) * rest + even
            store(dz.data, c * dz.stride0 + b, load(dz.data, c * dz.stride0 + b) * factor - t * weight)
    loss[0] = scale * horizontal_sum(total)


@kernel
def focal(dz, loss, z, labels, weights, C, B, scale, weighted, gamma):
    total = splat(z.data, 0.0)
    for b in range(0, B, lanes(z.data)):
        label, valid = load_integers(labels, b, z.data), lanes_below(z.data, B - b)
        top = load(z.data, b)
        wanted = top
        for c in range(1, C):
            value = load(z.data, c * z.stride0 + b)
            top = select(value > top, value, top)
            wanted = select(label == c, value, wanted)
        own, rest = splat(z.data, 0.0), splat(z.data, 0.0)
        for c in range(C):
            e = exp_nonpositive(load(z.data, c * z.stride0 + b) - top)
            store(dz.data, c * dz.stride0 + b, e)
            own = select(label == c, e, own)
            rest = rest + select(label == c, 0.0, e)
        partition = rest + own
        p, q = own / partition, rest / partition
        easy, tiny = q < 0.5, q < _TINY
        surprise = select(easy, log1p_unit(select(easy, rest / own, 0.0)), log(partition) - (wanted - top))
        safe = select(tiny, 1.0, q)
        power = select(tiny, 0.0, exp_nonpositive(log(safe) * gamma))
        ratio = select(tiny, 1.0, surprise / safe)
        term, weight = power * surprise, splat(z.data, scale)
        if weighted != 0:
            given = load(weights, b)
            term, weight = term * given, given * scale
        total = total + select(valid, term, 0.0)
        factor = weight * (power * fma(p * gamma, ratio, 1.0)) / partition
        for c in range(C):
            share = select(label == c, -rest, load(dz.data, c * dz.stride0 + b))
            store(dz.data, c * dz.stride0 + b, share * factor)
    loss[0] = scale * horizontal_sum(total)


@kernel
def multi_class_hinge(dz, loss, z, labels, weights, C, B, scale, weighted, margin, squared):
    total = splat(z.data, 0.0)
    for b in range(0, B, lanes(z.data)):
        label, valid = load_integers(labels, b, z.data), lanes_below(z.data, B - b)
        wanted = load(z.data, b)
        for c in range(1, C):
            wanted = select(label == c, load(z.data, c * z.stride0 + b), wanted)
        base = splat(z.data, margin) - wanted
        weight = splat(z.data, scale)
        given = splat(z.data, 1.0)
        if weighted != 0:
            given = load(weights, b)
            weight = given * scale
        sum, slopes = splat(z.data, 0.0), splat(z.data, 0.0)
        for c in range(C):
            short = base + load(z.data, c * z.stride0 + b)
            short = select(label == c, 0.0, select(short < 0.0, 0.0, short))
            slope = select(short > 0.0, splat(z.data, 1.0), 0.0)
            term = short
            if squared != 0:
                slope, term = short * 2.0, short * short
            sum, slopes = sum + term, slopes + slope
            store(dz.data, c * dz.stride0 + b, slope * weight)
        total = total + select(valid, sum * given, 0.0)
        lowered = -slopes * weight
        for c in range(C):
            own = load(dz.data, c * dz.stride0 + b)
            store(dz.data, c * dz.stride0 + b, select(label == c, lowered, own))
    loss[0] = scale * horizontal_sum(total)
