"""exp, log, tanh and sigmoid on vectors, as polynomials; NaN, infinities and both ends of the range come out right.

Coefficients are minimax fits, printed by `python -m bench.minimax`. Bounds in ulp of the result, measured by
tests/test_vecmath.py against float64 (for float32) and 80-bit arithmetic (for float64):

                       float32   float64
    exp                  1.1       1.1
    exp_nonpositive      1.1       1.1     where the result is normal
    log                  1.0       1.0     of normal, positive arguments
    log1p_unit           1.25      1.25
    tanh                 2.5       2.75
    sigmoid              2.5       2.5     where the result is normal
"""

from dataclasses import dataclass
from typing import Any

from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

from .simd import (
    bits,
    broadcast,
    fma,
    from_bits,
    fused_multiply_add,
    integers_like,
    select,
    shift_right_signed,
    to_float,
    vector_type,
)


@dataclass(frozen=True)
class _Constants:
    """What differs between float32 and float64."""

    fraction_bits: int
    bias: int  # of the exponent
    sign: int  # the sign bit
    magnitude: int  # all other bits
    sqrt_half: int  # the bits of sqrt(1/2)
    round_magic: float  # adding it rounds to an integer n; the low bits then hold n + bias, the exponent of 2**n
    minus_ln2_high: float  # -ln 2 in two parts, the first with trailing zeros so that n * ln2_high is exact
    minus_ln2_low: float
    exp: tuple[float, ...]  # (exp(r) - 1 - r) / r**2, constant term first
    exp_low: float  # below: 0
    exp_high: float  # above: infinity
    exp_normal: float  # below: the result is subnormal or 0
    log: tuple[float, ...]  # (log((1 + s) / (1 - s)) / s - 2) / z with z = s**2, constant term first
    tanh_one: float  # beyond: 1 to the last bit


_FLOAT32 = _Constants(
    23, 127, -(2**31), 2**31 - 1, 0x3F3504F3, 12582912.0 + 127, -0.693145751953125, -1.42860682030941723212e-6,
    (0.5000000095552123, 0.16666518379401334, 0.041666204445891419, 0.0083689467214606959, 0.0013950587045080556),
    -103.97207, 88.722839, -87.336544,
    (0.6666677557253394, 0.39977606961531087, 0.29870547522330944),
    10.0,
)  # fmt: skip
_FLOAT64 = _Constants(
    52, 1023, -(2**63), 2**63 - 1, 0x3FE6A09E667F3BCD, 6755399441055744.0 + 1023,
    -6.93147180369123816490e-01, -1.90821492927058770002e-10,
    (0.50000000000000127593, 0.16666666666666699213, 0.041666666666514977882, 0.0083333333333070949484,
     0.0013888888947185232996, 0.00019841269917645458551, 0.000024801489723426942769, 2.7557216051146029028e-6,
     2.7631371211637993892e-7, 2.5117944046052441033e-8),
    -745.13321910194122, 709.78271289338397, -708.39641853226408,
    (0.66666666666667306744, 0.39999999999433429947, 0.28571428739023526801, 0.22222198861319326266,
     0.18183551575873359559, 0.15314331648554110323, 0.14793509395828982899),
    20.0,
)  # fmt: skip


def _constants(x: Any) -> _Constants:
    return _FLOAT32 if x.dtype is types.float32 else _FLOAT64


@intrinsic(prefer_literal=True)
def constant(typingctx, x, name):
    """The constant of that name for x's dtype: a vector of it, or of integers where it goes with bit patterns."""
    value = getattr(_constants(x), name.literal_value)
    vector = integers_like(x) if isinstance(value, int) else x

    def emit(context, builder, sig, args):
        llvm = vector_type(vector)
        return ir.Constant(llvm, [ir.Constant(llvm.element, value)] * llvm.count)

    return vector(x, name), emit


@intrinsic(prefer_literal=True)
def polynomial(typingctx, r, name):
    """The polynomial of that name at r, as (c0 + c1 r) + r**2 ((c2 + c3 r) + r**2 (...)).

    The chain is half as long as Horner's, and such functions wait for latencies, not for arithmetic (tanh in float64:
    2.2 -> 2.6 numbers a nanosecond).
    """
    coefficients = getattr(_constants(r), name.literal_value)

    def emit(context, builder, sig, args):
        llvm = args[0].type
        terms = [broadcast(builder, ir.Constant(llvm.element, c), llvm) for c in coefficients]
        pairs = [
            fused_multiply_add(builder, terms[i + 1], args[0], terms[i]) if i + 1 < len(terms) else terms[i]
            for i in range(0, len(terms), 2)
        ]
        square, value = builder.fmul(args[0], args[0]), pairs[-1]
        for pair in reversed(pairs[:-1]):
            value = fused_multiply_add(builder, value, square, pair)
        return value

    return r(r, name), emit


