"""Optimizer updates: one pass over the arena, each number read and written once.

The order of the roundings, down to which product is fused with which sum, is that of PyTorch's fused CPU kernels, whose
bits `adam_update` and `adagrad_update` reproduce in float32.
"""

from .entry import kernel
from .simd import fma, lanes, load, splat, sqrt, store


@kernel
def sgd_update(param, grad, N, lr):
    for i in range(0, N, lanes(param)):
        store(param, i, fma(load(grad, i), -lr, load(param, i)))


@kernel
def momentum_update(param, momentum_buffer, grad, N, lr, momentum):
    for i in range(0, N, lanes(param)):
        velocity = load(momentum_buffer, i) * momentum + load(grad, i)
        store(momentum_buffer, i, velocity)
        store(param, i, fma(velocity, -lr, load(param, i)))


@kernel
def adagrad_update(param, sum, grad, N, lr, eps):
    for i in range(0, N, lanes(param)):
        g = load(grad, i)
        total = fma(g, g, load(sum, i))
        store(sum, i, total)
        store(param, i, load(param, i) - g * lr / (sqrt(total) + eps))


@kernel
def rmsprop_update(param, square_avg, grad, N, lr, alpha, eps):
    for i in range(0, N, lanes(param)):
        g = load(grad, i)
        average = fma(g * (1.0 - alpha), g, load(square_avg, i) * alpha)
        store(square_avg, i, average)
        store(param, i, load(param, i) - g * lr / (sqrt(average) + eps))


@kernel
def adam_update(param, exp_avg, exp_avg_sq, grad, N, step_size, beta1, beta2, eps, sqrt_bias_correction2):
    weight = splat(param, 1.0 - beta1)
    from_grad = 1.0 - beta1 >= 0.5  # the end of the interpolation that is nearer, as PyTorch's lerp
    for i in range(0, N, lanes(param)):
        g, m = load(grad, i), load(exp_avg, i)
        m = fma(g - m, weight - 1.0, g) if from_grad else fma(g - m, weight, m)
        v = fma(g * (1.0 - beta2), g, load(exp_avg_sq, i) * beta2)
        store(exp_avg, i, m)
        store(exp_avg_sq, i, v)
        denominator = sqrt(v) / sqrt_bias_correction2 + eps
        store(param, i, load(param, i) - m * step_size / denominator)
