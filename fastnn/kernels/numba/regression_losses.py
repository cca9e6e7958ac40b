"""Losses of numbers: value and gradient in one pass, a vector of rows at a time. Rows beyond B in the last vector count
nothing."""

from numba import njit

from ..reference.regression_losses import LOG_COSH_SMALL
from .elementwise import elementwise
from .entry import kernel
from .simd import absolute, fma, horizontal_sum, lanes, lanes_below, load, select, splat, store, with_sign
from .vecmath import exp, exp_nonpositive, log1p_unit, tanh

_LOG_2 = 0.6931471805599453


@kernel
def mse(dz, loss, z, targets, weights, C, B, scale, weighted):
    total = splat(z.data, 0.0)
    for c in range(C):
        for b in range(0, B, lanes(z.data)):
            difference = load(z.data, c * z.stride0 + b) - load(targets.data, c * targets.stride0 + b)
            difference = select(lanes_below(z.data, B - b), difference, 0.0)
            if weighted != 0:
                weight = select(lanes_below(z.data, B - b), load(weights, b), 0.0)
                total = fma(difference * weight, difference, total)
                store(dz.data, c * dz.stride0 + b, difference * (weight * (2.0 * scale)))
            else:
                total = fma(difference, difference, total)
                store(dz.data, c * dz.stride0 + b, difference * (2.0 * scale))
    loss[0] = scale * horizontal_sum(total)


@njit(error_model="numpy")
def _mae(x, t, parameter):
    d = x - t
    return absolute(d), select(d > 0.0, 1.0, select(d < 0.0, -1.0, d))


@kernel
def mae(dz, loss, z, targets, weights, C, B, scale, weighted):
    elementwise(dz, loss, z, targets, weights, C, B, scale, weighted, _mae, 0.0)


@njit(error_model="numpy")
def _huber(x, t, delta):
    """With c = min(|d|, delta): c (|d| - c / 2), and d within the two deltas."""
    d = x - t
    size = absolute(d)
    clipped = select(size > delta, delta, size)
    slope = select(d > delta, delta, select(d < -delta, -delta, d))
    return clipped * (size - clipped * 0.5), slope


@kernel
def huber(dz, loss, z, targets, weights, C, B, scale, weighted, delta):
    elementwise(dz, loss, z, targets, weights, C, B, scale, weighted, _huber, delta)


@njit(error_model="numpy")
def _log_cosh(x, t, parameter):
    d = x - t
    size = absolute(d)
    y = tanh(size)
    small = size < LOG_COSH_SMALL
    square = y * y
    e = exp_nonpositive(size * -2.0)
    logarithm = log1p_unit(select(small, square / (1.0 - square), e))
    return select(small, logarithm * 0.5, size - _LOG_2 + logarithm), with_sign(y, d)


@kernel
def log_cosh(dz, loss, z, targets, weights, C, B, scale, weighted):
    elementwise(dz, loss, z, targets, weights, C, B, scale, weighted, _log_cosh, 0.0)


@njit(error_model="numpy")
def _quantile(x, t, tau):
    u = t - x
    term = select(u < 0.0, u * (tau - 1.0), u * tau)
    return term, select(u < 0.0, 1.0 - tau, select(u > 0.0, -tau, u))


@kernel
def quantile(dz, loss, z, targets, weights, C, B, scale, weighted, tau):
    elementwise(dz, loss, z, targets, weights, C, B, scale, weighted, _quantile, tau)


@njit(error_model="numpy")
def _poisson(x, t, parameter):
    e = exp(x)
    return fma(-x, t, e), e - t


@kernel
def poisson(dz, loss, z, targets, weights, C, B, scale, weighted):
    elementwise(dz, loss, z, targets, weights, C, B, scale, weighted, _poisson, 0.0)


@kernel
def gaussian(dmean, dlog_var, loss, mean, log_var, targets, weights, C, B, scale, weighted, log_eps):
    total = splat(mean.data, 0.0)
    for c in range(C):
        for b in range(0, B, lanes(mean.data)):
            valid = lanes_below(mean.data, B - b)
            s = load(log_var.data, c * log_var.stride0 + b)
            s = select(s < log_eps, log_eps, s)
            inverse = exp(-s)
            difference = load(mean.data, c * mean.stride0 + b) - load(targets.data, c * targets.stride0 + b)
            pull = difference * inverse
            ratio = difference * pull
            term = (s + ratio) * 0.5
            weight = splat(mean.data, scale)
            if weighted != 0:
                given = load(weights, b)
                term, weight = term * given, given * scale
            total = total + select(valid, term, 0.0)
            store(dmean.data, c * dmean.stride0 + b, pull * weight)
            store(dlog_var.data, c * dlog_var.stride0 + b, (1.0 - ratio) * 0.5 * weight)
    loss[0] = scale * horizontal_sum(total)
