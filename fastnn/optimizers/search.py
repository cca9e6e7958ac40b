"""Optimizers that do not step along gradients batch by batch: two that take no gradient at all, and L-BFGS."""

from collections.abc import Callable
from dataclasses import fields
from typing import TYPE_CHECKING, Any, ClassVar, Literal, get_args

import numpy as np

from .. import checks
from ..described import description
from .base import Optimizer

if TYPE_CHECKING:
    from ..plan.compiler import Builder

Array = np.ndarray[Any, Any]
Distribution = Literal["normal", "rademacher"]


@description
class Search(Optimizer):
    """Base of them. They are run by `fit`, `Trainer.run` and bound data, with any loss; of a function of one's own, ARS
    and TwoPoint use the value alone.

    They take none of the options of other optimizers: weight decay, clipping, groups, averages.
    """

    def __post_init__(self) -> None:
        super().__post_init__()
        for option in fields(Optimizer):
            if option.kw_only and getattr(self, option.name) != option.default:
                raise ValueError(f"{type(self).__name__}: takes no {option.name}")

    @property
    def moments(self) -> tuple[str, ...]:
        return ()

    def update(self, builder: "Builder") -> None:
        """Nothing: there is no update in a plan."""

    def scalars(self, steps: Array, lr: float | Array) -> dict[str, float | Array]:
        return {}

    def move(
        self, value: Callable[[Array], float], theta: Array, lr: float, generator: np.random.Generator,
        along: Callable[[Array], Array],
    ) -> Array:  # fmt: skip
        """The parameters (N,) after a step from theta.

        value       the loss at any parameters
        generator   that of this step
        along       from a drawn direction to one of the parameters
        """
        raise NotImplementedError


@description
class ARS(Search):
    """Augmented Random Search, Mania, Guy and Recht 2018: finite differences along random directions, of which the best
    count, in units of the standard deviation of the losses that were found.

        w += lr / (b s) sum over the b best directions d of (loss(w - noise d) - loss(w + noise d)) d

    with d drawn from N(0, I), best by the lower one of their two losses, and s the standard deviation of 2 b losses.

    directions  N, drawn for each step;  top   b, how many of them count (the paper's V1-t and V2-t); None: all
    noise       the distance to where the losses are taken
    version     1, or 2: directions are drawn for inputs that are standardised, by the mean and the deviation of all
                rows of the data (the paper: of the states seen so far); the first layer must be Dense with a bias,
                which takes the standardisation in, so that the model itself needs none

    The loss of a step is that of its batch before it. The paper's reward is the negative loss here.
    """

    lr: float = 0.02
    directions: int = 16
    top: int | None = None
    noise: float = 0.03
    version: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "directions", checks.integer("ARS", "directions", self.directions, minimum=1))
        if self.top is not None:
            top = checks.integer("ARS", "top", self.top, minimum=1, maximum=self.directions)
            object.__setattr__(self, "top", top)
        self._check(noise={"above": 0.0})
        object.__setattr__(self, "version", checks.integer("ARS", "version", self.version, minimum=1, maximum=2))

    @property
    def standardises(self) -> bool:
        """Whether directions are drawn for standardised inputs."""
        return self.version == 2

    def move(
        self, value: Callable[[Array], float], theta: Array, lr: float, generator: np.random.Generator,
        along: Callable[[Array], Array],
    ) -> Array:  # fmt: skip
        drawn = [along(generator.standard_normal(len(theta))) for _ in range(self.directions)]
        found = np.array([[value(theta + self.noise * d), value(theta - self.noise * d)] for d in drawn])
        finite = np.flatnonzero(np.isfinite(found).all(axis=1))
        if not len(finite):  # which the loss of the next step shows
            return np.full_like(theta, np.nan)
        best = finite[np.argsort(found[finite].min(axis=1), kind="stable")][: self.top or self.directions]
        deviation = found[best].std()
        if deviation == 0:  # a plain: nowhere to go
            return theta
        ahead, behind = found[best].T
        return theta + lr / (len(best) * deviation) * sum(
            (back - forth) * drawn[place] for place, forth, back in zip(best, ahead, behind, strict=True)
        )


@description
class TwoPoint(Search):
    """Gradient descent with a gradient from differences of two losses along random directions d:

        w -= lr mean over directions of (loss(w + noise d) - loss(w - noise d)) / (2 noise) d

    directions     how many are drawn for each step
    noise          the distance to where the losses are taken
    distribution   "normal": N(0, 1), Nesterov and Spokoiny 2017; "rademacher": -1 or 1, Spall 1992 (SPSA)
    """

    lr: float = 1e-2
    directions: int = 1
    noise: float = 1e-3
    distribution: Distribution = "normal"

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "directions", checks.integer("TwoPoint", "directions", self.directions, minimum=1))
        self._check(noise={"above": 0.0})
        if self.distribution not in get_args(Distribution):
            raise checks.unknown_name("distribution", self.distribution, get_args(Distribution))

    def move(
        self, value: Callable[[Array], float], theta: Array, lr: float, generator: np.random.Generator,
        along: Callable[[Array], Array],
    ) -> Array:  # fmt: skip
        gradient = np.zeros_like(theta)
        for _ in range(self.directions):
            if self.distribution == "normal":
                d = along(generator.standard_normal(len(theta)))
            else:
                d = along(2.0 * generator.integers(0, 2, len(theta)) - 1.0)
            gradient += (value(theta + self.noise * d) - value(theta - self.noise * d)) / (2 * self.noise) * d
        return theta - lr / self.directions * gradient


@description
class LBFGS(Search):
    """Limited-memory BFGS by SciPy (`scipy.optimize.minimize(method="L-BFGS-B")`; Byrd, Lu, Nocedal and Zhu 1995): for
    full batches. A step is one of its iterations, and its line search chooses how far it goes.

    `fit` gives it all rows, whatever the batch_size, and refuses a schedule.

    memory     how many corrections are kept
    gtol       it has converged where no number of the gradient is larger
    ftol       or where the loss falls by less than this share of it

    The loss of a step is that of all rows after it. Once it has converged further steps change nothing. SciPy's memory
    lives as long as the data are bound: each `run` of a Trainer begins anew, and so does a copy, or a step after the
    weights were changed; a training that is resumed from a checkpoint makes its iterations again. Dropout is refused.
    It takes SciPy (the extra `scipy`). PyTorch's LBFGS differs: up to 20 iterations a step, without a line search by
    default.
    """

    memory: int = 10
    gtol: float = 1e-5
    ftol: float = 2.22e-9
    lr: ClassVar[float] = 1.0  # type: ignore[misc]

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "memory", checks.integer("LBFGS", "memory", self.memory, minimum=1))
        self._check(gtol={"minimum": 0.0}, ftol={"minimum": 0.0})
