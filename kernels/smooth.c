/* Activations whose derivative does not follow from their output: value and derivative in one pass.
 * Reference: fastnn/kernels/reference/smooth.py */
#include "activations.h"

/* y = function(x), and its derivative. */
#define WITH_SLOPE(function, y, slope, x, F, B)                                                      \
    const int same = y.stride0 == slope.stride0;                                                     \
    join_rows(y.stride0, x.stride0, same ? x.stride0 : -1, &F, &B);                                  \
    for (int64_t f = 0; f < F; f++) {                                                                \
        _Pragma("GCC unroll 2") for (int64_t b = 0; b < B; b += LANES) {                             \
            V derivative;                                                                            \
            store(row_of(y, f) + b, function(load(row_of(x, f) + b), &derivative));                  \
            store(row_of(slope, f) + b, derivative);                                                 \
        }                                                                                            \
    }

KERNEL(softplus_forward)
{
    const Matrix y = next_matrix(&words), x = next_matrix(&words);
    int64_t F = next_integer(&words), B = next_integer(&words);
    V unused; /* the compiler leaves out what only the derivative needs */
    BY_VECTORS(y, x, F, B, softplus(value, &unused))
}

KERNEL(softplus_forward_with_slope)
{
    const Matrix y = next_matrix(&words), slope = next_matrix(&words), x = next_matrix(&words);
    int64_t F = next_integer(&words), B = next_integer(&words);
    WITH_SLOPE(softplus, y, slope, x, F, B)
}

KERNEL(silu_forward)
{
    const Matrix y = next_matrix(&words), x = next_matrix(&words);
    int64_t F = next_integer(&words), B = next_integer(&words);
    V unused; /* the compiler leaves out what only the derivative needs */
    BY_VECTORS(y, x, F, B, silu(value, &unused))
}

KERNEL(silu_forward_with_slope)
{
    const Matrix y = next_matrix(&words), slope = next_matrix(&words), x = next_matrix(&words);
    int64_t F = next_integer(&words), B = next_integer(&words);
    WITH_SLOPE(silu, y, slope, x, F, B)
}

KERNEL(mish_forward)
{
    const Matrix y = next_matrix(&words), x = next_matrix(&words);
    int64_t F = next_integer(&words), B = next_integer(&words);
    V unused; /* the compiler leaves out what only the derivative needs */
    BY_VECTORS(y, x, F, B, mish(value, &unused))
}

KERNEL(mish_forward_with_slope)
{
    const Matrix y = next_matrix(&words), slope = next_matrix(&words), x = next_matrix(&words);
    int64_t F = next_integer(&words), B = next_integer(&words);
    WITH_SLOPE(mish, y, slope, x, F, B)
}

KERNEL(gelu_forward)
{
    const Matrix y = next_matrix(&words), x = next_matrix(&words);
    int64_t F = next_integer(&words), B = next_integer(&words);
    V unused; /* the compiler leaves out what only the derivative needs */
    BY_VECTORS(y, x, F, B, gelu(value, &unused))
}

KERNEL(gelu_forward_with_slope)
{
    const Matrix y = next_matrix(&words), slope = next_matrix(&words), x = next_matrix(&words);
    int64_t F = next_integer(&words), B = next_integer(&words);
    WITH_SLOPE(gelu, y, slope, x, F, B)
}

KERNEL(gelu_tanh_forward)
{
    const Matrix y = next_matrix(&words), x = next_matrix(&words);
    int64_t F = next_integer(&words), B = next_integer(&words);
    V unused; /* the compiler leaves out what only the derivative needs */
    BY_VECTORS(y, x, F, B, gelu_tanh(value, &unused))
}

KERNEL(gelu_tanh_forward_with_slope)
{
    const Matrix y = next_matrix(&words), slope = next_matrix(&words), x = next_matrix(&words);
    int64_t F = next_integer(&words), B = next_integer(&words);
    WITH_SLOPE(gelu_tanh, y, slope, x, F, B)
}

KERNEL(slope_backward)
{
    const Matrix dx = next_matrix(&words), dy = next_matrix(&words), slope = next_matrix(&words);
    int64_t F = next_integer(&words), B = next_integer(&words);
    BACKWARD_BY_VECTORS(dx, dy, slope, F, B, grad * value)
}
