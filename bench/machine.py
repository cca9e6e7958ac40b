"""What one core of this machine can do: the FMA peak, measured in the same run as everything that is compared with it.

    python -m bench.machine

The probe is a loop of nothing but fused multiply-adds on independent vector accumulators, written as LLVM vectors and
compiled for the host, as fastnn's own kernels are. Nothing can be faster; real products reach 80 to 100% of it.
"""

import ctypes
import functools
import sys
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from bench import environment

if __name__ == "__main__":
    environment.prepare()

import llvmlite.binding as llvm
from llvmlite import ir

ACCUMULATORS = 12  # two FMA units with a latency of 4 or 5 cycles need 10; 16 registers hold 12 and the operands
ROUNDS = 200_000


def vector_bytes() -> int:
    """Bytes of the widest vector that the host has."""
    features = llvm.get_host_cpu_features()
    return 64 if features.get("avx512f") else 32 if features.get("avx2") else 16


def _probe(dtype: str) -> ir.Module:
    """`void probe(i64 rounds, vector* out)`: every round adds x * y to each accumulator."""
    scalar = ir.FloatType() if dtype == "float32" else ir.DoubleType()
    lanes = vector_bytes() // (4 if dtype == "float32" else 8)
    vector, i64 = ir.VectorType(scalar, lanes), ir.IntType(64)
    module = ir.Module(name=f"fma_peak_{dtype}")
    function = ir.Function(module, ir.FunctionType(ir.VoidType(), [i64, vector.as_pointer()]), name="probe")
    rounds, out = function.args
    suffix = f"v{lanes}f{32 if dtype == 'float32' else 64}"
    fmuladd = ir.Function(module, ir.FunctionType(vector, [vector] * 3), name=f"llvm.fmuladd.{suffix}")
    entry, loop, done = (function.append_basic_block(name) for name in ("entry", "loop", "done"))

    builder = ir.IRBuilder(entry)
    pointers = [builder.gep(out, [i64(index)]) for index in range(ACCUMULATORS)]
    starts = [builder.load(pointer, align=vector_bytes()) for pointer in pointers]
    builder.branch(loop)

    builder.position_at_end(loop)
    counter = builder.phi(i64)
    sums = [builder.phi(vector) for _ in range(ACCUMULATORS)]
    factor = ir.Constant(vector, [0.5] * lanes)  # x * 0.5 + 0.5 tends to 1: no overflow, no denormals
    following = [builder.call(fmuladd, [value, factor, factor]) for value in sums]
    count = builder.add(counter, i64(1))
    counter.add_incoming(i64(0), entry)
    counter.add_incoming(count, loop)
    for value, start, result in zip(sums, starts, following, strict=True):
        value.add_incoming(start, entry)
        value.add_incoming(result, loop)
    builder.cbranch(builder.icmp_signed("<", count, rounds), loop, done)

    builder.position_at_end(done)
    for result, pointer in zip(following, pointers, strict=True):
        builder.store(result, pointer, align=vector_bytes())
    builder.ret_void()
    return module


@functools.cache
def _compiled(dtype: str) -> tuple[llvm.ExecutionEngine, Callable[[int, int], None]]:
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    # Some CPUs make LLVM prefer 32-byte vectors although they have 64: the attribute overrules that.
    width = vector_bytes() * 8
    text = str(_probe(dtype)).replace(
        "\n{", f'\n"prefer-vector-width"="{width}" "min-legal-vector-width"="{width}"\n{{', 1
    )
    machine = llvm.Target.from_default_triple().create_target_machine(
        cpu=llvm.get_host_cpu_name(), features=llvm.get_host_cpu_features().flatten(), opt=3
    )
    module = llvm.parse_assembly(text)
    module.verify()
    engine = llvm.create_mcjit_compiler(module, machine)
    engine.finalize_object()
    signature = ctypes.CFUNCTYPE(None, ctypes.c_int64, ctypes.c_void_p)
    return engine, signature(engine.get_function_address("probe"))  # the engine owns the code: keep both


def fma_peak(dtype: str = "float32", repeats: int = 7) -> float:
    """FMA peak of one core in GFLOP/s: the best of a few short runs, some 2 ms each."""
    _, probe = _compiled(dtype)
    size = vector_bytes()
    memory = (ctypes.c_char * (size * (ACCUMULATORS + 1)))()
    address = -(-ctypes.addressof(memory) // size) * size
    operations = 2 * ROUNDS * ACCUMULATORS * (size // (4 if dtype == "float32" else 8))
    best = 0.0
    for _ in range(repeats):
        started = time.perf_counter()
        probe(ROUNDS, address)
        best = max(best, operations / (time.perf_counter() - started) * 1e-9)
    return best


def main() -> int:
    print(environment.describe(environment.header()))
    for dtype in ("float32", "float64"):
        print(f"FMA peak of one core, {dtype}, {vector_bytes()}-byte vectors: {fma_peak(dtype, 25):.0f} GFLOP/s")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
