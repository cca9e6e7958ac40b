/* Vectors as values: the C twin of fastnn/kernels/numba/simd.py, with the same names.
 *
 * One translation unit is made for each instruction set level and dtype; it has chosen REAL (float or double), INT (the
 * signed integer as wide), UINT and VECTOR_BYTES before this file is read. GCC's and Clang's vector extensions do all
 * but what they cannot say: a fused multiply-add that is fused where it is written and nowhere else, and a square root.
 */
#ifndef FASTNN_VECTOR_H
#define FASTNN_VECTOR_H

#include <stdint.h>

#if defined(__AVX2__) || defined(__SSE2__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

#define SIGN (sizeof(REAL) == 4 ? (INT)INT32_MIN : (INT)INT64_MIN)
#define LANES ((int64_t)(VECTOR_BYTES / sizeof(REAL)))
#define INLINE static inline __attribute__((always_inline, unused))

/* How many independent vectors long functions work on side by side; as many as the registers hold. */
#define GROUP (VECTOR_BYTES == 64 ? 4 : 2)
/* Each of `count` such vectors, 1 or GROUP; a function that works on several goes step by step with all of them. One
 * vector alone waits for the latency of each step, and the CPU does not look far enough ahead to fill the time with the
 * next one. */
#define EACH for (int i = 0; i < count; i++)

typedef REAL V __attribute__((vector_size(VECTOR_BYTES)));
typedef INT VI __attribute__((vector_size(VECTOR_BYTES)));
typedef UINT VU __attribute__((vector_size(VECTOR_BYTES)));
/* As many 32-bit integers as V has lanes, for labels and random numbers. */
typedef int32_t V32 __attribute__((vector_size(VECTOR_BYTES / sizeof(REAL) * 4)));
typedef uint32_t VU32 __attribute__((vector_size(VECTOR_BYTES / sizeof(REAL) * 4)));
/* The same in memory, where they need not be aligned to vectors. */
typedef V V_memory __attribute__((aligned(sizeof(REAL)), may_alias));
typedef V32 V32_memory __attribute__((aligned(4), may_alias));

/* Memory. */

INLINE V load(const REAL *p)
{
    return *(const V_memory *)p;
}

INLINE void store(REAL *p, V value)
{
    *(V_memory *)p = value;
}

/* Keeps a vector that was loaded from being loaded again where it is used. */
INLINE void in_register(V *value)
{
#ifdef __aarch64__
    __asm__("" : "+w"(*value));
#else
    __asm__("" : "+v"(*value));
#endif
}

INLINE V32 load_integers(const int32_t *p)
{
    return *(const V32_memory *)p;
}

/* Asks for the cache line of p, which need not exist: what the hardware does not foresee it can be told. */
INLINE void prefetch(const void *p)
{
    __builtin_prefetch(p, 0, 3);
}

/* A scalar in every lane; subtracting 0 changes no bit, that of -0 included. */
INLINE V splat(REAL scalar)
{
    return scalar - (V){0};
}

INLINE VI splat_integer(INT scalar)
{
    return scalar - (VI){0};
}

/* Arithmetic beyond the operators. */

/* a * b + c, rounded once where the CPU has FMA, twice where it has not. */
INLINE V fmadd(V a, V b, V c)
{
#if VECTOR_BYTES == 64
    return sizeof(REAL) == 4 ? (V)_mm512_fmadd_ps((__m512)a, (__m512)b, (__m512)c)
                             : (V)_mm512_fmadd_pd((__m512d)a, (__m512d)b, (__m512d)c);
#elif VECTOR_BYTES == 32
    return sizeof(REAL) == 4 ? (V)_mm256_fmadd_ps((__m256)a, (__m256)b, (__m256)c)
                             : (V)_mm256_fmadd_pd((__m256d)a, (__m256d)b, (__m256d)c);
#elif defined(__aarch64__)
    return sizeof(REAL) == 4 ? (V)vfmaq_f32((float32x4_t)c, (float32x4_t)a, (float32x4_t)b)
                             : (V)vfmaq_f64((float64x2_t)c, (float64x2_t)a, (float64x2_t)b);
#else
    return a * b + c;
#endif
}

