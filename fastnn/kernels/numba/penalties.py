"""Penalties on weights. What lies behind a row of the gradient is left as it is: a bias may."""

from .entry import kernel
from .simd import absolute, fma, horizontal_sum, lanes, lanes_below, load, select, splat, store


@kernel
def penalty(dweight, loss, weight, O, I, l1, l2):
    total = splat(weight.data, 0.0)
    for o in range(O):
        for i in range(0, I, lanes(weight.data)):
            valid = lanes_below(weight.data, I - i)
            w, grad = load(weight.data, o * weight.stride0 + i), load(dweight.data, o * dweight.stride0 + i)
            size = absolute(w)
            total = total + select(valid, size * fma(size, l2, l1), 0.0)
            slope = select(w > 0.0, splat(weight.data, l1), select(w < 0.0, splat(weight.data, -l1), 0.0))
            store(dweight.data, o * dweight.stride0 + i, select(valid, grad + fma(w, 2.0 * l2, slope), grad))
    loss[0] = loss[0] + horizontal_sum(total)
