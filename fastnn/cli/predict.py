"""Apply a network that `train --save` wrote to new data.

The file takes the same form as the training data and is prepared by what the model carries: cells may be missing,
categories may be new, columns may be more, but not less. Predictions go to --output, or to standard output, as CSV;
remarks go to standard error. Where the file has the target too, the predictions are scored.
"""

import argparse
import csv
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

import numpy as np

from fastnn.cli import options as options_
from fastnn.cli.errors import CommandError, as_command_errors
from fastnn.cli.recipe import Recipe
from fastnn.cli.report import count, significant
from fastnn.cli.source import Reading, Source
from fastnn.cli.train import predicted_classes
from fastnn.data import Array
from fastnn.preprocessing import ClassTarget

if TYPE_CHECKING:
    from fastnn.model import Sequential

USAGE = "fastnn predict MODEL DATA [--output FILE] [options]"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `fastnn predict`."""
    parser.add_argument("model", help="a file that fastnn train --save wrote")
    parser.add_argument("data", help="the rows to predict")
    parser.add_argument("--output", metavar="FILE", help="write the predictions there (CSV) instead of printing them")
    parser.add_argument("--probabilities", action="store_true", help="also a column with the probability of each class")
    options_.add_reading_arguments(parser.add_argument_group("reading the data"))


def run(options: argparse.Namespace) -> int:
    """`fastnn predict`."""
    with as_command_errors():
        model, recipe = _load(options.model)
        if options.output is not None and not Path(options.output).absolute().parent.is_dir():
            raise CommandError(f"--output {options.output}: there is no folder {str(Path(options.output).parent)!r}")
        reading = Reading(options.header, options.delimiter, options.missing, options.features, options.labels)
        source = recipe.load(options.data, reading)
        X, unseen = recipe.transform(source, dtype=model.dtype)
        _remark([*source.notes, *unseen])
        outputs = model.predict(X)
        if not np.isfinite(outputs).all():
            raise CommandError(f"{options.data}: some outputs of the network are not finite")
        table = _table(recipe, outputs, options.probabilities)
        if options.output is not None:
            with open(options.output, "w", newline="", encoding="utf-8") as file:
                _write(file, *table)
            print(f"{count(len(outputs), 'prediction')} written to {options.output}", file=sys.stderr)
    if options.output is None:
        _write(sys.stdout, *table)
    with as_command_errors():
        score = _score(recipe, source, outputs)
    if score:
        print(score, file=sys.stderr)
    return 0


def _load(path: str) -> tuple["Sequential", Recipe]:
    """The model and what prepares its data."""
    from fastnn.model import load
    from fastnn.storage import read_extra

    if not Path(path).is_file():
        raise CommandError(f"there is no model file {path}")
    extra = read_extra(path)
    if not isinstance(extra, dict) or "recipe" not in extra:
        raise CommandError(f"{path} holds a model without preprocessing: use it from Python with fastnn.load({path!r})")
    try:
        recipe = Recipe.from_json(extra["recipe"])
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise CommandError(f"{path}: the stored preprocessing is damaged ({type(error).__name__}: {error})") from error
    return load(path), recipe


def _remark(lines: Iterable[str]) -> None:
    for line in lines:
        print(f"- {line}", file=sys.stderr)


def _table(recipe: Recipe, outputs: Array, probabilities: bool) -> tuple[list[str], Iterable[Sequence[object]]]:
    """Names and rows of the predictions: the class and its probability, or the number in the target's unit."""
    target = recipe.target
    if not isinstance(target, ClassTarget):
        return ["prediction"], ([f"{value:.9g}"] for value in target.decode(outputs[:, 0]).tolist())
    shares = _probabilities(outputs)
    numbers = predicted_classes(outputs)
    labels = target.decode(numbers).tolist()
    certain = shares[np.arange(len(shares)), numbers]
    if not probabilities:
        return ["prediction", "probability"], ([label, f"{p:.4f}"] for label, p in zip(labels, certain, strict=True))
    names = [f"probability of {name}" for name in target.classes]
    rows = ([label, *(f"{p:.4f}" for p in row)] for label, row in zip(labels, shares.tolist(), strict=True))
    return ["prediction", *names], rows


def _probabilities(outputs: Array) -> Array:
    """(rows, classes) float64 from logits: softmax, which for the one logit of two classes is the sigmoid."""
    logits = outputs.astype(np.float64)
    if logits.shape[1] == 1:
        logits = np.hstack((np.zeros_like(logits), logits))
    shares = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(shares / shares.sum(axis=1, keepdims=True))


def _write(file: TextIO, names: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(names)
    writer.writerows(rows)
    file.flush()


def _score(recipe: Recipe, source: Source, outputs: Array) -> str:
    """How good the predictions are on the rows whose target is there; "" without any."""
    from fastnn.metrics import r2, rmse

    if source.target is None:
        return ""
    rows, y, notes = recipe.encode_target(source)
    _remark(notes)
    if not len(rows):
        return ""
    name = recipe.target.name
    where = f"on {count(len(rows), 'row')} with {name!r}"
    if isinstance(recipe.target, ClassTarget):
        right = int((predicted_classes(outputs[rows]) == y).sum())
        return f"accuracy {right / len(rows):.4f} {where}"
    values = recipe.target.decode(outputs[rows, 0])
    return f"RMSE {significant(rmse(values, y))}, R2 {r2(values, y):.4f} {where}"
