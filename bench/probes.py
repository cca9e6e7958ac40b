"""Loops that do one thing as fast as the CPU can: fused multiply-adds, reads, updates of several streams, instructions
that do nothing, calls of nothing.

Each is written as LLVM vectors and compiled for the host, as fastnn's own kernels are, by code generation alone: no
optimisation pass could leave out work whose result nobody uses. bench/machine.py times them.
"""

import ctypes
import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import llvmlite.binding as llvm
from llvmlite import ir

ACCUMULATORS = 12  # two FMA units with a latency of 4 or 5 cycles need 10; 16 registers hold 12 and the operands
UNROLLED = 4  # vectors of each stream that one turn of a loop of updates takes
READ_AT_ONCE = 8  # vectors that one turn of a loop of reads takes from all streams together, each with a sum of its own
NOPS, LINKS = 64, 64
_I64 = ir.IntType(64)


def host_vector_bytes() -> int:
    """Bytes of the widest vector that the host has."""
    features = llvm.get_host_cpu_features()
    return 64 if features.get("avx512f") else 32 if features.get("avx2") else 16


@contextmanager
def _counted(
    builder: ir.IRBuilder, count: ir.Value, step: int, carried: list[ir.Value]
) -> Iterator[tuple[ir.Value, list[ir.Value]]]:
    """A loop from 0 below `count`, entered at least once; yields its index and what it carries.

    The list that is yielded begins as the values at the start of a turn; the body replaces them by those at its end,
    and behind the loop it holds the last ones.
    """
    before = builder.block
    body, behind = (builder.function.append_basic_block() for _ in range(2))
    builder.branch(body)
    builder.position_at_end(body)
    index = builder.phi(_I64)
    phis = [builder.phi(value.type) for value in carried]
    values: list[ir.Value] = list(phis)
    yield index, values
    following = builder.add(index, _I64(step))
    for phi, start, end in zip([index, *phis], [_I64(0), *carried], [following, *values], strict=True):
        phi.add_incoming(start, before)
        phi.add_incoming(end, builder.block)
    builder.cbranch(builder.icmp_signed("<", following, count), body, behind)
    builder.position_at_end(behind)


def _function(name: str, *arguments: ir.Type) -> tuple[ir.Module, ir.Function, ir.IRBuilder]:
    module = ir.Module(name=name)
    function = ir.Function(module, ir.FunctionType(ir.VoidType(), arguments), name="probe")
    return module, function, ir.IRBuilder(function.append_basic_block())


def _fma(dtype: str, width: int) -> ir.Module:
    """`void probe(i64 rounds, vector* out)`: every round adds x * y to each accumulator."""
    scalar, bits = (ir.FloatType(), 32) if dtype == "float32" else (ir.DoubleType(), 64)
    lanes = width * 8 // bits
    vector = ir.VectorType(scalar, lanes)
    module, function, builder = _function(f"fma_{dtype}_{width}", _I64, vector.as_pointer())
    fmuladd = ir.Function(module, ir.FunctionType(vector, [vector] * 3), name=f"llvm.fmuladd.v{lanes}f{bits}")
    rounds, out = function.args
    pointers = [builder.gep(out, [_I64(index)]) for index in range(ACCUMULATORS)]
    sums = [builder.load(pointer, align=width) for pointer in pointers]
    factor = ir.Constant(vector, [0.5] * lanes)  # x * 0.5 + 0.5 tends to 1: no overflow, no denormals
    with _counted(builder, rounds, 1, sums) as (_, values):
        values[:] = [builder.call(fmuladd, [value, factor, factor]) for value in values]
    for result, pointer in zip(values, pointers, strict=True):
        builder.store(result, pointer, align=width)
    builder.ret_void()
    return module


