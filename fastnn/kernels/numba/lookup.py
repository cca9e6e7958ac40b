"""exp, tanh and sigmoid with tables that are registers, for float32 on CPUs with AVX-512, which looks up one of 16 or
32 numbers for each lane in one operation. Short polynomials then suffice.

One core of an Intel CPU, elements per ns, without -> with: exp 3.7 -> 7.0, tanh 2.4 -> 4.6, sigmoid 2.7 -> 3.0.
"""

from typing import Any

from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

from ..cpu import vector_bytes
from .simd import absolute, bits, fma, select, shift_right_signed, with_sign
from .vectors import Vector, call_llvm, joined, parts_of

# fmt: off
# 2**(k / 16), and what rounding has taken from it.
_POWERS = (
    1.0, 1.04427373, 1.09050775, 1.13878858, 1.18920708, 1.24185777, 1.29683959, 1.35425556, 1.41421354,
    1.47682619, 1.54221082, 1.61049032, 1.68179286, 1.75625217, 1.8340081, 1.91520655,
)
_POWERS_REST = (
    0.0, 4.83347016e-08, -1.30775399e-08, 5.38622231e-08, 3.79763527e-08, 4.4968381e-08, -4.01899953e-08,
    -1.01233493e-08, 2.4203235e-08, -4.50089885e-08, 8.07090483e-09, 9.83621717e-09, -2.47553267e-08,
    -9.23577037e-09, -1.1239278e-08, 9.84532811e-09,
)
# (e**r - 1 - r) / r**2 on |r| <= ln 2 / 32, constant term first.
_EXP = (0.500015504, 0.166670584)
# Of each piece of tanh a centre and the coefficients of a polynomial about it, constant term first; printed by
# `python -m bench.minimax`.
_TANH_TABLE = (
    (2.23725009, 2.75465012, 3.24699998, 3.7574501, 4.49060011, 5.51669979, 6.52600002, 7.51300001, 8.70499992, 0.0,
     0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.141343743, 0.172531247, 0.202193752, 0.235065624, 0.279581249, 0.345493764,
     0.406450003, 0.467262506, 0.565774977, 0.690649986, 0.813399971, 0.935687482, 1.12810004, 1.37782502,
     1.62302494, 1.87782502),
    (0.977464974, 0.991934776, 0.996979594, 0.998910785, 0.999748528, 0.999967694, 0.999995708, 0.999999404,
     0.999999945, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.140409946, 0.170839474, 0.199482694, 0.230829641,
     0.272517472, 0.332373142, 0.385454267, 0.43598482, 0.512249649, 0.598399401, 0.671461582, 0.733234584,
     0.810368001, 0.880463302, 0.925061822, 0.954298258),
    (0.0445621775, 0.016065416, 0.00603168653, 0.00217724845, 0.000502874379, 6.46158152e-05, 8.58418899e-06,
     1.19229068e-06, 1.09836837e-07, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.980285047, 0.970813874, 0.960206655,
     0.946717677, 0.925734227, 0.889528095, 0.851425008, 0.809917236, 0.737600301, 0.641918158, 0.549139344,
     0.462367045, 0.343303676, 0.224784359, 0.144260626, 0.0893148338),
    (-0.0435568495, -0.0159349074, -0.00601305443, -0.00217471409, -0.000502139615, -6.4528654e-05, -8.57282686e-06,
     -1.19072517e-06, -1.09247478e-07, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, -0.13764177, -0.16585333, -0.191544609,
     -0.2185305, -0.252278723, -0.29565522, -0.328185375, -0.353111598, -0.377835266, -0.384123371, -0.368726021,
     -0.339023619, -0.278204274, -0.197915542, -0.133450438, -0.0852330578),
    (0.0277265606, 0.0104506748, 0.00398484604, 0.0014463586, 0.000335023024, 4.29353108e-05, 5.69770286e-06,
     7.9268719e-07, 7.37334475e-08, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, -0.333327759, -0.307435481, -0.295270405,
     -0.281858966, -0.265129333, -0.239827093, -0.198242487, -0.1573081, -0.116020646, -0.052324975, 0.0158850536,
     0.0645389172, 0.0944606326, 0.111020149, 0.0993332095, 0.0753624918, 0.0515665455),
    (-0.0126392884, -0.00510318639, -0.00198952994, -0.000728370137, -0.000175192613, -2.25471204e-05,
     -2.99364292e-06, -4.16235782e-07, -4.04382687e-08, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.089031615, 0.105709569,
     0.120053555, 0.134020736, 0.149354405, 0.1643483, 0.169939759, 0.168211585, 0.152554319, 0.118476294,
     0.0796133075, 0.0438373353, 0.00317387716, -0.0212470553, -0.0251414197, -0.0207849239),
    (0.00396970054, 0.00191771879, 0.000769828521, 0.00029334513, 6.80957595e-05, 9.32854119e-06, 1.26626653e-06,
     1.70772911e-07, 1.44953416e-08, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.132171066, 0.112037975, 0.102229068,
     0.0909730232, 0.0788348918, 0.0591044864, 0.0321906902, 0.00604135885, -0.0171688869, -0.0432284267,
     -0.0615032209, -0.0626912399, -0.0530586066, -0.0321799155, -0.00957500789, 0.00139605516, 0.0045985544),
)
# fmt: on
# Adding it rounds to a multiple of 1/16; the low four bits are those of the number of sixteenths.
_SIXTEENTHS_MAGIC = 12582912.0 / 16

_LANES = 16


def has_lookup(x: Any) -> bool:
    """Whether this module is for vectors of that type."""
    return isinstance(x, Vector) and vector_bytes() == 64 and x.dtype is types.float32


