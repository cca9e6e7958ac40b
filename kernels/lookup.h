/* exp, tanh and sigmoid with tables that are registers: the C twin of fastnn/kernels/numba/lookup.py, for float32 on CPUs
 * with AVX-512, which looks up one of 16 or 32 numbers for each lane in one operation. Short polynomials then suffice.
 * (One core of an Intel CPU, elements per ns, without -> with: exp 3.8 -> 6.8, tanh 2.4 -> 4.7, sigmoid 2.7 -> 3.1.) */
#ifndef FASTNN_LOOKUP_H
#define FASTNN_LOOKUP_H

#include "vector.h"

#if VECTOR_BYTES == 64 && defined(REAL_IS_FLOAT)
#define HAS_LOOKUP

/* 2**(k / 16), and what rounding has taken from it. */
static const float POWERS[16] = {
    1.0f, 1.04427373f, 1.09050775f, 1.13878858f, 1.18920708f, 1.24185777f, 1.29683959f, 1.35425556f, 1.41421354f,
    1.47682619f, 1.54221082f, 1.61049032f, 1.68179286f, 1.75625217f, 1.8340081f, 1.91520655f};
static const float POWERS_REST[16] = {
    0.0f, 4.83347016e-08f, -1.30775399e-08f, 5.38622231e-08f, 3.79763527e-08f, 4.4968381e-08f, -4.01899953e-08f,
    -1.01233493e-08f, 2.4203235e-08f, -4.50089885e-08f, 8.07090483e-09f, 9.83621717e-09f, -2.47553267e-08f,
    -9.23577037e-09f, -1.1239278e-08f, 9.84532811e-09f};
/* Of each piece of tanh a centre and the coefficients of a polynomial about it, constant term first; printed by
 * `python -m bench.minimax`. */
