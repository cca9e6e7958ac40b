"""Products of matrices whose operands are rounded to bfloat16 (words.py), on CPUs that multiply vectors of pairs
(AVX512_BF16).

The instruction takes two terms of a sum at once, `C[m, n] += A[m, k] B[k, n] + A[m, k + 1] B[k + 1, n]`: the pair of A
is a broadcast word, those of B are a vector of words. A block of B serves all rows of A and a panel of A at least eight
vectors of B where there are so many, which makes packing cheap (5% at 1024 x 1024 x 128), and nothing that is rounded
needs a place in a plan. Every element of C is one ascending chain over pairs of k, whatever the blocks: its bits depend
neither on them nor on how a product is split among threads.
"""

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from ..reference.dense import NOTHING
from .simd import address, at, lanes
from .tile import _forbid_unrolling, _Tile
from .vectors import broadcast, call_llvm, load_vector, vector_type
from .words import NUMBERS, WORDS, pack_across, pack_along, pack_columns, parts, room

MAX_ROWS, MAX_VECTORS = 8, 3  # 24 accumulators, 3 vectors of B and a broadcast fill 32 registers
PANEL = 16  # rows of A that are packed at once
MAX_PAIRS = 144  # pairs of k in a block: a panel of A takes 9 KiB of L1, the strip of B under a tile 27 KiB
B_VECTORS = 2304  # of words in a block of B: 144 KiB of L2
_A_ROW = (MAX_PAIRS + 15) // 16 * 16 + 16  # of a panel packed along rows; the 16 keep rows apart in L1

_I64 = ir.IntType(64)


def _int(value: int) -> ir.Constant:
    return ir.Constant(_I64, value)


# The tile.


class _PairTile(_Tile):
    """The register tile of `tile.py` over pairs of terms."""

    def accumulate_pairs(
        self, a: Any, a_row: Any, a_pair: Any, b: Any, pairs: Any, start: list[list[Any]], ahead: tuple[Any, ...]
    ) -> list[list[Any]]:
        """The loop over pairs of k, which in each step asks for a cache line of what is packed next."""
        builder, lanes, words = self.builder, self.vector.count, vector_type(WORDS)
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
    i, real, vector = types.int64, types.float64, vector_type(NUMBERS)
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


_room_of_a, _room_of_b, _room_of_square = room(PANEL * _A_ROW // 16), room(B_VECTORS), room(16)


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
    vectors, pairs = parts(N, lanes(c)), parts(K, 2)
    block = parts(pairs, parts(pairs, MAX_PAIRS))
    groups = parts(vectors, B_VECTORS // block)
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
            pack_columns(words, b, b_k, b_column, n, width, N, k, terms, parts(terms, 2), MAX_VECTORS, square, turned)
            for m in range(0, M, PANEL):
                rows, height = at(a, m * a_row + k * a_k), min(PANEL, M - m)
                if along:
                    pack_along(panel, _A_ROW, rows, a_row, height, terms)
                else:
                    pack_across(panel, 1, rows, a_k, terms)
                next_rows = address(at(rows, PANEL * a_row)) if m + PANEL < M else 0
                row_parts, column_parts = parts(height, MAX_ROWS), parts(width, MAX_VECTORS)
                i = types.int64(0)
                for row_part in range(row_parts):
                    tile_rows = height // row_parts + (1 if row_part < height % row_parts else 0)
                    j = types.int64(0)
                    for column_part in range(column_parts):
                        tile_vectors = width // column_parts + (1 if column_part < width % column_parts else 0)
                        strip = at(words, j * parts(terms, 2) * 16)
                        if next_rows == 0 or column_part > 0:
                            ahead, mask, shift, inner, outer = address(strip), 0, 0, 0, 0
                        elif along:  # eight rows, a line of each in turn
                            ahead, mask, shift, inner, outer = next_rows + row_part * 32 * a_row, 7, 3, 4 * a_row, 64
                        else:  # every other row
                            ahead, mask, shift, inner, outer = next_rows + row_part * 4 * a_k, 0, 0, 0, 8 * a_k
                        place = (n + j) * 16
                        _tile(
                            at(c, (m + i) * c_row + place), c_row, at(panel, i * panel_row), panel_row, panel_pair,
                            strip, tile_rows, tile_vectors, parts(terms, 2), loaded, tile_floor,
                            at(h, (m + i) * h_row + place), h_row, tile_derivative, c0, c1, c2,
                            ahead, mask, shift, inner, outer,
                        )  # fmt: skip
                        j += tile_vectors
                    i += tile_rows
        n += width
