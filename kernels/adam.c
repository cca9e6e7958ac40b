/* Adam and its kin. Reference: fastnn/kernels/reference/adam.py */
#include "optimizers.h"

/* The decays of both moving averages, and what is left for the new numbers, rounded from double precision. */
typedef struct {
    V weight1, decay2, weight2;
    int from_grad; /* the end of the interpolation that is nearer, as PyTorch's lerp */
} Betas;

INLINE Betas next_betas(const int64_t **words)
{
    const double beta1 = next_scalar(words), beta2 = next_scalar(words);
    return (Betas){splat((REAL)(1 - beta1)), splat((REAL)beta2), splat((REAL)(1 - beta2)), 1 - beta1 >= 0.5};
}

typedef struct {
    V m, v;
} Averages;

/* Both moving averages after this gradient, stored. */
INLINE Averages averages_of(REAL *exp_avg, REAL *exp_avg_sq, V g, Betas betas)
{
    const V before = load(exp_avg), change = g - before;
    const V m = betas.from_grad ? fmadd(change, betas.weight1 - 1, g) : fmadd(change, betas.weight1, before);
    const V v = fmadd(g * betas.weight2, g, load(exp_avg_sq) * betas.decay2);
    store(exp_avg, m);
    store(exp_avg_sq, v);
    return (Averages){m, v};
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
    const Gradient grad = next_gradient(&words);
    const V step_size = next_splat(&words);
    const Betas betas = next_betas(&words);
    const V eps = next_splat(&words), correction = next_splat(&words), reciprocal = 1 / correction;
    const Decay decay = next_decay(&words);
    for (int64_t i = 0; i < grad.N; i += LANES) {
        prefetch4(param, exp_avg, exp_avg_sq, grad.grad, i);
        const Decayed at = decayed(param, grad, i, step_size, decay);
        const Averages averages = averages_of(exp_avg + i, exp_avg_sq + i, at.g, betas);
        const V denominator = quotient_of(square_root_at(averages.v, i), correction, reciprocal) + eps;
        store(param + i, at.w - averages.m * at.rate / denominator);
    }
}

KERNEL(nadam_update)
{
    REAL *param = next_array(&words), *exp_avg = next_array(&words), *exp_avg_sq = next_array(&words);
    const Gradient grad = next_gradient(&words);
    const V grad_step = next_splat(&words), avg_step = next_splat(&words);
    const Betas betas = next_betas(&words);
    const V eps = next_splat(&words), correction = next_splat(&words), reciprocal = 1 / correction;
    const Decay decay = next_decay(&words);
    for (int64_t i = 0; i < grad.N; i += LANES) {
        prefetch4(param, exp_avg, exp_avg_sq, grad.grad, i);
        const Decayed at = decayed(param, grad, i, splat(1), decay);
        const Averages averages = averages_of(exp_avg + i, exp_avg_sq + i, at.g, betas);
        const V denominator = quotient_of(square_root_at(averages.v, i), correction, reciprocal) + eps;
        store(param + i, at.w - fmadd(at.g, grad_step, averages.m * avg_step) * at.rate / denominator);
    }
}

KERNEL(radam_update)
{
    REAL *param = next_array(&words), *exp_avg = next_array(&words), *exp_avg_sq = next_array(&words);
    const Gradient grad = next_gradient(&words);
    const V plain_step = next_splat(&words), rectified_step = next_splat(&words);
    const Betas betas = next_betas(&words);
    const V eps = next_splat(&words);
    const Decay decay = next_decay(&words);
    for (int64_t i = 0; i < grad.N; i += LANES) {
        prefetch4(param, exp_avg, exp_avg_sq, grad.grad, i);
        const Decayed at = decayed(param, grad, i, splat(1), decay);
        const Averages averages = averages_of(exp_avg + i, exp_avg_sq + i, at.g, betas);
        const V share = rectified_step / (square_root_at(averages.v, i) + eps) + plain_step;
        store(param + i, fmadd(averages.m * at.rate, -share, at.w));
    }
}
