/* Softmax and its logarithm over the features of each row, a vector of rows at a time.
 * Reference: fastnn/kernels/reference/softmax.py */
#include "vecmath.h"

/* The largest feature of each row of a vector. */
INLINE V top_of(Matrix x, int64_t b, int64_t F)
{
    V top = splat((REAL)-INFINITY);
#pragma GCC unroll 4
    for (int64_t f = 0; f < F; f++) {
        const V value = load(row_of(x, f) + b);
        top = choose_less(top, value, value, top);
    }
    return top;
}

KERNEL(softmax_forward)
{
    const Matrix y = next_matrix(&words), x = next_matrix(&words);
    const int64_t F = next_integer(&words), B = next_integer(&words);
    for (int64_t b = 0; b < B; b += LANES) {
        const V top = top_of(x, b, F);
        V partition = {0};
        int64_t f = 0;
        for (; f + 2 <= F; f += 2) { /* as in cross_entropy */
            V e[GROUP] = {load(row_of(x, f) + b) - top, load(row_of(x, f + 1) + b) - top};
            exp_of(e, 2);
            store(row_of(y, f) + b, e[0]);
            store(row_of(y, f + 1) + b, e[1]);
            partition += e[0] + e[1];
        }
        for (; f < F; f++) {
            V e = load(row_of(x, f) + b) - top;
            exp_of(&e, 1);
            store(row_of(y, f) + b, e);
            partition += e;
        }
#pragma GCC unroll 4
        for (f = 0; f < F; f++) {
            store(row_of(y, f) + b, load(row_of(y, f) + b) / partition);
        }
    }
}

KERNEL(softmax_backward)
{
    const Matrix dx = next_matrix(&words), dy = next_matrix(&words), y = next_matrix(&words);
    const int64_t F = next_integer(&words), B = next_integer(&words);
    for (int64_t b = 0; b < B; b += LANES) {
        V total = {0};
#pragma GCC unroll 4
        for (int64_t f = 0; f < F; f++) {
            total = fmadd(load(row_of(dy, f) + b), load(row_of(y, f) + b), total);
        }
#pragma GCC unroll 4
        for (int64_t f = 0; f < F; f++) {
            store(row_of(dx, f) + b, load(row_of(y, f) + b) * (load(row_of(dy, f) + b) - total));
        }
    }
}

KERNEL(log_softmax_forward)
{
    const Matrix y = next_matrix(&words), x = next_matrix(&words);
    const int64_t F = next_integer(&words), B = next_integer(&words);
    for (int64_t b = 0; b < B; b += LANES) {
        const V top = top_of(x, b, F);
        V partition = {0};
        int64_t f = 0;
        for (; f + 2 <= F; f += 2) {
            V e[GROUP] = {load(row_of(x, f) + b) - top, load(row_of(x, f + 1) + b) - top};
            exp_nonpositive_of(e, 2);
            partition += e[0] + e[1];
        }
        for (; f < F; f++) {
            V e = load(row_of(x, f) + b) - top;
            exp_nonpositive_of(&e, 1);
            partition += e;
        }
        const V logarithm = vector_log(partition);
#pragma GCC unroll 4
        for (f = 0; f < F; f++) {
            store(row_of(y, f) + b, (load(row_of(x, f) + b) - top) - logarithm);
        }
    }
}

KERNEL(log_softmax_backward)
{
    const Matrix dx = next_matrix(&words), dy = next_matrix(&words), y = next_matrix(&words);
    const int64_t F = next_integer(&words), B = next_integer(&words);
    for (int64_t b = 0; b < B; b += LANES) {
        V total = {0};
#pragma GCC unroll 4
        for (int64_t f = 0; f < F; f++) {
            total += load(row_of(dy, f) + b);
        }
        int64_t f = 0;
        for (; f + 2 <= F; f += 2) {
            V e[GROUP] = {load(row_of(y, f) + b), load(row_of(y, f + 1) + b)};
            exp_of(e, 2);
            store(row_of(dx, f) + b, fnmadd(e[0], total, load(row_of(dy, f) + b)));
            store(row_of(dx, f + 1) + b, fnmadd(e[1], total, load(row_of(dy, f + 1) + b)));
        }
        for (; f < F; f++) {
            V e = load(row_of(y, f) + b);
            exp_of(&e, 1);
            store(row_of(dx, f) + b, fnmadd(e, total, load(row_of(dy, f) + b)));
        }
    }
}
