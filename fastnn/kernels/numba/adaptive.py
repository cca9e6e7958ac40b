"""Updates that divide by the root of a sum, or a moving average, of squares."""

from numba import njit

from .entry import kernel
from .optimizers import decayed, prefetch3, prefetch4
from .roots import square_root_at
from .simd import fma, lanes, load, select, splat, store

# The loops of AdaGrad and RMSProp are made twice, without what is rarely asked for and with it: in L2 its branches
# alone took them from 0.104 to 0.120 ns a number (one core of a Zen 5, float32).


@njit(error_model="numpy", forceinline=True)
def _adagrad(param, sum, grad, rates, decays, N, lr, eps, inner_eps, weight_decay, shrink, grouped):
    for i in range(0, N, lanes(param)):
        prefetch3(param, sum, grad, i, N)
        w, g, rate = decayed(param, grad, rates, decays, i, lr, weight_decay, shrink, grouped)
        total = fma(g, g, load(sum, i))
        store(sum, i, total)
        store(param, i, w - g * rate / (square_root_at(_added(total, inner_eps), i) + eps))


@kernel
def adagrad_update(param, sum, grad, rates, decays, N, lr, eps, inner_eps, weight_decay, shrink, grouped):
    if grouped or weight_decay != 0.0 or shrink != 0.0 or inner_eps != 0.0:
        _adagrad(param, sum, grad, rates, decays, N, lr, eps, inner_eps, weight_decay, shrink, grouped)
    else:
        _adagrad(param, sum, grad, rates, decays, N, lr, eps, 0.0, 0.0, 0.0, 0)


@kernel
def adadelta_update(param, square_avg, acc_delta, grad, rates, decays, N, lr, rho, eps, weight_decay, shrink, grouped):
    for i in range(0, N, lanes(param)):
        prefetch4(param, square_avg, acc_delta, grad, i)
        w, g, rate = decayed(param, grad, rates, decays, i, lr, weight_decay, shrink, grouped)
        average, moved = _average(square_avg, g, i, rho), load(acc_delta, i)
        store(square_avg, i, average)
        delta = square_root_at(moved + eps, i) / square_root_at(average + eps, i + lanes(param)) * g
        store(acc_delta, i, fma(delta * (1.0 - rho), delta, moved * rho))
        store(param, i, fma(delta, -rate, w))


@njit(error_model="numpy", forceinline=True)
def _rmsprop(param, square_avg, grad, rates, decays, N, lr, alpha, eps, inner_eps, weight_decay, shrink, grouped):
    for i in range(0, N, lanes(param)):
        prefetch3(param, square_avg, grad, i, N)
        w, g, rate = decayed(param, grad, rates, decays, i, lr, weight_decay, shrink, grouped)
        average = _average(square_avg, g, i, alpha)
        store(square_avg, i, average)
        store(param, i, w - g * rate / (square_root_at(_added(average, inner_eps), i) + eps))


@kernel
def rmsprop_update(param, square_avg, grad, rates, decays, N, lr, alpha, eps, inner_eps, weight_decay, shrink, grouped):
    if grouped or weight_decay != 0.0 or shrink != 0.0 or inner_eps != 0.0:
        _rmsprop(param, square_avg, grad, rates, decays, N, lr, alpha, eps, inner_eps, weight_decay, shrink, grouped)
    else:
        _rmsprop(param, square_avg, grad, rates, decays, N, lr, alpha, eps, 0.0, 0.0, 0.0, 0)


@kernel
def rmsprop_momentum_update(
    param, square_avg, momentum_buffer, grad, rates, decays, N,
    lr, alpha, eps, inner_eps, momentum, weight_decay, shrink, grouped,
):  # fmt: skip
    for i in range(0, N, lanes(param)):
        prefetch4(param, square_avg, momentum_buffer, grad, i)
        w, g, rate = decayed(param, grad, rates, decays, i, lr, weight_decay, shrink, grouped)
        average = _average(square_avg, g, i, alpha)
        store(square_avg, i, average)
        velocity = fma(load(momentum_buffer, i), momentum, g / (square_root_at(_added(average, inner_eps), i) + eps))
        store(momentum_buffer, i, velocity)
        store(param, i, fma(velocity, -rate, w))


@kernel
def rmsprop_centered_update(
    param, square_avg, grad_avg, grad, rates, decays, N,
    lr, alpha, eps, inner_eps, weight_decay, shrink, grouped,
):  # fmt: skip
    for i in range(0, N, lanes(param)):
        prefetch4(param, square_avg, grad_avg, grad, i)
        w, g, rate = decayed(param, grad, rates, decays, i, lr, weight_decay, shrink, grouped)
        root = _centered_root(square_avg, grad_avg, g, i, alpha, inner_eps)
        store(param, i, w - g * rate / (root + eps))


@kernel
def rmsprop_centered_momentum_update(
    param, square_avg, grad_avg, momentum_buffer, grad, rates, decays, N,
    lr, alpha, eps, inner_eps, momentum, weight_decay, shrink, grouped,
):  # fmt: skip
    for i in range(0, N, lanes(param)):
        prefetch4(param, square_avg, grad_avg, grad, i)
        w, g, rate = decayed(param, grad, rates, decays, i, lr, weight_decay, shrink, grouped)
        root = _centered_root(square_avg, grad_avg, g, i, alpha, inner_eps)
        velocity = fma(load(momentum_buffer, i), momentum, g / (root + eps))
        store(momentum_buffer, i, velocity)
        store(param, i, fma(velocity, -rate, w))


@njit(error_model="numpy")
def _added(x, inner_eps):
    """x + inner_eps; most often there is none to add."""
    return x + inner_eps if inner_eps != 0.0 else x


@njit(error_model="numpy")
def _average(square_avg, g, i, alpha):
    """The moving average of squares after this gradient."""
    return fma(g * (1.0 - alpha), g, load(square_avg, i) * alpha)


@njit(error_model="numpy")
def _centered_root(square_avg, grad_avg, g, i, alpha, inner_eps):
    """The root of the variance, after both averages have moved."""
    average, mean = _average(square_avg, g, i, alpha), load(grad_avg, i)
    mean = fma(g - mean, 1.0 - alpha, mean)
    store(square_avg, i, average)
    store(grad_avg, i, mean)
    variance = fma(-mean, mean, average)
    variance = select(variance < 0.0, splat(square_avg, 0.0), variance)  # NaN < 0 is false: NaN stays
    return square_root_at(_added(variance, inner_eps), i)
