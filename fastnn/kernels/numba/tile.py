"""The one register tile under every product; product.py has the loops that cover a matrix with it.

A tile holds up to MAX_ROWS x MAX_VECTORS vectors of C in registers and walks k upwards, each step one fused
multiply-add per vector: `C[m, n] += A[m, k] * B[k, n]`, A a broadcast scalar, B and C vectors along their contiguous
axis. Every element of C is therefore one ascending chain over k, whatever the shape of the tile that computed it: its
bits depend neither on the tile nor on the neighbours. Plain loops compiled by Numba reach 3-30% of the FMA peak; this
reaches more than 95% because the accumulators never leave their registers.

    M rows of C and A     N vectors in a row of C and B     K terms of each sum
"""

from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

from ..cpu import vector_registers
from ..reference.dense import IN_TWO_PARTS, QUADRATIC, WHERE_POSITIVE
from .vectors import broadcast, call_llvm, fused_multiply_add, load_vector, store_vector, vector_of, vector_type

# 8 x 3 accumulators, 3 vectors of B and one broadcast fill 32 registers; 6 x 2 fill 16. 12 x 2 spills.
MAX_ROWS, MAX_VECTORS = (8, 3) if vector_registers() == 32 else (6, 2)
# A tile of few rows is as wide as registers allow, by its rows: its vectors are read once, and many sums hide the
# latency of each.
WIDE = (8, 8, 6, 6, 4, 4) if vector_registers() == 32 else (8, 4, 3, 2, 2, 2)
# Terms from one that is added to the one whose scalars are asked for.
TERMS_AHEAD = 16

_I64 = ir.IntType(64)


def _int(value: int) -> ir.Constant:
    return ir.Constant(_I64, value)


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


@intrinsic
def strip(
    typingctx,
    c, c_row, a, a_row, a_k, b, b_k, height, width, count, terms, start, floor, h, h_row, derivative, c0, c1, c2,
):  # fmt: skip
    """`count` tiles of `height` rows and `width` vectors, one below the other: a switch over all shapes, each with its
    own registers and loops."""
    i, real = types.int64, types.float64
    vector = vector_type(vector_of(c.dtype))
    sig = types.void(c, i, c, i, i, c, i, i, i, i, i, types.boolean, real, c, i, i, real, real, real)

    def emit(context, builder, sig, args):
        c, c_row, a, a_row, a_k, b, b_k, height, width, count, terms, start = args[:12]
        h, h_row, derivative = args[13:16]
        scalars = [context.cast(builder, s, types.float64, sig.args[0].dtype) for s in (args[12], *args[16:])]
        done = builder.append_basic_block("strip.done")
        shape = builder.add(builder.mul(width, _int(MAX_ROWS + 1)), height)
        switch = builder.switch(shape, done)
        shapes = [(rows, vectors) for vectors in range(1, MAX_VECTORS + 1) for rows in range(1, MAX_ROWS + 1)]
        shapes += [(rows, vectors) for rows, vectors in enumerate(WIDE, 1) if vectors > MAX_VECTORS]
        for rows, vectors in shapes:
            block = builder.append_basic_block(f"strip.{rows}x{vectors}")
            switch.add_case(_int(vectors * (MAX_ROWS + 1) + rows), block)
            tiles = builder.append_basic_block(f"tile.{rows}x{vectors}")
            builder.position_at_end(block)
            builder.branch(tiles)
            builder.position_at_end(tiles)
            left = builder.phi(_I64)
            firsts = ((c, c_row), (a, a_row), (h, h_row))
            places = [(builder.phi(c.type), first, stride) for first, stride in firsts]
            left.add_incoming(count, block)
            (c_tile, *_), (a_tile, *_), (h_tile, *_) = places
            one = _Tile(builder, vector, rows, vectors)
            start_values = one.starting_values(c_tile, c_row, start)
            sums = one.accumulate(a_tile, a_row, a_k, b, b_k, terms, start_values)
            one.finish(sums, c_tile, c_row, scalars[0], h_tile, h_row, derivative, scalars[1:])
            for place, first, stride in places:
                place.add_incoming(first, block)
                place.add_incoming(builder.gep(place, [builder.mul(stride, _int(rows))]), builder.block)
            still = builder.sub(left, _int(1))
            left.add_incoming(still, builder.block)
            builder.cbranch(builder.icmp_signed("!=", still, _int(0)), tiles, done)
        builder.position_at_end(done)
        return context.get_dummy_value()

    return sig, emit


