/* Dropout with a counter-based generator; the mask is computed twice rather than stored.
 * Reference: fastnn/kernels/reference/dropout.py */
#include "kernel.h"

/* `triple32`, see the reference. */
#define HASH(x)                            \
    x = (x ^ (x >> 17)) * 0xED5AD4BBu;     \
    x = (x ^ (x >> 11)) * 0xAC4C1B51u;     \
    x = (x ^ (x >> 15)) * 0x31848BABu;     \
    return x ^ (x >> 14);

INLINE VU32 hash32(VU32 x)
{
    HASH(x)
}

INLINE uint32_t hash_one(uint32_t x)
{
    HASH(x)
}

INLINE void scale_kept(Matrix out, Matrix x, int64_t features, int64_t rows, int64_t key, int64_t threshold,
                       double scale, int64_t first)
{
    const VU32 columns = (VU32)lane_numbers();
    for (int64_t f = 0; f < features; f++) {
        const uint32_t feature = hash_one((uint32_t)(first + f) ^ (uint32_t)key);
        for (int64_t b = 0; b < rows; b += LANES) {
            /* compared as wide as the lanes, where 32 bits without a sign fit into 64 with one */
            const VU bits32 = widened_unsigned(hash32(columns + (feature + (uint32_t)b)));
            const VI kept = (VI)(bits32 < (UINT)(uint32_t)threshold);
            const V value = load(row_of(x, f) + b) * (REAL)scale;
            store(row_of(out, f) + b, choose(kept, value, (V){0}));
        }
    }
}

KERNEL(dropout_forward)
{
    const Matrix y = next_matrix(&words), x = next_matrix(&words);
    const int64_t F = next_integer(&words), B = next_integer(&words);
    const int64_t key = next_integer(&words), threshold = next_integer(&words);
    const double scale = next_scalar(&words);
    const int64_t first = next_integer(&words);
    scale_kept(y, x, F, B, key, threshold, scale, first);
}

KERNEL(dropout_backward)
{
    const Matrix dx = next_matrix(&words), dy = next_matrix(&words);
    const int64_t F = next_integer(&words), B = next_integer(&words);
    const int64_t key = next_integer(&words), threshold = next_integer(&words);
    const double scale = next_scalar(&words);
    const int64_t first = next_integer(&words);
    scale_kept(dx, dy, F, B, key, threshold, scale, first);
}
