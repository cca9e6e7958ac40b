"""Losses of numbers, with their gradients."""

from __future__ import annotations

import numpy as np

from fastnn.kernels.reference.regression_losses import LOG_COSH_SMALL

from .making import Array, Scratch, Work, makes


class Weights:
    """Weights of the rows, or none: what sums and gradients are multiplied with."""

    def __init__(self, scratch: Scratch, z: Array, weights: Array | None, weighted: int) -> None:
        rows = z.shape[1]
        self._given = weights if weighted and weights is not None else np.ones(rows, z.dtype)
        self._weighted, self._column, self._row = weighted, np.empty(len(z), z.dtype), np.empty(rows, z.dtype)

    def total(self, terms: Array) -> float:
        """The sum of all terms, each times the weight of its row."""
        np.matmul(terms, self._given, out=self._column)
        return float(np.add.reduce(self._column))

    def slopes(self, dz: Array, scale: float) -> None:
        """Multiplies a gradient in place."""
        if self._weighted:
            np.multiply(self._given, scale, out=self._row)
            np.multiply(dz, self._row, out=dz)
        else:
            np.multiply(dz, scale, out=dz)


@makes("mse")
def _mse(
    scratch: Scratch, dz: Array, loss: Array, z: Array, targets: Array, weights: Array | None, scale: float,
    weighted: int,
) -> Work:  # fmt: skip
    weigh, flat, square = Weights(scratch, z, weights, weighted), dz.reshape(-1), scratch(z)

    def run() -> None:
        np.subtract(z, targets, out=dz)
        if weighted:
            np.multiply(dz, dz, out=square)
            loss[0] = scale * weigh.total(square)
        else:
            loss[0] = scale * float(np.dot(flat, flat))
        weigh.slopes(dz, 2 * scale)

    return run


@makes("mae")
def _mae(
    scratch: Scratch, dz: Array, loss: Array, z: Array, targets: Array, weights: Array | None, scale: float,
    weighted: int,
) -> Work:  # fmt: skip
    weigh, size = Weights(scratch, z, weights, weighted), scratch(z)

    def run() -> None:
        np.subtract(z, targets, out=dz)
        np.abs(dz, out=size)
        loss[0] = scale * weigh.total(size)
        np.sign(dz, out=dz)
        weigh.slopes(dz, scale)

    return run


@makes("huber")
def _huber(
    scratch: Scratch, dz: Array, loss: Array, z: Array, targets: Array, weights: Array | None, scale: float,
    weighted: int, delta: float,
) -> Work:  # fmt: skip
    weigh, size, clipped = Weights(scratch, z, weights, weighted), scratch(z), scratch(z)

    def run() -> None:
        np.subtract(z, targets, out=dz)
        np.abs(dz, out=size)
        np.clip(dz, -delta, delta, out=dz)
        np.abs(dz, out=clipped)
        np.multiply(clipped, 0.5, out=clipped)
        np.subtract(size, clipped, out=size)
        np.multiply(size, clipped, out=size)
        loss[0] = 2 * scale * weigh.total(size)
        weigh.slopes(dz, scale)

    return run


@makes("log_cosh")
def _log_cosh(
    scratch: Scratch, dz: Array, loss: Array, z: Array, targets: Array, weights: Array | None, scale: float,
    weighted: int,
) -> Work:  # fmt: skip
    weigh = Weights(scratch, z, weights, weighted)
    size, e, large, log_2 = scratch(z), scratch(z), scratch(z, bool), z.dtype.type(np.log(2))
    square, rest = scratch(z), scratch(z)

    def run() -> None:
        np.subtract(z, targets, out=dz)
        np.abs(dz, out=size)
        np.tanh(dz, out=dz)
        np.greater_equal(size, LOG_COSH_SMALL, out=large)
        np.multiply(dz, dz, out=square)
        np.subtract(1, square, out=rest)
        np.copyto(rest, 1, where=large)
        np.divide(square, rest, out=square)
        np.multiply(size, -2, out=e)
        np.exp(e, out=e)
        np.copyto(square, e, where=large)
        np.log1p(square, out=square)
        np.subtract(size, log_2, out=size)
        np.add(size, square, out=size)
        np.multiply(square, 0.5, out=square)
        np.copyto(square, size, where=large)
        loss[0] = scale * weigh.total(square)
        weigh.slopes(dz, scale)

    return run


@makes("quantile")
def _quantile(
    scratch: Scratch, dz: Array, loss: Array, z: Array, targets: Array, weights: Array | None, scale: float,
    weighted: int, tau: float,
) -> Work:  # fmt: skip
    weigh, part = Weights(scratch, z, weights, weighted), scratch(z)

    def run() -> None:
        np.subtract(targets, z, out=dz)
        np.maximum(dz, 0, out=part)
        value = tau * weigh.total(part)
        np.minimum(dz, 0, out=part)
        loss[0] = scale * (value - (1 - tau) * weigh.total(part))
        np.sign(part, out=part)
        np.sign(dz, out=dz)
        np.subtract(dz, part, out=dz)  # 1 where u is above 0
        np.multiply(dz, -tau, out=dz)
        np.multiply(part, tau - 1, out=part)
        np.add(dz, part, out=dz)
        weigh.slopes(dz, scale)

    return run


@makes("poisson")
def _poisson(
    scratch: Scratch, dz: Array, loss: Array, z: Array, targets: Array, weights: Array | None, scale: float,
    weighted: int,
) -> Work:  # fmt: skip
    weigh, e, product = Weights(scratch, z, weights, weighted), scratch(z), scratch(z)

    def run() -> None:
        np.exp(z, out=e)
        np.multiply(z, targets, out=product)
        loss[0] = scale * (weigh.total(e) - weigh.total(product))
        np.subtract(e, targets, out=dz)
        weigh.slopes(dz, scale)

    return run


@makes("gaussian")
def _gaussian(
    scratch: Scratch, dmean: Array, dlog_var: Array, loss: Array, mean: Array, log_var: Array, targets: Array,
    weights: Array | None, scale: float, weighted: int, log_eps: float,
) -> Work:  # fmt: skip
    weigh, s = Weights(scratch, mean, weights, weighted), scratch(mean)

    def run() -> None:
        np.maximum(log_var, log_eps, out=s)
        np.negative(s, out=dmean)
        np.exp(dmean, out=dmean)
        np.subtract(mean, targets, out=dlog_var)
        np.multiply(dmean, dlog_var, out=dmean)
        np.multiply(dmean, dlog_var, out=dlog_var)
        np.add(s, dlog_var, out=s)
        loss[0] = 0.5 * scale * weigh.total(s)
        np.subtract(1, dlog_var, out=dlog_var)
        weigh.slopes(dmean, scale)
        weigh.slopes(dlog_var, 0.5 * scale)

    return run