static const float TANH_TABLE[7][32] = {
    {2.23725009f, 2.75465012f, 3.24699998f, 3.7574501f, 4.49060011f, 5.51669979f, 6.52600002f, 7.51300001f,
     8.70499992f, 0.0f, 0.0f, 0.0f, 0.0f, 0.0f, 0.0f, 0.0f, 0.141343743f, 0.172531247f, 0.202193752f, 0.235065624f,
     0.279581249f, 0.345493764f, 0.406450003f, 0.467262506f, 0.565774977f, 0.690649986f, 0.813399971f, 0.935687482f,
     1.12810004f, 1.37782502f, 1.62302494f, 1.87782502f},
    {0.977464974f, 0.991934776f, 0.996979594f, 0.998910785f, 0.999748528f, 0.999967694f, 0.999995708f, 0.999999404f,
     0.999999945f, 0.0f, 0.0f, 0.0f, 0.0f, 0.0f, 0.0f, 0.0f, 0.140409946f, 0.170839474f, 0.199482694f, 0.230829641f,
     0.272517472f, 0.332373142f, 0.385454267f, 0.43598482f, 0.512249649f, 0.598399401f, 0.671461582f, 0.733234584f,
     0.810368001f, 0.880463302f, 0.925061822f, 0.954298258f},
    {0.0445621775f, 0.016065416f, 0.00603168653f, 0.00217724845f, 0.000502874379f, 6.46158152e-05f, 8.58418899e-06f,
     1.19229068e-06f, 1.09836837e-07f, 0.0f, 0.0f, 0.0f, 0.0f, 0.0f, 0.0f, 1.0f, 0.980285047f, 0.970813874f,
     0.960206655f, 0.946717677f, 0.925734227f, 0.889528095f, 0.851425008f, 0.809917236f, 0.737600301f, 0.641918158f,
     0.549139344f, 0.462367045f, 0.343303676f, 0.224784359f, 0.144260626f, 0.0893148338f},
    {-0.0435568495f, -0.0159349074f, -0.00601305443f, -0.00217471409f, -0.000502139615f, -6.4528654e-05f,
     -8.57282686e-06f, -1.19072517e-06f, -1.09247478e-07f, 0.0f, 0.0f, 0.0f, 0.0f, 0.0f, 0.0f, 0.0f, -0.13764177f,
     -0.16585333f, -0.191544609f, -0.2185305f, -0.252278723f, -0.29565522f, -0.328185375f, -0.353111598f,
     -0.377835266f, -0.384123371f, -0.368726021f, -0.339023619f, -0.278204274f, -0.197915542f, -0.133450438f,
     -0.0852330578f},
    {0.0277265606f, 0.0104506748f, 0.00398484604f, 0.0014463586f, 0.000335023024f, 4.29353108e-05f, 5.69770286e-06f,
     7.9268719e-07f, 7.37334475e-08f, 0.0f, 0.0f, 0.0f, 0.0f, 0.0f, 0.0f, -0.333327759f, -0.307435481f,
     -0.295270405f, -0.281858966f, -0.265129333f, -0.239827093f, -0.198242487f, -0.1573081f, -0.116020646f,
     -0.052324975f, 0.0158850536f, 0.0645389172f, 0.0944606326f, 0.111020149f, 0.0993332095f, 0.0753624918f,
     0.0515665455f},
    {-0.0126392884f, -0.00510318639f, -0.00198952994f, -0.000728370137f, -0.000175192613f, -2.25471204e-05f,
     -2.99364292e-06f, -4.16235782e-07f, -4.04382687e-08f, 0.0f, 0.0f, 0.0f, 0.0f, 0.0f, 0.0f, 0.0f, 0.089031615f,
     0.105709569f, 0.120053555f, 0.134020736f, 0.149354405f, 0.1643483f, 0.169939759f, 0.168211585f, 0.152554319f,
     0.118476294f, 0.0796133075f, 0.0438373353f, 0.00317387716f, -0.0212470553f, -0.0251414197f, -0.0207849239f},
    {0.00396970054f, 0.00191771879f, 0.000769828521f, 0.00029334513f, 6.80957595e-05f, 9.32854119e-06f,
     1.26626653e-06f, 1.70772911e-07f, 1.44953416e-08f, 0.0f, 0.0f, 0.0f, 0.0f, 0.0f, 0.0f, 0.132171066f,
     0.112037975f, 0.102229068f, 0.0909730232f, 0.0788348918f, 0.0591044864f, 0.0321906902f, 0.00604135885f,
     -0.0171688869f, -0.0432284267f, -0.0615032209f, -0.0626912399f, -0.0530586066f, -0.0321799155f,
     -0.00957500789f, 0.00139605516f, 0.0045985544f},
};

/* Adding it rounds to a multiple of 1/16; the low four bits are those of the number of sixteenths. */
#define SIXTEENTHS_MAGIC (12582912.0f / 16)

/* In place of x: e**r - 1 where e**x = 2**n 2**(k / 16) e**r with k < 16 and the least |r|; and n + k / 16, of which `scaled`
 * takes n; and `index`, whose low bits are k. */
INLINE void reduce_by_sixteenths(V *x, V *n, __m512i *index, const int count)
{
    V square[GROUP], value[GROUP];
    EACH value[i] = fmadd(x[i], splat(1.44269504f), splat(SIXTEENTHS_MAGIC));
    EACH index[i] = (__m512i)value[i];
    EACH n[i] = value[i] - SIXTEENTHS_MAGIC;
    EACH x[i] = fmadd(n[i], splat(-0.693145751953125f), x[i]); /* -ln 2 in two parts */
    EACH x[i] = fmadd(n[i], splat(-1.42860682e-6f), x[i]);
    EACH square[i] = x[i] * x[i];
    EACH value[i] = fmadd(x[i], splat(0.166670584f), splat(0.500015504f));
    EACH x[i] = fmadd(square[i], value[i], x[i]);
}

INLINE V entry_of_16(const float *table, __m512i index)
{
    return (V)_mm512_permutexvar_ps(index, _mm512_loadu_ps(table));
}

INLINE V entry_of_32(const float *table, __m512i index)
{
    return (V)_mm512_permutex2var_ps(_mm512_loadu_ps(table), index, _mm512_loadu_ps(table + 16));
}

/* x 2**floor(n): infinity, subnormal numbers and zero beyond the normal range, rounded once. */
INLINE V scaled(V x, V n)
{
    return (V)_mm512_scalef_ps((__m512)x, (__m512)n);
}

