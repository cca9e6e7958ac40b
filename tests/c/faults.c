/* Kernels that break the contract, each in one way: what the program around the kernels (kernel_server.c) must notice.
 * Their words are those of an operation `y[F,B] = x[F,B]`. */
#include "isa/float32.h"
#include "isa/baseline.h"
#include "kernel.h"

#define FAULT(name)                                 \
    void fastnn_fault_##name(const int64_t *words); \
    void fastnn_fault_##name(const int64_t *words)

/* The end of the padding of a row of that many numbers. */
static REAL *end_of_row(Matrix matrix, int64_t row, int64_t length)
{
    return row_of(matrix, row) + (length + LANES - 1) / LANES * LANES;
}

FAULT(none)
{
    const Matrix y = next_matrix(&words), x = next_matrix(&words);
    const int64_t F = next_integer(&words), B = next_integer(&words);
    for (int64_t f = 0; f < F; f++) {
        for (int64_t b = 0; b < B; b += LANES) {
            store(row_of(y, f) + b, load(row_of(x, f) + b));
        }
    }
}

FAULT(writes_behind_the_last_row)
{
    const Matrix y = next_matrix(&words);
    (void)next_matrix(&words);
    const int64_t F = next_integer(&words), B = next_integer(&words);
    *end_of_row(y, F - 1, B) = 1;
}

FAULT(reads_behind_the_last_row)
{
    const Matrix y = next_matrix(&words), x = next_matrix(&words);
    const int64_t F = next_integer(&words), B = next_integer(&words);
    *y.data = *end_of_row(x, F - 1, B);
}

FAULT(writes_behind_the_first_row)
{
    const Matrix y = next_matrix(&words);
    (void)next_matrix(&words);
    (void)next_integer(&words);
    *end_of_row(y, 0, next_integer(&words)) = 1;
}

FAULT(reads_behind_the_first_row)
{
    const Matrix y = next_matrix(&words), x = next_matrix(&words);
    (void)next_integer(&words);
    *y.data = *end_of_row(x, 0, next_integer(&words));
}

FAULT(writes_before_the_first_row)
{
    const Matrix y = next_matrix(&words);
    y.data[-4] = 1;
}

FAULT(writes_what_it_reads)
{
    (void)next_matrix(&words);
    const Matrix x = next_matrix(&words);
    *x.data += 1;
}

FAULT(reads_a_word_too_many)
{
    const Matrix y = next_matrix(&words);
    *y.data = (REAL)words[5]; /* after y: three words of x, two sizes */
}

FAULT(takes_rows_to_be_aligned)
{
    const Matrix y = next_matrix(&words), x = next_matrix(&words);
    *(V *)y.data = *(const V *)x.data;
}

FAULT(overflows_an_integer)
{
    const Matrix y = next_matrix(&words);
    (void)next_matrix(&words);
    *y.data = (REAL)(INT64_MAX + next_integer(&words));
}

FAULT(divides_by_zero)
{
    const Matrix y = next_matrix(&words), x = next_matrix(&words);
    (void)x;
    const int64_t F = next_integer(&words);
    *y.data = (REAL)(F / (next_integer(&words) / INT64_MAX));
}
