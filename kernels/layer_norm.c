/* Layer normalisation: a row is a column of lanes, and its sums run down the features, without a horizontal one.
 * Reference: fastnn/kernels/reference/layer_norm.py */
#include "kernel.h"

/* A group of vectors side by side goes down together: one chain of additions alone would wait for each. `count` is the
 * number of vectors from row b on, 1 or GROUP. */

INLINE void normalise_rows(Matrix y, REAL *mean, REAL *inv_std, Matrix x, const REAL *gamma, const REAL *beta,
                           int64_t F, int64_t b, REAL eps, int64_t centred, const int count)
{
    V average[GROUP] = {{0}}, squares[GROUP] = {{0}}, slope[GROUP];
    if (centred) {
        for (int64_t f = 0; f < F; f++) {
            EACH average[i] += load(row_of(x, f) + b + i * LANES);
        }
        EACH average[i] = average[i] / splat((REAL)F);
    }
    for (int64_t f = 0; f < F; f++) {
        EACH {
            const V difference = load(row_of(x, f) + b + i * LANES) - average[i];
            squares[i] = fmadd(difference, difference, squares[i]);
        }
    }
    EACH {
        slope[i] = splat(1) / square_root(squares[i] / splat((REAL)F) + splat(eps));
        store(mean + b + i * LANES, average[i]);
        store(inv_std + b + i * LANES, slope[i]);
    }
    for (int64_t f = 0; f < F; f++) {
        EACH {
            const V x_hat = (load(row_of(x, f) + b + i * LANES) - average[i]) * slope[i];
            store(row_of(y, f) + b + i * LANES, fmadd(x_hat, splat(gamma[f]), splat(beta[f])));
        }
    }
}

KERNEL(layer_norm_forward)
{
    const Matrix y = next_matrix(&words);
    REAL *mean = next_array(&words), *inv_std = next_array(&words);
    const Matrix x = next_matrix(&words);
    const REAL *gamma = next_array(&words), *beta = next_array(&words);
    const int64_t F = next_integer(&words), B = next_integer(&words);
    const REAL eps = (REAL)next_scalar(&words);
    const int64_t centred = next_integer(&words);
    int64_t b = 0;
    for (; b + GROUP * LANES <= B; b += GROUP * LANES) {
        normalise_rows(y, mean, inv_std, x, gamma, beta, F, b, eps, centred, GROUP);
    }
    for (; b < B; b += LANES) {
        normalise_rows(y, mean, inv_std, x, gamma, beta, F, b, eps, centred, 1);
    }
}

INLINE void differentiate_rows(Matrix dx, Matrix dy, Matrix x, const REAL *gamma, const REAL *mean,
                               const REAL *inv_std, int64_t F, int64_t b, int64_t centred, const int count)
{
    V shift[GROUP] = {{0}}, slope[GROUP] = {{0}}, average[GROUP], inverse[GROUP];
    EACH {
        average[i] = load(mean + b + i * LANES);
        inverse[i] = load(inv_std + b + i * LANES);
    }
    for (int64_t f = 0; f < F; f++) {
        EACH {
            const V g = load(row_of(dy, f) + b + i * LANES) * gamma[f];
            const V x_hat = (load(row_of(x, f) + b + i * LANES) - average[i]) * inverse[i];
            if (centred) {
                shift[i] += g;
            }
            slope[i] = fmadd(g, x_hat, slope[i]);
        }
    }
    EACH {
        shift[i] = shift[i] / splat((REAL)F);
        slope[i] = slope[i] / splat((REAL)F);
    }
    for (int64_t f = 0; f < F; f++) {
        EACH {
            const V x_hat = (load(row_of(x, f) + b + i * LANES) - average[i]) * inverse[i];
            const V g = load(row_of(dy, f) + b + i * LANES) * gamma[f];
            store(row_of(dx, f) + b + i * LANES, (g - shift[i] - x_hat * slope[i]) * inverse[i]);
        }
    }
}

KERNEL(layer_norm_backward_input)
{
    const Matrix dx = next_matrix(&words), dy = next_matrix(&words), x = next_matrix(&words);
    const REAL *gamma = next_array(&words), *mean = next_array(&words), *inv_std = next_array(&words);
    const int64_t F = next_integer(&words), B = next_integer(&words), centred = next_integer(&words);
    int64_t b = 0;
    for (; b + GROUP * LANES <= B; b += GROUP * LANES) {
        differentiate_rows(dx, dy, x, gamma, mean, inv_std, F, b, centred, GROUP);
    }
    for (; b < B; b += LANES) {
        differentiate_rows(dx, dy, x, gamma, mean, inv_std, F, b, centred, 1);
    }
}

KERNEL(layer_norm_backward_parameters)
{
    REAL *dgamma = next_array(&words), *dbeta = next_array(&words);
    const Matrix dy = next_matrix(&words), x = next_matrix(&words);
    const REAL *mean = next_array(&words), *inv_std = next_array(&words);
    const int64_t F = next_integer(&words), B = next_integer(&words), accumulate = next_integer(&words);
    for (int64_t f = 0; f < F; f++) {
        const REAL *row = row_of(x, f), *grad = row_of(dy, f);
        V totals[GROUP] = {{0}}, products[GROUP] = {{0}};
        int64_t b = 0;
        for (; b + GROUP * LANES <= B; b += GROUP * LANES) {
            for (int i = 0; i < GROUP; i++) {
                const int64_t at = b + i * LANES;
                const V g = load(grad + at);
                totals[i] += g;
                products[i] = fmadd(g, (load(row + at) - load(mean + at)) * load(inv_std + at), products[i]);
            }
        }
        V total = sum_of_group(totals), product = sum_of_group(products);
        for (; b < B; b += LANES) {
            const VI valid = lanes_below(B - b);
            const V g = choose(valid, load(grad + b), (V){0});
            total += g;
            const V x_hat = (load(row + b) - load(mean + b)) * load(inv_std + b);
            product = fmadd(g, choose(valid, x_hat, (V){0}), product); /* 0 * NaN is NaN */
        }
        dgamma[f] = accumulate ? dgamma[f] + horizontal_sum(product) : horizontal_sum(product);
        dbeta[f] = accumulate ? dbeta[f] + horizontal_sum(total) : horizontal_sum(total);
    }
}
