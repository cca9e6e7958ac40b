"""Schedules that are made of others: with a lower limit, after a warm-up, in turn, multiplied, counted in steps."""

from __future__ import annotations

from dataclasses import dataclass, replace

from fastnn import checks

from .base import Schedule


def _checked(owner: str, *schedules: Schedule) -> str:
    """That all are schedules that count the same; what they count."""
    for schedule in schedules:
        if not isinstance(schedule, Schedule):
            raise TypeError(f"{owner}: {schedule!r} is no schedule (a function or a list becomes one as ByHand(...))")
    counted = {schedule.per for schedule in schedules}
    if len(counted) > 1:
        raise ValueError(f"{owner}: some of the schedules count epochs and some steps; use per_step() on the whole")
    return counted.pop()


@dataclass(frozen=True)
class _Of(Schedule):
    """A schedule of one other, whose state is the other's."""

    schedule: Schedule

    def __post_init__(self) -> None:
        object.__setattr__(self, "per", _checked(type(self).__name__, self.schedule))

    @property
    def within(self) -> tuple[Schedule, ...]:
        return (self.schedule,)

    def start(self) -> Schedule:
        return replace(self, schedule=self.schedule.start())


@dataclass(frozen=True)
class AtLeast(_Of):
    """The rates of a schedule, none below `minimum`."""

    minimum: float

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check(minimum={"minimum": 0.0})

    def __call__(self, lr0: float, t: float) -> float:
        rate = self.schedule(lr0, t)
        return max(rate, self.minimum) if isinstance(rate, (int, float)) else rate  # what is no number is refused later


@dataclass(frozen=True)
class PerStep(_Of):
    """A schedule whose time is counted in optimizer steps, from the first step of the first epoch on."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.per == "step":
            raise ValueError(f"PerStep: {self.schedule!r} counts steps already")
        object.__setattr__(self, "per", "step")

    def __call__(self, lr0: float, t: float) -> float:
        return self.schedule(lr0, t)


@dataclass(frozen=True)
class Warmup(Schedule):
    """Linear growth of the rate from `start_factor` times lr0 to lr0, then another schedule from its own beginning.

    lr0 * (s + (1 - s) * (t + 1) / length) for t < length, where s is `start_factor`: with 0, the first of 5 epochs runs
    at a fifth of lr0 and the fifth at lr0, so that no epoch is lost at rate 0 (Goyal et al. 2017; PyTorch's LinearLR
    begins at s itself and reaches lr0 one epoch later).

    length   epochs, at least 1;  then   what follows;  start_factor   at least 0, below 1
    """

    length: int
    then: Schedule
    start_factor: float = 0.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "per", _checked("Warmup", self.then))
        self._check_integers(length=1)
        self._check(start_factor={"minimum": 0.0, "below": 1.0})

    def __call__(self, lr0: float, t: float) -> float:
        if t < self.length:
            return lr0 * (self.start_factor + (1.0 - self.start_factor) * (t + 1.0) / self.length)
        return self.then(lr0, t - self.length)

    @property
    def within(self) -> tuple[Schedule, ...]:
        return (self.then,)

    def start(self) -> Schedule:
        return replace(self, then=self.then.start())


@dataclass(frozen=True)
class InTurn(Schedule):
    """Schedules one after the other, each from its own beginning: pairs (length, schedule), and the last one, which
    stays (PyTorch's SequentialLR).

        InTurn([(5, Constant()), (20, Cosine(20))], then=Constant())
    """

    parts: tuple[tuple[int, Schedule], ...]
    then: Schedule

    def __post_init__(self) -> None:
        try:
            pairs = [(length, part) for length, part in self.parts]
        except (TypeError, ValueError):
            raise TypeError(f"InTurn(parts={self.parts!r}): expected pairs (length, schedule)") from None
        parts = tuple((checks.integer("InTurn", "parts", length, minimum=1), part) for length, part in pairs)
        object.__setattr__(self, "parts", parts)
        object.__setattr__(self, "per", _checked("InTurn", *(part for _, part in parts), self.then))

    def __call__(self, lr0: float, t: float) -> float:
        for length, part in self.parts:
            if t < length:
                return part(lr0, t)
            t -= length
        return self.then(lr0, t)

    @property
    def within(self) -> tuple[Schedule, ...]:
        return (*(part for _, part in self.parts), self.then)

    def start(self) -> Schedule:
        return InTurn(tuple((length, part.start()) for length, part in self.parts), self.then.start())


@dataclass(frozen=True)
class Product(Schedule):
    """`second` applied to the rate that `first` gives: for factors of lr0 their product (torch's ChainedScheduler).

    `second` must take notice of the rate it is given: a list of rates and a plateau do not, and can be `first` only.
    """

    first: Schedule
    second: Schedule

    def __post_init__(self) -> None:
        object.__setattr__(self, "per", _checked("Product", self.first, self.second))
        if not self.second.follows_lr0:
            raise ValueError(
                f"Product(second={self.second!r}): a list of rates or a plateau takes no notice of the rate that it is "
                "given; let it be the first factor"
            )

    def __call__(self, lr0: float, t: float) -> float:
        return self.second(self.first(lr0, t), t)

    @property
    def within(self) -> tuple[Schedule, ...]:
        return self.first, self.second

    def start(self) -> Schedule:
        return Product(self.first.start(), self.second.start())
