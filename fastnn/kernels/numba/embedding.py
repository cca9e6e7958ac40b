"""Vectors that are looked up by category, number by number."""

from .entry import kernel
from .simd import at, lanes, splat, store


@kernel
def category_codes(codes, x, B, categories):
    for b in range(B):
        value = x[b]
        inside = value >= 0.0 and value < categories
        codes[b] = int(value) if inside else 0


@kernel
def embedding_forward(y, table, codes, F, B, R):
    for f in range(F):
        out, values = at(y.data, f * y.stride0), at(table.data, f * table.stride0)
        for b in range(B):
            out[b] = values[codes[b]]


@kernel
def embedding_backward(dtable, dy, codes, F, R, B, accumulate):
    for f in range(F):
        totals, grad = at(dtable.data, f * dtable.stride0), at(dy.data, f * dy.stride0)
        if not accumulate:
            for c in range(0, R, lanes(totals)):
                store(totals, c, splat(totals, 0.0))
        for b in range(B):
            totals[codes[b]] += grad[b]
