"""The loops that cover a matrix with the register tile (tile.py), blocked for the caches, and a form of its own for few
terms.

    M rows of C and A     N vectors in a row of C and B     K terms of each sum
"""

from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

from .. import objects
from ..reference.dense import NOTHING
from .simd import address, at, fma, lanes, load, splat, store, vector_of, vector_type
from .tile import MAX_ROWS, MAX_VECTORS, WIDE, strip

# Blocks of B have so many bytes, or up to twice as many: they stay in L2. Blocks of k see to that in long sums, and
# keep a tile's scalars at hand where they are strided in k and touch a new page every step; they have 256 terms or
# more, and at most so many bytes of a row of A.
B_BYTES, K_BLOCK, K_BYTES = 1 << 19, 256, 4096
# Where scalars are contiguous in k there are blocks from so many terms on, and so many bytes in a row of B.
LONG_SUM, WIDE_ROW = 2048, 512
# Products of so few terms, or of FEW_TERMS where C has so many bytes, go row by row if rows have as many vectors.
FEWEST_TERMS, FEW_TERMS, MANY_VECTORS, LARGE = 2, 4, 4, 1 << 19
# Numbers in a scratch on the stack.
AT_ONCE = 2048
# Bytes of weights that do not stay in L1.
BEYOND_L1 = 1 << 16
# Bytes of A and, where C is wide, of C that a column of tiles walks before the next column: they stay in L2, and rows
# of C are written while their pages are at hand.
A_BYTES, C_BYTES = 1 << 16, 1 << 17


@njit(error_model="numpy")
def widest(rows):
    """Vectors of the widest tile for a product of that many rows."""
    if rows == 1:
        return WIDE[0]
    if rows == 2:
        return WIDE[1]
    if rows <= 4:
        return WIDE[2] if rows == 3 else WIDE[3]
    if rows <= 6:
        return WIDE[4] if rows == 5 else WIDE[5]
    return MAX_VECTORS


@njit(error_model="numpy")
def row_of_sums(c, a, a_k, b, b_k, vectors, terms, accumulate):
    """c[n] (+)= sum over k of a[k] b[k, n] for `vectors` vectors, one after the other; up to FEW_TERMS terms."""
    lane = lanes(c)
    if terms == 1:
        for n in range(0, vectors * lane, lane):
            store(c, n, fma(a[0], load(b, n), load(c, n) if accumulate else splat(c, 0.0)))
    elif terms == 2:
        for n in range(0, vectors * lane, lane):
            sum = fma(a[0], load(b, n), load(c, n) if accumulate else splat(c, 0.0))
            store(c, n, fma(a[a_k], load(b, b_k + n), sum))
    elif terms == 3:
        for n in range(0, vectors * lane, lane):
            sum = fma(a[0], load(b, n), load(c, n) if accumulate else splat(c, 0.0))
            store(c, n, fma(a[2 * a_k], load(b, 2 * b_k + n), fma(a[a_k], load(b, b_k + n), sum)))
    elif terms == 4:
        for n in range(0, vectors * lane, lane):
            sum = fma(a[0], load(b, n), load(c, n) if accumulate else splat(c, 0.0))
            sum = fma(a[2 * a_k], load(b, 2 * b_k + n), fma(a[a_k], load(b, b_k + n), sum))
            store(c, n, fma(a[3 * a_k], load(b, 3 * b_k + n), sum))


