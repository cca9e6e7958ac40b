"""The three products of a dense layer: one register tile, three ways to point it at the operands."""

import numpy as np

from ..reference.dense import NOTHING
from .entry import kernel
from .simd import lanes
from .tile import call_product


@kernel
def dense_forward(y, x, weight, O, B, K, floor):
    lane = lanes(y.data)
    call_product(
        y.data, y.stride0, weight.data, weight.stride0, weight.stride1, x.data, x.stride0,
        O, (B + lane - 1) // lane, K, 0, floor, y.data, y.stride0, NOTHING, 0.0, 0.0, 0.0,
    )  # fmt: skip


@kernel
def dense_backward_input(dx, dy, weight, x, I, B, O, derivative, c0, c1, c2):
    lane = lanes(dx.data)
    call_product(
        dx.data, dx.stride0, weight.data, weight.stride1, weight.stride0, dy.data, dy.stride0,
        I, (B + lane - 1) // lane, O, 0, -np.inf, x.data, x.stride0, derivative, c0, c1, c2,
    )  # fmt: skip


@kernel
def dense_backward_weight(dweight, dy, x, O, K, B, accumulate):
    # Vectors run along the axis on which dweight is contiguous; the operand that has this axis is given with it
    # contiguous, which is its transpose in memory, and the other one delivers the scalars.
    lane = lanes(dweight.data)
    if dweight.stride1 == 1:
        call_product(
            dweight.data, dweight.stride0, dy.data, dy.stride0, dy.stride1, x.data, x.stride1,
            O, (K + lane - 1) // lane, B, accumulate, -np.inf, dweight.data, 0, NOTHING, 0.0, 0.0, 0.0,
        )  # fmt: skip
    else:
        call_product(
            dweight.data, dweight.stride1, x.data, x.stride0, x.stride1, dy.data, dy.stride1,
            K, (O + lane - 1) // lane, B, accumulate, -np.inf, dweight.data, 0, NOTHING, 0.0, 0.0, 0.0,
        )  # fmt: skip
