/* The loops that cover a matrix with the register tile (tile.h), blocked for the caches, and forms of their own for few
 * terms and few columns: the C twin of fastnn/kernels/numba/product.py. */
#ifndef FASTNN_PRODUCT_H
#define FASTNN_PRODUCT_H

#include "tile.h"

/* Blocks of B have so many bytes, or up to twice as many: they stay in L2. */
enum { B_BYTES = 1 << 19 };
/* Long sums are cut into even blocks of k for that, and to have a tile's scalars at hand where they are strided in k and
 * touch a new page every step. A block has at most so many terms as numbers fit into K_BYTES and rows of B into B_BYTES,
 * or K_BLOCK where that is more. */
enum { K_BYTES = 4096, K_BLOCK = 256 };
/* Where scalars are contiguous in k, only sums of so many terms are cut, and only if a row of B has so many bytes. */
enum { LONG_SUM = 2048, WIDE_ROW = 512 };
/* Products of so few terms, or of FEW_TERMS where C has LARGE bytes, go row by row, if rows have MANY_VECTORS. */
enum { FEWEST_TERMS = 2, FEW_TERMS = 4, MANY_VECTORS = 4, LARGE = 1 << 19 };
/* Numbers in a scratch on the stack. */
enum { AT_ONCE = 2048 };
/* Bytes of weights that do not stay in L1. */
enum { BEYOND_L1 = 1 << 16 };
/* Bytes of A and, where C is wide, of C that a column of tiles walks before the next column: they stay in L2, and rows of
 * C are written while their pages are at hand. */
enum { A_BYTES = 1 << 16, C_BYTES = 1 << 17 };

/* What `finish` makes of sums where h is theirs. */
INLINE V finished(const Product *p, V sum, const REAL *h)
{
    if (p->derivative == WHERE_POSITIVE) {
        return choose(load(h) > 0, sum, (V){0});
    }
    if (p->derivative == QUADRATIC) {
        const V y = load(h);
        return sum * fmadd(fmadd(splat(p->c2), y, splat(p->c1)), y, splat(p->c0));
    }
    if (p->derivative == IN_TWO_PARTS) {
        const V y = load(h);
        return sum * choose_less((V){0}, y, splat(p->c2), fmadd(splat(p->c1), y, splat(p->c0)));
    }
    return greater_of(splat(p->floor), sum); /* NaN stays */
}

/* c[n] (+)= sum over k of a[k] b[k, n] for `vectors` vectors, one after the other. */
INLINE void row_of_sums(REAL *c, const REAL *a, int64_t a_k, const REAL *b, int64_t b_k, int64_t vectors,
                        const int accumulate, const int terms)
{
    V factor[FEW_TERMS];
#pragma GCC unroll 8
    for (int k = 0; k < terms; k++) {
        factor[k] = splat(a[k * a_k]);
    }
#pragma GCC unroll 4
    for (int64_t n = 0; n < vectors; n++, b += LANES, c += LANES) {
        V sum = accumulate ? load(c) : (V){0};
#pragma GCC unroll 8
        for (int k = 0; k < terms; k++) {
            sum = fmadd(factor[k], load(b + k * b_k), sum);
        }
        store(c, sum);
    }
}

#define ROWS_OF(terms)                                                                                                \
    case terms:                                                                                                       \
        for (int64_t m = 0; m < p->M; m++) {                                                                          \
            REAL *const c = p->c + m * p->c_row;                                                                      \
            const REAL *const a = p->a + m * p->a_row;                                                                \
            if (p->accumulate) {                                                                                      \
                row_of_sums(c, a, p->a_k, p->b, p->b_k, p->N, 1, terms);                                              \
            } else {                                                                                                  \
                row_of_sums(c, a, p->a_k, p->b, p->b_k, p->N, 0, terms);                                              \
            }                                                                                                         \
        }                                                                                                             \
        break;

/* A product of few terms whose sums are not finished, row by row: all memory in its order, which tiles leave. */
static __attribute__((noinline, unused)) void by_rows(const Product *p)
{
    switch (p->K) {
    ROWS_OF(1) ROWS_OF(2) ROWS_OF(3) ROWS_OF(4)
    }
}

