/* Vectors that are looked up by category, number by number. Reference: fastnn/kernels/reference/embedding.py */
#include "kernel.h"

KERNEL(category_codes)
{
    int32_t *codes = next_address(&words);
    const REAL *x = next_array(&words);
    const int64_t B = next_integer(&words), categories = next_integer(&words);
    for (int64_t b = 0; b < B; b++) {
        const int inside = x[b] >= 0 && x[b] < (REAL)categories; /* of anything else C has no integer */
        codes[b] = inside ? (int32_t)x[b] : 0;
    }
}

KERNEL(embedding_forward)
{
    const Matrix y = next_matrix(&words), table = next_matrix(&words);
    const int32_t *codes = next_address(&words);
    const int64_t F = next_integer(&words), B = next_integer(&words);
    for (int64_t f = 0; f < F; f++) {
        REAL *out = row_of(y, f);
        const REAL *values = row_of(table, f);
        for (int64_t b = 0; b < B; b++) {
            out[b] = values[codes[b]];
        }
    }
}

KERNEL(embedding_backward)
{
    const Matrix dtable = next_matrix(&words), dy = next_matrix(&words);
    const int32_t *codes = next_address(&words);
    const int64_t F = next_integer(&words), R = next_integer(&words), B = next_integer(&words);
    const int64_t accumulate = next_integer(&words);
    for (int64_t f = 0; f < F; f++) {
        REAL *totals = row_of(dtable, f);
        const REAL *grad = row_of(dy, f);
        if (!accumulate) {
            for (int64_t c = 0; c < R; c += LANES) {
                store(totals + c, (V){0});
            }
        }
        for (int64_t b = 0; b < B; b++) {
            totals[codes[b]] += grad[b];
        }
    }
}
