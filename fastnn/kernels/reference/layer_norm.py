"""Layer normalisation over the features of a row, each row by itself; RMS normalisation is the same about zero.

F features     B rows of the batch

The gradients of inputs and parameters are operations of their own: sums run along the features for one and along the
rows for the other, so that threads can share each.
"""

from typing import Any

import numpy as np

from ..table import operation

Array = np.ndarray[Any, Any]


@operation(
    writes="y[F,B] mean[B] inv_std[B]", reads="x[F,B] gamma[F] beta[F]", scalars="eps centred:int<2", in_place="y=x",
    nonempty="F", splits="B",
)  # fmt: skip
def layer_norm_forward(
    y: Array, mean: Array, inv_std: Array, x: Array, gamma: Array, beta: Array, eps: float, centred: int
) -> None:
    """y = gamma (x - mean) inv_std + beta with inv_std = 1 / sqrt(mean of (x - mean)**2 + eps), by rows.

    y              (F, B)  written; may be x
    mean, inv_std  (B,)    written: kept for the backward pass
    x              (F, B)  read
    gamma, beta    (F,)    read
    eps            added to the mean of squares
    centred        1: mean is that of the row (layer normalisation, Ba, Kiros and Hinton 2016);
                   0: mean is 0 (RMS normalisation, Zhang and Sennrich 2019)

    As PyTorch: the biased variance, eps inside the root.
    """
    mean[...] = x.mean(axis=0) if centred else 0
    difference = x - mean
    inv_std[...] = 1 / np.sqrt((difference * difference).mean(axis=0) + x.dtype.type(eps))
    y[...] = difference * inv_std * gamma[:, None] + beta[:, None]


@operation(
    writes="dx[F,B]", reads="dy[F,B] x[F,B] gamma[F] mean[B] inv_std[B]", scalars="centred:int<2", in_place="dx=x",
    nonempty="F", splits="B",
)  # fmt: skip
def layer_norm_backward_input(
    dx: Array, dy: Array, x: Array, gamma: Array, mean: Array, inv_std: Array, centred: int
) -> None:
    """dx = inv_std (g - mean of g - x_hat * mean of (g x_hat)) with g = gamma dy and x_hat = (x - mean) inv_std.

    dx             (F, B)  written; may be x
    dy             (F, B)  read
    x              (F, B)  read: the input of the forward pass
    gamma          (F,)    read
    mean, inv_std  (B,)    read
    centred        as in the forward pass; without it the mean of g is left out
    """
    x_hat = (x - mean) * inv_std
    g = dy * gamma[:, None]
    through_mean = g.mean(axis=0) if centred else 0
    dx[...] = (g - through_mean - x_hat * (g * x_hat).mean(axis=0)) * inv_std


@operation(
    updates="dgamma[F] dbeta[F]", reads="dy[F,B] x[F,B] mean[B] inv_std[B]", scalars="accumulate:int<2", splits="F"
)
def layer_norm_backward_parameters(
    dgamma: Array, dbeta: Array, dy: Array, x: Array, mean: Array, inv_std: Array, accumulate: int
) -> None:
    """dgamma = sum dy (x - mean) inv_std and dbeta = sum dy over the rows, or += where `accumulate` is 1.

    dgamma, dbeta  (F,)    written; read only if accumulate is 1
    dy             (F, B)  read
    x              (F, B)  read: the input of the forward pass
    mean, inv_std  (B,)    read
    accumulate     0 or 1
    """
    from_gamma, from_beta = (dy * ((x - mean) * inv_std)).sum(axis=1), dy.sum(axis=1)
    dgamma[...] = dgamma + from_gamma if accumulate else from_gamma
    dbeta[...] = dbeta + from_beta if accumulate else from_beta
