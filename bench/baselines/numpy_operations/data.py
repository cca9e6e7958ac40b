"""Moving rows."""

from __future__ import annotations

from functools import partial

import numpy as np

from .making import PIECE, Array, Scratch, Work, makes

BLOCK = 64
"""Rows that are transposed at once where a matrix is larger than a piece."""


@makes("gather_rows")
def _gather_rows(scratch: Scratch, x: Array, X: Array, order: Array) -> Work:
    return partial(np.take, X, order, axis=0, out=x, mode="clip")  # "clip" writes straight into out


@makes("gather_labels")
def _gather_labels(scratch: Scratch, labels: Array, y: Array, order: Array) -> Work:
    return _gather_rows(scratch, labels, y, order)


@makes("gather_weights")
def _gather_weights(scratch: Scratch, weights: Array, w: Array, order: Array) -> Work:
    return _gather_rows(scratch, weights, w, order)


@makes("rows_to_features", "features_to_rows")
def _transpose(scratch: Scratch, out: Array, x: Array) -> Work:
    rows = BLOCK if x.nbytes > PIECE else max(1, len(x))
    blocks = [(out[:, first : first + rows], x[first : first + rows].T) for first in range(0, len(x), rows)]

    def run() -> None:
        for written, read in blocks:
            np.copyto(written, read)

    return run
