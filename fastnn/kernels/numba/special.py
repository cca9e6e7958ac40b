"""Activations that are no function of vecmath.py, on vectors: ELU and SELU, softsign, softplus, SiLU, mish and GELU in
both forms, the last five with their derivatives, which share the exponential.

NaN, infinities, zeros of either sign, subnormal numbers and the far tails, where results become subnormal, come out
right. Bounds in ulp of the result, measured as those of vecmath.py, for all arguments:

                         float32   float64
    elu                    1.1       1.3
    selu                   2.0       3.0
    softsign               1.5       1.5
    softplus               2.0       2.0
    silu                   1.2       1.2
    mish                   1.2       1.2
    gelu                   2.2       2.2
    gelu_tanh              1.2       1.4

and on CPUs without FMA

    elu                    1.1       1.3
    selu                   2.0       3.0
    softsign               1.5       1.5
    softplus               2.0       2.0
    silu                   1.7       1.8
    mish                   2.7       2.7
    gelu                   4.0       4.5
    gelu_tanh              1.8       1.8
"""

from dataclasses import dataclass

from numba import njit

from .. import cpu
from ..reference.activations import SELU_ALPHA, SELU_SCALE
from .simd import absolute, fma, select, with_sign
from .vecmath import add_constants, constant, log1p_unit, polynomial, power, reduce

FAR = 1000.0
_RATE, _CUBIC = 1.5957691216057307118, 0.071354816272600248776  # 2 sqrt(2 / pi), and that times 0.044715


@dataclass(frozen=True)
class _Constants:
    """What differs between float32 and float64."""

    tail_first: float  # Q(a) e**(a**2 / 2) / u in t = 1 - 2 u with u = 4 / (a + 4): its constant term
    tail: tuple[float, ...]  # and the others
    tail_magic: float  # round_magic, the exponent of 1 / tail_unit included
    tail_unit: float  # a power of two that makes results subnormal in the very last step
    gelu_end: float  # beyond: x Q(x) is 0
    gelu_tanh_end: float  # the same of the other form
    rate_rest: float  # 2 sqrt(2 / pi), and that times 0.044715: what rounding has taken from them
    cubic_rest: float
    half_way: float  # times a number, and less that less the number: its upper half
    cubic: float = _CUBIC
    one: float = 1.0
    two: float = 2.0


_FLOAT32 = _Constants(
    0.18882128282620111,
    (
        -0.15197416235113078, 0.096784326032245454, -0.046630393136985914, 0.015099591173968222,
        -0.0018856550335027098, -0.00087306859034381289, 0.00040886954833187503, 4.2985770878979161e-5,
        -5.4807732991311346e-5, -1.1265338653321644e-5
    ),
    12582912.0 + 127 + 64, 2.0**-64, 15.0, 11.5, -4.5340680421052716e-8, 2.3988323959931356e-9, 4097.0,
)  # fmt: skip
_FLOAT64 = _Constants(
    0.18882128260393786952,
    (
        -0.15197416049297301201, 0.096784350185554892776, -0.046630464489916388967,
        0.015099143722665403201, -0.0018850472416076401913, -0.00086992309037945219834, 0.00040770461330430608061,
        0.000033336061914500595822, -0.000057773725824754769796, -4.7695977773447493599e-7, 8.7861420615035129931e-6,
        1.7873968490985068786e-7, -1.4800022778894375764e-6, -1.5629801664608485127e-7, 2.5546443053051956858e-7,
        6.6026452849263452849e-8, -3.9149637175893278294e-8, -1.9293133308091951612e-8, 4.0193733778284937657e-9,
        3.6511460656595584946e-9, -8.5631686748349531147e-11, -2.9874818530306265064e-10
    ),
    6755399441055744.0 + 1023 + 128, 2.0**-128, 39.0, 21.7, -9.9693088091109203e-17, -6.1751499181553155e-19,
    134217729.0,
)  # fmt: skip
add_constants(_FLOAT32, _FLOAT64)


@njit(error_model="numpy")
def _expm1_times(x, factor):
    """factor (e**x - 1) for x <= 0."""
    low = constant(x, "exp_normal")
    shifted, e = reduce(select(x < low, low, x), constant(x, "round_magic"))
    scale = power(shifted)
    return fma(scale * factor, e, (scale - 1.0) * factor)


@njit(error_model="numpy")
def elu(x, alpha):
    """x where it is not negative, else alpha (e**x - 1)."""
    return select(x < 0.0, _expm1_times(x, alpha), x)


