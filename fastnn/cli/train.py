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
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from fastnn.cli import options as options_
from fastnn.cli.errors import CommandError, as_command_errors
from fastnn.cli.interrupts import Patience, one_interrupt
from fastnn.cli.outputs import check_outputs, write_outputs
from fastnn.cli.prepare import Prepared, prepare, share_of
from fastnn.cli.report import count, note, say, significant, steady_output
from fastnn.cli.source import Reading, load
from fastnn.data import Array
from fastnn.preprocessing import SCALINGS, ClassTarget, NumberTarget

if TYPE_CHECKING:
    from fastnn.history import History
    from fastnn.model import Sequential

USAGE = "fastnn train DATA [--target COLUMN] [options]"
_LEAST_ROWS = 10
_CLOSED_PIPE = 141  # the exit code that shells give a program ended by SIGPIPE
# Not He's, the choice of Dense for ReLU: tables often have few columns, for which He's first weights are so large that
# small sets are learnt by heart. He -> Xavier, means of 10 seeds: iris .887 -> .940, diabetes RMSE 58.1 -> 55.0; of 3
# seeds: California housing 51,900 -> 50,600. Digits, wine, breast cancer, Adult, MNIST: less than their noise.
_INIT = "xavier_uniform"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `fastnn train`."""
    parser.add_argument("data", help="a bundled set or a file, see above")
    reading = parser.add_argument_group("reading the data")
    reading.add_argument("--target", help="what to predict: a column's name or number (from 0; -1 is the last)")
    reading.add_argument("--task", choices=("classify", "regress"), help="instead of the one told from the target")
    reading.add_argument("--drop", type=options_.names, default=(), metavar="COLUMNS", help="to leave out: a,b,c")
    options_.add_reading_arguments(reading)
    reading.add_argument(
        "--validation",
        default="0.2",
        metavar="SHARE|FILE",
        help="share of the rows kept for validation, or a file of its own (default 0.2)",
    )
    reading.add_argument(
        "--max-categories", type=options_.positive, default=100, metavar="N", help="of a text column (100)"
    )
    reading.add_argument(
        "--scale",
        choices=tuple(SCALINGS),
        help="columns of numbers: to deviation 1, to 0..1, by median and quartiles, or not (standard; of images, white "
        "is 1)",
    )

    network = parser.add_argument_group("network")
    network.add_argument(
        "--hidden",
        type=options_.widths,
        default=(128, 64),
        metavar="WIDTHS",
        help="of the hidden layers, or none (128,64)",
    )
    network.add_argument("--activation", default="relu", help="of the hidden layers (relu)")
    network.add_argument("--init", default=_INIT, metavar="NAME", help=f"weights of the hidden layers ({_INIT})")
    network.add_argument("--batch-norm", action="store_true", help="batch normalisation after each hidden layer")
    network.add_argument("--dropout", type=float, default=0.0, metavar="RATE", help="after each hidden layer (0)")
    network.add_argument("--dtype", choices=("float32", "float64"), default="float32", help="(float32)")

    training = parser.add_argument_group("training")
    training.add_argument("--epochs", type=options_.positive, default=30, help="at most (30)")
    training.add_argument("--batch-size", type=options_.positive, metavar="ROWS", help="(8 to 128, by the data)")
    training.add_argument("--optimizer", default="adam", help="a name that `fastnn optimizers` lists (adam)")
    training.add_argument("--lr", type=float, metavar="RATE", help="learning rate (the optimizer's own default)")
    training.add_argument("--momentum", type=float, help="of sgd (0)")
    training.add_argument("--loss", help="(cross_entropy to classify, mse to regress)")
    training.add_argument(
        "--patience",
        type=options_.whole,
        default=10,
        metavar="EPOCHS",
        help="without a better validation loss; 0: no early stop (10)",
    )
    training.add_argument("--seed", type=options_.whole, default=0, help="of split, weights, order and dropout (0)")
    training.add_argument("--threads", type=options_.positive, default=1, help="(1; see fastnn info)")
    training.add_argument("--backend", default="auto", help="auto, reference, numba or c (auto)")
    training.add_argument("--precision", help="bf16 rounds the operands of products in training (not rounded)")

    output = parser.add_argument_group("output")
    output.add_argument("--save", metavar="FILE", help="write the model with its preprocessing (.safetensors)")
    output.add_argument("--plot", metavar="FILE", help="draw the learning curves (.png, .svg or .pdf)")
    output.add_argument("--quiet", action="store_true", help="print nothing during training")


def run(options: argparse.Namespace) -> int:
    """`fastnn train`."""
    with steady_output() as streams:
        _train(options)
    failure = next((stream.failure for stream in streams if stream.failure is not None), None)
    if isinstance(failure, BrokenPipeError):
        return _CLOSED_PIPE
    if failure is not None:
        raise CommandError(f"the report could not be printed: {(failure.strerror or str(failure)).lower()}", code=1)
    return 0


def _train(options: argparse.Namespace) -> None:
    """Reads, trains, writes the files asked for, and then reports: what was reached is safe before it is printed."""
    with as_command_errors():
        optimizer = _optimizer(options)
        _check_network(options)
        check_outputs(options)
        share = share_of(options.validation)
        reading = Reading(options.header, options.delimiter, options.missing, options.features, options.labels)
        source = load(options.data, options.target, options.drop, reading)
        source.drop_rows_without_target()
        if source.rows < _LEAST_ROWS:
            found = count(source.rows, "row")
            raise CommandError(
                f"{source.title} has {found} to learn from: at least {_LEAST_ROWS} are needed{source.dropped_rows()}"
            )
        prepared = prepare(options, source, share, reading)
        loss = _loss(options.loss, prepared.recipe.target)
        batch_size = options.batch_size or _batch_size(len(prepared.X))
        model = _network(options, prepared, loss)
        say(
            "Training",
            f"{loss.name}, {optimizer}, batches of {batch_size}",
            f"at most {count(options.epochs, 'epoch')}"
            + (f", until {options.patience} in a row bring no better validation loss" if options.patience else ""),
        )
    print(f"\n{model.summary()}\n", flush=True)
    with one_interrupt() as patience:
        history, best = _fit(options, model, prepared, loss, optimizer, batch_size, patience)
        written, error = write_outputs(options, model, prepared, history, best)
        if not options.quiet:
            print()
        _report(model, prepared, history, best)
        for label, line in written:
            say(label, line)
        if error is not None:
            raise error


def _optimizer(options: argparse.Namespace) -> Any:
    """The optimizer that the options name, with their hyper-parameters in it."""
    from fastnn.optimizers import get_optimizer

    optimizer: Any = get_optimizer(options.optimizer)
    changes = {name: value for name in ("lr", "momentum") if (value := getattr(options, name)) is not None}
    for name in changes:
        if name not in optimizer.__dataclass_fields__:
            raise CommandError(f"--{name}: the optimizer {options.optimizer!r} has none")
    return replace(optimizer, **changes)


def _check_network(options: argparse.Namespace) -> None:
    """Makes every layer once, so that a wrong rate or name is known before a large file is read."""
    from fastnn.initializers import get_initializer
    from fastnn.kernels import backends

    _layers(options, outputs=1)
    get_initializer(options.init)
    if options.loss is not None:
        from fastnn.losses import get_loss

        get_loss(options.loss)
    try:
        kernel_set = backends.resolve(options.backend)
    except RuntimeError as error:
        raise CommandError(f"--backend {options.backend}: {error}") from error
    try:
        backends.check_precision(options.precision, options.dtype, kernel_set)
    except (RuntimeError, ValueError) as error:
        raise CommandError(f"--precision {options.precision}: {error}") from error
    try:
        backends.check_threads(options.threads, kernel_set)
    except (RuntimeError, ValueError) as error:
        raise CommandError(f"--threads {options.threads}: {error}") from error


def _loss(name: str | None, target: ClassTarget | NumberTarget) -> Any:
    """The loss for the task, or the one asked for when it fits."""
    from fastnn.losses import get_loss

    loss = get_loss(name or ("cross_entropy" if isinstance(target, ClassTarget) else "mse"))
    if not loss.in_commands:
        raise CommandError(f"--loss {loss.name} is for Python: its outputs are neither logits nor the target itself")
    if (loss.task == "regress") != isinstance(target, NumberTarget):
        chosen = "classify" if isinstance(target, ClassTarget) else "regress"
        raise CommandError(f"--loss {loss.name} does not fit the task {chosen}; --task chooses another task")
    if loss.task == "binary" and isinstance(target, ClassTarget) and len(target.classes) != 2:
        raise CommandError(f"--loss {loss.name} takes two classes, {target.name!r} has {len(target.classes)}")
    return loss


def _batch_size(rows: int) -> int:
    """A power of two from 8 to 128 that makes 32 to 64 steps of an epoch, where there are rows for that."""
    return int(min(128, max(8, 2 ** int(np.log2(max(rows / 32, 1))))))


def _layers(options: argparse.Namespace, outputs: int) -> list[Any]:
    from fastnn.layers import BatchNorm, Dense, Dropout

    layers: list[Any] = []
    for units in options.hidden:
        layers.append(Dense(units, activation=options.activation, weight_init=options.init))
        if options.batch_norm:
            layers.append(BatchNorm())
        if options.dropout:
            layers.append(Dropout(options.dropout))
    return [*layers, Dense(outputs)]


def _network(options: argparse.Namespace, prepared: Prepared, loss: Any) -> "Sequential":
    from fastnn.model import Sequential

    target = prepared.recipe.target
    outputs = len(target.classes) if isinstance(target, ClassTarget) and loss.task == "classify" else 1
    return Sequential(_layers(options, outputs), inputs=prepared.X.shape[1], dtype=options.dtype, seed=options.seed)


def _fit(
    options: argparse.Namespace,
    model: "Sequential",
    prepared: Prepared,
    loss: Any,
    optimizer: Any,
    batch_size: int,
    patience: Patience,
) -> tuple["History", int | None]:
    """Trains; returns the history and the epoch whose weights were kept (None: the last one's)."""
    from fastnn.bound import NonFiniteLoss
    from fastnn.callbacks import EarlyStopping, ProgressBar

    stopping = EarlyStopping(options.patience) if options.patience else None
    callbacks: list[Any] = [patience] if stopping is None else [patience, stopping]
    metrics: tuple[Any, ...] = ("accuracy",)
    if isinstance(prepared.recipe.target, NumberTarget):
        metrics = (_rmse_in_unit(prepared.recipe.target.scale), "r2")
    try:
        with as_command_errors():
            history = model.fit(
                prepared.X,
                prepared.y,
                loss=loss,
                optimizer=optimizer,
                epochs=options.epochs,
                batch_size=batch_size,
                validation_data=(prepared.X_validation, prepared.y_validation),
                metrics=metrics,
                callbacks=callbacks,
                threads=options.threads,
                backend=options.backend,
                precision=options.precision,
                progress=False if options.quiet else ProgressBar(lines=True, file=sys.stdout),
            )
    except NonFiniteLoss as error:
        raise CommandError(str(error), code=1) from error
    return history, stopping.best_epoch if stopping is not None else None


def _rmse_in_unit(scale: float) -> Any:
    """The RMSE in the target's own unit: the network sees the target divided by `scale`."""
    from fastnn.metrics import rmse as standardised

    def rmse(outputs: Array, targets: Array) -> float:
        return scale * standardised(outputs, targets)

    return rmse


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
