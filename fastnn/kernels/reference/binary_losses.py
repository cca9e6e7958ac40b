"""Losses of yes-or-no questions, a logit or a score for each: value and gradient in one pass. `scale`, `weights` and
`weighted` are those of regression_losses.py.

    B rows of the batch     C outputs of the network, each a question of its own
"""

from typing import Any

import numpy as np

from ..table import operation
from .regression_losses import write

Array = np.ndarray[Any, Any]


@operation(
    writes="dz[C,B] loss[1]:float64", reads="z[C,B] targets[C,B] weights?weighted[B]", scalars="scale weighted:int<2",
    in_place="dz=z",
)  # fmt: skip
def bce(
    dz: Array, loss: Array, z: Array, targets: Array, weights: Array | None, scale: float, weighted: int
) -> None:  # fmt: skip
    """Binary cross-entropy on logits: loss = scale * sum w_b (max(z, 0) - z t + log(1 + exp(-|z|))) and
    dz = scale w_b (sigmoid(z) - t).

    dz       (C, B)  written; may be z
    loss     (1,)    float64, written
    z        (C, B)  read: logits
    targets  (C, B)  read; in [0, 1]
    weights  (B,)    read if `weighted` is 1
    scale    1 / (B C) for the mean over all elements

    As PyTorch's `binary_cross_entropy_with_logits(reduction="mean")`.
    """
    e = np.exp(-np.abs(z))
    sigmoid = np.where(z < 0, e, 1) / (1 + e)
    terms = np.maximum(z, 0) - z * targets + np.log1p(e)
    write(dz, loss, terms, sigmoid - targets, weights, scale, weighted)


@operation(
    writes="dz[C,B] loss[1]:float64", reads="z[C,B] targets[C,B] weights?weighted[B]",
    scalars="scale weighted:int<2 gamma", in_place="dz=z",
)  # fmt: skip
def binary_focal(
    dz: Array, loss: Array, z: Array, targets: Array, weights: Array | None, scale: float, weighted: int, gamma: float
) -> None:
    """Focal loss on logits: with s = z where the target is 1, -z where it is 0, p = sigmoid(s) and q = 1 - p,
    loss = scale * sum w_b q**gamma (-log p) and the derivative by s is scale w_b -q**gamma (q - gamma p log p).

    dz       (C, B)  written; may be z
    loss     (1,)    float64, written
    z        (C, B)  read: logits
    targets  (C, B)  read; 0 or 1
    weights  (B,)    read if `weighted` is 1
    scale    1 / (B C) for the mean over all elements
    gamma    0 or more; 0 is `bce`

    Lin et al. 2017, equation 4; torchvision's `sigmoid_focal_loss` without alpha. q**gamma is exp(-gamma log(1 +
    exp(s))), so that nothing overflows or cancels.
    """
    yes = targets > 0.5
    s = np.where(yes, z, -z)
    e = np.exp(-np.abs(z))
    tail = np.log1p(e)
    surprise, rest = np.maximum(-s, 0) + tail, np.maximum(s, 0) + tail  # -log p and -log q
    p, q = np.where(s < 0, e, 1) / (1 + e), np.where(s < 0, 1, e) / (1 + e)
    power = np.exp(-(rest * z.dtype.type(gamma)))
    slopes = power * (p * z.dtype.type(gamma) * surprise + q)
    write(dz, loss, power * surprise, np.where(yes, -slopes, slopes), weights, scale, weighted)


@operation(
    writes="dz[C,B] loss[1]:float64", reads="z[C,B] targets[C,B] weights?weighted[B]", scalars="scale weighted:int<2",
    in_place="dz=z",
)  # fmt: skip
def hinge(
    dz: Array, loss: Array, z: Array, targets: Array, weights: Array | None, scale: float, weighted: int
) -> None:  # fmt: skip
    """loss = scale * sum w_b max(0, 1 - t z) and dz = -scale w_b t where 1 - t z is above 0, else 0.

    dz       (C, B)  written; may be z
    loss     (1,)    float64, written
    z        (C, B)  read: scores
    targets  (C, B)  read; -1 or 1
    weights  (B,)    read if `weighted` is 1
    scale    1 / (B C) for the mean over all elements

    As scikit-learn's `hinge_loss`. Exactly at the margin the gradient is 0; scikit-learn's SGDClassifier, and
    PyTorch's `margin_ranking_loss` of z and 0, take -t there.
    """
    margin = 1 - targets * z
    slopes = np.where(margin > 0, -targets, z.dtype.type(0))
    write(dz, loss, np.maximum(margin, 0), slopes, weights, scale, weighted)


@operation(
    writes="dz[C,B] loss[1]:float64", reads="z[C,B] targets[C,B] weights?weighted[B]", scalars="scale weighted:int<2",
    in_place="dz=z",
)  # fmt: skip
def squared_hinge(
    dz: Array, loss: Array, z: Array, targets: Array, weights: Array | None, scale: float, weighted: int
) -> None:  # fmt: skip
    """loss = scale * sum w_b m**2 and dz = -2 scale w_b t m with m = max(0, 1 - t z).

    dz       (C, B)  written; may be z
    loss     (1,)    float64, written
    z        (C, B)  read: scores
    targets  (C, B)  read; -1 or 1
    weights  (B,)    read if `weighted` is 1
    scale    1 / (B C) for the mean over all elements

    As Keras's SquaredHinge and scikit-learn's LinearSVC.
    """
    margin = np.maximum(1 - targets * z, 0)
    write(dz, loss, margin * margin, -2 * (margin * targets), weights, scale, weighted)


@operation(
    writes="dz[2,B] loss[1]:float64", reads="z[2,B] targets[1,B] weights?weighted[B]",
    scalars="scale weighted:int<2 margin", in_place="dz=z",
)  # fmt: skip
def margin_ranking(
    dz: Array, loss: Array, z: Array, targets: Array, weights: Array | None, scale: float, weighted: int, margin: float
) -> None:
    """Pairs of scores, of which the first is to be higher by a margin where the target is 1, the second where it is -1:
    loss = scale * sum w_b m with m = max(0, margin - t (z[0] - z[1])), and dz = -t, t times scale w_b where m is above
    0, else 0.

    dz       (2, B)  written; may be z
    loss     (1,)    float64, written
    z        (2, B)  read: both scores
    targets  (1, B)  read; -1 or 1
    weights  (B,)    read if `weighted` is 1
    scale    1 / B for the mean over pairs
    margin   0 or more

    As PyTorch's `margin_ranking_loss`, whose gradient exactly at the margin is not 0.
    """
    short = z.dtype.type(margin) - targets * (z[:1] - z[1:])
    slopes = np.where(short > 0, targets, z.dtype.type(0))
    write(dz, loss, np.maximum(short, 0), np.concatenate([-slopes, slopes]), weights, scale, weighted)
