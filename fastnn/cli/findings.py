"""The report on a sweep, done or at work: counts, the best configurations, what failed, how to train the best."""

import shlex
import statistics
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from fastnn.cli import words
from fastnn.cli.report import count, say
from fastnn.sweeps.space import SEED
from fastnn.sweeps.summary import SweepResult, last_line
from fastnn.sweeps.trials import Trial

_BEST, _FAILED = 10, 10  # how many of each are listed


@dataclass(frozen=True)
class Findings:
    """A result without what all configurations share.

    result      whose configurations hold only what was varied
    constants   what they share besides
    """

    result: SweepResult
    constants: dict[str, Any]

    @classmethod
    def of(cls, result: SweepResult) -> "Findings":
        """Takes them apart."""
        shared = constants(result.space)
        trials = [replace(trial, config=_without(trial.config, shared)) for trial in result.trials]
        return cls(replace(result, trials=trials, space=_without(result.space, shared)), shared)


def constants(space: Mapping[str, Any]) -> dict[str, Any]:
    """What all configurations of a described space share, without the seed."""
    return {
        name: values[0] for name, (kind, values, *_) in space.items()
        if name != SEED and kind == "Choice" and len(values) == 1
    }  # fmt: skip


def config_text(config: Mapping[str, Any], shared: Mapping[str, Any]) -> str:
    """A configuration in a line, without what all share."""
    own = _without(config, shared) or config
    return ", ".join(f"{name} {_short(value)}" for name, value in own.items())


def report(found: Findings) -> None:
    """Prints all of it."""
    result = found.result
    trials = result.trials
    if not trials:
        say("Trials", "none is done yet")
        return
    say("Trials", f"{len(trials):,} done: " + ", ".join(f"{n:,} {status}" for status, n in result.counts.items()))
    seconds = [trial.seconds for trial in trials]
    wall = f"{result.seconds:.2f} s for the sweep, " if result.seconds else ""
    say("Time", f"{wall}{sum(seconds):.2f} s of training, {statistics.median(seconds):.3g} s a trial (median)")
    print(f"\n{result.table(_BEST)}\n")
    failed = [trial for trial in trials if trial.status == "failed"]
    lines = [_failure(trial) for trial in failed[:_FAILED]]
    say("Failed", *lines, *([f"and {len(failed) - _FAILED:,} more"] if len(failed) > _FAILED else []))
    _say_best(found)


def _say_best(found: Findings) -> None:
    """The best configuration, or the best single training where none has finished all of its repeats; the command that
    trains it, where the trials are those of `train`."""
    result = found.result
    best = result.groups[0]
    finished = [trial for trial in result.trials if trial.status == "finished"]
    if best.status == "finished":
        chosen = min(best.trials, key=lambda trial: trial.number)
        say("Best", f"{result.metric} {best.mean:.6g} with {config_text(best.config, {}) or 'all of it'}")
    elif finished:
        chosen = (max if result.larger_is_better else min)(finished, key=lambda trial: trial.value)
        say(
            "Best",
            f"no configuration has finished all of its {count(result.repeats, 'training')}; the best single one:",
            f"{result.metric} {chosen.value:.6g} with {config_text(chosen.config, {})}",
        )
    else:
        say("Best", "none: no training has finished")
        return
    if words.DATA in found.constants:
        command = shlex.join(words.command(found.constants | chosen.config))
        say("", "train and keep it with", f"  python -m fastnn train {command} --save net.safetensors")


def _failure(trial: Trial) -> str:
    """The last line of what went wrong."""
    return f"trial {trial.number} ({config_text(trial.config, {})}): {last_line(trial.error) or 'no reason was kept'}"


def _without(config: Mapping[str, Any], shared: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in config.items() if name not in shared}


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
