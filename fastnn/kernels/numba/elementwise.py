"""What losses share whose outputs each have a target of their own: a walk over all numbers, several vectors at a time,
that adds up the terms and stores the slopes, weighted by row where there are weights."""

from numba import njit

from .groups import group, load_group, store_group, sum_of_group
from .simd import horizontal_sum, lanes, lanes_below, load, select, splat, store


@njit(error_model="numpy")
def elementwise(dz, loss, z, targets, weights, C, B, scale, weighted, function, parameter):
    """loss = scale sum w_b term and dz = scale w_b slope, where `function(x, t, parameter)` gives term and slope of
    vectors or groups of them."""
    total = splat(z.data, 0.0)
    width = lanes(z.data)
    grouped = B // (group(z.data) * width) * (group(z.data) * width)
    for c in range(C):
        for b in range(0, grouped, group(z.data) * width):
            x, t = (
                load_group(z.data, c * z.stride0 + b, width),
                load_group(targets.data, c * targets.stride0 + b, width),
            )
            term, slope = function(x, t, parameter)
            if weighted != 0:
                weight = load_group(weights, b, width)
                term, slope = term * weight, slope * (weight * scale)
            else:
                slope = slope * scale
            total = total + sum_of_group(term)
            store_group(dz.data, c * dz.stride0 + b, width, slope)
        for b in range(grouped, B, width):
            valid = lanes_below(z.data, B - b)
            x, t = load(z.data, c * z.stride0 + b), load(targets.data, c * targets.stride0 + b)
            term, slope = function(x, t, parameter)
            if weighted != 0:
                weight = load(weights, b)
                term, slope = term * weight, slope * (weight * scale)
            else:
                slope = slope * scale
            total = total + select(valid, term, 0.0)
            store(dz.data, c * dz.stride0 + b, select(valid, slope, 0.0))
    loss[0] = scale * horizontal_sum(total)
