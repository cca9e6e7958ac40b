/* Activations, a vector at a time. Reference: fastnn/kernels/reference/activations.py */
#include "vecmath.h"

/* Rows without a gap between them are one long row: short ones make up whole groups, too. */
INLINE void join_rows(int64_t stride0, int64_t stride1, int64_t stride2, int64_t *F, int64_t *B)
{
    const int same = stride0 == stride1 && stride0 == stride2;
    if (same && stride0 - *B < LANES && stride0 >= *B && stride0 % LANES == 0) {
        *B = *F * stride0;
        *F = *F > 0;
    }
}

/* y = function(x), as many vectors at a time as wait for each other's latencies. */
#define ELEMENTWISE(function, y, x, F, B)                                                    \
    join_rows(y.stride0, x.stride0, x.stride0, &F, &B);                                      \
    for (int64_t f = 0; f < F; f++) {                                                        \
        int64_t b = 0;                                                                       \
        for (; b + (GROUP - 1) * LANES < B; b += GROUP * LANES) {                            \
            V value[GROUP];                                                                  \
            for (int i = 0; i < GROUP; i++) {                                                \
                value[i] = load(row_of(x, f) + b + i * LANES);                               \
            }                                                                                \
            function(value, GROUP);                                                          \
            for (int i = 0; i < GROUP; i++) {                                                \
                store(row_of(y, f) + b + i * LANES, value[i]);                               \
            }                                                                                \
        }                                                                                    \
        for (; b < B; b += LANES) {                                                          \
            V value = load(row_of(x, f) + b);                                                \
            function(&value, 1);                                                             \
            store(row_of(y, f) + b, value);                                                  \
        }                                                                                    \
    }

KERNEL(relu_forward)
{
    const Matrix y = next_matrix(&words), x = next_matrix(&words);
    int64_t F = next_integer(&words), B = next_integer(&words);
    join_rows(y.stride0, x.stride0, x.stride0, &F, &B);
    for (int64_t f = 0; f < F; f++) {
#pragma GCC unroll 8
        for (int64_t b = 0; b < B; b += LANES) {
            store(row_of(y, f) + b, greater_of((V){0}, load(row_of(x, f) + b))); /* NaN stays */
        }
    }
}

KERNEL(relu_backward)
{
    const Matrix dx = next_matrix(&words), dy = next_matrix(&words), y = next_matrix(&words);
    int64_t F = next_integer(&words), B = next_integer(&words);
    join_rows(dx.stride0, dy.stride0, y.stride0, &F, &B);
    for (int64_t f = 0; f < F; f++) {
#pragma GCC unroll 8
        for (int64_t b = 0; b < B; b += LANES) {
            store(row_of(dx, f) + b, choose(load(row_of(y, f) + b) > 0, load(row_of(dy, f) + b), (V){0}));
        }
    }
}

KERNEL(tanh_forward)
{
    const Matrix y = next_matrix(&words), x = next_matrix(&words);
    int64_t F = next_integer(&words), B = next_integer(&words);
    ELEMENTWISE(tanh_of, y, x, F, B)
}

KERNEL(tanh_backward)
{
    const Matrix dx = next_matrix(&words), dy = next_matrix(&words), y = next_matrix(&words);
    int64_t F = next_integer(&words), B = next_integer(&words);
    join_rows(dx.stride0, dy.stride0, y.stride0, &F, &B);
    for (int64_t f = 0; f < F; f++) {
#pragma GCC unroll 8
        for (int64_t b = 0; b < B; b += LANES) {
            const V value = load(row_of(y, f) + b);
            store(row_of(dx, f) + b, load(row_of(dy, f) + b) * (1 - value * value));
        }
    }
}

KERNEL(sigmoid_forward)
{
    const Matrix y = next_matrix(&words), x = next_matrix(&words);
    int64_t F = next_integer(&words), B = next_integer(&words);
    ELEMENTWISE(sigmoid_of, y, x, F, B)
}

KERNEL(sigmoid_backward)
{
    const Matrix dx = next_matrix(&words), dy = next_matrix(&words), y = next_matrix(&words);
    int64_t F = next_integer(&words), B = next_integer(&words);
    join_rows(dx.stride0, dy.stride0, y.stride0, &F, &B);
    for (int64_t f = 0; f < F; f++) {
#pragma GCC unroll 8
        for (int64_t b = 0; b < B; b += LANES) {
            const V value = load(row_of(y, f) + b);
            store(row_of(dx, f) + b, load(row_of(dy, f) + b) * (value * (1 - value)));
        }
    }
}