def _constant(numbers: tuple[float, ...]) -> Any:
    return ir.Constant(ir.VectorType(ir.FloatType(), _LANES), list(numbers))


def _by_vectors(builder: Any, function: Any, *args: Any) -> Any:
    """function on each vector of some groups."""
    count = args[0].type.count // _LANES
    return joined(builder, [function(*v) for v in zip(*(parts_of(builder, a, count) for a in args), strict=True)])


def _entry_of_16(table: tuple[float, ...], index: Any) -> tuple[Any, Any]:
    result = Vector(types.float32, index.lanes)

    def emit(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        numbers = _constant(table)

        def look_up(places: Any) -> Any:
            return call_llvm(builder, "llvm.x86.avx512.permvar.sf.512", numbers.type, numbers, places)

        return _by_vectors(builder, look_up, args[0])

    return result(index), emit


@intrinsic
def _power_of_sixteenths(typingctx, index):
    """2**(k / 16), rounded, for k in the low bits of an index."""
    return _entry_of_16(_POWERS, index)


@intrinsic
def _rest_of_power(typingctx, index):
    """What rounding has taken from it."""
    return _entry_of_16(_POWERS_REST, index)


@intrinsic(prefer_literal=True)
def _tanh_entry(typingctx, row, index):
    """The number of a row of the table at the low five bits of an index."""
    result, numbers = Vector(types.float32, index.lanes), _TANH_TABLE[row.literal_value]

    def emit(context, builder, sig, args):
        low, high = _constant(numbers[:_LANES]), _constant(numbers[_LANES:])

        def look_up(places: Any) -> Any:
            return call_llvm(builder, "llvm.x86.avx512.vpermi2var.ps.512", low.type, low, places, high)

        return _by_vectors(builder, look_up, args[1])

    return result(row, index), emit


@intrinsic
def _scaled(typingctx, x, n):
    """x 2**floor(n): infinity, subnormal numbers and zero beyond the normal range, rounded once."""

    def emit(context, builder, sig, args):
        def scale(a: Any, exponent: Any) -> Any:
            name, i16, i32 = "llvm.x86.avx512.mask.scalef.ps.512", ir.IntType(16), ir.IntType(32)
            nothing, all_lanes, mode = ir.Constant(a.type, None), ir.Constant(i16, -1), ir.Constant(i32, 4)
            return call_llvm(builder, name, a.type, a, exponent, nothing, all_lanes, mode)

        return _by_vectors(builder, scale, *args)

    return x(x, n), emit


@njit(error_model="numpy")
def _reduce_by_sixteenths(x):
    """e**r - 1 where e**x = 2**n 2**(k / 16) e**r with k < 16 and the least |r|; n + k / 16, of which `_scaled` takes
    n; and an index whose low bits are k."""
    shifted = fma(x, 1.44269504, _SIXTEENTHS_MAGIC)
    n = shifted - _SIXTEENTHS_MAGIC
    r = fma(n, -1.42860682e-6, fma(n, -0.693145751953125, x))  # -ln 2 in two parts
    return fma(r * r, fma(r, _EXP[1], _EXP[0]), r), n, bits(shifted)


@njit(error_model="numpy")
def exp_over_power(x, least):
    """e**x / 2**least for integers `least`, rounded about once; and what rounding has taken from it, where it is a
    normal number."""
    r, n, index = _reduce_by_sixteenths(x)
    power = _power_of_sixteenths(index)
    rest = fma(power, r, _rest_of_power(index))
    e = rest + power
    return _scaled(e, n - least), _scaled(rest - (e - power), n - least)


@njit(error_model="numpy")
def exp_nonpositive(x):
    """e**x for x <= 89: zero and subnormal results included."""
    e, n, index = _reduce_by_sixteenths(select(x < -104.0, -104.0, x))
    power = _power_of_sixteenths(index)
    return _scaled(fma(power, e, power), n)


@njit(error_model="numpy")
def exp(x):
    """e**x: infinity and zero beyond the range, subnormal results included."""
    return exp_nonpositive(select(x > 89.0, 89.0, x))


@njit(error_model="numpy")
def tanh(x):
    """tanh(|x|), with the sign put back, from the polynomial of the piece that holds |x|.

    The index is the exponent and two bits of the fraction; what is below 1/8 is one piece, odd about zero.
    """
    a = absolute(x)
    a = select(a > 9.5, 9.5, a)  # from there on it is 1
    index = shift_right_signed(bits(a), 21)
    first = 0x3DE00000 >> 21
    index = select(index < first, first, index)
    d = a - _tanh_entry(0, index)
    value = fma(d, _tanh_entry(6, index), _tanh_entry(5, index))
    value = fma(d, value, _tanh_entry(4, index))
    value = fma(d, value, _tanh_entry(3, index))
    value = fma(d, value, _tanh_entry(2, index))
    return with_sign(fma(d, value, _tanh_entry(1, index)), x)


@njit(error_model="numpy")
def sigmoid(x):
    """e / (1 + e) with e = e**x, whose power of two is taken with its rest. What the rounding of 1 + e and of the
    quotient has lost is put back."""
    x = select(x > 40.0, 40.0, x)
    r, n, index = _reduce_by_sixteenths(select(x < -104.0, -104.0, x))  # 0 and, to the last bit, 1
    power = _power_of_sixteenths(index)
    e = _scaled(fma(power, r, _rest_of_power(index)) + power, n)
    d = e + 1.0
    reciprocal = 1.0 / d
    q = e * reciprocal
    rest = fma(-q, e - (d - 1.0), fma(-q, d, e))
    return fma(rest, reciprocal, q)
