"""Trials: what one training of a sweep was given and what came of it, as a line of JSON."""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal, TypeAlias

from .space import SEED, Config

Status: TypeAlias = Literal["finished", "pruned", "diverged", "failed"]


def key_of(config: Config, budget: int | None) -> str:
    """What a trial is found again by: a hash of its configuration, seed included, and its budget."""
    text = json.dumps([config, budget], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Trial:
    """One training, done.

    number      in the order in which they were begun, from 0
    config      what `build` or `train` was given, the seed included
    budget      what `train` was given besides; None where there is none
    status      "finished"; "pruned": stopped early; "diverged": no longer finite; "failed": an error, or a dead worker
    value       the objective; NaN where there is none
    scores      all numbers of its last epoch, or of the one whose weights were kept
    curve       the objective after each epoch, or as reported
    seconds     from its start to its end, in its worker
    error       the traceback of a failed trial, or why it counts as one
    attempts    how many times it was begun, as far as is known: what Dask began again and finished counts as one
    version     of fastnn, and what is known of the code that trained
    """

    number: int
    config: Config
    budget: int | None = None
    status: Status = "finished"
    value: float = math.nan
    scores: dict[str, float] = field(default_factory=dict)
    curve: tuple[float, ...] = ()
    seconds: float = 0.0
    error: str | None = None
    attempts: int = 1
    version: str = ""

    @property
    def key(self) -> str:
        """Of its configuration, seed and budget."""
        return key_of(self.config, self.budget)

    @property
    def seed(self) -> Any:
        """Of the configuration; None where it has none."""
        return self.config.get(SEED)

    @property
    def shared(self) -> Config:
        """The configuration without its seed, which its repeats share."""
        return {name: value for name, value in self.config.items() if name != SEED}

    def line(self) -> str:
        """One line of JSON; numbers that are not finite are written by name, as strings."""
        given = {"key": self.key, **asdict(self)}
        return json.dumps(_written(given), allow_nan=False)

    @classmethod
    def from_line(cls, line: str) -> Trial:
        """The trial of such a line; ValueError where it is none."""
        try:
            found = json.loads(line)
            given = {field.name: found[field.name] for field in fields(cls)}
            given["value"] = _number(given["value"])
            given["scores"] = {name: _number(value) for name, value in given["scores"].items()}
            given["curve"] = tuple(_number(value) for value in given["curve"])
            return cls(**given)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise ValueError(f"no trial: {type(error).__name__}: {error}") from None


_NAMES = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}


def _written(value: Any) -> Any:
    """JSON has no NaN and no infinities: they are written by name."""
    if isinstance(value, float) and not math.isfinite(value):
        return json.dumps(value)
    if isinstance(value, dict):
        return {name: _written(one) for name, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_written(one) for one in value]
    return value


def _number(value: Any) -> float:
    return _NAMES[value] if isinstance(value, str) else float(value)