/* Whether that is faster than tiles: writing C is then most of the work. */
INLINE int few_terms(const Product *p)
{
    const int large = p->M * p->c_row >= LARGE / (int64_t)sizeof(REAL);
    return p->K > 0 && p->K <= (large ? FEW_TERMS : FEWEST_TERMS) && p->N >= MANY_VECTORS && p->derivative == NOTHING &&
           p->floor == (REAL)-INFINITY;
}

/* Terms in a block of k, of even sizes. */
INLINE int64_t block_of(const Product *p)
{
    const int64_t fits = least(K_BYTES / (int64_t)sizeof(REAL), B_BYTES / (p->N * VECTOR_BYTES));
    const int64_t most = fits < K_BLOCK ? K_BLOCK : fits, blocks = (p->K + most - 1) / most;
    return blocks > 1 ? (p->K + blocks - 1) / blocks : p->K;
}

/* How C is cut into tiles of even sizes: the first `taller` rows of tiles have rows + 1 rows, the first `wider` columns
 * vectors + 1 vectors. Columns -wide_parts .. -1 are before them, for products of few rows. */
typedef struct {
    int64_t rows, taller, row_parts;
    int64_t vectors, wider, column_parts;
    int64_t wide, wide_parts;
} Cuts;

/* a / b of what is not negative: of 32 bits, as it almost always is, in half the time. */
INLINE int64_t quotient(int64_t a, int64_t b)
{
    return (a | b) >> 32 ? a / b : (int64_t)((uint32_t)a / (uint32_t)b);
}

INLINE Cuts cuts_of(const Product *p)
{
    Cuts cuts = {.wide = widest(p->M), .row_parts = quotient(p->M + MAX_ROWS - 1, MAX_ROWS)};
    cuts.wide_parts = cuts.wide > MAX_VECTORS ? quotient(p->N, cuts.wide) : 0;
    cuts.rows = quotient(p->M, cuts.row_parts), cuts.taller = p->M - cuts.rows * cuts.row_parts;
    const int64_t narrow = p->N - cuts.wide_parts * cuts.wide;
    cuts.column_parts = quotient(narrow + MAX_VECTORS - 1, MAX_VECTORS);
    if (cuts.column_parts) {
        cuts.vectors = quotient(narrow, cuts.column_parts), cuts.wider = narrow - cuts.vectors * cuts.column_parts;
    }
    return cuts;
}

/* The tiles of rows [row, row_end) and columns [column, column_end): columns outside, rows inside. */
INLINE void cover(const Product *p, const Cuts *cuts, int64_t row, int64_t row_end, int64_t column, int64_t column_end)
{
    const int64_t above = least(cuts->taller, row), tall = least(cuts->taller, row_end) - above;
    const int64_t m = row * cuts->rows + above, below = tall * (cuts->rows + 1);
    const REAL *const a = p->a + m * p->a_row;
    for (; column < column_end; column++) {
        const int64_t width = column < 0 ? cuts->wide : cuts->vectors + (column < cuts->wider);
        const int64_t vectors = column < 0 ? (column + cuts->wide_parts) * width
                                           : cuts->wide_parts * cuts->wide + column * cuts->vectors + least(column, cuts->wider);
        const int64_t n = vectors * LANES;
        REAL *const c = p->c + m * p->c_row + n;
        const REAL *const b = p->b + n, *const h = p->h + m * p->h_row + n;
        if (width > MAX_VECTORS) {
            WIDE[p->M - 1](p, c, a, b, h, 1);
            continue;
        }
        if (tall) {
            STRIPS[width - 1][cuts->rows](p, c, a, b, h, tall);
        }
        STRIPS[width - 1][cuts->rows - 1](
            p, c + below * p->c_row, a + below * p->a_row, b, h + below * p->h_row, row_end - row - tall);
    }
}

/* Whether all of it stays in the caches. It is one block then, whose size would take some 20 ns to compute. */
INLINE int is_small(const Product *p)
{
    const int64_t row_bytes = p->N * VECTOR_BYTES;
    return p->K <= K_BLOCK && p->K * row_bytes <= B_BYTES && p->M * row_bytes <= C_BYTES &&
           p->M * p->K * (int64_t)sizeof(REAL) <= A_BYTES;
}

