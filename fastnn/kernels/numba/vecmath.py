"""exp, log, tanh and sigmoid on vectors, as polynomials or, where the CPU can, with tables (lookup.py);
NaN, infinities and both ends of the range come out right.

Coefficients are minimax fits, printed by `python -m bench.minimax`. Bounds in ulp of the result, measured by
tests/test_vecmath.py against float64 (for float32) and 80-bit arithmetic (for float64):

                       float32   float64
    exp                  1.1       1.1
    exp_nonpositive      1.1       1.1     where the result is normal
    log                  1.0       1.0     of normal, positive arguments
    log1p_unit           1.25      1.25
    tanh                 1.3       1.3
    sigmoid              1.0       1.0

and on CPUs without FMA

    tanh                 1.6       1.6
    sigmoid              1.5       1.5

and with tables

    sigmoid              1.4       1.0
"""

from dataclasses import dataclass
from typing import Any

from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic, overload

from . import lookup
from .simd import absolute, bits, fma, from_bits, select, shift_right_signed, to_float, with_sign
from .vectors import broadcast, fused_multiply_add, integers_like, vector_type


@dataclass(frozen=True)
class _Constants:
    """What differs between float32 and float64."""

    fraction_bits: int
    bias: int  # of the exponent
    sqrt_half: int  # the bits of sqrt(1/2)
    round_magic: float  # adding it rounds to an integer n; the low bits then hold n + bias, the exponent of 2**n
    minus_ln2_high: float  # -ln 2 in two parts, the first with trailing zeros so that n * ln2_high is exact
    minus_ln2_low: float
    exp: tuple[float, ...]  # (exp(r) - 1 - r) / r**2, constant term first
    exp_low: float  # below: 0
    exp_high: float  # above: infinity
    exp_normal: float  # below: the result is subnormal or 0
    exp_end: float  # below: x e**x is 0
    log: tuple[float, ...]  # (log((1 + s) / (1 - s)) / s - 2) / z with z = s**2, constant term first
    log1p: tuple[float, ...]  # the same on the longer interval of log(1 + x), 0 <= x <= 1
    power: tuple[float, ...]  # (2**f - 1) / f, constant term first
    tanh: tuple[float, ...]  # (tanh(x) / x - 1) / z with z = x**2, constant term first; as many as `power`
    tanh_small: float  # below: by the polynomial `tanh`
    tanh_one: float  # beyond: 1 to the last bit
    sigmoid_low: float  # below: 0
    sigmoid_high: float  # above: 1 to the last bit
    sigmoid_unit: float  # a power of two by which 1 + e**-x is multiplied lest it overflow
    sigmoid_magic: float  # round_magic, the unit's exponent included


