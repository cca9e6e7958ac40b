"""What a sweep found: trials, and configurations with the mean of their repeats."""

from __future__ import annotations

import json
import math
import statistics
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from os import PathLike
from typing import TYPE_CHECKING, Any, Self

from . import results
from .space import SEED, Config
from .trials import Trial

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from pandas import DataFrame


@dataclass(frozen=True)
class Group:
    """A configuration and its repeats.

    config    without the seed
    trials    its trials that are done, in the order in which they were begun
    repeats   how many trials it is to have
    """

    config: Config
    trials: tuple[Trial, ...]
    repeats: int

    @property
    def values(self) -> list[float]:
        """The objective of the trials that finished."""
        return [trial.value for trial in self.trials if trial.status == "finished"]

    @property
    def status(self) -> str:
        """ "finished" where all repeats did; else what became of one that did not, or "incomplete"."""
        for status in ("failed", "diverged", "pruned"):
            if any(trial.status == status for trial in self.trials):
                return status
        return "finished" if len(self.trials) >= self.repeats else "incomplete"

    @property
    def mean(self) -> float:
        """Of the values; NaN where there are none."""
        return statistics.fmean(self.values) if self.values else math.nan

    @property
    def std(self) -> float:
        """Standard deviation of the values, with n - 1; NaN of fewer than two."""
        return statistics.stdev(self.values) if len(self.values) > 1 else math.nan

    @property
    def interval(self) -> tuple[float, float]:
        """The 95% confidence interval of the mean by Student's t; NaN of fewer than two."""
        if len(self.values) < 2:
            return math.nan, math.nan
        half = student_t(len(self.values) - 1) * self.std / math.sqrt(len(self.values))
        return self.mean - half, self.mean + half


