"""Losses of numbers: value and gradient in one pass. `scale` is 1 / (number of terms averaged, or the sum of their
weights), so that the gradient is that of the mean and the values of several batches add up.

    B rows of the batch     C outputs of the network     d = z - targets
    w_b = weights[b], or 1 for all rows if `weighted` is 0, and weights may then be absent
"""

from typing import Any

import numpy as np

from ..table import operation

Array = np.ndarray[Any, Any]

LOG_COSH_SMALL = 0.8
"""Below: log cosh(d) from tanh(d), which loses no digits there; above: from exp(-2 |d|)."""


def write(
    dz: Array, loss: Array, terms: Array, slopes: Array, weights: Array | None, scale: float, weighted: int
) -> None:  # fmt: skip
    """loss = scale sum w_b terms, dz = w_b scale slopes."""
    weight = weights if weighted and weights is not None else terms.dtype.type(1)
    loss[0] = scale * np.sum(weight * terms, dtype=np.float64)
    dz[...] = slopes * (weight * terms.dtype.type(scale))


@operation(
    writes="dz[C,B] loss[1]:float64", reads="z[C,B] targets[C,B] weights?weighted[B]", scalars="scale weighted:int<2",
    in_place="dz=z",
)  # fmt: skip
def mse(
    dz: Array, loss: Array, z: Array, targets: Array, weights: Array | None, scale: float, weighted: int
) -> None:  # fmt: skip
    """Squared error: loss = scale * sum w_b d**2 and dz = 2 scale w_b d.

    dz       (C, B)  written; may be z
    loss     (1,)    float64, written
    z        (C, B)  read
    targets  (C, B)  read
    weights  (B,)    read if `weighted` is 1
    scale    1 / (B C) for the mean over all elements

    As PyTorch's `mse_loss(reduction="mean")`; scikit-learn's MLP halves it.
    """
    difference = z - targets
    weight = weights if weighted and weights is not None else z.dtype.type(1)
    loss[0] = scale * np.sum(weight * (difference * difference), dtype=np.float64)
    dz[...] = difference * (weight * z.dtype.type(2 * scale))


@operation(
    writes="dz[C,B] loss[1]:float64", reads="z[C,B] targets[C,B] weights?weighted[B]", scalars="scale weighted:int<2",
    in_place="dz=z",
)  # fmt: skip
def mae(
    dz: Array, loss: Array, z: Array, targets: Array, weights: Array | None, scale: float, weighted: int
) -> None:  # fmt: skip
    """Absolute error: loss = scale * sum w_b |d| and dz = scale w_b sign(d), which is 0 where d is 0.

    dz       (C, B)  written; may be z
    loss     (1,)    float64, written
    z        (C, B)  read
    targets  (C, B)  read
    weights  (B,)    read if `weighted` is 1
    scale    1 / (B C) for the mean over all elements

    As PyTorch's `l1_loss`.
    """
    difference = z - targets
    write(dz, loss, np.abs(difference), np.sign(difference), weights, scale, weighted)


@operation(
    writes="dz[C,B] loss[1]:float64", reads="z[C,B] targets[C,B] weights?weighted[B]",
    scalars="scale weighted:int<2 delta", in_place="dz=z",
)  # fmt: skip
def huber(
    dz: Array, loss: Array, z: Array, targets: Array, weights: Array | None, scale: float, weighted: int, delta: float
) -> None:
    """Huber 1964: loss = scale * sum w_b h(d) with h = d**2 / 2 where |d| <= delta, else delta (|d| - delta / 2), and
    dz = scale w_b clip(d, -delta, delta).

    dz       (C, B)  written; may be z
    loss     (1,)    float64, written
    z        (C, B)  read
    targets  (C, B)  read
    weights  (B,)    read if `weighted` is 1
    scale    1 / (B C) for the mean over all elements
    delta    above 0

    As PyTorch's `huber_loss`. Both branches are c (|d| - c / 2) with c = min(|d|, delta).
    """
    delta = z.dtype.type(delta)
    difference = z - targets
    size = np.abs(difference)
    clipped = np.minimum(size, delta)
    terms = clipped * (size - clipped / 2)
    write(dz, loss, terms, np.clip(difference, -delta, delta), weights, scale, weighted)


