"""Losses of one class among several, an output for each: value and gradient in one pass. `scale`, `weights` and
`weighted` are those of regression_losses.py.

    B rows of the batch     C outputs of the network, one per class
"""

from typing import Any

import numpy as np

from ..table import operation

Array = np.ndarray[Any, Any]


def _weight(weights: Array | None, weighted: int, like: Array) -> Any:
    return weights if weighted and weights is not None else like.dtype.type(1)


@operation(
    writes="dz[C,B] loss[1]:float64", reads="z[C,B] labels[B]:int32<C weights?weighted[B]",
    scalars="scale weighted:int<2 label_smoothing", in_place="dz=z",
)  # fmt: skip
def cross_entropy(
    dz: Array, loss: Array, z: Array, labels: Array, weights: Array | None, scale: float, weighted: int,
    label_smoothing: float,
) -> None:  # fmt: skip
    """Softmax cross-entropy of logits against integer labels: loss = scale * sum_b w_b (logsumexp(z_b) - sum_c t_c z_c)
    and dz = scale w_b (softmax(z) - t), with t = (1 - label_smoothing) onehot(label) + label_smoothing / C.

    dz       (C, B)  written; may be z
    loss     (1,)    float64, written
    z        (C, B)  read: logits
    labels   (B,)    int32, read; every entry in [0, C)
    weights  (B,)    read if `weighted` is 1
    scale    1 / B for the mean over rows
    label_smoothing   0 to 1; 0 leaves the labels as they are

    The largest logit of a row is subtracted first, so that logits of 1e4 neither overflow nor lose the answer.
    As PyTorch's `cross_entropy(reduction="mean")`; smoothing as Szegedy et al. 2016.
    """
    rows, real = np.arange(len(labels)), z.dtype.type
    shifted = z - z.max(axis=0, initial=-np.inf)
    e = np.exp(shifted)
    total = e.sum(axis=0)
    wanted = shifted[labels, rows]
    even = label_smoothing / len(z) if len(z) else 0.0
    if label_smoothing > 0:
        wanted = real(1 - label_smoothing) * wanted + real(even) * shifted.sum(axis=0)
    weight = _weight(weights, weighted, z)
    loss[0] = scale * np.sum(weight * (np.log(total) - wanted), dtype=np.float64)
    factor = weight * real(scale)
    dz[...] = e * (factor / total) - factor * real(even)
    dz[labels, rows] -= factor * real(1 - label_smoothing)


@operation(
    writes="dz[C,B] loss[1]:float64", reads="z[C,B] targets[C,B] weights?weighted[B]",
    scalars="scale weighted:int<2 label_smoothing", in_place="dz=z",
)  # fmt: skip
def soft_cross_entropy(
    dz: Array, loss: Array, z: Array, targets: Array, weights: Array | None, scale: float, weighted: int,
    label_smoothing: float,
) -> None:  # fmt: skip
    """Softmax cross-entropy of logits against probabilities: loss = scale * sum_b w_b sum_c t_c (logsumexp(z_b) - z_c)
    and dz = scale w_b (softmax(z) sum_c t_c - t), with t = (1 - label_smoothing) targets + label_smoothing / C.

    dz       (C, B)  written; may be z
    loss     (1,)    float64, written
    z        (C, B)  read: logits
    targets  (C, B)  read: probabilities of the classes, each row's sum 1
    weights  (B,)    read if `weighted` is 1
    scale    1 / B for the mean over rows
    label_smoothing   0 to 1; 0 leaves the targets as they are

    As PyTorch's `cross_entropy` with probabilities.
    """
    real = z.dtype.type
    shifted = z - z.max(axis=0, initial=-np.inf)
    e = np.exp(shifted)
    total = e.sum(axis=0)
    t = real(1 - label_smoothing) * targets + real(label_smoothing / max(len(z), 1))
    mass = t.sum(axis=0)
    weight = _weight(weights, weighted, z)
    loss[0] = scale * np.sum(weight * (np.log(total) * mass - (t * shifted).sum(axis=0)), dtype=np.float64)
    factor = weight * real(scale)
    dz[...] = e * (factor * mass / total) - t * factor


