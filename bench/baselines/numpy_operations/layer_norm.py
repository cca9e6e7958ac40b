"""Layer normalisation."""

from __future__ import annotations

import numpy as np

from .making import Array, Scratch, Work, apart, makes


@makes("layer_norm_forward")
def _layer_norm_forward(
    scratch: Scratch, y: Array, mean: Array, inv_std: Array, x: Array, gamma: Array, beta: Array, eps: float,
    centred: int,
) -> Work:  # fmt: skip
    features = len(x)
    ones, gammas, betas = np.ones(features, x.dtype), gamma[:, None], beta[:, None]
    square = scratch(x)

    def run() -> None:
        if centred:
            np.matmul(ones, x, out=mean)
            np.divide(mean, features, out=mean)
        else:
            mean[...] = 0
        np.subtract(x, mean, out=y)
        np.multiply(y, y, out=square)
        np.matmul(ones, square, out=inv_std)
        np.divide(inv_std, features, out=inv_std)
        np.add(inv_std, eps, out=inv_std)
        np.sqrt(inv_std, out=inv_std)
        np.divide(1, inv_std, out=inv_std)
        np.multiply(y, inv_std, out=y)
        np.multiply(y, gammas, out=y)
        np.add(y, betas, out=y)

    return run


@makes("layer_norm_backward_input")
def _layer_norm_backward_input(
    scratch: Scratch, dx: Array, dy: Array, x: Array, gamma: Array, mean: Array, inv_std: Array, centred: int
) -> Work:
    features = len(x)
    ones, gammas = np.ones(features, x.dtype), gamma[:, None]
    g, x_hat = scratch(dx), apart(scratch, dx, dy)
    shift, slope = scratch(mean), scratch(mean)

    def run() -> None:
        np.multiply(dy, gammas, out=g)
        np.subtract(x, mean, out=x_hat)
        np.multiply(x_hat, inv_std, out=x_hat)
        np.matmul(ones, g, out=shift)
        np.divide(shift, features, out=shift)
        np.vecdot(g, x_hat, out=slope, axis=0)
        np.divide(slope, features, out=slope)
        np.multiply(x_hat, slope, out=x_hat)
        if centred:
            np.subtract(g, shift, out=g)
        np.subtract(g, x_hat, out=dx)
        np.multiply(dx, inv_std, out=dx)

    return run


@makes("layer_norm_backward_parameters", in_pieces=True)
def _layer_norm_backward_parameters(
    scratch: Scratch, dgamma: Array, dbeta: Array, dy: Array, x: Array, mean: Array, inv_std: Array, accumulate: int
) -> Work:
    ones, x_hat = np.ones(x.shape[1], x.dtype), scratch(x)
    new_gamma, new_beta = (scratch(dgamma), scratch(dbeta)) if accumulate else (dgamma, dbeta)

    def run() -> None:
        np.subtract(x, mean, out=x_hat)
        np.multiply(x_hat, inv_std, out=x_hat)
        np.vecdot(dy, x_hat, out=new_gamma)
        np.matmul(dy, ones, out=new_beta)
        if accumulate:
            np.add(dgamma, new_gamma, out=dgamma)
            np.add(dbeta, new_beta, out=dbeta)

    return run
