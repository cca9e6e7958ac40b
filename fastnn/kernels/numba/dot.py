"""Weight gradients as dot products, without a transposition.

Both operands lie with the batch contiguous. Each element of C is a vector of partial sums, one for each lane, ascending
over the batch, and at the end the sum of the lanes, halves first. That last sum costs some instructions per element, a
transposition some per number of an operand: this form is the faster one for few rows of C or many rows of the batch.
"""

from typing import Any

from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

from ..cpu import vector_registers
from .simd import (
    at,
    fused_multiply_add,
    lanes,
    lanes_below_vector,
    load_vector,
    store_vector,
    vector_of,
    vector_type,
)

_I32, _I64 = ir.IntType(32), ir.IntType(64)


def _block_shape(lanes: int) -> tuple[int, int]:
    """Rows and columns of the sums that are in registers at once, half of those that there are: as many loads as the
    multiplications leave time for, and enough sums to hide the latency of an addition. Two such blocks lie side by side
    where one is half a vector wide."""
    sums = vector_registers() // 2
    columns = min(lanes, sums // 2)
    return sums // columns, columns


@intrinsic
def rows_at_once(typingctx, p):
    """Rows of C that `several` computes."""
    rows, _ = _block_shape(vector_of(p.dtype).lanes)
    return types.int64(p), lambda context, builder, sig, args: ir.Constant(_I64, rows)


@njit(error_model="numpy")
def dots(c, c_row, a, a_row, b, b_row, M, vectors, terms, accumulate):
    """C (+)= A B^T on pointers: M rows of A and C, `vectors` vectors in a row of C, that many rows of B and what lies
    behind them."""
    together, lane = rows_at_once(c), lanes(c)
    for n in range(vectors):
        columns, rows_of_b = n * lane, at(b, n * lane * b_row)
        whole = M // together * together
        for m in range(0, whole, together):
            several(at(c, m * c_row + columns), c_row, at(a, m * a_row), a_row, rows_of_b, b_row, terms, accumulate)
        for m in range(whole, M):
            one(at(c, m * c_row + columns), c_row, at(a, m * a_row), a_row, rows_of_b, b_row, terms, accumulate)


@intrinsic
def several(typingctx, c, c_row, a, a_row, b, b_row, terms, accumulate):
    """C[i, j] (+)= sum over b of A[i, b] B[j, b] for `rows_at_once` rows of C and one vector of columns."""
    return _rows(c, *_block_shape(vector_of(c.dtype).lanes))


@intrinsic
def one(typingctx, c, c_row, a, a_row, b, b_row, terms, accumulate):
    """The same for one row."""
    return _rows(c, 1, vector_of(c.dtype).lanes)


def _rows(c: Any, rows: int, columns: int) -> Any:
    i = types.int64
    vector = vector_type(vector_of(c.dtype))
    lanes = vector.count
    sig = types.void(c, i, c, i, c, i, i, i)

    def emit(context, builder, sig, args):
        c, c_row, a, a_row, b, b_row, terms, accumulate = args
        a_rows = [builder.gep(a, [builder.mul(a_row, _int(row))]) for row in range(rows)]
        b_rows = [builder.gep(b, [builder.mul(b_row, _int(row))]) for row in range(lanes)]
        blocks = [
            _all_terms(builder, vector, a_rows, b_rows[first : first + columns], terms)
            for first in range(0, lanes, columns)
        ]
        if columns == lanes:
            totals = [_sums_of_lanes(builder, row) for row in blocks[0]]
        else:  # two rows, half a vector of each in either block
            left, right = (_sums_of_lanes(builder, [*block[0], *block[1]]) for block in blocks)
            halves = [[*range(first, first + columns)] for first in (0, lanes, columns, lanes + columns)]
            totals = [
                builder.shuffle_vector(left, right, ir.Constant(ir.VectorType(_I32, lanes), halves[n] + halves[n + 1]))
                for n in (0, 2)
            ]
        for row, total in enumerate(totals):
            place = builder.gep(c, [builder.mul(c_row, _int(row))])
            before = builder.fadd(load_vector(builder, place, vector), total)
            store_vector(builder, builder.select(builder.icmp_signed("!=", accumulate, _int(0)), before, total), place)
        return context.get_dummy_value()

    return sig, emit


def _int(value: int) -> ir.Constant:
    return ir.Constant(_I64, value)


def _all_terms(builder: Any, vector: Any, a_rows: list[Any], b_rows: list[Any], terms: Any) -> list[list[Any]]:
    """The partial sums: whole vectors in a loop, then what is left, the lanes behind it as zeros."""
    lanes, zero = vector.count, ir.Constant(vector, None)
    start, test, loop, rest, done = builder.block, *(builder.append_basic_block(f"dot.{n}") for n in range(4))
    whole = builder.and_(terms, _int(-lanes))
    builder.branch(test)

    builder.position_at_end(test)
    place = builder.phi(_I64)
    sums = [[builder.phi(vector) for _ in b_rows] for _ in a_rows]
    builder.cbranch(builder.icmp_signed("<", place, whole), loop, rest)

    builder.position_at_end(loop)
    added = _products(builder, vector, a_rows, b_rows, place, sums, lambda value: value)
    place.add_incoming(_int(0), start)
    place.add_incoming(builder.add(place, _int(lanes)), loop)
    for row, row_added in zip(sums, added, strict=True):
        for phi, value in zip(row, row_added, strict=True):
            phi.add_incoming(zero, start)
            phi.add_incoming(value, loop)
    builder.branch(test)

    builder.position_at_end(rest)
    valid = lanes_below_vector(builder, builder.sub(terms, whole), lanes)
    some = builder.append_basic_block("dot.some")
    builder.cbranch(builder.icmp_signed("<", whole, terms), some, done)
    builder.position_at_end(some)
    # 0 * NaN is NaN: what lies behind the last row must not be multiplied.
    last = _products(builder, vector, a_rows, b_rows, whole, sums, lambda value: builder.select(valid, value, zero))
    builder.branch(done)

    builder.position_at_end(done)
    merged = [[builder.phi(vector) for _ in row] for row in sums]
    for row, before, after in zip(merged, sums, last, strict=True):
        for phi, without, with_rest in zip(row, before, after, strict=True):
            phi.add_incoming(without, rest)
            phi.add_incoming(with_rest, some)
    return merged


def _products(builder: Any, vector: Any, a_rows: Any, b_rows: Any, place: Any, sums: Any, masked: Any) -> Any:
    """The partial sums with the products of one vector of the batch added."""
    factors = [masked(load_vector(builder, builder.gep(row, [place]), vector)) for row in a_rows]
    added: list[list[Any]] = [[] for _ in a_rows]
    for j, row in enumerate(b_rows):
        column = masked(load_vector(builder, builder.gep(row, [place]), vector))
        for i, factor in enumerate(factors):
            added[i].append(fused_multiply_add(builder, factor, column, sums[i][j]))
    return added


def _sums_of_lanes(builder: Any, values: list[Any]) -> Any:
    """Lane j is the sum of the lanes of values[j]: rounds of a transposition whose halves are added."""
    size = len(values)
    distance = size // 2
    while distance:
        index = [(lane if not lane & distance else size + lane - distance) for lane in range(size)]
        low = ir.Constant(ir.VectorType(_I32, size), index)
        high = ir.Constant(ir.VectorType(_I32, size), [k + distance for k in index])
        values = [
            builder.fadd(builder.shuffle_vector(v, w, low), builder.shuffle_vector(v, w, high))
            for v, w in zip(values[:distance], values[distance : 2 * distance], strict=True)
        ]
        distance //= 2
    return values[0]