@njit(error_model="numpy")
def selu(x):
    """The same with its own alpha, all of it scaled."""
    return select(x < 0.0, _expm1_times(x, SELU_SCALE * SELU_ALPHA), x * SELU_SCALE)


@njit(error_model="numpy")
def softsign(x):
    """x / (1 + |x|); from 2**60 on 1."""
    a = absolute(x)
    a = select(a > 2.0**60, 2.0**60, a)
    return with_sign(a / (a + 1.0), x)


# In the tails results become subnormal long before their factors would have to: all but the power of two is
# multiplied first, then 2**n / unit and unit, of which the second alone rounds.


@njit(error_model="numpy")
def _decay(x):
    """q and 2**n / unit with e**x = 2**n (1 + q), and e**x, for x from `exp_end` to 0."""
    shifted, q = reduce(x, constant(x, "tail_magic"))
    scale = power(shifted)
    return q, scale, fma(scale, q, scale) * constant(x, "tail_unit")


@njit(error_model="numpy")
def _tail(value, x, scale):
    """value 2**n where x is negative, and value itself elsewhere."""
    return value * select(x < 0.0, scale, 1.0) * select(x < 0.0, constant(x, "tail_unit"), 1.0)


@njit(error_model="numpy")
def _times_power(x, q):
    """x (1 + q) where x is negative, else x; and what rounding has taken from it."""
    product = fma(x, q, x)
    return select(x < 0.0, product, x), select(x < 0.0, fma(x, q, x - product), 0.0)


@njit(error_model="numpy")
def _divided(n, n_rest, d, d_rest):
    """(n + n_rest) / (d + d_rest) for rests that are small, rounded about once; and 1 / d."""
    reciprocal = 1.0 / d
    quotient = n * reciprocal
    rest = fma(-quotient, d_rest, fma(-quotient, d, n)) + n_rest
    return fma(rest, reciprocal, quotient), reciprocal


@njit(error_model="numpy")
def softplus(x):
    """log(1 + e**x) = max(x, 0) + log(1 + e**-|x|), and its derivative, the sigmoid."""
    low, a = constant(x, "exp_end"), -absolute(x)
    _, _, e = _decay(select(a < low, low, a))
    return select(x < 0.0, 0.0, x) + log1p_unit(e), select(x < 0.0, e, 1.0) / (e + 1.0)


# Beyond FAR silu and mish are x itself, their derivatives 1; below exp_end both are zero.


@njit(error_model="numpy")
def _bounded(x):
    """x between exp_end and FAR, and -|x| of that, not below exp_end."""
    low = constant(x, "exp_end")
    bounded = select(x < low, low, select(x > FAR, FAR, x))
    a = -absolute(bounded)
    return bounded, select(a < low, low, a)


@njit(error_model="numpy")
def silu(x):
    """x sigmoid(x), with e = e**-|x|: x / (1 + e), times e where x is negative. And its derivative, s + y (1 - s)."""
    bounded, a = _bounded(x)
    q, scale, e = _decay(a)
    n, n_rest = _times_power(bounded, q)
    d = e + 1.0
    y, r = _divided(n, n_rest, d, e - (d - 1.0))
    y = _tail(y, x, scale)
    slope = fma(y, select(x < 0.0, 1.0, e) * r, select(x < 0.0, e, 1.0) * r)
    return with_sign(select(x > FAR, x, y), x), slope


@njit(error_model="numpy")
def mish(x):
    """x tanh(log(1 + e**x)) = x n / (n + 2) with n = e**x (e**x + 2), and its derivative.

    With e = e**-|x| the quotient is e m / (2 + e m), m = 2 + e, where x is negative, else m / (m + 2 e**2) with
    m = 1 + 2 e; the derivative is t + x (1 - t**2) sigmoid(x), t being the quotient.
    """
    bounded, a = _bounded(x)
    q, scale, e = _decay(a)
    n, n_rest = _times_power(bounded, q)
    one, two = constant(x, "one"), constant(x, "two")
    once, first = select(x < 0.0, one, two), select(x < 0.0, two, one)
    m = fma(e, once, first)
    m_rest = fma(e, once, first - m)
    factor, second = select(x < 0.0, m, e + e), select(x < 0.0, 2.0, m)
    d = fma(e, factor, second)
    d_rest = fma(e, factor, second - d) + select(x < 0.0, e * m_rest, m_rest)
    product = n * m
    product_rest = fma(n, m, -product) + fma(n, m_rest, n_rest * m)
    y, r = _divided(product, product_rest, d, d_rest)
    y = _tail(y, x, scale)
    power = select(x < 0.0, e, e * e)
    change = (fma(power, e, power) * 4.0) * (r * r)
    return with_sign(select(x > FAR, x, y), x), fma(bounded, change, select(x < 0.0, e * m, m) * r)


