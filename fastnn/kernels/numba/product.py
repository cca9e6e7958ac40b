"""The loops that cover a matrix with the register tile (tile.py), blocked for the caches, and a form of its own for few
terms.

    M rows of C and A     N vectors in a row of C and B     K terms of each sum
"""

from typing import Any, NamedTuple

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

from .. import objects
from ..reference.dense import NOTHING
from .simd import address, at, fma, lanes, load, splat, store
from .tile import MAX_ROWS, MAX_VECTORS, strip, widest
from .vectors import vector_of, vector_type

# Blocks of B have so many bytes, or up to twice as many: they stay in L2.
B_BYTES = 1 << 19
# Long sums are cut into even blocks of k for that, and to have a tile's scalars at hand where they are strided in k and
# touch a new page every step. A block has at most so many terms as numbers fit into K_BYTES and rows of B into B_BYTES,
# or K_BLOCK where that is more.
K_BYTES, K_BLOCK = 4096, 256
# Where scalars are contiguous in k, only sums of so many terms are cut, and only if a row of B has so many bytes.
LONG_SUM, WIDE_ROW = 2048, 512
# Products of so few terms, or of FEW_TERMS where C has so many bytes, go row by row if rows have as many vectors.
FEWEST_TERMS, FEW_TERMS, MANY_VECTORS, LARGE = 2, 4, 4, 1 << 19
# Numbers in a scratch on the stack.
AT_ONCE = 2048
# Bytes of A and, where C is wide, of C that a column of tiles walks before the next column: they stay in L2, and rows
# of C are written while their pages are at hand.
A_BYTES, C_BYTES = 1 << 16, 1 << 17


@njit(error_model="numpy")
def row_of_sums(c, a, a_k, b, b_k, vectors, terms, accumulate):
    """c[n] (+)= sum over k of a[k] b[k, n] for `vectors` vectors, one after the other; up to FEW_TERMS terms."""
    lane, zero, first = lanes(c), splat(c, 0.0), splat(c, a[0])
    if terms == 1:
        for n in range(0, vectors * lane, lane):
            store(c, n, fma(first, load(b, n), load(c, n) if accumulate else zero))
        return
    second = splat(c, a[a_k])
    if terms == 2:
        for n in range(0, vectors * lane, lane):
            sum = fma(first, load(b, n), load(c, n) if accumulate else zero)
            store(c, n, fma(second, load(b, b_k + n), sum))
        return
    third = splat(c, a[2 * a_k])
    if terms == 3:
        for n in range(0, vectors * lane, lane):
            sum = fma(first, load(b, n), load(c, n) if accumulate else zero)
            store(c, n, fma(third, load(b, 2 * b_k + n), fma(second, load(b, b_k + n), sum)))
        return
    fourth = splat(c, a[3 * a_k])
    for n in range(0, vectors * lane, lane):
        sum = fma(first, load(b, n), load(c, n) if accumulate else zero)
        sum = fma(third, load(b, 2 * b_k + n), fma(second, load(b, b_k + n), sum))
        store(c, n, fma(fourth, load(b, 3 * b_k + n), sum))


@njit(error_model="numpy")
def by_rows(c, c_row, a, a_row, a_k, b, b_k, M, N, K, accumulate):
    """A product of few terms whose sums are not finished, row by row: all memory in its order, which tiles leave."""
    if K == 1:
        for m in range(M):
            row_of_sums(at(c, m * c_row), at(a, m * a_row), a_k, b, b_k, N, 1, accumulate)
    elif K == 2:
        for m in range(M):
            row_of_sums(at(c, m * c_row), at(a, m * a_row), a_k, b, b_k, N, 2, accumulate)
    elif K == 3:
        for m in range(M):
            row_of_sums(at(c, m * c_row), at(a, m * a_row), a_k, b, b_k, N, 3, accumulate)
    else:
        for m in range(M):
            row_of_sums(at(c, m * c_row), at(a, m * a_row), a_k, b, b_k, N, 4, accumulate)


