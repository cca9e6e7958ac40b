"""The file of a sweep, in TOML: what it says, checked before anything is read or trained.

[data] and [fixed] hold options of `train`, [space] the same with lists and ranges, [sweep] says how to search.
"""

import itertools
import re
import tomllib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fastnn.checks import unknown_name
from fastnn.cli import network, words
from fastnn.cli.errors import CommandError
from fastnn.cli.words import shown
from fastnn.sweeps.space import SEED, Choice, Dimension, Integers, Range, Space
from fastnn.sweeps.strategies import proposals
from fastnn.sweeps.summary import student_t

SEARCHES, PRUNERS, EXECUTORS = ("grid", "random", "sobol", "tpe"), ("asha", "median"), ("threads", "processes")
# Options of which one decides whether another's value can be: combinations of their values are looked at, too.
_TOGETHER = (("optimizer", "lr"), ("optimizer", "momentum"), ("backend", "precision"))


@dataclass(frozen=True)
class SweepFile:
    """A sweep as its file says.

    space   with what is fixed, and the words for the data, as choices of one value
    """

    path: str
    space: Space
    results: str
    search: str = "grid"
    trials: int | None = None
    prune: str | None = None
    metric: str = "val_loss"
    seed: int = 0
    workers: int | None = None
    executor: str = "threads"
    resume: bool = False
    plot: str | None = None

    def check(self) -> None:
        """CommandError for what no search can do, and for trainings that cannot be."""
        try:
            self._check_search()
            for config in corners(self.space):
                network.check(words.options_of(config))
        except (CommandError, ValueError, TypeError) as error:
            raise CommandError(f"{self.path}: {error}") from error

    def _check_search(self) -> None:
        if self.search == "grid":
            self.space.grid()
        elif self.trials is None:
            raise ValueError(f'[sweep] search = "{self.search}": say how many trainings: trials = ..., or --trials')
        if self.metric.removeprefix("val_") == "loss" and len(_values(self.space.get("loss"))) > 1:
            raise ValueError(f'[sweep] metric = "{self.metric}": cannot compare trainings whose losses differ')
        # What takes an extra says which, before hours of training end in it.
        if self.search == "tpe" or self.prune is not None:
            import fastnn.sweeps.studies  # noqa: F401
        if self.search == "sobol":
            next(proposals(self.space, self.search, self.seed))
        if len(self.space.repeats) > 1:
            student_t(1)


def read(path: str) -> SweepFile:
    """The sweep of a file; CommandError, with the file, the table and the key, for what is not as it should be."""
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise CommandError(f"cannot read {path}: {(error.strerror or str(error)).lower()}") from error
    if content.startswith(b'{"fastnn sweep"'):
        raise CommandError(f"{path} holds the results of a sweep: --show reports on them")
    try:
        given = tomllib.loads(content.decode())
    except ValueError as error:
        raise CommandError(f"{path} is not TOML: {error}") from error
    with _located(path):
        for name, table in given.items():
            if name not in _TABLES:
                raise unknown_name("table", name, _TABLES)
            if not isinstance(table, dict):
                raise TypeError(f"{name} = {shown(table)}: expected a table, [{name}]")
    found: dict[str, Any] = {name: {} for name in _TABLES}
    for name, understand in _TABLES.items():
        with _located(f"{path}: [{name}]"):
            found[name] = understand(given.get(name, {}))
    with _located(path):
        both = found["space"].keys() & found["fixed"].keys()
        if both:
            raise ValueError(f"{min(both)} is in [space] and in [fixed]")
        space = Space(**found["space"], **found["fixed"], **{words.DATA: found["data"]})
    return SweepFile(path, space, **{"results": str(Path(path).with_suffix(".jsonl")), **found["sweep"]})


@contextmanager
def _located(where: str) -> Iterator[None]:
    """Says where in the file an error is."""
    try:
        yield
    except (CommandError, ValueError, TypeError) as error:
        raise CommandError(f"{where} {error}" if where.endswith("]") else f"{where}: {error}") from error


def _space(table: Mapping[str, Any]) -> dict[str, Dimension]:
    if not set(table) - {SEED}:
        raise ValueError("names nothing to vary: lr = [0.01, 0.1]")
    return {name: _dimension(name, value) for name, value in table.items()}