/* c - a * b, rounded like fmadd. (GCC folds a negation into fmadd only where it has no other use.) */
INLINE V fnmadd(V a, V b, V c)
{
#if VECTOR_BYTES == 64
    return sizeof(REAL) == 4 ? (V)_mm512_fnmadd_ps((__m512)a, (__m512)b, (__m512)c)
                             : (V)_mm512_fnmadd_pd((__m512d)a, (__m512d)b, (__m512d)c);
#elif VECTOR_BYTES == 32
    return sizeof(REAL) == 4 ? (V)_mm256_fnmadd_ps((__m256)a, (__m256)b, (__m256)c)
                             : (V)_mm256_fnmadd_pd((__m256d)a, (__m256d)b, (__m256d)c);
#elif defined(__aarch64__)
    return sizeof(REAL) == 4 ? (V)vfmsq_f32((float32x4_t)c, (float32x4_t)a, (float32x4_t)b)
                             : (V)vfmsq_f64((float64x2_t)c, (float64x2_t)a, (float64x2_t)b);
#else
    return c - a * b;
#endif
}

/* The square root, correctly rounded. */
INLINE V square_root(V a)
{
#if VECTOR_BYTES == 64
    return sizeof(REAL) == 4 ? (V)_mm512_sqrt_ps((__m512)a) : (V)_mm512_sqrt_pd((__m512d)a);
#elif VECTOR_BYTES == 32
    return sizeof(REAL) == 4 ? (V)_mm256_sqrt_ps((__m256)a) : (V)_mm256_sqrt_pd((__m256d)a);
#elif defined(__aarch64__)
    return sizeof(REAL) == 4 ? (V)vsqrtq_f32((float32x4_t)a) : (V)vsqrtq_f64((float64x2_t)a);
#else
    return sizeof(REAL) == 4 ? (V)_mm_sqrt_ps((__m128)a) : (V)_mm_sqrt_pd((__m128d)a);
#endif
}

/* a where the mask is set, b elsewhere; a comparison of vectors is such a mask, false for NaN. (GCC has no `mask ? a : b`
 * in C, and makes branches of a loop over lanes where a function is long; of this it makes a masked move where b is zero,
 * else two operations.) */
INLINE V choose(VI mask, V a, V b)
{
    return (V)((mask & (VI)a) | (~mask & (VI)b));
}

/* x where a < b, else y: one operation besides the comparison. */
INLINE V choose_less(V a, V b, V x, V y)
{
#if VECTOR_BYTES == 64
    return sizeof(REAL) == 4
               ? (V)_mm512_mask_blend_ps(
                     _mm512_cmp_ps_mask((__m512)a, (__m512)b, _CMP_LT_OQ), (__m512)y, (__m512)x)
               : (V)_mm512_mask_blend_pd(
                     _mm512_cmp_pd_mask((__m512d)a, (__m512d)b, _CMP_LT_OQ), (__m512d)y, (__m512d)x);
#elif VECTOR_BYTES == 32
    return sizeof(REAL) == 4
               ? (V)_mm256_blendv_ps((__m256)y, (__m256)x, _mm256_cmp_ps((__m256)a, (__m256)b, _CMP_LT_OQ))
               : (V)_mm256_blendv_pd((__m256d)y, (__m256d)x, _mm256_cmp_pd((__m256d)a, (__m256d)b, _CMP_LT_OQ));
#else
    return choose(a < b, x, y);
#endif
}

/* x where a == b, else y. */
INLINE V choose_equal(VI a, VI b, V x, V y)
{
#if VECTOR_BYTES == 64
    return sizeof(REAL) == 4
               ? (V)_mm512_mask_blend_ps(_mm512_cmpeq_epi32_mask((__m512i)a, (__m512i)b), (__m512)y, (__m512)x)
               : (V)_mm512_mask_blend_pd(_mm512_cmpeq_epi64_mask((__m512i)a, (__m512i)b), (__m512d)y, (__m512d)x);
#elif VECTOR_BYTES == 32
    return sizeof(REAL) == 4 ? (V)_mm256_blendv_ps((__m256)y, (__m256)x, (__m256)(a == b))
                             : (V)_mm256_blendv_pd((__m256d)y, (__m256d)x, (__m256d)(a == b));
#else
    return choose(a == b, x, y);
#endif
}

