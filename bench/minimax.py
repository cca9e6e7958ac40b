"""The coefficients of fastnn/kernels/numba/vecmath.py, computed anew: `python -m bench.minimax` (needs mpmath).

Each is the minimax polynomial of a smooth function on an interval, found by the exchange of Remez (1934) in 40 digits,
under a weight that turns its error into the error of the result:

    exp    (e**r - 1 - r) / r**2  on |r| <= ln 2 / 2;  e**r = 1 + r + r**2 p(r)
    log    (log((1 + s) / (1 - s)) / s - 2) / z  with z = s**2, s = f / (2 + f);  log(1 + f) = s (2 + z p(z));
           0 <= z <= ((sqrt 2 - 1) / (sqrt 2 + 1))**2
    log1p  the same on 0 <= z <= 1/9:  log(1 + f) for 0 <= f <= 1
    power  (2**f - 1) / f on |f| <= 1/2
    tanh   (tanh(x) / x - 1) / z with z = x**2 on |x| <= 5/8;  tanh(x) = x + x z p(z)

of fastnn/kernels/numba/special.py:

    tail   the share of a normal distribution beyond a, without e**(-a**2 / 2): Q(a) = e**(-a**2 / 2) u p(t) with
           u = 4 / (a + 4) and t = 1 - 2 u, for a from 0 to where x Q(x) is 0

and of fastnn/kernels/numba/lookup.py:

    exp_lookup   as exp on |r| <= ln 2 / 32
    tanh_table   tanh on 26 pieces of [0, 9.5], a polynomial of degree 5 each, near to minimax

Printed with each: the largest weighted error, about the relative error of the result before any rounding. It has to lie
well below half an epsilon: 6e-8 for float32, 1.1e-16 for float64.
"""

from collections.abc import Callable
from functools import partial
from itertools import pairwise

import mpmath as mp
import numpy as np

Real = mp.mpf
Function = Callable[[Real], Real]

DIGITS = 40
# Where the pieces of tanh begin and end: all powers of two in quarters, below them 0, and where tanh is 1 to float32.
PIECES = [0.0, *(2.0**e * (1 + quarter / 4) for e in range(-3, 3) for quarter in range(4)), 8.0, 9.5]
GRID = 2000  # parts of the interval between which the extrema of the error are looked for


def minimax(function: Function, weight: Function, low: Real, high: Real, degree: int) -> tuple[list[Real], Real]:
    """The polynomial p of that degree that minimises the largest |weight (p - function)| on [low, high].

    Returns its coefficients, constant term first, and that largest error.
    """
    count = degree + 2
    middle, radius = (low + high) / 2, (high - low) / 2
    points = sorted(middle + radius * mp.cos(mp.pi * (2 * i + 1) / (2 * count)) for i in range(count))
    grid = [low + (high - low) * Real(i) / GRID for i in range(GRID + 1)]
    for _ in range(12):
        coefficients = _levelled(function, weight, points, degree)
        errors = [weight(x) * (mp.polyval(coefficients[::-1], x) - function(x)) for x in grid]
        extrema = _alternating_extrema(errors, count)
        if len(extrema) < count:
            break  # the error is level to the digits of the grid
        points = [grid[i] for i in extrema]
    return coefficients, max(map(abs, errors))


def _levelled(function: Function, weight: Function, points: list[Real], degree: int) -> list[Real]:
    """The polynomial whose weighted errors at the points are of one size and alternate in sign."""
    count = degree + 2
    rows, values = mp.matrix(count, count), mp.matrix(count, 1)
    for i, x in enumerate(points):
        for power in range(degree + 1):
            rows[i, power] = x**power
        rows[i, degree + 1] = (-1) ** i / weight(x)
        values[i] = function(x)
    solution = mp.lu_solve(rows, values)
    return [solution[power] for power in range(degree + 1)]