@njit(error_model="numpy")
def absolute(x):
    """|x|: the sign bit cleared."""
    return from_bits(bits(x) & constant(x, "magnitude"), x)


@njit(error_model="numpy")
def _power_of_two(n, like):
    """2**n for integers n in the normal range."""
    return from_bits((n + constant(like, "bias")) << constant(like, "fraction_bits"), like)


@njit(error_model="numpy")
def _reduce(x):
    """n + round_magic and e**r - 1 where x = n ln 2 + r and |r| <= ln 2 / 2."""
    magic = constant(x, "round_magic")
    shifted = fma(x, 1.4426950408889634074, magic)
    whole = shifted - magic
    r = fma(whole, constant(x, "minus_ln2_low"), fma(whole, constant(x, "minus_ln2_high"), x))
    return shifted, fma(r * r, polynomial(r, "exp"), r)


@njit(error_model="numpy")
def _power(shifted):
    """2**n from n + round_magic, n in the normal range: the exponent stands in the low bits."""
    return from_bits(bits(shifted) << constant(shifted, "fraction_bits"), shifted)


@njit(error_model="numpy")
def exp(x):
    """e**x: infinity and zero beyond the range, subnormal results included."""
    low, high = constant(x, "exp_low"), constant(x, "exp_high")
    shifted, e = _reduce(select(x < low, low, select(x > high, high, x)))
    n = bits(shifted) - bits(constant(x, "round_magic"))
    half = shift_right_signed(n, 1)  # 2**n as two factors: n itself may lie outside the normal range
    first = _power_of_two(half, x)
    y = fma(first, e, first) * _power_of_two(n - half, x)
    return select(x > high, float("inf"), select(x < low, 0.0, y))


@njit(error_model="numpy")
def exp_nonpositive(x):
    """e**x for x <= 0: cheaper than `exp`, and zero where the result would be subnormal."""
    low = constant(x, "exp_normal")
    shifted, e = _reduce(select(x < low, low, x))
    power = _power(shifted)
    return select(x < low, 0.0, fma(power, e, power))


@njit(error_model="numpy")
def log(x):
    """The natural logarithm of a normal positive number: x = 2**k (1 + f) with 1 + f in [sqrt(1/2), sqrt(2)].

    Infinity and NaN stay what they are.
    """
    pattern = bits(x)
    k = shift_right_signed(pattern - constant(x, "sqrt_half"), constant(x, "fraction_bits"))
    f = from_bits(pattern - (k << constant(x, "fraction_bits")), x) - 1.0
    s = f / (f + 2.0)
    z = s * s
    half_square = f * f * 0.5
    # log(1 + f) = f - (f**2 / 2 - s (f**2 / 2 + R)): f itself is exact, all that is rounded is small beside it.
    correction = s * fma(z, polynomial(z, "log"), half_square)
    exponent = to_float(k, x)
    low = fma(exponent, constant(x, "minus_ln2_low"), half_square - correction)
    return select(x < float("inf"), fma(exponent, -constant(x, "minus_ln2_high"), f - low), x)


@njit(error_model="numpy")
def log1p_unit(x):
    """log(1 + x) for 0 <= x <= 1: the logarithm of the rounded sum, plus what the rounding lost over that sum."""
    total = x + 1.0
    return log(total) + (x - (total - 1.0)) / total


@njit(error_model="numpy")
def tanh(x):
    """(e**2a - 1) / (e**2a + 1) with a = |x| and the sign put back; e**2a - 1 without cancellation."""
    a = absolute(x)
    one = constant(x, "tanh_one")
    shifted, e = _reduce(select(a > one, one, a) * 2.0)
    power = _power(shifted)
    t = fma(power, e, power - 1.0)
    y = t / (t + 2.0)
    return from_bits(bits(y) | (bits(x) & constant(x, "sign")), x)


@njit(error_model="numpy")
def sigmoid(x):
    """With e = e**-|x|: 1 / (1 + e) for x >= 0 and e / (1 + e) below, so that nothing overflows."""
    e = exp_nonpositive(absolute(x) * -1.0)
    return select(x < 0.0, e, 1.0) / (e + 1.0)
