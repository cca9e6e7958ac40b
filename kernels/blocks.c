/* What blocks of layers do with whole values. Reference: fastnn/kernels/reference/blocks.py */
#include "kernel.h"

KERNEL(add)
{
    const Matrix out = next_matrix(&words), a = next_matrix(&words), b = next_matrix(&words);
    const int64_t F = next_integer(&words), B = next_integer(&words);
    for (int64_t f = 0; f < F; f++) {
#pragma GCC unroll 4
        for (int64_t row = 0; row < B; row += LANES) {
            store(row_of(out, f) + row, load(row_of(a, f) + row) + load(row_of(b, f) + row));
        }
    }
}

KERNEL(copy_features)
{
    const Matrix out = next_matrix(&words), x = next_matrix(&words);
    const int64_t F = next_integer(&words), B = next_integer(&words);
    for (int64_t f = 0; f < F; f++) {
#pragma GCC unroll 4
        for (int64_t row = 0; row < B; row += LANES) {
            store(row_of(out, f) + row, load(row_of(x, f) + row));
        }
    }
}
