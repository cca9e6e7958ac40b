/* Losses of numbers: value and gradient in one pass, a vector of rows at a time. Rows beyond B in the last vector count
 * nothing. Reference: fastnn/kernels/reference/regression_losses.py */
#include "elementwise.h"

KERNEL(mse)
{
    const Matrix dz = next_matrix(&words);
    double *loss = next_address(&words);
    const Matrix z = next_matrix(&words), targets = next_matrix(&words);
    const REAL *weights = next_array(&words);
    const int64_t C = next_integer(&words), B = next_integer(&words);
    const double scale = next_scalar(&words);
    const int64_t weighted = next_integer(&words);
    V total = {0};
    for (int64_t c = 0; c < C; c++) {
        for (int64_t b = 0; b < B; b += LANES) {
            V difference = load(row_of(z, c) + b) - load(row_of(targets, c) + b);
            difference = choose(lanes_below(B - b), difference, (V){0});
            if (weighted) {
                const V weight = choose(lanes_below(B - b), load(weights + b), (V){0});
                total = fmadd(difference * weight, difference, total);
                store(row_of(dz, c) + b, difference * (weight * (REAL)(2 * scale)));
            } else {
                total = fmadd(difference, difference, total);
                store(row_of(dz, c) + b, difference * (REAL)(2 * scale));
            }
        }
    }
    loss[0] = scale * (double)horizontal_sum(total);
}

INLINE void mae_of(V *x, const V *t, V *term, const double unused, const int count)
{
    (void)unused;
    EACH {
        const V d = x[i] - t[i];
        term[i] = absolute(d);
        x[i] = choose_less((V){0}, d, splat(1), choose_less(d, (V){0}, splat(-1), d));
    }
}

KERNEL(mae)
{
    const Matrix dz = next_matrix(&words);
    double *loss = next_address(&words);
    const Matrix z = next_matrix(&words), targets = next_matrix(&words);
    const REAL *weights = next_array(&words);
    const int64_t C = next_integer(&words), B = next_integer(&words);
    const double scale = next_scalar(&words);
    const int64_t weighted = next_integer(&words);
    elementwise(dz, loss, z, targets, weights, C, B, scale, weighted, mae_of, 0);
}

/* With c = min(|d|, delta): c (|d| - c / 2), and d within the two deltas. */
INLINE void huber_of(V *x, const V *t, V *term, const double delta, const int count)
{
    EACH {
        const V d = x[i] - t[i], size = absolute(d), limit = splat((REAL)delta);
        const V clipped = choose_less(limit, size, limit, size);
        term[i] = clipped * (size - clipped * (REAL)0.5);
        x[i] = choose_less(limit, d, limit, choose_less(d, -limit, -limit, d));
    }
}

KERNEL(huber)
{
    const Matrix dz = next_matrix(&words);
    double *loss = next_address(&words);
    const Matrix z = next_matrix(&words), targets = next_matrix(&words);
    const REAL *weights = next_array(&words);
    const int64_t C = next_integer(&words), B = next_integer(&words);
    const double scale = next_scalar(&words);
    const int64_t weighted = next_integer(&words);
    const double delta = next_scalar(&words);
    elementwise(dz, loss, z, targets, weights, C, B, scale, weighted, huber_of, delta);
}

#define LOG_COSH_SMALL 0.8 /* below: from tanh, which loses no digits there */

INLINE void log_cosh_of(V *x, const V *t, V *term, const double unused, const int count)
{
    (void)unused;
    const V small = splat((REAL)LOG_COSH_SMALL);
    V size[GROUP], y[GROUP], e[GROUP];
    EACH x[i] = x[i] - t[i];
    EACH size[i] = absolute(x[i]);
    EACH y[i] = size[i];
    tanh_of(y, count);
    EACH e[i] = size[i] * -2;
    exp_nonpositive_of(e, count);
    EACH {
        const V square = y[i] * y[i];
        e[i] = choose_less(size[i], small, square / (1 - square), e[i]);
    }
    log1p_unit_of(e, count);
    EACH term[i] = choose_less(size[i], small, e[i] * (REAL)0.5, size[i] - (REAL)0.6931471805599453 + e[i]);
    EACH x[i] = with_sign(y[i], x[i]);
}

