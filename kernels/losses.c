/* Losses: value and gradient in one pass, a vector of rows at a time. Rows beyond B in the last vector count nothing.
 * Reference: fastnn/kernels/reference/losses.py */
#include "vecmath.h"

KERNEL(cross_entropy)
{
    const Matrix dz = next_matrix(&words);
    double *loss = next_address(&words);
    const Matrix z = next_matrix(&words);
    const int32_t *labels = next_address(&words);
    const int64_t C = next_integer(&words), B = next_integer(&words);
    const double scale = next_scalar(&words);
    V total = {0};
    for (int64_t b = 0; b < B; b += LANES) {
        const VI label = widened(load_integers(labels + b)), valid = lanes_below(B - b);
        V top = load(z.data + b);
        for (int64_t c = 1; c < C; c++) {
            top = greater_of(load(row_of(z, c) + b), top);
        }
        V partition = {0}, wanted = {0};
        for (int64_t c = 0; c < C; c++) {
            const V shifted = load(row_of(z, c) + b) - top;
            wanted = choose(label == splat_integer((INT)c), shifted, wanted);
            const V e = exp_nonpositive(shifted);
            partition += e;
            store(row_of(dz, c) + b, e);
        }
        total += choose(valid, vector_log(partition) - wanted, (V){0});
        const V weight = choose(valid, splat((REAL)scale), (V){0});
        const V factor = weight / partition;
        for (int64_t c = 0; c < C; c++) {
            const V hit = choose(label == splat_integer((INT)c), weight, (V){0});
            store(row_of(dz, c) + b, load(row_of(dz, c) + b) * factor - hit);
        }
    }
    loss[0] = scale * (double)horizontal_sum(total);
}

KERNEL(mse)
{
    const Matrix dz = next_matrix(&words);
    double *loss = next_address(&words);
    const Matrix z = next_matrix(&words), targets = next_matrix(&words);
    const int64_t C = next_integer(&words), B = next_integer(&words);
    const double scale = next_scalar(&words);
    V total = {0};
    for (int64_t c = 0; c < C; c++) {
        for (int64_t b = 0; b < B; b += LANES) {
            V difference = load(row_of(z, c) + b) - load(row_of(targets, c) + b);
            difference = choose(lanes_below(B - b), difference, (V){0});
            total = fmadd(difference, difference, total);
            store(row_of(dz, c) + b, difference * (REAL)(2 * scale));
        }
    }
    loss[0] = scale * (double)horizontal_sum(total);
}

KERNEL(bce)
{
    const Matrix dz = next_matrix(&words);
    double *loss = next_address(&words);
    const Matrix z = next_matrix(&words), targets = next_matrix(&words);
    const int64_t C = next_integer(&words), B = next_integer(&words);
    const double scale = next_scalar(&words);
    V total = {0};
    for (int64_t c = 0; c < C; c++) {
        for (int64_t b = 0; b < B; b += LANES) {
            const VI valid = lanes_below(B - b);
            const V x = load(row_of(z, c) + b), t = load(row_of(targets, c) + b);
            const V e = exp_nonpositive(-absolute(x));
            const V term = fmadd(-x, t, greater_of((V){0}, x)) + log1p_unit(e);
            total += choose(valid, term, (V){0});
            const V sigmoid = choose(x < 0, e, splat(1)) / (e + 1);
            store(row_of(dz, c) + b, choose(valid, (sigmoid - t) * (REAL)scale, (V){0}));
        }
    }
    loss[0] = scale * (double)horizontal_sum(total);
}