@njit(error_model="numpy")
def block_of(K, number_bytes, row_bytes):
    """Terms in a block of k, of even sizes; row_bytes: of a row of B."""
    most = max(K_BLOCK, min(K_BYTES // number_bytes, B_BYTES // row_bytes))
    blocks = (K + most - 1) // most
    return (K + blocks - 1) // blocks if blocks > 1 else K


@njit(error_model="numpy")
def is_small(M, K, row_bytes, number_bytes):
    """Whether all of a product stays in the caches. It is one block then, whose size would take some 20 ns to
    compute."""
    return K <= K_BLOCK and K * row_bytes <= B_BYTES and M * row_bytes <= C_BYTES and M * K * number_bytes <= A_BYTES


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
    finish(v)   max(v, floor);  v where h > 0 else 0  (WHERE_POSITIVE);  v * (c0 + c1 h + c2 h**2)  (QUADRATIC);
                v * (c2 where h > 0 else c0 + c1 h)  (IN_TWO_PARTS)
    """
    lane = lanes(c)
    number_bytes = address(at(c, 1)) - address(c)
    most_terms = FEW_TERMS if M * c_row >= LARGE // number_bytes else FEWEST_TERMS
    if 0 < K <= most_terms and N >= MANY_VECTORS and derivative == NOTHING and floor == -np.inf:
        if accumulate:
            by_rows(c, c_row, a, a_row, a_k, b, b_k, M, N, K, True)
        else:
            by_rows(c, c_row, a, a_row, a_k, b, b_k, M, N, K, False)
        return
    cuts = cuts_of(M, N)
    row_bytes = N * lane * number_bytes  # of B and of C
    small = is_small(M, K, row_bytes, number_bytes)
    in_place = derivative != NOTHING and address(h) == address(c)  # partial sums would overwrite h before it is read
    long_sum = K >= LONG_SUM and row_bytes >= WIDE_ROW
    block = block_of(K, number_bytes, row_bytes) if (a_k != 1 or long_sum) and not in_place and not small else K
    k = types.int64(0)
    while k < K:
        terms = min(block, K - k)
        last = k + terms == K
        start = accumulate != 0 or k > 0
        block_floor = floor if last else -np.inf
        block_derivative = derivative if last else NOTHING
        # Rows of tiles that are walked for one column of them, and columns that are walked for all rows.
        a_bytes, column_bytes = terms * number_bytes, terms * MAX_VECTORS * lane * number_bytes
        together = cuts.row_parts
        if not small:
            together = min(A_BYTES // (MAX_ROWS * a_bytes), C_BYTES // (MAX_ROWS * row_bytes)) + 1
        side_by_side = B_BYTES // column_bytes + 1 if terms * row_bytes > 2 * B_BYTES else N
        for column in range(-cuts.wide_parts, cuts.column_parts, side_by_side):
            column_end = min(column + side_by_side, cuts.column_parts)
            for row in range(0, cuts.row_parts, together):
                cover(
                    c, c_row, at(a, k * a_k), a_row, a_k, at(b, k * b_k), b_k, terms, start, block_floor,
                    h, h_row, block_derivative, c0, c1, c2,
                    cuts, row, min(row + together, cuts.row_parts), column, column_end,
                )  # fmt: skip
        k += terms


class Cuts(NamedTuple):
    """How C is cut into tiles of even sizes: the first `taller` rows of tiles have rows + 1 rows, the first `wider`
    columns vectors + 1 vectors. Columns -wide_parts .. -1 are before them, for products of few rows."""

    rows: Any
    taller: Any
    row_parts: Any
    vectors: Any
    wider: Any
    column_parts: Any
    wide: Any
    wide_parts: Any


@njit(error_model="numpy")
def quotient(a, b):
    """a // b of what is not negative: of 32 bits, as it almost always is, in half the time."""
    if (a | b) >> 32:
        return a // b
    return types.int64(types.uint32(a) // types.uint32(b))


@njit(error_model="numpy")
def cuts_of(M, N):
    """The cuts of M rows of N vectors."""
    row_parts, wide = quotient(M + MAX_ROWS - 1, MAX_ROWS), widest(M)
    wide_parts = quotient(N, wide) if wide > MAX_VECTORS else 0
    narrow = N - wide_parts * wide
    column_parts = quotient(narrow + MAX_VECTORS - 1, MAX_VECTORS)
    rows, vectors = quotient(M, row_parts), quotient(narrow, column_parts) if column_parts else 0
    taller, wider = M - rows * row_parts, narrow - vectors * column_parts
    return Cuts(rows, taller, row_parts, vectors, wider, column_parts, wide, wide_parts)


@njit(error_model="numpy")
def cover(
    c, c_row, a, a_row, a_k, b, b_k, K, start, floor, h, h_row, derivative, c0, c1, c2,
    cuts, row, row_end, column, column_end,
):  # fmt: skip
    """The tiles of rows [row, row_end) and columns [column, column_end): columns outside, rows inside."""
    lane = lanes(c)
    above = min(cuts.taller, row)
    tall = min(cuts.taller, row_end) - above
    for place in range(column, column_end):
        if place < 0:
            width, n = cuts.wide, (place + cuts.wide_parts) * cuts.wide * lane
        else:
            width = cuts.vectors + (1 if place < cuts.wider else 0)
            n = (cuts.wide_parts * cuts.wide + place * cuts.vectors + min(place, cuts.wider)) * lane
        m = row * cuts.rows + above
        for lower in range(2):
            height, count = (cuts.rows, row_end - row - tall) if lower else (cuts.rows + 1, tall)
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
