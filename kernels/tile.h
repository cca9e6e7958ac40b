/* The one register tile under every product, and the loops that cover a matrix with it: the C twin of
 * fastnn/kernels/numba/tile.py.
 *
 * A tile holds up to MAX_ROWS x MAX_VECTORS vectors of C in registers and walks k upwards, each step one fused
 * multiply-add per vector: `C[m, n] += A[m, k] * B[k, n]`, A a broadcast scalar, B and C vectors along their contiguous
 * axis. Every element of C is therefore one ascending chain over k, whatever the shape of the tile that computed it: its
 * bits depend neither on the tile nor on the neighbours nor on how a product is split among threads.
 */
#ifndef FASTNN_TILE_H
#define FASTNN_TILE_H

#include "kernel.h"

/* 8 x 3 accumulators, 3 vectors of B and one broadcast fill 32 registers; 6 x 2 fill 16. */
#if VECTOR_BYTES == 64 || defined(__aarch64__)
enum { MAX_ROWS = 8, MAX_VECTORS = 3 };
#else
enum { MAX_ROWS = 6, MAX_VECTORS = 2 };
#endif
/* The widest tile, of few rows. */
enum { WIDEST = 8 };
/* Blocks of k keep a block of B, of so many bytes, in L2, and a tile's scalars, if they are strided in k and touch a new
 * page every step, at hand. A block has 256 terms or more, and at most so many bytes of a row of A. */
enum { B_BYTES = 1 << 19, K_BLOCK = 256, K_BYTES = 4096 };
/* Where scalars are contiguous in k there are blocks from so many terms on, and so many vectors' bytes in a row of B. */
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
/* Terms from one that is added to the one whose scalars are asked for. */
enum { TERMS_AHEAD = 16 };

/* How the derivative of an activation follows from its output h. */
enum { NOTHING = 0, WHERE_POSITIVE = 1, QUADRATIC = 2 };

/* C = finish(A B) or, with `accumulate`, finish(C + A B); rows of C, B and h are padded to whole vectors.
 *
 *   M rows of C and A     N vectors in a row of C and B     K terms of each sum
 *   columns    numbers of a row of C that are wanted, if padding may be left out; 0: all N vectors
 *   c, h       c_row, h_row numbers from row to row; h is read only if derivative != NOTHING, and may be c
 *   a          a_row from m to m, a_k from k to k
 *   b          b_k from k to k
 *   finish(v)  max(v, floor);  v where h > 0 else 0  (WHERE_POSITIVE);  v * (c0 + c1 h + c2 h**2)  (QUADRATIC) */
typedef struct {
    REAL *c;
    const REAL *a, *b, *h;
    int64_t c_row, a_row, a_k, b_k, h_row;
    int64_t M, N, K, columns;
    int64_t accumulate, derivative;
    REAL floor, c0, c1, c2;
} Product;

/* Loops over a tile, unrolled so that sums[i][j] are registers; that over the terms is not, for it would spill them. */
#define EACH_ROW _Pragma("GCC unroll 8") for (int i = 0; i < rows; i++)
#define EACH_VECTOR _Pragma("GCC unroll 8") for (int j = 0; j < vectors; j++)
#define EACH_TERM _Pragma("GCC unroll 1") for (int64_t k = p->K; k > 0; k--)

