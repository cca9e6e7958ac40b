"""Adam and its kin: moving averages of the gradient and of its square."""

import functools
from collections.abc import Mapping
from dataclasses import field
from typing import Any

import numpy as np

from .. import checks
from ..described import description
from .base import Optimizer

Array = np.ndarray[Any, Any]


@description
class _Adaptive(Optimizer):
    """What they have in common."""

    lr: float = 1e-3
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check(eps={"minimum": 0.0})
        owner = type(self).__name__
        object.__setattr__(self, "betas", checks.pair(owner, "betas", self.betas, minimum=0.0, below=1.0))

    def _shared(self) -> dict[str, float | Array]:
        return {"beta1": self.betas[0], "beta2": self.betas[1], "eps": self.eps}


@description
class Adam(_Adaptive):
    """Kingma and Ba 2015; PyTorch's defaults.

    bias_correction  False leaves out the division of both averages by what they still lack of the sum of their
                     weights, 1 - beta**t, which makes the first steps large (Devlin et al. 2019 trained BERT so)
    eps_hat          True: eps is added to the root before the bias correction, the paper's second form, which Keras and
                     scikit-learn have; False: after it, as in the paper's Algorithm 1, PyTorch and optax
    """

    bias_correction: bool = True
    eps_hat: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("bias_correction", "eps_hat"):
            object.__setattr__(self, name, checks.flag(type(self).__name__, name, getattr(self, name)))

    @classmethod
    def keras(
        cls, learning_rate: float = 0.001, beta_1: float = 0.9, beta_2: float = 0.999, epsilon: float = 1e-7,
        **options: Any,
    ) -> "Adam":  # fmt: skip
        """Keras's Adam, by its names and defaults: eps before the bias correction."""
        return cls(learning_rate, (beta_1, beta_2), epsilon, True, True, **{"decoupled": True, **options})

    @property
    def operation(self) -> str:
        return "adam_update"

    def own_scalars(self, steps: Array, lr: float | Array) -> Mapping[str, float | Array]:
        if not self.bias_correction:
            return {"step_size": lr, **self._shared(), "sqrt_bias_correction2": 1.0}
        beta1, beta2 = self.betas
        correction = np.sqrt(1 - beta2**steps)
        scalars = {"step_size": lr / (1 - beta1**steps), **self._shared(), "sqrt_bias_correction2": correction}
        return {**scalars, "eps": self.eps / correction} if self.eps_hat else scalars


@description
class AdamW(Adam):
    """Adam with decoupled weight decay, Loshchilov and Hutter 2019; PyTorch's defaults (Keras: weight decay 0.004).

    The same as Adam(weight_decay=0.01, decoupled=True).
    """

    weight_decay: float = field(default=1e-2, kw_only=True)
    decoupled: bool = field(default=True, kw_only=True)

    @classmethod
    def keras(
        cls, learning_rate: float = 0.001, beta_1: float = 0.9, beta_2: float = 0.999, epsilon: float = 1e-7,
        **options: Any,
    ) -> "AdamW":  # fmt: skip
        """Keras's AdamW, by its names and defaults: weight decay 0.004."""
        options = {"weight_decay": 0.004, **options}
        return cls(learning_rate, (beta_1, beta_2), epsilon, True, True, **options)


@description
class NAdam(_Adaptive):
    """Adam with Nesterov's momentum, Dozat 2016; PyTorch's defaults.

    momentum_decay  the momentum of step t is beta1 (1 - 0.96**(t momentum_decay) / 2)
    """

    lr: float = 2e-3
    momentum_decay: float = 4e-3

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check(momentum_decay={"minimum": 0.0})

    @classmethod
    def keras(
        cls, learning_rate: float = 0.001, beta_1: float = 0.9, beta_2: float = 0.999, epsilon: float = 1e-7,
        **options: Any,
    ) -> "NAdam":  # fmt: skip
        """Keras's Nadam, by its names and defaults: its momentum grows by 0.96**t."""
        return cls(learning_rate, (beta_1, beta_2), epsilon, 1.0, **{"decoupled": True, **options})

    @property
    def operation(self) -> str:
        return "nadam_update"

    def own_scalars(self, steps: Array, lr: float | Array) -> Mapping[str, float | Array]:
        beta1, beta2 = self.betas
        now, after = (_momentum(steps + later, beta1, self.momentum_decay) for later in (0.0, 1.0))
        last = int(np.max(steps)) + 1
        products = _products(beta1, self.momentum_decay, 1 << last.bit_length())
        index = np.asarray(steps, np.int64)
        return {
            "grad_step": lr * (1 - now) / (1 - products[index - 1]), "avg_step": lr * after / (1 - products[index]),
            **self._shared(), "sqrt_bias_correction2": np.sqrt(1 - beta2**steps),
        }  # fmt: skip


def _momentum(steps: Array, beta1: float, decay: float) -> Array:
    """The momentum of these steps, counted from 1."""
    momentum: Array = beta1 * (1 - 0.5 * 0.96 ** (steps * decay))
    return momentum


@functools.lru_cache(maxsize=64)
def _products(beta1: float, decay: float, count: int) -> Array:
    """mu_1, mu_1 mu_2, ...: the products of so many momenta."""
    return np.cumprod(_momentum(np.arange(1.0, count + 1), beta1, decay))


@description
class RAdam(_Adaptive):
    """Rectified Adam, Liu et al. 2020: momentum alone until the variance of the adaptive rate is finite, then with that
    rate, scaled by how sure it is. PyTorch's defaults and variant (eps before the bias correction).
    """

    @property
    def operation(self) -> str:
        return "radam_update"

    def own_scalars(self, steps: Array, lr: float | Array) -> Mapping[str, float | Array]:
        beta1, beta2 = self.betas
        step, correction2 = lr / (1 - beta1**steps), 1 - beta2**steps
        longest = 2 / (1 - beta2) - 1
        if longest <= 5:  # the average of squares never gets long enough
            return {"plain_step": step, "rectified_step": 0.0, **self._shared()}
        length = np.maximum(longest - 2 * steps * beta2**steps / correction2, 5.0)
        rectified = length > 5
        share = (length - 4) * (length - 2) * longest / ((longest - 4) * (longest - 2) * length)
        return {
            "plain_step": np.where(rectified, 0.0, step),
            "rectified_step": np.where(rectified, step * np.sqrt(share * correction2), 0.0),
            **self._shared(),
        }
