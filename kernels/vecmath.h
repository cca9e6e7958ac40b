/* exp, log, tanh and sigmoid on vectors: the C twin of fastnn/kernels/numba/vecmath.py, operation by operation, with
 * the same constants and therefore the same bits. The bounds are stated and tested there; coefficients are minimax
 * fits, printed by `python -m bench.minimax`. Where lookup.h has a faster form of a function, that one is it. */
#ifndef FASTNN_VECMATH_H
#define FASTNN_VECMATH_H

#include "kernel.h"
#include "lookup.h"

/* What differs between float and double; the names are those of the Numba twin. */
#ifdef REAL_IS_FLOAT
#define FRACTION_BITS 23
#define BIAS 127
#define SQRT_HALF 0x3F3504F3
#define ROUND_MAGIC (12582912.0f + 127)
#define MINUS_LN2_HIGH -0.693145751953125f
#define MINUS_LN2_LOW -1.42860682030941723212e-6f
#define EXP_LOW -104.0f
#define EXP_HIGH 89.0f
#define EXP_NORMAL -87.336544f
#define EXP_END -112.0f
#define TANH_ONE 10.0f
#define TANH_SMALL 0.625f
#define SIGMOID_LOW -104.0f
#define SIGMOID_HIGH 40.0f
#define SIGMOID_UNIT 0x1p-32f
#define SIGMOID_MAGIC (12582912.0f + 127 - 32)
static const REAL EXP_COEFFICIENTS[] = {
    0.5000000095552123f, 0.16666518379401334f, 0.041666204445891419f, 0.0083689467214606959f, 0.0013950587045080556f};
static const REAL LOG_COEFFICIENTS[] = {0.6666677557253394f, 0.39977606961531087f, 0.29870547522330944f};
static const REAL LOG1P_COEFFICIENTS[] = {
    0.66666675595689873f, 0.39998878226899019f, 0.28616906934877351f, 0.21427110092204124f, 0.2430397126117278f};
static const REAL POWER_COEFFICIENTS[] = {
    0.69314720639342478f, 0.24022651349790534f, 0.055503274704848417f, 0.0096180033890673151f, 0.0013400399784901442f,
    0.0001547644618786725f};
static const REAL TANH_COEFFICIENTS[] = {
    -0.33333330901835892f, 0.13333209458943184f, -0.053947156103219345f, 0.021702663372138308f,
    -0.0081818426873278701f, 0.0021467135246624446f};
#else
#define FRACTION_BITS 52
#define BIAS 1023
#define SQRT_HALF 0x3FE6A09E667F3BCD
#define ROUND_MAGIC (6755399441055744.0 + 1023)
#define MINUS_LN2_HIGH -6.93147180369123816490e-01
#define MINUS_LN2_LOW -1.90821492927058770002e-10
#define EXP_LOW -745.2
#define EXP_HIGH 710.0
#define EXP_NORMAL -708.39641853226408
#define EXP_END -760.0
#define TANH_ONE 20.0
#define TANH_SMALL 0.625
#define SIGMOID_LOW -745.2
#define SIGMOID_HIGH 60.0
#define SIGMOID_UNIT 0x1p-64
#define SIGMOID_MAGIC (6755399441055744.0 + 1023 - 64)
static const REAL EXP_COEFFICIENTS[] = {
    0.50000000000000127593, 0.16666666666666699213, 0.041666666666514977882, 0.0083333333333070949484,
    0.0013888888947185232996, 0.00019841269917645458551, 0.000024801489723426942769, 2.7557216051146029028e-6,
    2.7631371211637993892e-7, 2.5117944046052441033e-8};
static const REAL LOG_COEFFICIENTS[] = {
    0.66666666666667306744, 0.39999999999433429947, 0.28571428739023526801, 0.22222198861319326266,
    0.18183551575873359559, 0.15314331648554110323, 0.14793509395828982899};
static const REAL LOG1P_COEFFICIENTS[] = {
    0.6666666666666631255, 0.40000000000155240461, 0.28571428548016931012, 0.22222223963446993291,
    0.18181744044805016099, 0.15386559078331560571, 0.1330096626030085231, 0.12106267204228524752,
    0.083388469947513908444, 0.17021655858297745857};
static const REAL POWER_COEFFICIENTS[] = {
    0.69314718055994530803, 0.24022650695910133829, 0.055504108664821743069, 0.0096181291075930579292,
    0.0013333558146378718923, 0.00015403530458459823753, 0.000015252733867842989623, 1.3215434612683754752e-6,
    1.0178046337273215692e-7, 7.0738974864545881184e-9, 4.4574056715091591039e-10};
