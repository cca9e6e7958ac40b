/* Products of matrices whose operands are rounded to bfloat16 (words.h), on CPUs with a matrix unit (AMX_BF16): the C twin
 * of fastnn/kernels/numba/amx.py.
 *
 * Its eight registers are tiles of 16 rows of 16 words. One instruction multiplies a tile of A with one of B, 32 terms of
 * 256 sums in 16 cycles: sixteen times as fast as fused multiply-adds. It adds up the even terms and the odd terms by
 * themselves and the two sums to C, with subnormal numbers as zeros: every element of C is one ascending chain over 32
 * terms at a time, so that its bits depend neither on the blocks nor on how a product is split among threads.
 *
 * Four tiles of C, 32 rows and 32 columns, are in registers while the terms of a block go by. Where a panel of A has fewer
 * rows, the tiles have fewer, too: nothing is read or written behind the last row.
 */
#ifndef FASTNN_AMX_H
#define FASTNN_AMX_H

#include "words.h"

enum {
    TILE = 16,            /* rows of a tile, and words in a row */
    PANEL = 2 * TILE,     /* rows of A that are packed at once */
    MAX_VECTORS = 2,      /* in a strip of B */
    MAX_PAIRS = 16 * TILE, /* of k in a block: a panel of A takes 32 KiB of L1 */
    B_VECTORS = 4096,     /* of words in a block of B: 256 KiB of L2 */
    A_ROW = MAX_PAIRS + TILE, /* words from row to row of a panel, which keeps rows apart in L1 */
};

/* What a tile of each register is, as LDTILECFG takes it. */
typedef struct {
    uint8_t palette, start, reserved[14];
    uint16_t bytes[16]; /* in a row */
    uint8_t rows[16];
} Shapes;

/* Some tiles of a product: C from words. */
typedef struct {
    const Product *product;
    float *c;
    const int32_t *a, *b;
    int64_t pairs; /* a multiple of TILE */
    int64_t zero;  /* the sums begin with zeros, not with what is in C */
} Tiles;

/* Registers 0 to 3 are tiles of C, 4 and 5 of A, with so many rows; 6 and 7 of B. */
INLINE void set_shapes(int64_t upper, int64_t lower)
{
    const uint8_t rows[8] = {(uint8_t)upper, (uint8_t)upper, (uint8_t)lower, (uint8_t)lower,
                             (uint8_t)upper, (uint8_t)lower, TILE, TILE};
    Shapes shapes = {.palette = 1};
    for (int i = 0; i < 8; i++) {
        shapes.rows[i] = rows[i];
        shapes.bytes[i] = rows[i] ? 4 * TILE : 0;
    }
    __asm__ volatile("" ::: "memory"); /* GCC does not know which memory the instructions for tiles read */
    _tile_loadconfig(&shapes);
}

/* Does something to C's tile in row i and column j of tiles, where there is one. Registers have to be literal numbers:
 * `sum` is that of the tile, `left` that of A's row and `right` that of B's column. */
#define FOR_TILES(DO, rows, vectors)                                             \
    do { /*  i  j  sum left right */                                             \
        DO(0, 0, 0, 4, 6);                                                       \
        if (vectors > 1) DO(0, 1, 1, 4, 7);                                      \
        if (rows > 1) DO(1, 0, 2, 5, 6);                                         \
        if (rows > 1 && vectors > 1) DO(1, 1, 3, 5, 7);                          \
    } while (0)
#define ZERO(i, j, sum, left, right) _tile_zero(sum)
#define LOAD(i, j, sum, left, right) _tile_loadd(sum, t->c + i * TILE * c_row + j * TILE, 4 * c_row)
#define STORE(i, j, sum, left, right) _tile_stored(sum, t->c + i * TILE * c_row + j * TILE, 4 * c_row)
#define MULTIPLY(i, j, sum, left, right) _tile_dpbf16ps(sum, left, right)

/* `rows` x `vectors` tiles, both known when it is compiled. */
#define TILES(rows, vectors)                                                                                     \
    static __attribute__((noinline)) void tiles_##rows##x##vectors(const Tiles *t)                               \
    {                                                                                                            \
        const int64_t c_row = t->product->c_row;                                                                 \
        __asm__ volatile("" ::: "memory");                                                                       \
        if (t->zero) {                                                                                           \
            FOR_TILES(ZERO, rows, vectors);                                                                      \
        } else {                                                                                                 \
            FOR_TILES(LOAD, rows, vectors);                                                                      \
        }                                                                                                        \
        const int32_t *a = t->a, *b = t->b;                                                                      \
        for (int64_t pair = 0; pair < t->pairs; pair += TILE, a += TILE, b += TILE * TILE * vectors) {           \
            _tile_loadd(6, b, 4 * TILE * vectors);                                                               \
            _tile_loadd(4, a, 4 * A_ROW);                                                                        \
            if (vectors > 1) _tile_loadd(7, b + TILE, 4 * TILE * vectors);                                       \
            if (rows > 1) _tile_loadd(5, a + TILE * A_ROW, 4 * A_ROW);                                           \
            FOR_TILES(MULTIPLY, rows, vectors);                                                                  \
        }                                                                                                        \
        FOR_TILES(STORE, rows, vectors);                                                                         \
    }