@dataclass(repr=False)
class SweepResult:
    """What came of a sweep.

    trials    every trial that is done, those of an earlier run of the same sweep first
    metric    the objective; `larger_is_better` says which way
    repeats   how many trials a configuration has
    seconds   that the sweep took, without earlier runs
    stopped   "finished" or "interrupted"; "unknown" of a file, whose sweep may be running
    space     what was varied, as `Space.describe` and results files say it; {} where nobody knows
    """

    trials: list[Trial]
    metric: str
    larger_is_better: bool
    repeats: int = 1
    seconds: float = 0.0
    stopped: str = "finished"
    space: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, header: dict[str, Any], trials: list[Trial], seconds: float = 0.0, stopped: str = "unknown") -> Self:
        """The result of a sweep whose results file has this header."""
        space = header["space"]
        repeats = len(space[SEED][1]) if SEED in space else 1
        return cls(trials, header["metric"], header["mode"] == "max", repeats, seconds, stopped, space)

    @cached_property
    def groups(self) -> list[Group]:
        """Configurations with their repeats, best mean first: those whose repeats all finished, then the others."""
        found: dict[str, list[Trial]] = {}
        for trial in sorted(self.trials, key=lambda trial: trial.number):  # they end in any order
            found.setdefault(json.dumps(trial.shared, sort_keys=True), []).append(trial)
        groups = [Group(trials[0].shared, tuple(trials), self.repeats) for trials in found.values()]
        sign = -1.0 if self.larger_is_better else 1.0

        def rank(group: Group) -> tuple[bool, bool, float]:
            return group.status != "finished", math.isnan(group.mean), sign * group.mean

        return sorted(groups, key=rank)

    @property
    def best(self) -> Group:
        """The configuration with the best mean among those whose repeats all finished; ValueError without one."""
        if not self.groups or self.groups[0].status != "finished":
            why = self.reason
            raise ValueError(
                f"no configuration finished all of its repeats; the trials are {self.counts}"
                f"{f'; most often: {why}' if why else ''}"
            )
        return self.groups[0]

    @property
    def reason(self) -> str | None:
        """The commonest last line of the errors of trials that failed or diverged; None where no trial did."""
        return commonest(trial.error for trial in self.trials)

    @property
    def counts(self) -> dict[str, int]:
        """How many trials there are of each status."""
        found = dict.fromkeys(("finished", "pruned", "diverged", "failed"), 0)
        for trial in self.trials:
            found[trial.status] += 1
        return {status: count for status, count in found.items() if count} or {"finished": 0}

    def table(self, limit: int | None = 20) -> str:
        """The configurations, best first, as text: mean, standard deviation, 95% interval and number of trials.

        limit   how many; None: all
        """
        shown = self.groups[:limit]
        names = list(dict.fromkeys(name for group in shown for name in group.config))
        rows = [[*names, self.metric, "std", "95% interval", "trials", "status"]]
        for group in shown:
            interval = _interval(group)
            cells = [_cell(group.config.get(name, math.nan)) for name in names]
            cells += [_cell(group.mean), _cell(group.std), interval, f"{len(group.values)}/{group.repeats}"]
            rows.append([*cells, group.status])
        widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
        lines = ["  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in rows]
        left = len(self.groups) - len(shown)
        return "\n".join([line.rstrip() for line in lines] + ([f"and {left} more"] if left else []))

    def to_frame(self) -> DataFrame:
        """A row for each trial as a pandas data frame: its configuration, then status, value, seconds and the rest,
        with the trial's number as index; names that would stand there twice have "config." before them. Needs
        pandas."""
        try:
            from pandas import DataFrame
        except ImportError:
            raise ImportError("SweepResult.to_frame needs pandas: pip install 'fastnn[tables]'") from None
        own = ("status", "value", "seconds", "epochs", "budget", "attempts", "error")
        rows = [
            {
                **{f"config.{name}" if name in own else name: value for name, value in trial.config.items()},
                "status": trial.status, "value": trial.value, "seconds": trial.seconds, "epochs": len(trial.curve),
                "budget": trial.budget, "attempts": trial.attempts, "error": trial.error,
            }
            for trial in self.trials
        ]  # fmt: skip
        frame = DataFrame(rows, index=[trial.number for trial in self.trials])
        frame.index.name = "trial"
        return frame

    def plot(
        self, path: str | PathLike[str] | None = None, kind: str = "overview", theme: str = "light",
        x: str | None = None, y: str | None = None,
    ) -> Figure:  # fmt: skip
        """Draw the sweep.

        path    a file to write (.png, .svg, .pdf), or None: the figure is one of pyplot's, for
                `matplotlib.pyplot.show()` or a notebook; it is returned in both cases
        kind    "overview", which is "trials", the objective of each trial and the best so far, "curves", the learning
                curves of the best, and "parameters", the objective over each hyper-parameter; or one of these alone;
                "heatmap", the mean objective over two hyper-parameters; "parallel", a line through the values of each
                configuration
        theme   "light" or "dark"
        x, y    of a heat map: two hyper-parameters; None: the first ones

        Trials that failed or diverged are marks at the worse edge. Needs matplotlib. ValueError where nothing can be
        drawn.
        """
        from .pictures import draw

        return draw(self, path, kind, theme, x, y)

    def __repr__(self) -> str:
        said = ", ".join(f"{count} {status}" for status, count in self.counts.items())
        best = ""
        if self.groups and self.groups[0].status == "finished":
            best = f"; best {self.metric} {self.best.mean:.6g} at {self.best.config}"
        why = f"; most often: {self.reason}" if self.reason else ""
        return f"<SweepResult: {said}{best}; {self.stopped}{why}>"


def read(path: str | PathLike[str]) -> SweepResult:
    """What a results file says of its sweep, which may be running; ResultsError where it is no such file."""
    return SweepResult.of(*results.read(path))


def commonest(errors: Iterable[str | None]) -> str | None:
    """The last line that most of the errors have, of equals the first."""
    lines = Counter(line for error in errors if (line := last_line(error)))
    return lines.most_common(1)[0][0] if lines else None


def last_line(error: str | None) -> str:
    """Of an error, as it can be printed: without what a terminal would take for orders."""
    lines = (error or "").strip().splitlines()
    return "".join(c if c.isprintable() else "?" for c in lines[-1]) if lines else ""


def _interval(group: Group) -> str:
    try:
        low, high = group.interval
    except ImportError:
        return "needs scipy"
    return "" if math.isnan(low) else f"{low:.4g} to {high:.4g}"


def student_t(degrees: int) -> float:
    """The two-sided 95% quantile of Student's t."""
    try:
        from scipy.special import stdtrit
    except ImportError:
        raise ImportError("confidence intervals need scipy: pip install 'fastnn[sweeps]'") from None
    return float(stdtrit(degrees, 0.975))


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return "" if math.isnan(value) else f"{value:.4g}"
    return str(value)
