/* The three products of a dense layer: one register tile, three ways to point it at the operands, and forms of their
 * own for few rows of the batch.
 * Reference: fastnn/kernels/reference/dense.py */
#include "dot.h"

/* So many terms for each row of the batch must there be for adding up lanes to pay. */
enum { TERMS_PER_ROW = 8 };

INLINE int64_t vectors_in(int64_t length)
{
    return (length + LANES - 1) / LANES;
}

/* A product with weights as A, of any number of rows of the batch. The form, and with it the order of the sums, depends
 * on all rows: it is no product that threads may share along the batch. */
static __attribute__((noinline)) void product(const Product *p)
{
    const int few = p->columns > 0 && 2 * p->columns <= LANES;
    if (few && p->a_row == 1) {
        exchanged(p);
    } else if (few && p->a_k == 1 && p->K > TERMS_PER_ROW * p->columns) {
        dotted(p);
    } else {
        covered(p);
    }
}

KERNEL(dense_forward)
{
    const Matrix y = next_matrix(&words), x = next_matrix(&words), weight = next_matrix(&words);
    const int64_t O = next_integer(&words), B = next_integer(&words), K = next_integer(&words);
    const REAL floor = (REAL)next_scalar(&words);
    const Product p = {
        .c = y.data, .c_row = y.stride0, .a = weight.data, .a_row = weight.stride0, .a_k = weight.stride1,
        .b = x.data, .b_k = x.stride0, .h = y.data, .h_row = y.stride0,
        .M = O, .N = vectors_in(B), .K = K, .columns = B, .floor = floor,
    };
    product(&p);
}

KERNEL(dense_backward_input)
{
    const Matrix dx = next_matrix(&words), dy = next_matrix(&words), weight = next_matrix(&words);
    const Matrix x = next_matrix(&words);
    const int64_t I = next_integer(&words), B = next_integer(&words), O = next_integer(&words);
    const int64_t derivative = next_integer(&words);
    const REAL c0 = (REAL)next_scalar(&words), c1 = (REAL)next_scalar(&words), c2 = (REAL)next_scalar(&words);
    const Product p = {
        .c = dx.data, .c_row = dx.stride0, .a = weight.data, .a_row = weight.stride1, .a_k = weight.stride0,
        .b = dy.data, .b_k = dy.stride0, .h = derivative == NOTHING ? dx.data : x.data, .h_row = x.stride0,
        .M = I, .N = vectors_in(B), .K = O, .columns = B, .floor = (REAL)-INFINITY,
        .derivative = derivative, .c0 = c0, .c1 = c1, .c2 = c2,
    };
    product(&p);
}

KERNEL(dense_backward_weight)
{
    const Matrix dweight = next_matrix(&words), dy = next_matrix(&words), x = next_matrix(&words);
    const int64_t O = next_integer(&words), K = next_integer(&words), B = next_integer(&words);
    const int64_t accumulate = next_integer(&words);
    const int by_outputs = dweight.stride1 == 1;
    if (by_outputs && x.stride1 == 1) {
        dots(dweight.data, dweight.stride0, dy.data, dy.stride0, x.data, x.stride0, O, vectors_in(K), B, accumulate);
        return;
    }
    if (!by_outputs && dy.stride1 == 1) {
        dots(dweight.data, dweight.stride1, x.data, x.stride0, dy.data, dy.stride0, K, vectors_in(O), B, accumulate);
        return;
    }
    /* Vectors run along the axis on which dweight is contiguous; the operand that has this axis is given with it
     * contiguous, which is its transpose in memory, and the other one delivers the scalars. If it is given as it is,
     * with the batch contiguous, the gradient is made of dot products. */
    Product p = {.c = dweight.data, .h = dweight.data, .K = B, .accumulate = accumulate, .floor = (REAL)-INFINITY};
    if (by_outputs) {
        p.c_row = dweight.stride0;
        p.a = dy.data, p.a_row = dy.stride0, p.a_k = dy.stride1;
        p.b = x.data, p.b_k = x.stride1;
        p.M = O, p.N = vectors_in(K);
    } else {
        p.c_row = dweight.stride1;
        p.a = x.data, p.a_row = x.stride0, p.a_k = x.stride1;
        p.b = dy.data, p.b_k = dy.stride1;
        p.M = K, p.N = vectors_in(O);
    }
    covered(&p);
}
