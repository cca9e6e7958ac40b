"""Optimizer updates: one pass over the arena, each number read and written once.

The order of the roundings, down to which product is fused with which sum, is that of PyTorch's fused CPU kernels, whose
bits `adam_update` and `adagrad_update` reproduce in float32.
"""

from numba import njit

from .entry import kernel
from .simd import fma, lanes, load, prefetch, select, splat, store

# Numbers ahead of the loop that are asked for: four or more streams are too many for the hardware to foresee across
# pages (Adam on 240,000 parameters, in L3: 0.160 -> 0.138 ns each). Three it foresees better by itself where they are
# long (momentum, one core of a Zen 5: 1e6 numbers 0.100 -> 0.094 ns, 1e7 0.285 -> 0.266; but 240,000, around the size
# of L2, 0.110 -> 0.101 by asking).
_AHEAD = 1024
_LONG = 2**19


@njit(error_model="numpy")
def decayed(param, grad, rates, decays, i, rate, weight_decay, shrink, grouped):
    """The parameters after decoupled decay, the gradient with coupled decay, and the rate of each.

    What is not asked for costs a branch that is always foreseen. (Three products with 0 and 1 took AdaGrad in L2 from
    0.084 to 0.107 ns a number.)
    """
    w, g = load(param, i), load(grad, i)
    if grouped:
        factor, share = load(rates, i), load(decays, i)
        return fma(factor * share * -shrink, w, w), fma(share * weight_decay, w, g), factor * rate
    if weight_decay != 0.0 or shrink != 0.0:
        return fma(w, -shrink, w), fma(w, weight_decay, g), splat(param, rate)
    return w, g, splat(param, rate)


@njit(error_model="numpy")
def prefetch3(a, b, c, i, N):
    """Asks for what the loop will read of three arrays of N numbers."""
    ahead = i + (_AHEAD if N < _LONG else 0)
    prefetch(a, ahead)
    prefetch(b, ahead)
    prefetch(c, ahead)


@njit(error_model="numpy")
def prefetch4(a, b, c, d, i):
    """The same of four."""
    prefetch3(a, b, c, i, 0)
    prefetch(d, i + _AHEAD)


@njit(error_model="numpy")
def signed(step, x):
    """step with the sign of x, 0 where x is; NaN where x is NaN."""
    return select(x > 0.0, step, select(x < 0.0, -step, x * 0.0))


@kernel
def sgd_update(param, grad, rates, decays, N, lr, weight_decay, shrink, grouped):
    for i in range(0, N, lanes(param)):
        w, g, rate = decayed(param, grad, rates, decays, i, lr, weight_decay, shrink, grouped)
        store(param, i, fma(g, -rate, w))


@kernel
def momentum_update(
    param, momentum_buffer, grad, rates, decays, N, lr, momentum, weight, weight_decay, shrink, grouped
):
    for i in range(0, N, lanes(param)):
        prefetch3(param, momentum_buffer, grad, i, N)
        w, g, rate = decayed(param, grad, rates, decays, i, lr, weight_decay, shrink, grouped)
        velocity = fma(g, weight, load(momentum_buffer, i) * momentum)
        store(momentum_buffer, i, velocity)
        store(param, i, fma(velocity, -rate, w))


@kernel
def nesterov_update(
    param, momentum_buffer, grad, rates, decays, N, lr, momentum, weight, weight_decay, shrink, grouped
):
    for i in range(0, N, lanes(param)):
        prefetch3(param, momentum_buffer, grad, i, N)
        w, g, rate = decayed(param, grad, rates, decays, i, lr, weight_decay, shrink, grouped)
        velocity = fma(g, weight, load(momentum_buffer, i) * momentum)
        store(momentum_buffer, i, velocity)
        store(param, i, fma(fma(velocity, momentum, g * weight), -rate, w))


@kernel
def lion_update(param, exp_avg, grad, rates, decays, N, lr, beta1, beta2, weight_decay, shrink, grouped):
    for i in range(0, N, lanes(param)):
        prefetch3(param, exp_avg, grad, i, N)
        w, g, rate = decayed(param, grad, rates, decays, i, lr, weight_decay, shrink, grouped)
        m = load(exp_avg, i)
        change = g - m
        store(param, i, w - signed(rate, fma(change, 1.0 - beta1, m)))
        store(exp_avg, i, fma(change, 1.0 - beta2, m))


@kernel
def rprop_update(
    param, prev, step_size, grad, rates, decays, N,
    rate_scale, eta_minus, eta_plus, min_step, max_step, weight_decay, shrink, grouped,
):  # fmt: skip
    one, shorter, longer = splat(param, 1.0), splat(param, eta_minus), splat(param, eta_plus)
    for i in range(0, N, lanes(param)):
        prefetch4(param, prev, step_size, grad, i)
        w, g, rate = decayed(param, grad, rates, decays, i, rate_scale, weight_decay, shrink, grouped)
        agree = signed(signed(one, g), load(prev, i))
        step = load(step_size, i) * select(agree > 0.0, longer, select(agree < 0.0, shorter, one))
        step = select(step < min_step, splat(param, min_step), step)
        step = select(step > max_step, splat(param, max_step), step)
        store(step_size, i, step)
        g = select(agree < 0.0, splat(param, 0.0), g)
        store(prev, i, g)
        store(param, i, fma(signed(step, g), -rate, w))
