"""Gradient descent, with and without momentum, and updates that follow the sign of the gradient."""

from collections.abc import Mapping
from dataclasses import field
from typing import Any, Literal, get_args

import numpy as np

from .. import checks
from ..described import description
from .base import Optimizer

Array = np.ndarray[Any, Any]
Form = Literal["buffer", "velocity", "average"]


@description
class SGD(Optimizer):
    """Gradient descent, w -= lr g, or with `momentum` > 0 in one of three forms:

    form      "buffer"    v = momentum v + g                     w -= lr v    PyTorch's
              "velocity"  v = momentum v - lr g                  w += v       Sutskever et al. 2013, Keras's
              "average"   v = momentum v + (1 - momentum) g      w -= lr v    a moving average of gradients
    nesterov  the step is that of the next gradient's momentum: momentum v + g in place of v, and so in each form
              (Nesterov 1983; Sutskever et al. 2013)

    At a constant rate the first two take the same steps; after a change the second goes on with the old rate for a
    while. The third is the first with a rate of lr (1 - momentum); PyTorch's `dampening` differs from it in the first
    step, whose gradient it takes whole.
    """

    lr: float = 1e-2
    momentum: float = 0.0
    nesterov: bool = False
    form: Form = "buffer"

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check(momentum={"minimum": 0.0, "below": 1.0})
        object.__setattr__(self, "nesterov", checks.flag("SGD", "nesterov", self.nesterov))
        if self.form not in get_args(Form):
            raise checks.unknown_name("form", self.form, get_args(Form))
        if self.nesterov and not self.momentum:
            raise ValueError("SGD(nesterov=True): needs momentum above 0")

    @classmethod
    def keras(cls, learning_rate: float = 0.01, momentum: float = 0.0, nesterov: bool = False, **options: Any) -> "SGD":
        """Keras's SGD, by its names and defaults: momentum in the form "velocity". Weight decay is decoupled,
        as in all of Keras."""
        return cls(learning_rate, momentum, nesterov, "velocity", **{"decoupled": True, **options})

    @property
    def operation(self) -> str:
        if self.nesterov:
            return "nesterov_update"
        return "momentum_update" if self.momentum else "sgd_update"

    def own_scalars(self, steps: Array, lr: float | Array) -> Mapping[str, float | Array]:
        if not self.momentum:
            return {"lr": lr}
        if self.form == "velocity":
            return {"lr": 1.0, "momentum": self.momentum, "weight": lr}
        return {"lr": lr, "momentum": self.momentum, "weight": 1 - self.momentum if self.form == "average" else 1.0}


@description
class Lion(Optimizer):
    """Chen et al. 2023: steps of equal size, lr, in the direction of the sign of an interpolated momentum.

    The paper's defaults. Its weight decay is decoupled, which `decoupled` is here by default.
    """

    lr: float = 1e-4
    betas: tuple[float, float] = (0.9, 0.99)
    decoupled: bool = field(default=True, kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "betas", checks.pair("Lion", "betas", self.betas, minimum=0.0, below=1.0))

    @classmethod
    def keras(
        cls, learning_rate: float = 0.001, beta_1: float = 0.9, beta_2: float = 0.99, **options: Any
    ) -> "Lion":  # fmt: skip
        """Keras's Lion, by its names and defaults."""
        return cls(learning_rate, (beta_1, beta_2), **options)

    @property
    def operation(self) -> str:
        return "lion_update"

    def own_scalars(self, steps: Array, lr: float | Array) -> Mapping[str, float | Array]:
        return {"lr": lr, "beta1": self.betas[0], "beta2": self.betas[1]}


@description
class Rprop(Optimizer):
    """Riedmiller and Braun 1993: a step of its own for each number, which grows while the sign of its gradient stays.

    lr            the first step of each number; later rates of a schedule multiply all steps, over this one
    etas          factors of a step after a change of sign and without one
    step_sizes    the least and the largest step

    PyTorch's defaults and variant (iRprop-, Igel and Hüsken 2000). For full batches: signs of mini-batches are noise.
    """

    lr: float = 1e-2
    etas: tuple[float, float] = (0.5, 1.2)
    step_sizes: tuple[float, float] = (1e-6, 50.0)

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("etas", "step_sizes"):
            object.__setattr__(self, name, checks.pair("Rprop", name, getattr(self, name), minimum=0.0))
        if not 0 < self.etas[0] < 1 < self.etas[1]:
            raise ValueError(f"Rprop(etas={self.etas}): expected one between 0 and 1, and one above 1")
        if not self.step_sizes[0] <= self.step_sizes[1]:
            raise ValueError(f"Rprop(step_sizes={self.step_sizes}): expected the least step, then the largest")

    @property
    def operation(self) -> str:
        return "rprop_update"

    @property
    def starts(self) -> Mapping[str, float]:
        return {"step_size": self.lr}

    def own_scalars(self, steps: Array, lr: float | Array) -> Mapping[str, float | Array]:
        (eta_minus, eta_plus), (least, largest) = self.etas, self.step_sizes
        return {
            "rate_scale": lr / self.lr, "eta_minus": eta_minus, "eta_plus": eta_plus,
            "min_step": least, "max_step": largest,
        }  # fmt: skip
