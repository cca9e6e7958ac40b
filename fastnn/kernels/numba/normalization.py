"""Normalisation of each feature by itself: a feature is a contiguous row, its sums run along it.

Sums run in a group of vectors side by side, the rest in one: a single chain of additions would wait for each.
"""

import math

from numba import njit

from .entry import kernel
from .groups import group, load_group, splat_group, sum_of_group
from .simd import at, fma, horizontal_sum, lanes, lanes_below, load, select, store


@njit(error_model="numpy")
def _grouped(x, rows):
    """How many rows whole groups of vectors hold."""
    return rows // (group(x) * lanes(x)) * (group(x) * lanes(x))


@njit(error_model="numpy")
def _sum(x, rows):
    grouped, totals = _grouped(x, rows), splat_group(x, 0.0)
    for b in range(0, grouped, group(x) * lanes(x)):
        totals = totals + load_group(x, b, lanes(x))
    total = sum_of_group(totals)
    for b in range(grouped, rows, lanes(x)):
        total = total + select(lanes_below(x, rows - b), load(x, b), 0.0)
    return horizontal_sum(total)


@njit(error_model="numpy")
def _sum_of_squares(x, mean, rows):
    grouped, totals = _grouped(x, rows), splat_group(x, 0.0)
    for b in range(0, grouped, group(x) * lanes(x)):
        wide = load_group(x, b, lanes(x)) - mean
        totals = fma(wide, wide, totals)
    total = sum_of_group(totals)
    for b in range(grouped, rows, lanes(x)):
        centred = select(lanes_below(x, rows - b), load(x, b) - mean, 0.0)
        total = fma(centred, centred, total)
    return horizontal_sum(total)


@njit(error_model="numpy")
def _scale_and_shift(y, x, rows, mean, slope, offset):
    for b in range(0, rows, lanes(x)):
        store(y, b, fma(load(x, b) - mean, slope, offset))


@kernel
def batch_norm_forward(y, mean, inv_std, running_mean, running_var, x, gamma, beta, F, B, eps, momentum):
    for f in range(F):
        row = at(x.data, f * x.stride0)
        mean[f] = _sum(row, B) / B
        var = _sum_of_squares(row, mean[f], B) / B
        inv_std[f] = 1.0 / math.sqrt(var + eps)
        _scale_and_shift(at(y.data, f * y.stride0), row, B, mean[f], gamma[f] * inv_std[f], beta[f])
        if B > 1:
            running_mean[f] += momentum * (mean[f] - running_mean[f])
            running_var[f] += momentum * (var * B / (B - 1) - running_var[f])


@kernel
def batch_norm_inference(y, x, gamma, beta, running_mean, running_var, F, B, eps):
    for f in range(F):
        slope = gamma[f] / math.sqrt(running_var[f] + eps)
        _scale_and_shift(at(y.data, f * y.stride0), at(x.data, f * x.stride0), B, running_mean[f], slope, beta[f])


@kernel
def batch_norm_backward(dx, dgamma, dbeta, dy, x, gamma, mean, inv_std, F, B):
    for f in range(F):
        row, grad, out = at(x.data, f * x.stride0), at(dy.data, f * dy.stride0), at(dx.data, f * dx.stride0)
        grouped, totals, products = _grouped(row, B), splat_group(row, 0.0), splat_group(row, 0.0)
        for b in range(0, grouped, group(row) * lanes(row)):
            wide = load_group(grad, b, lanes(row))
            totals = totals + wide
            products = fma(wide, (load_group(row, b, lanes(row)) - mean[f]) * inv_std[f], products)
        total, product = sum_of_group(totals), sum_of_group(products)
        for b in range(grouped, B, lanes(row)):
            valid = lanes_below(row, B - b)
            g = select(valid, load(grad, b), 0.0)
            total = total + g
            product = fma(g, select(valid, (load(row, b) - mean[f]) * inv_std[f], 0.0), product)  # 0 * NaN is NaN
        dbeta[f], dgamma[f] = horizontal_sum(total), horizontal_sum(product)
        slope, from_beta, from_gamma = gamma[f] * inv_std[f], dbeta[f] / B, dgamma[f] / B * inv_std[f]
        for b in range(0, B, lanes(row)):
            centred = load(row, b) - mean[f]
            store(out, b, (load(grad, b) - from_beta - centred * from_gamma) * slope)


@kernel
def standardize(y, x, mean, scale, F, B):
    for f in range(F):
        for b in range(0, B, lanes(x.data)):
            store(y.data, f * y.stride0 + b, (load(x.data, f * x.stride0 + b) - mean[f]) / scale[f])
