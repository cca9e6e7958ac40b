/* The three products of a dense layer with operands rounded to bfloat16.
 * Reference: fastnn/kernels/reference/low_precision.py */
#ifdef MATRIX_UNIT
#include "amx.h"
#else
#include "pairs.h"
#endif

KERNEL(dense_forward_bf16)
{
    const Matrix y = next_matrix(&words), x = next_matrix(&words), weight = next_matrix(&words);
    const int64_t O = next_integer(&words), B = next_integer(&words), K = next_integer(&words);
    const float floor = (float)next_scalar(&words);
    const Product p = {
        .c = y.data, .c_row = y.stride0, .a = weight.data, .a_row = weight.stride0, .a_k = weight.stride1,
        .b = x.data, .b_k = x.stride0, .b_column = 1, .h = y.data, .h_row = y.stride0,
        .M = O, .N = B, .K = K, .floor = floor,
    };
    product(&p);
}

KERNEL(dense_backward_input_bf16)
{
    const Matrix dx = next_matrix(&words), dy = next_matrix(&words), weight = next_matrix(&words);
    const Matrix x = next_matrix(&words);
    const int64_t I = next_integer(&words), B = next_integer(&words), O = next_integer(&words);
    const int64_t derivative = next_integer(&words);
    const float c0 = (float)next_scalar(&words), c1 = (float)next_scalar(&words), c2 = (float)next_scalar(&words);
    const Product p = {
        .c = dx.data, .c_row = dx.stride0, .a = weight.data, .a_row = weight.stride1, .a_k = weight.stride0,
        .b = dy.data, .b_k = dy.stride0, .b_column = 1, .h = derivative == NOTHING ? dx.data : x.data, .h_row = x.stride0,
        .M = I, .N = B, .K = O, .floor = -INFINITY, .derivative = derivative, .c0 = c0, .c1 = c1, .c2 = c2,
    };
    product(&p);
}

KERNEL(dense_backward_weight_bf16)
{
    const Matrix dweight = next_matrix(&words), dy = next_matrix(&words), x = next_matrix(&words);
    const int64_t O = next_integer(&words), K = next_integer(&words), B = next_integer(&words);
    const int64_t accumulate = next_integer(&words);
    /* Vectors run along the axis on which dweight is contiguous. */
    Product p = {.c = dweight.data, .h = dweight.data, .K = B, .accumulate = accumulate, .floor = -INFINITY};
    if (dweight.stride1 == 1) {
        p.c_row = dweight.stride0;
        p.a = dy.data, p.a_row = dy.stride0, p.a_k = dy.stride1;
        p.b = x.data, p.b_k = x.stride1, p.b_column = x.stride0;
        p.M = O, p.N = K;
    } else {
        p.c_row = dweight.stride1;
        p.a = x.data, p.a_row = x.stride0, p.a_k = x.stride1;
        p.b = dy.data, p.b_k = dy.stride1, p.b_column = dy.stride0;
        p.M = K, p.N = O;
    }
    product(&p);
}