/* One tile of `rows` x `vectors`, both known when it is compiled. */
INLINE void tile(const Product *p, REAL *c, const REAL *a, const REAL *b, const REAL *h, const int rows, const int vectors)
{
    const int64_t a_row = p->a_row, a_k = p->a_k, b_k = p->b_k, c_row = p->c_row, h_row = p->h_row;
    V sums[MAX_ROWS][WIDEST];
    if (p->accumulate) {
        EACH_ROW EACH_VECTOR sums[i][j] = load(c + i * c_row + j * LANES);
    } else {
        EACH_ROW EACH_VECTOR sums[i][j] = (V){0};
    }
    EACH_TERM {
        V column[WIDEST];
        EACH_VECTOR column[j] = load(b + j * LANES);
        EACH_ROW {
            const V factor = splat(a[i * a_row]);
            EACH_VECTOR sums[i][j] = fmadd(factor, column[j], sums[i][j]);
        }
        prefetch(a + TERMS_AHEAD * a_k); /* strided scalars lie on another line, and often page, each step */
        a += a_k;
        b += b_k;
    }
    __asm__ volatile("" ::: "memory"); /* what follows must not take registers from the loop above */
    if (p->derivative == WHERE_POSITIVE) {
        EACH_ROW EACH_VECTOR sums[i][j] = choose(load(h + i * h_row + j * LANES) > 0, sums[i][j], (V){0});
    } else if (p->derivative == QUADRATIC) {
        const V c0 = splat(p->c0), c1 = splat(p->c1), c2 = splat(p->c2);
        EACH_ROW EACH_VECTOR {
            const V y = load(h + i * h_row + j * LANES);
            sums[i][j] *= fmadd(fmadd(c2, y, c1), y, c0);
        }
    } else if (p->floor > (REAL)-INFINITY) {
        const V low = splat(p->floor);
        EACH_ROW EACH_VECTOR sums[i][j] = greater_of(low, sums[i][j]); /* NaN stays */
    }
    EACH_ROW EACH_VECTOR store(c + i * c_row + j * LANES, sums[i][j]);
}

/* `count` tiles of one shape, one below the other: a call for all of them. */
#define STRIP(rows, vectors)                                                                                  \
    static __attribute__((noinline)) void strip_##rows##x##vectors(                                           \
        const Product *p, REAL *c, const REAL *a, const REAL *b, const REAL *h, int64_t count)                \
    {                                                                                                         \
        for (; count > 0; count--) {                                                                          \
            tile(p, c, a, b, h, rows, vectors);                                                               \
            c += rows * p->c_row;                                                                             \
            a += rows * p->a_row;                                                                             \
            h += rows * p->h_row;                                                                             \
        }                                                                                                     \
    }
typedef void Strip(const Product *p, REAL *c, const REAL *a, const REAL *b, const REAL *h, int64_t count);
#define NAME_OF(rows, vectors) strip_##rows##x##vectors,
#if VECTOR_BYTES == 64 || defined(__aarch64__)
#define FOR_ROWS(DO, vectors) \
    DO(1, vectors) DO(2, vectors) DO(3, vectors) DO(4, vectors) DO(5, vectors) DO(6, vectors) DO(7, vectors) DO(8, vectors)
FOR_ROWS(STRIP, 1) FOR_ROWS(STRIP, 2) FOR_ROWS(STRIP, 3)
static Strip *const STRIPS[MAX_VECTORS][MAX_ROWS] = {{FOR_ROWS(NAME_OF, 1)}, {FOR_ROWS(NAME_OF, 2)}, {FOR_ROWS(NAME_OF, 3)}};
#else
#define FOR_ROWS(DO, vectors) \
    DO(1, vectors) DO(2, vectors) DO(3, vectors) DO(4, vectors) DO(5, vectors) DO(6, vectors)
FOR_ROWS(STRIP, 1) FOR_ROWS(STRIP, 2)
static Strip *const STRIPS[MAX_VECTORS][MAX_ROWS] = {{FOR_ROWS(NAME_OF, 1)}, {FOR_ROWS(NAME_OF, 2)}};
#endif

