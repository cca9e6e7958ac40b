"""Optimizer updates, one pass over the flat parameters of a model, in place; in order of complexity.

    N numbers     param, grad and the moments are flat arrays of the same dtype
Hyper-parameters arrive in double precision and are rounded to the array's dtype once; so is 1 - beta, which computed in
float32 would be off by 1e-5.
"""

from typing import Any

import numpy as np

from ..table import operation

Array = np.ndarray[Any, Any]


@operation(updates="param[N]", reads="grad[N]", scalars="lr", splits="N")
def sgd_update(param: Array, grad: Array, lr: float) -> None:
    """param -= lr * grad.

    param  (N,)  read and written
    grad   (N,)  read
    """
    param -= param.dtype.type(lr) * grad


@operation(updates="param[N] momentum_buffer[N]", reads="grad[N]", scalars="lr momentum", splits="N")
def momentum_update(param: Array, momentum_buffer: Array, grad: Array, lr: float, momentum: float) -> None:
    """momentum_buffer = momentum * momentum_buffer + grad;  param -= lr * momentum_buffer.

    param, momentum_buffer  (N,)  read and written
    grad                    (N,)  read

    Polyak 1964 in PyTorch's form: the rate multiplies the whole velocity, so that a change of rate acts at once
    (Sutskever et al. 2013 put it inside: v = momentum v - lr g). The buffer starts at zero, which gives PyTorch's first
    step, buffer = grad.
    """
    real = param.dtype.type
    momentum_buffer *= real(momentum)
    momentum_buffer += grad
    param -= real(lr) * momentum_buffer


@operation(updates="param[N] sum[N]", reads="grad[N]", scalars="lr eps", splits="N")
def adagrad_update(param: Array, sum: Array, grad: Array, lr: float, eps: float) -> None:
    """sum += grad**2;  param -= lr * grad / (sqrt(sum) + eps).

    param, sum  (N,)  read and written
    grad        (N,)  read

    Duchi, Hazan and Singer 2011; eps outside the root (as PyTorch; TensorFlow adds it inside and starts sum at 0.1).
    """
    real = param.dtype.type
    sum += grad * grad
    param -= (real(lr) * grad) / (np.sqrt(sum) + real(eps))


@operation(updates="param[N] square_avg[N]", reads="grad[N]", scalars="lr alpha eps", splits="N")
def rmsprop_update(param: Array, square_avg: Array, grad: Array, lr: float, alpha: float, eps: float) -> None:
    """square_avg = alpha * square_avg + (1 - alpha) * grad**2;  param -= lr * grad / (sqrt(square_avg) + eps).

    param, square_avg  (N,)  read and written
    grad               (N,)  read

    Tieleman and Hinton 2012; eps outside the root (as PyTorch; TensorFlow adds it inside).
    """
    real = param.dtype.type
    square_avg *= real(alpha)
    square_avg += real(1 - alpha) * grad * grad
    param -= (real(lr) * grad) / (np.sqrt(square_avg) + real(eps))


@operation(
    updates="param[N] exp_avg[N] exp_avg_sq[N]",
    reads="grad[N]",
    scalars="step_size beta1 beta2 eps sqrt_bias_correction2",
    splits="N",
)
def adam_update(
    param: Array, exp_avg: Array, exp_avg_sq: Array, grad: Array,
    step_size: float, beta1: float, beta2: float, eps: float, sqrt_bias_correction2: float,
) -> None:  # fmt: skip
    """One Adam step over a flat arena, in place.

    exp_avg    += (1 - beta1) * (grad - exp_avg)
    exp_avg_sq  = beta2 * exp_avg_sq + (1 - beta2) * grad**2
    param      -= step_size * exp_avg / (sqrt(exp_avg_sq) / sqrt_bias_correction2 + eps)

    param, exp_avg, exp_avg_sq   (N,)  read and written
    grad                         (N,)  read
    step_size                    lr / (1 - beta1**t), t counted from 1
    sqrt_bias_correction2        sqrt(1 - beta2**t)

    Kingma and Ba 2015, Algorithm 1: eps outside the root, after bias correction (as PyTorch, optax; Keras and
    scikit-learn place it before the correction).
    """
    real = param.dtype.type
    exp_avg += real(1 - beta1) * (grad - exp_avg)
    exp_avg_sq *= real(beta2)
    exp_avg_sq += real(1 - beta2) * grad * grad
    denominator = np.sqrt(exp_avg_sq) / real(sqrt_bias_correction2) + real(eps)
    param -= (real(step_size) * exp_avg) / denominator
