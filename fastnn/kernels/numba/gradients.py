"""What is done to gradients before an update, and to weights after it."""

import math

from numba import types
from numba.extending import intrinsic

from .entry import kernel
from .simd import at, fma, horizontal_sum, lanes, load, select, splat, store

_BLOCK = 4096  # numbers whose squares are added up in the array's dtype, before their sum is added in double precision


@intrinsic
def _rounded(typingctx, p, scalar):
    """A float64 rounded to p's dtype."""
    return p.dtype(p, types.float64), lambda context, builder, sig, args: context.cast(
        builder, args[1], types.float64, p.dtype
    )


@kernel
def sum_of_squares(total, x, O, I, accumulate):
    width = 4 * lanes(x.data)
    result = total[0] if accumulate else 0.0
    for o in range(O):
        row = at(x.data, o * x.stride0)
        whole = I // width * width
        for start in range(0, whole, _BLOCK):
            first = second = third = fourth = splat(row, 0.0)
            for i in range(start, min(start + _BLOCK, whole), width):
                a, c = load(row, i), load(row, i + width // 4)
                d, e = load(row, i + width // 2), load(row, i + 3 * width // 4)
                first, second = fma(a, a, first), fma(c, c, second)
                third, fourth = fma(d, d, third), fma(e, e, fourth)
            result += horizontal_sum((first + second) + (third + fourth))
        for i in range(whole, I):
            value = row[i] * 1.0  # in double precision
            result += value * value
    total[0] = result


@kernel
def clip_to_norm(grad, total, O, I, max_norm):
    factor = max_norm / (math.sqrt(total[0]) + 1e-6)
    if factor < 1.0:
        whole = I // lanes(grad.data) * lanes(grad.data)
        for o in range(O):
            row = at(grad.data, o * grad.stride0)
            for i in range(0, whole, lanes(row)):
                store(row, i, load(row, i) * factor)
            for i in range(whole, I):
                row[i] = row[i] * _rounded(row, factor)


@kernel
def clip_to_value(grad, N, max_value):
    limit = splat(grad, max_value)
    for i in range(0, N, lanes(grad)):
        g = load(grad, i)
        g = select(g > limit, limit, g)
        store(grad, i, select(g < -limit, -limit, g))  # comparisons with NaN are false: NaN stays


@kernel
def average_update(average, param, N, decay):
    for i in range(0, N, lanes(average)):
        before = load(average, i)
        store(average, i, fma(load(param, i) - before, 1.0 - decay, before))