def _dimension(name: str, value: Any) -> Dimension:
    """A list is a choice, a table {from, to, log} a range."""
    option = words.action(name, varied=True)
    if isinstance(value, list):
        if not value:
            raise ValueError(f"{name} = []: has no values")
        for one in value:
            words.checked(name, one)
        try:
            return Choice(tuple(value))
        except (ValueError, TypeError) as error:
            raise type(error)(f"{name} = {shown(value)}: {str(error).split(': ', 1)[-1]}") from None
    if not isinstance(value, dict):
        raise TypeError(f"{name} = {shown(value)}: expected a list or {{from = ..., to = ...}}; one value belongs in "
                        "[fixed]")  # fmt: skip
    for key in value:
        if key not in ("from", "to", "log"):
            raise unknown_name(f"{name} key", key, ("from", "to", "log"))
    if "from" not in value or "to" not in value:
        raise ValueError(f"{name} = {shown(value)}: a range has both from and to")
    return _range(name, value, words.is_whole(option), option.type is float)


_ENDS = {"low": "from", "high": "to"}


def _range(name: str, value: Mapping[str, Any], whole: bool, real: bool) -> Dimension:
    if name == SEED:
        raise ValueError(f"{name} = {shown(value)}: expected a list of seeds, which are repeats")
    if not whole and not real:
        raise TypeError(f"{name} = {shown(value)}: a range is of numbers, expected a list")
    for end in ("from", "to"):
        if whole and type(value[end]) is not int:
            raise TypeError(f"{name} = {shown(value)}: expected whole numbers")
        words.checked(name, value[end])
    log = value.get("log", False)
    if not isinstance(log, bool):
        raise TypeError(f"{name} = {shown(value)}: log is true or false")
    try:
        return (Integers if whole else Range)(value["from"], value["to"], log)
    except ValueError as error:
        reason = re.sub(r"\b(low|high)\b", lambda end: _ENDS[end[1]], str(error).split(": ", 1)[-1])
        raise ValueError(f"{name} = {shown(value)}: {reason}") from None


def _fixed(table: Mapping[str, Any]) -> dict[str, Any]:
    return {name: words.checked(name, value) for name, value in table.items()}


def _text(value: Any) -> bool:
    return isinstance(value, str) and bool(value)


def _counting(least: int) -> Callable[[Any], bool]:
    return lambda value: type(value) is int and value >= least


# What the keys of [sweep] hold: a test, and what is expected.
_SWEEP: dict[str, tuple[Callable[[Any], bool], str]] = {
    "trials": (_counting(1), "a whole number from 1"),
    "metric": (_text, "the name of a score, such as val_accuracy"),
    "seed": (_counting(0), "a whole number from 0"),
    "workers": (_counting(1), "a whole number from 1"),
    "results": (_text, "a file's name"),
    "resume": (lambda value: isinstance(value, bool), "true or false"),
    "plot": (_text, "a file's name"),
}
_NAMES = {"search": SEARCHES, "prune": PRUNERS, "executor": EXECUTORS}


def _sweep(table: Mapping[str, Any]) -> dict[str, Any]:
    for name, value in table.items():
        if name in _NAMES:
            if value not in _NAMES[name]:
                raise unknown_name(name, value, _NAMES[name])
        elif name not in _SWEEP:
            raise unknown_name("key", name, {*_SWEEP, *_NAMES})
        elif not _SWEEP[name][0](value):
            raise TypeError(f"{name} = {shown(value)}: expected {_SWEEP[name][1]}")
    return dict(table)


_TABLES: dict[str, Callable[[Mapping[str, Any]], Any]] = {
    "data": words.data_words, "space": _space, "fixed": _fixed, "sweep": _sweep,
}  # fmt: skip


def _values(dimension: Dimension | None) -> tuple[Any, ...]:
    """All values of a choice, the ends of a range."""
    if dimension is None:
        return ()
    return dimension.values if isinstance(dimension, Choice) else (dimension.low, dimension.high)


def corners(space: Space) -> Iterator[dict[str, Any]]:
    """Configurations that have every value of the space, and all combinations of those that depend on one another."""
    values = {name: _values(dimension) for name, dimension in space.items()}
    first = {name: found[0] for name, found in values.items()}
    groups = [(name,) for name in values] + [pair for pair in _TOGETHER if set(pair) <= set(values)]
    for names in groups:
        for chosen in itertools.product(*(values[name] for name in names)):
            yield first | dict(zip(names, chosen, strict=True))
