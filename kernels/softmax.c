/* Softmax and its logarithm over the features of each row, a vector of rows at a time: the C twin of
 * fastnn/kernels/numba/softmax.py, where bounds and reasons are stated.
 * Reference: fastnn/kernels/reference/softmax.py */
#include "vecmath.h"

/* The largest feature of each row of a vector. */
INLINE V top_of(Matrix x, int64_t b, int64_t F)
{
    V top = splat((REAL)-INFINITY);
#pragma GCC unroll 4
    for (int64_t f = 0; f < F; f++) {
        top = greater_of(load(row_of(x, f) + b), top);
    }
    return top;
}

/* What e**x is divided by, the power of two that is next below e**top. The exponents of two powers of two can be
 * subtracted exactly. Where `top` is too large for e**x to be reduced, x - top is exact for all x that are near enough to
 * count (Sterbenz's lemma), and it is taken first. */
typedef struct {
    V origin, low, power;
} Divisor;

INLINE Divisor divisor_of(V top)
{
    const V origin = choose_less(absolute(top), splat(-2 * EXP_END), (V){0}, top), near = top - origin;
    const V power = fmadd(near, splat((REAL)1.4426950408889634074), splat((REAL)-0.5)) + ROUND_MAGIC;
    return (Divisor){origin, near + EXP_END, power - ROUND_MAGIC};
}

/* e**x / divisor, from 0 to 2; and what rounding has taken from it, where it is a normal number. */
INLINE void exp_over(V *x, V *rest, Divisor by, const int count)
{
    EACH x[i] = greater_of(by.low, x[i] - by.origin);
    exp_over_power_of(x, rest, by.power, count);
}

/* sum + rest becomes sum + rest + term: what rounding takes from the sum is gathered (Knuth's two-sum). */
INLINE void add_with_rest(V *sum, V *rest, V term)
{
    const V next = *sum + term, part = next - *sum;
    *rest += (*sum - (next - part)) + (term - part);
    *sum = next;
}

/* e**x / divisor of some features, stored and added to a sum. */
INLINE void exponentials(Matrix y, Matrix x, int64_t f, int64_t b, Divisor by, V *sum, V *rest, const int count)
{
    V e[GROUP], lost[GROUP];
    EACH e[i] = load(row_of(x, f + i) + b);
    exp_over(e, lost, by, count);
    EACH store(row_of(y, f + i) + b, e[i]);
    EACH add_with_rest(sum, rest, e[i]);
}

KERNEL(softmax_forward)
{
    const Matrix y = next_matrix(&words), x = next_matrix(&words);
    const int64_t F = next_integer(&words), B = next_integer(&words);
    for (int64_t b = 0; b < B; b += LANES) {
        V top = top_of(x, b, F), sum = {0}, rest;
        const Divisor by = divisor_of(top);
        exp_over(&top, &rest, by, 1); /* of the largest term, whose own rounding would count most */
        int64_t f = 0;
        for (; f + GROUP <= F; f += GROUP) {
            exponentials(y, x, f, b, by, &sum, &rest, GROUP);
        }
        for (; f < F; f++) {
            exponentials(y, x, f, b, by, &sum, &rest, 1);
        }
        const V partition = sum + rest, lost = (sum - partition) + rest, reciprocal = 1 / partition;
#pragma GCC unroll 4
        for (f = 0; f < F; f++) {
            const V e = load(row_of(y, f) + b), q = e * reciprocal;
            store(row_of(y, f) + b, fmadd(fnmadd(q, lost, fnmadd(q, partition, e)), reciprocal, q));
        }
    }
}

KERNEL(softmax_backward)
{
    const Matrix dx = next_matrix(&words), dy = next_matrix(&words), y = next_matrix(&words);
    const int64_t F = next_integer(&words), B = next_integer(&words);
    for (int64_t b = 0; b < B; b += LANES) {
        V total = {0};
#pragma GCC unroll 4
        for (int64_t f = 0; f < F; f++) {
            total = fmadd(load(row_of(dy, f) + b), load(row_of(y, f) + b), total);
        }
#pragma GCC unroll 4
        for (int64_t f = 0; f < F; f++) {
            store(row_of(dx, f) + b, load(row_of(y, f) + b) * (load(row_of(dy, f) + b) - total));
        }
    }
}

/* e**x / divisor of some features added to a sum, those of the largest left out and counted. */
INLINE void others(Matrix x, int64_t f, int64_t b, V top, Divisor by, V *sum, V *rest, V *tops, const int count)
{
    V value[GROUP], e[GROUP], lost[GROUP];
    EACH e[i] = value[i] = load(row_of(x, f + i) + b);
    exp_over(e, lost, by, count);
    EACH add_with_rest(sum, rest, choose(value[i] == top, (V){0}, e[i]));
    EACH *tops += choose(value[i] == top, splat(1), (V){0});
}

KERNEL(log_softmax_forward)
{
    const Matrix y = next_matrix(&words), x = next_matrix(&words);
    const int64_t F = next_integer(&words), B = next_integer(&words);
    for (int64_t b = 0; b < B; b += LANES) {
        const V top = top_of(x, b, F);
        const Divisor by = divisor_of(top);
        V sum = {0}, rest = {0}, total = {0};
        int64_t f = 0;
        for (; f + GROUP <= F; f += GROUP) {
            others(x, f, b, top, by, &sum, &rest, &total, GROUP);
        }
        for (; f < F; f++) {
            others(x, f, b, top, by, &sum, &rest, &total, 1);
        }
        /* log(number of largest + sum / e**top): a sum that is small beside 1 keeps its digits. */
        V e = top, lost, shift = top, shift_rest = {0};
        exp_over(&e, &lost, by, 1);
        const V q = sum / e;
        rest = (rest + fnmadd(q, lost, fnmadd(q, e, sum))) / e;
        add_with_rest(&total, &rest, q);
        add_with_rest(&shift, &shift_rest, log_plus(total, rest / total));
#pragma GCC unroll 4
        for (f = 0; f < F; f++) {
            store(row_of(y, f) + b, (load(row_of(x, f) + b) - shift) - shift_rest);
        }
    }
}

KERNEL(log_softmax_backward)
{
    const Matrix dx = next_matrix(&words), dy = next_matrix(&words), y = next_matrix(&words);
    const int64_t F = next_integer(&words), B = next_integer(&words);
    for (int64_t b = 0; b < B; b += LANES) {
        V total = {0};
#pragma GCC unroll 4
        for (int64_t f = 0; f < F; f++) {
            total += load(row_of(dy, f) + b);
        }
        int64_t f = 0;
        for (; f + 2 <= F; f += 2) {
            V e[GROUP] = {load(row_of(y, f) + b), load(row_of(y, f + 1) + b)};
            exp_of(e, 2);
            store(row_of(dx, f) + b, fnmadd(e[0], total, load(row_of(dy, f) + b)));
            store(row_of(dx, f + 1) + b, fnmadd(e[1], total, load(row_of(dy, f + 1) + b)));
        }
        for (; f < F; f++) {
            V e = load(row_of(y, f) + b);
            exp_of(&e, 1);
            store(row_of(dx, f) + b, fnmadd(e, total, load(row_of(dy, f) + b)));
        }
    }
}
