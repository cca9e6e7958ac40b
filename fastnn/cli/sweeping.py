"""What `fastnn sweep` does: checks, reads the data, trains and reports; reports again from a results file."""

import argparse
import functools
import shlex
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

from fastnn import sweeps
from fastnn.cli import findings, network, sweepfile, words
from fastnn.cli.errors import CommandError, as_command_errors
from fastnn.cli.findings import Findings
from fastnn.cli.interrupts import one_interrupt
from fastnn.cli.prepare import Prepared, read
from fastnn.cli.report import count, say
from fastnn.cli.sweepfile import SweepFile
from fastnn.preprocessing import ClassTarget, NumberTarget

_SHOWN_FIRST = 5  # configurations of --dry-run


def show(options: argparse.Namespace) -> None:
    """`fastnn sweep --show`."""
    for name in ("workers", "trials", "results", "resume", "dry_run", "quiet"):
        if getattr(options, name):
            raise CommandError(f"--{name.replace('_', '-')} means nothing with --show")
    with as_command_errors():
        if options.plot is not None:
            _check_plot(options.plot)
        found = Findings.of(sweeps.read(options.file))
        findings.report(found)
        _draw(found, options.plot)


def sweep(options: argparse.Namespace) -> None:
    """Checks all that can be checked, reads the data, trains and reports."""
    changes = {
        name: value for name in ("workers", "trials", "results", "resume", "plot")
        if (value := getattr(options, name)) is not None
    }  # fmt: skip
    with as_command_errors():
        asked = replace(sweepfile.read(options.file), **changes)
        asked.check()
        _check_outputs(asked, options.dry_run)
        first = next(sweepfile.corners(asked.space))
        prepared = read(words.options_of(first))
        _check_fit(asked, prepared.recipe.target)
        _announce(asked, options.dry_run)
        if options.dry_run:
            return
        print(flush=True)
        with one_interrupt():
            result = _trained(asked, prepared, not options.quiet)
            found = Findings.of(result)
            findings.report(found)
            if result.stopped == "interrupted":
                again = ["python", "-m", "fastnn", "sweep", options.file, *_given(changes), "--resume"]
                say("Interrupted", f"{asked.results} keeps what is done; to go on:", f"  {shlex.join(again)}")
            else:
                say("Results", f"{asked.results}: report with  python -m fastnn sweep --show {asked.results}")
            _draw(found, asked.plot)
    if result.stopped != "interrupted" and not result.counts.get("finished"):
        raise CommandError("no training finished", code=1)


def _given(changes: dict[str, Any]) -> list[str]:
    """Options of the command line, as words."""
    return [word for name, value in changes.items() if name != "resume" for word in (f"--{name}", str(value))]


def _trained(asked: SweepFile, prepared: Prepared, progress: bool) -> Any:
    """The sweep itself."""
    rows, inputs = prepared.X.shape
    build = functools.partial(training, target=prepared.recipe.target, rows=rows, inputs=inputs)
    try:
        return sweeps.sweep(
            build, asked.space, prepared.X, prepared.y,
            validation_data=(prepared.X_validation, prepared.y_validation),
            search=asked.search, trials=asked.trials, prune=asked.prune, metric=asked.metric, seed=asked.seed,
            workers=asked.workers, executor=asked.executor, results=asked.results, resume=asked.resume,
            progress=progress,
        )  # fmt: skip
    except RuntimeError as error:  # worker processes that cannot begin
        raise CommandError(str(error), code=1) from error


def training(config: dict[str, Any], *, target: ClassTarget | NumberTarget, rows: int, inputs: int) -> Any:
    """What `fastnn.sweep` builds with: the network that `train` makes of these options, and its fit's arguments."""
    return network.built(words.options_of(config), target, rows, inputs)


def _check_outputs(asked: SweepFile, dry: bool) -> None:
    """Whether the files to be written can be, before time goes into the training."""
    path = Path(asked.results)
    if path.is_dir() or not path.absolute().parent.is_dir():
        fault = "is a folder" if path.is_dir() else f"there is no folder {str(path.parent)!r}"
        raise CommandError(f"--results {asked.results}: {fault}")
    if not (asked.resume or dry) and sweeps.results.is_begun(path):
        raise CommandError(f"{asked.results} exists: --resume goes on with it, --results names another file")
    if asked.plot is not None:
        _check_plot(asked.plot)


def _draw(found: Findings, path: str | None) -> None:
    if path is None:
        return
    if not found.result.trials:
        say("Plotted", "nothing: no training is done")
        return
    found.result.plot(path)
    say("Plotted", path)


def _check_plot(path: str) -> None:
    from fastnn.cards import check_path

    check_path(path)


def _check_fit(asked: SweepFile, target: ClassTarget | NumberTarget) -> None:
    """What can be told only when the task is known: losses and the metric."""
    from fastnn.checks import unknown_name

    for config in sweepfile.corners(asked.space):
        try:
            network.loss_of(words.options_of(config), target)
        except CommandError as error:
            raise CommandError(f"{asked.path}: {error}") from error
    scores = ("val_accuracy",) if isinstance(target, ClassTarget) else ("val_rmse", "val_r2")
    known = ("loss", "val_loss", *scores)
    if asked.metric not in known:
        raise CommandError(f"{asked.path}: [sweep] {unknown_name('metric', asked.metric, known)}")


def _announce(asked: SweepFile, dry: bool) -> None:
    """How many trainings of what; in a dry run the first of them, where they do not depend on results."""
    from fastnn.sweeps.strategies import Listed

    constant = findings.constants(asked.space.describe())
    varied = [name for name in asked.space.varied if name not in constant]
    repeats = len(asked.space.repeats)
    listed = None if asked.search == "tpe" else Listed(asked.space, asked.search, asked.trials, asked.seed)
    total = (asked.trials if listed is None else listed.total) or 0
    each = f", {count(repeats, 'seed')} each" if repeats > 1 else ""
    pruned = f", pruned by {asked.prune}" if asked.prune else ""
    names = ", ".join(varied) or "one configuration"
    say(
        "Sweep",
        f"{count(total, 'training')}, {asked.search} search of {names}{each}{pruned}",
        f"the best by {asked.metric}; results go into {asked.results}",
    )
    if not dry:
        return
    if listed is None:
        say("First", "what tpe asks for depends on results")
    else:
        first = [found[0] for found in islice(iter(listed.ask, None), _SHOWN_FIRST)]
        say("First", *(findings.config_text(config, constant) for config in first))
