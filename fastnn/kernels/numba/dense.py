"""The three products of a dense layer: one register tile, three ways to point it at the operands, and forms of their
own for few rows of the batch.
"""

import numpy as np
from numba import njit, types

from ..reference.dense import IN_TWO_PARTS, NOTHING, WHERE_POSITIVE
from .dot import dots, few_sums, gather_columns
from .entry import kernel
from .product import AT_ONCE, FEW_TERMS, call_product, row_of_sums, scratch
from .simd import address, at, fma, lanes, load, select, splat, store, transpose_block
from .tile import WIDE, widest

# So many terms for each row of the batch must there be for adding up lanes to pay.
TERMS_PER_ROW = 8
# Bytes of weights that do not stay in L1.
BEYOND_L1 = 1 << 16


@njit(error_model="numpy")
def _finished(sum, y, derivative, floor, c0, c1, c2):
    """What a tile makes of a sum, see `product.product`."""
    if derivative == NOTHING:
        return select(sum < floor, floor, sum)
    if derivative == WHERE_POSITIVE:
        return select(y > 0.0, sum, 0.0)
    if derivative == IN_TWO_PARTS:
        return sum * select(y > 0.0, c2, fma(y, c1, c0))
    return sum * fma(fma(c2, y, c1), y, c0)


