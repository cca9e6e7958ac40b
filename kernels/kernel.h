/* What a file of kernels needs: vectors, and its operands out of the words of a call (fastnn.h). */
#ifndef FASTNN_KERNEL_H
#define FASTNN_KERNEL_H

#include <math.h>
#include <stddef.h>
#include <stdint.h>

#include "vector.h"

#define JOIN_(a, b, c, d) a##b##_##c##_##d
#define JOIN(a, b, c, d) JOIN_(a, b, c, d)

/* KERNEL(relu_forward) { ... }: the kernel of that operation for this unit's dtype and level, with its `words`. */
#define KERNEL(operation)                                                     \
    void JOIN(fastnn_, operation, DTYPE, ISA)(const int64_t *words);          \
    void JOIN(fastnn_, operation, DTYPE, ISA)(const int64_t *words)

INLINE int64_t least(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* An operand with two axes: its first number and the strides of its axes, in numbers. */
typedef struct {
    REAL *data;
    int64_t stride0, stride1;
} Matrix;

/* The next operand of a kernel, in the order of the operation's declaration. */

INLINE int64_t next_integer(const int64_t **words)
{
    return *(*words)++;
}

INLINE double next_scalar(const int64_t **words)
{
    union {
        int64_t word;
        double value;
    } bits_of = {.word = *(*words)++};
    return bits_of.value;
}

INLINE void *next_address(const int64_t **words)
{
    return (void *)(uintptr_t)*(*words)++; /* an address as NumPy gives it */
}

INLINE REAL *next_array(const int64_t **words)
{
    return next_address(words);
}

INLINE Matrix next_matrix(const int64_t **words)
{
    const Matrix matrix = {(REAL *)(uintptr_t)(*words)[0], (*words)[1], (*words)[2]};
    *words += 3;
    return matrix;
}

INLINE REAL *row_of(Matrix matrix, int64_t index)
{
    return matrix.data + index * matrix.stride0;
}

#endif
