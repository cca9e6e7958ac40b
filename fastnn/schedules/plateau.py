"""The schedule that follows the validation error."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from fastnn import checks

from .base import Schedule


@dataclass(frozen=True)
class ReduceOnPlateau(Schedule):
    """The rate is multiplied by `factor` when a number of each epoch has not improved for more than `patience` epochs.

    PyTorch's ReduceLROnPlateau, with its defaults and its way of counting; the relative threshold is a share of the
    best's magnitude, where PyTorch's goes the wrong way for numbers below 0.

    monitor     "val_loss", "loss" or another number of the history;  mode   "min" or "max": which is better
    factor      above 0, below 1
    patience    epochs without improvement that are let pass, at least 0
    threshold   what counts as an improvement: better than the best by that share of it ("rel"), or by that much ("abs")
    cooldown    epochs after a reduction in which none are counted
    floor       a rate below which it is not lowered (min_lr); one that would change by less than `eps` stays
    """

    factor: float = 0.1
    patience: int = 10
    monitor: str = "val_loss"
    mode: str = "min"
    threshold: float = 1e-4
    threshold_mode: str = "rel"
    cooldown: int = 0
    floor: float = 0.0
    eps: float = 1e-8

    def __post_init__(self) -> None:
        self._check(factor={"above": 0.0, "below": 1.0})
        self._check(threshold={"minimum": 0.0}, floor={"minimum": 0.0}, eps={"minimum": 0.0})
        self._check_integers(patience=0, cooldown=0)
        if self.mode not in ("min", "max"):
            raise checks.unknown_name("mode", self.mode, ("min", "max"))
        if self.threshold_mode not in ("rel", "abs"):
            raise checks.unknown_name("threshold_mode", self.threshold_mode, ("rel", "abs"))

    @property
    def monitors(self) -> tuple[str, ...]:
        return (self.monitor,)

    def __call__(self, lr0: float, t: float) -> float:
        return lr0  # before a training has begun

    def start(self) -> Schedule:
        return _Plateau(self)


_STATE = ("best", "waited", "cooling", "reductions", "rate")


@dataclass(eq=False)
class _Plateau(Schedule):
    """Such a schedule in a training."""

    of: ReduceOnPlateau
    best: float = field(init=False)
    waited: int = 0
    cooling: int = 0
    reductions: int = 0
    """How many are due; each is made by the next epoch, from the rate before it."""
    rate: float = math.nan

    def __post_init__(self) -> None:
        self.best = math.inf if self.of.mode == "min" else -math.inf

    def __call__(self, lr0: float, t: float) -> float:
        if math.isnan(self.rate):
            self.rate = lr0
        while self.reductions:
            self.reductions -= 1
            lower = max(self.rate * self.of.factor, self.of.floor)
            if self.rate - lower > self.of.eps:
                self.rate = lower
        return self.rate

    def see(self, logs: Mapping[str, float]) -> None:
        if math.isnan(self.rate):
            return  # its time, after a warm-up or in turn, has not come
        of = self.of
        value = float(logs[of.monitor])
        if self._better(value):
            self.best, self.waited = value, 0
        else:
            self.waited += 1
        if self.cooling > 0:
            self.cooling, self.waited = self.cooling - 1, 0
        if self.waited > of.patience:
            self.reductions, self.waited, self.cooling = self.reductions + 1, 0, of.cooldown

    def state(self) -> dict[str, float]:
        return {name: getattr(self, name) for name in _STATE}

    def restore(self, state: Mapping[str, float]) -> None:
        for name in _STATE:
            setattr(self, name, state[name])

    def _better(self, value: float) -> bool:
        of, sign = self.of, 1.0 if self.of.mode == "min" else -1.0
        if math.isinf(self.best):
            return sign * value < sign * self.best
        margin = of.threshold * (abs(self.best) if of.threshold_mode == "rel" else 1.0)
        return sign * value < sign * self.best - margin
