"""How a sweep goes, to look at: lines now and then, or a table that is drawn anew where somebody watches a terminal."""

from __future__ import annotations

import math
import statistics
import sys
import time
from bisect import insort
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from .scales import text_of
from .space import Choice, Config, Space
from .trials import Trial

_SECONDS_APART = 5.0  # of lines, where nobody watches a terminal
_KEPT = 5  # of the best configurations


class View:
    """Nothing to see. The others override what happens."""

    def started(self, number: int, config: Config) -> None:
        """A trial was handed to a worker."""

    def reported(self, number: int, step: int, value: float) -> None:
        """A trial has come so far. The one method that is called from the workers' threads."""

    def found(self, trial: Trial) -> None:
        """A trial is done, now or in an earlier run."""

    def tick(self) -> None:
        """A tenth of a second went by."""

    def interrupted(self) -> None:
        """Ctrl-C was heard."""

    def close(self) -> None:
        """The sweep is over."""


@dataclass
class Running:
    """A trial at work: when it was begun, and the last epoch and objective that it reported."""

    config: Config
    begin: float
    step: int = 0
    value: float = math.nan


@dataclass(frozen=True)
class Standing:
    """One of the best configurations: the mean of its repeats, all of which finished, and their standard deviation."""

    mean: float
    std: float
    config: Config


class Progress(View):
    """What is known of a sweep at work. A trial costs a few microseconds, whatever their number."""

    def __init__(self, space: Space, total: int | None, metric: str, larger_is_better: bool) -> None:
        self.total, self.metric = total, metric
        self.counts: dict[str, int] = {}
        self.running: dict[int, Running] = {}
        self.best: list[Standing] = []
        self.begin = time.monotonic()
        self._sign, self._repeats = -1.0 if larger_is_better else 1.0, len(space.repeats)
        self._names = [
            name for name, given in space.items() if not (isinstance(given, Choice) and len(given.values) < 2)
        ]
        self._begun: dict[str, list[float]] = {}  # objectives of configurations whose repeats are not all done
        self._fresh = 0  # trials done since the sweep began, by whose time that left is reckoned

    def started(self, number: int, config: Config) -> None:
        """As `View.started`."""
        self.running[number] = Running(config, time.monotonic())

    def reported(self, number: int, step: int, value: float) -> None:
        """As `View.reported`."""
        running = self.running.get(number)
        if running is not None:
            running.step, running.value = step, value

    def found(self, trial: Trial) -> None:
        """As `View.found`."""
        if self.running.pop(trial.number, None) is not None:
            self._fresh += 1
        self.counts[trial.status] = self.counts.get(trial.status, 0) + 1
        value = trial.value if trial.status == "finished" else math.nan
        if self._repeats == 1:
            self._rank(trial.config, [value])
        else:
            shared = trial.shared
            key = repr(shared)  # 1, 1.0 and True are values of their own
            values = self._begun.setdefault(key, [])
            values.append(value)
            if len(values) == self._repeats:
                del self._begun[key]
                self._rank(shared, values)
        self.tick()

    def _rank(self, config: Config, values: list[float]) -> None:
        mean = math.fsum(values) / len(values)
        full = len(self.best) == _KEPT
        if not math.isnan(mean) and not (full and self._sign * (mean - self.best[-1].mean) >= 0):
            std = statistics.stdev(values) if len(values) > 1 else math.nan
            insort(self.best, Standing(mean, std, config), key=lambda standing: self._sign * standing.mean)
            del self.best[_KEPT:]

    @property
    def done(self) -> int:
        """How many trials are done, those of earlier runs included."""
        return sum(self.counts.values())

    def said(self, config: Config) -> str:
        """A configuration in short: what the sweep varies of it."""
        return ", ".join(f"{name} {text_of(config[name])}" for name in self._names if name in config)

    def text(self) -> str:
        """The line."""
        # An earlier run may have trained more than this one asks for.
        most = max(self.total or 0, self.done)
        parts = [f"{self.done} of {most} trials done" if self.total else f"{self.done} trials done"]
        parts += [f"{len(self.running)} running"] if self.running else []
        parts += [f"{count} {name}" for name, count in self.counts.items() if name != "finished"]
        parts += [f"best {self.best[0].mean:.6g}"] if self.best else []
        if self.total and self._fresh and self.running:
            left = (time.monotonic() - self.begin) / self._fresh * (self.total - self.done)
            parts.append(f"{duration(left)} left")
        return ", ".join(parts)

    def interrupted(self) -> None:
        """As `View.interrupted`."""
        print("fastnn: the sweep was interrupted; trials that are done are kept", file=sys.stderr)


class Lines(Progress):
    """A line on standard error every few seconds and at the end: how many trials are done, running and failed, the best
    so far and the time left."""

    _last: float = 0.0

    def tick(self) -> None:
        """As `View.tick`."""
        now = time.monotonic()
        if now - max(self._last, self.begin) >= _SECONDS_APART:
            self._last = now
            self.close()

    def close(self) -> None:
        """As `View.close`."""
        print(f"fastnn sweep: {self.text()}", file=sys.stderr, flush=True)


def duration(seconds: float) -> str:
    """As 0:07, 12:03 or 1:00:00."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


@contextmanager
def view_of(progress: bool, space: Space, total: int | None, metric: str, larger_is_better: bool) -> Iterator[View]:
    """The view for where standard error goes."""
    view: View = View()
    if progress and sys.stderr is not None:
        # Most sweeps run where nobody watches, and rich takes a while to import.
        kind: type[Progress] = Lines
        if sys.stderr.isatty():
            from .live import kind_of_view

            kind = kind_of_view()
        view = kind(space, total, metric, larger_is_better)
    try:
        yield view
    finally:
        view.close()