/* a where a > b, else b: what the CPU calls the maximum. b where one is NaN. */
INLINE V greater_of(V a, V b)
{
#if VECTOR_BYTES == 64
    return sizeof(REAL) == 4 ? (V)_mm512_max_ps((__m512)a, (__m512)b) : (V)_mm512_max_pd((__m512d)a, (__m512d)b);
#elif VECTOR_BYTES == 32
    return sizeof(REAL) == 4 ? (V)_mm256_max_ps((__m256)a, (__m256)b) : (V)_mm256_max_pd((__m256d)a, (__m256d)b);
#elif defined(__SSE2__)
    return sizeof(REAL) == 4 ? (V)_mm_max_ps((__m128)a, (__m128)b) : (V)_mm_max_pd((__m128d)a, (__m128d)b);
#else
    return choose(a > b, a, b);
#endif
}

/* a where a < b, else b. b where one is NaN. */
INLINE V lesser_of(V a, V b)
{
#if VECTOR_BYTES == 64
    return sizeof(REAL) == 4 ? (V)_mm512_min_ps((__m512)a, (__m512)b) : (V)_mm512_min_pd((__m512d)a, (__m512d)b);
#elif VECTOR_BYTES == 32
    return sizeof(REAL) == 4 ? (V)_mm256_min_ps((__m256)a, (__m256)b) : (V)_mm256_min_pd((__m256d)a, (__m256d)b);
#elif defined(__SSE2__)
    return sizeof(REAL) == 4 ? (V)_mm_min_ps((__m128)a, (__m128)b) : (V)_mm_min_pd((__m128d)a, (__m128d)b);
#else
    return choose(a < b, a, b);
#endif
}

INLINE VI bits(V a)
{
    return (VI)a;
}

INLINE V from_bits(VI a)
{
    return (V)a;
}

/* |a|: the sign bit cleared. */
INLINE V absolute(V a)
{
    return from_bits(bits(a) & ~SIGN);
}

/* a, which is not negative, with the sign of b. */
INLINE V with_sign(V a, V b)
{
    return from_bits(bits(a) | (bits(b) & SIGN));
}

/* Signed integers as the nearest numbers. */
INLINE V to_float(VI a)
{
    return __builtin_convertvector(a, V);
}

/* 32-bit integers as integers as wide as the lanes, the sign copied in. */
INLINE VI widened(V32 a)
{
#if VECTOR_BYTES == 64 && !defined(REAL_IS_FLOAT)
    return (VI)_mm512_cvtepi32_epi64((__m256i)a); /* GCC 12 makes two halves of it and joins them */
#else
    return __builtin_convertvector(a, VI);
#endif
}

/* The same for integers without a sign. */
INLINE VU widened_unsigned(VU32 a)
{
#if VECTOR_BYTES == 64 && !defined(REAL_IS_FLOAT)
    return (VU)_mm512_cvtepu32_epi64((__m256i)a);
#else
    return __builtin_convertvector(a, VU);
#endif
}

/* 0, 1, 2 ... */
INLINE V32 lane_numbers(void)
{
    V32 numbers;
    for (int i = 0; i < (int)LANES; i++) {
        numbers[i] = i;
    }
    return numbers;
}

/* The same as wide as the lanes; constants, which GCC does not see through `widened`. */
INLINE VI lane_indices(void)
{
    VI numbers;
    for (int i = 0; i < (int)LANES; i++) {
        numbers[i] = i;
    }
    return numbers;
}

/* The mask of the first `count` lanes. */
INLINE VI lanes_below(int64_t count)
{
    return lane_indices() < splat_integer((INT)(count < LANES ? count : LANES));
}

/* Lane i is lane index[i] of a and b put side by side. */
INLINE V shuffle(V a, V b, VI index)
{
#ifdef __clang__
    V chosen;
    for (int i = 0; i < (int)LANES; i++) {
        chosen[i] = index[i] < (INT)LANES ? a[index[i]] : b[index[i] - (INT)LANES];
    }
    return chosen;
#else
    return __builtin_shuffle(a, b, index);
#endif
}