INLINE int64_t least(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* A tile of few rows, as wide as registers allow: its vectors are read once, and many sums hide the latency of each. */
#if VECTOR_BYTES == 64 || defined(__aarch64__)
#define FOR_WIDE(DO) DO(1, 8) DO(2, 8) DO(3, 6) DO(4, 6) DO(5, 4) DO(6, 4)
#else
#define FOR_WIDE(DO) DO(1, 8) DO(2, 4) DO(3, 3)
#endif
FOR_WIDE(STRIP)
static Strip *const WIDE[] = {FOR_WIDE(NAME_OF)};
#define WIDTH_OF(rows, vectors) vectors,
static const int8_t WIDTHS[] = {FOR_WIDE(WIDTH_OF)};

/* Vectors of the widest tile for a product of that many rows. */
INLINE int64_t widest(int64_t rows)
{
    return rows <= (int64_t)sizeof WIDTHS ? WIDTHS[rows - 1] : MAX_VECTORS;
}

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
#pragma GCC unroll 2
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
    const int64_t fits = least(K_BYTES / (int64_t)sizeof(REAL), B_BYTES / (p->N * VECTOR_BYTES + 1));
    const int64_t most = fits < K_BLOCK ? K_BLOCK : fits, blocks = (p->K + most - 1) / most;
    return blocks > 1 ? (p->K + blocks - 1) / blocks : p->K;
}

/* The whole product, covered by tiles of even sizes: columns outside, rows inside. */
static __attribute__((noinline, unused)) void covered(const Product *p)
{
    if (few_terms(p)) {
        by_rows(p);
        return;
    }
    const int64_t wide = widest(p->M), wide_parts = wide > MAX_VECTORS ? p->N / wide : 0;
    const int64_t narrow = p->N - wide_parts * wide;
    const int64_t column_parts = (narrow + MAX_VECTORS - 1) / MAX_VECTORS, row_parts = (p->M + MAX_ROWS - 1) / MAX_ROWS;
    const int64_t vectors = column_parts ? narrow / column_parts : 0, wider = column_parts ? narrow % column_parts : 0;
    const int64_t rows = p->M / row_parts, taller = p->M % row_parts;
    /* Where h is C, partial sums would overwrite h before it is read. */
    const int in_place = p->derivative != NOTHING && p->h == p->c;
    const int long_sum = p->K >= LONG_SUM && p->N * VECTOR_BYTES >= WIDE_ROW;
    const int64_t block = (p->a_k != 1 || long_sum) && !in_place ? block_of(p) : p->K;
    for (int64_t k = 0; k < p->K; k += block) {
        Product t = *p;
        t.K = least(block, p->K - k);
        t.accumulate = p->accumulate || k > 0;
        if (k + t.K < p->K) {
            t.floor = (REAL)-INFINITY;
            t.derivative = NOTHING;
        }
        const int64_t bytes = MAX_ROWS * (int64_t)sizeof(REAL);
        const int64_t together = least(A_BYTES / (bytes * t.K), C_BYTES / (bytes * p->c_row)) + 1;
        for (int64_t row = 0; row < row_parts; row += together) {
            const int64_t end = least(row + together, row_parts);
            const int64_t tall = least(taller, end) - least(taller, row), m = row * rows + least(taller, row);
            for (int64_t column = -wide_parts, n = 0, width; column < column_parts; column++, n += width) {
                width = column < 0 ? wide : vectors + (column < wider);
                const REAL *const b = p->b + k * p->b_k + n * LANES, *const a = p->a + k * p->a_k + m * p->a_row;
                REAL *const c = p->c + m * p->c_row + n * LANES;
                const REAL *const h = p->h + m * p->h_row + n * LANES;
                if (width > MAX_VECTORS) {
                    WIDE[p->M - 1](&t, c, a, b, h, 1);
                    continue;
                }
                if (tall) {
                    STRIPS[width - 1][rows](&t, c, a, b, h, tall);
                }
                const int64_t below = tall * (rows + 1);
                STRIPS[width - 1][rows - 1](
                    &t, c + below * p->c_row, a + below * p->a_row, b, h + below * p->h_row, end - row - tall);
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
            for (int64_t i = 0; i < least(LANES, p->M - first); i++) {
                const V sum = rows > 1 ? load(across + i * LANES) : splat(column[i]);
                store(p->c + (first + i) * p->c_row, finished(p, sum, p->h + (first + i) * p->h_row));
            }
        }
    }
}

#endif