@njit(error_model="numpy")
def _rest_of_product(a, b, product):
    """a b - product, which has no error but where it is subnormal."""
    return fma(a, b, -product)


@njit(error_model="numpy")
def _rest_of_product_in_halves(a, b, product):
    """The same without FMA: of numbers in two parts with half as many bits, whose products are exact (Dekker 1971)."""
    a_high, b_high = a * constant(a, "half_way"), b * constant(a, "half_way")
    a_high, b_high = a_high - (a_high - a), b_high - (b_high - b)
    a_low, b_low = a - a_high, b - b_high
    return ((a_high * b_high - product) + a_high * b_low + a_low * b_high) + a_low * b_low


if not cpu.has_fma():
    _rest_of_product = _rest_of_product_in_halves


@njit(error_model="numpy")
def gelu(x):
    """x P(x), P being the share of a normal distribution below x, and its derivative P(x) + x p(x), p its density.

    With a = |x| and Q(a) = 1 - P(a) it is -a Q(a) where x is negative, else x - a Q(a): no digit is lost where Q is
    small. Q(a) = e**(-a**2 / 2) u (c0 + t c(t)) with u = 4 / (a + 4), t = 1 - 2 u. What each rounding takes from the
    product is put back in its last step.
    """
    a, end = absolute(x), constant(x, "gelu_end")
    a = select(a > end, end, a)
    half = a * -0.5
    square = half * a
    shifted, q = reduce(square, constant(x, "tail_magic"))
    square_rest = _rest_of_product(half, a, square)
    d = a + 4.0
    reciprocal = 1.0 / d
    u = reciprocal * 4.0
    u_rest = fma(-u, a - (d - 4.0), fma(-u, d, 4.0)) * reciprocal
    t = fma(u_rest, -2.0, fma(u, -2.0, 1.0))
    first, rest = constant(x, "tail_first"), polynomial(t, "tail")
    p = fma(t, rest, first)
    p_rest = fma(t, rest, first - p)
    au = a * u
    au_rest = fma(a, u_rest, fma(a, u, -au))
    lost = au * p
    lost_rest = fma(au, p, -lost) + fma(au, p_rest, au_rest * p)
    lost_rest = fma(lost, square_rest, lost_rest)
    scale, unit = power(shifted), constant(x, "tail_unit")
    lost = (lost + fma(lost_rest, q, fma(lost, q, lost_rest))) * scale * unit
    slope = fma(u, p, a * -0.39894228040143267794)
    slope = fma(slope, q, slope) * scale * unit
    return select(x < 0.0, -0.0, x) - lost, select(x < 0.0, slope, 1.0 - slope)


@njit(error_model="numpy")
def gelu_tanh(x):
    """x (1 + tanh(z / 2)) / 2 = x sigmoid(z) with z = 2 sqrt(2 / pi) (x + 0.044715 x**3), and its derivative.

    z is computed in twice the precision: an error of it is one of e**z, relative to it.
    """
    end = constant(x, "gelu_tanh_end")
    bounded = select(x < -end, -end, select(x > end, end, x))
    a = absolute(bounded)
    square = a * a
    square_rest = _rest_of_product(a, a, square)
    factor = constant(x, "cubic")
    cubic = square * factor
    cubic_rest = _rest_of_product(square, factor, cubic)
    cubic_rest = cubic_rest + fma(square, constant(x, "cubic_rest"), square_rest * factor)
    rate = cubic + _RATE
    part = rate - _RATE
    rate_rest = (_RATE - (rate - part)) + (cubic - part) + (cubic_rest + constant(x, "rate_rest"))
    z = rate * -a
    z_rest = _rest_of_product(rate, -a, z) - a * rate_rest
    q, scale, e = _decay(z)
    e = fma(e, z_rest, e)
    n, n_rest = _times_power(bounded, q)
    n_rest = fma(n, select(x < 0.0, z_rest, 0.0), n_rest)
    d = e + 1.0
    y, r = _divided(n, n_rest, d, e - (d - 1.0))
    y = _tail(y, x, scale)
    change = fma(square, 3.0 * _CUBIC, _RATE) * (e * r * r)
    return with_sign(select(x > end, x, y), x), fma(bounded, change, select(x < 0.0, e, 1.0) * r)
