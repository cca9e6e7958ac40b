/* Moving rows of the data into a mini-batch and results out of it. Reference: fastnn/kernels/reference/data.py */
#include <string.h>

#include "kernel.h"

enum { ROWS_AHEAD = 2 };

#define COPY_IF(size)                                      \
    if (LANES > (size) && (count & (size))) {              \
        memcpy(target, source, (size) * sizeof(REAL));     \
        target += (size);                                  \
        source += (size);                                  \
    }

/* Less than a vector: what lies behind it is not the gather's, a row of ones may stand there. */
INLINE void copy_rest(REAL *target, const REAL *source, int64_t count)
{
    COPY_IF(8)
    COPY_IF(4)
    COPY_IF(2)
    COPY_IF(1)
}

KERNEL(gather_rows)
{
    const Matrix x = next_matrix(&words), X = next_matrix(&words);
    const int64_t *order = next_address(&words);
    const int64_t B = next_integer(&words), F = next_integer(&words);
    const int64_t whole = F / LANES * LANES;
    if (whole == 0) {
        for (int64_t b = 0; b < B; b++) {
            copy_rest(row_of(x, b), row_of(X, order[b]), F);
        }
        return;
    }
    for (int64_t b = 0; b < B; b++) {
        const REAL *source = row_of(X, order[b]);
        /* No hardware foresees the next row of a shuffled order. */
        const REAL *later = row_of(X, order[b + ROWS_AHEAD < B ? b + ROWS_AHEAD : B - 1]);
        REAL *target = row_of(x, b);
        for (int64_t f = 0; f < whole; f += LANES) {
            prefetch(later + f);
            store(target + f, load(source + f));
        }
        copy_rest(target + whole, source + whole, F - whole);
    }
}

KERNEL(gather_labels)
{
    int32_t *labels = next_address(&words);
    const int32_t *y = next_address(&words);
    const int64_t *order = next_address(&words);
    const int64_t B = next_integer(&words);
#pragma GCC unroll 4
    for (int64_t b = 0; b < B; b++) {
        labels[b] = y[order[b]];
    }
}

KERNEL(gather_weights)
{
    REAL *weights = next_array(&words);
    const REAL *w = next_array(&words);
    const int64_t *order = next_address(&words);
    const int64_t B = next_integer(&words);
#pragma GCC unroll 4
    for (int64_t b = 0; b < B; b++) {
        weights[b] = w[order[b]];
    }
}

/* out = x^T for x with that many rows and columns, in square blocks. */
INLINE void transpose(Matrix out, Matrix x, int64_t rows, int64_t columns)
{
    for (int64_t row = 0; row < rows; row += LANES) {
        for (int64_t column = 0; column < columns; column += LANES) {
            REAL *corner = row_of(out, column) + row;
            transpose_block(corner, out.stride0, row_of(x, row) + column, x.stride0, rows - row);
        }
    }
}

KERNEL(rows_to_features)
{
    const Matrix out = next_matrix(&words), x = next_matrix(&words);
    const int64_t F = next_integer(&words), B = next_integer(&words);
    transpose(out, x, B, F);
}

KERNEL(features_to_rows)
{
    const Matrix out = next_matrix(&words), x = next_matrix(&words);
    const int64_t B = next_integer(&words), F = next_integer(&words);
    transpose(out, x, F, B);
}
