/* Products of matrices whose operands are rounded to bfloat16: what the two forms of them (pairs.h, amx.h) share.
 *
 * The CPU takes two terms of a sum at once, as words of 32 bits with a bfloat16 of each. So blocks of both operands are
 * rounded and put into words first, on the stack: a word of A has two neighbours of a row, a word of B two of a column.
 */
#ifndef FASTNN_WORDS_H
#define FASTNN_WORDS_H

#include "kernel.h"

/* How the derivative of an activation follows from its output h. */
enum { NOTHING = 0, WHERE_POSITIVE = 1, QUADRATIC = 2, IN_TWO_PARTS = 3 };

/* C = finish(A B) or, with `accumulate`, finish(C + A B). One of A's strides is 1 and one of B's; rows along the
 * contiguous axis of an operand are padded to whole vectors. h must not be C: partial sums are kept in C.
 *
 *   M rows of C and A     N columns of C and B     K terms of each sum
 *   finish(v)  max(v, floor);  v where h > 0 else 0  (WHERE_POSITIVE);  v * (c0 + c1 h + c2 h**2)  (QUADRATIC);
 *              v * (h > 0 ? c2 : c0 + c1 h)  (IN_TWO_PARTS) */
typedef struct {
    float *c;
    const float *a, *b, *h;
    int64_t c_row, a_row, a_k, b_k, b_column, h_row;
    int64_t M, N, K;
    int64_t accumulate, derivative;
    float floor, c0, c1, c2;
} Product;

INLINE int64_t parts_of(int64_t length, int64_t size)
{
    return (length + size - 1) / size;
}

/* Each word has a number of `first` below and one of `second` above. */
INLINE __m512i words_of_two(__m512 first, __m512 second)
{
    const __m512i order = _mm512_set_epi16(31, 15, 30, 14, 29, 13, 28, 12, 27, 11, 26, 10, 25, 9, 24, 8,
                                           23, 7, 22, 6, 21, 5, 20, 4, 19, 3, 18, 2, 17, 1, 16, 0);
    return _mm512_permutexvar_epi16(order, (__m512i)_mm512_cvtne2ps_pbh(second, first));
}

/* The first `count` numbers from p on, zeros behind them. */
INLINE __m512 load_first(const float *p, int64_t count)
{
    return _mm512_maskz_loadu_ps((__mmask16)(count >= 16 ? 0xFFFF : count > 0 ? (1 << count) - 1 : 0), p);
}

/* Those of 32 numbers in a row, of which `count` are there and the others count as zeros. */
INLINE __m512i words_of_row(const float *p, int64_t count)
{
    return (__m512i)_mm512_cvtne2ps_pbh(load_first(p + 16, count - 16), load_first(p, count));
}

/* out[pair, j] = word of x[2 pair, j] and x[2 pair + 1, j], `vectors` vectors of them; rows of x are x_row apart. */
INLINE void pack_across(int32_t *out, int64_t vectors, const float *x, int64_t x_row, int64_t terms)
{
    for (int64_t k = 0; k < terms; k += 2, x += 2 * x_row) {
        for (int64_t j = 0; j < 16 * vectors; j += 16, out += 16) {
            const __m512 second = k + 1 < terms ? _mm512_loadu_ps(x + x_row + j) : _mm512_setzero_ps();
            _mm512_storeu_si512(out, words_of_two(_mm512_loadu_ps(x + j), second));
        }
    }
}

/* out[row, pair] = word of x[row, 2 pair] and x[row, 2 pair + 1]; 16 pairs at a time, zeros behind the last. */
INLINE void pack_along(int32_t *out, int64_t out_row, const float *x, int64_t x_row, int64_t rows, int64_t terms)
{
    for (int64_t row = 0; row < rows; row++, x += x_row, out += out_row) {
        for (int64_t k = 0; k < terms; k += 32) {
            _mm512_storeu_si512(out + k / 2, words_of_row(x + k, terms - k));
        }
    }
}

/* out[pair, j] = word of x[j, 2 pair] and x[j, 2 pair + 1], `vectors` vectors of them; zeros from `columns` on. */
INLINE void pack_turned(int32_t *out, int64_t vectors, const float *x, int64_t x_row, int64_t columns, int64_t terms)
{
    for (int64_t j = 0; j < 16 * vectors; j += 16) {
        for (int64_t k = 0; k < terms; k += 32) {
            float words[256], turned[256]; /* words in float's clothes: they are only moved */
            for (int64_t row = 0; row < 16; row++) {
                const int64_t count = j + row < columns ? terms - k : 0;
                _mm512_storeu_si512(words + 16 * row, words_of_row(count ? x + (j + row) * x_row + k : x, count));
            }
            transpose_block(turned, 16, words, 16, 16);
            for (int64_t pair = 0; pair < least(16, (terms - k + 1) / 2); pair++) {
                _mm512_storeu_si512(out + (k / 2 + pair) * 16 * vectors + j, _mm512_loadu_si512(turned + 16 * pair));
            }
        }
    }
}

/* Packs N vectors of columns of B from vector n on, the terms [k, k + terms), in strips of at most `widest` vectors of
 * `pairs` words each, with zeros behind the last term. */
INLINE void pack_columns(const Product *p, int32_t *words, int64_t n, int64_t N, int64_t k, int64_t terms, int64_t pairs,
                         int64_t widest)
{
    const int64_t parts = parts_of(N, widest);
    for (int64_t part = 0; part < parts; part++) {
        const int64_t vectors = N / parts + (part < N % parts);
        const float *const b = p->b + k * p->b_k + n * LANES * p->b_column;
        if (p->b_column == 1) {
            pack_across(words, vectors, b, p->b_k, terms);
        } else {
            pack_turned(words, vectors, b, p->b_column, p->N - n * LANES, terms);
        }
        for (int64_t i = parts_of(terms, 2) * LANES * vectors; i < pairs * LANES * vectors; i += LANES) {
            _mm512_storeu_si512(words + i, _mm512_setzero_si512());
        }
        words += pairs * LANES * vectors;
        n += vectors;
    }
}

#endif
