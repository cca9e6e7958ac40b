/* Square roots for loops that wait for the divider: the C twin of fastnn/kernels/numba/roots.py.
 *
 * An update divides once and takes one root, and a CPU has one divider for both: 22 cycles for 16 numbers on Intel's
 * cores with AVX-512, where all else takes 12. Every second root is made of multiplications instead, from the CPU's
 * estimate of 1 / sqrt(x). (Adam on 16,384 float32 numbers, one core: 0.465 -> 0.365 ns each; with all roots so, 0.40.) */
#ifndef FASTNN_ROOTS_H
#define FASTNN_ROOTS_H

#include "vector.h"

#if VECTOR_BYTES == 64 && defined(REAL_IS_FLOAT)
/* sqrt(x), correctly rounded: two Newton steps in the form of Goldschmidt, the last one with the remainder x - g**2, which
 * is exact from 2**-102 on (where subnormal numbers count as zeros, a remainder that is lost is less than an eighth of
 * an ulp of g, which then is the nearest number already). Vectors that have a number whose root's estimate is above
 * 2**50, one below about 2**-100, or infinity, NaN or a negative one, go to the divider. Tests show it for all fractions. */
INLINE V root_of_products(V x)
{
    const V estimate = (V)_mm512_rsqrt14_ps((__m512)x), half = estimate * (REAL)0.5;
    /* 0 < estimate <= 2**50, by its bits: as unsigned numbers, zero less 1 and negative ones are the largest. */
    const __m512i bits_less_one = (__m512i)(bits(estimate) - 1), bits_of_limit = _mm512_set1_epi32(0x58800000);
    if (_mm512_cmplt_epu32_mask(bits_less_one, bits_of_limit) != 0xffff) {
        return square_root(x);
    }
    const V root = x * estimate, error = fnmadd(root, half, splat((REAL)0.5));
    const V better = fmadd(root, error, root), slope = fmadd(half, error, half);
    return fmadd(slope, fnmadd(better, better, x), better);
}

/* sqrt(x) for the vector that begins at number i of an array. */
INLINE V square_root_at(V x, int64_t i)
{
    return i & LANES ? root_of_products(x) : square_root(x);
}
#else
INLINE V square_root_at(V x, int64_t i)
{
    (void)i;
    return square_root(x);
}
#endif

#endif
