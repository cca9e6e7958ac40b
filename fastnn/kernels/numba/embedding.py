"""Vectors that are looked up by category, number by number."""

from .entry import kernel
from .simd import lanes, splat, store


@kernel
def category_codes(codes, x, B, categories):
    for b in range(B):
        value = x[b]
        inside = value >= 0.0 and value < categories
        codes[b] = int(value) if inside else 0


@kernel
def embedding_forward(y, table, codes, F, B, C):
    for f in range(F):
        for b in range(B):
            y.data[f * y.stride0 + b] = table.data[codes[b] * table.stride0 + f]


@kernel
def embedding_backward(dtable, dy, codes, C, F, B, accumulate):
    if not accumulate:
        for c in range(C):
            for f in range(0, F, lanes(dtable.data)):
                store(dtable.data, c * dtable.stride0 + f, splat(dtable.data, 0.0))
    for b in range(B):
        for f in range(F):
            dtable.data[codes[b] * dtable.stride0 + f] += dy.data[f * dy.stride0 + b]
