/* Updates that divide by the root of a sum, or a moving average, of squares.
 * Reference: fastnn/kernels/reference/adaptive.py */
#include "optimizers.h"

/* x + inner_eps; most often there is none to add. */
INLINE V added(V x, double inner_eps)
{
    return inner_eps != 0 ? x + splat((REAL)inner_eps) : x;
}

/* The loops of AdaGrad and RMSProp are made twice, without what is rarely asked for and with it: in L2 its branches alone
 * took them from 0.104 to 0.112 ns a number (one core of a Zen 5, float32). */
static const Decay NO_DECAY = {{0}, {0}, 0, 0};

INLINE void adagrad(REAL *param, REAL *sum, Gradient grad, V lr, V eps, double inner_eps, Decay decay)
{
    for (int64_t i = 0; i < grad.N; i += LANES) {
        prefetch3(param, sum, grad.grad, i, grad.N);
        const Decayed at = decayed(param, grad, i, lr, decay);
        const V total = fmadd(at.g, at.g, load(sum + i));
        store(sum + i, total);
        store(param + i, at.w - at.g * at.rate / (square_root_at(added(total, inner_eps), i) + eps));
    }
}

KERNEL(adagrad_update)
{
    REAL *param = next_array(&words), *sum = next_array(&words);
    const Gradient grad = next_gradient(&words);
    const V lr = next_splat(&words), eps = next_splat(&words);
    const double inner_eps = next_scalar(&words);
    const Decay decay = next_decay(&words);
    if (decay.decays || inner_eps != 0) {
        adagrad(param, sum, grad, lr, eps, inner_eps, decay);
    } else {
        adagrad(param, sum, grad, lr, eps, 0, NO_DECAY);
    }
}

/* A decay of moving averages, and what is left for the new number, rounded from double precision. */
typedef struct {
    V decay, weight;
} Average;

INLINE Average next_average(const int64_t **words)
{
    const double decay = next_scalar(words);
    return (Average){splat((REAL)decay), splat((REAL)(1 - decay))};
}

/* The moving average of squares after this gradient. */
INLINE V average_of(const REAL *square_avg, V g, Average alpha)
{
    return fmadd(g * alpha.weight, g, load(square_avg) * alpha.decay);
}

KERNEL(adadelta_update)
{
    REAL *param = next_array(&words), *square_avg = next_array(&words), *acc_delta = next_array(&words);
    const Gradient grad = next_gradient(&words);
    const V lr = next_splat(&words);
    const Average rho = next_average(&words);
    const V eps = next_splat(&words);
    const Decay decay = next_decay(&words);
    for (int64_t i = 0; i < grad.N; i += LANES) {
        prefetch4(param, square_avg, acc_delta, grad.grad, i);
        const Decayed at = decayed(param, grad, i, lr, decay);
        const V average = average_of(square_avg + i, at.g, rho), moved = load(acc_delta + i);
        store(square_avg + i, average);
        const V delta = square_root_at(moved + eps, i) / square_root_at(average + eps, i + LANES) * at.g;
        store(acc_delta + i, fmadd(delta * rho.weight, delta, moved * rho.decay));
        store(param + i, fmadd(delta, -at.rate, at.w));
    }
}

INLINE void rmsprop(REAL *param, REAL *square_avg, Gradient grad, V lr, Average alpha, V eps, double inner_eps, Decay decay)
{
    for (int64_t i = 0; i < grad.N; i += LANES) {
        prefetch3(param, square_avg, grad.grad, i, grad.N);
        const Decayed at = decayed(param, grad, i, lr, decay);
        const V average = average_of(square_avg + i, at.g, alpha);
        store(square_avg + i, average);
        store(param + i, at.w - at.g * at.rate / (square_root_at(added(average, inner_eps), i) + eps));
    }
}

