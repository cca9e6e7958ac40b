"""Adam and its kin. The roundings of `adam_update` are those of PyTorch's fused kernel: see optimizers.py."""

from numba import njit

from .entry import kernel
from .optimizers import decayed, prefetch4
from .roots import square_root_at
from .simd import fma, lanes, load, select, splat, store


@njit(error_model="numpy", forceinline=True)
def _adam(
    param, exp_avg, exp_avg_sq, grad, rates, decays, N,
    step_size, beta1, beta2, eps, sqrt_bias_correction2, weight_decay, shrink, grouped,
):  # fmt: skip
    correction = splat(param, sqrt_bias_correction2)
    reciprocal = 1.0 / correction
    for i in range(0, N, lanes(param)):
        prefetch4(param, exp_avg, exp_avg_sq, grad, i)
        w, g, rate = decayed(param, grad, rates, decays, i, step_size, weight_decay, shrink, grouped)
        m, v = _averages(exp_avg, exp_avg_sq, g, i, beta1, beta2)
        denominator = _quotient(square_root_at(v, i), correction, reciprocal) + eps
        store(param, i, w - m * rate / denominator)


@kernel
def adam_update(
    param, exp_avg, exp_avg_sq, grad, rates, decays, N,
    step_size, beta1, beta2, eps, sqrt_bias_correction2, weight_decay, shrink, grouped,
):  # fmt: skip
    # Made twice, as in adaptive.py: LLVM does better without the branches (in L2 0.195 -> 0.186 ns a number).
    if grouped or weight_decay != 0.0 or shrink != 0.0:
        _adam(
            param, exp_avg, exp_avg_sq, grad, rates, decays, N,
            step_size, beta1, beta2, eps, sqrt_bias_correction2, weight_decay, shrink, grouped,
        )  # fmt: skip
    else:
        _adam(
            param, exp_avg, exp_avg_sq, grad, rates, decays, N,
            step_size, beta1, beta2, eps, sqrt_bias_correction2, 0.0, 0.0, 0,
        )  # fmt: skip


@kernel
def nadam_update(
    param, exp_avg, exp_avg_sq, grad, rates, decays, N,
    grad_step, avg_step, beta1, beta2, eps, sqrt_bias_correction2, weight_decay, shrink, grouped,
):  # fmt: skip
    correction = splat(param, sqrt_bias_correction2)
    reciprocal = 1.0 / correction
    for i in range(0, N, lanes(param)):
        prefetch4(param, exp_avg, exp_avg_sq, grad, i)
        w, g, factor = decayed(param, grad, rates, decays, i, 1.0, weight_decay, shrink, grouped)
        m, v = _averages(exp_avg, exp_avg_sq, g, i, beta1, beta2)
        denominator = _quotient(square_root_at(v, i), correction, reciprocal) + eps
        store(param, i, w - fma(g, grad_step, m * avg_step) * factor / denominator)


@kernel
def radam_update(
    param, exp_avg, exp_avg_sq, grad, rates, decays, N,
    plain_step, rectified_step, beta1, beta2, eps, weight_decay, shrink, grouped,
):  # fmt: skip
    for i in range(0, N, lanes(param)):
        prefetch4(param, exp_avg, exp_avg_sq, grad, i)
        w, g, factor = decayed(param, grad, rates, decays, i, 1.0, weight_decay, shrink, grouped)
        m, v = _averages(exp_avg, exp_avg_sq, g, i, beta1, beta2)
        share = splat(param, rectified_step) / (square_root_at(v, i) + eps) + plain_step
        store(param, i, fma(m * factor, -share, w))


@njit(error_model="numpy")
def _averages(exp_avg, exp_avg_sq, g, i, beta1, beta2):
    """Both moving averages after this gradient, stored."""
    m, weight = load(exp_avg, i), splat(exp_avg, 1.0 - beta1)
    # From the end of the interpolation that is nearer, as PyTorch's lerp.
    m = fma(g - m, weight - 1.0, g) if 1.0 - beta1 >= 0.5 else fma(g - m, weight, m)
    v = fma(g * (1.0 - beta2), g, load(exp_avg_sq, i) * beta2)
    store(exp_avg, i, m)
    store(exp_avg_sq, i, v)
    return m, v


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
