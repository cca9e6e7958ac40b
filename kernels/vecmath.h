/* exp, log, tanh and sigmoid on vectors: the C twin of fastnn/kernels/numba/vecmath.py, operation by operation, with the
 * same constants and therefore the same bits. The bounds are stated and tested there; coefficients are minimax fits,
 * printed by `python -m bench.minimax`. */
#ifndef FASTNN_VECMATH_H
#define FASTNN_VECMATH_H

#include "kernel.h"

/* What differs between float and double; the names are those of the Numba twin. */
#ifdef REAL_IS_FLOAT
#define FRACTION_BITS 23
#define BIAS 127
#define MAGNITUDE INT32_MAX
#define SIGN INT32_MIN
#define SQRT_HALF 0x3F3504F3
#define ROUND_MAGIC (12582912.0f + 127)
#define MINUS_LN2_HIGH -0.693145751953125f
#define MINUS_LN2_LOW -1.42860682030941723212e-6f
#define EXP_LOW -103.97207f
#define EXP_HIGH 88.722839f
#define EXP_NORMAL -87.336544f
#define TANH_ONE 10.0f
static const REAL EXP_COEFFICIENTS[] = {
    0.5000000095552123f, 0.16666518379401334f, 0.041666204445891419f, 0.0083689467214606959f, 0.0013950587045080556f};
static const REAL LOG_COEFFICIENTS[] = {0.6666677557253394f, 0.39977606961531087f, 0.29870547522330944f};
#else
#define FRACTION_BITS 52
#define BIAS 1023
#define MAGNITUDE INT64_MAX
#define SIGN INT64_MIN
#define SQRT_HALF 0x3FE6A09E667F3BCD
#define ROUND_MAGIC (6755399441055744.0 + 1023)
#define MINUS_LN2_HIGH -6.93147180369123816490e-01
#define MINUS_LN2_LOW -1.90821492927058770002e-10
#define EXP_LOW -745.13321910194122
#define EXP_HIGH 709.78271289338397
#define EXP_NORMAL -708.39641853226408
#define TANH_ONE 20.0
static const REAL EXP_COEFFICIENTS[] = {
    0.50000000000000127593, 0.16666666666666699213, 0.041666666666514977882, 0.0083333333333070949484,
    0.0013888888947185232996, 0.00019841269917645458551, 0.000024801489723426942769, 2.7557216051146029028e-6,
    2.7631371211637993892e-7, 2.5117944046052441033e-8};
static const REAL LOG_COEFFICIENTS[] = {
    0.66666666666667306744, 0.39999999999433429947, 0.28571428739023526801, 0.22222198861319326266,
    0.18183551575873359559, 0.15314331648554110323, 0.14793509395828982899};
#endif

/* (c0 + c1 r) + r**2 ((c2 + c3 r) + r**2 (...)): half as long a chain as Horner's; such functions wait for latencies. */
INLINE V polynomial(V r, const REAL *c, const int terms)
{
    const V square = r * r;
    int i = (terms - 1) / 2 * 2;
    V value = i + 1 < terms ? fmadd(splat(c[i + 1]), r, splat(c[i])) : splat(c[i]);
#pragma GCC unroll 8
    for (i -= 2; i >= 0; i -= 2) {
        value = fmadd(value, square, fmadd(splat(c[i + 1]), r, splat(c[i])));
    }
    return value;
}
#define POLYNOMIAL(r, coefficients) polynomial(r, coefficients, sizeof(coefficients) / sizeof(REAL))

/* |x|: the sign bit cleared. */
INLINE V absolute(V x)
{
    return from_bits(bits(x) & (INT)MAGNITUDE);
}

/* 2**n for integers n in the normal range. */
INLINE V power_of_two(VI n)
{
    return from_bits((VI)((VU)(n + BIAS) << FRACTION_BITS));
}