/* The sum of all lanes: halves added until one number is left, always in the same order. */
INLINE REAL horizontal_sum(V a)
{
#ifdef __SSE2__
#ifdef REAL_IS_FLOAT
#if VECTOR_BYTES == 64
    const __m256 half = _mm256_add_ps(_mm512_castps512_ps256((__m512)a), _mm512_extractf32x8_ps((__m512)a, 1));
#elif VECTOR_BYTES == 32
    const __m256 half = (__m256)a;
#endif
#if VECTOR_BYTES >= 32
    __m128 sum = _mm_add_ps(_mm256_castps256_ps128(half), _mm256_extractf128_ps(half, 1));
#else
    __m128 sum = (__m128)a;
#endif
    sum = _mm_add_ps(sum, _mm_movehl_ps(sum, sum));
    return _mm_cvtss_f32(_mm_add_ss(sum, _mm_shuffle_ps(sum, sum, 1)));
#else
#if VECTOR_BYTES == 64
    const __m256d half = _mm256_add_pd(_mm512_castpd512_pd256((__m512d)a), _mm512_extractf64x4_pd((__m512d)a, 1));
#elif VECTOR_BYTES == 32
    const __m256d half = (__m256d)a;
#endif
#if VECTOR_BYTES >= 32
    const __m128d sum = _mm_add_pd(_mm256_castpd256_pd128(half), _mm256_extractf128_pd(half, 1));
#else
    const __m128d sum = (__m128d)a;
#endif
    return _mm_cvtsd_f64(_mm_add_sd(sum, _mm_unpackhi_pd(sum, sum)));
#endif
#else
    for (INT count = (INT)LANES / 2; count >= 1; count /= 2) {
        a += shuffle(a, a, lane_indices() + count);
    }
    return a[0];
#endif
}

/* The sum of a group's vectors: halves added, as in horizontal_sum. (Written out: GCC leaves arrays that a loop of
 * changing length walks in memory.) */
INLINE V sum_of_group(const V *value)
{
    return GROUP == 4 ? (value[0] + value[2 % GROUP]) + (value[1] + value[3 % GROUP]) : value[0] + value[1];
}

/* One round of a transposition, with a distance that is known early enough for the block to be registers. */
#define EXCHANGE(distance)                                                                                 \
    if (LANES > (distance)) {                                                                              \
        const VI lane = lane_indices(), upper = (lane & (distance)) != 0;                                  \
        const VI low = lane + (upper & splat_integer((INT)(LANES - (distance)))), high = low + (distance); \
        _Pragma("GCC unroll 16") for (int i = 0; i < (int)LANES; i++) {                                    \
            if (!(i & (distance))) {                                                                       \
                const V a = block[i], b = block[(i + (distance)) % LANES];                                 \
                block[i] = shuffle(a, b, low);                                                             \
                block[(i + (distance)) % LANES] = shuffle(a, b, high);                                     \
            }                                                                                              \
        }                                                                                                  \
    }

/* out[j, i] = x[i, j] for a square block of one vector each way.
 *
 * log2(LANES) rounds of pairwise exchanges: round d swaps the off-diagonal blocks of size d x d. */
INLINE void transpose_whole_block(REAL *out, int64_t out_stride, const REAL *x, int64_t x_stride)
{
    V block[LANES];
#pragma GCC unroll 16
    for (int i = 0; i < (int)LANES; i++) {
        block[i] = load(x + i * x_stride);
    }
    EXCHANGE(8)
    EXCHANGE(4)
    EXCHANGE(2)
    EXCHANGE(1)
#pragma GCC unroll 16
    for (int j = 0; j < (int)LANES; j++) {
        store(out + j * out_stride, block[j]);
    }
}

/* The same where only the first `rows` rows of x are there; the others count as zeros. */
static __attribute__((noinline, unused)) void transpose_first_rows(
    REAL *out, int64_t out_stride, const REAL *x, int64_t x_stride, int64_t rows)
{
    REAL whole[LANES * LANES];
    for (int64_t i = 0; i < LANES; i++) {
        store(whole + i * LANES, i < rows ? load(x + i * x_stride) : (V){0});
    }
    transpose_whole_block(out, out_stride, whole, LANES);
}

INLINE void transpose_block(REAL *out, int64_t out_stride, const REAL *x, int64_t x_stride, int64_t rows)
{
    if (rows >= LANES) {
        transpose_whole_block(out, out_stride, x, x_stride);
    } else {
        transpose_first_rows(out, out_stride, x, x_stride, rows);
    }
}

#endif
