"""Square roots for loops that wait for the divider.

An update divides once and takes one root, and a CPU has one divider for both: 22 cycles for 16 numbers on Intel's cores
with AVX-512, where all else takes 12. Every second root is made of multiplications instead, from the CPU's estimate of
1 / sqrt(x). (Adam on 16,384 float32 numbers, one core: 0.465 -> 0.365 ns each; with all roots so, 0.40.)
"""

from typing import Any

from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic, overload

from ..cpu import vector_bytes
from .simd import below_unsigned, bits, fma, sqrt
from .vectors import Vector, call_llvm


@intrinsic
def _estimate(typingctx, x):
    """1 / sqrt(x) to 14 bits."""

    def emit(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        vector = args[0].type
        nothing, all_lanes = ir.Constant(vector, None), ir.Constant(ir.IntType(vector.count), -1)
        return call_llvm(builder, "llvm.x86.avx512.rsqrt14.ps.512", vector, args[0], nothing, all_lanes)

    return x(x), emit


@intrinsic
def _in_all_lanes(typingctx, mask):
    def emit(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        together = builder.bitcast(args[0], ir.IntType(args[0].type.count))
        return builder.icmp_signed("==", together, ir.Constant(together.type, -1))

    return types.boolean(mask), emit


@njit(error_model="numpy")
def root_of_products(x):
    """sqrt(x), correctly rounded: two Newton steps in the form of Goldschmidt, the last one with the remainder x -
    g**2, which is exact from 2**-102 on (where subnormal numbers count as zeros, a remainder that is lost is less than
    an eighth of an ulp of g, which then is the nearest number already).

    Vectors that have a number whose root's estimate is above 2**50, one below about 2**-100, or infinity, NaN or a
    negative one, go to the divider. Tests show it for all fractions.
    """
    estimate = _estimate(x)
    # 0 < estimate <= 2**50, by its bits: as unsigned numbers, zero less 1 and negative ones are the largest.
    if not _in_all_lanes(below_unsigned(bits(estimate) - 1, 0x58800000)):
        return sqrt(x)
    half, root = estimate * 0.5, x * estimate
    error = fma(-root, half, 0.5)
    better, slope = fma(root, error, root), fma(half, error, half)
    return fma(slope, fma(-better, better, x), better)


def square_root_at(x, i):
    """sqrt(x) for the vector that begins at number i of an array."""


@overload(square_root_at, jit_options={"error_model": "numpy"})
def _square_root_at(x, i):
    if isinstance(x, Vector) and vector_bytes() == 64 and x.dtype == types.float32:
        lanes = x.lanes
        return lambda x, i: root_of_products(x) if i & lanes else sqrt(x)
    return lambda x, i: sqrt(x)