_FLOAT32 = _Constants(
    23, 127, 0x3F3504F3, 12582912.0 + 127, -0.693145751953125, -1.42860682030941723212e-6,
    (0.5000000095552123, 0.16666518379401334, 0.041666204445891419, 0.0083689467214606959, 0.0013950587045080556),
    -104.0, 89.0, -87.336544, -112.0,
    (0.6666677557253394, 0.39977606961531087, 0.29870547522330944),
    (0.66666675595689873, 0.39998878226899019, 0.28616906934877351, 0.21427110092204124, 0.2430397126117278),
    (0.69314720639342478, 0.24022651349790534, 0.055503274704848417, 0.0096180033890673151, 0.0013400399784901442,
     0.0001547644618786725),
    (-0.33333330901835892, 0.13333209458943184, -0.053947156103219345, 0.021702663372138308,
     -0.0081818426873278701, 0.0021467135246624446),
    0.625, 10.0, -104.0, 40.0, 2.0**-32, 12582912.0 + 127 - 32,
)  # fmt: skip
_FLOAT64 = _Constants(
    52, 1023, 0x3FE6A09E667F3BCD, 6755399441055744.0 + 1023,
    -6.93147180369123816490e-01, -1.90821492927058770002e-10,
    (0.50000000000000127593, 0.16666666666666699213, 0.041666666666514977882, 0.0083333333333070949484,
     0.0013888888947185232996, 0.00019841269917645458551, 0.000024801489723426942769, 2.7557216051146029028e-6,
     2.7631371211637993892e-7, 2.5117944046052441033e-8),
    -745.2, 710.0, -708.39641853226408, -760.0,
    (0.66666666666667306744, 0.39999999999433429947, 0.28571428739023526801, 0.22222198861319326266,
     0.18183551575873359559, 0.15314331648554110323, 0.14793509395828982899),
    (0.6666666666666631255, 0.40000000000155240461, 0.28571428548016931012, 0.22222223963446993291,
     0.18181744044805016099, 0.15386559078331560571, 0.1330096626030085231, 0.12106267204228524752,
     0.083388469947513908444, 0.17021655858297745857),
    (0.69314718055994530803, 0.24022650695910133829, 0.055504108664821743069, 0.0096181291075930579292,
     0.0013333558146378718923, 0.00015403530458459823753, 0.000015252733867842989623, 1.3215434612683754752e-6,
     1.0178046337273215692e-7, 7.0738974864545881184e-9, 4.4574056715091591039e-10),
    (-0.33333333333332878884, 0.13333333333264817847, -0.053968253932381561256, 0.021869487598851739147,
     -0.0088632212711810246247, 0.0035919911396357691955, -0.0014549680920906493858, 0.00058634422829703903324,
     -0.00022861579669536771111, 0.000077198612993161682072, -0.000016097176657031958789),
    0.625, 20.0, -745.2, 60.0, 2.0**-64, 6755399441055744.0 + 1023 - 64,
)  # fmt: skip


_TABLES: dict[Any, list[object]] = {types.float32: [_FLOAT32], types.float64: [_FLOAT64]}


def add_constants(float32: object, float64: object) -> None:
    """More constants, as attributes, for functions elsewhere."""
    _TABLES[types.float32].append(float32)
    _TABLES[types.float64].append(float64)


def _constant(x: Any, name: str) -> Any:
    return next(getattr(table, name) for table in _TABLES[x.dtype] if hasattr(table, name))


@intrinsic(prefer_literal=True)
def constant(typingctx, x, name):
    """The constant of that name for x's dtype: a vector of it, or of integers where it goes with bit patterns."""
    value = _constant(x, name.literal_value)
    vector = integers_like(x) if isinstance(value, int) else x

    def emit(context, builder, sig, args):
        llvm = vector_type(vector)
        return ir.Constant(llvm, [ir.Constant(llvm.element, value)] * llvm.count)

    return vector(x, name), emit


def _emit_polynomial(builder: Any, r: Any, terms: list[Any]) -> Any:
    """(c0 + c1 r) + r**2 ((c2 + c3 r) + r**2 (...)): half as long a chain as Horner's."""
    pairs = [
        fused_multiply_add(builder, terms[i + 1], r, terms[i]) if i + 1 < len(terms) else terms[i]
        for i in range(0, len(terms), 2)
    ]
    square, value = builder.fmul(r, r), pairs[-1]
    for pair in reversed(pairs[:-1]):
        value = fused_multiply_add(builder, value, square, pair)
    return value


def _terms(builder: Any, r: Any, name: str, llvm: Any) -> list[Any]:
    return [broadcast(builder, ir.Constant(llvm.element, c), llvm) for c in _constant(r, name)]


@intrinsic(prefer_literal=True)
def polynomial(typingctx, r, name):
    """The polynomial of that name at r."""

    def emit(context, builder, sig, args):
        return _emit_polynomial(builder, args[0], _terms(builder, r, name.literal_value, args[0].type))

    return r(r, name), emit


