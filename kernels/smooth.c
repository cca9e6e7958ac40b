/* Activations whose derivative does not follow from their output: value and derivative in one pass.
 * Reference: fastnn/kernels/reference/smooth.py */
#include "activations.h"

/* GCC mixes the operations of vectors side by side only if it may order them before it hands out registers. (One core of
 * a Zen 5, float32, elements per ns: GELU 2.0 -> 2.5, SiLU 3.0 -> 3.5.) */
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC push_options
#pragma GCC optimize("schedule-insns")
#endif

/* y = function(x), and its derivative into `slope`, which may be y where it is not wanted: the compiler leaves out what
 * only the derivative needs. Two vectors go side by side. */
#define WITH_SLOPE(function, y, slope, x, F, B, keep)                                            \
    const int same = y.stride0 == slope.stride0;                                                 \
    join_rows(y.stride0, x.stride0, same ? x.stride0 : -1, &F, &B);                              \
    for (int64_t f = 0; f < F; f++) {                                                            \
        int64_t b = 0;                                                                           \
        for (; b + LANES < B; b += 2 * LANES) {                                                  \
            const V first = load(row_of(x, f) + b), second = load(row_of(x, f) + b + LANES);     \
            V slopes[2];                                                                         \
            const V one = function(first, &slopes[0]), other = function(second, &slopes[1]);     \
            store(row_of(y, f) + b, one);                                                        \
            store(row_of(y, f) + b + LANES, other);                                              \
            if (keep) {                                                                          \
                store(row_of(slope, f) + b, slopes[0]);                                          \
                store(row_of(slope, f) + b + LANES, slopes[1]);                                  \
            }                                                                                    \
        }                                                                                        \
        for (; b < B; b += LANES) {                                                              \
            V derivative;                                                                        \
            store(row_of(y, f) + b, function(load(row_of(x, f) + b), &derivative));              \
            if (keep) {                                                                          \
                store(row_of(slope, f) + b, derivative);                                         \
            }                                                                                    \
        }                                                                                        \
    }

KERNEL(softplus_forward)
{
    const Matrix y = next_matrix(&words), x = next_matrix(&words);
    int64_t F = next_integer(&words), B = next_integer(&words);
    WITH_SLOPE(softplus, y, y, x, F, B, 0)
}

KERNEL(softplus_forward_with_slope)
{
    const Matrix y = next_matrix(&words), slope = next_matrix(&words), x = next_matrix(&words);
    int64_t F = next_integer(&words), B = next_integer(&words);
    WITH_SLOPE(softplus, y, slope, x, F, B, 1)
}

KERNEL(silu_forward)
{
    const Matrix y = next_matrix(&words), x = next_matrix(&words);
    int64_t F = next_integer(&words), B = next_integer(&words);
    WITH_SLOPE(silu, y, y, x, F, B, 0)
}

KERNEL(silu_forward_with_slope)
{
    const Matrix y = next_matrix(&words), slope = next_matrix(&words), x = next_matrix(&words);
    int64_t F = next_integer(&words), B = next_integer(&words);
    WITH_SLOPE(silu, y, slope, x, F, B, 1)
}

KERNEL(mish_forward)
{
    const Matrix y = next_matrix(&words), x = next_matrix(&words);
    int64_t F = next_integer(&words), B = next_integer(&words);
    WITH_SLOPE(mish, y, y, x, F, B, 0)
}

KERNEL(mish_forward_with_slope)
{
    const Matrix y = next_matrix(&words), slope = next_matrix(&words), x = next_matrix(&words);
    int64_t F = next_integer(&words), B = next_integer(&words);
    WITH_SLOPE(mish, y, slope, x, F, B, 1)
}

KERNEL(gelu_forward)
{
    const Matrix y = next_matrix(&words), x = next_matrix(&words);
    int64_t F = next_integer(&words), B = next_integer(&words);
    WITH_SLOPE(gelu, y, y, x, F, B, 0)
}

KERNEL(gelu_forward_with_slope)
{
    const Matrix y = next_matrix(&words), slope = next_matrix(&words), x = next_matrix(&words);
    int64_t F = next_integer(&words), B = next_integer(&words);
    WITH_SLOPE(gelu, y, slope, x, F, B, 1)
}

KERNEL(gelu_tanh_forward)
{
    const Matrix y = next_matrix(&words), x = next_matrix(&words);
    int64_t F = next_integer(&words), B = next_integer(&words);
    WITH_SLOPE(gelu_tanh, y, y, x, F, B, 0)
}

KERNEL(gelu_tanh_forward_with_slope)
{
    const Matrix y = next_matrix(&words), slope = next_matrix(&words), x = next_matrix(&words);
    int64_t F = next_integer(&words), B = next_integer(&words);
    WITH_SLOPE(gelu_tanh, y, slope, x, F, B, 1)
}

KERNEL(slope_backward)
{
    const Matrix dx = next_matrix(&words), dy = next_matrix(&words), slope = next_matrix(&words);
    int64_t F = next_integer(&words), B = next_integer(&words);
    BACKWARD_BY_VECTORS(dx, dy, slope, F, B, grad * value)
}

#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC pop_options
#endif