/* e**r - 1 and, in *shifted, n + ROUND_MAGIC, where x = n ln 2 + r and |r| <= ln 2 / 2. */
INLINE V reduce(V x, V *shifted)
{
    const V magic = splat(ROUND_MAGIC);
    *shifted = fmadd(x, splat((REAL)1.4426950408889634074), magic);
    const V whole = *shifted - magic;
    const V r = fmadd(whole, splat(MINUS_LN2_LOW), fmadd(whole, splat(MINUS_LN2_HIGH), x));
    return fmadd(r * r, POLYNOMIAL(r, EXP_COEFFICIENTS), r);
}

/* 2**n from n + ROUND_MAGIC, n in the normal range: the exponent stands in the low bits. */
INLINE V power(V shifted)
{
    return from_bits((VI)((VU)bits(shifted) << FRACTION_BITS));
}

/* e**x: infinity and zero beyond the range, subnormal results included. */
INLINE V vector_exp(V x)
{
    const V low = splat(EXP_LOW), high = splat(EXP_HIGH);
    V shifted;
    const V e = reduce(greater_of(low, lesser_of(high, x)), &shifted);
    const VI n = bits(shifted) - bits(splat(ROUND_MAGIC));
    const VI half = n >> 1; /* 2**n as two factors: n itself may lie outside the normal range */
    const V first = power_of_two(half);
    const V y = fmadd(first, e, first) * power_of_two(n - half);
    return choose(x > high, splat((REAL)INFINITY), choose(x < low, (V){0}, y));
}

/* e**x for x <= 0: cheaper than vector_exp, and zero where the result would be subnormal. */
INLINE V exp_nonpositive(V x)
{
    const V low = splat(EXP_NORMAL);
    V shifted;
    const V e = reduce(greater_of(low, x), &shifted);
    const V scale = power(shifted);
    return choose(x < low, (V){0}, fmadd(scale, e, scale));
}

/* The natural logarithm of a normal positive number: x = 2**k (1 + f) with 1 + f in [sqrt(1/2), sqrt(2)]. Infinity and
 * NaN stay what they are. */
INLINE V vector_log(V x)
{
    const VI pattern = bits(x);
    const VI k = (pattern - (INT)SQRT_HALF) >> FRACTION_BITS;
    const V f = from_bits(pattern - (VI)((VU)k << FRACTION_BITS)) - 1;
    const V s = f / (f + 2);
    const V z = s * s;
    const V half_square = f * f * (REAL)0.5;
    /* log(1 + f) = f - (f**2 / 2 - s (f**2 / 2 + R)): f itself is exact, all that is rounded is small beside it. */
    const V correction = s * fmadd(z, POLYNOMIAL(z, LOG_COEFFICIENTS), half_square);
    const V exponent = to_float(k);
    const V low = fmadd(exponent, splat(MINUS_LN2_LOW), half_square - correction);
    return choose(x < (REAL)INFINITY, fmadd(exponent, splat(-(MINUS_LN2_HIGH)), f - low), x);
}

/* log(1 + x) for 0 <= x <= 1: the logarithm of the rounded sum, plus what the rounding lost over that sum. */
INLINE V log1p_unit(V x)
{
    const V total = x + 1;
    return vector_log(total) + (x - (total - 1)) / total;
}

/* (e**2a - 1) / (e**2a + 1) with a = |x| and the sign put back; e**2a - 1 without cancellation. */
INLINE V vector_tanh(V x)
{
    const V a = absolute(x), one = splat(TANH_ONE);
    V shifted;
    const V e = reduce(lesser_of(one, a) * 2, &shifted);
    const V scale = power(shifted);
    const V t = fmadd(scale, e, scale - 1);
    const V y = t / (t + 2);
    return from_bits(bits(y) | (bits(x) & (INT)SIGN));
}

/* With e = e**-|x|: 1 / (1 + e) for x >= 0 and e / (1 + e) below, so that nothing overflows. */
INLINE V vector_sigmoid(V x)
{
    const V e = exp_nonpositive(absolute(x) * -1);
    return choose(x < 0, e, splat(1)) / (e + 1);
}

#endif
