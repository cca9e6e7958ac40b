/* Activations, a vector at a time. Reference: fastnn/kernels/reference/activations.py */
#include "vecmath.h"

KERNEL(relu_forward)
{
    const Matrix y = next_matrix(&words), x = next_matrix(&words);
    const int64_t F = next_integer(&words), B = next_integer(&words);
    for (int64_t f = 0; f < F; f++) {
        for (int64_t b = 0; b < B; b += LANES) {
            store(row_of(y, f) + b, greater_of((V){0}, load(row_of(x, f) + b))); /* NaN stays */
        }
    }
}

KERNEL(relu_backward)
{
    const Matrix dx = next_matrix(&words), dy = next_matrix(&words), y = next_matrix(&words);
    const int64_t F = next_integer(&words), B = next_integer(&words);
    for (int64_t f = 0; f < F; f++) {
        for (int64_t b = 0; b < B; b += LANES) {
            store(row_of(dx, f) + b, choose(load(row_of(y, f) + b) > 0, load(row_of(dy, f) + b), (V){0}));
        }
    }
}

KERNEL(tanh_forward)
{
    const Matrix y = next_matrix(&words), x = next_matrix(&words);
    const int64_t F = next_integer(&words), B = next_integer(&words);
    for (int64_t f = 0; f < F; f++) {
        for (int64_t b = 0; b < B; b += LANES) {
            store(row_of(y, f) + b, vector_tanh(load(row_of(x, f) + b)));
        }
    }
}

KERNEL(tanh_backward)
{
    const Matrix dx = next_matrix(&words), dy = next_matrix(&words), y = next_matrix(&words);
    const int64_t F = next_integer(&words), B = next_integer(&words);
    for (int64_t f = 0; f < F; f++) {
        for (int64_t b = 0; b < B; b += LANES) {
            const V value = load(row_of(y, f) + b);
            store(row_of(dx, f) + b, load(row_of(dy, f) + b) * (1 - value * value));
        }
    }
}

KERNEL(sigmoid_forward)
{
    const Matrix y = next_matrix(&words), x = next_matrix(&words);
    const int64_t F = next_integer(&words), B = next_integer(&words);
    for (int64_t f = 0; f < F; f++) {
        for (int64_t b = 0; b < B; b += LANES) {
            store(row_of(y, f) + b, vector_sigmoid(load(row_of(x, f) + b)));
        }
    }
}

KERNEL(sigmoid_backward)
{
    const Matrix dx = next_matrix(&words), dy = next_matrix(&words), y = next_matrix(&words);
    const int64_t F = next_integer(&words), B = next_integer(&words);
    for (int64_t f = 0; f < F; f++) {
        for (int64_t b = 0; b < B; b += LANES) {
            const V value = load(row_of(y, f) + b);
            store(row_of(dx, f) + b, load(row_of(dy, f) + b) * (value * (1 - value)));
        }
    }
}
