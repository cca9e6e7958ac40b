"""What a sweep varies: named values to choose from, and ranges to draw from.

A configuration is a dict of JSON values. Drawing goes by points of the unit cube, one coordinate for each name, so that
random numbers, Sobol's sequence and a grid share one definition of what a range means.
"""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, TypeAlias

import numpy as np

from fastnn import checks
from fastnn.described import description

Config: TypeAlias = dict[str, Any]
SEED = "seed"
"""The name whose values are repeats of one configuration."""


@description
class Choice:
    """One of some values: strings, numbers, booleans or None."""

    values: tuple[Any, ...]

    def __post_init__(self) -> None:
        values = tuple(_plain(value, "Choice") for value in self.values)
        if not values:
            raise ValueError("Choice(values=()): has no values")
        if len({_text(value) for value in values}) < len(values):
            raise ValueError(f"Choice(values={values!r}): has a value twice")
        object.__setattr__(self, "values", values)

    def at(self, u: float) -> Any:
        """The value at a number from 0 up to, not including, 1."""
        return self.values[min(int(u * len(self.values)), len(self.values) - 1)]


@description
class Range:
    """Numbers from low to high, both included; evenly by their size, or by their logarithm."""

    low: float
    high: float
    log: bool = False

    def __post_init__(self) -> None:
        for name in ("low", "high"):
            object.__setattr__(self, name, checks.number("Range", name, getattr(self, name)))
        _check_ends(self)

    def at(self, u: float) -> float:
        """The number at a share from 0 to 1 of the range."""
        if self.log:
            value = math.exp(math.log(self.low) + u * (math.log(self.high) - math.log(self.low)))
        else:
            value = self.low + u * (self.high - self.low)
        return min(max(value, self.low), self.high)


@description
class Integers:
    """Whole numbers from low to high, both included; evenly, or by their logarithm."""

    low: int
    high: int
    log: bool = False

    def __post_init__(self) -> None:
        for name in ("low", "high"):
            object.__setattr__(self, name, checks.integer("Integers", name, getattr(self, name)))
        _check_ends(self)

    def at(self, u: float) -> int:
        """The number at a share from 0 up to, not including, 1 of the range: each as likely, or by its logarithm."""
        if self.log:
            low, high = math.log(self.low - 0.5), math.log(self.high + 0.5)
            value = round(math.exp(low + u * (high - low)))
        else:
            value = self.low + int(u * (self.high - self.low + 1))
        return min(max(value, self.low), self.high)


Dimension: TypeAlias = Choice | Range | Integers


def uniform(low: float, high: float) -> Range:
    """Numbers from low to high, for a `Space`."""
    return Range(low, high)


def log_uniform(low: float, high: float) -> Range:
    """Numbers from low to high whose logarithms are spread evenly, for a `Space`: learning rates, penalties."""
    return Range(low, high, log=True)


def integers(low: int, high: int, log: bool = False) -> Integers:
    """Whole numbers from low to high, both included, for a `Space`."""
    return Integers(low, high, log)


class Space(Mapping[str, Dimension]):
    """What a sweep varies, by name.

        fnn.Space(lr=fnn.log_uniform(1e-4, 1e-1), width=[32, 64, 128], optimizer=["adam", "rmsprop"], seed=range(5))

    A list, a tuple or a range is a choice of its values; `uniform`, `log_uniform` and `integers` are ranges; anything
    else is one value that all configurations have. Values are strings, numbers, booleans or None: `build` makes objects
    of them. The values of `seed` are repeats: each configuration is trained with all of them, and its results are
    reported together.
    """

    def __init__(self, **dimensions: Any) -> None:
        if not set(dimensions) - {SEED}:
            raise ValueError("Space(): names nothing to vary")
        self._dimensions = {name: _dimension(name, value) for name, value in dimensions.items()}
        if isinstance(self._dimensions.get(SEED), (Range, Integers)):
            raise ValueError(f"Space(seed={dimensions[SEED]!r}): expected a list of seeds, which are repeats")

    def __getitem__(self, name: str) -> Dimension:
        return self._dimensions[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._dimensions)

    def __len__(self) -> int:
        return len(self._dimensions)

    def __repr__(self) -> str:
        return f"Space({', '.join(f'{name}={value!r}' for name, value in self.items())})"

    @property
    def varied(self) -> dict[str, Dimension]:
        """The dimensions of a configuration, without its repeats."""
        return {name: dimension for name, dimension in self.items() if name != SEED}

    @property
    def repeats(self) -> tuple[dict[str, Any], ...]:
        """What is added to a configuration for each repeat: its seed, or once nothing."""
        seeds = self._dimensions.get(SEED)
        return tuple({SEED: seed} for seed in seeds.values) if isinstance(seeds, Choice) else ({},)

    def grid(self) -> Iterator[Config]:
        """Every configuration, the last name varying fastest; a ValueError where a name has a range."""
        for name, dimension in self.varied.items():
            if not isinstance(dimension, Choice):
                raise ValueError(f"a grid needs lists: {name} is {dimension!r}; give its values, or another search")
        values = [dimension.values for dimension in self.varied.values() if isinstance(dimension, Choice)]
        return (dict(zip(self.varied, chosen, strict=True)) for chosen in itertools.product(*values))

    def at(self, point: Iterable[float]) -> Config:
        """The configuration at a point of the unit cube, a coordinate for each varied name."""
        return {name: dimension.at(float(u)) for (name, dimension), u in zip(self.varied.items(), point, strict=True)}

    def describe(self) -> dict[str, Any]:
        """The space as JSON values, for results files."""
        return {name: [type(value).__name__, *vars(value).values()] for name, value in self.items()}


def _dimension(name: str, value: Any) -> Dimension:
    if isinstance(value, (Choice, Range, Integers)):
        return value
    if isinstance(value, np.ndarray) and value.ndim == 0:
        value = value.item()
    if isinstance(value, (list, tuple, range, np.ndarray)):
        if not len(value):
            raise ValueError(f"Space({name}={value!r}): has no values")
        try:
            return Choice(tuple(value))
        except (TypeError, ValueError) as error:
            raise type(error)(f"Space({name}=...): {error}") from None
    return Choice((_plain(value, f"Space({name}=...)"),))


def _plain(value: Any, owner: str) -> Any:
    """A value as JSON keeps it."""
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, (str, bool, int)):
        return value
    if isinstance(value, float):
        if not math.isfinite(value):
            raise ValueError(f"{owner}: {value!r} is not finite")
        return value
    raise TypeError(
        f"{owner}: {value!r} is {type(value).__name__}, expected strings, numbers, booleans or None, of which build "
        "makes objects"
    )


def _text(value: Any) -> str:
    return json.dumps(value)


def _check_ends(given: Range | Integers) -> None:
    if not given.low < given.high:
        raise ValueError(f"{given!r}: low must be below high")
    if given.log and given.low <= 0:
        raise ValueError(f"{given!r}: low must be above 0 for a logarithm")
