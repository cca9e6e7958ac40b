"""Learning rate schedules: the rate of an epoch from the optimizer's rate and the epoch's number.

A schedule is called as `schedule(lr0, epoch) -> float` before each epoch, the epoch counted from 0, so that the first
epoch runs at `lr0`. A plain function with these two arguments is a schedule too.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from fastnn import checks

Schedule: TypeAlias = Callable[[float, int], float]


@dataclass(frozen=True)
class Constant:
    """lr0 throughout: what `schedule=None` means."""

    def __call__(self, lr0: float, epoch: int) -> float:
        return lr0


@dataclass(frozen=True)
class StepDecay:
    """lr0 * factor ** (epoch // every): the rate is multiplied by `factor` after each `every` epochs.

    factor   above 0, at most 1 (PyTorch's StepLR calls it gamma)
    every    epochs, at least 1 (StepLR's step_size)
    """

    factor: float
    every: int

    def __post_init__(self) -> None:
        object.__setattr__(self, "factor", checks.number("StepDecay", "factor", self.factor, above=0.0, maximum=1.0))
        object.__setattr__(self, "every", checks.integer("StepDecay", "every", self.every, minimum=1))

    def __call__(self, lr0: float, epoch: int) -> float:
        return float(lr0 * self.factor ** (epoch // self.every))


@dataclass(frozen=True)
class InverseTime:
    """lr0 / (1 + decay * epoch): a Robbins-Monro rate. Epochs, not steps, are counted (Keras counts steps).

    decay   per epoch, at least 0
    """

    decay: float

    def __post_init__(self) -> None:
        object.__setattr__(self, "decay", checks.number("InverseTime", "decay", self.decay, minimum=0.0))

    def __call__(self, lr0: float, epoch: int) -> float:
        return lr0 / (1.0 + self.decay * epoch)


def get_schedule(schedule: Schedule | None) -> Schedule:
    """The schedule itself, Constant() for None; TypeError for anything that cannot be called."""
    if schedule is None:
        return Constant()
    if not callable(schedule) or isinstance(schedule, type):
        raise TypeError(
            f"schedule={schedule!r}: expected None, StepDecay(factor, every), InverseTime(decay), "
            "Constant() or a function (lr0, epoch) -> rate"
        )
    return schedule


def rate(schedule: Schedule, lr0: float, epoch: int) -> float:
    """The rate of an epoch, checked: ValueError when the schedule returns anything but a finite number, 0 or more."""
    value = schedule(lr0, epoch)
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not 0.0 <= number < math.inf:
        raise ValueError(
            f"schedule {schedule!r} returned {value!r} for epoch {epoch}: expected a finite number, 0 or more"
        )
    return number
