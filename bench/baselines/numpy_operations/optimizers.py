"""Optimizers. Weight decay and groups cost passes only where they are asked for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .making import Array, Scratch, Work, makes

Step = Callable[[], Any]


def _decay(
    scratch: Scratch, param: Array, grad: Array, rates: Array | None, decays: Array | None,
    weight_decay: float, shrink: float, grouped: int,
) -> tuple[list[Step], Array]:  # fmt: skip
    """What makes the gradient with coupled decay and shrinks the parameters, and where that gradient will be."""
    steps: list[Step] = []
    factors, shares = (rates, decays) if grouped else (None, None)
    g = grad
    if weight_decay:
        g = scratch(grad)
        steps.append(lambda: np.multiply(param, weight_decay, out=g))
        if shares is not None:
            steps.append(lambda: np.multiply(g, shares, out=g))
        steps.append(lambda: np.add(grad, g, out=g))
    if shrink:
        lost = scratch(grad)
        steps.append(lambda: np.multiply(param, shrink, out=lost))
        if factors is not None and shares is not None:
            steps += [lambda: np.multiply(lost, factors, out=lost), lambda: np.multiply(lost, shares, out=lost)]
        steps.append(lambda: np.subtract(param, lost, out=param))
    return steps, g


def _moves(param: Array, step: Array, rates: Array | None, grouped: int) -> list[Step]:
    """What subtracts a step, times the factors of its group; `step` is overwritten."""
    rated = [lambda: np.multiply(step, rates, out=step)] if grouped and rates is not None else []
    return [*rated, lambda: np.subtract(param, step, out=param)]


def _in_order(*steps: Step) -> Work:
    def run() -> None:
        for step in steps:
            step()

    return run


def _average(average: Array, value: Array, weight: float, step: Array) -> list[Step]:
    """average += weight (value - average)"""
    return [
        lambda: np.subtract(value, average, out=step),
        lambda: np.multiply(step, weight, out=step),
        lambda: np.add(average, step, out=average),
    ]


def _average_square(average: Array, g: Array, decay: float, step: Array) -> list[Step]:
    """average = decay average + (1 - decay) g**2"""
    return [
        lambda: np.multiply(average, decay, out=average),
        lambda: np.multiply(g, g, out=step),
        lambda: np.multiply(step, 1 - decay, out=step),
        lambda: np.add(average, step, out=average),
    ]


def _root(square: Array, inner_eps: float, eps: float, step: Array) -> list[Step]:
    """step = sqrt(square + inner_eps) + eps"""
    inner: list[Step] = [lambda: np.add(square, inner_eps, out=step)] if inner_eps else []
    root = step if inner_eps else square
    return [*inner, lambda: np.sqrt(root, out=step), lambda: np.add(step, eps, out=step)]


@makes("sgd_update", in_pieces=True)
def _sgd_update(
    scratch: Scratch, param: Array, grad: Array, rates: Array | None, decays: Array | None, lr: float, **options: Any
) -> Work:
    steps, g = _decay(scratch, param, grad, rates, decays, **options)
    step = scratch(grad)
    return _in_order(*steps, lambda: np.multiply(g, lr, out=step), *_moves(param, step, rates, options["grouped"]))


@makes("momentum_update", in_pieces=True)
def _momentum_update(scratch: Scratch, **operands: Any) -> Work:
    return _with_momentum(scratch, False, **operands)


@makes("nesterov_update", in_pieces=True)
def _nesterov_update(scratch: Scratch, **operands: Any) -> Work:
    return _with_momentum(scratch, True, **operands)


def _with_momentum(
    scratch: Scratch, nesterov: bool, param: Array, momentum_buffer: Array, grad: Array, rates: Array | None,
    decays: Array | None, lr: float, momentum: float, weight: float, **options: Any,
) -> Work:  # fmt: skip
    steps, g = _decay(scratch, param, grad, rates, decays, **options)
    step, weighted = scratch(grad), g
    steps.append(lambda: np.multiply(momentum_buffer, momentum, out=momentum_buffer))
    if weight != 1:
        weighted = scratch(grad)
        steps.append(lambda: np.multiply(g, weight, out=weighted))
    steps.append(lambda: np.add(momentum_buffer, weighted, out=momentum_buffer))
    ahead: list[Step] = []
    if nesterov:
        ahead = [
            lambda: np.multiply(momentum_buffer, momentum, out=step),
            lambda: np.add(step, weighted, out=step),
        ]
    moved = step if nesterov else momentum_buffer
    return _in_order(
        *steps, *ahead, lambda: np.multiply(moved, lr, out=step), *_moves(param, step, rates, options["grouped"])
    )


@makes("lion_update", in_pieces=True)
def _lion_update(
    scratch: Scratch, param: Array, exp_avg: Array, grad: Array, rates: Array | None, decays: Array | None,
    lr: float, beta1: float, beta2: float, **options: Any,
) -> Work:  # fmt: skip
    steps, g = _decay(scratch, param, grad, rates, decays, **options)
    change, step = scratch(grad), scratch(grad)
    return _in_order(
        *steps,
        lambda: np.subtract(g, exp_avg, out=change),
        lambda: np.multiply(change, 1 - beta1, out=step),
        lambda: np.add(exp_avg, step, out=step),
        lambda: np.sign(step, out=step),
        lambda: np.multiply(step, lr, out=step),
        *_moves(param, step, rates, options["grouped"]),
        lambda: np.multiply(change, 1 - beta2, out=change),
        lambda: np.add(exp_avg, change, out=exp_avg),
    )


@makes("rprop_update", in_pieces=True)
def _rprop_update(
    scratch: Scratch, param: Array, prev: Array, step_size: Array, grad: Array, rates: Array | None,
    decays: Array | None, rate_scale: float, eta_minus: float, eta_plus: float, min_step: float, max_step: float,
    **options: Any,
) -> Work:  # fmt: skip
    steps, g = _decay(scratch, param, grad, rates, decays, **options)
    agree, step = scratch(grad), scratch(grad)
    mask = scratch(grad, np.bool_)
    return _in_order(
        *steps,
        lambda: np.sign(g, out=step),
        lambda: np.sign(prev, out=agree),
        lambda: np.multiply(agree, step, out=agree),
        lambda: np.copyto(prev, g),
        lambda: np.less(agree, 0, out=mask),
        lambda: np.copyto(prev, 0, where=mask),
        lambda: np.multiply(step_size, eta_minus, out=step_size, where=mask),
        lambda: np.greater(agree, 0, out=mask),
        lambda: np.multiply(step_size, eta_plus, out=step_size, where=mask),
        lambda: np.clip(step_size, min_step, max_step, out=step_size),
        lambda: np.sign(prev, out=step),
        lambda: np.multiply(step, step_size, out=step),
        lambda: np.multiply(step, rate_scale, out=step),
        *_moves(param, step, rates, options["grouped"]),
    )


@makes("adagrad_update", in_pieces=True)
def _adagrad_update(
    scratch: Scratch, param: Array, sum: Array, grad: Array, rates: Array | None, decays: Array | None,
    lr: float, eps: float, inner_eps: float, **options: Any,
) -> Work:  # fmt: skip
    steps, g = _decay(scratch, param, grad, rates, decays, **options)
    step = scratch(grad)
    return _in_order(
        *steps,
        lambda: np.multiply(g, g, out=step),
        lambda: np.add(sum, step, out=sum),
        *_root(sum, inner_eps, eps, step),
        lambda: np.divide(g, step, out=step),
        lambda: np.multiply(step, lr, out=step),
        *_moves(param, step, rates, options["grouped"]),
    )


@makes("adadelta_update", in_pieces=True)
def _adadelta_update(
    scratch: Scratch, param: Array, square_avg: Array, acc_delta: Array, grad: Array, rates: Array | None,
    decays: Array | None, lr: float, rho: float, eps: float, **options: Any,
) -> Work:  # fmt: skip
    steps, g = _decay(scratch, param, grad, rates, decays, **options)
    step, root = scratch(grad), scratch(grad)
    return _in_order(
        *steps,
        *_average_square(square_avg, g, rho, step),
        *_root(square_avg, eps, 0.0, root),
        *_root(acc_delta, eps, 0.0, step),
        lambda: np.divide(step, root, out=step),
        lambda: np.multiply(step, g, out=step),
        *_average_square(acc_delta, step, rho, root),
        lambda: np.multiply(step, lr, out=step),
        *_moves(param, step, rates, options["grouped"]),
    )


@makes(
    "rmsprop_update", "rmsprop_momentum_update", "rmsprop_centered_update", "rmsprop_centered_momentum_update",
    in_pieces=True,
)  # fmt: skip
def _rmsprop_update(
    scratch: Scratch, param: Array, square_avg: Array, grad: Array, rates: Array | None, decays: Array | None,
    lr: float, alpha: float, eps: float, inner_eps: float,
    grad_avg: Array | None = None, momentum_buffer: Array | None = None, momentum: float = 0.0, **options: Any,
) -> Work:  # fmt: skip
    steps, g = _decay(scratch, param, grad, rates, decays, **options)
    step = scratch(grad)
    steps += _average_square(square_avg, g, alpha, step)
    square = square_avg
    if grad_avg is not None:
        square, mean = scratch(grad), grad_avg
        steps += [
            *_average(mean, g, 1 - alpha, step),
            lambda: np.multiply(mean, mean, out=square),
            lambda: np.subtract(square_avg, square, out=square),
            lambda: np.maximum(square, 0, out=square),
        ]
    steps += [*_root(square, inner_eps, eps, step), lambda: np.divide(g, step, out=step)]
    moved = step
    if momentum_buffer is not None:
        moved = buffer = momentum_buffer
        steps += [lambda: np.multiply(buffer, momentum, out=buffer), lambda: np.add(buffer, step, out=buffer)]
    return _in_order(*steps, lambda: np.multiply(moved, lr, out=step), *_moves(param, step, rates, options["grouped"]))


@makes("adam_update", in_pieces=True)
def _adam_update(
    scratch: Scratch, param: Array, exp_avg: Array, exp_avg_sq: Array, grad: Array, rates: Array | None,
    decays: Array | None, step_size: float, beta1: float, beta2: float, eps: float, sqrt_bias_correction2: float,
    **options: Any,
) -> Work:  # fmt: skip
    """The correction of the second moment is taken out of the denominator, which saves a pass."""
    steps, g = _decay(scratch, param, grad, rates, decays, **options)
    step = scratch(grad)
    return _in_order(
        *steps,
        *_average(exp_avg, g, 1 - beta1, step),
        *_average_square(exp_avg_sq, g, beta2, step),
        *_root(exp_avg_sq, 0.0, eps * sqrt_bias_correction2, step),
        lambda: np.divide(exp_avg, step, out=step),
        lambda: np.multiply(step, step_size * sqrt_bias_correction2, out=step),
        *_moves(param, step, rates, options["grouped"]),
    )


@makes("nadam_update", in_pieces=True)
def _nadam_update(
    scratch: Scratch, param: Array, exp_avg: Array, exp_avg_sq: Array, grad: Array, rates: Array | None,
    decays: Array | None, grad_step: float, avg_step: float, beta1: float, beta2: float, eps: float,
    sqrt_bias_correction2: float, **options: Any,
) -> Work:  # fmt: skip
    steps, g = _decay(scratch, param, grad, rates, decays, **options)
    step, root = scratch(grad), scratch(grad)
    return _in_order(
        *steps,
        *_average(exp_avg, g, 1 - beta1, step),
        *_average_square(exp_avg_sq, g, beta2, step),
        *_root(exp_avg_sq, 0.0, eps * sqrt_bias_correction2, root),
        lambda: np.divide(g, root, out=step),
        lambda: np.multiply(step, grad_step * sqrt_bias_correction2, out=step),
        *_moves(param, step, rates, options["grouped"]),
        lambda: np.divide(exp_avg, root, out=step),
        lambda: np.multiply(step, avg_step * sqrt_bias_correction2, out=step),
        *_moves(param, step, rates, options["grouped"]),
    )


@makes("radam_update", in_pieces=True)
def _radam_update(
    scratch: Scratch, param: Array, exp_avg: Array, exp_avg_sq: Array, grad: Array, rates: Array | None,
    decays: Array | None, plain_step: float, rectified_step: float, beta1: float, beta2: float, eps: float,
    **options: Any,
) -> Work:  # fmt: skip
    steps, g = _decay(scratch, param, grad, rates, decays, **options)
    step = scratch(grad)
    return _in_order(
        *steps,
        *_average(exp_avg, g, 1 - beta1, step),
        *_average_square(exp_avg_sq, g, beta2, step),
        *_root(exp_avg_sq, 0.0, eps, step),
        lambda: np.divide(rectified_step, step, out=step),
        lambda: np.add(step, plain_step, out=step),
        lambda: np.multiply(step, exp_avg, out=step),
        *_moves(param, step, rates, options["grouped"]),
    )
