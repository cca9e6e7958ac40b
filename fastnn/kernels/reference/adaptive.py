"""Updates that divide the gradient by the root of a sum, or of a moving average, of its squares. Notation, weight decay
and groups as in optimizers.py.

A constant under the root (inner_eps) and one beside it (eps) are both there; sources differ in which they use.
"""

from typing import Any

import numpy as np

from ..table import REQUIRED
from .optimizers import decayed, update

Array = np.ndarray[Any, Any]


@update("sum[N]", scalars="lr eps inner_eps")
def adagrad_update(
    param: Array, sum: Array, grad: Array, rates: Array | None = None, decays: Array | None = None,
    lr: float = REQUIRED, eps: float = REQUIRED, inner_eps: float = 0.0,
    weight_decay: float = 0.0, shrink: float = 0.0, grouped: int = 0,
) -> None:  # fmt: skip
    """sum += g**2;  param -= lr * g / (sqrt(sum + inner_eps) + eps).

    param, sum  (N,)  read and written
    grad        (N,)  read

    Duchi, Hazan and Singer 2011; PyTorch uses eps, TensorFlow and Keras inner_eps.
    """
    real = param.dtype.type
    g, factors = decayed(param, grad, rates, decays, weight_decay, shrink, grouped)
    sum += g * g
    param -= (real(lr) * factors * g) / (np.sqrt(sum + real(inner_eps)) + real(eps))


@update("square_avg[N] acc_delta[N]", scalars="lr rho eps")
def adadelta_update(
    param: Array, square_avg: Array, acc_delta: Array, grad: Array,
    rates: Array | None = None, decays: Array | None = None, lr: float = REQUIRED,
    rho: float = REQUIRED, eps: float = REQUIRED,
    weight_decay: float = 0.0, shrink: float = 0.0, grouped: int = 0,
) -> None:  # fmt: skip
    """square_avg = rho * square_avg + (1 - rho) * g**2;  delta = sqrt(acc_delta + eps) / sqrt(square_avg + eps) * g;
    acc_delta = rho * acc_delta + (1 - rho) * delta**2;  param -= lr * delta.

    param, square_avg, acc_delta  (N,)  read and written
    grad                          (N,)  read

    Zeiler 2012, Algorithm 1, which has lr = 1; eps under both roots, as there and in PyTorch.
    """
    real = param.dtype.type
    g, factors = decayed(param, grad, rates, decays, weight_decay, shrink, grouped)
    square_avg *= real(rho)
    square_avg += real(1 - rho) * g * g
    delta = np.sqrt(acc_delta + real(eps)) / np.sqrt(square_avg + real(eps)) * g
    acc_delta *= real(rho)
    acc_delta += real(1 - rho) * delta * delta
    param -= real(lr) * factors * delta


@update("square_avg[N]", scalars="lr alpha eps inner_eps")
def rmsprop_update(
    param: Array, square_avg: Array, grad: Array, rates: Array | None = None, decays: Array | None = None,
    lr: float = REQUIRED, alpha: float = REQUIRED, eps: float = REQUIRED, inner_eps: float = 0.0,
    weight_decay: float = 0.0, shrink: float = 0.0, grouped: int = 0,
) -> None:  # fmt: skip
    """square_avg = alpha * square_avg + (1 - alpha) * g**2;  param -= lr * g / (sqrt(square_avg + inner_eps) + eps).

    param, square_avg  (N,)  read and written
    grad               (N,)  read

    Tieleman and Hinton 2012; PyTorch uses eps, TensorFlow and Keras inner_eps.
    """
    real = param.dtype.type
    g, factors = decayed(param, grad, rates, decays, weight_decay, shrink, grouped)
    square_avg *= real(alpha)
    square_avg += real(1 - alpha) * g * g
    param -= (real(lr) * factors * g) / (np.sqrt(square_avg + real(inner_eps)) + real(eps))


