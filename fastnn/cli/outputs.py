"""The files that `train` writes: the model with its preprocessing, the learning curves."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from fastnn.cli.errors import CommandError, as_command_errors
from fastnn.cli.prepare import Prepared

if TYPE_CHECKING:
    from fastnn.history import History
    from fastnn.model import Sequential


def check_outputs(options: argparse.Namespace) -> None:
    """Whether the files to be written can be, before time goes into the training."""
    if options.plot is not None:
        from fastnn.cards import check_path

        check_path(options.plot)
    if options.save is not None:
        path = Path(options.save)
        if path.is_dir() or not path.absolute().parent.is_dir():
            fault = "is a folder" if path.is_dir() else f"there is no folder {str(path.parent)!r}"
            raise CommandError(f"--save {options.save}: {fault}")


def write_outputs(
    options: argparse.Namespace, model: "Sequential", prepared: Prepared, history: "History", best: int | None
) -> tuple[list[tuple[str, str]], CommandError | None]:
    """Writes the files asked for; returns lines for the report, and the first error, to be raised after the report."""
    lines: list[tuple[str, str]] = []
    error = None
    for write in (_save, _plot):
        try:
            with as_command_errors():
                lines += write(options, model, prepared, history, best)
        except CommandError as failed:
            error = error or failed
    return lines, error


def _save(
    options: argparse.Namespace, model: "Sequential", prepared: Prepared, history: "History", best: int | None
) -> list[tuple[str, str]]:
    del history, best
    if options.save is None:
        return []
    model.save(options.save, extra={"recipe": prepared.recipe.to_json()})
    return [("Saved", f"{options.save}: predict with  python -m fastnn predict {options.save} FILE")]


def _plot(
    options: argparse.Namespace, model: "Sequential", prepared: Prepared, history: "History", best: int | None
) -> list[tuple[str, str]]:
    del model
    if options.plot is None:
        return []
    if not history.epochs:
        return [("Plotted", "nothing: no epoch was finished")]
    from fastnn.plots import learning_curves

    learning_curves(history.columns, options.plot, title=prepared.recipe.title, best_epoch=best)
    return [("Plotted", options.plot)]