static const REAL TANH_COEFFICIENTS[] = {
    -0.33333333333332878884, 0.13333333333264817847, -0.053968253932381561256, 0.021869487598851739147,
    -0.0088632212711810246247, 0.0035919911396357691955, -0.0014549680920906493858, 0.00058634422829703903324,
    -0.00022861579669536771111, 0.000077198612993161682072, -0.000016097176657031958789};
#endif

/* value = (c0 + c1 r) + r**2 ((c2 + c3 r) + r**2 (...)), with the square of r given: half as long a chain as Horner's.
 * Where a < limit, if a is given, the coefficients are `other`, of which there are as many. */
INLINE void polynomials(V *value, const V *r, const V *square, const REAL *c, const REAL *other, const V *a, V limit,
                        int terms, const int count)
{
    int k = (terms - 1) / 2 * 2;
#define COEFFICIENT(k) (a ? choose_less(a[i], limit, splat(other[k]), splat(c[k])) : splat(c[k]))
    EACH value[i] = k + 1 < terms ? fmadd(r[i], COEFFICIENT(k + 1), COEFFICIENT(k)) : COEFFICIENT(k);
#pragma GCC unroll 8
    for (k -= 2; k >= 0; k -= 2) {
        EACH value[i] = fmadd(value[i], square[i], fmadd(r[i], COEFFICIENT(k + 1), COEFFICIENT(k)));
    }
#undef COEFFICIENT
}
#define TERMS(coefficients) ((int)(sizeof(coefficients) / sizeof(REAL)))

/* log(x) + small for a normal positive number and one of the size of its last digits: x = 2**k (1 + f) with 1 + f in
 * [sqrt(1/2), sqrt(2)]. Where x is infinite or NaN it is x. */
INLINE V log_plus(V x, V small)
{
    const VI pattern = bits(x);
    const VI k = (pattern - (INT)SQRT_HALF) >> FRACTION_BITS;
    const V f = from_bits(pattern - (VI)((VU)k << FRACTION_BITS)) - 1;
    const V s = f / (f + 2);
    const V z = s * s, square = z * z;
    V value;
    polynomials(&value, &z, &square, LOG_COEFFICIENTS, NULL, NULL, (V){0}, TERMS(LOG_COEFFICIENTS), 1);
    const V half_square = f * f * (REAL)0.5;
    /* log(1 + f) = f - (f**2 / 2 - s (f**2 / 2 + R)): f itself is exact, all that is rounded is small beside it. */
    const V correction = s * fmadd(z, value, half_square);
    const V exponent = to_float(k);
    const V low = fmadd(exponent, splat(MINUS_LN2_LOW), half_square - correction) - small;
    return choose_less(x, splat((REAL)INFINITY), fmadd(exponent, splat(-(MINUS_LN2_HIGH)), f - low), x);
}

/* The natural logarithm of a normal positive number. Infinity and NaN stay what they are. */
INLINE V vector_log(V x)
{
    return log_plus(x, (V){0});
}

/* log(1 + x) for 0 <= x <= 1, as vector_log without an exponent. */
INLINE void log1p_unit_of(V *x, const int count)
{
    V s[GROUP], z[GROUP], square[GROUP], value[GROUP];
    EACH s[i] = x[i] / (x[i] + 2);
    EACH z[i] = s[i] * s[i];
    EACH square[i] = z[i] * z[i];
    polynomials(value, z, square, LOG1P_COEFFICIENTS, NULL, NULL, (V){0}, TERMS(LOG1P_COEFFICIENTS), count);
    EACH square[i] = x[i] * x[i] * (REAL)0.5;
    EACH value[i] = fmadd(z[i], value[i], square[i]);
    EACH x[i] = x[i] - fnmadd(s[i], value[i], square[i]);
}

/* 2**n from n + ROUND_MAGIC, n in the normal range: the exponent stands in the low bits. */
INLINE V power(V shifted)
{
    return from_bits((VI)((VU)bits(shifted) << FRACTION_BITS));
}

/* In place of x: e**r - 1 and, in `shifted`, n + magic, where x = n ln 2 + r and |r| <= ln 2 / 2. */
INLINE void reduce(V *x, V *shifted, const V magic, const int count)
{
    V whole[GROUP], square[GROUP], value[GROUP];
    EACH shifted[i] = fmadd(x[i], splat((REAL)1.4426950408889634074), magic);
    EACH whole[i] = shifted[i] - magic;
    EACH x[i] = fmadd(whole[i], splat(MINUS_LN2_HIGH), x[i]);
    EACH x[i] = fmadd(whole[i], splat(MINUS_LN2_LOW), x[i]);
    EACH square[i] = x[i] * x[i];
    polynomials(value, x, square, EXP_COEFFICIENTS, NULL, NULL, (V){0}, TERMS(EXP_COEFFICIENTS), count);
    EACH x[i] = fmadd(square[i], value[i], x[i]);
}

