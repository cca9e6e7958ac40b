"""Losses of numbers. Targets are (rows, outputs), or (rows,) with one output; means are over rows and outputs."""

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import checks
from ..described import description
from .base import Array, Halves, Loss

if TYPE_CHECKING:
    from ..plan.arena import Ref
    from ..plan.compiler import Builder, Value


@description
class MSE(Loss):
    """Mean squared error over rows and outputs. PyTorch's `mse_loss`; scikit-learn's MLP takes half of it."""

    name = "mse"
    task = "regress"
    default_metrics = ("rmse", "r2")


@description
class AbsoluteError(Loss):
    """Mean of |z - y|; its gradient is 0 where z = y. PyTorch's `L1Loss`."""

    name = "mae"
    task = "regress"
    default_metrics = ("rmse", "r2")


@description
class Huber(Loss):
    """Mean of (z - y)^2 / 2 where |z - y| <= delta, and of delta (|z - y| - delta / 2) beyond (Huber 1964).

    delta   above 0
    PyTorch's `HuberLoss`. Its `SmoothL1Loss(beta)` is this with delta = beta, divided by beta.
    """

    delta: float = 1.0

    name = "huber"
    task = "regress"
    default_metrics = ("rmse", "r2")

    def __post_init__(self) -> None:
        object.__setattr__(self, "delta", checks.number("Huber", "delta", self.delta, above=0.0))


@description
class LogCosh(Loss):
    """Mean of log(cosh(z - y)), which is d^2 / 2 for small differences and |d| - log 2 for large ones. Keras's
    `LogCosh`; here small differences keep their digits."""

    name = "log_cosh"
    task = "regress"
    default_metrics = ("rmse", "r2")


@description
class Quantile(Loss):
    """Mean of max(tau u, (tau - 1) u) with u = y - z: the outputs become that quantile of the targets (Koenker and
    Bassett 1978), tau = 0.5 the median. The gradient is 0 where u = 0.

    tau   above 0, below 1
    scikit-learn's `mean_pinball_loss(alpha=tau)`; PyTorch has none.
    """

    tau: float = 0.5

    name = "quantile"
    task = "regress"
    default_metrics = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "tau", checks.number("Quantile", "tau", self.tau, above=0.0, below=1.0))


@description
class Poisson(Loss):
    """Mean of exp(z) - y z: the negative log-likelihood of counts y whose expectation is exp(z), without log(y!).

    PyTorch's `PoissonNLLLoss()`, whose log_input=True and full=False these are; its other forms are not offered.
    Targets are numbers, 0 or more. Metrics compare exp(z) with them.
    """

    name = "poisson"
    task = "regress"
    default_metrics = ("rmse", "r2")
    in_commands = False

    def check_targets(self, y: Any, outputs: int, dtype: Any, name: str = "y", allow_nonfinite: bool = False) -> Array:
        targets = super().check_targets(y, outputs, dtype, name, allow_nonfinite)
        checks.entries(targets, targets < 0, name, "targets of 0 or more for loss='poisson'")
        return targets

    def scored(self, outputs: Array, targets: Array) -> tuple[Array, Array]:
        return np.exp(outputs), targets


@description
class GaussianLikelihood(Loss):
    """Mean over rows and targets of (s + (m - y)^2 exp(-s)) / 2: the negative log-likelihood of numbers with mean m and
    variance exp(s), without log(2 pi) / 2 (Nix and Weigend 1994).

    eps   the smallest variance: s counts as log(eps) where it is below, for the gradient too, so that a variance that
          is too small can grow again
    A network has two outputs for each target: first all means, then all logarithms of variances. PyTorch's
    `GaussianNLLLoss(eps)` takes variances, which the network has to make positive, instead of s. Metrics compare the
    means with the targets.
    """

    eps: float = 1e-6

    name = "gaussian"
    task = "regress"
    default_metrics = ("rmse", "r2")
    in_commands = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "eps", checks.number("GaussianLikelihood", "eps", self.eps, above=0.0))

    def target_columns(self, outputs: int) -> int:
        if outputs % 2:
            raise ValueError(
                f"loss='gaussian': the network has {outputs} outputs, expected two for each target: its mean and the "
                "logarithm of its variance"
            )
        return outputs // 2

    def scalars(self) -> Mapping[str, float | int]:
        return {"log_eps": math.log(self.eps)}

    def operands(self, dz: Any, z: Any, targets: Any, halves: Halves) -> dict[str, Any]:
        (dmean, dlog_var), (mean, log_var) = halves(dz), halves(z)
        return {"dmean": dmean, "dlog_var": dlog_var, "mean": mean, "log_var": log_var, "targets": targets}

    def scored(self, outputs: Array, targets: Array) -> tuple[Array, Array]:
        return outputs[:, : outputs.shape[1] // 2], targets

    def gradient_of(self, builder: "Builder", z: "Value") -> "Ref":
        """A place of its own: the operation does not work in place."""
        from ..plan.arena import Ref

        slot = builder.plan.workspace.matrix(f"d{z.name}", z.features, builder.rows, builder.plan.dtype)
        return Ref("workspace", slot)
