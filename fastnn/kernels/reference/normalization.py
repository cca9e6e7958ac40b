"""Normalisation of each feature by itself: by the mean and variance of a batch, or by numbers that are given.

F features     B rows of the batch
"""

from typing import Any

import numpy as np

from ..table import operation

Array = np.ndarray[Any, Any]


@operation(
    writes="y[F,B] mean[F] inv_std[F]",
    updates="running_mean[F] running_var[F]",
    reads="x[F,B] gamma[F] beta[F]",
    scalars="eps momentum",
    nonempty="B",
    splits="F",
)
def batch_norm_forward(
    y: Array, mean: Array, inv_std: Array, running_mean: Array, running_var: Array,
    x: Array, gamma: Array, beta: Array, eps: float, momentum: float,
) -> None:  # fmt: skip
    """y = gamma (x - mean) inv_std + beta with mean and inv_std = 1 / sqrt(var + eps) of this batch.

    y                          (F, B)  written; must not be x
    mean, inv_std              (F,)    written: kept for the backward pass
    running_mean, running_var  (F,)    read and written: r = (1 - momentum) r + momentum * (value of this batch)
    x                          (F, B)  read
    gamma, beta                (F,)    read
    eps                        added to the variance
    momentum                   weight of this batch in the running statistics

    Ioffe and Szegedy 2015. As PyTorch: the batch is normalised by the biased variance (division by B), the running
    variance takes the unbiased one (division by B - 1; Keras takes the biased). One row alone has no variance: it
    leaves the running statistics as they are.
    """
    rows = x.shape[1]
    real = x.dtype.type
    mean[...] = x.mean(axis=1)
    centred = x - mean[:, None]
    var = (centred * centred).mean(axis=1)
    inv_std[...] = 1 / np.sqrt(var + real(eps))
    y[...] = centred * (gamma * inv_std)[:, None] + beta[:, None]
    if rows > 1:
        running_mean += real(momentum) * (mean - running_mean)
        running_var += real(momentum) * (var * real(rows / (rows - 1)) - running_var)


@operation(
    writes="y[F,B]",
    reads="x[F,B] gamma[F] beta[F] running_mean[F] running_var[F]",
    scalars="eps",
    in_place="y=x",
    splits="F",
)
def batch_norm_inference(
    y: Array, x: Array, gamma: Array, beta: Array, running_mean: Array, running_var: Array, eps: float
) -> None:
    """y = gamma (x - running_mean) / sqrt(running_var + eps) + beta.

    y                                        (F, B)  written; may be x
    x                                        (F, B)  read
    gamma, beta, running_mean, running_var   (F,)    read
    eps                                      added to the variance
    """
    inv_std = 1 / np.sqrt(running_var + x.dtype.type(eps))
    y[...] = (x - running_mean[:, None]) * (gamma * inv_std)[:, None] + beta[:, None]


@operation(
    writes="dx[F,B] dgamma[F] dbeta[F]", reads="dy[F,B] x[F,B] gamma[F] mean[F] inv_std[F]", in_place="dx=x", splits="F"
)
def batch_norm_backward(
    dx: Array, dgamma: Array, dbeta: Array, dy: Array, x: Array, gamma: Array, mean: Array, inv_std: Array
) -> None:
    """The gradient through the batch's own mean and variance: with x_hat = (x - mean) inv_std,
    dbeta = sum dy, dgamma = sum dy x_hat, dx = gamma inv_std (dy - dbeta / B - x_hat dgamma / B).

    dx             (F, B)  written; may be x
    dgamma, dbeta  (F,)    written
    dy             (F, B)  read
    x              (F, B)  read: the input of the forward pass
    gamma, mean, inv_std   (F,)  read
    """
    rows = x.shape[1]
    x_hat = (x - mean[:, None]) * inv_std[:, None]
    dbeta[...] = dy.sum(axis=1)
    dgamma[...] = (dy * x_hat).sum(axis=1)
    dx[...] = (gamma * inv_std)[:, None] * (dy - (dbeta / rows)[:, None] - x_hat * (dgamma / rows)[:, None])


@operation(writes="y[F,B]", reads="x[F,B] mean[F] scale[F]", in_place="y=x", splits="F B")
def standardize(y: Array, x: Array, mean: Array, scale: Array) -> None:
    """y = (x - mean) / scale.

    y            (F, B)  written; may be x
    x            (F, B)  read
    mean, scale  (F,)    read
    """
    y[...] = (x - mean[:, None]) / scale[:, None]
