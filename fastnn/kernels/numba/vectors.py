"""Vectors in Numba: their type, what LLVM is told of them, and the operators of Python on them. simd.py and groups.py
build on it.
"""

import operator
from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.imputils import lower_builtin
from numba.core.typing.templates import AbstractTemplate, infer_global, signature
from numba.extending import models, register_model

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


# Building blocks on LLVM values.


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


def as_vector(context: Any, builder: Any, value: Any, given: Any, wanted: Vector) -> Any:
    """A value as a vector: what is one stays as it is, a scalar goes into every lane of the wanted one."""
    if isinstance(given, Vector):
        return value
    return broadcast(builder, context.cast(builder, value, given, wanted.dtype), vector_type(wanted))


# Operators.


def vector_among(args: tuple[Any, ...]) -> Vector | None:
    """The first type of a vector among some types; None if there is none."""
    return next((a for a in args if isinstance(a, Vector)), None)


def _operator(function: Callable[..., Any], emit: Callable[..., Any], comparison: bool = False) -> None:
    """Types and lowers a binary operator for vector-vector, vector-scalar and scalar-vector."""

    @infer_global(function)
    class _Template(AbstractTemplate):
        def generic(self, args: tuple[Any, ...], kws: Any) -> Any:
            vector = vector_among(args)
            if vector is None or len(args) != 2:
                return None
            return signature(Vector(types.boolean, vector.lanes) if comparison else vector, *args)

    def lower(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        vector = vector_among(sig.args)
        assert vector is not None
        a, b = (as_vector(context, builder, v, t, vector) for v, t in zip(args, sig.args, strict=True))
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


# Wider and narrower.


def halves(builder: Any, value: Any) -> list[Any]:
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
    return [part for half in halves(builder, value) for part in parts_of(builder, half, count // 2)]


def joined(builder: Any, parts: list[Any]) -> Any:
    """Vectors, as many as a power of two, put side by side."""
    if len(parts) == 1:
        return parts[0]
    low, high = (joined(builder, side) for side in (parts[: len(parts) // 2], parts[len(parts) // 2 :]))
    index = ir.Constant(ir.VectorType(_I32, 2 * low.type.count), [*range(2 * low.type.count)])
    return builder.shuffle_vector(low, high, index)