@intrinsic(prefer_literal=True)
def chosen_polynomial(typingctx, r, mask, name, other):
    """The polynomial of that name at r where the mask is true, the other one, with as many terms, elsewhere."""

    def emit(context, builder, sig, args):
        llvm = args[0].type
        pairs = zip(*(_terms(builder, r, n.literal_value, llvm) for n in (name, other)), strict=True)
        return _emit_polynomial(builder, args[0], [builder.select(args[1], a, b) for a, b in pairs])

    return r(r, mask, name, other), emit


@njit(error_model="numpy")
def _power_of_two(n, like):
    """2**n for integers n in the normal range."""
    return from_bits((n + constant(like, "bias")) << constant(like, "fraction_bits"), like)


@njit(error_model="numpy")
def reduce(x, magic):
    """n + magic and e**r - 1 where x = n ln 2 + r and |r| <= ln 2 / 2."""
    shifted = fma(x, 1.4426950408889634074, magic)
    whole = shifted - magic
    r = fma(whole, constant(x, "minus_ln2_low"), fma(whole, constant(x, "minus_ln2_high"), x))
    return shifted, fma(r * r, polynomial(r, "exp"), r)


@njit(error_model="numpy")
def power(shifted):
    """2**n from n + round_magic, n in the normal range: the exponent stands in the low bits."""
    return from_bits(bits(shifted) << constant(shifted, "fraction_bits"), shifted)


@njit(error_model="numpy")
def _exp_over_power_by_polynomial(x, least):
    """As `exp_over_power`."""
    magic = constant(x, "round_magic")
    shifted, e = reduce(x, magic)
    n = bits(shifted - least) - bits(magic)
    half = shift_right_signed(n, 1)  # 2**n as two factors: n itself may lie outside the normal range
    first = _power_of_two(half, x)
    return fma(first, e, first) * _power_of_two(n - half, x), (e - ((e + 1.0) - 1.0)) * power(shifted - least)


@njit(error_model="numpy")
def _exp_by_polynomial(x):
    """e**x: infinity and zero beyond the range, subnormal results included."""
    low, high = constant(x, "exp_low"), constant(x, "exp_high")
    return _exp_over_power_by_polynomial(select(x < low, low, select(x > high, high, x)), 0.0)[0]


@njit(error_model="numpy")
def _exp_nonpositive_by_polynomial(x):
    """e**x for x <= 0: cheaper than `exp`, zero where the result would be subnormal."""
    low = constant(x, "exp_normal")
    shifted, e = reduce(select(x < low, low, x), constant(x, "round_magic"))
    scale = power(shifted)
    return select(x < low, 0.0, fma(scale, e, scale))


@njit(error_model="numpy")
def log_plus(x, small):
    """log(x) + small for a normal positive number and one of the size of its last digits: x = 2**k (1 + f) with 1 + f
    in [sqrt(1/2), sqrt(2)]. Where x is infinite or NaN it is x."""
    pattern = bits(x)
    k = shift_right_signed(pattern - constant(x, "sqrt_half"), constant(x, "fraction_bits"))
    f = from_bits(pattern - (k << constant(x, "fraction_bits")), x) - 1.0
    s = f / (f + 2.0)
    z = s * s
    half_square = f * f * 0.5
    # log(1 + f) = f - (f**2 / 2 - s (f**2 / 2 + R)): f itself is exact, all that is rounded is small beside it.
    correction = s * fma(z, polynomial(z, "log"), half_square)
    exponent = to_float(k, x)
    low = fma(exponent, constant(x, "minus_ln2_low"), half_square - correction) - small
    return select(x < float("inf"), fma(exponent, -constant(x, "minus_ln2_high"), f - low), x)


@njit(error_model="numpy")
def log(x):
    """The natural logarithm of a normal positive number. Infinity and NaN stay what they are."""
    return log_plus(x, 0.0)


@njit(error_model="numpy")
def log1p_unit(x):
    """log(1 + x) for 0 <= x <= 1, as `log` without an exponent."""
    s = x / (x + 2.0)
    z = s * s
    half_square = x * x * 0.5
    return x - fma(-s, fma(z, polynomial(z, "log1p"), half_square), half_square)


