"""Losses of yes-or-no questions, with their gradients."""

from __future__ import annotations

import numpy as np

from .making import Array, Scratch, Work, makes
from .regression_losses import Weights


@makes("bce")
def _bce(
    scratch: Scratch, dz: Array, loss: Array, z: Array, targets: Array, weights: Array | None, scale: float,
    weighted: int,
) -> Work:  # fmt: skip
    weigh = Weights(scratch, z, weights, weighted)
    e, term, sigmoid, positive = scratch(z), scratch(z), scratch(z), scratch(z, bool)

    def run() -> None:
        np.abs(z, out=e)
        np.negative(e, out=e)
        np.exp(e, out=e)
        np.log1p(e, out=term)
        value = weigh.total(term)
        np.maximum(z, 0, out=term)
        value += weigh.total(term)
        np.multiply(z, targets, out=term)
        loss[0] = scale * (value - weigh.total(term))
        np.greater_equal(z, 0, out=positive)
        np.maximum(e, positive, out=sigmoid)  # e where z < 0, else 1
        np.add(e, 1, out=e)
        np.divide(sigmoid, e, out=sigmoid)
        np.subtract(sigmoid, targets, out=dz)
        weigh.slopes(dz, scale)

    return run


@makes("binary_focal")
def _binary_focal(
    scratch: Scratch, dz: Array, loss: Array, z: Array, targets: Array, weights: Array | None, scale: float,
    weighted: int, gamma: float,
) -> Work:  # fmt: skip
    weigh = Weights(scratch, z, weights, weighted)
    sign, s, e, tail, surprise, power = (scratch(z) for _ in range(6))
    negative = scratch(z, bool)

    def run() -> None:
        np.multiply(targets, 2, out=sign)
        np.subtract(sign, 1, out=sign)
        np.multiply(z, sign, out=s)
        np.abs(z, out=e)
        np.negative(e, out=e)
        np.exp(e, out=e)
        np.log1p(e, out=tail)
        np.maximum(s, 0, out=power)
        np.add(power, tail, out=power)
        np.multiply(power, -gamma, out=power)
        np.exp(power, out=power)
        np.negative(s, out=surprise)
        np.maximum(surprise, 0, out=surprise)
        np.add(surprise, tail, out=surprise)  # -log p
        np.multiply(power, surprise, out=tail)
        loss[0] = scale * weigh.total(tail)
        np.less(s, 0, out=negative)
        np.add(e, 1, out=tail)
        np.copyto(s, 1)
        np.copyto(s, e, where=negative)
        np.divide(s, tail, out=s)  # p
        np.copyto(e, 1, where=negative)
        np.divide(e, tail, out=e)  # q
        np.multiply(s, gamma, out=s)
        np.multiply(s, surprise, out=s)
        np.add(s, e, out=s)
        np.multiply(s, power, out=s)
        np.negative(sign, out=sign)
        np.multiply(s, sign, out=dz)
        weigh.slopes(dz, scale)

    return run


@makes("hinge")
def _hinge(
    scratch: Scratch, dz: Array, loss: Array, z: Array, targets: Array, weights: Array | None, scale: float,
    weighted: int,
) -> Work:  # fmt: skip
    weigh, margin = Weights(scratch, z, weights, weighted), scratch(z)

    def run() -> None:
        np.multiply(z, targets, out=margin)
        np.subtract(1, margin, out=margin)
        np.maximum(margin, 0, out=margin)
        loss[0] = scale * weigh.total(margin)
        np.sign(margin, out=margin)
        np.multiply(margin, targets, out=dz)
        np.negative(dz, out=dz)
        weigh.slopes(dz, scale)

    return run


@makes("squared_hinge")
def _squared_hinge(
    scratch: Scratch, dz: Array, loss: Array, z: Array, targets: Array, weights: Array | None, scale: float,
    weighted: int,
) -> Work:  # fmt: skip
    weigh, margin, square = Weights(scratch, z, weights, weighted), scratch(z), scratch(z)

    def run() -> None:
        np.multiply(z, targets, out=margin)
        np.subtract(1, margin, out=margin)
        np.maximum(margin, 0, out=margin)
        np.multiply(margin, margin, out=square)
        loss[0] = scale * weigh.total(square)
        np.multiply(margin, targets, out=dz)
        weigh.slopes(dz, -2 * scale)

    return run


@makes("margin_ranking")
def _margin_ranking(
    scratch: Scratch, dz: Array, loss: Array, z: Array, targets: Array, weights: Array | None, scale: float,
    weighted: int, margin: float,
) -> Work:  # fmt: skip
    t, short = targets[0], np.empty(z.shape[1], z.dtype)
    given = weights if weighted and weights is not None else np.ones(z.shape[1], z.dtype)

    def run() -> None:
        np.subtract(z[1], z[0], out=short)
        np.multiply(short, t, out=short)
        np.add(short, margin, out=short)
        np.maximum(short, 0, out=short)
        loss[0] = scale * float(np.dot(short, given))
        np.sign(short, out=short)
        np.multiply(short, t, out=short)
        np.multiply(short, given, out=short)
        np.multiply(short, scale, out=dz[1])
        np.negative(dz[1], out=dz[0])

    return run
