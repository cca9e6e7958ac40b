"""How a sweep goes, to look at: lines now and then, and a table that is drawn anew on a terminal."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from .space import Config
from .trials import Trial

_SECONDS_APART = 5.0  # of lines, where nobody watches a terminal


class View:
    """Nothing to see. The others override what happens."""

    def started(self, number: int, config: Config) -> None:
        """A trial was handed to a worker."""

    def found(self, trial: Trial) -> None:
        """A trial is done, now or in an earlier run."""

    def tick(self) -> None:
        """A tenth of a second went by."""

    def interrupted(self) -> None:
        """Ctrl-C was heard."""

    def close(self) -> None:
        """The sweep is over."""


class Lines(View):
    """A line on standard error every few seconds and at the end: how many trials are done, running and failed, the best
    so far and the time left."""

    def __init__(self, total: int | None, larger_is_better: bool) -> None:
        self._total, self._larger = total, larger_is_better
        self._begin = self._last = time.monotonic()
        self._counts: dict[str, int] = {}
        self._running: set[int] = set()
        self._fresh = 0  # trials done since the sweep began, by whose time that left is reckoned
        self._best = math.nan

    def started(self, number: int, config: Config) -> None:
        self._running.add(number)

    def found(self, trial: Trial) -> None:
        if trial.number in self._running:
            self._running.remove(trial.number)
            self._fresh += 1
        self._counts[trial.status] = self._counts.get(trial.status, 0) + 1
        better = trial.value > self._best if self._larger else trial.value < self._best
        if trial.status == "finished" and (better or math.isnan(self._best)):
            self._best = trial.value
        self.tick()

    def tick(self) -> None:
        now = time.monotonic()
        if now - self._last >= _SECONDS_APART:
            self._last = now
            self._say()

    def interrupted(self) -> None:
        print("fastnn: the sweep was interrupted; trials that are done are kept", file=sys.stderr)

    def close(self) -> None:
        self._say()

    def _say(self) -> None:
        print(f"fastnn sweep: {self.text()}", file=sys.stderr, flush=True)

    def text(self) -> str:
        """The line."""
        done = sum(self._counts.values())
        parts = [f"{done} of {self._total} trials done" if self._total else f"{done} trials done"]
        parts += [f"{len(self._running)} running"] if self._running else []
        parts += [f"{count} {name}" for name, count in self._counts.items() if name != "finished"]
        parts += [] if math.isnan(self._best) else [f"best {self._best:.6g}"]
        if self._total and self._fresh and self._running:
            left = (time.monotonic() - self._begin) / self._fresh * (self._total - done)
            parts.append(f"{_duration(left)} left")
        return ", ".join(parts)


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


@contextmanager
def view_of(progress: bool, total: int | None, workers: int, larger_is_better: bool) -> Iterator[View]:
    """The view for where standard error goes."""
    view: View = View()
    if progress and sys.stderr is not None:
        view = Lines(total, larger_is_better)
    try:
        yield view
    finally:
        view.close()