@njit(error_model="numpy")
def _tanh_by_polynomial(x):
    """With a = |x| and the sign put back: a + a**3 P(a**2) where a is small, else 1 - 2 / (e**2a + 1), where an error
    of the quotient counts less than half.

    Both are a polynomial, times something, plus something: one chain with operands chosen by size. e**2a = 2**n 2**f;
    the argument is reduced with log2(e) rounded, which suffices for exponents so small.
    """
    a, one, magic = absolute(x), constant(x, "tanh_one"), constant(x, "round_magic")
    small = a < constant(x, "tanh_small")
    clipped = select(a > one, one, a)
    shifted = fma(clipped, 2.8853900817779268147, magic)
    f = fma(clipped, 2.8853900817779268147, magic - shifted)
    scale = select(small, a, power(shifted))
    r = select(small, a * a, f)
    value = chosen_polynomial(r, small, "tanh", "power")
    value = fma(scale * r, value, select(small, scale, scale + 1.0))
    y = select(small, value, 1.0 - 2.0 / value)
    return with_sign(y, x)


@njit(error_model="numpy")
def _sigmoid_by_polynomial(x):
    """1 / (1 + e**-x).

    All is multiplied by sigmoid_unit, a power of two, so that the sum d does not overflow where the result is
    subnormal; what the rounding of d and of its reciprocal q have lost is put back: q (2 - q d).
    """
    low, high, unit = constant(x, "sigmoid_low"), constant(x, "sigmoid_high"), constant(x, "sigmoid_unit")
    clipped = select(x > high, high, x)
    shifted, e = reduce(-select(clipped < low, low, clipped), constant(x, "sigmoid_magic"))
    scale = power(shifted)
    d = fma(scale, e, scale + unit)
    q = 1.0 / d
    lost = fma(scale, e, unit - (d - scale))
    return fma(q, fma(-q, lost, fma(-q, d, 1.0)), q) * unit


_COMPILED_ONLY = "functions of vectors can be called from compiled code only"


def exp(x):
    """e**x: infinity and zero beyond the range, subnormal results included."""
    raise NotImplementedError(_COMPILED_ONLY)


def exp_nonpositive(x):
    """e**x for x <= 0: cheaper than `exp`; where the result is subnormal it is that or, without tables, zero."""
    raise NotImplementedError(_COMPILED_ONLY)


def exp_over_power(x, least):
    """e**x / 2**least for integers `least`, subnormal results included; and what rounding has taken from it, where it
    is a normal number."""
    raise NotImplementedError(_COMPILED_ONLY)


def tanh(x):
    """The hyperbolic tangent; odd, and x itself where x is tiny."""
    raise NotImplementedError(_COMPILED_ONLY)


def sigmoid(x):
    """1 / (1 + e**-x), subnormal results included."""
    raise NotImplementedError(_COMPILED_ONLY)


@overload(exp_over_power, jit_options={"error_model": "numpy"})
def _choose_exp_over_power(x, least):
    form = lookup.exp_over_power if lookup.has_lookup(x) else _exp_over_power_by_polynomial
    return lambda x, least: form(x, least)


def _choose_form(function: Any, by_polynomial: Any, by_table: Any) -> None:
    """Of two forms of a function the one with tables where the CPU has them."""

    @overload(function, jit_options={"error_model": "numpy"})
    def choose(x):
        form = by_table if lookup.has_lookup(x) else by_polynomial
        return lambda x: form(x)


_choose_form(exp, _exp_by_polynomial, lookup.exp)
_choose_form(exp_nonpositive, _exp_nonpositive_by_polynomial, lookup.exp_nonpositive)
_choose_form(tanh, _tanh_by_polynomial, lookup.tanh)
_choose_form(sigmoid, _sigmoid_by_polynomial, lookup.sigmoid)
