/* Activations whose derivative follows from their output, a vector or a group of vectors at a time.
 * Reference: fastnn/kernels/reference/activations.py */
#include "activations.h"

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

KERNEL(leaky_relu_forward)
{
    const Matrix y = next_matrix(&words), x = next_matrix(&words);
    int64_t F = next_integer(&words), B = next_integer(&words);
    const V slope = splat((REAL)next_scalar(&words));
    BY_VECTORS(y, x, F, B, choose_less((V){0}, value, value, value * slope))
}

KERNEL(leaky_relu_backward)
{
    const Matrix dx = next_matrix(&words), dy = next_matrix(&words), y = next_matrix(&words);
    int64_t F = next_integer(&words), B = next_integer(&words);
    const V slope = splat((REAL)next_scalar(&words));
    BACKWARD_BY_VECTORS(dx, dy, y, F, B, choose_less((V){0}, value, grad, grad * slope))
}

KERNEL(elu_forward)
{
    const Matrix y = next_matrix(&words), x = next_matrix(&words);
    int64_t F = next_integer(&words), B = next_integer(&words);
    const V alpha = splat((REAL)next_scalar(&words));
    BY_VECTORS(y, x, F, B, elu(value, alpha))
}

KERNEL(elu_backward)
{
    const Matrix dx = next_matrix(&words), dy = next_matrix(&words), y = next_matrix(&words);
    int64_t F = next_integer(&words), B = next_integer(&words);
    const V alpha = splat((REAL)next_scalar(&words));
    BACKWARD_BY_VECTORS(dx, dy, y, F, B, grad * choose_less((V){0}, value, splat(1), value + alpha))
}

KERNEL(selu_forward)
{
    const Matrix y = next_matrix(&words), x = next_matrix(&words);
    int64_t F = next_integer(&words), B = next_integer(&words);
    BY_VECTORS(y, x, F, B, selu(value))
}

KERNEL(selu_backward)
{
    const Matrix dx = next_matrix(&words), dy = next_matrix(&words), y = next_matrix(&words);
    int64_t F = next_integer(&words), B = next_integer(&words);
    const V above = splat((REAL)SELU_SCALE), alpha = splat((REAL)(SELU_SCALE * SELU_ALPHA));
    BACKWARD_BY_VECTORS(dx, dy, y, F, B, grad * choose_less((V){0}, value, above, value + alpha))
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

KERNEL(hard_tanh_forward)
{
    const Matrix y = next_matrix(&words), x = next_matrix(&words);
    int64_t F = next_integer(&words), B = next_integer(&words);
    const V low = splat((REAL)next_scalar(&words)), high = splat((REAL)next_scalar(&words));
    BY_VECTORS(y, x, F, B, lesser_of(high, greater_of(low, value))) /* NaN stays */
}

KERNEL(hard_tanh_backward)
{
    const Matrix dx = next_matrix(&words), dy = next_matrix(&words), y = next_matrix(&words);
    int64_t F = next_integer(&words), B = next_integer(&words);
    const V low = splat((REAL)next_scalar(&words)), high = splat((REAL)next_scalar(&words));
    BACKWARD_BY_VECTORS(dx, dy, y, F, B, choose((value <= low) | (value >= high), (V){0}, grad))
}

KERNEL(softsign_forward)
{
    const Matrix y = next_matrix(&words), x = next_matrix(&words);
    int64_t F = next_integer(&words), B = next_integer(&words);
    BY_VECTORS(y, x, F, B, softsign(value))
}

KERNEL(softsign_backward)
{
    const Matrix dx = next_matrix(&words), dy = next_matrix(&words), y = next_matrix(&words);
    int64_t F = next_integer(&words), B = next_integer(&words);
    BACKWARD_BY_VECTORS(dx, dy, y, F, B, grad * ((1 - absolute(value)) * (1 - absolute(value))))
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
