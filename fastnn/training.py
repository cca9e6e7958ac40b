"""What is behind `Sequential.fit`: checks, what the epochs get their batches from, and the loop that is then run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from fastnn import checks, scoring
from fastnn.callbacks import CallbackLike, CallbacksLike, ProgressBar, get_hooks, in_order, with_state
from fastnn.history import History
from fastnn.loop import Loop
from fastnn.losses import CustomLoss
from fastnn.losses.weights import class_weights, weights_of_rows
from fastnn.metrics import MetricsLike
from fastnn.optimizers import get_optimizer
from fastnn.optimizers.search import LBFGS
from fastnn.schedules import Constant, ScheduleLike, get_schedule
from fastnn.sources import ArraySource, BlockShuffle, ConvertedSource, Order, Source, get_shuffle
from fastnn.trainer import Trainer

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from fastnn.batches import Batches, BatchScorer
    from fastnn.checkpoints import Saved
    from fastnn.model import Sequential
    from fastnn.storage import PathLike

__all__ = ["Order", "fit"]


def fit(
    model: Sequential,
    X: Any,
    y: ArrayLike | None,
    *,
    loss: Any,
    optimizer: Any,
    epochs: int,
    batch_size: int,
    steps_per_epoch: int | None,
    validation_data: Any,
    validation_split: float,
    class_weight: Any,
    sample_weight: ArrayLike | None,
    schedule: ScheduleLike | None,
    metrics: MetricsLike | None,
    callbacks: CallbacksLike,
    shuffle: bool | str | BlockShuffle,
    threads: int,
    backend: str,
    precision: str | None,
    progress: bool | ProgressBar,
    allow_nonfinite: bool,
    initial_epoch: int,
    resume: bool | PathLike,
) -> History:
    """Check everything, then train; the arguments are those of `Sequential.fit`, with the loss looked up."""
    epochs = checks.integer("fit", "epochs", epochs, minimum=1)
    initial_epoch = checks.integer("fit", "initial_epoch", initial_epoch, minimum=0)
    batch_size = checks.integer("fit", "batch_size", batch_size, minimum=1)
    if batch_size == 1 and any(node.layer.mixes_rows for node in model.parameters.nodes):
        raise ValueError("fit(batch_size=1): batch normalisation needs batches of at least 2 rows")
    split = checks.number("fit", "validation_split", validation_split, minimum=0.0, below=1.0)
    if validation_data is not None and split:
        raise ValueError(f"fit(validation_split={split}): give this or validation_data, not both")
    schedule = get_schedule(schedule)
    if isinstance(get_optimizer(optimizer), LBFGS) and not isinstance(schedule, Constant):
        raise ValueError(f"fit(schedule={schedule!r}): LBFGS chooses its own steps, give none")
    functions = scoring.metrics_of(loss, metrics)
    shuffle = get_shuffle(shuffle)
    allow_nonfinite = checks.flag("fit", "allow_nonfinite", allow_nonfinite)
    bar = _progress_bar(progress)
    callbacks = in_order(callbacks)
    hooks = get_hooks(callbacks if bar is None else (*callbacks, bar))
    saved = _checkpoint(resume, callbacks)

    def trainer_of(rows: int) -> Trainer:
        return Trainer(model, loss, optimizer, rows, threads, backend, precision)

    options = {"loss": loss, "metrics": functions, "backend": backend, "allow_nonfinite": allow_nonfinite}
    validation, by_class = None, None
    data: dict[str, np.ndarray] = {}
    source: Source
    if y is None:
        from fastnn.batches import BatchSource

        if split:
            raise ValueError(f"fit(validation_split={split}): needs arrays; give validation_data beside batches")
        if sample_weight is not None:
            raise ValueError("fit(sample_weight=...): needs arrays; give batches (X, y, sample_weight)")
        batches = _batches(model, X, loss, allow_nonfinite, steps_per_epoch, initial_epoch, epochs, class_weight)
        begin = initial_epoch if saved is None else saved.state["finished"]
        rows = batches.first_rows(begin) if begin < initial_epoch + epochs else 1
        rows = rows if saved is None else saved.settings["batch_size"]
        trainer, shuffle = trainer_of(rows), False
        source = BatchSource(trainer, batches)
        if validation_data is not None:
            validation = _validation(model, validation_data, batches.by_class, options)
    else:
        if steps_per_epoch is not None:
            raise ValueError(f"fit(steps_per_epoch={steps_per_epoch!r}): for batches only; arrays end by themselves")
        X = model.parameters.checked_inputs(X, allow_nonfinite=allow_nonfinite, whole=False)
        targets = scoring.check_targets(model, loss, y, X, ("X", "y"), allow_nonfinite)
        by_row = None if sample_weight is None else scoring.row_weights(model, loss, sample_weight, len(X))
        taken, held = np.arange(len(X)), None
        if split:
            taken, held = _split(len(X), split, model.seed)
        by_class = _class_weights(class_weight, loss, targets, None if held is None else taken, model.outputs)
        weights = weights_of_rows(by_class, by_row, loss, targets, model.outputs, model.dtype)
        if weights is not None and not weights[taken].any():
            raise ValueError("fit: the weights of all rows to train on are 0")
        data = {"X": X, "y": targets, **({} if weights is None else {"weights": weights})}
        if held is not None:
            everything = scoring.Scorer(model.predictor(backend), model.count, X, targets, loss, functions, weights)
            validation = everything.of_rows(held)
        elif validation_data is not None:
            validation = _validation(model, validation_data, by_class, options)
        if isinstance(shuffle, BlockShuffle):
            shuffle = shuffle.for_rows_of(X.shape[1] * X.itemsize)
        if isinstance(get_optimizer(optimizer), LBFGS):
            batch_size = len(taken)  # there is no other way
        # In a full batch the order does not matter.
        order = Order(taken, shuffle if batch_size < len(taken) else False, model.seed)
        trainer = trainer_of(min(batch_size, len(taken)))
        make = ArraySource if checks.is_ready(X, model.dtype) else ConvertedSource
        source = make(trainer, X, targets, weights, order)
    if not isinstance(source, ArraySource):
        _refuse_search(trainer.optimizer)
    # Plans are made here, so that neither the first epoch's time nor Ctrl-C in it has to do with that.
    if validation is not None:
        validation.rehearse()

    def settings() -> dict[str, Any]:
        """What must be the same when the training is resumed."""
        from fastnn import checkpoints

        return {
            **{name: value for name, value in model.description().items() if name != "loss"},
            "loss": checkpoints.describe(loss),
            "optimizer": checkpoints.describe(trainer.optimizer),
            "schedule": checkpoints.describe(schedule),
            "batch_size": trainer.batch_size,
            "steps_per_epoch": steps_per_epoch,
            "shuffle": checkpoints.describe(shuffle),
            "initial_epoch": initial_epoch,
            "precision": precision,
            "kernels": "reference" if trainer.backend == "reference" else "compiled",
            **{name: checkpoints.describe(array) for name, array in data.items()},
            "class_weight": None if data else checkpoints.describe(class_weight),
            "validation_split": split,
            "validation": None if validation is None else checkpoints.describe(validation.data),
            "metrics": list(functions),
            "callbacks": [type(callback).__name__ for callback in with_state(callbacks)],
        }

    if saved is not None:
        saved.check(settings(), initial_epoch + epochs)
    loop = Loop(
        model,
        trainer,
        source,
        first_epoch=initial_epoch,
        epochs=epochs,
        loss=loss,
        schedule=schedule,
        validation=validation,
        hooks=hooks,
        callbacks=callbacks,
        progress=bar,
        threads=threads,
        settings=settings,
    )
    return loop.run(saved)


def _validation(
    model: Sequential, data: Any, by_class: np.ndarray | None, options: dict[str, Any]
) -> scoring.Scorer | BatchScorer:
    """What scores the model after each epoch: on a pair of arrays, perhaps with weights, or on batches."""
    pair = isinstance(data, tuple) or (isinstance(data, list) and not any(isinstance(item, tuple) for item in data))
    if not pair:
        from fastnn.batches import Batches, BatchScorer, are_batches

        if are_batches(data):
            batches = Batches(
                data, "validation_data", model, options["loss"], options["allow_nonfinite"], class_weight=by_class
            )
            if not batches.begins_anew:
                raise ValueError(
                    "validation_data: is an iterator, which gives its batches once; give a list, or a function that "
                    "returns an iterator"
                )
            predictor = model.predictor(options["backend"])
            return BatchScorer(batches, predictor, model.count, options["loss"], options["metrics"])
    if not pair or len(data) not in (2, 3):
        raise TypeError(
            f"fit(validation_data={type(data).__name__}): expected a pair (X, y), or (X, y, sample_weight), or batches"
        )
    names, weights = ("validation_data[0]", "validation_data[1]"), data[2] if len(data) == 3 else None
    return scoring.scorer(model, *data[:2], names=names, by_class=by_class, sample_weight=weights, **options)


def _class_weights(
    weights: Any, loss: Any, targets: np.ndarray, taken: np.ndarray | None, outputs: int
) -> np.ndarray | None:
    """(classes,) float64, counted over the rows that are taken, or None; refused by a loss that has none."""
    if weights is None:
        return None
    if isinstance(loss, CustomLoss):
        loss.check_weights(weights)
        loss.classes(targets, outputs)  # which names a row by its number among all
    return class_weights(weights, loss, targets if taken is None else targets[taken], outputs)


def _batches(
    model: Sequential, given: Any, loss: Any, allow_nonfinite: bool, steps: int | None, first: int, epochs: int,
    class_weight: Any,
) -> Batches:  # fmt: skip
    """The batches of a training, if what is given can be that."""
    from fastnn.batches import Batches, are_batches

    if not are_batches(given):
        raise TypeError(
            f"fit(X={type(given).__name__}, y=None): give the targets y, or as X batches (X, y): an iterable, or a "
            "function that returns an iterator"
        )
    if steps is not None:
        steps = checks.integer("fit", "steps_per_epoch", steps, minimum=1)
    batches = Batches(given, "X", model, loss, allow_nonfinite, steps, first, class_weight)
    if not batches.begins_anew and steps is None and epochs > 1:
        raise ValueError(
            f"fit(epochs={epochs}): X is an iterator, which gives its batches once; give a list, a function that "
            "returns an iterator, or steps_per_epoch, with which it goes on from epoch to epoch"
        )
    return batches


def _refuse_search(optimizer: Any) -> None:
    """Optimizers that look at all rows at once cannot be given them some at a time."""
    if isinstance(optimizer, LBFGS) or getattr(optimizer, "standardises", False):
        raise ValueError(f"fit(optimizer={optimizer}): needs all rows as arrays of the model's dtype")


def _split(rows: int, share: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    # Readers of files come with it, which a training on arrays need not import.
    from fastnn.data import DataError, split_rows

    try:
        return split_rows(rows, share, seed)
    except DataError as error:
        raise ValueError(f"fit(validation_split={share}): {error}") from None


def _checkpoint(resume: Any, callbacks: Sequence[CallbackLike]) -> Saved | None:
    if resume is False:
        return None
    # Model files come with it, which few trainings need.
    from fastnn import checkpoints

    return checkpoints.to_resume(resume, callbacks)


def _progress_bar(progress: Any) -> ProgressBar | None:
    if isinstance(progress, ProgressBar):
        return progress
    if not isinstance(progress, (bool, np.bool_)):
        raise TypeError(f"fit(progress={progress!r}): progress must be True, False or a ProgressBar")
    return ProgressBar() if progress else None
