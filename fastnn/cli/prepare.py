"""From the data named on the command line to the arrays of a training; what is decided on the way is printed."""

import argparse
from dataclasses import dataclass, replace

import numpy as np

from fastnn import data
from fastnn.cli import task
from fastnn.cli.errors import CommandError
from fastnn.cli.recipe import Recipe
from fastnn.cli.report import count, note, say
from fastnn.cli.source import Reading, Source
from fastnn.data import Array
from fastnn.preprocessing import ArrayEncoder, ClassTarget, NumberTarget
from fastnn.tables import TableEncoder


@dataclass(frozen=True, eq=False)
class Prepared:
    """The arrays of a training, and how they came about; `measured` is the validation target in its own unit."""

    recipe: Recipe
    X: Array
    y: Array
    X_validation: Array
    y_validation: Array
    measured: Array


def share_of(text: str) -> float | None:
    """The share of rows for validation; None when the option names a file."""
    try:
        share = float(text)
    except ValueError:
        return None
    if not 0 < share < 1:
        raise CommandError(f"--validation {text}: a share must be above 0 and below 1")
    return share


def prepare(options: argparse.Namespace, source: Source, share: float | None, reading: Reading) -> Prepared:
    """Task, split, encoding; prints what was decided."""
    kind, reason = task.infer(source)
    chosen = options.task or kind
    target: ClassTarget | NumberTarget
    if chosen == "classify":
        target, y = task.classes(source)
    else:
        target, y = NumberTarget(source.target_name, 0.0, 1.0), task.amounts(source)
    everything = np.arange(source.rows)
    if share is None:
        rows, held = everything, everything[:0]
    else:
        rows, held = data.split_rows(source.rows, share, options.seed, y if chosen == "classify" else None)
    if isinstance(target, NumberTarget):
        target = NumberTarget.fit(source.target_name, y[rows])

    features = source.take(rows)
    notes: list[str] = []
    encoder: ArrayEncoder | TableEncoder
    if isinstance(features, np.ndarray):
        encoder = ArrayEncoder.fit(features, source.names, source.white)
    else:
        encoder, notes = TableEncoder.fit(features, options.max_categories)
    recipe = Recipe(encoder, target, source.header, source.columns, tuple(reading.missing), source.title)
    say("Data", f"{source.title}: {count(source.rows, 'row')}, {encoder.describe()}")
    note([*source.notes, *notes])
    say(
        "Task",
        f"{chosen} {task.describe(target)}",
        f"({'as asked' if options.task else f'{reason}; change it with --task'})",
    )

    X, _ = recipe.transform(source, rows, options.dtype)
    if share is None:
        other = recipe.load(options.validation, replace(reading, labels=None))
        X_held, measured = _labelled_rows(recipe, other, options)
        say("Validation", f"{other.title}: {count(len(X_held), 'row')}")
    else:
        X_held, unseen = recipe.transform(source, held, options.dtype)
        measured = y[held]
        stratified = "stratified, " if chosen == "classify" else ""
        say("Validation", f"{count(len(held), 'row')} of {source.rows:,} ({stratified}seed {options.seed})")
        note(unseen)
    if isinstance(target, NumberTarget):
        y, held_y = target.encode(y[rows], options.dtype), target.encode(measured, options.dtype)
        return Prepared(recipe, X, y, X_held, held_y, measured)
    return Prepared(recipe, X, y[rows], X_held, measured, measured)


def _labelled_rows(recipe: Recipe, source: Source, options: argparse.Namespace) -> tuple[Array, Array]:
    """Features and targets of a validation file's rows that have a target."""
    name = recipe.target.name
    if source.target is None:
        raise CommandError(f"--validation {source.title}: it has no target {name!r} to validate with")
    rows, y, notes = recipe.encode_target(source)
    if not len(rows):
        raise CommandError(f"--validation {source.title}: no row has a target {name!r} known from training")
    if len(rows) < source.rows:
        notes.append(f"left out {count(source.rows - len(rows), 'row')} of {source.title}: target missing or unknown")
    X, unseen = recipe.transform(source, rows, options.dtype)
    note([*source.notes, *notes, *unseen])
    return X, y
