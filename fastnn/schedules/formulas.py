"""Schedules that are a formula of time."""

from __future__ import annotations

import bisect
import math
from dataclasses import dataclass
from itertools import pairwise

from fastnn import checks

from .base import Schedule


@dataclass(frozen=True)
class StepDecay(Schedule):
    """lr0 * factor ** (t // every): the rate is multiplied by `factor` after each `every` epochs.

    factor   above 0, at most 1 (PyTorch's StepLR calls it gamma)
    every    epochs, at least 1 (StepLR's step_size)
    """

    factor: float
    every: int

    def __post_init__(self) -> None:
        self._check(factor={"above": 0.0, "maximum": 1.0})
        self._check_integers(every=1)

    def __call__(self, lr0: float, t: float) -> float:
        return float(lr0 * self.factor ** (t // self.every))


@dataclass(frozen=True)
class MultiStepDecay(Schedule):
    """The rate is multiplied by `factor` at each of some epochs (PyTorch's MultiStepLR).

    factor       above 0, at most 1 (gamma)
    milestones   times, ascending: from t = milestones[0] on the rate is lr0 * factor
    """

    factor: float
    milestones: tuple[int, ...]

    def __post_init__(self) -> None:
        self._check(factor={"above": 0.0, "maximum": 1.0})
        if not isinstance(self.milestones, (list, tuple)):
            raise TypeError(f"MultiStepDecay(milestones={self.milestones!r}): expected a list of times")
        times = tuple(checks.integer("MultiStepDecay", "milestones", time, minimum=1) for time in self.milestones)
        if any(later <= earlier for earlier, later in pairwise(times)):
            raise ValueError(f"MultiStepDecay(milestones={list(self.milestones)}): must ascend")
        object.__setattr__(self, "milestones", times)

    def __call__(self, lr0: float, t: float) -> float:
        return float(lr0 * self.factor ** bisect.bisect_right(self.milestones, t))


@dataclass(frozen=True)
class Exponential(Schedule):
    """lr0 * factor ** t (PyTorch's ExponentialLR); `Exponential.of_rate(k)`: lr0 * exp(-k t).

    factor   above 0, at most 1 (gamma)
    """

    factor: float

    def __post_init__(self) -> None:
        self._check(factor={"above": 0.0, "maximum": 1.0})

    @classmethod
    def of_rate(cls, k: float) -> Exponential:
        """lr0 * exp(-k t) for a k of at least 0."""
        return cls(math.exp(-checks.number("Exponential.of_rate", "k", k, minimum=0.0, maximum=700.0)))

    def __call__(self, lr0: float, t: float) -> float:
        return float(lr0 * self.factor**t)


@dataclass(frozen=True)
class InverseTime(Schedule):
    """lr0 / (1 + decay * t): a Robbins-Monro rate. Epochs are counted (Keras counts steps: `.per_step()`).

    decay   per epoch, at least 0
    """

    decay: float

    def __post_init__(self) -> None:
        self._check(decay={"minimum": 0.0})

    def __call__(self, lr0: float, t: float) -> float:
        return lr0 / (1.0 + self.decay * t)


@dataclass(frozen=True)
class InverseSquareRoot(Schedule):
    """lr0 * k / sqrt(number of the epoch), the first one being number 1: t + 1.

    k   above 0
    """

    k: float = 1.0

    def __post_init__(self) -> None:
        self._check(k={"above": 0.0})

    def __call__(self, lr0: float, t: float) -> float:
        return lr0 * self.k / math.sqrt(t + 1.0)


@dataclass(frozen=True)
class SearchThenConverge(Schedule):
    """lr0 * tau / max(t, tau): constant for `tau` epochs, then as 1 / t.

    Darken and Moody 1991 in the form of Bengio 2012, "Practical recommendations", equation 4.

    tau   above 0
    """

    tau: float

    def __post_init__(self) -> None:
        self._check(tau={"above": 0.0})

    def __call__(self, lr0: float, t: float) -> float:
        return lr0 * self.tau / max(t, self.tau)


@dataclass(frozen=True)
class Polynomial(Schedule):
    """lr0 * (1 - t / length) ** power, 0 from t = length on (PyTorch's PolynomialLR); power 1 is a straight line.

    length   epochs, at least 1;  power   above 0
    """

    length: int
    power: float = 1.0

    def __post_init__(self) -> None:
        self._check_integers(length=1)
        self._check(power={"above": 0.0})

    def __call__(self, lr0: float, t: float) -> float:
        return float(lr0 * (1.0 - min(t, self.length) / self.length) ** self.power)


def _half_wave(high: float, low: float, share: float) -> float:
    """From `high` at share 0 to `low` at share 1, level at both ends."""
    return low + (high - low) * 0.5 * (1.0 + math.cos(math.pi * share))


@dataclass(frozen=True)
class Cosine(Schedule):
    """From lr0 down to `minimum` along half a cosine wave, and there from t = length on.

    Loshchilov and Hutter 2017, without restarts. PyTorch's CosineAnnealingLR climbs up again behind `length` (T_max).

    length    epochs, at least 1;  minimum   a rate (eta_min)
    """

    length: int
    minimum: float = 0.0

    def __post_init__(self) -> None:
        self._check_integers(length=1)
        self._check(minimum={"minimum": 0.0})

    def __call__(self, lr0: float, t: float) -> float:
        return _half_wave(lr0, self.minimum, min(t, self.length) / self.length)


@dataclass(frozen=True)
class CosineRestarts(Schedule):
    """Such half waves one after the other, each `growth` times as long as the one before: SGDR, Loshchilov and Hutter
    2017 (PyTorch's CosineAnnealingWarmRestarts).

    period    epochs of the first, at least 1 (T_0);  growth   a whole number, at least 1 (T_mult)
    minimum   a rate (eta_min)
    """

    period: int
    growth: int = 1
    minimum: float = 0.0

    def __post_init__(self) -> None:
        self._check_integers(period=1, growth=1)
        self._check(minimum={"minimum": 0.0})

    def __call__(self, lr0: float, t: float) -> float:
        period = self.period
        if self.growth == 1:
            t %= period
        while t >= period:
            t, period = t - period, period * self.growth
        return _half_wave(lr0, self.minimum, t / period)


@dataclass(frozen=True)
class OneCycle(Schedule):
    """Up to lr0 for a share of the time, then down to almost nothing, both along half cosine waves.

    Smith and Topin 2018, "Super-convergence", in the form of PyTorch's OneCycleLR with two phases and its defaults,
    where lr0 is max_lr; momentum stays as it is (PyTorch's moves it the other way by default).

    length         epochs in all, at least 2 (total_steps); afterwards the rate stays
    rise           share of them until lr0 is reached, below 1 (pct_start); more than one epoch, so that it is reached
    start_factor   the rate at t = 0 is lr0 / start_factor (div_factor)
    final_factor   the rate at the end is that one / final_factor (final_div_factor)
    """

    length: int
    rise: float = 0.3
    start_factor: float = 25.0
    final_factor: float = 1e4

    def __post_init__(self) -> None:
        self._check_integers(length=2)
        self._check(
            rise={"above": 0.0, "below": 1.0}, start_factor={"minimum": 1.0}, final_factor={"minimum": 1.0}
        )  # fmt: skip
        if self.rise * self.length <= 1.0:
            raise ValueError(f"OneCycle(length={self.length}, rise={self.rise}): rise * length must be above 1")

    def __call__(self, lr0: float, t: float) -> float:
        t = min(t, self.length - 1)
        top = self.rise * self.length - 1.0
        start = lr0 / self.start_factor
        if t <= top:
            return _half_wave(start, lr0, t / top)
        return _half_wave(lr0, start / self.final_factor, (t - top) / (self.length - 1 - top))
