"""Products of matrices whose operands are rounded to bfloat16, on CPUs that multiply pairs of them (AVX512_BF16).

The instruction takes two terms of a sum at once, `C[m, n] += A[m, k] B[k, n] + A[m, k + 1] B[k + 1, n]`: the pair of A
is a broadcast word of 32 bits, those of B are a vector of words. So blocks of both operands are rounded and put into
words first, on the stack. A block of B serves all rows of A and a panel of A at least eight vectors of B where there
are so many, which makes packing cheap (5% at 1024 x 1024 x 128), and nothing that is rounded needs a place in a plan.
Every element of C is one ascending chain over pairs of k, whatever the blocks: its bits depend neither on them nor on
how a product is split among threads.

    M rows of C and A     N columns of C and B     K terms of each sum
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

from .. import objects
from ..reference.dense import NOTHING
from .simd import address, at, lanes, lanes_below, load, select, splat, store, transpose_block
from .tile import _forbid_unrolling, _Tile
from .vectors import Vector, broadcast, call_llvm, load_vector, vector_type

MAX_ROWS, MAX_VECTORS = 8, 3  # 24 accumulators, 3 vectors of B and a broadcast fill 32 registers
PANEL = 16  # rows of A that are packed at once
MAX_PAIRS = 144  # pairs of k in a block: a panel of A takes 9 KiB of L1, the strip of B under a tile 27 KiB
B_VECTORS = 2304  # of words in a block of B: 144 KiB of L2
_A_ROW = (MAX_PAIRS + 15) // 16 * 16 + 16  # of a panel packed along rows; the 16 keep rows apart in L1

_I64 = ir.IntType(64)
_NUMBERS, _WORDS = Vector(types.float32, 16), Vector(types.int32, 16)
_HALVES = ir.VectorType(ir.IntType(16), 32)


def _int(value: int) -> ir.Constant:
    return ir.Constant(_I64, value)


# Words. LLVM's parser brings the intrinsics' types up to date: it had integers where it has bfloat now.


def _rounded(builder: Any, first: Any, second: Any) -> Any:
    """Two vectors of numbers as bfloat16, one behind the other."""
    return call_llvm(builder, "llvm.x86.avx512bf16.cvtne2ps2bf16.512", _HALVES, second, first)


@intrinsic
def words_of_two(typingctx, first, second):
    """Each word has a number of `first` below and one of `second` above."""

    def emit(context, builder, sig, args):
        halves = _rounded(builder, *args)
        order = [lane // 2 + lane % 2 * 16 for lane in range(32)]
        mixed = builder.shuffle_vector(halves, halves, ir.Constant(ir.VectorType(ir.IntType(32), 32), order))
        return builder.bitcast(mixed, vector_type(_WORDS))

    return _WORDS(_NUMBERS, _NUMBERS), emit


@intrinsic
def words_of_neighbours(typingctx, first, second):
    """Words of 32 numbers in a row, which are two vectors."""

    def emit(context, builder, sig, args):
        return builder.bitcast(_rounded(builder, *args), vector_type(_WORDS))

    return _WORDS(_NUMBERS, _NUMBERS), emit


@njit(error_model="numpy")
def _words_of_row(x, count):
    """Those of 32 numbers in a row, of which `count` are there and the others count as zeros."""
    if count >= 32:
        return words_of_neighbours(load(x, 0), load(x, 16))
    if count > 16:
        return words_of_neighbours(load(x, 0), select(lanes_below(x, count - 16), load(x, 16), 0.0))
    if count > 0:
        return words_of_neighbours(select(lanes_below(x, count), load(x, 0), 0.0), splat(x, 0.0))
    return words_of_neighbours(splat(x, 0.0), splat(x, 0.0))


@njit(error_model="numpy")
def _pack_across(out, vectors, x, x_row, terms):
    """out[pair, j] = word of x[2 pair, j] and x[2 pair + 1, j], `vectors` vectors of j; x_row from row to row of x."""
    place = 0
    for k in range(0, terms, 2):
        for j in range(0, 16 * vectors, 16):
            second = load(x, (k + 1) * x_row + j) if k + 1 < terms else splat(x, 0.0)
            store(out, place, words_of_two(load(x, k * x_row + j), second))
            place += 16


@njit(error_model="numpy")
def _pack_along(out, out_row, x, x_row, rows, terms):
    """out[row, pair] = word of x[row, 2 pair] and x[row, 2 pair + 1]; 16 pairs at a time, zeros behind the last."""
    for row in range(rows):
        for k in range(0, terms, 32):
            store(out, row * out_row + k // 2, _words_of_row(at(x, row * x_row + k), terms - k))


@njit(error_model="numpy")
def _pack_turned(out, vectors, x, x_row, columns, terms, words, turned):
    """out[pair, j] = word of x[j, 2 pair] and x[j, 2 pair + 1], `vectors` vectors of them; zeros from `columns` on.

    words, turned   room for 16 vectors of words
    """
    for j in range(0, 16 * vectors, 16):
        for k in range(0, terms, 32):
            for row in range(16):
                if j + row < columns:
                    store(words, 16 * row, _words_of_row(at(x, (j + row) * x_row + k), terms - k))
                else:
                    store(words, 16 * row, _words_of_row(x, 0))
            transpose_block(turned, 16, words, 16, 16)
            for pair in range(min(16, (terms - k + 1) // 2)):
                store(out, (k // 2 + pair) * 16 * vectors + j, load(turned, 16 * pair))


# The tile.


class _PairTile(_Tile):
    """The register tile of `tile.py` over pairs of terms."""

    def accumulate_pairs(
        self, a: Any, a_row: Any, a_pair: Any, b: Any, pairs: Any, start: list[list[Any]], ahead: tuple[Any, ...]
    ) -> list[list[Any]]:
        """The loop over pairs of k, which in each step asks for a cache line of what is packed next."""
        builder, lanes, words = self.builder, self.vector.count, vector_type(_WORDS)
        a_rows = [builder.gep(a, [builder.mul(a_row, _int(row))]) for row in range(self.rows)]
        before, loop = builder.block, builder.append_basic_block("pairs")
        after = builder.append_basic_block("pairs.done")
        builder.branch(loop)
        builder.position_at_end(loop)
        pair, a_offset, b_place = builder.phi(_I64), builder.phi(_I64), builder.phi(b.type)
        for phi, value in ((pair, _int(0)), (a_offset, _int(0)), (b_place, b)):
            phi.add_incoming(value, before)
        sums = [[builder.phi(self.vector) for _ in row] for row in start]
        places = [builder.gep(b_place, [_int(v * lanes)]) for v in range(self.vectors)]
        columns = [load_vector(builder, place, words) for place in places]
        added = []
        for row, row_sums in enumerate(sums):
            word = builder.load(builder.gep(a_rows[row], [a_offset]))
            factor = broadcast(builder, word, words)
            name = "llvm.x86.avx512bf16.dpbf16ps.512"
            added.append(
                [call_llvm(builder, name, self.vector, s, factor, b) for b, s in zip(columns, row_sums, strict=True)]
            )
        self._fetch(pair, *ahead)
        done = builder.add(pair, _int(1))
        pair.add_incoming(done, loop)
        a_offset.add_incoming(builder.add(a_offset, a_pair), loop)
        b_place.add_incoming(builder.gep(b_place, [_int(lanes * self.vectors)]), loop)
        for row_sums, row_start, row_added in zip(sums, start, added, strict=True):
            for phi, first, value in zip(row_sums, row_start, row_added, strict=True):
                phi.add_incoming(first, before)
                phi.add_incoming(value, loop)
        branch = builder.cbranch(builder.icmp_signed("!=", done, pairs), loop, after)
        _forbid_unrolling(builder.module, branch)
        builder.position_at_end(after)
        return added

    def _fetch(self, step: Any, start: Any, mask: Any, shift: Any, inner: Any, outer: Any) -> None:
        builder = self.builder
        inside = builder.mul(builder.and_(step, mask), inner)
        place = builder.add(builder.add(start, inside), builder.mul(builder.ashr(step, shift), outer))
        byte = builder.inttoptr(place, ir.IntType(8).as_pointer())
        flags = [ir.Constant(ir.IntType(32), flag) for flag in (0, 3, 1)]  # for reading, into all levels, data
        call_llvm(builder, "llvm.prefetch.p0", ir.VoidType(), byte, *flags)


@intrinsic
def _tile(
    typingctx, c, c_row, a, a_row, a_pair, b, height, width, pairs, loaded, floor, h, h_row, derivative, c0, c1, c2,
    ahead, mask, shift, inner, outer,
):  # fmt: skip
    """One tile of `height` rows and `width` vectors: a switch over all shapes, each with its own registers and loop.

    a, b     words: a_row from row to row and a_pair from pair to pair of a, a strip of `width` vectors of b
    loaded   the sums begin with what is in c, not with zeros
    ahead    step i asks for the cache line at the address ahead + (i & mask) inner + (i >> shift) outer
    """
    i, real, vector = types.int64, types.float64, vector_type(_NUMBERS)
    sig = types.void(c, i, a, i, i, b, i, i, i, types.boolean, real, c, i, i, real, real, real, i, i, i, i, i)

    def emit(context, builder, sig, args):
        c, c_row, a, a_row, a_pair, b, height, width, pairs, loaded = args[:10]
        h, h_row, derivative = args[11:14]
        scalars = [context.cast(builder, s, types.float64, types.float32) for s in (args[10], *args[14:17])]
        done = builder.append_basic_block("tile.done")
        shape = builder.add(builder.mul(width, _int(MAX_ROWS + 1)), height)
        switch = builder.switch(shape, done)
        for vectors in range(1, MAX_VECTORS + 1):
            for rows in range(1, MAX_ROWS + 1):
                block = builder.append_basic_block(f"tile.{rows}x{vectors}")
                switch.add_case(_int(vectors * (MAX_ROWS + 1) + rows), block)
                builder.position_at_end(block)
                one = _PairTile(builder, vector, rows, vectors)
                start = one.starting_values(c, c_row, loaded)
                sums = one.accumulate_pairs(a, a_row, a_pair, b, pairs, start, args[17:])
                one.finish(sums, c, c_row, scalars[0], h, h_row, derivative, scalars[1:])
                builder.branch(done)
        builder.position_at_end(done)
        return context.get_dummy_value()

    return sig, emit


# The product.


def _room(vectors: int) -> Callable[[], Any]:
    """A function that returns room for so many vectors of words, on the stack of the kernel that calls it."""

    @intrinsic
    def room(typingctx):
        def emit(context, builder, sig, args):
            with builder.goto_entry_block():  # Numba's own function would fill it with zeros
                memory = builder.alloca(ir.ArrayType(ir.IntType(32), vectors * 16))
            memory.align = 64
            return builder.bitcast(memory, ir.IntType(32).as_pointer())

        return types.CPointer(types.int32)(), emit

    return room  # type: ignore[no-any-return]


_room_of_a, _room_of_b, _room_of_square = _room(PANEL * _A_ROW // 16), _room(B_VECTORS), _room(16)


@njit(error_model="numpy")
def _parts(length, size):
    return (length + size - 1) // size


@njit(error_model="numpy")
def _pack_columns(words, b, b_k, b_column, n, vectors, columns, k, terms, square, turned):
    """Packs vectors [n, n + vectors) of the columns of B, the terms [k, k + terms), strip by strip."""
    parts, place = _parts(vectors, MAX_VECTORS), 0
    for part in range(parts):
        width = vectors // parts + (1 if part < vectors % parts else 0)
        corner = at(b, k * b_k + n * 16 * b_column)
        if b_column == 1:
            _pack_across(at(words, place), width, corner, b_k, terms)
        else:
            _pack_turned(at(words, place), width, corner, b_column, columns - n * 16, terms, square, turned)
        place += (terms + 1) // 2 * 16 * width
        n += width


def product_bf16(
    c, c_row, a, a_row, a_k, b, b_k, b_column, M, N, K, accumulate, floor, h, h_row, derivative, c0, c1, c2
):
    """C = finish(A B) or, with `accumulate`, finish(C + A B), on pointers: blocks of columns outside, blocks of k
    within them, panels of rows inside.

    One of A's strides is 1 and one of B's; rows along the contiguous axis of an operand are padded to whole vectors.

    c           c_row numbers from row to row
    h           h_row numbers from row to row; read only if derivative != NOTHING; not c, where partial sums are kept
    a           a_row from m to m, a_k from k to k
    b           b_k from k to k, b_column from n to n
    finish(v)   as in `product.product`
    """
    panel, words, square, turned = _room_of_a(), _room_of_b(), _room_of_square(), _room_of_square()
    vectors, pairs = _parts(N, lanes(c)), _parts(K, 2)
    block = _parts(pairs, _parts(pairs, MAX_PAIRS))
    groups = _parts(vectors, B_VECTORS // block)
    along = a_k == 1
    panel_row, panel_pair = (_A_ROW, 1) if along else (1, PANEL)
    n = types.int64(0)
    for group in range(groups):
        width = vectors // groups + (1 if group < vectors % groups else 0)
        for k in range(0, K, 2 * block):
            terms = min(2 * block, K - k)
            last = k + terms == K
            loaded = accumulate != 0 or k > 0
            tile_floor, tile_derivative = (floor, derivative) if last else (-np.inf, NOTHING)
            _pack_columns(words, b, b_k, b_column, n, width, N, k, terms, square, turned)
            for m in range(0, M, PANEL):
                rows, height = at(a, m * a_row + k * a_k), min(PANEL, M - m)
                if along:
                    _pack_along(panel, _A_ROW, rows, a_row, height, terms)
                else:
                    _pack_across(panel, 1, rows, a_k, terms)
                next_rows = address(at(rows, PANEL * a_row)) if m + PANEL < M else 0
                row_parts, column_parts = _parts(height, MAX_ROWS), _parts(width, MAX_VECTORS)
                i = types.int64(0)
                for row_part in range(row_parts):
                    tile_rows = height // row_parts + (1 if row_part < height % row_parts else 0)
                    j = types.int64(0)
                    for column_part in range(column_parts):
                        tile_vectors = width // column_parts + (1 if column_part < width % column_parts else 0)
                        strip = at(words, j * _parts(terms, 2) * 16)
                        if next_rows == 0 or column_part > 0:
                            ahead, mask, shift, inner, outer = address(strip), 0, 0, 0, 0
                        elif along:  # eight rows, a line of each in turn
                            ahead, mask, shift, inner, outer = next_rows + row_part * 32 * a_row, 7, 3, 4 * a_row, 64
                        else:  # every other row
                            ahead, mask, shift, inner, outer = next_rows + row_part * 4 * a_k, 0, 0, 0, 8 * a_k
                        place = (n + j) * 16
                        _tile(
                            at(c, (m + i) * c_row + place), c_row, at(panel, i * panel_row), panel_row, panel_pair,
                            strip, tile_rows, tile_vectors, _parts(terms, 2), loaded, tile_floor,
                            at(h, (m + i) * h_row + place), h_row, tile_derivative, c0, c1, c2,
                            ahead, mask, shift, inner, outer,
                        )  # fmt: skip
                        j += tile_vectors
                    i += tile_rows
        n += width


def product_bf16_signature(dtype: Any) -> Any:
    """The Numba signature of `product_bf16`; the dtype is float32."""
    p, i = types.CPointer(dtype), types.int64
    return types.void(p, i, p, i, i, p, i, i, i, i, i, i, types.float64, p, i, i, *[types.float64] * 3)


@intrinsic
def call_product_bf16(
    typingctx, c, c_row, a, a_row, a_k, b, b_k, b_column, M, N, K, accumulate, floor, h, h_row, derivative, c0, c1, c2
):
    """`product_bf16`, compiled once into an object of its own and called through its symbol."""
    sig = product_bf16_signature(c.dtype)

    def emit(context, builder, sig, args):
        function_type = ir.FunctionType(ir.VoidType(), [context.get_value_type(t) for t in sig.args])
        symbol = objects.symbol("product_bf16", "float32")
        function = cgutils.get_or_insert_function(builder.module, function_type, symbol)
        builder.call(function, args)
        return context.get_dummy_value()

    return sig, emit
