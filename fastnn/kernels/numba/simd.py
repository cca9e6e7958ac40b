"""Vectors as values: what lets a Numba kernel read like scalar code.

`load` takes a vector of consecutive numbers from memory, `store` puts one back, and between the two the ordinary
operators and the functions of this module work on whole vectors; a scalar operand is broadcast. Each value is an LLVM
vector of the machine's width, so that the code is SIMD by construction and not by the grace of an optimizer. No
operation here carries a fast-math flag: what is written is what is computed, `fma` where one rounding is wanted and
`*`, `+` where two are.

    a, b, c    vectors of the same dtype, or scalars          p    pointer to numbers          i    offset in numbers
"""

import operator
from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.imputils import lower_builtin
from numba.core.typing.templates import AbstractTemplate, infer_global, signature
from numba.extending import intrinsic, models, register_model

from ..cpu import vector_bytes


class Vector(types.Type):
    """A vector of `lanes` numbers of a Numba scalar type; a boolean one is the mask that a comparison gives."""

    def __init__(self, dtype: Any, lanes: int) -> None:
        self.dtype, self.lanes = dtype, lanes
        super().__init__(name=f"vector({dtype}, {lanes})")


_SCALARS = {
    types.float32: ir.FloatType(),
    types.float64: ir.DoubleType(),
    types.int32: ir.IntType(32),
    types.int64: ir.IntType(64),
    types.boolean: ir.IntType(1),
}
_I32, _I64 = ir.IntType(32), ir.IntType(64)


@register_model(Vector)
class _VectorModel(models.PrimitiveModel):
    def __init__(self, manager: Any, fe_type: Vector) -> None:
        super().__init__(manager, fe_type, vector_type(fe_type))


def vector_type(vector: Vector) -> ir.VectorType:
    """The LLVM type of a vector."""
    return ir.VectorType(_SCALARS[vector.dtype], vector.lanes)


