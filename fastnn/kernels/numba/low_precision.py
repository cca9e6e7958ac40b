"""The three products of a dense layer with operands rounded to bfloat16: one product, three ways to point it at
them."""

import numpy as np

from ..reference.dense import NOTHING
from .entry import kernel
from .words import call_product_bf16


@kernel
def dense_forward_bf16(y, x, weight, O, B, K, floor):
    call_product_bf16(
        y.data, y.stride0, weight.data, weight.stride0, weight.stride1, x.data, x.stride0, 1,
        O, B, K, 0, floor, y.data, y.stride0, NOTHING, 0.0, 0.0, 0.0,
    )  # fmt: skip


@kernel
def dense_backward_input_bf16(dx, dy, weight, x, I, B, O, derivative, c0, c1, c2):
    call_product_bf16(
        dx.data, dx.stride0, weight.data, weight.stride1, weight.stride0, dy.data, dy.stride0, 1,
        I, B, O, 0, -np.inf, x.data, x.stride0, derivative, c0, c1, c2,
    )  # fmt: skip


@kernel
def dense_backward_weight_bf16(dweight, dy, x, O, K, B, accumulate):
    # Vectors run along the axis on which dweight is contiguous.
    if dweight.stride1 == 1:
        call_product_bf16(
            dweight.data, dweight.stride0, dy.data, dy.stride0, dy.stride1, x.data, x.stride1, x.stride0,
            O, K, B, accumulate, -np.inf, dweight.data, 0, NOTHING, 0.0, 0.0, 0.0,
        )  # fmt: skip
    else:
        call_product_bf16(
            dweight.data, dweight.stride1, x.data, x.stride0, x.stride1, dy.data, dy.stride1, dy.stride0,
            K, O, B, accumulate, -np.inf, dweight.data, 0, NOTHING, 0.0, 0.0, 0.0,
        )  # fmt: skip