def _alternating_extrema(errors: list[Real], count: int) -> list[int]:
    """Where the error is largest between its changes of sign: at most `count` places, the smaller end left out."""
    signs = [0, *(i for i in range(1, len(errors)) if (errors[i] > 0) != (errors[i - 1] > 0)), len(errors)]
    extrema = [max(range(start, stop), key=lambda i: abs(errors[i])) for start, stop in pairwise(signs)]
    while len(extrema) > count:
        extrema.pop(0 if abs(errors[extrema[0]]) < abs(errors[extrema[-1]]) else -1)
    return extrema


def exp_rest(r: Real) -> Real:
    """(e**r - 1 - r) / r**2."""
    if abs(r) < Real("1e-8"):
        return Real(1) / 2 + r / 6 + r * r / 24
    return (mp.expm1(r) - r) / r**2


def log_rest(z: Real) -> Real:
    """(log((1 + s) / (1 - s)) / s - 2) / z with s = sqrt(z)."""
    if z < Real("1e-12"):
        return Real(2) / 3
    s = mp.sqrt(z)
    return (mp.log((1 + s) / (1 - s)) / s - 2) / z


def power_rest(f: Real) -> Real:
    """(2**f - 1) / f."""
    return mp.log(2) if abs(f) < Real("1e-30") else mp.expm1(f * mp.log(2)) / f


def tanh_rest(z: Real) -> Real:
    """(tanh(x) / x - 1) / z with x = sqrt(z)."""
    if z < Real("1e-12"):
        return -Real(1) / 3 + 2 * z / 15
    x = mp.sqrt(z)
    return (mp.tanh(x) / x - 1) / z


def tail_rest(t: Real) -> Real:
    """e**(a**2 / 2) Q(a) / u with u = 4 / (a + 4) = (1 - t) / 2."""
    u = (1 - t) / 2
    a = 4 / u - 4
    return mp.exp(a * a / 2) * mp.erfc(a / mp.sqrt(2)) / 2 / u


def exp_coefficients(degree: int) -> tuple[list[Real], Real]:
    reach = _a_little_more(mp.log(2) / 2)
    return minimax(exp_rest, lambda r: _positive(r * r), -reach, reach, degree)


def log_coefficients(degree: int) -> tuple[list[Real], Real]:
    reach = _a_little_more(((mp.sqrt(2) - 1) / (mp.sqrt(2) + 1)) ** 2)
    return minimax(log_rest, _positive, Real(0), reach, degree)


def log1p_coefficients(degree: int) -> tuple[list[Real], Real]:
    return minimax(log_rest, _positive, Real(0), _a_little_more(Real(1) / 9), degree)


def power_coefficients(degree: int) -> tuple[list[Real], Real]:
    reach = _a_little_more(Real(1) / 2)
    return minimax(power_rest, lambda f: _positive(abs(f)), -reach, reach, degree)


def tanh_coefficients(degree: int) -> tuple[list[Real], Real]:
    return minimax(tanh_rest, _positive, Real(0), _a_little_more((Real(5) / 8) ** 2), degree)


def tail_coefficients(degree: int, limit: float) -> tuple[list[Real], Real]:
    high = _a_little_more(Real(limit) - 4) / (Real(limit) + 4)
    return minimax(tail_rest, lambda t: 1 / tail_rest(t), -_a_little_more(Real(1)), high, degree)


def exp_lookup_coefficients(degree: int) -> tuple[list[Real], Real]:
    reach = _a_little_more(mp.log(2) / 32)
    return minimax(exp_rest, lambda r: _positive(r * r), -reach, reach, degree)


