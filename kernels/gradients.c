/* What is done to gradients before an update, and to weights after it. Reference: fastnn/kernels/reference/gradients.py */
#include "kernel.h"

/* Numbers whose squares are added up in REAL, before their sum is added in double precision. */
enum { BLOCK_OF_SQUARES = 4096 };

KERNEL(sum_of_squares)
{
    double *total = next_address(&words);
    const Matrix x = next_matrix(&words);
    const int64_t O = next_integer(&words), I = next_integer(&words), whole = I / (4 * LANES) * (4 * LANES);
    const int64_t accumulate = next_integer(&words);
    double result = accumulate ? total[0] : 0.0;
    for (int64_t o = 0; o < O; o++) {
        const REAL *row = row_of(x, o);
        for (int64_t start = 0; start < whole; start += BLOCK_OF_SQUARES) {
            V sums[4] = {{0}, {0}, {0}, {0}};
            for (int64_t i = start; i < least(start + BLOCK_OF_SQUARES, whole); i += 4 * LANES) {
                for (int part = 0; part < 4; part++) {
                    const V value = load(row + i + part * LANES);
                    sums[part] = fmadd(value, value, sums[part]);
                }
            }
            result += (double)horizontal_sum((sums[0] + sums[1]) + (sums[2] + sums[3]));
        }
        for (int64_t i = whole; i < I; i++) {
            const double value = (double)row[i];
            result += value * value;
        }
    }
    total[0] = result;
}

KERNEL(clip_to_norm)
{
    const Matrix grad = next_matrix(&words);
    const double *total = next_address(&words);
    const int64_t O = next_integer(&words), I = next_integer(&words), whole = I / LANES * LANES;
    const double factor = next_scalar(&words) / (sqrt(total[0]) + 1e-6);
    if (factor < 1) {
        const REAL rounded = (REAL)factor;
        for (int64_t o = 0; o < O; o++) {
            REAL *row = row_of(grad, o);
            for (int64_t i = 0; i < whole; i += LANES) {
                store(row + i, load(row + i) * rounded);
            }
            for (int64_t i = whole; i < I; i++) {
                row[i] *= rounded;
            }
        }
    }
}

KERNEL(clip_to_value)
{
    REAL *grad = next_array(&words);
    const int64_t N = next_integer(&words);
    const V limit = splat((REAL)next_scalar(&words));
    for (int64_t i = 0; i < N; i += LANES) {
        const V g = load(grad + i), below = choose_less(limit, g, limit, g);
        store(grad + i, choose_less(below, -limit, -limit, below)); /* comparisons with NaN are false: NaN stays */
    }
}

KERNEL(average_update)
{
    REAL *average = next_array(&words);
    const REAL *param = next_array(&words);
    const int64_t N = next_integer(&words);
    const V weight = splat((REAL)(1 - next_scalar(&words)));
    for (int64_t i = 0; i < N; i += LANES) {
        const V before = load(average + i);
        store(average + i, fmadd(load(param + i) - before, weight, before));
    }
}
