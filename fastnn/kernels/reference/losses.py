"""Losses: value and gradient in one pass. `scale` is 1 / (number of terms averaged), so that the gradient is that of
the mean and the values of several batches add up.

    B rows of the batch     C outputs of the network
"""

from typing import Any

import numpy as np

from ..table import operation

Array = np.ndarray[Any, Any]


@operation(writes="dz[C,B] loss[1]:float64", reads="z[C,B] labels[B]:int32<C", scalars="scale", in_place="dz=z")
def cross_entropy(dz: Array, loss: Array, z: Array, labels: Array, scale: float) -> None:
    """Softmax cross-entropy of logits against integer labels: loss = scale * sum_b (logsumexp(z_b) - z_b[label_b]) and
    dz = scale * (softmax(z) - onehot(labels)).

    dz      (C, B)  written; may be z
    loss    (1,)    float64, written
    z       (C, B)  read: logits
    labels  (B,)    int32, read; every entry in [0, C)
    scale   1 / B for the mean over rows

    The largest logit of a row is subtracted first, so that logits of 1e4 neither overflow nor lose the answer.
    As PyTorch's `cross_entropy(reduction="mean")`.
    """
    rows = np.arange(len(labels))
    shifted = z - z.max(axis=0, initial=-np.inf)
    e = np.exp(shifted)
    total = e.sum(axis=0)
    loss[0] = scale * np.sum(np.log(total) - shifted[labels, rows], dtype=np.float64)
    real = z.dtype.type
    dz[...] = e * (real(scale) / total)
    dz[labels, rows] -= real(scale)


@operation(writes="dz[C,B] loss[1]:float64", reads="z[C,B] targets[C,B]", scalars="scale", in_place="dz=z")
def mse(dz: Array, loss: Array, z: Array, targets: Array, scale: float) -> None:
    """Mean squared error: loss = scale * sum (z - targets)**2 and dz = 2 scale (z - targets).

    dz       (C, B)  written; may be z
    loss     (1,)    float64, written
    z        (C, B)  read
    targets  (C, B)  read
    scale    1 / (B C) for the mean over all elements

    As PyTorch's `mse_loss(reduction="mean")`; scikit-learn's MLP halves it.
    """
    difference = z - targets
    loss[0] = scale * np.sum(difference * difference, dtype=np.float64)
    dz[...] = difference * z.dtype.type(2 * scale)


@operation(writes="dz[C,B] loss[1]:float64", reads="z[C,B] targets[C,B]", scalars="scale", in_place="dz=z")
def bce(dz: Array, loss: Array, z: Array, targets: Array, scale: float) -> None:
    """Binary cross-entropy on logits: loss = scale * sum (max(z, 0) - z t + log(1 + exp(-|z|))) and
    dz = scale (sigmoid(z) - t).

    dz       (C, B)  written; may be z
    loss     (1,)    float64, written
    z        (C, B)  read: logits
    targets  (C, B)  read; in [0, 1]
    scale    1 / (B C) for the mean over all elements

    As PyTorch's `binary_cross_entropy_with_logits(reduction="mean")`.
    """
    e = np.exp(-np.abs(z))
    loss[0] = scale * np.sum(np.maximum(z, 0) - z * targets + np.log1p(e), dtype=np.float64)
    sigmoid = np.where(z < 0, e, 1) / (1 + e)
    dz[...] = (sigmoid - targets) * z.dtype.type(scale)