class _Tile:
    """Emits the code of one tile shape; `accumulators[row][vector]` throughout."""

    def __init__(self, builder: Any, vector: ir.VectorType, rows: int, vectors: int) -> None:
        self.builder, self.vector, self.rows, self.vectors = builder, vector, rows, vectors

    def _places(self, base: Any, stride: Any) -> list[list[Any]]:
        builder, lanes = self.builder, self.vector.count
        starts = [builder.gep(base, [builder.mul(stride, _int(row))]) for row in range(self.rows)]
        return [[builder.gep(start, [_int(v * lanes)]) for v in range(self.vectors)] for start in starts]

    def starting_values(self, c: Any, c_row: Any, start: Any) -> list[list[Any]]:
        """The numbers already in C where `start` is set, zeros elsewhere."""
        builder, zero = self.builder, ir.Constant(self.vector, None)
        before = builder.block
        load, ready = builder.append_basic_block("load"), builder.append_basic_block("ready")
        builder.cbranch(start, load, ready)
        builder.position_at_end(load)
        loaded = [[load_vector(builder, p, self.vector) for p in row] for row in self._places(c, c_row)]
        builder.branch(ready)
        builder.position_at_end(ready)
        merged: list[list[Any]] = []
        for row in loaded:
            merged.append([])
            for value in row:
                phi = builder.phi(self.vector)
                phi.add_incoming(zero, before)
                phi.add_incoming(value, load)
                merged[-1].append(phi)
        return merged

    def accumulate(self, a: Any, a_row: Any, a_k: Any, b: Any, b_k: Any, terms: Any, start: Any) -> list[list[Any]]:
        """The loop over k."""
        builder, lanes = self.builder, self.vector.count
        before, loop = builder.block, builder.append_basic_block("k")
        below = [_opaque(builder, builder.mul(a_row, _int(row))) for row in range(1, self.rows)]
        ahead = _opaque(builder, builder.mul(a_k, _int(TERMS_AHEAD)))
        after = builder.append_basic_block("k.done")
        builder.branch(loop)
        builder.position_at_end(loop)
        left, a_place, b_place = builder.phi(_I64), builder.phi(a.type), builder.phi(b.type)
        for phi, value in ((left, terms), (a_place, a), (b_place, b)):
            phi.add_incoming(value, before)
        sums = [[builder.phi(self.vector) for _ in row] for row in start]
        places = [builder.gep(b_place, [_int(v * lanes)]) for v in range(self.vectors)]
        columns = [load_vector(builder, place, self.vector) for place in places]
        added = []
        # Strided scalars lie on another line, and often page, each step.
        _prefetch(builder, builder.gep(a_place, [ahead]))
        for row, row_sums in enumerate(sums):
            scalar = builder.load(builder.gep(a_place, [below[row - 1]]) if row else a_place)
            factor = broadcast(builder, scalar, self.vector)
            added.append([fused_multiply_add(builder, factor, b, s) for b, s in zip(columns, row_sums, strict=True)])
        still = builder.sub(left, _int(1))
        left.add_incoming(still, loop)
        a_place.add_incoming(builder.gep(a_place, [a_k]), loop)
        b_place.add_incoming(builder.gep(b_place, [b_k]), loop)
        for row_sums, row_start, row_added in zip(sums, start, added, strict=True):
            for phi, first, value in zip(row_sums, row_start, row_added, strict=True):
                phi.add_incoming(first, before)
                phi.add_incoming(value, loop)
        branch = builder.cbranch(builder.icmp_signed("!=", still, _int(0)), loop, after)
        _forbid_unrolling(builder.module, branch)
        builder.position_at_end(after)
        return added

    def finish(
        self, sums: Any, c: Any, c_row: Any, floor: Any, h: Any, h_row: Any, derivative: Any, coefficients: Any
    ) -> None:
        builder, zero = self.builder, ir.Constant(self.vector, None)
        places = self._places(c, c_row)
        done = builder.append_basic_block("stored")
        names = ("plain", "as_it_is", "limited", "positive", "quadratic", "two_parts")
        plain, as_it_is, limited, positive, quadratic, parts = (builder.append_basic_block(name) for name in names)
        switch = builder.switch(derivative, plain)
        switch.add_case(_int(WHERE_POSITIVE), positive)
        switch.add_case(_int(QUADRATIC), quadratic)
        switch.add_case(_int(IN_TWO_PARTS), parts)

        def store_all(values: Any) -> None:
            for row, row_values in zip(places, values, strict=True):
                for place, value in zip(row, row_values, strict=True):
                    store_vector(builder, value, place)
            builder.branch(done)

        builder.position_at_end(plain)
        nowhere = ir.Constant(floor.type, -np.inf)
        builder.cbranch(builder.fcmp_ordered(">", floor, nowhere), limited, as_it_is)

        builder.position_at_end(as_it_is)
        store_all(sums)

        builder.position_at_end(limited)
        low = broadcast(builder, floor, self.vector)
        # The comparison is false for NaN, which thereby stays what it is.
        store_all([[builder.select(builder.fcmp_ordered("<", v, low), low, v) for v in row] for row in sums])

        builder.position_at_end(positive)
        outputs = [[load_vector(builder, p, self.vector) for p in row] for row in self._places(h, h_row)]
        store_all(
            [
                [builder.select(builder.fcmp_ordered(">", y, zero), v, zero) for v, y in zip(row, ys, strict=True)]
                for row, ys in zip(sums, outputs, strict=True)
            ]
        )

        def times(slope: Any) -> None:
            """Each sum times a function of its y and the coefficients."""
            k = [broadcast(builder, c, self.vector) for c in coefficients]
            outputs = [[load_vector(builder, p, self.vector) for p in row] for row in self._places(h, h_row)]
            store_all(
                [
                    [builder.fmul(v, slope(y, *k)) for v, y in zip(row, ys, strict=True)]
                    for row, ys in zip(sums, outputs, strict=True)
                ]
            )

        def squared(y: Any, k0: Any, k1: Any, k2: Any) -> Any:
            return fused_multiply_add(builder, fused_multiply_add(builder, k2, y, k1), y, k0)

        def in_two_parts(y: Any, k0: Any, k1: Any, k2: Any) -> Any:
            return builder.select(builder.fcmp_ordered(">", y, zero), k2, fused_multiply_add(builder, k1, y, k0))

        builder.position_at_end(quadratic)
        times(squared)
        builder.position_at_end(parts)
        times(in_two_parts)
        builder.position_at_end(done)


def _prefetch(builder: Any, pointer: Any) -> None:
    """Asks for the cache line of a pointer."""
    byte = builder.bitcast(pointer, ir.IntType(8).as_pointer())
    flags = [ir.Constant(ir.IntType(32), flag) for flag in (0, 3, 1)]  # for reading, into all levels, data
    call_llvm(builder, "llvm.prefetch.p0", ir.VoidType(), byte, *flags)


def _opaque(builder: Any, offset: Any) -> Any:
    """The same number, of which LLVM knows nothing. It would compute the addresses of a step from one another, in a
    chain that takes longer than the multiplications where a tile is narrow (8 x 1 tiles at half the speed)."""
    return builder.asm(ir.FunctionType(_I64, [_I64]), "", "=r,0", [offset], False)


def _forbid_unrolling(module: Any, branch: Any) -> None:
    """LLVM would unroll the loop over k and, out of registers, spill the accumulators."""
    disable = module.add_metadata([ir.MetaDataString(module, "llvm.loop.unroll.disable")])
    loop = module.add_metadata([_int(7), disable])  # a unique node: two equal ones would be merged
    loop.operands = (loop, disable)
    branch.set_metadata("llvm.loop", loop)
