"""Groups and pairs: several independent vectors as one wide value, whose operations LLVM puts side by side.

Operators, and the functions of simd.py that take vectors alone, take groups as well.
"""

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from ..cpu import vector_bytes
from .vectors import (
    Vector,
    as_vector,
    halves,
    joined,
    lanes_below_vector,
    load_vector,
    parts_of,
    store_vector,
    vector_of,
    vector_type,
)

_I32, _I64 = ir.IntType(32), ir.IntType(64)


def group_size() -> int:
    """How many independent vectors long functions work on side by side; as many as the registers hold."""
    return 4 if vector_bytes() == 64 else 2


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
        return as_vector(context, builder, args[1], scalar, value)

    return value(p, scalar), emit


@intrinsic
def load_like(typingctx, p, i, like):
    """As many numbers from p[i] on as another value has: a vector, or the vectors of a group one after the other."""

    def emit(context, builder, sig, args):
        return load_vector(builder, builder.gep(args[0], [args[1]]), vector_type(like))

    return like(p, types.int64, like), emit


@intrinsic
def load_integers_group(typingctx, p, i, like):
    """As many 32-bit integers from p[i] on as a group of `like`'s pointer dtype has lanes."""
    vector = Vector(types.int32, vector_of(like.dtype).lanes * group_size())

    def emit(context, builder, sig, args):
        return load_vector(builder, builder.gep(args[0], [args[1]]), vector_type(vector))

    return vector(p, types.int64, like), emit


@intrinsic
def lanes_below_group(typingctx, p, count):
    """The mask of the first `count` lanes of a group of p's dtype."""
    size = vector_of(p.dtype).lanes * group_size()

    def emit(context, builder, sig, args):
        return lanes_below_vector(builder, args[1], size)

    return Vector(types.boolean, size)(p, types.int64), emit


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
            value = builder.fadd(*halves(builder, value))
        return value

    return vector(a), emit
