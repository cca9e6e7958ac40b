"""Dropout."""

from __future__ import annotations

from typing import Any

import numpy as np

from .making import Array, Scratch, Work, bits, makes


def _hash32(x: Array, scratch: Array) -> None:
    """`hash32` of the reference, in place."""
    for shift, factor in ((17, 0xED5AD4BB), (11, 0xAC4C1B51), (15, 0x31848BAB)):
        np.right_shift(x, shift, out=scratch)
        np.bitwise_xor(x, scratch, out=x)
        np.multiply(x, factor, out=x)
    np.right_shift(x, 14, out=scratch)
    np.bitwise_xor(x, scratch, out=x)


def _dropout(scratch: Scratch, y: Array, x: Array, key: int, threshold: int, scale: float, first: int) -> Work:
    """The mask is made anew in each call, as in training, where every step has its own key."""
    features, rows = (np.arange(size, dtype=np.uint32) for size in x.shape)
    feature, feature_scratch = np.empty_like(features), np.empty_like(features)
    mixed, mixed_scratch, kept = scratch(x, np.uint32), scratch(x, np.uint32), scratch(x, bool)
    result = bits(y)

    def run() -> None:
        np.add(features, first, out=feature)
        np.bitwise_xor(feature, key, out=feature)
        _hash32(feature, feature_scratch)
        np.add(feature[:, None], rows, out=mixed)
        _hash32(mixed, mixed_scratch)
        np.less(mixed, threshold, out=kept)
        np.multiply(x, scale, out=y)
        np.multiply(result, kept, out=result)

    return run


@makes("dropout_forward", in_pieces=True)
def _dropout_forward(scratch: Scratch, y: Array, x: Array, **scalars: Any) -> Work:
    return _dropout(scratch, y, x, **scalars)


@makes("dropout_backward", in_pieces=True)
def _dropout_backward(scratch: Scratch, dx: Array, dy: Array, **scalars: Any) -> Work:
    return _dropout(scratch, dx, dy, **scalars)