TILES(1, 1) TILES(1, 2) TILES(2, 1) TILES(2, 2)

/* Finishes rows of C: `count` of them, `vectors` wide, where sums are complete. */
INLINE void finish(const Product *p, float *c, const float *h, int64_t count, int64_t vectors)
{
    const V low = splat(p->floor), c0 = splat(p->c0), c1 = splat(p->c1), c2 = splat(p->c2);
    for (int64_t row = 0; row < count; row++, c += p->c_row, h += p->h_row) {
        for (int64_t j = 0; j < vectors * LANES; j += LANES) {
            const V sum = load(c + j);
            if (p->derivative == WHERE_POSITIVE) {
                store(c + j, choose(load(h + j) > 0, sum, (V){0}));
            } else if (p->derivative == QUADRATIC) {
                const V y = load(h + j);
                store(c + j, sum * fmadd(fmadd(c2, y, c1), y, c0));
            } else if (p->derivative == IN_TWO_PARTS) {
                const V y = load(h + j);
                store(c + j, sum * choose_less((V){0}, y, c2, fmadd(c1, y, c0)));
            } else {
                store(c + j, greater_of(low, sum)); /* NaN stays */
            }
        }
    }
}

/* out[row, pair] for up to PANEL rows of A, the terms [k, k + terms), with zeros behind the last up to `pairs`. */
INLINE void pack_panel(const Product *p, int32_t *out, int64_t m, int64_t height, int64_t k, int64_t terms, int64_t pairs)
{
    const float *const a = p->a + m * p->a_row + k * p->a_k;
    if (p->a_k == 1) {
        pack_along(out, A_ROW, a, p->a_row, height, terms);
        return;
    }
    for (int64_t row = 0; row < height; row += TILE) {
        for (int64_t pair = 0; pair < pairs; pair += TILE) {
            float words[TILE * TILE] = {0}; /* words in float's clothes: they are only moved */
            pack_across((int32_t *)words, 1, a + row + 2 * pair * p->a_k, p->a_k, least(2 * TILE, terms - 2 * pair));
            transpose_block((float *)out + row * A_ROW + pair, A_ROW, words, TILE, TILE);
        }
    }
}

/* The rows of C that belong to a packed panel, over all strips of a block of B. */
INLINE void panel_product(Tiles *t, int64_t m, int64_t height, int64_t n, int64_t N, const int32_t *b, const int last)
{
    const Product *const p = t->product;
    const int64_t parts = parts_of(N, MAX_VECTORS);
    for (int64_t part = 0; part < parts; part++) {
        const int64_t vectors = N / parts + (part < N % parts);
        t->c = p->c + m * p->c_row + n * LANES;
        t->b = b;
        if (height > TILE) {
            (vectors > 1 ? tiles_2x2 : tiles_2x1)(t);
        } else {
            (vectors > 1 ? tiles_1x2 : tiles_1x1)(t);
        }
        if (last && (p->derivative != NOTHING || p->floor > -INFINITY)) {
            finish(p, t->c, p->h + m * p->h_row + n * LANES, height, vectors);
        }
        b += t->pairs * LANES * vectors;
        n += vectors;
    }
}

/* The whole product: blocks of columns outside, blocks of k within them, panels of rows inside. */
static __attribute__((noinline, unused)) void product(const Product *p)
{
    _Alignas(64) int32_t a[PANEL * A_ROW], b[B_VECTORS * LANES];
    const int64_t vectors = parts_of(p->N, LANES), tiles = parts_of(p->K, 2 * TILE);
    const int64_t block = TILE * parts_of(tiles, parts_of(tiles * TILE, MAX_PAIRS)); /* pairs */
    const int64_t groups = parts_of(vectors, B_VECTORS / block);
    for (int64_t group = 0, n = 0; group < groups; group++) {
        const int64_t N = vectors / groups + (group < vectors % groups);
        for (int64_t k = 0; k < p->K; k += 2 * block) {
            const int64_t terms = least(2 * block, p->K - k);
            Tiles t = {.product = p, .a = a, .pairs = TILE * parts_of(terms, 2 * TILE), .zero = k == 0 && !p->accumulate};
            pack_columns(p, b, n, N, k, terms, t.pairs, MAX_VECTORS);
            for (int64_t m = 0; m < p->M; m += PANEL) {
                const int64_t height = least(PANEL, p->M - m);
                if (m == 0 || height < PANEL) {
                    set_shapes(least(TILE, height), height > TILE ? height - TILE : 0);
                }
                pack_panel(p, a, m, height, k, terms, t.pairs);
                panel_product(&t, m, height, n, N, b, k + terms == p->K);
            }
        }
        n += N;
    }
    _tile_release();
}

#endif
