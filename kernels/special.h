/* Activations that are no function of vecmath.h, on vectors: the C twin of fastnn/kernels/numba/special.py, operation by
 * operation. Bounds and formulas are stated there. */
#ifndef FASTNN_SPECIAL_H
#define FASTNN_SPECIAL_H

#include "vecmath.h"

/* What differs between float and double; the names are those of the Numba twin. */
#ifdef REAL_IS_FLOAT
#define TAIL_FIRST 0.18882128282620111f
static const REAL TAIL_COEFFICIENTS[] = {
    -0.15197416235113078f, 0.096784326032245454f, -0.046630393136985914f, 0.015099591173968222f,
    -0.0018856550335027098f, -0.00087306859034381289f, 0.00040886954833187503f, 4.2985770878979161e-5f,
    -5.4807732991311346e-5f, -1.1265338653321644e-5f};
#define TAIL_MAGIC (12582912.0f + 127 + 64)
#define TAIL_UNIT 0x1p-64f
#define GELU_END 15.0f
#define GELU_TANH_END 11.5f
#define RATE_REST -4.5340680421052716e-8f
#define CUBIC_REST 2.3988323959931356e-9f
#define HALF_WAY 4097.0f
#else
#define TAIL_FIRST 0.18882128260393786952
static const REAL TAIL_COEFFICIENTS[] = {
    -0.15197416049297301201, 0.096784350185554892776, -0.046630464489916388967, 0.015099143722665403201,
    -0.0018850472416076401913, -0.00086992309037945219834, 0.00040770461330430608061, 0.000033336061914500595822,
    -0.000057773725824754769796, -4.7695977773447493599e-7, 8.7861420615035129931e-6, 1.7873968490985068786e-7,
    -1.4800022778894375764e-6, -1.5629801664608485127e-7, 2.5546443053051956858e-7, 6.6026452849263452849e-8,
    -3.9149637175893278294e-8, -1.9293133308091951612e-8, 4.0193733778284937657e-9, 3.6511460656595584946e-9,
    -8.5631686748349531147e-11, -2.9874818530306265064e-10};
#define TAIL_MAGIC (6755399441055744.0 + 1023 + 128)
#define TAIL_UNIT 0x1p-128
#define GELU_END 39.0
#define GELU_TANH_END 21.7
#define RATE_REST -9.9693088091109203e-17
#define CUBIC_REST -6.1751499181553155e-19
#define HALF_WAY 134217729.0
#endif
#define FAR ((REAL)1000)
/* 2 sqrt(2 / pi), and that times 0.044715 */
#define RATE 1.5957691216057307118
#define CUBIC 0.071354816272600248776
#define SELU_SCALE 1.0507009873554804934193349852946
#define SELU_ALPHA 1.6732632423543772848170429916717

/* One vector at a time: these are short enough for the CPU to find the next vector's operations by itself. */

/* factor (e**x - 1) for x <= 0. */
INLINE V expm1_times(V x, V factor)
{
    V shifted, e = greater_of(splat(EXP_NORMAL), x);
    reduce(&e, &shifted, splat(ROUND_MAGIC), 1);
    const V scale = power(shifted);
    return fmadd(scale * factor, e, (scale - 1) * factor);
}

/* x where it is not negative, else alpha (e**x - 1). */
INLINE V elu(V x, V alpha)
{
    return choose_less(x, (V){0}, expm1_times(x, alpha), x);
}

/* The same with its own alpha, all of it scaled. */
INLINE V selu(V x)
{
    return choose_less(x, (V){0}, expm1_times(x, splat((REAL)(SELU_SCALE * SELU_ALPHA))), x * (REAL)SELU_SCALE);
}

/* x / (1 + |x|); from 2**60 on 1. */
INLINE V softsign(V x)
{
    const V a = lesser_of(splat(0x1p60f), absolute(x));
    return with_sign(a / (a + 1), x);
}

/* In the tails results become subnormal long before their factors would have to: all but the power of two is multiplied
 * first, then 2**n / unit and unit, of which the second alone rounds. */
typedef struct {
    V q, scale, e;
} PartsOfExp;

/* q and 2**n / unit with e**x = 2**n (1 + q), and e**x, for x from EXP_END to 0. */
INLINE PartsOfExp parts_of_exp(V x)
{
    V shifted;
    reduce(&x, &shifted, splat(TAIL_MAGIC), 1);
    const V scale = power(shifted);
    return (PartsOfExp){x, scale, fmadd(scale, x, scale) * TAIL_UNIT};
}

