"""Every operation of the kernel table in NumPy as fast as plain NumPy gets: the fair baseline beside the reference
kernels, which are written to be read and make arrays on the way.

`prepared(name, arguments)` makes whatever room an operation needs once; the function that it returns does the operation
and allocates no array of the operands' size: every result goes into its place (`out=`). Sums over rows are products
with ones, which BLAS does three times as fast as `add.reduce`; a mask is multiplied with the bits of the numbers, which
is faster than `where` and equally exact. An operation without a sum along its first axis is done in pieces that stay in
L2 when the operands do not: Adam on 2 million parameters takes a third less time.

`relu_forward` and `tanh_forward` are the reference: one call that makes nothing. Operations on bfloat16 have no form
here, since NumPy has no such type; new operations have none until somebody writes it.

A function here is given its scratch, then the operation's arrays and scalars by name, and returns what does the work.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

import numpy as np

from fastnn.kernels import OPERATIONS, Operation
from fastnn.kernels.reference import dense

Array = np.ndarray[Any, Any]
Work = Callable[[], object]
Make = Callable[..., Work]

PIECE = 1 << 20
"""Bytes of all operands of a piece: with the scratch they stay in L2."""
BLOCK = 64
"""Rows that are transposed at once where a matrix is larger than a piece."""

_MAKERS: dict[str, Make] = {}
_IN_PIECES: set[str] = set()


class Scratch:
    """Room for what an operation makes on its way; its pieces, the largest first, share it."""

    def __init__(self) -> None:
        self._arrays: list[Array] = []
        self._given = 0

    def __call__(self, like: Array, dtype: Any = None) -> Array:
        """An array of that shape, and of that dtype unless another one is asked for."""
        if self._given == len(self._arrays):
            self._arrays.append(np.empty(like.size, dtype or like.dtype))
        self._given += 1
        return self._arrays[self._given - 1][: like.size].reshape(like.shape)

    def restart(self) -> Scratch:
        """The same room for the next piece."""
        self._given = 0
        return self


def prepared(name: str, arguments: Mapping[str, Any]) -> Work | None:
    """What does an operation of the table once on these arrays, in place; None where there is no form of it here.

    arguments   all arrays, C-contiguous, and all scalars of the operation, by name
    """
    if name not in _MAKERS or name not in OPERATIONS:
        return None
    for operand, value in arguments.items():
        if isinstance(value, np.ndarray) and not value.flags.c_contiguous:
            raise ValueError(f"{name}: {operand} has strides {value.strides}: must be C-contiguous")
    scratch = Scratch()
    pieces = _pieces(OPERATIONS[name], arguments) if name in _IN_PIECES else [arguments]
    works = [_MAKERS[name](scratch.restart(), **piece) for piece in pieces]
    if len(works) == 1:
        return works[0]

    def run() -> None:
        for work in works:
            work()

    return run


def _pieces(entry: Operation, arguments: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """The arguments of one call, or of several that share it along the axis that the table allows."""
    axis = entry.splits[0]
    length = entry.size_of(arguments)[axis]
    split = [array.name for array in entry.arrays if array.axes[0] == axis]
    count = max(1, min(length, -(-sum(arguments[name].nbytes for name in split) // PIECE)))
    size = -(-length // count)
    for first in range(0, max(length, 1), max(size, 1)):
        piece = {**arguments, **{name: arguments[name][first : first + size] for name in split}}
        if entry.counts:
            piece[entry.counts] = (arguments[entry.counts] + first) % 2**32
        yield piece


def _makes(*names: str, in_pieces: bool = False) -> Callable[[Make], Make]:
    """Enters the form of some operations."""

    def enter(function: Make) -> Make:
        _MAKERS.update(dict.fromkeys(names, function))
        _IN_PIECES.update(names if in_pieces else ())
        return function

    return enter


def _bits(x: Array) -> Array:
    """The same memory as integers: times a mask of 0 and 1 they are what `where` gives, for inf and NaN too."""
    return x.view(np.int32 if x.itemsize == 4 else np.int64)


def _apart(scratch: Scratch, written: Array, *read: Array) -> Array:
    """Where to form an intermediate result: in the array that is written, unless it is one that is still read."""
    return scratch(written) if any(np.may_share_memory(written, other) for other in read) else written


# Activations.


def _reference(name: str) -> Make:
    return lambda _, **given: partial(OPERATIONS[name].reference, **given)


_MAKERS.update({name: _reference(name) for name in ("relu_forward", "tanh_forward")})


@_makes("relu_backward", in_pieces=True)
def _relu_backward(scratch: Scratch, dx: Array, dy: Array, y: Array) -> Work:
    positive, result, grad = scratch(y, bool), _bits(dx), _bits(dy)

    def run() -> None:
        np.greater(y, 0, out=positive)
        np.multiply(grad, positive, out=result)

    return run


@_makes("tanh_backward", in_pieces=True)
def _tanh_backward(scratch: Scratch, dx: Array, dy: Array, y: Array) -> Work:
    slope = _apart(scratch, dx, dy)

    def run() -> None:
        np.multiply(y, y, out=slope)
        np.subtract(1, slope, out=slope)
        np.multiply(dy, slope, out=dx)

    return run


@_makes("sigmoid_forward", in_pieces=True)
def _sigmoid_forward(scratch: Scratch, y: Array, x: Array) -> Work:
    """1 / (1 + exp(-x)): half the time of the form that cannot overflow. Beyond exp's range, which in float32 is x
    below -88, it is 0 instead of less than 1e-38, and NumPy warns."""

    def run() -> None:
        np.negative(x, out=y)
        np.exp(y, out=y)
        np.add(y, 1, out=y)
        np.divide(1, y, out=y)

    return run


@_makes("sigmoid_backward", in_pieces=True)
def _sigmoid_backward(scratch: Scratch, dx: Array, dy: Array, y: Array) -> Work:
    slope = _apart(scratch, dx, dy, y)

    def run() -> None:
        np.subtract(1, y, out=slope)
        np.multiply(slope, y, out=slope)
        np.multiply(dy, slope, out=dx)

    return run


# Moving rows.


@_makes("gather_rows")
def _gather_rows(scratch: Scratch, x: Array, X: Array, order: Array) -> Work:
    return partial(np.take, X, order, axis=0, out=x, mode="clip")  # "clip" writes straight into out


@_makes("gather_labels")
def _gather_labels(scratch: Scratch, labels: Array, y: Array, order: Array) -> Work:
    return _gather_rows(scratch, labels, y, order)


@_makes("rows_to_features", "features_to_rows")
def _transpose(scratch: Scratch, out: Array, x: Array) -> Work:
    rows = BLOCK if x.nbytes > PIECE else max(1, len(x))
    blocks = [(out[:, first : first + rows], x[first : first + rows].T) for first in range(0, len(x), rows)]

    def run() -> None:
        for written, read in blocks:
            np.copyto(written, read)

    return run


# Products.


@_makes("dense_forward")
def _dense_forward(scratch: Scratch, y: Array, x: Array, weight: Array, floor: float) -> Work:
    def run() -> None:
        np.matmul(weight, x, out=y)
        if floor != -np.inf:
            np.maximum(y, floor, out=y)

    return run


@_makes("dense_backward_input")
def _dense_backward_input(
    scratch: Scratch, dx: Array, dy: Array, weight: Array, x: Array | None, derivative: int, c0: float, c1: float,
    c2: float,
) -> Work:  # fmt: skip
    transposed = weight.T
    if derivative == dense.NOTHING or x is None:
        return partial(np.matmul, transposed, dy, out=dx)
    product = _apart(scratch, dx, x)
    positive, slope = scratch(x, bool), scratch(x)
    result, bits = _bits(dx), _bits(product)

    def run_where_positive() -> None:
        np.matmul(transposed, dy, out=product)
        np.greater(x, 0, out=positive)
        np.multiply(bits, positive, out=result)

    def run_quadratic() -> None:
        np.matmul(transposed, dy, out=product)
        np.multiply(x, c2, out=slope)
        if c1:
            np.add(slope, c1, out=slope)
        np.multiply(slope, x, out=slope)
        if c0:
            np.add(slope, c0, out=slope)
        np.multiply(product, slope, out=dx)

    return run_where_positive if derivative == dense.WHERE_POSITIVE else run_quadratic


@_makes("dense_backward_weight")
def _dense_backward_weight(scratch: Scratch, dweight: Array, dy: Array, x: Array, accumulate: int) -> Work:
    transposed, product = x.T, scratch(dweight) if accumulate else dweight

    def run() -> None:
        np.matmul(dy, transposed, out=product)
        if accumulate:
            np.add(dweight, product, out=dweight)

    return run


@_makes("add_parts")
def _add_parts(scratch: Scratch, total: Array, parts: Array) -> Work:
    ones = np.ones(len(parts), parts.dtype)
    return partial(np.matmul, ones, parts, out=total)


# Dropout.


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
    result = _bits(y)

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


@_makes("dropout_forward", in_pieces=True)
def _dropout_forward(scratch: Scratch, y: Array, x: Array, **scalars: Any) -> Work:
    return _dropout(scratch, y, x, **scalars)


@_makes("dropout_backward", in_pieces=True)
def _dropout_backward(scratch: Scratch, dx: Array, dy: Array, **scalars: Any) -> Work:
    return _dropout(scratch, dx, dy, **scalars)


# Losses.


@_makes("cross_entropy")
def _cross_entropy(scratch: Scratch, dz: Array, loss: Array, z: Array, labels: Array, scale: float) -> Work:
    classes, rows = z.shape
    ones, column = np.ones(classes, z.dtype), np.arange(rows)
    top, total, picked = (np.empty(rows, z.dtype) for _ in range(3))
    place, flat = np.empty(rows, np.intp), dz.reshape(-1)

    def run() -> None:
        np.maximum.reduce(z, axis=0, out=top)
        np.subtract(z, top, out=dz)
        np.multiply(labels, rows, out=place)
        np.add(place, column, out=place)
        np.take(flat, place, out=picked, mode="clip")
        wanted = np.add.reduce(picked)
        np.exp(dz, out=dz)
        np.matmul(ones, dz, out=total)
        np.log(total, out=picked)
        loss[0] = scale * (float(np.add.reduce(picked)) - float(wanted))
        np.divide(scale, total, out=total)
        np.multiply(dz, total, out=dz)
        np.take(flat, place, out=picked, mode="clip")
        np.subtract(picked, scale, out=picked)
        np.put(flat, place, picked)

    return run


@_makes("mse")
def _mse(scratch: Scratch, dz: Array, loss: Array, z: Array, targets: Array, scale: float) -> Work:
    flat = dz.reshape(-1)

    def run() -> None:
        np.subtract(z, targets, out=dz)
        loss[0] = scale * float(np.dot(flat, flat))
        np.multiply(dz, 2 * scale, out=dz)

    return run


@_makes("bce")
def _bce(scratch: Scratch, dz: Array, loss: Array, z: Array, targets: Array, scale: float) -> Work:
    ones, column = np.ones(z.shape[1], z.dtype), np.empty(len(z), z.dtype)
    e, term, sigmoid, positive = scratch(z), scratch(z), scratch(z), scratch(z, bool)
    logits, wanted = z.reshape(-1), targets.reshape(-1)

    def total(values: Array) -> float:
        np.matmul(values, ones, out=column)
        return float(np.add.reduce(column))

    def run() -> None:
        np.abs(z, out=e)
        np.negative(e, out=e)
        np.exp(e, out=e)
        np.log1p(e, out=term)
        value = total(term)
        np.maximum(z, 0, out=term)
        loss[0] = scale * (value + total(term) - float(np.dot(logits, wanted)))
        np.greater_equal(z, 0, out=positive)
        np.maximum(e, positive, out=sigmoid)  # e where z < 0, else 1
        np.add(e, 1, out=e)
        np.divide(sigmoid, e, out=sigmoid)
        np.subtract(sigmoid, targets, out=dz)
        np.multiply(dz, scale, out=dz)

    return run


# Batch normalisation.


@_makes("batch_norm_forward", in_pieces=True)
def _batch_norm_forward(
    scratch: Scratch, y: Array, mean: Array, inv_std: Array, running_mean: Array, running_var: Array,
    x: Array, gamma: Array, beta: Array, eps: float, momentum: float,
) -> Work:  # fmt: skip
    rows = x.shape[1]
    ones, var, change = np.ones(rows, x.dtype), scratch(mean), scratch(mean)
    means, slopes, shifts = mean[:, None], change[:, None], beta[:, None]

    def run() -> None:
        np.matmul(x, ones, out=mean)
        np.divide(mean, rows, out=mean)
        np.subtract(x, means, out=y)
        np.vecdot(y, y, out=var)
        np.divide(var, rows, out=var)
        np.add(var, eps, out=inv_std)
        np.sqrt(inv_std, out=inv_std)
        np.divide(1, inv_std, out=inv_std)
        np.multiply(gamma, inv_std, out=change)
        np.multiply(y, slopes, out=y)
        np.add(y, shifts, out=y)
        if rows > 1:
            np.multiply(var, rows / (rows - 1), out=var)
            for running, value in ((running_mean, mean), (running_var, var)):
                np.subtract(value, running, out=change)
                np.multiply(change, momentum, out=change)
                np.add(running, change, out=running)

    return run


@_makes("batch_norm_inference", in_pieces=True)
def _batch_norm_inference(
    scratch: Scratch, y: Array, x: Array, gamma: Array, beta: Array, running_mean: Array, running_var: Array, eps: float
) -> Work:
    slope = scratch(gamma)
    means, slopes, shifts = running_mean[:, None], slope[:, None], beta[:, None]

    def run() -> None:
        np.add(running_var, eps, out=slope)
        np.sqrt(slope, out=slope)
        np.divide(gamma, slope, out=slope)
        np.subtract(x, means, out=y)
        np.multiply(y, slopes, out=y)
        np.add(y, shifts, out=y)

    return run


@_makes("batch_norm_backward", in_pieces=True)
def _batch_norm_backward(
    scratch: Scratch, dx: Array, dgamma: Array, dbeta: Array, dy: Array, x: Array, gamma: Array, mean: Array,
    inv_std: Array,
) -> Work:  # fmt: skip
    """dx = gamma inv_std (dy - dbeta / B + (x - mean) factor) with factor = -inv_std dgamma / B."""
    rows = x.shape[1]
    share = 1 / max(rows, 1)
    ones, factor = np.ones(rows, x.dtype), scratch(mean)
    means, factors = mean[:, None], factor[:, None]

    def run() -> None:
        np.subtract(x, means, out=dx)
        np.matmul(dy, ones, out=dbeta)
        np.vecdot(dy, dx, out=dgamma)
        np.multiply(dgamma, inv_std, out=dgamma)
        np.multiply(dgamma, inv_std, out=factor)
        np.multiply(factor, -share, out=factor)
        np.multiply(dx, factors, out=dx)
        np.add(dx, dy, out=dx)
        np.multiply(dbeta, share, out=factor)
        np.subtract(dx, factors, out=dx)
        np.multiply(gamma, inv_std, out=factor)
        np.multiply(dx, factors, out=dx)

    return run


# Optimizers.


@_makes("sgd_update", in_pieces=True)
def _sgd_update(scratch: Scratch, param: Array, grad: Array, lr: float) -> Work:
    step = scratch(grad)

    def run() -> None:
        np.multiply(grad, lr, out=step)
        np.subtract(param, step, out=param)

    return run


@_makes("momentum_update", in_pieces=True)
def _momentum_update(
    scratch: Scratch, param: Array, momentum_buffer: Array, grad: Array, lr: float, momentum: float
) -> Work:
    step = scratch(grad)

    def run() -> None:
        np.multiply(momentum_buffer, momentum, out=momentum_buffer)
        np.add(momentum_buffer, grad, out=momentum_buffer)
        np.multiply(momentum_buffer, lr, out=step)
        np.subtract(param, step, out=param)

    return run


@_makes("adagrad_update", in_pieces=True)
def _adagrad_update(scratch: Scratch, param: Array, sum: Array, grad: Array, lr: float, eps: float) -> Work:
    step = scratch(grad)

    def run() -> None:
        np.multiply(grad, grad, out=step)
        np.add(sum, step, out=sum)
        np.sqrt(sum, out=step)
        np.add(step, eps, out=step)
        np.divide(grad, step, out=step)
        np.multiply(step, lr, out=step)
        np.subtract(param, step, out=param)

    return run


@_makes("rmsprop_update", in_pieces=True)
def _rmsprop_update(
    scratch: Scratch, param: Array, square_avg: Array, grad: Array, lr: float, alpha: float, eps: float
) -> Work:
    step = scratch(grad)

    def run() -> None:
        np.multiply(square_avg, alpha, out=square_avg)
        np.multiply(grad, grad, out=step)
        np.multiply(step, 1 - alpha, out=step)
        np.add(square_avg, step, out=square_avg)
        np.sqrt(square_avg, out=step)
        np.add(step, eps, out=step)
        np.divide(grad, step, out=step)
        np.multiply(step, lr, out=step)
        np.subtract(param, step, out=param)

    return run


@_makes("adam_update", in_pieces=True)
def _adam_update(
    scratch: Scratch, param: Array, exp_avg: Array, exp_avg_sq: Array, grad: Array,
    step_size: float, beta1: float, beta2: float, eps: float, sqrt_bias_correction2: float,
) -> Work:  # fmt: skip
    """The correction of the second moment is taken out of the denominator, which saves a pass."""
    step = scratch(grad)

    def run() -> None:
        np.subtract(grad, exp_avg, out=step)
        np.multiply(step, 1 - beta1, out=step)
        np.add(exp_avg, step, out=exp_avg)
        np.multiply(grad, grad, out=step)
        np.multiply(step, 1 - beta2, out=step)
        np.multiply(exp_avg_sq, beta2, out=exp_avg_sq)
        np.add(exp_avg_sq, step, out=exp_avg_sq)
        np.sqrt(exp_avg_sq, out=step)
        np.add(step, eps * sqrt_bias_correction2, out=step)
        np.divide(exp_avg, step, out=step)
        np.multiply(step, step_size * sqrt_bias_correction2, out=step)
        np.subtract(param, step, out=param)

    return run
