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
        V top = load(z.data + b), wanted = top;
#pragma GCC unroll 4
        for (int64_t c = 1; c < C; c++) {
            const V value = load(row_of(z, c) + b);
            top = greater_of(value, top);
            wanted = choose_equal(label, splat_integer((INT)c), value, wanted);
        }
        V partition = {0};
        int64_t c = 0;
        for (; c + 2 <= C; c += 2) { /* more than two would cost more in registers than they gain */
            V e[GROUP] = {load(row_of(z, c) + b) - top, load(row_of(z, c + 1) + b) - top};
            exp_nonpositive_of(e, 2);
            store(row_of(dz, c) + b, e[0]);
            store(row_of(dz, c + 1) + b, e[1]);
            partition += e[0] + e[1];
        }
        for (; c < C; c++) {
            V e = load(row_of(z, c) + b) - top;
            exp_nonpositive_of(&e, 1);
            store(row_of(dz, c) + b, e);
            partition += e;
        }
        total += choose(valid, vector_log(partition) - (wanted - top), (V){0});
        const V weight = choose(valid, splat((REAL)scale), (V){0});
        const V factor = weight / partition;
#pragma GCC unroll 4
        for (c = 0; c < C; c++) {
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

/* Terms of the loss and, in place of x, its gradient before scaling: log(1 + e**x) - x t and sigmoid(x) - t. */
INLINE void bce_of(V *x, const V *t, V *term, const int count)
{
    V e[GROUP], sigmoid[GROUP];
    EACH e[i] = -absolute(x[i]);
    exp_nonpositive_of(e, count);
    EACH sigmoid[i] = choose_less(x[i], (V){0}, e[i], splat(1)) / (e[i] + 1);
    log1p_unit_of(e, count);
    EACH term[i] = fnmadd(x[i], t[i], greater_of((V){0}, x[i])) + e[i];
    EACH x[i] = sigmoid[i] - t[i];
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
        int64_t b = 0;
        for (; b + GROUP * LANES <= B; b += GROUP * LANES) {
            V x[GROUP], t[GROUP], term[GROUP];
            for (int i = 0; i < GROUP; i++) {
                x[i] = load(row_of(z, c) + b + i * LANES);
                t[i] = load(row_of(targets, c) + b + i * LANES);
            }
            bce_of(x, t, term, GROUP);
            total += sum_of_group(term);
            for (int i = 0; i < GROUP; i++) {
                store(row_of(dz, c) + b + i * LANES, x[i] * (REAL)scale);
            }
        }
        for (; b < B; b += LANES) {
            const VI valid = lanes_below(B - b);
            V x = load(row_of(z, c) + b), t = load(row_of(targets, c) + b), term;
            bce_of(&x, &t, &term, 1);
            total += choose(valid, term, (V){0});
            store(row_of(dz, c) + b, choose(valid, x * (REAL)scale, (V){0}));
        }
    }
    loss[0] = scale * (double)horizontal_sum(total);
}