@update("square_avg[N] momentum_buffer[N]", scalars="lr alpha eps inner_eps momentum")
def rmsprop_momentum_update(
    param: Array, square_avg: Array, momentum_buffer: Array, grad: Array,
    rates: Array | None = None, decays: Array | None = None,
    lr: float = REQUIRED, alpha: float = REQUIRED, eps: float = REQUIRED, inner_eps: float = 0.0,
    momentum: float = REQUIRED,
    weight_decay: float = 0.0, shrink: float = 0.0, grouped: int = 0,
) -> None:  # fmt: skip
    """As `rmsprop_update` (alpha, eps, inner_eps), but lr multiplies a buffer:
    momentum_buffer = momentum * momentum_buffer + g / (sqrt(square_avg + inner_eps) + eps).

    param, square_avg, momentum_buffer  (N,)  read and written
    grad                                (N,)  read

    PyTorch's form; in TensorFlow's and Keras's the rate is part of the buffer.
    """
    real = param.dtype.type
    g, factors = decayed(param, grad, rates, decays, weight_decay, shrink, grouped)
    square_avg *= real(alpha)
    square_avg += real(1 - alpha) * g * g
    momentum_buffer *= real(momentum)
    momentum_buffer += g / (np.sqrt(square_avg + real(inner_eps)) + real(eps))
    param -= real(lr) * factors * momentum_buffer


@update("square_avg[N] grad_avg[N]", scalars="lr alpha eps inner_eps")
def rmsprop_centered_update(
    param: Array, square_avg: Array, grad_avg: Array, grad: Array,
    rates: Array | None = None, decays: Array | None = None,
    lr: float = REQUIRED, alpha: float = REQUIRED, eps: float = REQUIRED, inner_eps: float = 0.0,
    weight_decay: float = 0.0, shrink: float = 0.0, grouped: int = 0,
) -> None:  # fmt: skip
    """As `rmsprop_update` (lr, alpha, eps, inner_eps), with the variance of the gradient, square_avg - grad_avg**2, in
    place of square_avg.

    param, square_avg, grad_avg  (N,)  read and written
    grad                         (N,)  read

    grad_avg += (1 - alpha) * (g - grad_avg). Graves 2013, equations 38 to 40. A variance that rounding makes negative
    counts as zero (PyTorch takes its root, and gets NaN).
    """
    real = param.dtype.type
    g, factors = decayed(param, grad, rates, decays, weight_decay, shrink, grouped)
    root = _centered_root(square_avg, grad_avg, g, alpha, inner_eps)
    param -= (real(lr) * factors * g) / (root + real(eps))


@update("square_avg[N] grad_avg[N] momentum_buffer[N]", scalars="lr alpha eps inner_eps momentum")
def rmsprop_centered_momentum_update(
    param: Array, square_avg: Array, grad_avg: Array, momentum_buffer: Array, grad: Array,
    rates: Array | None = None, decays: Array | None = None,
    lr: float = REQUIRED, alpha: float = REQUIRED, eps: float = REQUIRED, inner_eps: float = 0.0,
    momentum: float = REQUIRED,
    weight_decay: float = 0.0, shrink: float = 0.0, grouped: int = 0,
) -> None:  # fmt: skip
    """As `rmsprop_centered_update` and `rmsprop_momentum_update` together (lr, alpha, eps, inner_eps, momentum).

    param, square_avg, grad_avg, momentum_buffer  (N,)  read and written
    grad                                          (N,)  read
    """
    real = param.dtype.type
    g, factors = decayed(param, grad, rates, decays, weight_decay, shrink, grouped)
    root = _centered_root(square_avg, grad_avg, g, alpha, inner_eps)
    momentum_buffer *= real(momentum)
    momentum_buffer += g / (root + real(eps))
    param -= real(lr) * factors * momentum_buffer


def _centered_root(square_avg: Array, grad_avg: Array, g: Array, alpha: float, inner_eps: float) -> Array:
    """The root of the variance, after both averages have moved."""
    real = g.dtype.type
    square_avg *= real(alpha)
    square_avg += real(1 - alpha) * g * g
    grad_avg += real(1 - alpha) * (g - grad_avg)
    variance = square_avg - grad_avg * grad_avg
    root: Array = np.sqrt(np.where(variance < 0, real(0), variance) + real(inner_eps))
    return root
