"""Vectors as values: what lets a Numba kernel read like scalar code.

`load` takes a vector of consecutive numbers from memory, `store` puts one back, and between the two the ordinary
operators and the functions of this module work on whole vectors; a scalar operand is broadcast. Each value is an LLVM
vector of the machine's width, so that the code is SIMD by construction and not by the grace of an optimizer. No
operation here carries a fast-math flag: what is written is what is computed, `fma` where one rounding is wanted and
`*`, `+` where two are.

    a, b, c    vectors of the same dtype, or scalars          p    pointer to numbers          i    offset in numbers
"""

from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from .vectors import (
    Vector,
    as_vector,
    call_llvm,
    fused_multiply_add,
    halves,
    integers_like,
    lanes_below_vector,
    llvm_suffix,
    load_vector,
    store_vector,
    vector_among,
    vector_of,
    vector_type,
)

_I32, _I64 = ir.IntType(32), ir.IntType(64)


# Memory.


@intrinsic
def lanes(typingctx, p):
    """How many numbers of p's dtype a vector holds."""
    count = vector_of(p.dtype).lanes
    return types.int64(p), lambda context, builder, sig, args: ir.Constant(_I64, count)


@intrinsic
def at(typingctx, p, i):
    """The pointer i numbers further on."""
    return p(p, types.int64), lambda context, builder, sig, args: builder.gep(args[0], [args[1]])


@intrinsic
def address(typingctx, p):
    """A pointer as an integer."""
    return types.int64(p), lambda context, builder, sig, args: builder.ptrtoint(args[0], _I64)


@intrinsic
def prefetch(typingctx, p, i):
    """Asks for the cache line of p[i], which need not exist: what the hardware does not foresee it can be told."""

    def emit(context, builder, sig, args):
        byte = builder.bitcast(builder.gep(args[0], [args[1]]), ir.IntType(8).as_pointer())
        flags = [ir.Constant(_I32, flag) for flag in (0, 3, 1)]  # for reading, into all levels, data
        call_llvm(builder, "llvm.prefetch.p0", ir.VoidType(), byte, *flags)
        return context.get_dummy_value()

    return types.void(p, types.int64), emit


@intrinsic
def load(typingctx, p, i):
    """The vector that begins at p[i]."""
    vector = vector_of(p.dtype)

    def emit(context, builder, sig, args):
        return load_vector(builder, builder.gep(args[0], [args[1]]), vector_type(vector))

    return vector(p, types.int64), emit


@intrinsic
def store(typingctx, p, i, value):
    """Puts a vector at p[i]."""

    def emit(context, builder, sig, args):
        store_vector(builder, args[2], builder.gep(args[0], [args[1]]))
        return context.get_dummy_value()

    return types.void(p, types.int64, value), emit


# Arithmetic beyond the operators.


@intrinsic
def splat(typingctx, p, scalar):
    """A vector of p's dtype with the scalar in every lane."""
    vector = vector_of(p.dtype)

    def emit(context, builder, sig, args):
        return as_vector(context, builder, args[1], scalar, vector)

    return vector(p, scalar), emit


@intrinsic
def fma(typingctx, a, b, c):
    """a * b + c, rounded once."""
    vector = vector_among((a, b, c))
    if vector is None:
        return None

    def emit(context, builder, sig, args):
        values = [as_vector(context, builder, v, t, vector) for v, t in zip(args, sig.args, strict=True)]
        return fused_multiply_add(builder, *values)

    return vector(a, b, c), emit


@intrinsic
def select(typingctx, mask, a, b):
    """a where the mask is true, b elsewhere."""
    vector = vector_among((a, b))
    if vector is None:
        return None

    def emit(context, builder, sig, args):
        x, y = (as_vector(context, builder, v, t, vector) for v, t in zip(args[1:], sig.args[1:], strict=True))
        return builder.select(args[0], x, y)

    return vector(mask, a, b), emit


@intrinsic
def sqrt(typingctx, a):
    """The square root, correctly rounded."""

    def emit(context, builder, sig, args):
        llvm = args[0].type
        return call_llvm(builder, f"llvm.sqrt.{llvm_suffix(llvm)}", llvm, args[0])

    return a(a), emit


@intrinsic
def bits(typingctx, a):
    """The bit patterns of floating-point lanes as integers of the same width."""
    result = integers_like(a)
    return result(a), lambda context, builder, sig, args: builder.bitcast(args[0], vector_type(result))


@intrinsic
def from_bits(typingctx, a, like):
    """The floating-point lanes of `like`'s dtype with these bit patterns."""
    return like(a, like), lambda context, builder, sig, args: builder.bitcast(args[0], vector_type(like))


@intrinsic
def absolute(typingctx, a):
    """|a|: the sign bit cleared."""

    def emit(context, builder, sig, args):
        pattern = builder.bitcast(args[0], vector_type(integers_like(a)))
        return builder.bitcast(builder.and_(pattern, _not_sign(pattern.type)), args[0].type)

    return a(a), emit


