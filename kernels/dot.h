/* Products as dot products: the C twin of fastnn/kernels/numba/dot.py.
 *
 * Both operands lie with the axis of the sums contiguous. Each element of C is a vector of partial sums, one for each
 * lane, ascending over the terms, and at the end the sum of the lanes, halves first. That last sum costs some
 * instructions per element.
 *
 * Weight gradients sum over the batch; the alternative is to transpose an operand, which costs some instructions per
 * number: dot products are faster for few rows of C or many rows of the batch. The other two products, of few rows of
 * the batch and weights whose rows are summed over, read each weight once and spend nothing on padding.
 */
#ifndef FASTNN_DOT_H
#define FASTNN_DOT_H

#include "product.h"

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
#pragma GCC unroll 2
    for (; t + LANES <= terms; t += LANES) {
        V factor[DOT_SUMS];
        EACH_DOT_ROW factor[i] = load(a + i * a_row + t);
        EACH_DOT_COLUMN {
            V column = load(four[j / 4] + j % 4 * b_row);
            if (rows > 1) {
                in_register(&column);
            }
            EACH_DOT_ROW sums[i * columns + j] = fmadd(factor[i], column, sums[i * columns + j]);
        }
        EACH_FOURTH four[j] += LANES;
    }
    if (t < terms) {
        const VI valid = lanes_below(terms - t);
        V factor[DOT_SUMS];
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

/* Rows of A that are walked side by side: more of them, whole pages apart, would not fit into L1. */
enum { MOST_STREAMS = 8 };

/* sums[i, j] (+)= sum over t of A[i, t] X[j, t]: `rows` of A, `batch` of X, which has AT_ONCE numbers. */
INLINE void few_sums(REAL *sums, const REAL *a, int64_t a_row, const REAL *x, int64_t terms, int64_t accumulate,
                     const int rows, const int batch)
{
    V parts[DOT_SUMS], ordered[DOT_SUMS > LANES ? DOT_SUMS : LANES];
    const int streams = rows < MOST_STREAMS ? rows : MOST_STREAMS, together = streams * batch;
#pragma GCC unroll 16
    for (int n = 0; n < (int)(DOT_SUMS > LANES ? DOT_SUMS : LANES); n++) {
        if (n % together == 0 && n < rows * batch) {
            partial_sums(parts, x, AT_ONCE / batch, a + n / batch * a_row, a_row, terms, batch, streams);
        }
        ordered[n] = n < rows * batch ? parts[n % batch * streams + n % together / batch] : (V){0};
    }
#pragma GCC unroll 16
    for (int n = 0; n < rows * batch; n += (int)LANES) {
        const V sum = sums_of_lanes(ordered + n), before = load(sums + n), total = accumulate ? before + sum : sum;
        store(sums + n, n + LANES <= rows * batch ? total : choose(lanes_below(rows * batch - n), total, before));
    }
}

/* The same for M rows of A. */
#define FEW(batch)                                                                                                     \
    static __attribute__((noinline)) void few_##batch(                                                                 \
        REAL *sums, const REAL *a, int64_t a_row, const REAL *x, int64_t M, int64_t terms, int64_t accumulate)         \
    {                                                                                                                  \
        for (; M >= DOT_SUMS / batch; M -= DOT_SUMS / batch, a += DOT_SUMS / batch * a_row, sums += DOT_SUMS) {        \
            few_sums(sums, a, a_row, x, terms, accumulate, DOT_SUMS / batch, batch);                                   \
        }                                                                                                              \
        for (; DOT_SUMS > 4 * batch && M >= 4; M -= 4, a += 4 * a_row, sums += 4 * batch) {                            \
            few_sums(sums, a, a_row, x, terms, accumulate, 4, batch);                                                  \
        }                                                                                                              \
        for (; M > 0; M--, a += a_row, sums += batch) {                                                                \
            few_sums(sums, a, a_row, x, terms, accumulate, 1, batch);                                                  \
        }                                                                                                              \
    }
FEW(1) FEW(2) FEW(4) FEW(8)

/* x[j, t] = b[t, j] for `batch` columns of b; rows of x have AT_ONCE / batch numbers. */
INLINE void gather_columns(REAL *x, int64_t batch, const REAL *b, int64_t b_k, int64_t terms)
{
    if (batch == 1) {
        for (int64_t t = 0; t < terms; t++) {
            x[t] = b[t * b_k];
        }
        return;
    }
    REAL across[LANES * LANES];
    for (int64_t t = 0; t < terms; t += LANES) {
        transpose_block(across, LANES, b + t * b_k, b_k, terms - t);
        for (int64_t j = 0; j < batch; j++) {
            store(x + j * (AT_ONCE / batch) + t, load(across + j * LANES));
        }
    }
}

/* A product whose C has few columns and whose A is contiguous along the terms. The columns of B are gathered first; of
 * more terms than there is room for, the blocks are added in order. */
static __attribute__((noinline, unused)) void dotted(const Product *p)
{
    REAL sums[AT_ONCE + LANES], x[AT_ONCE];
    const Product own = *p; /* whose fields no store to C makes the last loop read again */
    const int64_t batch = p->columns <= 2 ? p->columns : p->columns <= 4 ? 4 : 8, room = AT_ONCE / batch;
    for (int64_t m = 0; m < p->M; m += room) {
        const int64_t rows = least(room, p->M - m);
        for (int64_t k = 0; k == 0 || k < p->K; k += room) {
            const int64_t terms = least(room, p->K - k);
            const REAL *const a = p->a + m * p->a_row + k;
            gather_columns(x, batch, p->b + k * p->b_k, p->b_k, terms);
            switch (batch) {
            case 1: few_1(sums, a, p->a_row, x, rows, terms, k > 0); break;
            case 2: few_2(sums, a, p->a_row, x, rows, terms, k > 0); break;
            case 4: few_4(sums, a, p->a_row, x, rows, terms, k > 0); break;
            default: few_8(sums, a, p->a_row, x, rows, terms, k > 0);
            }
        }
        store(sums + rows * batch, (V){0});
        for (int64_t i = m; i < m + rows; i++) {
            store(own.c + i * own.c_row, finished(&own, load(sums + (i - m) * batch), own.h + i * own.h_row));
        }
    }
}

#endif