/* The whole product, covered by tiles. */
static __attribute__((noinline, unused)) void covered(const Product *p)
{
    if (few_terms(p)) {
        by_rows(p);
        return;
    }
    const Cuts cuts = cuts_of(p);
    /* Where h is C, partial sums would overwrite h before it is read. */
    const int in_place = p->derivative != NOTHING && p->h == p->c;
    const int long_sum = p->K >= LONG_SUM && p->N * VECTOR_BYTES >= WIDE_ROW;
    const int small = is_small(p);
    const int64_t block = (p->a_k != 1 || long_sum) && !in_place && !small ? block_of(p) : p->K;
    const int64_t row_bytes = p->N * VECTOR_BYTES; /* of B and of C */
    for (int64_t k = 0; k < p->K; k += block) {
        Product t = *p;
        t.K = least(block, p->K - k);
        t.a += k * p->a_k, t.b += k * p->b_k;
        t.accumulate = p->accumulate || k > 0;
        if (k + t.K < p->K) {
            t.floor = (REAL)-INFINITY;
            t.derivative = NOTHING;
        }
        /* Rows of tiles that are walked for one column of them, and columns that are walked for all rows. */
        const int64_t a_bytes = t.K * (int64_t)sizeof(REAL);
        const int64_t together =
            small ? cuts.row_parts : least(A_BYTES / (MAX_ROWS * a_bytes), C_BYTES / (MAX_ROWS * row_bytes)) + 1;
        const int64_t column_bytes = t.K * MAX_VECTORS * VECTOR_BYTES;
        const int64_t side_by_side = t.K * row_bytes > 2 * B_BYTES ? B_BYTES / column_bytes + 1 : p->N;
        for (int64_t column = -cuts.wide_parts; column < cuts.column_parts; column += side_by_side) {
            const int64_t column_end = least(column + side_by_side, cuts.column_parts);
            for (int64_t row = 0; row < cuts.row_parts; row += together) {
                cover(&t, &cuts, row, least(row + together, cuts.row_parts), column, column_end);
            }
        }
    }
}

/* A product whose C has few columns and whose A is contiguous from row to row: the same sums with the roles exchanged,
 * A as vectors and B as scalars, so that no multiplication is spent on padding; transposed on the way to C. A that is
 * beyond L1 is read in its order for a single column, a few terms of all sums at a time. */
static __attribute__((noinline, unused)) void exchanged(const Product *p)
{
    REAL sums[AT_ONCE], across[LANES * LANES];
    const Product own = *p; /* whose fields no store to C makes the loops below read again */
    const int64_t rows = p->columns;
    const int in_order = rows == 1 && p->M > WIDEST * LANES && p->K * p->a_k >= BEYOND_L1 / (int64_t)sizeof(REAL);
    const int64_t width = in_order ? AT_ONCE / LANES : widest(rows);
    for (int64_t n = 0; n < p->M; n += width * LANES) {
        const int64_t vectors = least(width, (p->M - n + LANES - 1) / LANES), stride = vectors * LANES;
        Product t = {
            .c = sums, .c_row = stride, .a = p->b, .a_row = 1, .a_k = p->b_k, .b = p->a + n, .b_k = p->a_k, .h = sums,
            .M = rows, .N = vectors, .K = p->K, .floor = (REAL)-INFINITY,
        };
        if (in_order) {
            for (int64_t k = 0; k < p->K; k += FEW_TERMS, t.a += FEW_TERMS * t.a_k, t.b += FEW_TERMS * t.b_k) {
                t.K = least(FEW_TERMS, p->K - k), t.accumulate = k > 0;
                by_rows(&t);
            }
        } else {
            covered(&t);
        }
        for (int64_t j = 0; j < vectors; j++) {
            const int64_t first = n + j * LANES;
            const REAL *const column = sums + j * LANES;
            if (rows > 1) {
                transpose_first_rows(across, LANES, column, stride, rows);
            }
            for (int64_t i = 0; i < least(LANES, own.M - first); i++) {
                const V sum = rows > 1 ? load(across + i * LANES) : splat(column[i]);
                store(own.c + (first + i) * own.c_row, finished(&own, sum, own.h + (first + i) * own.h_row));
            }
        }
    }
}

#endif
