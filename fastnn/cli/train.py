"""Train a network on a data set or a file, and say how good it became.

The data are one of
  digits, iris, wine, breast_cancer, diabetes   bundled with scikit-learn
  a table in a text file (CSV, TSV ...)         with --target; header, delimiter and missing cells are told from it
  an .npz file                                  arrays X and y, or those that --features and --target name
  an IDX file (MNIST's format)                  images; the labels beside it, or from --labels
and any of the files may be gzipped. Rows are split by --seed; medians, categories and scales are taken from the
training rows only, and saved with the model by --save.
"""

import argparse
import sys
from typing import TYPE_CHECKING, Any

import numpy as np

from fastnn.cli import network
from fastnn.cli import options as options_
from fastnn.cli.errors import CommandError, as_command_errors
from fastnn.cli.interrupts import Patience, one_interrupt
from fastnn.cli.outputs import check_outputs, write_outputs
from fastnn.cli.prepare import Prepared, read
from fastnn.cli.report import carried_out, count, note, say, significant
from fastnn.data import Array
from fastnn.preprocessing import ClassTarget

if TYPE_CHECKING:
    from fastnn.history import History
    from fastnn.model import Sequential

USAGE = "fastnn train DATA [--target COLUMN] [options]"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `fastnn train`."""
    parser.add_argument("data", help="a bundled set or a file, see above")
    options_.add_data_arguments(parser.add_argument_group("reading the data"))
    options_.add_network_arguments(parser.add_argument_group("network"))
    options_.add_training_arguments(parser.add_argument_group("training"))
    output = parser.add_argument_group("output")
    output.add_argument("--save", metavar="FILE", help="write the model with its preprocessing (.safetensors)")
    output.add_argument("--plot", metavar="FILE", help="draw the learning curves (.png, .svg or .pdf)")
    output.add_argument("--quiet", action="store_true", help="print nothing during training")


def run(options: argparse.Namespace) -> int:
    """`fastnn train`."""
    return carried_out(lambda: _train(options))


def _train(options: argparse.Namespace) -> None:
    """Reads, trains, writes the files asked for, and then reports: what was reached is safe before it is printed."""
    with as_command_errors():
        network.check(options)
        check_outputs(options)
        prepared = read(options)
        model, given = network.built(options, prepared.recipe.target, *prepared.X.shape)
        say(
            "Training",
            f"{given['loss'].name}, {given['optimizer']}, batches of {given['batch_size']}",
            f"at most {count(options.epochs, 'epoch')}"
            + (f", until {options.patience} in a row bring no better validation loss" if options.patience else ""),
        )
    print(f"\n{model.summary()}\n", flush=True)
    with one_interrupt() as patience:
        history, best = _fit(options, model, prepared, given, patience)
        written, error = write_outputs(options, model, prepared, history, best)
        if not options.quiet:
            print()
        _report(model, prepared, history, best)
        for label, line in written:
            say(label, line)
        if error is not None:
            raise error


def _fit(
    options: argparse.Namespace, model: "Sequential", prepared: Prepared, given: dict[str, Any], patience: Patience
) -> tuple["History", int | None]:
    """Trains; returns the history and the epoch whose weights were kept (None: the last one's)."""
    from fastnn.bound import NonFiniteLoss
    from fastnn.callbacks import ProgressBar

    stopping = given["callbacks"]
    arguments = given | {
        "validation_data": (prepared.X_validation, prepared.y_validation),
        "callbacks": [patience, *stopping],
        "progress": False if options.quiet else ProgressBar(lines=True, file=sys.stdout),
    }
    try:
        with as_command_errors():
            history = model.fit(prepared.X, prepared.y, **arguments)
    except NonFiniteLoss as error:
        raise CommandError(str(error), code=1) from error
    return history, stopping[0].best_epoch if stopping else None


def _report(model: "Sequential", prepared: Prepared, history: "History", best: int | None) -> None:
    """The scores of the weights that were kept, and what the training took."""
    from fastnn.kernels import objects
    from fastnn.metrics import r2, rmse

    if history.stopped == "interrupted":
        say("Interrupted", f"after {count(history.epochs, 'epoch')}: the network is as trained so far")
    elif history.stopped != "finished":
        say("Stopped", history.stopped)
    outputs = model.predict(prepared.X_validation)
    target = prepared.recipe.target
    kept = f", weights of epoch {best}" if best is not None else ""
    rows = len(outputs)
    if isinstance(target, ClassTarget):
        right = int((predicted_classes(outputs) == prepared.measured).sum())
        say("Result", f"validation accuracy {right / rows:.4f} ({right:,} of {count(rows, 'row')}{kept})")
    else:
        values = target.decode(outputs[:, 0])
        error, explained = rmse(values, prepared.measured), r2(values, prepared.measured)
        say("Result", f"validation RMSE {significant(error)}, R2 {explained:.4f} ({count(rows, 'row')}{kept})")
    say(
        "Speed",
        f"{history.seconds:.2f} s for {count(history.epochs, 'epoch')}, {history.samples_per_second:,.0f} samples per "
        f"second in training steps, {history.backend} kernels, {count(history.threads, 'thread')}",
    )
    if objects.compiled:
        note([f"before that {count(len(objects.compiled), 'kernel')} had to be compiled, which is not part of this"])


def predicted_classes(outputs: Array) -> Array:
    """Class numbers (rows,) from logits (rows, classes), or from the one logit of binary cross-entropy (rows, 1)."""
    if outputs.shape[1] == 1:
        return (outputs[:, 0] > 0).astype(np.int64)
    return np.asarray(outputs.argmax(axis=1))