/* a where x is negative, else b. */
INLINE V by_sign(V x, V a, V b)
{
    return choose_less(x, (V){0}, a, b);
}

/* value 2**n where x is negative, and value itself elsewhere. */
INLINE V tail(V value, V x, V scale)
{
    return value * by_sign(x, scale, splat(1)) * by_sign(x, splat(TAIL_UNIT), splat(1));
}

/* x (1 + q) where x is negative, else x; and what rounding has taken from it. */
INLINE V times_power(V x, V q, V *rest)
{
    const V product = fmadd(x, q, x);
    *rest = by_sign(x, fmadd(x, q, x - product), (V){0});
    return by_sign(x, product, x);
}

/* (n + n_rest) / (d + d_rest) for rests that are small, rounded about once; and 1 / d. */
INLINE V divided(V n, V n_rest, V d, V d_rest, V *reciprocal)
{
    const V r = 1 / d, q = n * r;
    *reciprocal = r;
    return fmadd(fnmadd(q, d_rest, fnmadd(q, d, n)) + n_rest, r, q);
}

/* log(1 + e**x) = max(x, 0) + log(1 + e**-|x|), and its derivative, the sigmoid. */
INLINE V softplus(V x, V *slope)
{
    V e = parts_of_exp(greater_of(splat(EXP_END), -absolute(x))).e;
    *slope = by_sign(x, e, splat(1)) / (e + 1);
    log1p_unit_of(&e, 1);
    return by_sign(x, (V){0}, x) + e;
}

/* Beyond FAR silu and mish are x itself, their derivatives 1; below EXP_END both are zero. */

/* x between EXP_END and FAR, and -|x| of that, not below EXP_END. */
INLINE V bounded(V x, V *a)
{
    const V low = splat(EXP_END), found = greater_of(low, lesser_of(splat(FAR), x));
    *a = greater_of(low, -absolute(found));
    return found;
}

/* x sigmoid(x), with e = e**-|x|: x / (1 + e), times e where x is negative. And its derivative, s + y (1 - s). */
INLINE V silu(V x, V *slope)
{
    V a, n_rest, r;
    const V near = bounded(x, &a);
    const PartsOfExp by = parts_of_exp(a);
    const V n = times_power(near, by.q, &n_rest), d = by.e + 1;
    const V y = tail(divided(n, n_rest, d, by.e - (d - 1), &r), x, by.scale);
    *slope = fmadd(y, by_sign(x, splat(1), by.e) * r, by_sign(x, by.e, splat(1)) * r);
    return with_sign(choose_less(splat(FAR), x, x, y), x);
}

/* x tanh(log(1 + e**x)) = x n / (n + 2) with n = e**x (e**x + 2), and its derivative.
 *
 * With e = e**-|x| the quotient is e m / (2 + e m), m = 2 + e, where x is negative, else m / (m + 2 e**2), m = 1 + 2 e; the
 * derivative is t + x (1 - t**2) sigmoid(x), t being the quotient. */
INLINE V mish(V x, V *slope)
{
    V a, n_rest, r;
    const V near = bounded(x, &a);
    const PartsOfExp by = parts_of_exp(a);
    const V e = by.e, n = times_power(near, by.q, &n_rest);
    const V once = by_sign(x, splat(1), splat(2)), first = by_sign(x, splat(2), splat(1));
    const V m = fmadd(e, once, first), m_rest = fmadd(e, once, first - m);
    const V factor = by_sign(x, m, e + e), second = by_sign(x, splat(2), m);
    const V d = fmadd(e, factor, second);
    const V d_rest = fmadd(e, factor, second - d) + by_sign(x, e * m_rest, m_rest);
    const V product = n * m;
    const V product_rest = fmadd(n, m, -product) + fmadd(n, m_rest, n_rest * m);
    const V y = tail(divided(product, product_rest, d, d_rest, &r), x, by.scale);
    const V square = by_sign(x, e, e * e);
    const V change = (fmadd(square, e, square) * 4) * (r * r);
    *slope = fmadd(near, change, by_sign(x, e * m, m) * r);
    return with_sign(choose_less(splat(FAR), x, x, y), x);
}

/* a b - product, which has no error but where it is subnormal; without FMA of numbers in two parts with half as many bits,
 * whose products are exact (Dekker 1971). */
