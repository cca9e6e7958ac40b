/* The one register tile under every product: the C twin of fastnn/kernels/numba/tile.py.
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
/* Terms from one that is added to the one whose scalars are asked for. */
enum { TERMS_AHEAD = 16 };

/* How the derivative of an activation follows from its output h. */
enum { NOTHING = 0, WHERE_POSITIVE = 1, QUADRATIC = 2, IN_TWO_PARTS = 3 };

/* C = finish(A B) or, with `accumulate`, finish(C + A B); rows of C, B and h are padded to whole vectors.
 *
 *   M rows of C and A     N vectors in a row of C and B     K terms of each sum
 *   columns    numbers of a row of C that are wanted, if padding may be left out; 0: all N vectors
 *   c, h       c_row, h_row numbers from row to row; h is read only if derivative != NOTHING, and may be c
 *   a          a_row from m to m, a_k from k to k
 *   b          b_k from k to k
 *   finish(v)  max(v, floor);  v where h > 0 else 0  (WHERE_POSITIVE);  v * (c0 + c1 h + c2 h**2)  (QUADRATIC);
 *              v * (h > 0 ? c2 : c0 + c1 h)  (IN_TWO_PARTS) */
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
        if (rows > 1) {
            EACH_VECTOR in_register(&column[j]); /* GCC would load it once for each row */
        }
        EACH_ROW {
            const V factor = splat(a[i * a_row]);
            EACH_VECTOR sums[i][j] = fmadd(factor, column[j], sums[i][j]);
        }
        prefetch(a + TERMS_AHEAD * a_k); /* strided scalars lie on another line, and often page, each step */
        a += a_k;
        b += b_k;
    }
    /* What follows must not take registers from the loop above, nor have its addresses computed before it. */
    __asm__ volatile("" : "+r"(c), "+r"(h) : : "memory");
    if (p->derivative == WHERE_POSITIVE) {
        EACH_ROW EACH_VECTOR sums[i][j] = choose(load(h + i * h_row + j * LANES) > 0, sums[i][j], (V){0});
    } else if (p->derivative == QUADRATIC) {
        const V c0 = splat(p->c0), c1 = splat(p->c1), c2 = splat(p->c2);
        EACH_ROW EACH_VECTOR {
            const V y = load(h + i * h_row + j * LANES);
            sums[i][j] *= fmadd(fmadd(c2, y, c1), y, c0);
        }
    } else if (p->derivative == IN_TWO_PARTS) {
        const V c0 = splat(p->c0), c1 = splat(p->c1), c2 = splat(p->c2);
        EACH_ROW EACH_VECTOR {
            const V y = load(h + i * h_row + j * LANES);
            sums[i][j] *= choose_less((V){0}, y, c2, fmadd(c1, y, c0));
        }
    } else if (p->floor > (REAL)-INFINITY) {
        const V low = splat(p->floor);
        EACH_ROW EACH_VECTOR sums[i][j] = greater_of(low, sums[i][j]); /* NaN stays */
    }
    EACH_ROW {
        EACH_VECTOR store(c + j * LANES, sums[i][j]);
        c += c_row;
        __asm__ volatile("" : "+r"(c)); /* one register for all rows, where GCC would spill eight */
    }
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

#endif
