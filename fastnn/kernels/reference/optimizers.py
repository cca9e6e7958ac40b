"""Optimizer updates, one pass over the flat parameters of a model, in place; in order of complexity. Those that divide
by a moving average of squares are in adaptive.py, Adam and its kin in adam.py.

    N numbers     param, grad and the moments are flat arrays of the same dtype

Hyper-parameters arrive in double precision and are rounded to the array's dtype once; so is 1 - beta, which computed in
float32 would be off by 1e-5. All updates decay weights in both ways, and take
factors for groups of parameters: see `update`.
"""

from collections.abc import Callable
from types import FunctionType
from typing import Any

import numpy as np

from ..table import REQUIRED, operation

Array = np.ndarray[Any, Any]

_SHARED = """
    weight_decay   coupled: g = grad + weight_decay * decays * param is used in place of the gradient
    shrink         the rate times the decoupled decay: param -= shrink * rates * decays * param
    rates, decays  (N,)  read where grouped is 1: factors of the rate and of the decay of each number
    """


def update(moments: str = "", *, scalars: str) -> Callable[..., Any]:
    """Enters an update into the table: `operation` with its moments and scalars, and all that updates share."""

    def enter(function: FunctionType) -> FunctionType:
        function.__doc__ = f"{(function.__doc__ or '').rstrip()}\n{_SHARED}"
        return operation(  # type: ignore[no-any-return]
            updates=f"param[N] {moments}", reads="grad[N] rates?grouped[N] decays?grouped[N]",
            scalars=f"{scalars} weight_decay shrink grouped:int<2", splits="N",
        )(function)  # fmt: skip

    return enter


def decayed(
    param: Array, grad: Array, rates: Array | None, decays: Array | None,
    weight_decay: float, shrink: float, grouped: int,
) -> tuple[Array, Array]:  # fmt: skip
    """The gradient with coupled decay and the factors of the rate; param, with decoupled decay, changes in place."""
    real = param.dtype.type
    factors = rates if grouped and rates is not None else np.ones(1, param.dtype)
    shares = decays if grouped and decays is not None else np.ones(1, param.dtype)
    if weight_decay:
        grad = grad + real(weight_decay) * shares * param
    if shrink:
        param -= real(shrink) * (factors * shares) * param
    return grad, factors


@update(scalars="lr")
def sgd_update(
    param: Array, grad: Array, rates: Array | None = None, decays: Array | None = None,
    lr: float = REQUIRED, weight_decay: float = 0.0, shrink: float = 0.0, grouped: int = 0,
) -> None:  # fmt: skip
    """param -= lr * g.

    param  (N,)  read and written
    grad   (N,)  read
    """
    g, factors = decayed(param, grad, rates, decays, weight_decay, shrink, grouped)
    param -= param.dtype.type(lr) * factors * g


@update("momentum_buffer[N]", scalars="lr momentum weight")
def momentum_update(
    param: Array, momentum_buffer: Array, grad: Array, rates: Array | None = None, decays: Array | None = None,
    lr: float = REQUIRED, momentum: float = REQUIRED, weight: float = 1.0,
    weight_decay: float = 0.0, shrink: float = 0.0, grouped: int = 0,
) -> None:  # fmt: skip
    """momentum_buffer = momentum * momentum_buffer + weight * g;  param -= lr * momentum_buffer.

    param, momentum_buffer  (N,)  read and written
    grad                    (N,)  read
    weight                  of the gradient: 1, the rate or 1 - momentum, see `fastnn.SGD`

    Polyak 1964; in PyTorch's form, weight = 1, the rate multiplies the whole velocity, so that a change of rate acts at
    once. The buffer starts at zero, which gives PyTorch's first step, buffer = grad.
    """
    real = param.dtype.type
    g, factors = decayed(param, grad, rates, decays, weight_decay, shrink, grouped)
    momentum_buffer *= real(momentum)
    momentum_buffer += real(weight) * g
    param -= real(lr) * factors * momentum_buffer


