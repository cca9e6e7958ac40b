"""Optimizers."""

from __future__ import annotations

import numpy as np

from .making import Array, Scratch, Work, makes


@makes("sgd_update", in_pieces=True)
def _sgd_update(scratch: Scratch, param: Array, grad: Array, lr: float) -> Work:
    step = scratch(grad)

    def run() -> None:
        np.multiply(grad, lr, out=step)
        np.subtract(param, step, out=param)

    return run


@makes("momentum_update", in_pieces=True)
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


@makes("adagrad_update", in_pieces=True)
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


@makes("rmsprop_update", in_pieces=True)
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


@makes("adam_update", in_pieces=True)
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
