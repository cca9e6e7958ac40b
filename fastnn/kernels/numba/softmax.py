"""Softmax and its logarithm over the features of each row, a vector of rows at a time.

The rounding of x - top, `top` being the largest feature, would be magnified by the exponential as many times as the
difference is large, and log sum exp(x - top) loses its digits where it is near 0. Both are avoided. Bounds in ulp of
the result, for any number of features and any logits, as tests/test_softmax.py measures them where results are normal:

                         float32   float64
    softmax                2.1       2.1
    log_softmax            2.2       2.2

and on CPUs without FMA

    softmax                2.9       2.9
    log_softmax            2.4       2.4
"""

from numba import njit

from .entry import kernel
from .groups import load_pair, pair_of, store_pair
from .simd import absolute, fma, lanes, load, select, splat, store
from .vecmath import constant, exp, exp_over_power, log_plus


@njit(error_model="numpy")
def _top(x, b, F):
    """The largest feature of each row of a vector."""
    top = splat(x.data, -float("inf"))
    for f in range(F):
        value = load(x.data, f * x.stride0 + b)
        top = select(value > top, value, top)
    return top


@njit(error_model="numpy")
def _divisor(top):
    """What e**x is divided by, the power of two that is next below e**top, as `_exp_over` takes it.

    The exponents of two powers of two can be subtracted exactly. Where `top` is too large for e**x to be reduced,
    x - top is exact for all x that are near enough to count (Sterbenz's lemma), and it is taken first.
    """
    end, magic = constant(top, "exp_end"), constant(top, "round_magic")
    origin = select(absolute(top) < -2.0 * end, 0.0, top)
    near = top - origin
    return origin, near + end, (fma(near, 1.4426950408889634074, -0.5) + magic) - magic


@njit(error_model="numpy")
def _exp_over(x, divisor):
    """e**x / divisor, from 0 to 2, and what rounding has taken from it, where it is a normal number."""
    origin, low, power = divisor
    near = x - origin
    return exp_over_power(select(near < low, low, near), power)


@njit(error_model="numpy")
def _add_with_rest(total, rest, term):
    """total + rest + term as another such pair: what rounding takes from the sum is gathered (Knuth's two-sum)."""
    after = total + term
    part = after - total
    return after, rest + ((total - (after - part)) + (term - part))


@kernel
def softmax_forward(y, x, F, B):
    for b in range(0, B, lanes(x.data)):
        top = _top(x, b, F)
        divisor = _divisor(top)
        total, rest = splat(x.data, 0.0), _exp_over(top, divisor)[1]  # of the largest term, whose own counts most
        for f in range(F):
            e = _exp_over(load(x.data, f * x.stride0 + b), divisor)[0]
            store(y.data, f * y.stride0 + b, e)
            total, rest = _add_with_rest(total, rest, e)
        partition = total + rest
        lost = (total - partition) + rest
        reciprocal = 1.0 / partition
        for f in range(F):
            e = load(y.data, f * y.stride0 + b)
            q = e * reciprocal
            store(y.data, f * y.stride0 + b, fma(fma(-q, lost, fma(-q, partition, e)), reciprocal, q))


@kernel
def softmax_backward(dx, dy, y, F, B):
    for b in range(0, B, lanes(dx.data)):
        total = splat(dx.data, 0.0)
        for f in range(F):
            total = fma(load(dy.data, f * dy.stride0 + b), load(y.data, f * y.stride0 + b), total)
        for f in range(F):
            rest = load(dy.data, f * dy.stride0 + b) - total
            store(dx.data, f * dx.stride0 + b, load(y.data, f * y.stride0 + b) * rest)


@kernel
def log_softmax_forward(y, x, F, B):
    for b in range(0, B, lanes(x.data)):
        top = _top(x, b, F)
        divisor = _divisor(top)
        others, rest, tops = splat(x.data, 0.0), splat(x.data, 0.0), splat(x.data, 0.0)
        for f in range(F):
            value = load(x.data, f * x.stride0 + b)
            largest = value == top
            others, rest = _add_with_rest(others, rest, select(largest, 0.0, _exp_over(value, divisor)[0]))
            tops = select(largest, tops + 1.0, tops)
        # log(tops + others / e**top): what is small beside 1 keeps its digits.
        e, lost = _exp_over(top, divisor)
        q = others / e
        total, rest = _add_with_rest(tops, (rest + fma(-q, lost, fma(-q, e, others))) / e, q)
        shift, shift_rest = _add_with_rest(top, splat(x.data, 0.0), log_plus(total, rest / total))
        for f in range(F):
            store(y.data, f * y.stride0 + b, (load(x.data, f * x.stride0 + b) - shift) - shift_rest)


@kernel
def log_softmax_backward(dx, dy, y, F, B):
    for b in range(0, B, lanes(dx.data)):
        total = splat(dx.data, 0.0)
        for f in range(F):
            total = total + load(dy.data, f * dy.stride0 + b)
        for f in range(0, F - 1, 2):
            e = exp(load_pair(y.data, f * y.stride0 + b, y.stride0))
            grad = load_pair(dy.data, f * dy.stride0 + b, dy.stride0)
            store_pair(dx.data, f * dx.stride0 + b, dx.stride0, fma(-e, pair_of(total), grad))
        for f in range(F // 2 * 2, F):
            e = exp(load(y.data, f * y.stride0 + b))
            store(dx.data, f * dx.stride0 + b, fma(-e, total, load(dy.data, f * dy.stride0 + b)))
