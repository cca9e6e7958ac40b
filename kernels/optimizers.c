/* Optimizer updates: one pass over the arena, each number read and written once. The order of the roundings is that of
 * the Numba twin, which says why. Reference: fastnn/kernels/reference/optimizers.py */
#include "optimizers.h"

KERNEL(sgd_update)
{
    REAL *param = next_array(&words);
    const Gradient grad = next_gradient(&words);
    const V lr = next_splat(&words);
    const Decay decay = next_decay(&words);
#pragma GCC unroll 8
    for (int64_t i = 0; i < grad.N; i += LANES) {
        const Decayed at = decayed(param, grad, i, lr, decay);
        store(param + i, fmadd(at.g, -at.rate, at.w));
    }
}

KERNEL(momentum_update)
{
    REAL *param = next_array(&words), *momentum_buffer = next_array(&words);
    const Gradient grad = next_gradient(&words);
    const V lr = next_splat(&words), momentum = next_splat(&words), weight = next_splat(&words);
    const Decay decay = next_decay(&words);
    for (int64_t i = 0; i < grad.N; i += LANES) {
        prefetch3(param, momentum_buffer, grad.grad, i, grad.N);
        const Decayed at = decayed(param, grad, i, lr, decay);
        const V velocity = fmadd(at.g, weight, load(momentum_buffer + i) * momentum);
        store(momentum_buffer + i, velocity);
        store(param + i, fmadd(velocity, -at.rate, at.w));
    }
}

KERNEL(nesterov_update)
{
    REAL *param = next_array(&words), *momentum_buffer = next_array(&words);
    const Gradient grad = next_gradient(&words);
    const V lr = next_splat(&words), momentum = next_splat(&words), weight = next_splat(&words);
    const Decay decay = next_decay(&words);
    for (int64_t i = 0; i < grad.N; i += LANES) {
        prefetch3(param, momentum_buffer, grad.grad, i, grad.N);
        const Decayed at = decayed(param, grad, i, lr, decay);
        const V velocity = fmadd(at.g, weight, load(momentum_buffer + i) * momentum);
        store(momentum_buffer + i, velocity);
        store(param + i, fmadd(fmadd(velocity, momentum, at.g * weight), -at.rate, at.w));
    }
}

KERNEL(lion_update)
{
    REAL *param = next_array(&words), *exp_avg = next_array(&words);
    const Gradient grad = next_gradient(&words);
    const V lr = next_splat(&words);
    const double beta1 = next_scalar(&words), beta2 = next_scalar(&words);
    const V weight1 = splat((REAL)(1 - beta1)), weight2 = splat((REAL)(1 - beta2));
    const Decay decay = next_decay(&words);
    for (int64_t i = 0; i < grad.N; i += LANES) {
        prefetch3(param, exp_avg, grad.grad, i, grad.N);
        const Decayed at = decayed(param, grad, i, lr, decay);
        const V m = load(exp_avg + i), change = at.g - m;
        store(param + i, at.w - signed_step(at.rate, fmadd(change, weight1, m)));
        store(exp_avg + i, fmadd(change, weight2, m));
    }
}

KERNEL(rprop_update)
{
    REAL *param = next_array(&words), *prev = next_array(&words), *step_size = next_array(&words);
    const Gradient grad = next_gradient(&words);
    const V rate_scale = next_splat(&words), shorter = next_splat(&words), longer = next_splat(&words);
    const V min_step = next_splat(&words), max_step = next_splat(&words), zero = splat(0), one = splat(1);
    const Decay decay = next_decay(&words);
    for (int64_t i = 0; i < grad.N; i += LANES) {
        prefetch4(param, prev, step_size, grad.grad, i);
        const Decayed at = decayed(param, grad, i, rate_scale, decay);
        const V agree = signed_step(signed_step(one, at.g), load(prev + i));
        V step = load(step_size + i) * choose_less(zero, agree, longer, choose_less(agree, zero, shorter, one));
        step = choose_less(step, min_step, min_step, step);
        step = choose_less(max_step, step, max_step, step);
        store(step_size + i, step);
        const V g = choose_less(agree, zero, zero, at.g);
        store(prev + i, g);
        store(param + i, fmadd(signed_step(step, g), -at.rate, at.w));
    }
}
