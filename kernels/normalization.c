/* Normalisation of each feature by itself: a feature is a contiguous row, its sums run along it.
 * Reference: fastnn/kernels/reference/normalization.py */
#include "kernel.h"

/* Sums run in a group of vectors side by side, the rest in one: a single chain of additions would wait for each. */

INLINE REAL sum_of(const REAL *x, int64_t rows)
{
    V totals[GROUP] = {{0}};
    int64_t b = 0;
    for (; b + GROUP * LANES <= rows; b += GROUP * LANES) {
        for (int i = 0; i < GROUP; i++) {
            totals[i] += load(x + b + i * LANES);
        }
    }
    V total = sum_of_group(totals);
    for (; b + LANES <= rows; b += LANES) {
        total += load(x + b);
    }
    if (b < rows) {
        total += choose(lanes_below(rows - b), load(x + b), (V){0});
    }
    return horizontal_sum(total);
}

INLINE REAL sum_of_squares(const REAL *x, REAL mean, int64_t rows)
{
    V totals[GROUP] = {{0}};
    int64_t b = 0;
    for (; b + GROUP * LANES <= rows; b += GROUP * LANES) {
        for (int i = 0; i < GROUP; i++) {
            const V centred = load(x + b + i * LANES) - mean;
            totals[i] = fmadd(centred, centred, totals[i]);
        }
    }
    V total = sum_of_group(totals);
    for (; b + LANES <= rows; b += LANES) {
        const V centred = load(x + b) - mean;
        total = fmadd(centred, centred, total);
    }
    if (b < rows) {
        const V centred = choose(lanes_below(rows - b), load(x + b) - mean, (V){0});
        total = fmadd(centred, centred, total);
    }
    return horizontal_sum(total);
}

INLINE void scale_and_shift(REAL *y, const REAL *x, int64_t rows, REAL mean, REAL slope, REAL offset)
{
#pragma GCC unroll 4
    for (int64_t b = 0; b < rows; b += LANES) {
        store(y + b, fmadd(load(x + b) - mean, splat(slope), splat(offset)));
    }
}

KERNEL(batch_norm_forward)
{
    const Matrix y = next_matrix(&words);
    REAL *mean = next_array(&words), *inv_std = next_array(&words);
    REAL *running_mean = next_array(&words), *running_var = next_array(&words);
    const Matrix x = next_matrix(&words);
    const REAL *gamma = next_array(&words), *beta = next_array(&words);
    const int64_t F = next_integer(&words), B = next_integer(&words);
    const double eps = next_scalar(&words), momentum = next_scalar(&words), rows = (double)B;
    for (int64_t f = 0; f < F; f++) {
        const REAL *row = row_of(x, f);
        mean[f] = (REAL)((double)sum_of(row, B) / rows);
        const double var = (double)sum_of_squares(row, mean[f], B) / rows;
        inv_std[f] = (REAL)(1 / sqrt(var + eps));
        scale_and_shift(row_of(y, f), row, B, mean[f], gamma[f] * inv_std[f], beta[f]);
        if (B > 1) {
            running_mean[f] = (REAL)((double)running_mean[f] + momentum * (double)(mean[f] - running_mean[f]));
            running_var[f] = (REAL)((double)running_var[f] + momentum * (var * rows / (rows - 1) - (double)running_var[f]));
        }
    }
}

KERNEL(batch_norm_inference)
{
    const Matrix y = next_matrix(&words), x = next_matrix(&words);
    const REAL *gamma = next_array(&words), *beta = next_array(&words);
    const REAL *running_mean = next_array(&words), *running_var = next_array(&words);
    const int64_t F = next_integer(&words), B = next_integer(&words);
    const double eps = next_scalar(&words);
    for (int64_t f = 0; f < F; f++) {
        const double slope = (double)gamma[f] / sqrt((double)running_var[f] + eps);
        scale_and_shift(row_of(y, f), row_of(x, f), B, running_mean[f], (REAL)slope, beta[f]);
    }
}

KERNEL(batch_norm_backward)
{
    const Matrix dx = next_matrix(&words);
    REAL *dgamma = next_array(&words), *dbeta = next_array(&words);
    const Matrix dy = next_matrix(&words), x = next_matrix(&words);
    const REAL *gamma = next_array(&words), *mean = next_array(&words), *inv_std = next_array(&words);
    const int64_t F = next_integer(&words), B = next_integer(&words);
    const double rows = (double)B;
    for (int64_t f = 0; f < F; f++) {
        const REAL *row = row_of(x, f), *grad = row_of(dy, f);
        V totals[GROUP] = {{0}}, products[GROUP] = {{0}};
        int64_t b = 0;
        for (; b + GROUP * LANES <= B; b += GROUP * LANES) {
            for (int i = 0; i < GROUP; i++) {
                const V g = load(grad + b + i * LANES);
                totals[i] += g;
                products[i] = fmadd(g, (load(row + b + i * LANES) - mean[f]) * inv_std[f], products[i]);
            }
        }
        V total = sum_of_group(totals), product = sum_of_group(products);
        for (; b < B; b += LANES) {
            const VI valid = lanes_below(B - b);
            const V g = choose(valid, load(grad + b), (V){0});
            total += g;
            const V x_hat = choose(valid, (load(row + b) - mean[f]) * inv_std[f], (V){0}); /* 0 * NaN is NaN */
            product = fmadd(g, x_hat, product);
        }
        dbeta[f] = horizontal_sum(total);
        dgamma[f] = horizontal_sum(product);
        const REAL slope = gamma[f] * inv_std[f];
        const REAL from_beta = (REAL)((double)dbeta[f] / rows);
        const REAL from_gamma = (REAL)((double)dgamma[f] / rows * (double)inv_std[f]);
        for (b = 0; b < B; b += LANES) {
            const V centred = load(row + b) - mean[f];
            store(row_of(dx, f) + b, (load(grad + b) - from_beta - centred * from_gamma) * slope);
        }
    }
}

KERNEL(standardize)
{
    const Matrix y = next_matrix(&words), x = next_matrix(&words);
    const REAL *mean = next_array(&words), *scale = next_array(&words);
    const int64_t F = next_integer(&words), B = next_integer(&words);
    for (int64_t f = 0; f < F; f++) {
#pragma GCC unroll 4
        for (int64_t b = 0; b < B; b += LANES) {
            store(row_of(y, f) + b, (load(row_of(x, f) + b) - splat(mean[f])) / splat(scale[f]));
        }
    }
}