@intrinsic
def with_sign(typingctx, a, b):
    """a, which is not negative, with the sign of b."""

    def emit(context, builder, sig, args):
        integers = vector_type(integers_like(a))
        x, y = (builder.bitcast(v, integers) for v in args)
        sign = builder.and_(y, builder.not_(_not_sign(integers)))
        return builder.bitcast(builder.or_(x, sign), args[0].type)

    return a(a, b), emit


def _not_sign(integers: Any) -> Any:
    """All bits but the sign's."""
    return ir.Constant(integers, [2 ** (integers.element.width - 1) - 1] * integers.count)


@intrinsic
def to_float(typingctx, a, like):
    """Signed integers as the nearest numbers of `like`'s dtype."""
    return like(a, like), lambda context, builder, sig, args: builder.sitofp(args[0], vector_type(like))


@intrinsic
def shift_right_signed(typingctx, a, count):
    """Integer lanes shifted right, the sign copied in."""

    def emit(context, builder, sig, args):
        return builder.ashr(args[0], as_vector(context, builder, args[1], count, a))

    return a(a, count), emit


@intrinsic
def lanes_below(typingctx, p, count):
    """The mask of the first `count` lanes of a vector of p's dtype."""
    size = vector_of(p.dtype).lanes

    def emit(context, builder, sig, args):
        return lanes_below_vector(builder, args[1], size)

    return Vector(types.boolean, size)(p, types.int64), emit


@intrinsic
def lane_numbers(typingctx, p):
    """0, 1, 2 ... as 32-bit integers, one for each lane of a vector of p's dtype."""
    vector = Vector(types.int32, vector_of(p.dtype).lanes)
    value = ir.Constant(vector_type(vector), list(range(vector.lanes)))
    return vector(p), lambda context, builder, sig, args: value


@intrinsic
def load_integers(typingctx, p, i, like):
    """As many 32-bit integers from p[i] on as a vector of `like`'s pointer dtype has lanes."""
    vector = Vector(types.int32, vector_of(like.dtype).lanes)

    def emit(context, builder, sig, args):
        return load_vector(builder, builder.gep(args[0], [args[1]]), vector_type(vector))

    return vector(p, types.int64, like), emit


@intrinsic
def below_unsigned(typingctx, a, b):
    """The mask of a < b, both integer vectors (or a scalar b) taken as unsigned."""

    def emit(context, builder, sig, args):
        return builder.icmp_unsigned("<", args[0], as_vector(context, builder, args[1], b, a))

    return Vector(types.boolean, a.lanes)(a, b), emit


@intrinsic
def copy_rest(typingctx, target, source, count):
    """target[i] = source[i] for 0 <= i < count, fewer numbers than a vector has, and nothing behind them."""

    def emit(context, builder, sig, args):
        target, source, count = args
        size = vector_of(sig.args[0].dtype).lanes // 2
        while size:
            part = ir.Constant(_I64, size)
            with builder.if_then(builder.icmp_signed("!=", builder.and_(count, part), ir.Constant(_I64, 0))):
                before = builder.and_(count, ir.Constant(_I64, -2 * size))
                llvm = vector_type(Vector(sig.args[0].dtype, size))
                value = load_vector(builder, builder.gep(source, [before]), llvm)
                store_vector(builder, value, builder.gep(target, [before]))
            size //= 2
        return context.get_dummy_value()

    return types.void(target, target, types.int64), emit


@intrinsic
def transpose_block(typingctx, out, out_stride, x, x_stride, rows):
    """out[j, i] = x[i, j] for a square block of one vector each way; rows of x from `rows` on count as zeros.

    log2(lanes) rounds of pairwise exchanges: round d swaps the off-diagonal blocks of size d x d.
    """
    vector = vector_of(x.dtype)
    sig = types.void(out, types.int64, x, types.int64, types.int64)

    def emit(context, builder, sig, args):
        out, out_stride, x, x_stride, rows = args
        size, llvm = vector.lanes, vector_type(vector)
        values = []
        for i in range(size):
            value = load_vector(builder, builder.gep(x, [builder.mul(x_stride, ir.Constant(_I64, i))]), llvm)
            present = builder.icmp_signed("<", ir.Constant(_I64, i), rows)
            values.append(builder.select(present, value, ir.Constant(llvm, None)))
        distance = size // 2
        while distance:
            index = [(lane if not lane & distance else size + lane - distance) for lane in range(size)]
            low = ir.Constant(ir.VectorType(_I32, size), index)
            high = ir.Constant(ir.VectorType(_I32, size), [k + distance for k in index])
            for i in range(size):
                if not i & distance:
                    a, b = values[i], values[i + distance]
                    values[i], values[i + distance] = (
                        builder.shuffle_vector(a, b, low),
                        builder.shuffle_vector(a, b, high),
                    )
            distance //= 2
        for j, value in enumerate(values):
            store_vector(builder, value, builder.gep(out, [builder.mul(out_stride, ir.Constant(_I64, j))]))
        return context.get_dummy_value()

    return sig, emit


@intrinsic
def horizontal_sum(typingctx, a):
    """The sum of all lanes: halves added until one number is left, always in the same order."""

    def emit(context, builder, sig, args):
        value = args[0]
        while value.type.count > 1:
            value = builder.fadd(*halves(builder, value))
        return builder.extract_element(value, ir.Constant(_I32, 0))

    return a.dtype(a), emit
