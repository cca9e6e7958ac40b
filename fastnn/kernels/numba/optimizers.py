"""Optimizer updates: one pass over the arena, each number read and written once.

The order of the roundings, down to which product is fused with which sum, is that of PyTorch's fused CPU kernels, whose
bits `adam_update` and `adagrad_update` reproduce in float32.
"""

from numba import njit

from .entry import kernel
from .roots import square_root_at
from .simd import fma, lanes, load, prefetch, select, splat, store

# Numbers ahead of the loop that are asked for: four or more streams are too many for the hardware to foresee across
# pages (Adam on 240,000 parameters, in L3: 0.160 -> 0.138 ns each).
_AHEAD = 1024


@kernel
def sgd_update(param, grad, N, lr):
    for i in range(0, N, lanes(param)):
        store(param, i, fma(load(grad, i), -lr, load(param, i)))


@kernel
def momentum_update(param, momentum_buffer, grad, N, lr, momentum):
    for i in range(0, N, lanes(param)):
        _prefetch3(param, momentum_buffer, grad, i)
        velocity = load(momentum_buffer, i) * momentum + load(grad, i)
        store(momentum_buffer, i, velocity)
        store(param, i, fma(velocity, -lr, load(param, i)))


@kernel
def adagrad_update(param, sum, grad, N, lr, eps):
    for i in range(0, N, lanes(param)):
        _prefetch3(param, sum, grad, i)
        g = load(grad, i)
        total = fma(g, g, load(sum, i))
        store(sum, i, total)
        store(param, i, load(param, i) - g * lr / (square_root_at(total, i) + eps))


@kernel
def rmsprop_update(param, square_avg, grad, N, lr, alpha, eps):
    for i in range(0, N, lanes(param)):
        _prefetch3(param, square_avg, grad, i)
        g = load(grad, i)
        average = fma(g * (1.0 - alpha), g, load(square_avg, i) * alpha)
        store(square_avg, i, average)
        store(param, i, load(param, i) - g * lr / (square_root_at(average, i) + eps))


@kernel
def adam_update(param, exp_avg, exp_avg_sq, grad, N, step_size, beta1, beta2, eps, sqrt_bias_correction2):
    weight = splat(param, 1.0 - beta1)
    from_grad = 1.0 - beta1 >= 0.5  # the end of the interpolation that is nearer, as PyTorch's lerp
    correction = splat(param, sqrt_bias_correction2)
    reciprocal = 1.0 / correction
    for i in range(0, N, lanes(param)):
        _prefetch3(param, exp_avg, grad, i)
        prefetch(exp_avg_sq, i + _AHEAD)
        g, m = load(grad, i), load(exp_avg, i)
        m = fma(g - m, weight - 1.0, g) if from_grad else fma(g - m, weight, m)
        v = fma(g * (1.0 - beta2), g, load(exp_avg_sq, i) * beta2)
        store(exp_avg, i, m)
        store(exp_avg_sq, i, v)
        denominator = _quotient(square_root_at(v, i), correction, reciprocal) + eps
        store(param, i, load(param, i) - m * step_size / denominator)


@njit(error_model="numpy")
def _prefetch3(a, b, c, i):
    prefetch(a, i + _AHEAD)
    prefetch(b, i + _AHEAD)
    prefetch(c, i + _AHEAD)


@njit(error_model="numpy")
def _quotient(a, divisor, reciprocal):
    """a / divisor, correctly rounded, for a >= 0 and with reciprocal = 1 / divisor: the divider is busy enough.

    The reciprocal in two parts gives a quotient that is off by little more than half an ulp; by Markstein's theorem
    (1990) one correction by its exact remainder then rounds it correctly. Infinity and NaN stay what they are. (On a
    CPU without FMA the remainder is rounded too, and the quotient may be off by an ulp.)
    """
    rest = fma(-divisor, reciprocal, 1.0) * reciprocal
    quotient = fma(a, reciprocal, a * rest)
    quotient = fma(fma(-quotient, divisor, a), reciprocal, quotient)
    return select(a < float("inf"), quotient, a)
