"""Products of matrices whose operands are rounded to bfloat16 (words.py), on CPUs with a matrix unit (AMX_BF16).

Its eight registers are tiles of 16 rows of 16 words. One instruction multiplies a tile of A with one of B, 32 terms of
256 sums in 16 cycles: sixteen times as fast as fused multiply-adds. It adds up the even terms and the odd terms by
themselves and the two sums to C, with subnormal numbers as zeros: every element of C is one ascending chain over 32
terms at a time, so that its bits depend neither on the blocks nor on how a product is split among threads.

Four tiles of C, 32 rows and 32 columns, are in registers while the terms of a block go by. Where a panel of A has fewer
rows, the tiles have fewer, too: nothing is read or written behind the last row.
"""

from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

from ..reference.dense import IN_TWO_PARTS, NOTHING, WHERE_POSITIVE
from .simd import at, fma, load, select, splat, store, transpose_block
from .vectors import call_llvm
from .words import pack_across, pack_along, pack_columns, parts, room

TILE = 16  # rows of a tile, and words in a row
PANEL = 2 * TILE  # rows of A that are packed at once
MAX_VECTORS = 2  # in a strip of B
MAX_PAIRS = 16 * TILE  # of k in a block: a panel of A takes 32 KiB of L1
B_VECTORS = 4096  # of words in a block of B: 256 KiB of L2
A_ROW = MAX_PAIRS + TILE  # words from row to row of a panel, which keeps rows apart in L1

_I8, _I16, _I64 = ir.IntType(8), ir.IntType(16), ir.IntType(64)
_VOID = ir.VoidType()
_LEFT, _RIGHT = 4, 6  # registers: those before are tiles of C, then two of A and two of B


def _int(value: int) -> ir.Constant:
    return ir.Constant(_I64, value)


def _register(number: int) -> ir.Constant:
    return ir.Constant(_I8, number)


def _bytes(builder: Any, pointer: Any, offset: Any = None) -> Any:
    """A pointer to numbers, some of them further on, as one to bytes."""
    place = pointer if offset is None else builder.gep(pointer, [offset])
    return builder.bitcast(place, _I8.as_pointer())


@intrinsic
def set_shapes(typingctx, upper, lower):
    """Says what the registers are: tiles whose rows have TILE words, with that many rows where they are of the upper
    and of the lower rows of a panel. 64 bytes: the palette, at 16 the bytes of a row, at 48 the rows of each tile."""

    def emit(context, builder, sig, args):
        with builder.goto_entry_block():
            shapes = builder.alloca(ir.ArrayType(_I8, 64))
        shapes.align = 64
        builder.store(ir.Constant(ir.ArrayType(_I8, 64), None), shapes)
        start = _bytes(builder, shapes)
        builder.store(ir.Constant(_I8, 1), start)
        high, low = (builder.trunc(rows, _I8) for rows in args)
        of_b = ir.Constant(_I8, TILE)
        for number, rows in enumerate((high, high, low, low, high, low, of_b, of_b)):
            row_bytes = builder.select(
                builder.icmp_signed("!=", rows, ir.Constant(_I8, 0)), ir.Constant(_I16, 4 * TILE), ir.Constant(_I16, 0)
            )
            place = builder.bitcast(builder.gep(start, [_int(16 + 2 * number)]), _I16.as_pointer())
            builder.store(row_bytes, place)
            builder.store(rows, builder.gep(start, [_int(48 + number)]))
        call_llvm(builder, "llvm.x86.ldtilecfg", _VOID, start)
        return context.get_dummy_value()

    return types.void(types.int64, types.int64), emit


@intrinsic
def release(typingctx):
    """Gives the registers back."""

    def emit(context, builder, sig, args):
        call_llvm(builder, "llvm.x86.tilerelease", _VOID)
        return context.get_dummy_value()

    return types.void(), emit


def _multiply(builder: Any, rows: int, vectors: int, c: Any, c_row: Any, a: Any, b: Any, pairs: Any, zero: Any) -> None:
    """`rows` x `vectors` tiles of C (+)= A B, where `pairs` is a multiple of TILE."""
    tiles = [(i, j) for i in range(rows) for j in range(vectors)]
    bytes_of_c, b_row = builder.mul(c_row, _int(4)), _int(4 * TILE * vectors)

    def move(name: str, i: int, j: int) -> None:
        offset = builder.add(builder.mul(c_row, _int(i * TILE)), _int(j * TILE))
        call_llvm(builder, name, _VOID, _register(2 * i + j), _bytes(builder, c, offset), bytes_of_c)

    with builder.if_else(zero) as (from_zero, from_c):
        with from_zero:
            for i, j in tiles:
                call_llvm(builder, "llvm.x86.tilezero", _VOID, _register(2 * i + j))
        with from_c:
            for i, j in tiles:
                move("llvm.x86.tileloadd64", i, j)
    before, loop, after = builder.block, builder.append_basic_block("pairs"), builder.append_basic_block("pairs.done")
    builder.branch(loop)
    builder.position_at_end(loop)
    pair = builder.phi(_I64)
    pair.add_incoming(_int(0), before)
    for j in range(vectors):
        place = builder.add(builder.mul(pair, _int(TILE * vectors)), _int(j * TILE))
        call_llvm(
            builder, "llvm.x86.tileloadd64", _VOID, _register(_RIGHT + j), _bytes(builder, b, place), b_row
        )  # fmt: skip
    for i in range(rows):
        place = builder.add(pair, _int(i * TILE * A_ROW))
        call_llvm(
            builder, "llvm.x86.tileloadd64", _VOID, _register(_LEFT + i), _bytes(builder, a, place), _int(4 * A_ROW)
        )
    for i, j in tiles:
        numbers = (2 * i + j, _LEFT + i, _RIGHT + j)
        call_llvm(builder, "llvm.x86.tdpbf16ps", _VOID, *(_register(number) for number in numbers))
    done = builder.add(pair, _int(TILE))
    pair.add_incoming(done, loop)
    builder.cbranch(builder.icmp_signed("<", done, pairs), loop, after)
    builder.position_at_end(after)
    for i, j in tiles:
        move("llvm.x86.tilestored64", i, j)


