/* Products of matrices whose operands are rounded to bfloat16 (words.h), on CPUs that multiply vectors of pairs
 * (AVX512_BF16): the C twin of fastnn/kernels/numba/pairs.py.
 *
 * The instruction takes two terms of a sum at once, `C[m, n] += A[m, k] B[k, n] + A[m, k + 1] B[k + 1, n]`: the pair of A
 * is a broadcast word, those of B are a vector of words. A block of B serves all rows of A and a panel of A at least eight
 * vectors of B where there are so many, which makes packing cheap (5% at 1024 x 1024 x 128), and nothing that is rounded
 * needs a place in a plan. Every element of C is one ascending chain over pairs of k, whatever the blocks: its bits depend
 * neither on them nor on how a product is split among threads.
 */
#ifndef FASTNN_PAIRS_H
#define FASTNN_PAIRS_H

#include "words.h"

enum {
    MAX_ROWS = 8,       /* of a tile; with */
    MAX_VECTORS = 3,    /* 24 accumulators, 3 vectors of B and a broadcast fill 32 registers */
    PANEL = 16,         /* rows of A that are packed at once */
    MAX_PAIRS = 144,    /* pairs of k in a block: a panel of A takes 9 KiB of L1, the strip of B under a tile 27 KiB */
    B_VECTORS = 2304,   /* of words in a block of B: 144 KiB of L2 */
};

/* Memory that will be packed next: step i of a tile asks for the cache line at start + (i & mask) inner + (i >> shift)
 * outer. Weights come from L3 or beyond; without this the product of a step waited for them for a quarter of its time. */
typedef struct {
    const char *start;
    int64_t mask, shift, inner, outer;
} Ahead;

/* A tile of a product: C from words. */
typedef struct {
    const Product *product;
    float *c;
    const float *h;
    const int32_t *a, *b;
    int64_t a_row, a_pair, pairs;
    int64_t start, last;  /* whether the block of k is the first, the last */
    Ahead ahead;
} Tile;

/* The tile. */

/* Loops over a tile, unrolled so that sums[i][j] are registers; that over the pairs is not, for it would spill them. Clang
 * unrolls to a count only after it has decided what becomes a register. */
#ifdef __clang__
#define WHOLE(count) _Pragma("clang loop unroll(full)")
#define EACH_PAIR _Pragma("clang loop unroll(disable)") for (int64_t pair = 0; pair < pairs; pair++)
#else
#define PRAGMA(text) _Pragma(#text)
#define WHOLE(count) PRAGMA(GCC unroll count)
#define EACH_PAIR _Pragma("GCC unroll 1") for (int64_t pair = 0; pair < pairs; pair++)
#endif
#define EACH_ROW WHOLE(8) for (int i = 0; i < rows; i++)
#define EACH_VECTOR WHOLE(3) for (int j = 0; j < vectors; j++)

/* One of `rows` x `vectors`, both known when it is compiled. */
INLINE void tile(const Tile *t, const int rows, const int vectors)
{
    const Product *const p = t->product;
    V sums[MAX_ROWS][MAX_VECTORS];
    if (t->start) {
        EACH_ROW EACH_VECTOR sums[i][j] = (V){0};
    } else {
        EACH_ROW EACH_VECTOR sums[i][j] = load(t->c + i * p->c_row + j * LANES);
    }
    const int32_t *a = t->a, *b = t->b;
    const int64_t a_row = t->a_row, a_pair = t->a_pair, pairs = t->pairs;
    const Ahead ahead = t->ahead;
    EACH_PAIR {
        __m512i column[MAX_VECTORS];
        EACH_VECTOR column[j] = _mm512_loadu_si512(b + j * LANES);
        EACH_ROW {
            const __m512bh factor = (__m512bh)_mm512_set1_epi32(a[i * a_row]);
            EACH_VECTOR sums[i][j] = (V)_mm512_dpbf16_ps((__m512)sums[i][j], factor, (__m512bh)column[j]);
        }
        prefetch(ahead.start + (pair & ahead.mask) * ahead.inner + (pair >> ahead.shift) * ahead.outer);
        a += a_pair;
        b += LANES * vectors;
    }
    __asm__ volatile("" ::: "memory"); /* what follows must not take registers from the loop above */
    const int64_t h_row = p->h_row, c_row = p->c_row;
    const float *const h = t->h;
    if (!t->last) {
    } else if (p->derivative == WHERE_POSITIVE) {
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
    } else {
        const V low = splat(p->floor);
        EACH_ROW EACH_VECTOR sums[i][j] = greater_of(low, sums[i][j]); /* NaN stays */
    }
    EACH_ROW EACH_VECTOR store(t->c + i * c_row + j * LANES, sums[i][j]);
}

