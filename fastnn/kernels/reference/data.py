"""Moving rows of the data into a mini-batch and results out of it; no arithmetic."""

from typing import Any

import numpy as np

from ..table import operation

Array = np.ndarray[Any, Any]


@operation(writes="x[B,F]", reads="X[R,F] order[B]:int64<R", padding="none", splits="B")
def gather_rows(x: Array, X: Array, order: Array) -> None:
    """x[b, :] = X[order[b], :]: rows of the data as they are.

    x      (B, F)  written
    X      (R, F)  read, rows contiguous
    order  (B,)    int64, read; every entry in [0, R)
    """
    x[...] = X[order]


@operation(writes="labels[B]:int32", reads="y[R]:int32 order[B]:int64<R", padding="none")
def gather_labels(labels: Array, y: Array, order: Array) -> None:
    """labels[b] = y[order[b]].

    labels  (B,)  int32, written
    y       (R,)  int32, read
    order   (B,)  int64, read; every entry in [0, R)
    """
    labels[...] = y[order]


@operation(writes="weights[B]", reads="w[R] order[B]:int64<R", padding="none")
def gather_weights(weights: Array, w: Array, order: Array) -> None:
    """weights[b] = w[order[b]].

    weights  (B,)  written
    w        (R,)  read
    order    (B,)  int64, read; every entry in [0, R)
    """
    weights[...] = w[order]


@operation(writes="out[F,B]", reads="x[B,F]", padding="blocks", splits="F B")
def rows_to_features(out: Array, x: Array) -> None:
    """out[f, b] = x[b, f]: row-major to feature-major.

    out  (F, B)  written
    x    (B, F)  read
    """
    out[...] = x.T


@operation(writes="out[B,F]", reads="x[F,B]", padding="blocks", splits="F B")
def features_to_rows(out: Array, x: Array) -> None:
    """out[b, f] = x[f, b]: feature-major to row-major.

    out  (B, F)  written
    x    (F, B)  read
    """
    out[...] = x.T
