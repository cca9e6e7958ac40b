"""Vectors that are looked up by category."""

from __future__ import annotations

import numpy as np

from .making import Array, Scratch, Work, makes


@makes("category_codes")
def _category_codes(scratch: Scratch, codes: Array, x: Array, categories: int) -> Work:
    kept, outside, above = scratch(x), scratch(x, np.bool_), scratch(x, np.bool_)

    def run() -> None:
        np.copyto(kept, x)
        np.greater_equal(x, 0, out=outside)
        np.less(x, categories, out=above)
        np.logical_and(outside, above, out=outside)
        np.logical_not(outside, out=outside)
        np.copyto(kept, 0, where=outside)
        np.copyto(codes, kept, casting="unsafe")

    return run


@makes("embedding_forward")
def _embedding_forward(scratch: Scratch, y: Array, table: Array, codes: Array) -> Work:
    return lambda: np.take(table, codes, axis=1, out=y, mode="clip")


@makes("embedding_backward")
def _embedding_backward(scratch: Scratch, dtable: Array, dy: Array, codes: Array, accumulate: int) -> Work:
    def run() -> None:
        if not accumulate:
            dtable[...] = 0
        np.add.at(dtable, (slice(None), codes), dy)

    return run
