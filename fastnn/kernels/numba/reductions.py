"""Sums over parts, number by number."""

from .entry import kernel
from .simd import lanes, load, splat, store


@kernel
def add_parts(total, parts, N, P):
    for i in range(0, N, lanes(total)):
        value = splat(total, 0.0)
        for p in range(P):
            value = value + load(parts.data, p * parts.stride0 + i)
        store(total, i, value)