@intrinsic
def _tiles(typingctx, c, c_row, a, b, pairs, zero, rows, vectors):
    """One or two rows of one or two tiles of C: a switch over the four shapes, each with its own loop.

    a, b   words: a panel of A and a strip of B of so many vectors
    zero   the sums begin with zeros, not with what is in c
    """
    i = types.int64
    sig = types.void(c, i, a, b, i, types.boolean, i, i)

    def emit(context, builder, sig, args):
        c, c_row, a, b, pairs, zero, rows, vectors = args
        done = builder.append_basic_block("tiles.done")
        switch = builder.switch(builder.add(builder.mul(rows, _int(2)), vectors), done)
        for height in (1, 2):
            for width in (1, 2):
                block = builder.append_basic_block(f"tiles.{height}x{width}")
                switch.add_case(_int(2 * height + width), block)
                builder.position_at_end(block)
                _multiply(builder, height, width, c, c_row, a, b, pairs, zero)
                builder.branch(done)
        builder.position_at_end(done)
        return context.get_dummy_value()

    return sig, emit


@njit(error_model="numpy")
def _finish(c, c_row, h, h_row, rows, vectors, floor, derivative, c0, c1, c2):
    """Finishes rows of C, `vectors` wide, where sums are complete."""
    low, k0, k1, k2 = splat(c, floor), splat(c, c0), splat(c, c1), splat(c, c2)
    for row in range(rows):
        for j in range(0, vectors * TILE, TILE):
            value = load(c, row * c_row + j)
            if derivative == WHERE_POSITIVE:
                value = select(load(h, row * h_row + j) > 0, value, 0.0)
            elif derivative == IN_TWO_PARTS:
                y = load(h, row * h_row + j)
                value = value * select(y > 0, k2, fma(k1, y, k0))
            elif derivative != NOTHING:
                y = load(h, row * h_row + j)
                value = value * fma(fma(k2, y, k1), y, k0)
            else:
                value = select(value < low, low, value)  # NaN stays
            store(c, row * c_row + j, value)


@njit(error_model="numpy")
def _pack_panel(out, a, a_row, a_k, height, terms, pairs, square):
    """out[row, pair] for up to PANEL rows of A, with zeros behind the last term up to `pairs`.

    square   room for 16 vectors of words
    """
    if a_k == 1:
        pack_along(out, A_ROW, a, a_row, height, terms)
        return
    for row in range(0, height, TILE):
        for pair in range(0, pairs, TILE):
            there = min(2 * TILE, terms - 2 * pair)
            for empty in range(parts(there, 2), TILE):
                store(square, TILE * empty, splat(square, 0))
            pack_across(square, 1, at(a, row + 2 * pair * a_k), a_k, there)
            transpose_block(at(out, row * A_ROW + pair), A_ROW, square, TILE, TILE)


_room_of_a, _room_of_b, _room_of_square = room(PANEL * A_ROW // 16), room(B_VECTORS), room(16)


def product_bf16(
    c, c_row, a, a_row, a_k, b, b_k, b_column, M, N, K, accumulate, floor, h, h_row, derivative, c0, c1, c2
):
    """What `pairs.product_bf16` computes, with the same arguments."""
    panel, words, square, turned = _room_of_a(), _room_of_b(), _room_of_square(), _room_of_square()
    vectors, tiles = parts(N, TILE), parts(K, 2 * TILE)
    block = TILE * parts(tiles, parts(tiles * TILE, MAX_PAIRS))
    groups = parts(vectors, B_VECTORS // block)
    n = types.int64(0)
    for group in range(groups):
        width = vectors // groups + (1 if group < vectors % groups else 0)
        for k in range(0, K, 2 * block):
            terms = min(2 * block, K - k)
            pairs = TILE * parts(terms, 2 * TILE)
            finishes = k + terms == K and (derivative != NOTHING or floor > -np.inf)
            pack_columns(words, b, b_k, b_column, n, width, N, k, terms, pairs, MAX_VECTORS, square, turned)
            for m in range(0, M, PANEL):
                height = min(PANEL, M - m)
                if m == 0 or height < PANEL:
                    set_shapes(min(TILE, height), max(height - TILE, 0))
                _pack_panel(panel, at(a, m * a_row + k * a_k), a_row, a_k, height, terms, pairs, square)
                column_parts = parts(width, MAX_VECTORS)
                j = types.int64(0)
                for column_part in range(column_parts):
                    strip = width // column_parts + (1 if column_part < width % column_parts else 0)
                    place, column = at(c, m * c_row + (n + j) * TILE), at(words, j * pairs * TILE)
                    _tiles(
                        place, c_row, panel, column, pairs, k == 0 and accumulate == 0, parts(height, TILE), strip
                    )  # fmt: skip
                    if finishes:
                        corner = at(h, m * h_row + (n + j) * TILE)
                        _finish(place, c_row, corner, h_row, height, strip, floor, derivative, c0, c1, c2)
                    j += strip
        n += width
    release()