def _read(width: int, reads: int) -> ir.Module:
    """`void probe(i64 passes, i64 vectors, i64 stride, vector* memory)`: adds up the vectors of `reads` streams that
    lie `stride` vectors apart, and again in each pass; the sums go behind the first stream."""
    vector = ir.VectorType(ir.FloatType(), width // 4)
    _, function, builder = _function(f"read_{width}_{reads}", _I64, _I64, _I64, vector.as_pointer())
    passes, vectors, stride, memory = function.args
    bases = [builder.gep(memory, [builder.mul(stride, _I64(number))]) for number in range(reads)]
    each = READ_AT_ONCE // reads
    sums = [ir.Constant(vector, None)] * READ_AT_ONCE
    with _counted(builder, passes, 1, sums) as (_, outer):
        with _counted(builder, vectors, each, list(outer)) as (index, values):
            for number, value in enumerate(values):
                place = builder.gep(bases[number % reads], [builder.add(index, _I64(number // reads))])
                values[number] = builder.fadd(value, builder.load(place, align=width))
        outer[:] = values
    for number, value in enumerate(outer):
        builder.store(value, builder.gep(memory, [builder.add(vectors, _I64(number))]), align=width)
    builder.ret_void()
    return builder.module


def _streams(width: int, reads: int, writes: int) -> ir.Module:
    """`void probe(i64 passes, i64 vectors, i64 stride, vector* memory)`: reads a vector of each of `reads` streams,
    `stride` vectors apart, and adds the last one's to each of the first `writes` in place, as an optimizer does."""
    vector = ir.VectorType(ir.FloatType(), width // 4)
    _, function, builder = _function(f"streams_{width}_{reads}_{writes}", _I64, _I64, _I64, vector.as_pointer())
    passes, vectors, stride, memory = function.args
    bases = [builder.gep(memory, [builder.mul(stride, _I64(number))]) for number in range(reads)]
    with _counted(builder, passes, 1, []), _counted(builder, vectors, UNROLLED, []) as (index, _):
        for turn in range(UNROLLED):
            place = builder.add(index, _I64(turn))
            pointers = [builder.gep(base, [place]) for base in bases]
            values = [builder.load(pointer, align=width) for pointer in pointers]
            for value, pointer in zip(values[:writes], pointers, strict=False):
                builder.store(builder.fadd(value, values[-1]), pointer, align=width)
    builder.ret_void()
    return builder.module


def _issue() -> ir.Module:
    """`void probe(i64 turns)`: so many times NOPS instructions that do nothing."""
    module, function, builder = _function("issue", _I64)
    nothing = ir.InlineAsm(ir.FunctionType(ir.VoidType(), []), "nop\n" * NOPS, "", side_effect=True)
    with _counted(builder, function.args[0], 1, []):
        builder.call(nothing, [])
    builder.ret_void()
    return module


def _chain() -> ir.Module:
    """`void probe(i64 turns, i64* out)`: so many times LINKS multiplications, each of the result of the one before."""
    module, function, builder = _function("chain", _I64, _I64.as_pointer())
    turns, out = function.args
    with _counted(builder, turns, 1, [builder.load(out)]) as (_, values):
        for _ in range(LINKS):
            values[0] = builder.mul(values[0], values[0])
    builder.store(values[0], out)
    builder.ret_void()
    return module


def _empty() -> ir.Module:
    """`void probe(void*)`: returns."""
    module, _, builder = _function("empty", _I64.as_pointer())
    builder.ret_void()
    return module


_owners: list[Any] = []  # execution engines own the code behind the functions


def _compiled(module: ir.Module, width: int, *arguments: Any) -> Callable[..., None]:
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    llvm.initialize_native_asmparser()  # of what is written in assembly
    # Some CPUs make LLVM prefer 32-byte vectors although they have 64: the attribute overrules that.
    bits = 8 * width
    attributes = f'"prefer-vector-width"="{bits}" "min-legal-vector-width"="{bits}"'
    machine = llvm.Target.from_default_triple().create_target_machine(
        cpu=llvm.get_host_cpu_name(), features=llvm.get_host_cpu_features().flatten(), opt=3
    )
    parsed = llvm.parse_assembly(str(module).replace("\n{", f"\n{attributes}\n{{", 1))
    parsed.verify()
    engine = llvm.create_mcjit_compiler(parsed, machine)
    engine.finalize_object()
    _owners.append(engine)
    return ctypes.CFUNCTYPE(None, *arguments)(engine.get_function_address("probe"))


@functools.cache
def fma(dtype: str, width: int) -> Callable[[int, int], None]:
    """Rounds of one fused multiply-add on each of ACCUMULATORS vectors: fma(rounds, address of that many vectors)."""
    return _compiled(_fma(dtype, width), width, ctypes.c_int64, ctypes.c_void_p)


@functools.cache
def memory(width: int, reads: int, writes: int) -> Callable[[int, int, int, int], None]:
    """Passes over streams of vectors: memory(passes, vectors, stride in vectors, address)."""
    module = _streams(width, reads, writes) if writes else _read(width, reads)
    return _compiled(module, width, *[ctypes.c_int64] * 3, ctypes.c_void_p)


@functools.cache
def issue() -> Callable[[int], None]:
    """NOPS instructions that do nothing, again and again: issue(turns). They take places in the core's pipeline and no
    unit behind it, so that their rate falls when the core's other hardware thread runs anything at all."""
    return _compiled(_issue(), 16, ctypes.c_int64)


@functools.cache
def chain() -> Callable[[int, int], None]:
    """LINKS multiplications of integers, one after the other, again and again: chain(turns, address of an integer). Its
    time follows the clock of the core alone: a multiplication waits three cycles for the one before it."""
    return _compiled(_chain(), 16, ctypes.c_int64, ctypes.c_void_p)


@functools.cache
def empty() -> Callable[[int], None]:
    """A function of one pointer that does nothing."""
    return _compiled(_empty(), 16, ctypes.c_void_p)