@njit(error_model="numpy")
def block_of(K, number_bytes, row_bytes):
    """Terms in a block of k, of even sizes; row_bytes: of a row of B."""
    most = max(K_BLOCK, min(K_BYTES // number_bytes, B_BYTES // (row_bytes + 1)))
    blocks = (K + most - 1) // most
    return (K + blocks - 1) // blocks if blocks > 1 else K


def product_signature(dtype: Any) -> Any:
    """The Numba signature of `product` for a dtype."""
    p, i = types.CPointer(dtype), types.int64
    return types.void(p, i, p, i, i, p, i, i, i, i, i, types.float64, p, i, i, *[types.float64] * 3)


def product(c, c_row, a, a_row, a_k, b, b_k, M, N, K, accumulate, floor, h, h_row, derivative, c0, c1, c2):
    """C = finish(A B) or, with `accumulate`, finish(C + A B), on pointers; rows of C and B are padded to whole vectors.

    c           c_row numbers from row to row
    h           h_row numbers from row to row; read only if derivative != NOTHING; may be c
    a           a_row from m to m, a_k from k to k
    b           b_k from k to k
    finish(v)   max(v, floor);  v where h > 0 else 0  (WHERE_POSITIVE);  v * (c0 + c1 h + c2 h**2)  (QUADRATIC)
    """
    lane = lanes(c)
    number_bytes = address(at(c, 1)) - address(c)
    most_terms = FEW_TERMS if M * c_row >= LARGE // number_bytes else FEWEST_TERMS
    if 0 < K <= most_terms and N >= MANY_VECTORS and derivative == NOTHING and floor == -np.inf:
        for m in range(M):
            row_of_sums(at(c, m * c_row), at(a, m * a_row), a_k, b, b_k, N, K, accumulate != 0)
        return
    row_parts = (M + MAX_ROWS - 1) // MAX_ROWS
    wide = widest(M)
    wide_parts = N // wide if wide > MAX_VECTORS else 0
    column_parts = (N - wide_parts * wide + MAX_VECTORS - 1) // MAX_VECTORS
    in_place = derivative != NOTHING and address(h) == address(c)  # partial sums would overwrite h before it is read
    row_bytes = address(at(c, N * lane)) - address(c)
    long_sum = K >= LONG_SUM and row_bytes >= WIDE_ROW
    block = block_of(K, number_bytes, row_bytes) if (a_k != 1 or long_sum) and not in_place else K
    tile_bytes = MAX_ROWS * number_bytes
    k = types.int64(0)
    while k < K:
        terms = min(block, K - k)
        last = k + terms == K
        start = accumulate != 0 or k > 0
        block_floor = floor if last else -np.inf
        block_derivative = derivative if last else NOTHING
        high = min(A_BYTES // (tile_bytes * terms), C_BYTES // (tile_bytes * c_row)) + 1
        side_by_side = N
        if terms * row_bytes > 2 * B_BYTES:
            side_by_side = B_BYTES // (terms * MAX_VECTORS * lane * number_bytes) + 1
        for column in range(-wide_parts, column_parts, side_by_side):
            for row in range(0, row_parts, high):
                cover(
                    c, c_row, at(a, k * a_k), a_row, a_k, at(b, k * b_k), b_k, M, N, terms, start, block_floor,
                    h, h_row, block_derivative, c0, c1, c2, row, min(row + high, row_parts),
                    column, min(column + side_by_side, column_parts), wide_parts, column_parts,
                )  # fmt: skip
        k += terms


@njit(error_model="numpy")
def cover(
    c, c_row, a, a_row, a_k, b, b_k, M, N, K, start, floor, h, h_row, derivative, c0, c1, c2,
    row, row_end, column, column_end, wide_parts, column_parts,
):  # fmt: skip
    """The tiles of rows [row, row_end) and columns [column, column_end): columns outside, rows inside.

    Tiles are of even sizes: the first `taller` rows of tiles have rows + 1 rows, the first `wider` columns vectors + 1
    vectors. Columns -wide_parts .. -1 are before them, for products of few rows.
    """
    lane = lanes(c)
    wide, row_parts = widest(M), (M + MAX_ROWS - 1) // MAX_ROWS
    rows, taller = M // row_parts, M % row_parts
    narrow = N - wide_parts * wide
    vectors, wider = (narrow // column_parts, narrow % column_parts) if column_parts else (0, 0)
    above = min(taller, row)
    tall = min(taller, row_end) - above
    for place in range(column, column_end):
        if place < 0:
            width, n = wide, (place + wide_parts) * wide * lane
        else:
            width = vectors + (1 if place < wider else 0)
            n = (wide_parts * wide + place * vectors + min(place, wider)) * lane
        m = row * rows + above
        for lower in range(2):
            height, count = (rows, row_end - row - tall) if lower else (rows + 1, tall)
            if count > 0:
                strip(
                    at(c, m * c_row + n), c_row, at(a, m * a_row), a_row, a_k, at(b, n), b_k, height, width, count, K,
                    start, floor, at(h, m * h_row + n), h_row, derivative, c0, c1, c2,
                )  # fmt: skip
            m += height * count


@intrinsic
def scratch(typingctx, p):
    """Room on the stack for AT_ONCE numbers and a vector."""

    def emit(context, builder, sig, args):
        vector = vector_type(vector_of(sig.args[0].dtype))
        with builder.goto_entry_block():  # Numba's own alloca_once would fill it with zeros at every call
            room = builder.alloca(ir.ArrayType(vector, AT_ONCE // vector.count + 1))
        return builder.bitcast(room, args[0].type)

    return p(p), emit


@intrinsic
def call_product(
    typingctx, c, c_row, a, a_row, a_k, b, b_k, M, N, K, accumulate, floor, h, h_row, derivative, c0, c1, c2
):
    """`product`, compiled once per dtype into an object of its own and called through its symbol."""
    sig = product_signature(c.dtype)

    def emit(context, builder, sig, args):
        function_type = ir.FunctionType(ir.VoidType(), [context.get_value_type(t) for t in sig.args])
        symbol = objects.symbol("product", str(c.dtype))
        function = cgutils.get_or_insert_function(builder.module, function_type, symbol)
        builder.call(function, args)
        return context.get_dummy_value()

    return sig, emit