@update("momentum_buffer[N]", scalars="lr momentum weight")
def nesterov_update(
    param: Array, momentum_buffer: Array, grad: Array, rates: Array | None = None, decays: Array | None = None,
    lr: float = REQUIRED, momentum: float = REQUIRED, weight: float = 1.0,
    weight_decay: float = 0.0, shrink: float = 0.0, grouped: int = 0,
) -> None:  # fmt: skip
    """momentum_buffer = momentum * momentum_buffer + weight * g;
    param -= lr * (momentum * momentum_buffer + weight * g).

    param, momentum_buffer  (N,)  read and written
    grad                    (N,)  read

    Nesterov 1983 as Sutskever et al. 2013 and PyTorch write it: in terms of the point where the gradient is taken.
    """
    real = param.dtype.type
    g, factors = decayed(param, grad, rates, decays, weight_decay, shrink, grouped)
    momentum_buffer *= real(momentum)
    momentum_buffer += real(weight) * g
    param -= real(lr) * factors * (real(momentum) * momentum_buffer + real(weight) * g)


@update("exp_avg[N]", scalars="lr beta1 beta2")
def lion_update(
    param: Array, exp_avg: Array, grad: Array, rates: Array | None = None, decays: Array | None = None,
    lr: float = REQUIRED, beta1: float = REQUIRED, beta2: float = REQUIRED,
    weight_decay: float = 0.0, shrink: float = 0.0, grouped: int = 0,
) -> None:  # fmt: skip
    """param -= lr * sign(exp_avg + (1 - beta1) * (g - exp_avg));  exp_avg += (1 - beta2) * (g - exp_avg).

    param, exp_avg  (N,)  read and written
    grad            (N,)  read

    Chen et al. 2023, Algorithm 1; the sign of zero is zero.
    """
    real = param.dtype.type
    g, factors = decayed(param, grad, rates, decays, weight_decay, shrink, grouped)
    change = g - exp_avg
    param -= real(lr) * factors * np.sign(exp_avg + real(1 - beta1) * change)
    exp_avg += real(1 - beta2) * change


@update("prev[N] step_size[N]", scalars="rate_scale eta_minus eta_plus min_step max_step")
def rprop_update(
    param: Array, prev: Array, step_size: Array, grad: Array, rates: Array | None = None, decays: Array | None = None,
    rate_scale: float = REQUIRED, eta_minus: float = REQUIRED, eta_plus: float = REQUIRED,
    min_step: float = REQUIRED, max_step: float = REQUIRED,
    weight_decay: float = 0.0, shrink: float = 0.0, grouped: int = 0,
) -> None:  # fmt: skip
    """A step of its own for each number, longer while the sign of its gradient stays, shorter where it changes.

    step_size *= eta_plus where g and prev have one sign, eta_minus where they have opposite ones; within [min_step,
    max_step];  g = 0 where they have opposite ones;  param -= rate_scale * step_size * sign(g);  prev = g

    param, prev, step_size  (N,)  read and written; step_size starts at the first rate, prev at zero
    grad                    (N,)  read
    rate_scale              the rate over the first rate

    Riedmiller and Braun 1993 in the form of PyTorch, iRprop- of Igel and Hüsken 2000: where the sign changed no step is
    taken, and the next one does not count as a change.
    """
    real = param.dtype.type
    g, factors = decayed(param, grad, rates, decays, weight_decay, shrink, grouped)
    agree = np.sign(g) * np.sign(prev)
    factor = np.where(agree > 0, real(eta_plus), np.where(agree < 0, real(eta_minus), real(1)))
    step_size[...] = np.clip(step_size * factor, real(min_step), real(max_step))
    prev[...] = np.where(agree < 0, real(0), g)
    param -= real(rate_scale) * factors * (step_size * np.sign(prev))
