/* Moving rows of the data into a mini-batch and results out of it. Reference: fastnn/kernels/reference/data.py */
#include "kernel.h"

enum { ROWS_AHEAD = 2 };

KERNEL(gather_rows)
{
    const Matrix x = next_matrix(&words), X = next_matrix(&words);
    const int64_t *order = next_address(&words);
    const int64_t B = next_integer(&words), F = next_integer(&words);
    const int64_t whole = F / LANES * LANES;
    for (int64_t b = 0; b < B; b++) {
        const REAL *source = row_of(X, order[b]);
        /* No hardware foresees the next row of a shuffled order. */
        const REAL *later = row_of(X, order[b + ROWS_AHEAD < B ? b + ROWS_AHEAD : B - 1]);
        REAL *target = row_of(x, b);
        for (int64_t f = 0; f < whole; f += LANES) {
            prefetch(later + f);
            store(target + f, load(source + f));
        }
        for (int64_t f = whole; f < F; f++) { /* the columns behind F are not the gather's: a row of ones may stand there */
            target[f] = source[f];
        }
    }
}

KERNEL(gather_labels)
{
    int32_t *labels = next_address(&words);
    const int32_t *y = next_address(&words);
    const int64_t *order = next_address(&words);
    const int64_t B = next_integer(&words);
    for (int64_t b = 0; b < B; b++) {
        labels[b] = y[order[b]];
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