def vector_of(dtype: Any) -> Vector:
    """The machine's vector of a scalar type."""
    return Vector(dtype, vector_bytes() // (dtype.bitwidth // 8))


def integers_like(vector: Vector) -> Vector:
    """The vector of integers as wide as the lanes of another."""
    return Vector(types.int32 if vector.dtype.bitwidth == 32 else types.int64, vector.lanes)


def group_size() -> int:
    """How many independent vectors long functions work on side by side; as many as the registers hold."""
    return 4 if vector_bytes() == 64 else 2


# Building blocks on LLVM values, used here and by tile.py.


def call_llvm(builder: Any, name: str, result: Any, *args: Any) -> Any:
    """A call of the LLVM intrinsic of that full name, declared when it is first used."""
    function_type = ir.FunctionType(result, [a.type for a in args])
    return builder.call(cgutils.get_or_insert_function(builder.module, function_type, name), args)


def llvm_suffix(vector: ir.VectorType) -> str:
    """How names of LLVM intrinsics write a vector type: v16f32."""
    kind = {"float": "f32", "double": "f64"}.get(str(vector.element), str(vector.element))
    return f"v{vector.count}{kind}"


def broadcast(builder: Any, scalar: Any, vector: ir.VectorType) -> Any:
    """A scalar in every lane of a vector."""
    undefined = ir.Constant(vector, ir.Undefined)
    first = builder.insert_element(undefined, scalar, ir.Constant(_I32, 0))
    zeros = ir.Constant(ir.VectorType(_I32, vector.count), [0] * vector.count)
    return builder.shuffle_vector(first, undefined, zeros)


def load_vector(builder: Any, pointer: Any, vector: ir.VectorType) -> Any:
    """The vector at a pointer to its first number, which need not be aligned to vectors."""
    value = builder.load(builder.bitcast(pointer, vector.as_pointer()))
    value.align = _element_bytes(vector)
    return value


def store_vector(builder: Any, value: Any, pointer: Any) -> None:
    """Puts a vector at such a pointer."""
    builder.store(value, builder.bitcast(pointer, value.type.as_pointer())).align = _element_bytes(value.type)


def fused_multiply_add(builder: Any, a: Any, b: Any, c: Any) -> Any:
    """a * b + c with one rounding where the CPU has FMA; `llvm.fma` would call a slow library function where it has
    not."""
    return call_llvm(builder, f"llvm.fmuladd.{llvm_suffix(c.type)}", c.type, a, b, c)


def _element_bytes(vector: ir.VectorType) -> int:
    return {"float": 4, "double": 8, "i32": 4, "i64": 8}[str(vector.element)]


def lanes_below_vector(builder: Any, count: Any, lanes: int) -> Any:
    """The mask of the first `count` lanes."""
    numbers = ir.Constant(ir.VectorType(_I32, lanes), list(range(lanes)))
    limit = broadcast(builder, builder.trunc(count, _I32), ir.VectorType(_I32, lanes))
    return builder.icmp_signed("<", numbers, limit)


def _as_vector(context: Any, builder: Any, value: Any, given: Any, wanted: Vector) -> Any:
    if isinstance(given, Vector):
        return value
    return broadcast(builder, context.cast(builder, value, given, wanted.dtype), vector_type(wanted))


# Operators.


def _vector_among(args: tuple[Any, ...]) -> Vector | None:
    return next((a for a in args if isinstance(a, Vector)), None)


def _operator(function: Callable[..., Any], emit: Callable[..., Any], comparison: bool = False) -> None:
    """Types and lowers a binary operator for vector-vector, vector-scalar and scalar-vector."""

    @infer_global(function)
    class _Template(AbstractTemplate):
        def generic(self, args: tuple[Any, ...], kws: Any) -> Any:
            vector = _vector_among(args)
            if vector is None or len(args) != 2:
                return None
            return signature(Vector(types.boolean, vector.lanes) if comparison else vector, *args)

    def lower(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        vector = _vector_among(sig.args)
        assert vector is not None
        a, b = (_as_vector(context, builder, v, t, vector) for v, t in zip(args, sig.args, strict=True))
        return emit(builder, vector.dtype, a, b)

    for pair in ((Vector, Vector), (Vector, types.Number), (types.Number, Vector)):
        lower_builtin(function, *pair)(lower)


def _either(for_floats: str, for_integers: str) -> Callable[..., Any]:
    def emit(builder: Any, dtype: Any, a: Any, b: Any) -> Any:
        return getattr(builder, for_floats if isinstance(dtype, types.Float) else for_integers)(a, b)

    return emit


def _compare(symbol: str) -> Callable[..., Any]:
    def emit(builder: Any, dtype: Any, a: Any, b: Any) -> Any:
        if isinstance(dtype, types.Float):
            return builder.fcmp_ordered(symbol, a, b)
        return builder.icmp_signed(symbol, a, b)

    return emit


_operator(operator.add, _either("fadd", "add"))
_operator(operator.sub, _either("fsub", "sub"))
_operator(operator.mul, _either("fmul", "mul"))
_operator(operator.truediv, _either("fdiv", "sdiv"))
_operator(operator.lshift, _either("shl", "shl"))
_operator(operator.rshift, _either("lshr", "lshr"))  # logical: zeros come in from the left
_operator(operator.and_, _either("and_", "and_"))
_operator(operator.or_, _either("or_", "or_"))
_operator(operator.xor, _either("xor", "xor"))
for _function, _symbol in (
    (operator.lt, "<"),
    (operator.le, "<="),
    (operator.gt, ">"),
    (operator.ge, ">="),
    (operator.eq, "=="),
):
    _operator(_function, _compare(_symbol), comparison=True)


@infer_global(operator.neg)
class _Negation(AbstractTemplate):
    def generic(self, args: tuple[Any, ...], kws: Any) -> Any:
        return signature(args[0], *args) if len(args) == 1 and isinstance(args[0], Vector) else None


@lower_builtin(operator.neg, Vector)
def _negate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
    return builder.fneg(args[0])


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


# Groups: several independent vectors as one wide value, whose operations LLVM puts side by side.


def _halves(builder: Any, value: Any) -> list[Any]:
    """The two halves of a vector."""
    half = value.type.count // 2
    return [
        builder.shuffle_vector(value, value, ir.Constant(ir.VectorType(_I32, half), [*range(start, start + half)]))
        for start in (0, half)
    ]


def parts_of(builder: Any, value: Any, count: int) -> list[Any]:
    """A vector in `count` parts, a power of two."""
    if count == 1:
        return [value]
    return [part for half in _halves(builder, value) for part in parts_of(builder, half, count // 2)]


def joined(builder: Any, parts: list[Any]) -> Any:
    """Vectors, as many as a power of two, put side by side."""
    if len(parts) == 1:
        return parts[0]
    low, high = (joined(builder, side) for side in (parts[: len(parts) // 2], parts[len(parts) // 2 :]))
    index = ir.Constant(ir.VectorType(_I32, 2 * low.type.count), [*range(2 * low.type.count)])
    return builder.shuffle_vector(low, high, index)


@intrinsic
def group(typingctx, p):
    """How many vectors a group of p's dtype has."""
    return types.int64(p), lambda context, builder, sig, args: ir.Constant(_I64, group_size())


def _load_several(p: Any, count: int) -> tuple[Any, Callable[..., Any]]:
    vector = vector_of(p.dtype)

    def emit(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        llvm, places = vector_type(vector), _places(builder, args[1], args[2], count)
        return joined(builder, [load_vector(builder, builder.gep(args[0], [place]), llvm) for place in places])

    return Vector(p.dtype, vector.lanes * count)(p, types.int64, types.int64), emit


def _store_several(p: Any, value: Any, count: int) -> tuple[Any, Callable[..., Any]]:
    def emit(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        places = _places(builder, args[1], args[2], count)
        for place, part in zip(places, parts_of(builder, args[3], count), strict=True):
            store_vector(builder, part, builder.gep(args[0], [place]))
        return context.get_dummy_value()

    return types.void(p, types.int64, types.int64, value), emit


def _places(builder: Any, i: Any, stride: Any, count: int) -> list[Any]:
    return [builder.add(i, builder.mul(stride, ir.Constant(_I64, k))) for k in range(count)]


@intrinsic
def load_group(typingctx, p, i, stride):
    """The vectors that begin at p[i], p[i + stride] and so on."""
    return _load_several(p, group_size())


@intrinsic
def store_group(typingctx, p, i, stride, value):
    """Puts a group's vectors there."""
    return _store_several(p, value, group_size())


@intrinsic
def splat_group(typingctx, p, scalar):
    """A group of vectors of p's dtype with the scalar in every lane."""
    value = Vector(p.dtype, vector_of(p.dtype).lanes * group_size())

    def emit(context, builder, sig, args):
        return _as_vector(context, builder, args[1], scalar, value)

    return value(p, scalar), emit


@intrinsic
def load_pair(typingctx, p, i, stride):
    """The two vectors that begin at p[i] and p[i + stride]."""
    return _load_several(p, 2)


@intrinsic
def store_pair(typingctx, p, i, stride, value):
    """Puts a pair's vectors there."""
    return _store_several(p, value, 2)


@intrinsic
def pair_of(typingctx, a):
    """A pair both of whose vectors are a."""
    return Vector(a.dtype, a.lanes * 2)(a), lambda context, builder, sig, args: joined(builder, [args[0]] * 2)


@intrinsic
def sum_of_group(typingctx, a):
    """The sum of the vectors of a group or a pair: halves added, as in horizontal_sum."""
    vector = vector_of(a.dtype)

    def emit(context, builder, sig, args):
        value = args[0]
        while value.type.count > vector.lanes:
            value = builder.fadd(*_halves(builder, value))
        return value

    return vector(a), emit


# Arithmetic beyond the operators.


@intrinsic
def splat(typingctx, p, scalar):
    """A vector of p's dtype with the scalar in every lane."""
    vector = vector_of(p.dtype)

    def emit(context, builder, sig, args):
        return _as_vector(context, builder, args[1], scalar, vector)

    return vector(p, scalar), emit


@intrinsic
def fma(typingctx, a, b, c):
    """a * b + c, rounded once."""
    vector = _vector_among((a, b, c))
    if vector is None:
        return None

    def emit(context, builder, sig, args):
        values = [_as_vector(context, builder, v, t, vector) for v, t in zip(args, sig.args, strict=True)]
        return fused_multiply_add(builder, *values)

    return vector(a, b, c), emit


@intrinsic
def select(typingctx, mask, a, b):
    """a where the mask is true, b elsewhere."""
    vector = _vector_among((a, b))
    if vector is None:
        return None

    def emit(context, builder, sig, args):
        x, y = (_as_vector(context, builder, v, t, vector) for v, t in zip(args[1:], sig.args[1:], strict=True))
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
        return builder.ashr(args[0], _as_vector(context, builder, args[1], count, a))

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
        return builder.icmp_unsigned("<", args[0], _as_vector(context, builder, args[1], b, a))

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
                llvm = ir.VectorType(_SCALARS[sig.args[0].dtype], size)
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
            value = builder.fadd(*_halves(builder, value))
        return builder.extract_element(value, ir.Constant(_I32, 0))

    return a.dtype(a), emit