def tanh_table() -> tuple[list[list[Real]], Real]:
    """Rows of 32: the centre c of each piece and its coefficients, tanh(c + d) = c0 + c1 d + ... + c5 d**5; and the
    largest relative error. A piece stands where the low bits of its numbers' exponent and first two fraction bits say;
    the first one, odd about 0, before that from 1/8 on."""
    with mp.workdps(DIGITS):
        odd, error = minimax(tanh_rest, _positive, Real(0), Real(PIECES[1]) ** 2, 1)
        first = [Real(0), Real(0), Real(1), Real(0), odd[0], Real(0), odd[1]]
        others, errors = zip(*(_tanh_piece(Real(a), Real(b)) for a, b in pairwise(PIECES[1:])), strict=True)
        rows = [[Real(0)] * 32 for _ in first]
        for piece, column in enumerate([first, *others]):
            place = ((np.float32(PIECES[1]).view(np.int32) >> 21) - 1 + piece) % 32
            for row, number in zip(rows, column, strict=True):
                row[place] = number
        return rows, max(error, *errors)


def _tanh_piece(low: Real, high: Real) -> tuple[list[Real], Real]:
    """Least squares of the relative error where a Chebyshev polynomial has its zeros.

    The centre is the float32 number near the middle whose tanh, the constant term, is nearest to a float32 number (the
    accurate tables of Gal and Bachelis, 1991): what rounding adds is then next to nothing.
    """
    near = [_float32((low + high) / 2 + (high - low) * Real(k) / 10_000) for k in range(-300, 301)]
    centre = min(near, key=lambda c: abs(mp.tanh(c) - _float32(mp.tanh(c))))
    middle, radius, count = (low + high) / 2, (high - low) / 2, 40
    points = [middle + radius * mp.cos(mp.pi * (2 * i + 1) / (2 * count)) - centre for i in range(count)]
    rows, values = mp.matrix(count, 5), mp.matrix(count, 1)
    for i, d in enumerate(points):
        exact = mp.tanh(centre + d)
        values[i] = (exact - mp.tanh(centre)) / exact
        for power in range(5):
            rows[i, power] = d ** (power + 1) / exact
    coefficients = [mp.tanh(centre), *mp.lu_solve(rows, values)]
    error = max(abs(mp.polyval(coefficients[::-1], d) / mp.tanh(centre + d) - 1) for d in points)
    return [centre, *coefficients], error


def _float32(x: Real) -> Real:
    return Real(float(np.float32(float(x))))


def _a_little_more(reach: Real) -> Real:
    """The end of the interval: the reduction of the argument rounds, too."""
    return reach * 1001 / 1000


def _positive(weight: Real) -> Real:
    """The weight, kept above zero where the polynomial's share of the result vanishes."""
    return weight + Real(1) / 10_000


FITS = {
    "exp": {"float32": (exp_coefficients, 4), "float64": (exp_coefficients, 9)},
    "log": {"float32": (log_coefficients, 2), "float64": (log_coefficients, 6)},
    "log1p": {"float32": (log1p_coefficients, 4), "float64": (log1p_coefficients, 9)},
    "power": {"float32": (power_coefficients, 5), "float64": (power_coefficients, 10)},
    "tanh": {"float32": (tanh_coefficients, 5), "float64": (tanh_coefficients, 10)},
    "tail": {
        "float32": (partial(tail_coefficients, limit=15.0), 10),
        "float64": (partial(tail_coefficients, limit=39.0), 22),
    },
    "exp_lookup": {"float32": (exp_lookup_coefficients, 1)},
}


def fit(name: str, dtype: str) -> tuple[list[Real], Real]:
    """The coefficients of one of FITS for a dtype, constant term first, and the largest weighted error."""
    coefficients, degree = FITS[name][dtype]
    with mp.workdps(DIGITS):
        return coefficients(degree)


def main() -> None:
    for name, dtypes in FITS.items():
        for dtype in dtypes:
            coefficients, error = fit(name, dtype)
            print(f"{name}, {dtype}: largest weighted error {mp.nstr(error, 3)}")
            for coefficient in coefficients:
                print(f"    {mp.nstr(coefficient, 20)}")
    rows, error = tanh_table()
    print(f"tanh_table, float32: largest relative error {mp.nstr(error, 3)}")
    for row in rows:
        print("   ", ", ".join(f"{float(x):.9g}" for x in row))


if __name__ == "__main__":
    main()
