"""From the data named on the command line to the arrays of a training; what is decided on the way is printed."""

import argparse
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fastnn import data
from fastnn.cli import task
from fastnn.cli.errors import CommandError
from fastnn.cli.recipe import Recipe
from fastnn.cli.report import count, note, say
from fastnn.cli.source import Reading, Source, load
from fastnn.data import Array
from fastnn.encoding import TableEncoder
from fastnn.preprocessing import ArrayEncoder, ClassTarget, NumberTarget

_LEAST_ROWS = 10


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


def read(options: argparse.Namespace) -> Prepared:
    """The data that the options of `train` name, prepared for a training; prints what was decided."""
    share = share_of(options.validation)
    if share is None and options.split_seed is not None:
        raise CommandError(f"--split-seed means nothing here: --validation {options.validation} is a file of its own")
    reading = Reading(options.header, options.delimiter, options.missing, options.features, options.labels)
    source = load(options.data, options.target, options.drop, reading)
    source.drop_rows_without_target()
    if source.rows < _LEAST_ROWS:
        found = count(source.rows, "row")
        raise CommandError(
            f"{source.title} has {found} to learn from: at least {_LEAST_ROWS} are needed{source.dropped_rows()}"
        )
    return _prepare(options, source, share, reading)


def _prepare(options: argparse.Namespace, source: Source, share: float | None, reading: Reading) -> Prepared:
    """Task, split, encoding; prints what was decided."""
    target, y, why = _target(options, source)
    seed = options.seed if options.split_seed is None else options.split_seed
    if share is None:
        rows, held = np.arange(source.rows), np.arange(0)
    else:
        labels = y if isinstance(target, ClassTarget) else None
        rows, held = data.split_rows(source.rows, share, seed, labels)
    if isinstance(target, NumberTarget):
        target = NumberTarget.fit(target.name, y[rows])
    recipe, notes = _recipe(options, source, rows, target, reading)
    say("Data", f"{source.title}: {count(source.rows, 'row')}, {recipe.encoder.describe()}")
    note([*source.notes, *notes])
    say("Task", f"{task.describe(target)}", f"({why})")

    X, _ = recipe.transform(source, rows, options.dtype)
    if share is None:
        X_held, measured = _validation_file(recipe, options, reading)
    else:
        X_held, unseen = recipe.transform(source, held, options.dtype)
        measured = y[held]
        stratified = "stratified, " if isinstance(target, ClassTarget) else ""
        say("Validation", f"{count(len(held), 'row')} of {source.rows:,} ({stratified}seed {seed})")
        note(unseen)
    if isinstance(target, ClassTarget):
        return Prepared(recipe, X, y[rows], X_held, measured, measured)
    encoded = target.encode(y[rows], options.dtype), target.encode(measured, options.dtype)
    return Prepared(recipe, X, encoded[0], X_held, encoded[1], measured)


def _target(options: argparse.Namespace, source: Source) -> tuple[ClassTarget | NumberTarget, Array, str]:
    """The target (a NumberTarget not fitted yet), class numbers or values of all rows, and why this task."""
    if options.task is None:
        task.refuse_numbers_with_texts(source)
    told, reason = task.infer(source)
    why = "the task asked for" if options.task else f"{reason}; change it with --task"
    if (options.task or told) == "classify":
        return *task.classes(source), why
    return NumberTarget(source.target_name, 0.0, 1.0), task.amounts(source), why


def _recipe(
    options: argparse.Namespace, source: Source, rows: Array, target: ClassTarget | NumberTarget, reading: Reading
) -> tuple[Recipe, list[str]]:
    """The encoder fitted to the training rows, all that later files need, and remarks on the columns."""
    features = source.take(rows)
    notes: list[str] = []
    encoder: ArrayEncoder | TableEncoder
    if isinstance(features, np.ndarray):
        white = source.white if options.scale is None else None
        encoder = ArrayEncoder.fit(features, source.names, white, options.scale or "standard")
    else:
        encoder, notes = TableEncoder.fit(features, options.max_categories, options.scale or "standard")
    recipe = Recipe(
        encoder=encoder,
        target=target,
        header=source.header,
        columns=source.columns,
        missing=tuple(reading.missing),
        title=Path(source.title).name,
        features=reading.features,
    )
    return recipe, notes


def _validation_file(recipe: Recipe, options: argparse.Namespace, reading: Reading) -> tuple[Array, Array]:
    """Features and targets of the rows of --validation FILE."""
    # The array's name and the missing texts are in the recipe already; labels are found beside the images.
    other = recipe.load(options.validation, Reading(reading.header, reading.delimiter))
    X, y, notes = _labelled_rows(recipe, other, options)
    say("Validation", f"{other.title}: {count(len(X), 'row')}")
    note(notes)
    return X, y


def _labelled_rows(recipe: Recipe, source: Source, options: argparse.Namespace) -> tuple[Array, Array, list[str]]:
    """Features and targets of a validation file's rows that have a target, and remarks."""
    name = recipe.target.name
    if source.target is None:
        raise CommandError(f"--validation {source.title}: the file has no target {name!r} to validate with")
    rows, y, notes = recipe.encode_target(source)
    if not len(rows):
        raise CommandError(f"--validation {source.title}: no row has a target {name!r} known from training")
    if len(rows) < source.rows:
        notes.append(f"left out {count(source.rows - len(rows), 'row')} of {source.title}: target missing or unknown")
    X, unseen = recipe.transform(source, rows, options.dtype)
    return X, y, [*source.notes, *notes, *unseen]