#define TILE(rows, vectors)                                                      \
    static __attribute__((noinline)) void tile_##rows##x##vectors(const Tile *t) \
    {                                                                            \
        tile(t, rows, vectors);                                                  \
    }
#define FOR_ROWS(DO, vectors) \
    DO(1, vectors) DO(2, vectors) DO(3, vectors) DO(4, vectors) DO(5, vectors) DO(6, vectors) DO(7, vectors) DO(8, vectors)
FOR_ROWS(TILE, 1) FOR_ROWS(TILE, 2) FOR_ROWS(TILE, 3)
#define NAME_OF(rows, vectors) tile_##rows##x##vectors,
static void (*const TILES[MAX_VECTORS][MAX_ROWS])(const Tile *) = {
    {FOR_ROWS(NAME_OF, 1)}, {FOR_ROWS(NAME_OF, 2)}, {FOR_ROWS(NAME_OF, 3)}};

/* The product. */

/* What the tiles of a row of tiles in a panel fetch of the next panel's memory: `part` 0 one half of it, 1 the other. */
INLINE Ahead ahead_of(const Product *p, const float *next, int64_t part)
{
    if (p->a_k == 1) { /* eight rows, a line of each in turn */
        return (Ahead){(const char *)(next + part * 8 * p->a_row), 7, 3, 4 * p->a_row, 64};
    }
    return (Ahead){(const char *)(next + part * p->a_k), 0, 0, 0, 8 * p->a_k}; /* every other row */
}

/* The rows of C that belong to a panel, over all strips of a block of B. `next`: of the next panel's memory, or NULL. */
INLINE void panel_product(const Product *p, Tile *t, int64_t m, int64_t height, int64_t n, int64_t N, const int32_t *b,
                          const float *next)
{
    const int64_t row_parts = parts_of(height, MAX_ROWS), column_parts = parts_of(N, MAX_VECTORS);
    const int32_t *const a = t->a;
    for (int64_t row_part = 0, i = 0; row_part < row_parts; row_part++) {
        const int64_t rows = height / row_parts + (row_part < height % row_parts);
        t->a = a + i * t->a_row;
        for (int64_t column_part = 0, j = 0; column_part < column_parts; column_part++) {
            const int64_t vectors = N / column_parts + (column_part < N % column_parts);
            t->b = b + j * t->pairs * LANES;
            t->c = p->c + (m + i) * p->c_row + (n + j) * LANES;
            t->h = p->h + (m + i) * p->h_row + (n + j) * LANES;
            t->ahead = column_part == 0 && next ? ahead_of(p, next, row_part) : (Ahead){(const char *)t->b, 0, 0, 0, 0};
            TILES[vectors - 1][rows - 1](t);
            j += vectors;
        }
        i += rows;
    }
}

/* The whole product: blocks of columns outside, blocks of k within them, panels of rows inside. */
static __attribute__((noinline, unused)) void product(const Product *p)
{
    enum { A_ROW = (MAX_PAIRS + 15) / 16 * 16 + 16 }; /* of a panel packed along rows; the 16 keep rows apart in L1 */
    _Alignas(64) int32_t a[PANEL * A_ROW], b[B_VECTORS * LANES];
    const int64_t vectors = parts_of(p->N, LANES), pairs = parts_of(p->K, 2);
    const int64_t block = parts_of(pairs, parts_of(pairs, MAX_PAIRS));
    const int64_t groups = parts_of(vectors, B_VECTORS / block);
    for (int64_t group = 0, n = 0; group < groups; group++) {
        const int64_t N = vectors / groups + (group < vectors % groups);
        for (int64_t k = 0; k < p->K; k += 2 * block) {
            const int64_t terms = least(2 * block, p->K - k);
            Tile t = {.product = p, .a = a, .pairs = (terms + 1) / 2, .start = k == 0 && !p->accumulate,
                      .last = k + terms == p->K};
            t.a_row = p->a_k == 1 ? A_ROW : 1;
            t.a_pair = p->a_k == 1 ? 1 : PANEL;
            pack_columns(p, b, n, N, k, terms, t.pairs, MAX_VECTORS);
            for (int64_t m = 0; m < p->M; m += PANEL) {
                const float *const rows = p->a + m * p->a_row + k * p->a_k, *const next = rows + PANEL * p->a_row;
                const int64_t height = least(PANEL, p->M - m);
                if (p->a_k == 1) {
                    pack_along(a, A_ROW, rows, p->a_row, height, terms);
                } else {
                    pack_across(a, 1, rows, p->a_k, terms);
                }
                t.a = a;
                panel_product(p, &t, m, height, n, N, b, m + PANEL < p->M ? next : NULL);
            }
        }
        n += N;
    }
}

#endif