@njit(error_model="numpy")
def _exchanged(c, c_row, a, a_k, b, b_k, M, K, rows, floor, h, h_row, derivative, c0, c1, c2):
    """A product of few columns, `rows` of the batch, whose A is contiguous from row to row: the same sums with the
    roles exchanged, A as vectors and B as scalars, so that no multiplication is spent on padding; transposed on the way
    to C. A that is beyond L1 is read in its order for a single column, a few terms of all sums at a time.
    """
    lane, number_bytes = lanes(c), address(at(c, 1)) - address(c)
    in_order = rows == 1 and WIDE[0] * lane < M and K * a_k >= BEYOND_L1 // number_bytes
    width = AT_ONCE // lane if in_order else widest(rows)
    sums, across = scratch(c), scratch(c)
    for n in range(0, M, width * lane):
        vectors = min(width, (M - n + lane - 1) // lane)
        if in_order:
            for k in range(0, K, FEW_TERMS):
                terms = min(FEW_TERMS, K - k)
                row_of_sums(sums, at(b, k * b_k), b_k, at(a, n + k * a_k), a_k, vectors, terms, k > 0)
        else:
            call_product(
                sums, vectors * lane, b, 1, b_k, at(a, n), a_k,
                rows, vectors, K, 0, -np.inf, sums, 0, NOTHING, 0.0, 0.0, 0.0,
            )  # fmt: skip
        for j in range(vectors):
            first = n + j * lane
            column = at(sums, j * lane)
            if rows > 1:
                transpose_block(across, lane, column, vectors * lane, rows)
            for i in range(min(lane, M - first)):
                sum = load(across, i * lane) if rows > 1 else splat(c, column[i])
                y = load(h, (first + i) * h_row)
                store(c, (first + i) * c_row, _finished(sum, y, derivative, floor, c0, c1, c2))


@njit(error_model="numpy")
def _dotted(c, c_row, a, a_row, b, b_k, M, K, columns, floor, h, h_row, derivative, c0, c1, c2):
    """A product of few columns whose A is contiguous along the terms. The columns of B are gathered first; of more
    terms than there is room for, the blocks are added in order.
    """
    sums, x, across = scratch(c), scratch(c), scratch(c)
    batch = types.int64(columns if columns <= 2 else 4 if columns <= 4 else 8)
    most = AT_ONCE // batch
    for m in range(0, M, most):
        rows = min(most, M - m)
        for k in range(0, max(K, 1), most):
            terms = min(most, K - k)
            gather_columns(x, batch, across, at(b, k * b_k), b_k, terms)
            few_sums(sums, at(a, m * a_row + k), a_row, x, rows, terms, types.int64(k > 0), batch)
        store(sums, rows * batch, splat(c, 0.0))
        for i in range(m, m + rows):
            sum, y = load(sums, (i - m) * batch), load(h, i * h_row)
            store(c, i * c_row, _finished(sum, y, derivative, floor, c0, c1, c2))


@kernel
def dense_forward(y, x, weight, O, B, K, floor):
    lane = lanes(y.data)
    if lane >= 2 * B and weight.stride0 == 1:
        _exchanged(
            y.data, y.stride0, weight.data, weight.stride1, x.data, x.stride0,
            O, K, B, floor, y.data, y.stride0, NOTHING, 0.0, 0.0, 0.0,
        )  # fmt: skip
        return
    if lane >= 2 * B and B > 0 and weight.stride1 == 1 and K > TERMS_PER_ROW * B:
        _dotted(
            y.data, y.stride0, weight.data, weight.stride0, x.data, x.stride0,
            O, K, B, floor, y.data, y.stride0, NOTHING, 0.0, 0.0, 0.0,
        )  # fmt: skip
        return
    call_product(
        y.data, y.stride0, weight.data, weight.stride0, weight.stride1, x.data, x.stride0,
        O, (B + lane - 1) // lane, K, 0, floor, y.data, y.stride0, NOTHING, 0.0, 0.0, 0.0,
    )  # fmt: skip


@kernel
def dense_backward_input(dx, dy, weight, x, I, B, O, derivative, c0, c1, c2):
    lane = lanes(dx.data)
    h, h_row = (dx.data, dx.stride0) if derivative == NOTHING else (x.data, x.stride0)
    if lane >= 2 * B and weight.stride1 == 1:
        _exchanged(
            dx.data, dx.stride0, weight.data, weight.stride0, dy.data, dy.stride0,
            I, O, B, -np.inf, h, h_row, derivative, c0, c1, c2,
        )  # fmt: skip
        return
    if lane >= 2 * B and B > 0 and weight.stride0 == 1 and O > TERMS_PER_ROW * B:
        _dotted(
            dx.data, dx.stride0, weight.data, weight.stride1, dy.data, dy.stride0,
            I, O, B, -np.inf, h, h_row, derivative, c0, c1, c2,
        )  # fmt: skip
        return
    call_product(
        dx.data, dx.stride0, weight.data, weight.stride1, weight.stride0, dy.data, dy.stride0,
        I, (B + lane - 1) // lane, O, 0, -np.inf, x.data, x.stride0, derivative, c0, c1, c2,
    )  # fmt: skip


@kernel
def dense_backward_weight(dweight, dy, x, O, K, B, accumulate):
    # Vectors run along the axis on which dweight is contiguous; the operand that has this axis is given with it
    # contiguous, which is its transpose in memory, and the other one delivers the scalars. If it is given as it is,
    # with the batch contiguous, the gradient is made of dot products.
    lane = lanes(dweight.data)
    by_outputs = dweight.stride1 == 1
    if by_outputs and x.stride1 == 1:
        vectors = (K + lane - 1) // lane
        dots(dweight.data, dweight.stride0, dy.data, dy.stride0, x.data, x.stride0, O, vectors, B, accumulate)
    elif not by_outputs and dy.stride1 == 1:
        vectors = (O + lane - 1) // lane
        dots(dweight.data, dweight.stride1, x.data, x.stride0, dy.data, dy.stride0, K, vectors, B, accumulate)
    elif by_outputs:
        call_product(
            dweight.data, dweight.stride0, dy.data, dy.stride0, dy.stride1, x.data, x.stride1,
            O, (K + lane - 1) // lane, B, accumulate, -np.inf, dweight.data, 0, NOTHING, 0.0, 0.0, 0.0,
        )  # fmt: skip
    else:
        call_product(
            dweight.data, dweight.stride1, x.data, x.stride0, x.stride1, dy.data, dy.stride1,
            K, (O + lane - 1) // lane, B, accumulate, -np.inf, dweight.data, 0, NOTHING, 0.0, 0.0, 0.0,
        )  # fmt: skip
