"""Products as dot products.

Both operands lie with the axis of the sums contiguous. Each element of C is a vector of partial sums, one for each
lane, ascending over the terms, and at the end the sum of the lanes, halves first. That last sum costs some instructions
per element.

Weight gradients sum over the batch; the alternative is to transpose an operand, which costs some instructions per
number: dot products are faster for few rows of C or many rows of the batch. The other two products, of few rows of the
batch and weights whose rows are summed over, read each weight once and spend nothing on padding.
"""

from typing import Any

from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

from ..cpu import vector_registers
from .product import AT_ONCE
from .simd import at, lanes, load, store, transpose_block
from .vectors import fused_multiply_add, lanes_below_vector, load_vector, store_vector, vector_of, vector_type

_I32, _I64 = ir.IntType(32), ir.IntType(64)

# Rows of A that are walked side by side: more of them, whole pages apart, would not fit into L1.
_MOST_STREAMS = 8


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


# Few columns of B, in rows of a scratch; many rows of A.


@intrinsic
def _sums_at_once(typingctx, p):
    return types.int64(p), lambda context, builder, sig, args: _int(vector_registers() // 2)


@njit(error_model="numpy")
def few_sums(sums, a, a_row, x, M, terms, accumulate, batch):
    """sums[i, j] (+)= sum over t of A[i, t] X[j, t]: M rows of A, `batch` (1, 2, 4 or 8) of X, which has AT_ONCE
    numbers."""
    whole, m = _sums_at_once(x) // batch, types.int64(0)
    for rows in (whole, types.int64(4), types.int64(1)):
        if rows <= whole:
            count = (M - m) // rows
            _few_blocks(at(sums, m * batch), at(a, m * a_row), a_row, x, terms, accumulate, rows, batch, count)
            m += count * rows


@intrinsic
def _few_blocks(typingctx, sums, a, a_row, x, terms, accumulate, rows, batch, count):
    """The same for `count` times `rows` rows: a switch over all shapes, each with its own registers and loops."""
    i = types.int64
    vector = vector_type(vector_of(a.dtype))
    sig = types.void(sums, a, i, x, i, i, i, i, i)

    def emit(context, builder, sig, args):
        sums, a, a_row, x, terms, accumulate, rows, batch, count = args
        shape, done = builder.add(builder.mul(rows, _int(16)), batch), builder.append_basic_block("few.done")
        choice = builder.append_basic_block("few.choice")
        builder.cbranch(builder.icmp_signed(">", count, _int(0)), choice, done)
        builder.position_at_end(choice)
        switch = builder.switch(shape, done)
        for many, columns in _few_shapes(vector.count):
            start, loop = (builder.append_basic_block(f"few.{n}.{many}x{columns}") for n in ("start", "loop"))
            switch.add_case(_int(many * 16 + columns), start)
            builder.position_at_end(start)
            builder.branch(loop)
            builder.position_at_end(loop)
            left, place, first = builder.phi(_I64), builder.phi(sums.type), builder.phi(a.type)
            _few_block(builder, vector, place, first, a_row, x, terms, accumulate, many, columns)
            still = builder.sub(left, _int(1))
            next_place, next_first = (
                builder.gep(place, [_int(many * columns)]),
                builder.gep(first, [builder.mul(a_row, _int(many))]),
            )
            for phi, before, after in ((left, count, still), (place, sums, next_place), (first, a, next_first)):
                phi.add_incoming(before, start)
                phi.add_incoming(after, builder.block)
            builder.cbranch(builder.icmp_signed("!=", still, _int(0)), loop, done)
        builder.position_at_end(done)
        return context.get_dummy_value()

    return sig, emit


def _few_shapes(lanes: int) -> list[tuple[int, int]]:
    """(rows, batch) of the blocks of `few_sums`."""
    shapes = {
        (rows, batch)
        for batch in (1, 2, 4, 8)
        if 2 * batch <= lanes
        for rows in (vector_registers() // 2 // batch, 4, 1)
        if rows <= vector_registers() // 2 // batch
    }
    return sorted(shapes)


def _few_block(
    builder: Any, vector: Any, sums: Any, a: Any, a_row: Any, x: Any, terms: Any, accumulate: Any, rows: int, batch: int
) -> None:
    lanes, zero = vector.count, ir.Constant(vector, None)
    x_rows = [builder.gep(x, [_int(j * (AT_ONCE // batch))]) for j in range(batch)]
    streams = min(rows, _MOST_STREAMS)
    ordered = []
    for first in range(0, rows, streams):
        a_rows = [builder.gep(a, [builder.mul(a_row, _int(first + i))]) for i in range(streams)]
        parts = _all_terms(builder, vector, x_rows, a_rows, terms)
        ordered += [parts[j][i] for i in range(streams) for j in range(batch)]
    again = builder.icmp_signed("!=", accumulate, _int(0))
    for n in range(0, rows * batch, lanes):
        some = ordered[n : n + lanes]
        place = builder.gep(sums, [_int(n)])
        sum = _sums_of_lanes(builder, some + [zero] * (lanes - len(some)))
        before = load_vector(builder, place, vector)
        total = builder.select(again, builder.fadd(before, sum), sum)
        if len(some) < lanes:
            total = builder.select(lanes_below_vector(builder, _int(len(some)), lanes), total, before)
        store_vector(builder, total, place)


@njit(error_model="numpy")
def gather_columns(x, batch, across, b, b_k, terms):
    """x[j, t] = b[t, j] for `batch` columns of b; rows of x have AT_ONCE / batch numbers. `across` is a scratch."""
    if batch == 1:
        for t in range(terms):
            x[t] = b[t * b_k]
        return
    lane, row = lanes(x), AT_ONCE // batch
    whole = terms // lane * lane
    for t in range(0, whole, lane):
        transpose_block(across, lane, at(b, t * b_k), b_k, lane)
        for j in range(batch):
            store(x, j * row + t, load(across, j * lane))
    for t in range(whole, terms):
        for j in range(batch):
            x[j * row + t] = b[t * b_k + j]
