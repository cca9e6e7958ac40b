"""Softmax and its logarithm over the features of each row, a vector of rows at a time."""

from numba import njit

from .entry import kernel
from .groups import load_pair, pair_of, store_pair, sum_of_group
from .simd import fma, lanes, load, select, splat, store
from .vecmath import exp, exp_nonpositive, log


@njit(error_model="numpy")
def _top(x, b, F):
    """The largest feature of each row of a vector."""
    top = splat(x.data, -float("inf"))
    for f in range(F):
        value = load(x.data, f * x.stride0 + b)
        top = select(value > top, value, top)
    return top


@kernel
def softmax_forward(y, x, F, B):
    for b in range(0, B, lanes(x.data)):
        top = _top(x, b, F)
        partition = splat(x.data, 0.0)
        for f in range(0, F - 1, 2):  # as in cross_entropy
            e = exp(load_pair(x.data, f * x.stride0 + b, x.stride0) - pair_of(top))
            store_pair(y.data, f * y.stride0 + b, y.stride0, e)
            partition = partition + sum_of_group(e)
        for f in range(F // 2 * 2, F):
            e = exp(load(x.data, f * x.stride0 + b) - top)
            store(y.data, f * y.stride0 + b, e)
            partition = partition + e
        for f in range(F):
            store(y.data, f * y.stride0 + b, load(y.data, f * y.stride0 + b) / partition)


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
        partition = splat(x.data, 0.0)
        for f in range(0, F - 1, 2):
            e = exp_nonpositive(load_pair(x.data, f * x.stride0 + b, x.stride0) - pair_of(top))
            partition = partition + sum_of_group(e)
        for f in range(F // 2 * 2, F):
            partition = partition + exp_nonpositive(load(x.data, f * x.stride0 + b) - top)
        logarithm = log(partition)
        for f in range(F):
            store(y.data, f * y.stride0 + b, (load(x.data, f * x.stride0 + b) - top) - logarithm)


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
