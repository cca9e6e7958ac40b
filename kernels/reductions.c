/* Sums over parts, number by number. Reference: fastnn/kernels/reference/reductions.py */
#include "kernel.h"

KERNEL(add_parts)
{
    REAL *total = next_array(&words);
    const Matrix parts = next_matrix(&words);
    const int64_t N = next_integer(&words), P = next_integer(&words);
    for (int64_t i = 0; i < N; i += LANES) {
        V value = {0};
        for (int64_t p = 0; p < P; p++) {
            value += load(row_of(parts, p) + i);
        }
        store(total + i, value);
    }
}
