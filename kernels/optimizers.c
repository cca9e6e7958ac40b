/* Optimizer updates: one pass over the arena, each number read and written once. The order of the roundings is that of
 * the Numba twin, which says why. Reference: fastnn/kernels/reference/optimizers.py */
#include "kernel.h"
#include "roots.h"

/* Numbers ahead of the loop that are asked for: four or more streams are too many for the hardware to foresee. */
enum { AHEAD = 1024 };

INLINE void prefetch3(const REAL *a, const REAL *b, const REAL *c, int64_t i)
{
    prefetch(a + i + AHEAD);
    prefetch(b + i + AHEAD);
    prefetch(c + i + AHEAD);
}

KERNEL(sgd_update)
{
    REAL *param = next_array(&words);
    const REAL *grad = next_array(&words);
    const int64_t N = next_integer(&words);
    const V lr = splat((REAL)next_scalar(&words));
#pragma GCC unroll 8
    for (int64_t i = 0; i < N; i += LANES) {
        store(param + i, fmadd(load(grad + i), -lr, load(param + i)));
    }
}

KERNEL(momentum_update)
{
    REAL *param = next_array(&words), *momentum_buffer = next_array(&words);
    const REAL *grad = next_array(&words);
    const int64_t N = next_integer(&words);
    const V lr = splat((REAL)next_scalar(&words)), momentum = splat((REAL)next_scalar(&words));
    for (int64_t i = 0; i < N; i += LANES) {
        prefetch3(param, momentum_buffer, grad, i);
        const V velocity = load(momentum_buffer + i) * momentum + load(grad + i);
        store(momentum_buffer + i, velocity);
        store(param + i, fmadd(velocity, -lr, load(param + i)));
    }
}

KERNEL(adagrad_update)
{
    REAL *param = next_array(&words), *sum = next_array(&words);
    const REAL *grad = next_array(&words);
    const int64_t N = next_integer(&words);
    const V lr = splat((REAL)next_scalar(&words)), eps = splat((REAL)next_scalar(&words));
    for (int64_t i = 0; i < N; i += LANES) {
        prefetch3(param, sum, grad, i);
        const V g = load(grad + i), total = fmadd(g, g, load(sum + i));
        store(sum + i, total);
        store(param + i, load(param + i) - g * lr / (square_root_at(total, i) + eps));
    }
}

KERNEL(rmsprop_update)
{
    REAL *param = next_array(&words), *square_avg = next_array(&words);
    const REAL *grad = next_array(&words);
    const int64_t N = next_integer(&words);
    const V lr = splat((REAL)next_scalar(&words));
    const double decay = next_scalar(&words);
    const V alpha = splat((REAL)decay), weight = splat((REAL)(1 - decay)), eps = splat((REAL)next_scalar(&words));
    for (int64_t i = 0; i < N; i += LANES) {
        prefetch3(param, square_avg, grad, i);
        const V g = load(grad + i), average = fmadd(g * weight, g, load(square_avg + i) * alpha);
        store(square_avg + i, average);
        store(param + i, load(param + i) - g * lr / (square_root_at(average, i) + eps));
    }
}

/* a / divisor, correctly rounded, for a >= 0 and with reciprocal = 1 / divisor: the divider is busy enough. The
 * reciprocal in two parts gives a quotient that is off by little more than half an ulp; by Markstein's theorem (1990) one
 * correction by its exact remainder then rounds it correctly. Infinity and NaN stay what they are. (On a CPU without FMA
 * the remainder is rounded too, and the quotient may be off by an ulp.) */
INLINE V quotient_of(V a, V divisor, V reciprocal)
{
    const V rest = fmadd(-divisor, reciprocal, splat(1)) * reciprocal;
    V quotient = fmadd(a, reciprocal, a * rest);
    quotient = fmadd(fmadd(-quotient, divisor, a), reciprocal, quotient);
    return choose_less(a, splat((REAL)INFINITY), quotient, a);
}

KERNEL(adam_update)
{
    REAL *param = next_array(&words), *exp_avg = next_array(&words), *exp_avg_sq = next_array(&words);
    const REAL *grad = next_array(&words);
    const int64_t N = next_integer(&words);
    const V step_size = splat((REAL)next_scalar(&words));
    const double beta1 = next_scalar(&words), beta2 = next_scalar(&words);
    const V eps = splat((REAL)next_scalar(&words)), correction = splat((REAL)next_scalar(&words));
    const V weight = splat((REAL)(1 - beta1)), decay = splat((REAL)beta2), square_weight = splat((REAL)(1 - beta2));
    const int from_grad = 1 - beta1 >= 0.5; /* the end of the interpolation that is nearer, as PyTorch's lerp */
    const V reciprocal = 1 / correction;
    for (int64_t i = 0; i < N; i += LANES) {
        prefetch3(param, exp_avg, grad, i);
        prefetch(exp_avg_sq + i + AHEAD);
        const V g = load(grad + i), before = load(exp_avg + i);
        const V m = from_grad ? fmadd(g - before, weight - 1, g) : fmadd(g - before, weight, before);
        const V v = fmadd(g * square_weight, g, load(exp_avg_sq + i) * decay);
        store(exp_avg + i, m);
        store(exp_avg_sq + i, v);
        const V denominator = quotient_of(square_root_at(v, i), correction, reciprocal) + eps;
        store(param + i, load(param + i) - m * step_size / denominator);
    }
}