@operation(
    writes="dz[C,B] loss[1]:float64", reads="z[C,B] targets[C,B] weights?weighted[B]", scalars="scale weighted:int<2",
    in_place="dz=z",
)  # fmt: skip
def log_cosh(
    dz: Array, loss: Array, z: Array, targets: Array, weights: Array | None, scale: float, weighted: int
) -> None:  # fmt: skip
    """loss = scale * sum w_b log(cosh(d)) and dz = scale w_b tanh(d).

    dz       (C, B)  written; may be z
    loss     (1,)    float64, written
    z        (C, B)  read
    targets  (C, B)  read
    weights  (B,)    read if `weighted` is 1
    scale    1 / (B C) for the mean over all elements

    With a = |d| and y = tanh(a): log(1 + y**2 / (1 - y**2)) / 2 for small a, which is d**2 / 2 to the last digit where
    d is tiny; else a - log 2 + log(1 + exp(-2 a)), which does not overflow. Keras has the second form alone.
    """
    difference = z - targets
    size = np.abs(difference)
    y = np.tanh(size)
    small = size < LOG_COSH_SMALL
    square = y * y
    argument = np.where(small, square / (1 - np.where(small, square, 0)), np.exp(-2 * size))
    logarithm = np.log1p(argument)
    terms = np.where(small, logarithm / 2, size - z.dtype.type(np.log(2)) + logarithm)
    write(dz, loss, terms, np.copysign(y, difference), weights, scale, weighted)


@operation(
    writes="dz[C,B] loss[1]:float64", reads="z[C,B] targets[C,B] weights?weighted[B]",
    scalars="scale weighted:int<2 tau", in_place="dz=z",
)  # fmt: skip
def quantile(
    dz: Array, loss: Array, z: Array, targets: Array, weights: Array | None, scale: float, weighted: int, tau: float
) -> None:
    """The check function of Koenker and Bassett 1978: with u = targets - z, loss = scale * sum w_b max(tau u, (tau - 1)
    u), and dz = scale w_b (-tau where u > 0, 1 - tau where u < 0, 0 where u = 0).

    dz       (C, B)  written; may be z
    loss     (1,)    float64, written
    z        (C, B)  read
    targets  (C, B)  read
    weights  (B,)    read if `weighted` is 1
    scale    1 / (B C) for the mean over all elements
    tau      above 0, below 1: the quantile; 0.5 is half the absolute error

    As scikit-learn's `mean_pinball_loss`.
    """
    real = z.dtype.type
    u = targets - z
    terms = np.where(u < 0, real(tau - 1) * u, real(tau) * u)
    slopes = np.where(u < 0, real(1 - tau), np.where(u > 0, real(-tau), u))
    write(dz, loss, terms, slopes, weights, scale, weighted)


@operation(
    writes="dz[C,B] loss[1]:float64", reads="z[C,B] targets[C,B] weights?weighted[B]", scalars="scale weighted:int<2",
    in_place="dz=z",
)  # fmt: skip
def poisson(
    dz: Array, loss: Array, z: Array, targets: Array, weights: Array | None, scale: float, weighted: int
) -> None:  # fmt: skip
    """Negative log-likelihood of counts whose expectation is exp(z), without log(targets!): loss = scale * sum w_b
    (exp(z) - targets z) and dz = scale w_b (exp(z) - targets).

    dz       (C, B)  written; may be z
    loss     (1,)    float64, written
    z        (C, B)  read: logarithms of expectations
    targets  (C, B)  read; 0 or more
    weights  (B,)    read if `weighted` is 1
    scale    1 / (B C) for the mean over all elements

    As PyTorch's `poisson_nll_loss(log_input=True, full=False)`.
    """
    e = np.exp(z)
    write(dz, loss, e - z * targets, e - targets, weights, scale, weighted)


@operation(
    writes="dmean[C,B] dlog_var[C,B] loss[1]:float64",
    reads="mean[C,B] log_var[C,B] targets[C,B] weights?weighted[B]", scalars="scale weighted:int<2 log_eps",
)  # fmt: skip
def gaussian(
    dmean: Array, dlog_var: Array, loss: Array, mean: Array, log_var: Array, targets: Array, weights: Array | None,
    scale: float, weighted: int, log_eps: float,
) -> None:  # fmt: skip
    """Negative log-likelihood of numbers with this mean and variance, without log(2 pi) / 2: with s = max(log_var,
    log_eps) and r = (mean - targets)**2 exp(-s), loss = scale * sum w_b (s + r) / 2, dmean = scale w_b (mean - targets)
    exp(-s) and dlog_var = scale w_b (1 - r) / 2.

    dmean, dlog_var  (C, B)  written
    loss             (1,)    float64, written
    mean, log_var    (C, B)  read: C is half the outputs of the network
    targets          (C, B)  read
    weights          (B,)    read if `weighted` is 1
    scale            1 / (B C) for the mean over all targets
    log_eps          logarithm of the smallest variance

    Nix and Weigend 1994. PyTorch's `gaussian_nll_loss(full=False)` takes the variance itself. Where log_var is below
    log_eps, dlog_var is that at log_eps, so that a variance that is too small can grow again.
    """
    real = mean.dtype.type
    s = np.maximum(log_var, real(log_eps))
    inverse = np.exp(-s)
    difference = mean - targets
    pull = difference * inverse
    ratio = difference * pull
    weight = weights if weighted and weights is not None else real(1)
    loss[0] = scale * np.sum(weight * ((s + ratio) / 2), dtype=np.float64)
    dmean[...] = pull * (weight * real(scale))
    dlog_var[...] = (1 - ratio) / 2 * (weight * real(scale))
