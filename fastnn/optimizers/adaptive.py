"""Optimizers that divide by the root of a sum, or of a moving average, of squared gradients."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from .. import checks
from ..described import description
from .base import Optimizer

Array = np.ndarray[Any, Any]


@description
class AdaGrad(Optimizer):
    """Duchi, Hazan and Singer 2011: g divided by the root of the sum of all squares.

    eps                        beside the root, or with eps_inside=True added to the sum (Keras, TensorFlow)
    lr_decay                   the rate of step t, from 1, is lr / (1 + (t - 1) lr_decay)
    initial_accumulator_value  what the sum starts at (Keras, TensorFlow: 0.1)

    PyTorch's defaults.
    """

    lr: float = 1e-2
    eps: float = 1e-10
    lr_decay: float = 0.0
    initial_accumulator_value: float = 0.0
    eps_inside: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check(**{name: {"minimum": 0.0} for name in ("eps", "lr_decay", "initial_accumulator_value")})
        object.__setattr__(self, "eps_inside", checks.flag("AdaGrad", "eps_inside", self.eps_inside))

    @classmethod
    def keras(
        cls, learning_rate: float = 0.001, initial_accumulator_value: float = 0.1, epsilon: float = 1e-7, **options: Any
    ) -> "AdaGrad":
        """Keras's Adagrad, by its names and defaults."""
        return cls(learning_rate, epsilon, 0.0, initial_accumulator_value, True, **{"decoupled": True, **options})

    @property
    def operation(self) -> str:
        return "adagrad_update"

    @property
    def starts(self) -> Mapping[str, float]:
        return {"sum": self.initial_accumulator_value}

    def own_scalars(self, steps: Array, lr: float | Array) -> Mapping[str, float | Array]:
        rate = lr / (1 + (steps - 1) * self.lr_decay) if self.lr_decay else lr
        return {"lr": rate, **_placed(self.eps, self.eps_inside)}


@description
class Adadelta(Optimizer):
    """Zeiler 2012: steps in the units of the parameters, by the ratio of two moving averages of squares.

    PyTorch's defaults, which are the paper's; Keras starts at a rate of 0.001, rho 0.95 and eps 1e-7.
    """

    lr: float = 1.0
    rho: float = 0.9
    eps: float = 1e-6

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check(rho={"minimum": 0.0, "below": 1.0}, eps={"above": 0.0})

    @classmethod
    def keras(
        cls, learning_rate: float = 0.001, rho: float = 0.95, epsilon: float = 1e-7, **options: Any
    ) -> "Adadelta":
        """Keras's Adadelta, by its names and defaults."""
        return cls(learning_rate, rho, epsilon, **{"decoupled": True, **options})

    @property
    def operation(self) -> str:
        return "adadelta_update"

    def own_scalars(self, steps: Array, lr: float | Array) -> Mapping[str, float | Array]:
        return {"lr": lr, "rho": self.rho, "eps": self.eps}


@description
class RMSProp(Optimizer):
    """Tieleman and Hinton 2012: g divided by the root of a moving average of squares.

    eps       beside the root, or with eps_inside=True added to the average (Keras, TensorFlow)
    centered  the average is that of the variance: the squared average of gradients is subtracted (Graves 2013)
    momentum  of the quotients, in the form that `SGD` calls "buffer"

    PyTorch's defaults and variant; Keras's momentum has the rate within.
    """

    lr: float = 1e-2
    alpha: float = 0.99
    eps: float = 1e-8
    momentum: float = 0.0
    centered: bool = False
    eps_inside: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check(alpha={"minimum": 0.0, "below": 1.0}, eps={"minimum": 0.0}, momentum={"minimum": 0.0, "below": 1.0})
        for name in ("centered", "eps_inside"):
            object.__setattr__(self, name, checks.flag("RMSProp", name, getattr(self, name)))

    @classmethod
    def keras(
        cls, learning_rate: float = 0.001, rho: float = 0.9, momentum: float = 0.0, epsilon: float = 1e-7,
        centered: bool = False, **options: Any,
    ) -> "RMSProp":  # fmt: skip
        """Keras's RMSprop, by its names and defaults; with momentum the same steps as long as the rate is constant."""
        return cls(learning_rate, rho, epsilon, momentum, centered, True, **{"decoupled": True, **options})

    @property
    def operation(self) -> str:
        return f"rmsprop{'_centered' if self.centered else ''}{'_momentum' if self.momentum else ''}_update"

    def own_scalars(self, steps: Array, lr: float | Array) -> Mapping[str, float | Array]:
        momentum = {"momentum": self.momentum} if self.momentum else {}
        return {"lr": lr, "alpha": self.alpha, **_placed(self.eps, self.eps_inside), **momentum}


def _placed(eps: float, inside: bool) -> dict[str, float]:
    """The constant beside the root and the one under it."""
    return {"eps": 0.0 if inside else eps, "inner_eps": eps if inside else 0.0}
