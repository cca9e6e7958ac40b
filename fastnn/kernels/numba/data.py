"""Moving rows of the data into a mini-batch and results out of it."""

from numba import njit

from .entry import kernel
from .simd import at, copy_rest, lanes, load, prefetch, store, transpose_block

_ROWS_AHEAD = 2


@kernel
def gather_rows(x, X, order, B, F, R):
    lane = lanes(x.data)
    whole = F // lane * lane
    if whole == 0:
        for b in range(B):
            copy_rest(at(x.data, b * x.stride0), at(X.data, order[b] * X.stride0), F)
        return
    for b in range(B):
        source, target = at(X.data, order[b] * X.stride0), at(x.data, b * x.stride0)
        # No hardware foresees the next row of a shuffled order.
        later = at(X.data, order[min(b + _ROWS_AHEAD, B - 1)] * X.stride0)
        for f in range(0, whole, lane):
            prefetch(later, f)
            store(target, f, load(source, f))
        # The columns behind F are not the gather's: a row of ones may stand there.
        copy_rest(at(target, whole), at(source, whole), F - whole)


@kernel
def gather_labels(labels, y, order, B, R):
    for b in range(B):
        labels[b] = y[order[b]]


@kernel
def gather_weights(weights, w, order, B, R):
    for b in range(B):
        weights[b] = w[order[b]]


@njit(error_model="numpy")
def _transpose(out, x, rows, columns):
    """out = x^T for x with that many rows and columns, in square blocks."""
    lane = lanes(x.data)
    for row in range(0, rows, lane):
        for column in range(0, columns, lane):
            corner = at(out.data, column * out.stride0 + row)
            transpose_block(corner, out.stride0, at(x.data, row * x.stride0 + column), x.stride0, rows - row)


@kernel
def rows_to_features(out, x, F, B):
    _transpose(out, x, B, F)


@kernel
def features_to_rows(out, x, B, F):
    _transpose(out, x, F, B)
