"""Optimizers: which update a step ends with, and its scalars, computed in double precision for many steps at once."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from . import checks
from .described import description
from .kernels.table import OPERATIONS, Operation

Array = np.ndarray[Any, Any]


class Optimizer:
    """What every optimizer answers. Its moments are the arrays that its operation updates beside the parameters."""

    lr: float

    @property
    def operation(self) -> str:
        """The operation of the kernel table that makes one update."""
        raise NotImplementedError

    @property
    def entry(self) -> Operation:
        return OPERATIONS[self.operation]

    @property
    def moments(self) -> tuple[str, ...]:
        """Names of the flat arrays it keeps between steps; all start at zero."""
        return tuple(a.name for a in self.entry.arrays if a.access == "updates" and a.name != "param")

    def scalars(self, steps: Array, lr: float | Array) -> Mapping[str, float | Array]:
        """The operation's scalars at these step numbers, counted from 1, for the rate of all or of each: constants, or
        float64 arrays as long as `steps`."""
        raise NotImplementedError

    def _check(self, **bounds: dict[str, float]) -> None:
        for argument, limits in bounds.items():
            value = checks.number(type(self).__name__, argument, getattr(self, argument), **limits)
            object.__setattr__(self, argument, value)


@description
class SGD(Optimizer):
    """Gradient descent, with `momentum` > 0 in velocity form: v = momentum v + g, w -= lr v.

    PyTorch's form; Keras multiplies lr into the velocity.
    """

    lr: float = 1e-2
    momentum: float = 0.0

    def __post_init__(self) -> None:
        self._check(lr={"above": 0.0}, momentum={"minimum": 0.0, "below": 1.0})

    @property
    def operation(self) -> str:
        return "momentum_update" if self.momentum else "sgd_update"

    def scalars(self, steps: Array, lr: float | Array) -> Mapping[str, float | Array]:
        return {"lr": lr, "momentum": self.momentum} if self.momentum else {"lr": lr}


@description
class AdaGrad(Optimizer):
    """Duchi, Hazan and Singer 2011; PyTorch's defaults, eps outside the root."""

    lr: float = 1e-2
    eps: float = 1e-10

    def __post_init__(self) -> None:
        self._check(lr={"above": 0.0}, eps={"minimum": 0.0})

    @property
    def operation(self) -> str:
        return "adagrad_update"

    def scalars(self, steps: Array, lr: float | Array) -> Mapping[str, float | Array]:
        return {"lr": lr, "eps": self.eps}


@description
class RMSProp(Optimizer):
    """Tieleman and Hinton 2012; PyTorch's defaults, eps outside the root (Keras: rate 1e-3, alpha 0.9)."""

    lr: float = 1e-2
    alpha: float = 0.99
    eps: float = 1e-8

    def __post_init__(self) -> None:
        self._check(lr={"above": 0.0}, alpha={"minimum": 0.0, "below": 1.0}, eps={"minimum": 0.0})

    @property
    def operation(self) -> str:
        return "rmsprop_update"

    def scalars(self, steps: Array, lr: float | Array) -> Mapping[str, float | Array]:
        return {"lr": lr, "alpha": self.alpha, "eps": self.eps}


@description
class Adam(Optimizer):
    """Kingma and Ba 2015 with bias correction; PyTorch's defaults, eps outside the root and after the correction."""

    lr: float = 1e-3
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8

    def __post_init__(self) -> None:
        self._check(lr={"above": 0.0}, eps={"minimum": 0.0})
        object.__setattr__(self, "betas", checks.pair("Adam", "betas", self.betas, minimum=0.0, below=1.0))

    @property
    def operation(self) -> str:
        return "adam_update"

    def scalars(self, steps: Array, lr: float | Array) -> Mapping[str, float | Array]:
        beta1, beta2 = self.betas
        return {
            "step_size": lr / (1 - beta1**steps),
            "beta1": beta1,
            "beta2": beta2,
            "eps": self.eps,
            "sqrt_bias_correction2": np.sqrt(1 - beta2**steps),
        }


OPTIMIZERS: dict[str, type[Optimizer]] = {"sgd": SGD, "adagrad": AdaGrad, "rmsprop": RMSProp, "adam": Adam}


def get_optimizer(optimizer: "str | Optimizer") -> Optimizer:
    """The optimizer of that name with its defaults, or the optimizer itself."""
    if isinstance(optimizer, Optimizer):
        return optimizer
    checks.not_a_class("optimizer", optimizer, Optimizer)
    if not isinstance(optimizer, str) or optimizer not in OPTIMIZERS:
        raise checks.unknown_name("optimizer", optimizer, OPTIMIZERS)
    return OPTIMIZERS[optimizer]()
