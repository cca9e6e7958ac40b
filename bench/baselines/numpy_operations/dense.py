"""The products of a dense layer."""

from __future__ import annotations

from functools import partial

import numpy as np

from fastnn.kernels.reference import dense

from .making import Array, Scratch, Work, apart, bits, makes


@makes("dense_forward")
def _dense_forward(scratch: Scratch, y: Array, x: Array, weight: Array, floor: float) -> Work:
    def run() -> None:
        np.matmul(weight, x, out=y)
        if floor != -np.inf:
            np.maximum(y, floor, out=y)

    return run


@makes("dense_backward_input")
def _dense_backward_input(
    scratch: Scratch, dx: Array, dy: Array, weight: Array, x: Array | None, derivative: int, c0: float, c1: float,
    c2: float,
) -> Work:  # fmt: skip
    transposed = weight.T
    if derivative == dense.NOTHING or x is None:
        return partial(np.matmul, transposed, dy, out=dx)
    product = apart(scratch, dx, x)
    positive, slope = scratch(x, bool), scratch(x)
    result, gradient = bits(dx), bits(product)

    def run_where_positive() -> None:
        np.matmul(transposed, dy, out=product)
        np.greater(x, 0, out=positive)
        np.multiply(gradient, positive, out=result)

    def run_quadratic() -> None:
        np.matmul(transposed, dy, out=product)
        np.multiply(x, c2, out=slope)
        if c1:
            np.add(slope, c1, out=slope)
        np.multiply(slope, x, out=slope)
        if c0:
            np.add(slope, c0, out=slope)
        np.multiply(product, slope, out=dx)

    def run_in_two_parts() -> None:
        np.matmul(transposed, dy, out=product)
        np.greater(x, 0, out=positive)
        np.multiply(x, c1, out=slope)
        np.add(slope, c0, out=slope)
        np.copyto(slope, c2, where=positive)
        np.multiply(product, slope, out=dx)

    runs = {dense.WHERE_POSITIVE: run_where_positive, dense.QUADRATIC: run_quadratic}
    return runs.get(derivative, run_in_two_parts)


@makes("dense_backward_weight")
def _dense_backward_weight(scratch: Scratch, dweight: Array, dy: Array, x: Array, accumulate: int) -> Work:
    transposed, product = x.T, scratch(dweight) if accumulate else dweight

    def run() -> None:
        np.matmul(dy, transposed, out=product)
        if accumulate:
            np.add(dweight, product, out=dweight)

    return run
