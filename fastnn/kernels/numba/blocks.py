"""What blocks of layers do with whole values."""

from .entry import kernel
from .simd import lanes, load, store


@kernel
def add(out, a, b, F, B):
    for f in range(F):
        for row in range(0, B, lanes(out.data)):
            store(
                out.data, f * out.stride0 + row, load(a.data, f * a.stride0 + row) + load(b.data, f * b.stride0 + row)
            )


@kernel
def copy_features(out, x, F, B):
    for f in range(F):
        for row in range(0, B, lanes(out.data)):
            store(out.data, f * out.stride0 + row, load(x.data, f * x.stride0 + row))
