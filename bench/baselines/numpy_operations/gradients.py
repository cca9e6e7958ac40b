"""What is done to gradients before an update, and to weights after it."""

from __future__ import annotations

import numpy as np

from .making import Array, Scratch, Work, makes


@makes("sum_of_squares")
def _sum_of_squares(scratch: Scratch, total: Array, x: Array, accumulate: int) -> Work:
    flat = x.reshape(-1)

    def run() -> None:
        total[0] = np.dot(flat, flat) + (total[0] if accumulate else 0.0)

    return run


@makes("clip_to_norm")
def _clip_to_norm(scratch: Scratch, grad: Array, total: Array, max_norm: float) -> Work:
    def run() -> None:
        factor = max_norm / (np.sqrt(total[0]) + 1e-6)
        if factor < 1:
            np.multiply(grad, grad.dtype.type(factor), out=grad)

    return run


@makes("clip_to_value", in_pieces=True)
def _clip_to_value(scratch: Scratch, grad: Array, max_value: float) -> Work:
    return lambda: np.clip(grad, -max_value, max_value, out=grad)


@makes("average_update", in_pieces=True)
def _average_update(scratch: Scratch, average: Array, param: Array, decay: float) -> Work:
    step = scratch(param)

    def run() -> None:
        np.subtract(param, average, out=step)
        np.multiply(step, 1 - decay, out=step)
        np.add(average, step, out=average)

    return run
