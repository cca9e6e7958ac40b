"""Adam and its kin: moving averages of the gradient and of its square. Notation, weight decay and groups as in
optimizers.py."""

from typing import Any

import numpy as np

from ..table import REQUIRED
from .optimizers import decayed, update

Array = np.ndarray[Any, Any]


def _move_averages(exp_avg: Array, exp_avg_sq: Array, g: Array, beta1: float, beta2: float) -> None:
    """exp_avg += (1 - beta1) * (g - exp_avg);  exp_avg_sq = beta2 * exp_avg_sq + (1 - beta2) * g**2."""
    real = g.dtype.type
    exp_avg += real(1 - beta1) * (g - exp_avg)
    exp_avg_sq *= real(beta2)
    exp_avg_sq += real(1 - beta2) * g * g


@update("exp_avg[N] exp_avg_sq[N]", scalars="step_size beta1 beta2 eps sqrt_bias_correction2")
def adam_update(
    param: Array, exp_avg: Array, exp_avg_sq: Array, grad: Array,
    rates: Array | None = None, decays: Array | None = None,
    step_size: float = REQUIRED, beta1: float = REQUIRED, beta2: float = REQUIRED, eps: float = REQUIRED,
    sqrt_bias_correction2: float = REQUIRED, weight_decay: float = 0.0, shrink: float = 0.0, grouped: int = 0,
) -> None:  # fmt: skip
    """One Adam step over a flat arena, in place.

    exp_avg    += (1 - beta1) * (g - exp_avg)
    exp_avg_sq  = beta2 * exp_avg_sq + (1 - beta2) * g**2
    param      -= step_size * exp_avg / (sqrt(exp_avg_sq) / sqrt_bias_correction2 + eps)

    param, exp_avg, exp_avg_sq   (N,)  read and written
    grad                         (N,)  read
    step_size                    lr / (1 - beta1**t), t counted from 1
    sqrt_bias_correction2        sqrt(1 - beta2**t)

    Kingma and Ba 2015, Algorithm 1: eps outside the root, after bias correction (as PyTorch, optax; Keras and
    scikit-learn place it before the correction). With `shrink` it is AdamW, Loshchilov and Hutter 2019.
    """
    real = param.dtype.type
    g, factors = decayed(param, grad, rates, decays, weight_decay, shrink, grouped)
    _move_averages(exp_avg, exp_avg_sq, g, beta1, beta2)
    denominator = np.sqrt(exp_avg_sq) / real(sqrt_bias_correction2) + real(eps)
    param -= (real(step_size) * factors * exp_avg) / denominator


@update("exp_avg[N] exp_avg_sq[N]", scalars="grad_step avg_step beta1 beta2 eps sqrt_bias_correction2")
def nadam_update(
    param: Array, exp_avg: Array, exp_avg_sq: Array, grad: Array,
    rates: Array | None = None, decays: Array | None = None,
    grad_step: float = REQUIRED, avg_step: float = REQUIRED, beta1: float = REQUIRED,
    beta2: float = REQUIRED, eps: float = REQUIRED,
    sqrt_bias_correction2: float = REQUIRED, weight_decay: float = 0.0, shrink: float = 0.0, grouped: int = 0,
) -> None:  # fmt: skip
    """Adam with Nesterov's momentum: param -= (grad_step * g + avg_step * exp_avg) / denominator, all else as in
    `adam_update`.

    param, exp_avg, exp_avg_sq   (N,)  read and written
    grad                         (N,)  read
    grad_step                    lr (1 - mu_t) / (1 - mu_1 ... mu_t)
    avg_step                     lr mu_t+1 / (1 - mu_1 ... mu_t+1)
    beta1, beta2, eps, sqrt_bias_correction2   as in `adam_update`

    Dozat 2016 as PyTorch has it.
    """
    real = param.dtype.type
    g, factors = decayed(param, grad, rates, decays, weight_decay, shrink, grouped)
    _move_averages(exp_avg, exp_avg_sq, g, beta1, beta2)
    denominator = np.sqrt(exp_avg_sq) / real(sqrt_bias_correction2) + real(eps)
    param -= factors * (real(grad_step) * g + real(avg_step) * exp_avg) / denominator


@update("exp_avg[N] exp_avg_sq[N]", scalars="plain_step rectified_step beta1 beta2 eps")
def radam_update(
    param: Array, exp_avg: Array, exp_avg_sq: Array, grad: Array,
    rates: Array | None = None, decays: Array | None = None,
    plain_step: float = REQUIRED, rectified_step: float = REQUIRED, beta1: float = REQUIRED,
    beta2: float = REQUIRED, eps: float = REQUIRED,
    weight_decay: float = 0.0, shrink: float = 0.0, grouped: int = 0,
) -> None:  # fmt: skip
    """Adam whose adaptive rate waits until its variance is finite:
    param -= exp_avg * (plain_step + rectified_step / (sqrt(exp_avg_sq) + eps)); averages as in `adam_update`.

    param, exp_avg, exp_avg_sq   (N,)  read and written
    grad                         (N,)  read
    plain_step                   lr / (1 - beta1**t) in the first steps, 0 later
    rectified_step               0 in the first steps, lr r_t sqrt(1 - beta2**t) / (1 - beta1**t) later
    beta1, beta2, eps            as in `adam_update`, the last one before the bias correction

    Liu et al. 2020, Algorithm 2, as PyTorch has it.
    """
    real = param.dtype.type
    g, factors = decayed(param, grad, rates, decays, weight_decay, shrink, grouped)
    _move_averages(exp_avg, exp_avg_sq, g, beta1, beta2)
    share = real(plain_step) + real(rectified_step) / (np.sqrt(exp_avg_sq) + real(eps))
    param -= factors * exp_avg * share
