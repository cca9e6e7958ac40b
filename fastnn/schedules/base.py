"""What every schedule can do, and schedules that are not a formula of time: constant ones and those by hand."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from fastnn import checks

if TYPE_CHECKING:
    from pathlib import Path

    from matplotlib.figure import Figure

    from .combined import AtLeast, PerStep, Product, Warmup

Array = np.ndarray[Any, Any]


class Schedule:
    """A rate at each time. Subclasses are frozen dataclasses with `__call__`.

    per   "epoch": time counts finished epochs;  "step": finished optimizer steps
    """

    per: str = "epoch"

    def __call__(self, lr0: float, t: float) -> float:
        """The rate at time t, from the optimizer's rate."""
        raise NotImplementedError

    @property
    def monitors(self) -> tuple[str, ...]:
        """The numbers of an epoch that it follows."""
        return tuple(name for schedule in self.within for name in schedule.monitors)

    @property
    def follows_lr0(self) -> bool:
        """Whether the rate at every time depends on the lr0 that it is called with then."""
        return not self.monitors and all(schedule.follows_lr0 for schedule in self.within)

    @property
    def known_ahead(self) -> bool:
        """Whether its rates follow from time alone, whatever happens in a training: of schedules of this package that
        see no number and call no function of a user's."""
        own = type(self).__module__.startswith(__package__) and type(self).see is Schedule.see
        return own and all(schedule.known_ahead for schedule in self.within)

    def start(self) -> Schedule:
        """The schedule of one training; another object only where it has a state that the training changes."""
        return self

    def see(self, logs: Mapping[str, float]) -> None:
        """Takes notice of an epoch's numbers: its loss, and with validation data val_loss and the metrics."""
        for schedule in self.within:
            schedule.see(logs)

    @property
    def within(self) -> tuple[Schedule, ...]:
        """The schedules that it is made of."""
        return ()

    def state(self) -> Any:
        """What a training has changed in it, as JSON can hold it: for checkpoints. `start().restore(state)` has it."""
        return [schedule.state() for schedule in self.within]

    def restore(self, state: Any) -> None:
        """Puts back what `state` gave."""
        for schedule, own in zip(self.within, state, strict=True):
            schedule.restore(own)

    def at_least(self, minimum: float) -> AtLeast:
        """The same rates, none below `minimum`."""
        from .combined import AtLeast

        return AtLeast(self, minimum)

    def after_warmup(self, length: int, start: float = 0.0) -> Warmup:
        """After `length` epochs (or steps) in which the rate grows to lr0 from `start` times it: see Warmup."""
        from .combined import Warmup

        return Warmup(length, self, start)

    def per_step(self) -> PerStep:
        """The same with time counted in optimizer steps."""
        from .combined import PerStep

        return PerStep(self)

    def __mul__(self, other: Schedule) -> Product:
        from .combined import Product

        return Product(self, other)

    def rates(self, lr0: float, count: int, first: int = 0) -> Array:
        """The rates at `count` times from `first` on, (count,) float64.

        ValueError where one is no finite number of 0 or more.
        """
        return np.array([self._rate(lr0, t) for t in range(first, first + count)])

    def _rate(self, lr0: float, t: int) -> float:
        value = self(lr0, t)
        try:
            number = float(value)
        except (TypeError, ValueError, OverflowError):
            number = math.nan
        if not 0.0 <= number < math.inf:
            raise ValueError(
                f"schedule {self!r} returned {value!r} for {self.per} {t}: expected a finite number, 0 or more"
            )
        return number

    def plot(self, path: str | Path | None = None, lr0: float = 1.0, count: int = 100, theme: str = "light") -> Figure:
        """Draw the rates at the first `count` times and return the figure (needs matplotlib).

        path    .png, .svg or .pdf to write the picture to;  theme   "light" or "dark"
        Of a schedule that follows the validation error it is lr0 throughout: what it does depends on a training.
        """
        from fastnn import plots

        count = checks.integer("plot", "count", count, minimum=1)
        return plots.rates(self.rates(lr0, count).tolist(), self.per, path, theme)

    def _check(self, **bounds: dict[str, float]) -> None:
        for argument, limits in bounds.items():
            value = checks.number(type(self).__name__, argument, getattr(self, argument), **limits)
            object.__setattr__(self, argument, value)

    def _check_integers(self, **minima: int) -> None:
        for argument, minimum in minima.items():
            value = checks.integer(type(self).__name__, argument, getattr(self, argument), minimum=minimum)
            object.__setattr__(self, argument, value)


Rates: TypeAlias = "Callable[[float, int], float] | Sequence[float]"
ScheduleLike: TypeAlias = "Schedule | Rates"


@dataclass(frozen=True)
class Constant(Schedule):
    """lr0 throughout: what `schedule=None` means."""

    def __call__(self, lr0: float, t: float) -> float:
        return lr0


@dataclass(frozen=True)
class ByHand(Schedule):
    """Rates of one's own: a function (lr0, t) -> rate, or the rates themselves, the last of which stays."""

    source: Rates

    @property
    def known_ahead(self) -> bool:
        return not callable(self.source)

    @property
    def follows_lr0(self) -> bool:
        return callable(self.source)

    def __post_init__(self) -> None:
        if not callable(self.source):
            if not isinstance(self.source, (list, tuple, np.ndarray)):
                raise TypeError(f"ByHand(source={self.source!r}): expected a function (lr0, t) or a list of rates")
            values = tuple(checks.number("ByHand", "source", value, minimum=0.0) for value in self.source)
            if not values:
                raise ValueError("ByHand(source=[]): expected at least one rate")
            object.__setattr__(self, "source", values)

    def __call__(self, lr0: float, t: float) -> float:
        if callable(self.source):
            return self.source(lr0, t)  # type: ignore[arg-type]  # whole numbers, in a training
        return self.source[min(int(t), len(self.source) - 1)]


def get_schedule(schedule: ScheduleLike | None) -> Schedule:
    """The schedule itself, Constant() for None, ByHand for a function or a list; TypeError for anything else."""
    if schedule is None:
        return Constant()
    if isinstance(schedule, Schedule):
        return schedule
    if isinstance(schedule, type) or not (callable(schedule) or isinstance(schedule, (list, tuple, np.ndarray))):
        raise TypeError(
            f"schedule={schedule!r}: expected None, an instance of a schedule such as StepDecay(factor, every), "
            "a list of rates or a function (lr0, epoch) -> rate"
        )
    return ByHand(schedule)