#ifndef HAS_LOOKUP
/* 2**n for integers n in the normal range. */
INLINE V power_of_two(VI n)
{
    return from_bits((VI)((VU)(n + BIAS) << FRACTION_BITS));
}

/* e**x / 2**least for integers `least`, subnormal results included; and what rounding has taken from it, where it is a
 * normal number. */
INLINE void exp_over_power_of(V *x, V *rest, V least, const int count)
{
    V shifted[GROUP];
    reduce(x, shifted, splat(ROUND_MAGIC), count);
    EACH {
        const VI n = bits(shifted[i] - least) - bits(splat(ROUND_MAGIC));
        const VI half = n >> 1; /* 2**n as two factors: n itself may lie outside the normal range */
        const V first = power_of_two(half);
        rest[i] = (x[i] - ((x[i] + 1) - 1)) * power(shifted[i] - least);
        x[i] = fmadd(first, x[i], first) * power_of_two(n - half);
    }
}

/* e**x: infinity and zero beyond the range, subnormal results included. */
INLINE void exp_of(V *x, const int count)
{
    V rest[GROUP];
    EACH x[i] = greater_of(splat(EXP_LOW), lesser_of(splat(EXP_HIGH), x[i]));
    exp_over_power_of(x, rest, (V){0}, count);
}

/* e**x for x <= 0: cheaper than exp_of, and zero where the result would be subnormal. */
INLINE void exp_nonpositive_of(V *x, const int count)
{
    const V low = splat(EXP_NORMAL);
    V e[GROUP], shifted[GROUP];
    EACH e[i] = greater_of(low, x[i]);
    reduce(e, shifted, splat(ROUND_MAGIC), count);
    EACH shifted[i] = power(shifted[i]);
    EACH e[i] = fmadd(shifted[i], e[i], shifted[i]);
    EACH x[i] = choose_less(x[i], low, (V){0}, e[i]);
}

/* With a = |x| and the sign put back: a + a**3 P(a**2) where a is small, else 1 - 2 / (e**2a + 1), where an error of
 * the quotient counts less than half. Both are a polynomial, times something, plus something: one chain with operands
 * chosen by size. e**2a = 2**n 2**f; the argument is reduced with log2(e) rounded, which suffices for exponents so
 * small. */
INLINE void tanh_of(V *x, const int count)
{
    const V magic = splat(ROUND_MAGIC), rate = splat((REAL)2.8853900817779268147), small = splat(TANH_SMALL);
    V a[GROUP], r[GROUP], scale[GROUP], square[GROUP], value[GROUP];
    EACH a[i] = absolute(x[i]);
    EACH r[i] = lesser_of(splat(TANH_ONE), a[i]);
    EACH scale[i] = fmadd(r[i], rate, magic);
    EACH r[i] = fmadd(r[i], rate, magic - scale[i]);
    EACH r[i] = choose_less(a[i], small, a[i] * a[i], r[i]);
    EACH scale[i] = choose_less(a[i], small, a[i], power(scale[i]));
    EACH square[i] = r[i] * r[i];
    polynomials(value, r, square, POWER_COEFFICIENTS, TANH_COEFFICIENTS, a, small, TERMS(POWER_COEFFICIENTS), count);
    /* What the polynomial does not need is computed after it: registers are few. */
    EACH r[i] = scale[i] * r[i];
    EACH scale[i] = choose_less(a[i], small, scale[i], scale[i] + 1);
    EACH value[i] = fmadd(r[i], value[i], scale[i]);
    EACH value[i] = choose_less(a[i], small, value[i], 1 - 2 / value[i]);
    EACH x[i] = with_sign(value[i], x[i]);
}

/* 1 / (1 + e**-x). All is multiplied by SIGMOID_UNIT, a power of two, so that the sum d does not overflow where the
 * result is subnormal; what the rounding of d and of its reciprocal q have lost is put back: q (2 - q d). */
INLINE void sigmoid_of(V *x, const int count)
{
    const V magic = splat(SIGMOID_MAGIC), unit = splat(SIGMOID_UNIT);
    V scale[GROUP], d[GROUP], q[GROUP], lost[GROUP];
    EACH x[i] = -greater_of(splat(SIGMOID_LOW), lesser_of(splat(SIGMOID_HIGH), x[i]));
    reduce(x, scale, magic, count);
    EACH scale[i] = power(scale[i]);
    EACH d[i] = fmadd(scale[i], x[i], scale[i] + unit);
    EACH q[i] = 1 / d[i];
    EACH lost[i] = fmadd(scale[i], x[i], unit - (d[i] - scale[i]));
    EACH lost[i] = fnmadd(q[i], lost[i], fnmadd(q[i], d[i], splat(1)));
    EACH x[i] = fmadd(q[i], lost[i], q[i]) * unit;
}
#endif

#endif