@operation(
    writes="dz[C,B] loss[1]:float64", reads="z[C,B] labels[B]:int32<C weights?weighted[B]",
    scalars="scale weighted:int<2 gamma", in_place="dz=z",
)  # fmt: skip
def focal(
    dz: Array, loss: Array, z: Array, labels: Array, weights: Array | None, scale: float, weighted: int, gamma: float
) -> None:
    """Focal loss on logits against integer labels: with p = softmax(z)[label] and q = 1 - p, loss = scale * sum_b w_b
    q**gamma (-log p) and dz = scale w_b f (softmax(z) - onehot(label)) with f = q**gamma (1 - gamma p log(p) / q).

    dz       (C, B)  written; may be z
    loss     (1,)    float64, written
    z        (C, B)  read: logits
    labels   (B,)    int32, read; every entry in [0, C)
    weights  (B,)    read if `weighted` is 1
    scale    1 / B for the mean over rows
    gamma    0 or more; 0 is `cross_entropy`

    Lin et al. 2017, equation 4, of a softmax. q is the sum of the other classes' probabilities and -log p is log(1 + q
    / p) where p is above 1/2, so that rows that are learnt well keep their digits.
    """
    rows, real = np.arange(len(labels)), z.dtype.type
    shifted = z - z.max(axis=0, initial=-np.inf)
    e = np.exp(shifted)
    own = e[labels, rows]
    others = e.copy()
    others[labels, rows] = 0
    rest = others.sum(axis=0)
    total = rest + own
    p, q = own / total, rest / total
    easy, tiny = q < 0.5, q < np.finfo(z.dtype).tiny
    surprise = np.where(easy, np.log1p(rest / np.where(easy, own, 1)), np.log(total) - shifted[labels, rows])
    safe = np.where(tiny, real(1), q)
    power = np.where(tiny, real(0), np.exp(np.log(safe) * real(gamma)))
    ratio = np.where(tiny, real(1), surprise / safe)
    weight = _weight(weights, weighted, z)
    loss[0] = scale * np.sum(weight * (power * surprise), dtype=np.float64)
    factor = weight * real(scale) * (power * (p * real(gamma) * ratio + 1)) / total
    dz[...] = others * factor
    dz[labels, rows] = -(rest * factor)


@operation(
    writes="dz[C,B] loss[1]:float64", reads="z[C,B] labels[B]:int32<C weights?weighted[B]",
    scalars="scale weighted:int<2 margin squared:int<2", in_place="dz=z",
)  # fmt: skip
def multi_class_hinge(
    dz: Array, loss: Array, z: Array, labels: Array, weights: Array | None, scale: float, weighted: int, margin: float,
    squared: int,
) -> None:  # fmt: skip
    """Every other class is to score less than the label by a margin: loss = scale * sum_b w_b sum_c m_c with m_c =
    max(0, margin - z_label + z_c) of the other classes; dz_c = scale w_b where m_c is above 0, else 0, and dz_label is
    minus their sum. With `squared` m_c**2, and dz_c = 2 scale w_b m_c.

    dz       (C, B)  written; may be z
    loss     (1,)    float64, written
    z        (C, B)  read: scores
    labels   (B,)    int32, read; every entry in [0, C)
    weights  (B,)    read if `weighted` is 1
    scale    1 / (B C) for the mean over rows and classes
    margin   above 0
    squared  1: squares, 0: the margins themselves

    Weston and Watkins 1999, as PyTorch's `multi_margin_loss` (p = 2 with `squared`), which divides by C too.
    """
    rows, real = np.arange(len(labels)), z.dtype.type
    short = np.maximum(real(margin) - z[labels, rows] + z, 0)
    short[labels, rows] = 0
    terms, slopes = (short * short, 2 * short) if squared else (short, (short > 0).astype(z.dtype))
    weight = _weight(weights, weighted, z)
    loss[0] = scale * np.sum(weight * terms, dtype=np.float64)
    slopes[labels, rows] = -slopes.sum(axis=0)
    dz[...] = slopes * (weight * real(scale))
