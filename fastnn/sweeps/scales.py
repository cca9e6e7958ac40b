"""Where the values of a sweep lie in its pictures: hyper-parameters and objectives along axes, with their ticks."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from .space import SEED, Config
from .summary import Group, SweepResult

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_CHOICES = 12
"""Numbers of a choice that get a place each; more of them are drawn as a range."""
_MISSING = object()
_DECADES = 20.0
"""Positive numbers that differ by this factor are drawn by their logarithms, as in fastnn/plots.py."""


@dataclass(frozen=True)
class Scale:
    """An axis: numbers from low to high, or the values of a choice at 0, 1, 2, ...

    values    of a choice; None: numbers
    whole     numbers without fractions
    """

    name: str
    low: float
    high: float
    log: bool = False
    whole: bool = False
    values: tuple[Any, ...] | None = None

    @property
    def label(self) -> str:
        """The name, as much of it as there is room for."""
        return shortened(self.name, 24)

    @property
    def is_constant(self) -> bool:
        """Whether there is nothing to compare along it."""
        return self.low == self.high

    def places(self, configs: Sequence[Config]) -> Any:
        """Where configurations lie; NaN where one has no value here."""
        found = [config.get(self.name, _MISSING) for config in configs]
        if self.values is not None:
            known = {json.dumps(value): float(place) for place, value in enumerate(self.values)}
            return np.array([math.nan if v is _MISSING else known.get(json.dumps(v), math.nan) for v in found])
        return np.array([float(v) if is_number(v) and not (self.log and v <= 0) else math.nan for v in found])

    def along(self, place: Any) -> Any:
        """Places as lengths: their logarithms on a logarithmic axis."""
        return np.log10(place) if self.log else np.asarray(place, np.float64)

    def share(self, place: Any) -> Any:
        """How far from low to high places are: 0 to 1; 0.5 on a constant axis."""
        if self.is_constant:
            return np.where(np.isnan(place), np.nan, 0.5)
        low, high = float(self.along(self.low)), float(self.along(self.high))
        return (self.along(place) - low) / (high - low)

    def limits(self, margin: float, below: float = 0.0, above: float = 0.0) -> tuple[float, float]:
        """Ends of an axis with some air.

        margin         on both sides, as a share of the length from low to high
        below, above   more of it, as a share of the whole axis
        """
        if self.values is not None:
            return self.low - 0.6, self.high + 0.6
        low, high = float(self.along(self.low)), float(self.along(self.high))
        if low == high:
            low, high = low - max(0.1 * abs(low), 1e-9), high + max(0.1 * abs(high), 1e-9)
        air = margin * (high - low)
        length = (high - low + 2 * air) / (1 - below - above)
        ends = low - air - below * length, high + air + above * length
        return (10 ** ends[0], 10 ** ends[1]) if self.log else ends

    def ticks(self, most: int = 6) -> tuple[list[float], list[str]]:
        """Places and what is written there; no more than there is room for."""
        if self.values is not None:
            step = math.ceil(len(self.values) / max(most, 8))
            places = [float(place) for place in range(0, len(self.values), step)]
            return places, [text_of(self.values[int(place)]) for place in places]
        places = _decades(self.low, self.high, most) if self.log else []
        if len(places) < 2:
            places = _even(self.low, self.high, most, self.whole)
        return places, [text_of(place) for place in places]


def _even(low: float, high: float, most: int, whole: bool) -> list[float]:
    from matplotlib.ticker import MaxNLocator

    if low == high:
        return [low]
    places = MaxNLocator(nbins=most - 1, integer=whole, steps=[1, 2, 2.5, 5, 10]).tick_values(low, high)
    slack = 1e-9 * (high - low)
    return [float(place) for place in places if low - slack <= place <= high + slack]


def _decades(low: float, high: float, most: int) -> list[float]:
    """Powers of ten, or 1, 2 and 5 times them; fewer than two where the range is too short for either."""
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    powers = [p for p in range(first, last + 1) if low * 0.999 <= 10.0**p <= high * 1.001]
    if len(powers) > 2:
        return [10.0**p for p in powers[:: math.ceil(len(powers) / most)]]
    found = [m * 10.0**p for p in range(first, last + 1) for m in (1, 2, 5)]
    return [value for value in found if low * 0.999 <= value <= high * 1.001]


def is_number(value: Any) -> bool:
    """Whether a value of a configuration is a number."""
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def text_of(value: Any, most: int = 18) -> str:
    """A value as short as can be: 1e-5, 0.0123, adam."""
    if is_number(value):
        text = f"{value:.4g}" if isinstance(value, float) else str(value)
        mantissa, _, power = text.partition("e")
        return f"{mantissa}e{int(power)}" if power else mantissa
    return shortened(str(value), most)


def shortened(text: str, most: int) -> str:
    """A text of no more than so many characters."""
    return text if len(text) <= most else f"{text[: most - 1].rstrip(' ,')}…"


def spans_decades(low: float, high: float) -> bool:
    """Whether numbers from low to high are seen by their logarithms alone."""
    return low > 0 and high > _DECADES * low


# Hyper-parameters.


def dimensions(result: SweepResult) -> list[Scale]:
    """The axes of what a sweep varied, in the order of its space; where it varied nothing, of all there is."""
    names = list(dict.fromkeys(name for trial in result.trials for name in trial.config))
    names = [name for name in (result.space or names) if name != SEED]
    found = [_dimension(name, result) for name in names]
    return [scale for scale in found if not scale.is_constant] or found


def _dimension(name: str, result: SweepResult) -> Scale:
    kind, *given = result.space.get(name, [""])
    if kind in ("Range", "Integers"):
        low, high, log = given
        return Scale(name, float(low), float(high), bool(log), kind == "Integers")
    values = given[0] if kind == "Choice" else [t.config[name] for t in result.trials if name in t.config]
    values = list({json.dumps(value): value for value in values}.values())
    if all(map(is_number, values)):
        values = sorted(values)
        if len(values) > _CHOICES:
            whole = all(isinstance(value, int) for value in values)
            return Scale(name, values[0], values[-1], spans_decades(values[0], values[-1]), whole)
    return Scale(name, 0.0, len(values) - 1.0, values=tuple(values))


# Objectives.


def objective(values: Sequence[float], name: str, larger_is_better: bool) -> Scale:
    """The axis of finite objectives, from the best one to the worst that leaves the others room.

    What is far worse than most would press all others into a line: it lies beyond the axis.
    """
    found = np.clip(np.asarray(values, np.float64), -1e300, 1e300)  # room for the air around them
    if not found.size:
        return Scale(name, 0.0, 1.0)
    log = spans_decades(float(found.min()), float(found.max()))
    along = np.log10(found) if log else found
    cost = -along if larger_is_better else along
    best, worst = float(cost.min()), float(cost.max())
    far = best + 4 * (float(np.quantile(cost, 0.8)) - best)
    if found.size >= 8 and best < far < worst:
        worst = far
    inside = found[cost <= worst]
    low, high = float(inside.min()), float(inside.max())
    return Scale(name, low, high, spans_decades(low, high))


# Along an axis.


def set_ticks(axis: Any, places: list[float], texts: list[str]) -> None:
    """These, and none between them."""
    from matplotlib.ticker import NullLocator

    axis.set_minor_locator(NullLocator())
    axis.set_ticks(places, texts)


def tilt(axes: Axes, most: int) -> None:
    """Makes room for long texts below an axis: those of more than so many characters in all."""
    labels = axes.get_xticklabels()
    if sum(len(label.get_text()) for label in labels) > most:
        axes.tick_params(axis="x", rotation=30)
        for label in labels:
            label.set(ha="right", rotation_mode="anchor")


def beside(places: Any) -> Any:
    """Steps to the side for points with the same value, so that they do not hide each other: always the same ones."""
    steps = np.zeros(len(places))
    for place in np.unique(places[~np.isnan(places)]):
        mine = np.flatnonzero(places == place)
        wide = min(0.6, 0.04 * (len(mine) - 1))
        steps[mine] = wide * (np.arange(1, len(mine) + 1) * 0.6180339887 % 1.0 - 0.5)
    return steps


# All of it.


@dataclass(frozen=True)
class Sheet:
    """What the panels of a picture are drawn from.

    groups       in the order in which they were begun
    dimensions   one for each hyper-parameter
    objective    of all trials that have one
    """

    result: SweepResult
    groups: list[Group]
    dimensions: list[Scale]
    objective: Scale

    @cached_property
    def owner(self) -> Any:
        """Of each trial, group by group: the number of its group."""
        return np.repeat(np.arange(len(self.groups)), [len(group.trials) for group in self.groups])

    @cached_property
    def value(self) -> Any:
        """Of each trial: its objective."""
        return np.array([trial.value for group in self.groups for trial in group.trials])

    @cached_property
    def status(self) -> Any:
        """Of each trial: what became of it, or "off the scale" where its objective does not lie on the axis."""
        status = np.array([trial.status for group in self.groups for trial in group.trials], dtype="U16")
        inside = (self.value >= self.objective.low) & (self.value <= self.objective.high)
        status[np.isin(status, ("finished", "pruned")) & ~inside] = "off the scale"
        return status

    @classmethod
    def of(cls, result: SweepResult) -> Sheet:
        """ValueError where there is nothing to draw."""
        if not result.trials:
            raise ValueError("no trial of the sweep is done: nothing to draw")
        groups = sorted(result.groups, key=lambda group: min(trial.number for trial in group.trials))
        values = [trial.value for trial in result.trials if trial.status == "finished"]
        values = values or [trial.value for trial in result.trials if trial.status == "pruned"]
        finite = [value for value in values if math.isfinite(value)]
        return cls(result, groups, dimensions(result), objective(finite, result.metric, result.larger_is_better))

    @property
    def best(self) -> Group | None:
        """As `SweepResult.best`; None where there is none."""
        first = self.result.groups[0]
        return first if first.status == "finished" else None

    def places(self, scale: Scale) -> Any:
        """Where each group lies on the axis of a hyper-parameter."""
        return scale.places([group.config for group in self.groups])

    def headline(self, figure: Figure, colours: Mapping[str, str]) -> None:
        """Writes the best configuration above a picture, as much of it as there is room for."""
        if self.best is not None:
            room = int(11.5 * figure.get_figwidth())
            text = shortened(f"Best: {text_of(self.best.mean)} at {self.said(self.best, room)}", room)
            figure.suptitle(text, x=0.012, ha="left", color=colours["text"], fontsize=10)

    def said(self, group: Group, most: int) -> str:
        """A configuration in short: what was varied of it."""
        parts = [f"{scale.name} {text_of(group.config[scale.name])}" for scale in self.dimensions
                 if scale.name in group.config]  # fmt: skip
        return shortened(", ".join(parts), most)