KERNEL(rmsprop_update)
{
    REAL *param = next_array(&words), *square_avg = next_array(&words);
    const Gradient grad = next_gradient(&words);
    const V lr = next_splat(&words);
    const Average alpha = next_average(&words);
    const V eps = next_splat(&words);
    const double inner_eps = next_scalar(&words);
    const Decay decay = next_decay(&words);
    if (decay.decays || inner_eps != 0) {
        rmsprop(param, square_avg, grad, lr, alpha, eps, inner_eps, decay);
    } else {
        rmsprop(param, square_avg, grad, lr, alpha, eps, 0, NO_DECAY);
    }
}

KERNEL(rmsprop_momentum_update)
{
    REAL *param = next_array(&words), *square_avg = next_array(&words), *momentum_buffer = next_array(&words);
    const Gradient grad = next_gradient(&words);
    const V lr = next_splat(&words);
    const Average alpha = next_average(&words);
    const V eps = next_splat(&words);
    const double inner_eps = next_scalar(&words);
    const V momentum = next_splat(&words);
    const Decay decay = next_decay(&words);
    for (int64_t i = 0; i < grad.N; i += LANES) {
        prefetch4(param, square_avg, momentum_buffer, grad.grad, i);
        const Decayed at = decayed(param, grad, i, lr, decay);
        const V average = average_of(square_avg + i, at.g, alpha);
        store(square_avg + i, average);
        const V share = at.g / (square_root_at(added(average, inner_eps), i) + eps);
        const V velocity = fmadd(load(momentum_buffer + i), momentum, share);
        store(momentum_buffer + i, velocity);
        store(param + i, fmadd(velocity, -at.rate, at.w));
    }
}

/* The root of the variance, after both averages have moved. */
INLINE V centered_root(REAL *square_avg, REAL *grad_avg, V g, int64_t i, Average alpha, double inner_eps)
{
    const V average = average_of(square_avg + i, g, alpha), before = load(grad_avg + i);
    const V mean = fmadd(g - before, alpha.weight, before);
    store(square_avg + i, average);
    store(grad_avg + i, mean);
    const V variance = fmadd(-mean, mean, average), zero = splat(0);
    return square_root_at(added(choose_less(variance, zero, zero, variance), inner_eps), i); /* NaN stays */
}

KERNEL(rmsprop_centered_update)
{
    REAL *param = next_array(&words), *square_avg = next_array(&words), *grad_avg = next_array(&words);
    const Gradient grad = next_gradient(&words);
    const V lr = next_splat(&words);
    const Average alpha = next_average(&words);
    const V eps = next_splat(&words);
    const double inner_eps = next_scalar(&words);
    const Decay decay = next_decay(&words);
    for (int64_t i = 0; i < grad.N; i += LANES) {
        prefetch4(param, square_avg, grad_avg, grad.grad, i);
        const Decayed at = decayed(param, grad, i, lr, decay);
        const V root = centered_root(square_avg, grad_avg, at.g, i, alpha, inner_eps);
        store(param + i, at.w - at.g * at.rate / (root + eps));
    }
}

KERNEL(rmsprop_centered_momentum_update)
{
    REAL *param = next_array(&words), *square_avg = next_array(&words), *grad_avg = next_array(&words);
    REAL *momentum_buffer = next_array(&words);
    const Gradient grad = next_gradient(&words);
    const V lr = next_splat(&words);
    const Average alpha = next_average(&words);
    const V eps = next_splat(&words);
    const double inner_eps = next_scalar(&words);
    const V momentum = next_splat(&words);
    const Decay decay = next_decay(&words);
    for (int64_t i = 0; i < grad.N; i += LANES) {
        prefetch4(param, square_avg, grad_avg, grad.grad, i);
        const Decayed at = decayed(param, grad, i, lr, decay);
        const V root = centered_root(square_avg, grad_avg, at.g, i, alpha, inner_eps);
        const V velocity = fmadd(load(momentum_buffer + i), momentum, at.g / (root + eps));
        store(momentum_buffer + i, velocity);
        store(param + i, fmadd(velocity, -at.rate, at.w));
    }
}
