/* What kernels of activations share: loops over all numbers of a matrix. */
#ifndef FASTNN_ACTIVATIONS_H
#define FASTNN_ACTIVATIONS_H

#include "special.h"

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

/* y = of `value`, a vector of x. */
#define BY_VECTORS(y, x, F, B, of_value)                              \
    join_rows(y.stride0, x.stride0, x.stride0, &F, &B);               \
    for (int64_t f = 0; f < F; f++) {                                 \
        _Pragma("GCC unroll 4") for (int64_t b = 0; b < B; b += LANES) { \
            const V value = load(row_of(x, f) + b);                   \
            store(row_of(y, f) + b, of_value);                        \
        }                                                             \
    }

/* dx = of `grad` and `value`, vectors of dy and y. */
#define BACKWARD_BY_VECTORS(dx, dy, y, F, B, of_grad_and_value)                             \
    join_rows(dx.stride0, dy.stride0, y.stride0, &F, &B);                                   \
    for (int64_t f = 0; f < F; f++) {                                                       \
        _Pragma("GCC unroll 4") for (int64_t b = 0; b < B; b += LANES) {                    \
            const V grad = load(row_of(dy, f) + b), value = load(row_of(y, f) + b);         \
            store(row_of(dx, f) + b, of_grad_and_value);                                    \
        }                                                                                   \
    }

#endif