KERNEL(log_cosh)
{
    const Matrix dz = next_matrix(&words);
    double *loss = next_address(&words);
    const Matrix z = next_matrix(&words), targets = next_matrix(&words);
    const REAL *weights = next_array(&words);
    const int64_t C = next_integer(&words), B = next_integer(&words);
    const double scale = next_scalar(&words);
    const int64_t weighted = next_integer(&words);
    elementwise(dz, loss, z, targets, weights, C, B, scale, weighted, log_cosh_of, 0);
}

INLINE void quantile_of(V *x, const V *t, V *term, const double tau, const int count)
{
    EACH {
        const V u = t[i] - x[i];
        term[i] = choose_less(u, (V){0}, u * (REAL)(tau - 1), u * (REAL)tau);
        x[i] = choose_less(u, (V){0}, splat((REAL)(1 - tau)), choose_less((V){0}, u, splat((REAL)-tau), u));
    }
}

KERNEL(quantile)
{
    const Matrix dz = next_matrix(&words);
    double *loss = next_address(&words);
    const Matrix z = next_matrix(&words), targets = next_matrix(&words);
    const REAL *weights = next_array(&words);
    const int64_t C = next_integer(&words), B = next_integer(&words);
    const double scale = next_scalar(&words);
    const int64_t weighted = next_integer(&words);
    const double tau = next_scalar(&words);
    elementwise(dz, loss, z, targets, weights, C, B, scale, weighted, quantile_of, tau);
}

INLINE void poisson_of(V *x, const V *t, V *term, const double unused, const int count)
{
    (void)unused;
    V e[GROUP];
    EACH e[i] = x[i];
    exp_of(e, count);
    EACH term[i] = fnmadd(x[i], t[i], e[i]);
    EACH x[i] = e[i] - t[i];
}

KERNEL(poisson)
{
    const Matrix dz = next_matrix(&words);
    double *loss = next_address(&words);
    const Matrix z = next_matrix(&words), targets = next_matrix(&words);
    const REAL *weights = next_array(&words);
    const int64_t C = next_integer(&words), B = next_integer(&words);
    const double scale = next_scalar(&words);
    const int64_t weighted = next_integer(&words);
    elementwise(dz, loss, z, targets, weights, C, B, scale, weighted, poisson_of, 0);
}

KERNEL(gaussian)
{
    const Matrix dmean = next_matrix(&words), dlog_var = next_matrix(&words);
    double *loss = next_address(&words);
    const Matrix mean = next_matrix(&words), log_var = next_matrix(&words), targets = next_matrix(&words);
    const REAL *weights = next_array(&words);
    const int64_t C = next_integer(&words), B = next_integer(&words);
    const double scale = next_scalar(&words);
    const int64_t weighted = next_integer(&words);
    const V least = splat((REAL)next_scalar(&words));
    V total = {0};
    for (int64_t c = 0; c < C; c++) {
        for (int64_t b = 0; b < B; b += LANES) {
            V s = load(row_of(log_var, c) + b);
            s = choose_less(s, least, least, s);
            V inverse = -s;
            exp_of(&inverse, 1);
            const V difference = load(row_of(mean, c) + b) - load(row_of(targets, c) + b);
            const V pull = difference * inverse, ratio = difference * pull;
            V term = (s + ratio) * (REAL)0.5, weight = splat((REAL)scale);
            if (weighted) {
                const V given = load(weights + b);
                term *= given;
                weight = given * (REAL)scale;
            }
            total += choose(lanes_below(B - b), term, (V){0});
            store(row_of(dmean, c) + b, pull * weight);
            store(row_of(dlog_var, c) + b, (1 - ratio) * (REAL)0.5 * weight);
        }
    }
    loss[0] = scale * (double)horizontal_sum(total);
}