/* e**x / 2**least for integers `least`, zero and subnormal results included, rounded about once; and what rounding has taken
 * from it, where it is a normal number. */
INLINE void exp_over_power_of(V *x, V *rest, V least, const int count)
{
    V n[GROUP], power[GROUP], e[GROUP];
    __m512i index[GROUP];
    reduce_by_sixteenths(x, n, index, count);
    EACH power[i] = entry_of_16(POWERS, index[i]);
    EACH rest[i] = fmadd(power[i], x[i], entry_of_16(POWERS_REST, index[i]));
    EACH e[i] = rest[i] + power[i];
    EACH x[i] = scaled(e[i], n[i] - least);
    EACH rest[i] = scaled(rest[i] - (e[i] - power[i]), n[i] - least);
}

/* e**x for x <= 89: zero and subnormal results included. */
INLINE void exp_nonpositive_of(V *x, const int count)
{
    V n[GROUP], power[GROUP];
    __m512i index[GROUP];
    EACH x[i] = greater_of(splat(-104.0f), x[i]);
    reduce_by_sixteenths(x, n, index, count);
    EACH power[i] = entry_of_16(POWERS, index[i]);
    EACH x[i] = scaled(fmadd(power[i], x[i], power[i]), n[i]);
}

/* e**x: infinity and zero beyond the range, subnormal results included. */
INLINE void exp_of(V *x, const int count)
{
    EACH x[i] = lesser_of(splat(89.0f), x[i]);
    exp_nonpositive_of(x, count);
}

/* tanh(|x|), with the sign put back, from the polynomial of the piece that holds |x|. The index is the exponent and two
 * bits of the fraction; what is below 1/8 is one piece, odd about zero. */
INLINE void tanh_of(V *x, const int count)
{
    V a[GROUP], value[GROUP];
    __m512i index[GROUP];
    EACH a[i] = lesser_of(splat(9.5f), absolute(x[i])); /* from there on it is 1 */
    EACH index[i] = _mm512_max_epi32(_mm512_srli_epi32((__m512i)a[i], 21), _mm512_set1_epi32(0x3DE00000 >> 21));
    EACH a[i] -= entry_of_32(TANH_TABLE[0], index[i]);
    EACH value[i] = fmadd(a[i], entry_of_32(TANH_TABLE[6], index[i]), entry_of_32(TANH_TABLE[5], index[i]));
    EACH value[i] = fmadd(a[i], value[i], entry_of_32(TANH_TABLE[4], index[i]));
    EACH value[i] = fmadd(a[i], value[i], entry_of_32(TANH_TABLE[3], index[i]));
    EACH value[i] = fmadd(a[i], value[i], entry_of_32(TANH_TABLE[2], index[i]));
    EACH value[i] = fmadd(a[i], value[i], entry_of_32(TANH_TABLE[1], index[i]));
    EACH x[i] = with_sign(value[i], x[i]);
}

/* e / (1 + e) with e = e**x, whose power of two is taken with its rest. What the rounding of 1 + e and of the quotient has
 * lost is put back. */
INLINE void sigmoid_of(V *x, const int count)
{
    V n[GROUP], power[GROUP], d[GROUP], q[GROUP], rest[GROUP];
    __m512i index[GROUP];
    EACH x[i] = greater_of(splat(-104.0f), lesser_of(splat(40.0f), x[i])); /* 0 and, to the last bit, 1 */
    reduce_by_sixteenths(x, n, index, count);
    EACH power[i] = entry_of_16(POWERS, index[i]);
    EACH x[i] = fmadd(power[i], x[i], entry_of_16(POWERS_REST, index[i])) + power[i];
    EACH x[i] = scaled(x[i], n[i]);
    EACH d[i] = x[i] + 1;
    EACH rest[i] = x[i] - (d[i] - 1);
    EACH power[i] = 1 / d[i];
    EACH q[i] = x[i] * power[i];
    EACH rest[i] = fnmadd(q[i], rest[i], fnmadd(q[i], d[i], x[i]));
    EACH x[i] = fmadd(rest[i], power[i], q[i]);
}
#endif

#endif
