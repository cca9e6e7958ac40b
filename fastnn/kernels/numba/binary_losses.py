"""Losses of yes-or-no questions: value and gradient in one pass, a vector of rows at a time. Rows beyond B in the last
vector count nothing."""

from numba import njit

from .elementwise import elementwise
from .entry import kernel
from .simd import absolute, fma, horizontal_sum, lanes, lanes_below, load, select, splat, store
from .vecmath import exp_nonpositive, log1p_unit


@njit(error_model="numpy")
def _bce(x, t, parameter):
    """Terms of the loss and its gradient before scaling: log(1 + e**x) - x t and sigmoid(x) - t."""
    e = exp_nonpositive(-absolute(x))
    sigmoid = select(x < 0.0, e, 1.0) / (e + 1.0)
    return fma(-x, t, select(x < 0.0, 0.0, x)) + log1p_unit(e), sigmoid - t


@kernel
def bce(dz, loss, z, targets, weights, C, B, scale, weighted):
    elementwise(dz, loss, z, targets, weights, C, B, scale, weighted, _bce, 0.0)


@njit(error_model="numpy")
def _binary_focal(x, t, gamma):
    s = select(t > 0.5, x, -x)
    e = exp_nonpositive(-absolute(x))
    tail, sum = log1p_unit(e), e + 1.0
    surprise, rest = select(s < 0.0, -s, 0.0) + tail, select(s < 0.0, 0.0, s) + tail  # -log p and -log q
    p, q = select(s < 0.0, e, 1.0) / sum, select(s < 0.0, 1.0, e) / sum
    power = exp_nonpositive(-(rest * gamma))
    slope = power * fma(p * gamma, surprise, q)
    return power * surprise, select(t > 0.5, -slope, slope)


@kernel
def binary_focal(dz, loss, z, targets, weights, C, B, scale, weighted, gamma):
    elementwise(dz, loss, z, targets, weights, C, B, scale, weighted, _binary_focal, gamma)


@njit(error_model="numpy")
def _hinge(x, t, parameter):
    margin = fma(-x, t, 1.0)
    return select(margin < 0.0, 0.0, margin), select(margin > 0.0, -t, 0.0)


@kernel
def hinge(dz, loss, z, targets, weights, C, B, scale, weighted):
    elementwise(dz, loss, z, targets, weights, C, B, scale, weighted, _hinge, 0.0)


@njit(error_model="numpy")
def _squared_hinge(x, t, parameter):
    margin = fma(-x, t, 1.0)
    margin = select(margin < 0.0, 0.0, margin)
    return margin * margin, margin * t * -2.0


@kernel
def squared_hinge(dz, loss, z, targets, weights, C, B, scale, weighted):
    elementwise(dz, loss, z, targets, weights, C, B, scale, weighted, _squared_hinge, 0.0)


@kernel
def margin_ranking(dz, loss, z, targets, weights, B, scale, weighted, margin):
    total = splat(z.data, 0.0)
    for b in range(0, B, lanes(z.data)):
        t = load(targets.data, b)
        short = fma(-t, load(z.data, b) - load(z.data, z.stride0 + b), margin)
        term, slope = select(short < 0.0, 0.0, short), select(short > 0.0, t, 0.0)
        if weighted != 0:
            weight = load(weights, b)
            term, slope = term * weight, slope * (weight * scale)
        else:
            slope = slope * scale
        total = total + select(lanes_below(z.data, B - b), term, 0.0)
        store(dz.data, b, -slope)
        store(dz.data, dz.stride0 + b, slope)
    loss[0] = scale * horizontal_sum(total)
