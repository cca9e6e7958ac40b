"""Batch normalisation."""

from __future__ import annotations

import numpy as np

from .making import Array, Scratch, Work, makes


@makes("batch_norm_forward", in_pieces=True)
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


@makes("batch_norm_inference", in_pieces=True)
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


@makes("batch_norm_backward", in_pieces=True)
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


@makes("standardize")
def _standardize(scratch: Scratch, y: Array, x: Array, mean: Array, scale: Array) -> Work:
    means, scales = mean[:, None], scale[:, None]

    def run() -> None:
        np.subtract(x, means, out=y)
        np.divide(y, scales, out=y)

    return run