INLINE V rest_of_product(V a, V b, V product)
{
#if VECTOR_BYTES >= 32 || defined(__aarch64__)
    return fmadd(a, b, -product);
#else
    V a_high = a * HALF_WAY, b_high = b * HALF_WAY;
    a_high = a_high - (a_high - a), b_high = b_high - (b_high - b);
    const V a_low = a - a_high, b_low = b - b_high;
    return ((a_high * b_high - product) + a_high * b_low + a_low * b_high) + a_low * b_low;
#endif
}

/* x P(x), P being the share of a normal distribution below x, and its derivative P(x) + x p(x), p its density.
 *
 * With a = |x| and Q(a) = 1 - P(a) it is -a Q(a) where x is negative, else x - a Q(a), so that no digit is lost where Q is
 * small: Q(a) = e**(-a**2 / 2) u (c0 + t c(t)) with u = 4 / (a + 4), t = 1 - 2 u. What each rounding takes from the product
 * is put back in its last step. */
INLINE V gelu(V x, V *slope)
{
    const V a = lesser_of(splat(GELU_END), absolute(x)), half = a * (REAL)-0.5, square = half * a;
    V q = square, shifted, rest;
    reduce(&q, &shifted, splat(TAIL_MAGIC), 1);
    const V square_rest = rest_of_product(half, a, square);
    const V d = a + 4, reciprocal = 1 / d, u = reciprocal * 4;
    const V u_rest = fnmadd(u, a - (d - 4), fnmadd(u, d, splat(4))) * reciprocal;
    const V t = fmadd(u_rest, splat(-2), fmadd(u, splat(-2), splat(1))), t_square = t * t;
    polynomials(&rest, &t, &t_square, TAIL_COEFFICIENTS, NULL, NULL, (V){0}, TERMS(TAIL_COEFFICIENTS), 1);
    const V first = splat(TAIL_FIRST), p = fmadd(t, rest, first), p_rest = fmadd(t, rest, first - p);
    const V au = a * u, au_rest = fmadd(a, u_rest, fmadd(a, u, -au));
    V lost = au * p;
    const V product_rest = fmadd(au, p, -lost) + fmadd(au, p_rest, au_rest * p);
    const V lost_rest = fmadd(lost, square_rest, product_rest);
    const V scale = power(shifted), unit = splat(TAIL_UNIT);
    lost = (lost + fmadd(lost_rest, q, fmadd(lost, q, lost_rest))) * scale * unit;
    const V change = fmadd(u, p, a * (REAL)-0.39894228040143267794);
    const V below = fmadd(change, q, change) * scale * unit;
    *slope = by_sign(x, below, 1 - below);
    return by_sign(x, splat((REAL)-0.0), x) - lost;
}

/* x (1 + tanh(z / 2)) / 2 = x sigmoid(z) with z = 2 sqrt(2 / pi) (x + 0.044715 x**3), and its derivative.
 *
 * z is computed in twice the precision: an error of it is one of e**z, relative to it. */
INLINE V gelu_tanh(V x, V *slope)
{
    const V end = splat(GELU_TANH_END), near = greater_of(-end, lesser_of(end, x)), a = absolute(near);
    const V square = a * a, square_rest = rest_of_product(a, a, square), times = splat((REAL)CUBIC);
    const V cubic = square * times;
    const V cubic_rest = rest_of_product(square, times, cubic) + fmadd(square, splat(CUBIC_REST), square_rest * times);
    const V rate = cubic + (REAL)RATE, part = rate - (REAL)RATE;
    const V rate_rest = ((REAL)RATE - (rate - part)) + (cubic - part) + (cubic_rest + RATE_REST);
    const V z = rate * -a, z_rest = rest_of_product(rate, -a, z) - a * rate_rest;
    const PartsOfExp by = parts_of_exp(z);
    const V e = fmadd(by.e, z_rest, by.e), d = e + 1;
    V n_rest, r;
    const V n = times_power(near, by.q, &n_rest);
    n_rest = fmadd(n, by_sign(x, z_rest, (V){0}), n_rest);
    const V y = tail(divided(n, n_rest, d, e - (d - 1), &r), x, by.scale);
    const V change = fmadd(square, splat((REAL)(3 * CUBIC)), splat((REAL)RATE)) * (e * r * r);
    *slope = fmadd(near, change, by_sign(x, e, splat(1)) * r);
    return with_sign(choose_less(end, x, x, y), x);
}

#endif
