/* Weight gradients as dot products, without a transposition: the C twin of fastnn/kernels/numba/dot.py.
 *
 * Both operands lie with the batch contiguous. Each element of C is a vector of partial sums, one for each lane, ascending
 * over the batch, and at the end the sum of the lanes, halves first. That last sum costs some instructions per element,
 * a transposition some per number of an operand: this form is the faster one for few rows of C or many rows of the batch.
 */
#ifndef FASTNN_DOT_H
#define FASTNN_DOT_H

#include "kernel.h"

/* A block of C is DOT_ROWS x DOT_COLUMNS sums in registers, half of those that there are: as many loads as the
 * multiplications leave time for, and enough sums to hide the latency of an addition. Two such blocks lie side by side
 * where one is half a vector wide. */
#if VECTOR_BYTES == 64 || defined(__aarch64__)
enum { DOT_SUMS = 16 };
#else
enum { DOT_SUMS = 8 };
#endif
#define DOT_COLUMNS (LANES < DOT_SUMS / 2 ? LANES : DOT_SUMS / 2)
#define DOT_ROWS (DOT_SUMS / DOT_COLUMNS)

/* One round of sums_of_lanes, with a distance that is known early enough for v to be registers. */
#define ADD_HALVES(distance)                                                                                    \
    if (LANES > (distance)) {                                                                                   \
        const VI lane = widened(lane_numbers()), upper = (lane & (distance)) != 0;                              \
        const VI low = lane + (upper & splat_integer((INT)(LANES - (distance)))), high = low + (distance);      \
        _Pragma("GCC unroll 8") for (int j = 0; j < (distance); j++) {                                          \
            v[j] = shuffle(v[j], v[j + (distance)], low) + shuffle(v[j], v[j + (distance)], high);              \
        }                                                                                                       \
    }

/* Lane j is the sum of the lanes of v[j]: rounds of a transposition whose halves are added. v is overwritten. */
INLINE V sums_of_lanes(V *v)
{
    ADD_HALVES(8)
    ADD_HALVES(4)
    ADD_HALVES(2)
    ADD_HALVES(1)
    return v[0];
}

#define EACH_DOT_ROW _Pragma("GCC unroll 8") for (int i = 0; i < rows; i++)
#define EACH_DOT_COLUMN _Pragma("GCC unroll 16") for (int j = 0; j < columns; j++)
#define EACH_FOURTH _Pragma("GCC unroll 4") for (int j = 0; j < (columns + 3) / 4; j++)

/* sums[i * columns + j] = partial sums over t of A[i, t] B[j, t]. */
INLINE void partial_sums(V *sums, const REAL *a, int64_t a_row, const REAL *b, int64_t b_row, int64_t terms, const int rows,
                         const int columns)
{
    EACH_DOT_ROW EACH_DOT_COLUMN sums[i * columns + j] = (V){0};
    const REAL *four[4]; /* every fourth row of B: an address is one of these and 0 to 3 strides */
    EACH_FOURTH four[j] = b + 4 * j * b_row;
    int64_t t = 0;
#pragma GCC unroll 1
    for (; t + LANES <= terms; t += LANES) {
        V factor[DOT_ROWS];
        EACH_DOT_ROW factor[i] = load(a + i * a_row + t);
        EACH_DOT_COLUMN {
            const V column = load(four[j / 4] + j % 4 * b_row);
            EACH_DOT_ROW sums[i * columns + j] = fmadd(factor[i], column, sums[i * columns + j]);
        }
        EACH_FOURTH four[j] += LANES;
    }
    if (t < terms) {
        const VI valid = lanes_below(terms - t);
        V factor[DOT_ROWS];
        EACH_DOT_ROW factor[i] = choose(valid, load(a + i * a_row + t), (V){0});
        EACH_DOT_COLUMN {
            const V column = choose(valid, load(b + j * b_row + t), (V){0}); /* 0 * NaN is NaN */
            EACH_DOT_ROW sums[i * columns + j] = fmadd(factor[i], column, sums[i * columns + j]);
        }
    }
}

INLINE void put(REAL *c, V sum, int64_t accumulate)
{
    store(c, accumulate ? load(c) + sum : sum);
}

/* DOT_ROWS rows of C, one vector wide. */
INLINE void dot_rows(REAL *c, int64_t c_row, const REAL *a, int64_t a_row, const REAL *b, int64_t b_row, int64_t terms,
                     int64_t accumulate)
{
    V sums[DOT_SUMS];
    partial_sums(sums, a, a_row, b, b_row, terms, DOT_ROWS, DOT_COLUMNS);
    if (DOT_COLUMNS == LANES) {
#pragma GCC unroll 8
        for (int i = 0; i < (int)DOT_ROWS; i++) {
            put(c + i * c_row, sums_of_lanes(sums + i * LANES), accumulate);
        }
    } else { /* two rows, half a vector of each at a time */
        const V left = sums_of_lanes(sums);
        partial_sums(sums, a, a_row, b + DOT_COLUMNS * b_row, b_row, terms, DOT_ROWS, DOT_COLUMNS);
        const V right = sums_of_lanes(sums);
        const VI lane = widened(lane_numbers()), upper = lane >= (INT)DOT_COLUMNS;
        const VI first = lane + (upper & splat_integer((INT)DOT_COLUMNS));
        put(c, shuffle(left, right, first), accumulate);
        put(c + c_row, shuffle(left, right, first + (INT)DOT_COLUMNS), accumulate);
    }
}

/* C (+)= A B^T: M rows of A and C, `vectors` vectors in a row of C, that many rows of B and what lies behind them. */
static __attribute__((noinline, unused)) void dots(
    REAL *c, int64_t c_row, const REAL *a, int64_t a_row, const REAL *b, int64_t b_row, int64_t M, int64_t vectors,
    int64_t terms, int64_t accumulate)
{
    for (int64_t n = 0; n < vectors; n++, c += LANES, b += LANES * b_row) {
        int64_t m = 0;
        for (; m + DOT_ROWS <= M; m += DOT_ROWS) {
            dot_rows(c + m * c_row, c_row, a + m * a_row, a_row, b, b_row, terms, accumulate);
        }
        for (; m < M; m++) {
            V sums[LANES];
            partial_sums(sums, a + m * a_row, a_row, b, b_row, terms, 1, (int)LANES);
            put(c + m * c_row, sums_of_lanes(sums), accumulate);
        }
    }
}

#endif
