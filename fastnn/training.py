"""The training loop behind `Sequential.fit`: epochs, validation, callbacks, Ctrl-C, losses that are not finite.

All checks and conversions are done before it starts; an epoch then costs one call into the trainer, one look at the
weights and a few appended numbers (some 50 microseconds of Python), so that the time of an epoch of a hundred rows is
not spent here.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from fastnn import checks, randomness, scoring
from fastnn.bound import Bound, NonFiniteLoss
from fastnn.callbacks import CallbackLike, CallbacksLike, Context, ProgressBar, get_hooks
from fastnn.history import History
from fastnn.losses import CustomLoss
from fastnn.losses.weights import class_weights, weights_of_rows
from fastnn.metrics import MetricsLike
from fastnn.schedules import Schedule, ScheduleLike, get_schedule
from fastnn.trainer import Trainer

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from fastnn.model import Sequential

# Epochs longer than this are cut into pieces of about this length, for progress bars.
PIECE_SECONDS = 0.25
# Parameters times rows of the first piece, before its speed is known: some 50 ms at 120 GFLOP/s.
PIECE_WORK = 1_000_000_000
# Inside long epochs the weights are set aside after so many steps; at the end of an epoch always.
KEEP_EVERY = 10_000


def fit(
    model: Sequential,
    X: ArrayLike,
    y: ArrayLike,
    *,
    loss: Any,
    optimizer: Any,
    epochs: int,
    batch_size: int,
    validation_data: tuple[ArrayLike, ...] | None,
    validation_split: float,
    class_weight: Any,
    sample_weight: ArrayLike | None,
    schedule: ScheduleLike | None,
    metrics: MetricsLike | None,
    callbacks: CallbacksLike,
    shuffle: bool,
    threads: int,
    backend: str,
    precision: str | None,
    progress: bool | ProgressBar,
    allow_nonfinite: bool,
    initial_epoch: int,
) -> History:
    """Check everything, then train; the arguments are those of `Sequential.fit`, with the loss looked up."""
    epochs = checks.integer("fit", "epochs", epochs, minimum=1)
    initial_epoch = checks.integer("fit", "initial_epoch", initial_epoch, minimum=0)
    batch_size = checks.integer("fit", "batch_size", batch_size, minimum=1)
    if batch_size == 1 and any(layer.mixes_rows for layer in model.layers):
        raise ValueError("fit(batch_size=1): batch normalisation needs batches of at least 2 rows")
    split = checks.number("fit", "validation_split", validation_split, minimum=0.0, below=1.0)
    schedule = get_schedule(schedule)
    functions = scoring.metrics_of(loss, metrics)
    shuffle = checks.flag("fit", "shuffle", shuffle)
    allow_nonfinite = checks.flag("fit", "allow_nonfinite", allow_nonfinite)
    bar = _progress_bar(progress)
    hooks = get_hooks(callbacks if bar is None else (*_several(callbacks), bar))

    X = checks.features(X, model.inputs, model.dtype, allow_nonfinite=allow_nonfinite)
    targets = scoring.check_targets(model, loss, y, X, ("X", "y"), allow_nonfinite)
    by_row = None if sample_weight is None else scoring.row_weights(model, loss, sample_weight, len(X))
    rows, held, names = _held_out(X, targets, by_row, validation_data, split, model.seed)
    by_class = _class_weights(class_weight, loss, targets[rows], model.outputs)
    validation = None
    if held is not None:
        options = {"loss": loss, "metrics": functions, "backend": backend, "allow_nonfinite": allow_nonfinite}
        held, held_weights = held[:2], held[2] if len(held) == 3 else None
        validation = scoring.scorer(model, *held, names=names, by_class=by_class, sample_weight=held_weights, **options)
    weights = weights_of_rows(by_class, by_row, loss, targets, model.outputs, model.dtype)
    if weights is not None and not weights[rows].any():
        raise ValueError("fit: the weights of all rows to train on are 0")
    full = batch_size >= len(rows)
    if full and len(rows) < len(X):
        # A full batch is taken in one piece, without gathering rows.
        X, targets, weights = X[rows], targets[rows], None if weights is None else weights[rows]
        rows = np.arange(len(rows))
    batch_size = min(batch_size, len(rows))
    trainer = Trainer(model, loss, optimizer, batch_size, threads, backend, precision)
    # Plans are made here, so that neither the first epoch's time nor Ctrl-C in it has to do with that.
    if validation is not None:
        validation.rehearse()
    bound = trainer.bind(X, targets, allow_nonfinite=True, sample_weight=weights)  # it was looked for above
    if full:
        bound.run_full(0)
    else:
        bound.prepare()
    loop = Loop(
        model,
        trainer,
        bound,
        order=Order(rows, shuffle and not full, model.seed),
        first_epoch=initial_epoch,
        epochs=epochs,
        loss=loss,
        schedule=schedule,
        validation=validation,
        hooks=hooks,
        progress=bar,
        threads=threads,
    )
    return loop.run()


def _held_out(
    X: np.ndarray, targets: np.ndarray, weights: np.ndarray | None, validation_data: tuple[ArrayLike, ...] | None,
    split: float, seed: int,
) -> tuple[np.ndarray, tuple[Any, ...] | None, tuple[str, str]]:  # fmt: skip
    """The rows of X to train on, the data to validate on if there is any, with weights or without, and what errors call
    it."""
    if validation_data is not None:
        if split:
            raise ValueError(f"fit(validation_split={split}): give this or validation_data, not both")
        return np.arange(len(X)), _validation(validation_data), ("validation_data[0]", "validation_data[1]")
    if not split:
        return np.arange(len(X)), None, ("X", "y")
    rows, held = _split(len(X), split, seed)
    return rows, (X[held], targets[held], *([] if weights is None else [weights[held]])), ("X", "y")


def _class_weights(weights: Any, loss: Any, targets: np.ndarray, outputs: int) -> np.ndarray | None:
    """(classes,) float64, or None; refused by a loss that has none."""
    if weights is None:
        return None
    if isinstance(loss, CustomLoss):
        loss.refuse_weights(weights)
    return class_weights(weights, loss, targets, outputs)


def _split(rows: int, share: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    # Readers of files come with it, which a training on arrays need not import.
    from fastnn.data import DataError, split_rows

    try:
        return split_rows(rows, share, seed)
    except DataError as error:
        raise ValueError(f"fit(validation_split={share}): {error}") from None


def _progress_bar(progress: Any) -> ProgressBar | None:
    if isinstance(progress, ProgressBar):
        return progress
    if not isinstance(progress, (bool, np.bool_)):
        raise TypeError(f"fit(progress={progress!r}): progress must be True, False or a ProgressBar")
    return ProgressBar() if progress else None


def _several(callbacks: CallbacksLike) -> tuple[CallbackLike, ...]:
    return tuple(callbacks) if isinstance(callbacks, Iterable) else (callbacks,)


def _validation(validation_data: Any) -> tuple[Any, ...]:
    if not isinstance(validation_data, (tuple, list)) or len(validation_data) not in (2, 3):
        raise TypeError(
            f"fit(validation_data={type(validation_data).__name__}): expected a pair (X, y), or (X, y, sample_weight)"
        )
    return tuple(validation_data)


class Order:
    """The order of the training rows in each epoch: it depends on the seed and the epoch's number only.

    rows      (rows,) int64, the row numbers to train on
    shuffle   draw a new order for each epoch
    """

    def __init__(self, rows: np.ndarray, shuffle: bool, seed: int) -> None:
        self.rows, self.shuffle = rows, shuffle
        self._stream = randomness.Stream(randomness.key(seed, randomness.SHUFFLE))

    def __call__(self, epoch: int) -> np.ndarray:
        """Row numbers (rows,) of an epoch counted from 0."""
        return self._stream.at(epoch).permutation(self.rows) if self.shuffle else self.rows


class Loop:
    """One training: `run` does it, once."""

    def __init__(
        self,
        model: Sequential,
        trainer: Trainer,
        bound: Bound,
        *,
        order: Order,
        first_epoch: int,
        epochs: int,
        loss: Any,
        schedule: Schedule,
        validation: scoring.Scorer | None,
        hooks: Mapping[str, list[Callable[[Context], object]]],
        progress: ProgressBar | None,
        threads: int,
    ) -> None:
        self.model, self.trainer, self.bound = model, trainer, bound
        self.order, self.loss, self.schedule, self.lr0 = order, loss, schedule.start(), trainer.lr
        self.rates: np.ndarray | None = None  # of the steps of an epoch, if they differ
        self.validation, self.hooks, self.progress = validation, hooks, progress
        self.full = trainer.batch_size == len(order.rows)
        self.batch_size, self.first_step = trainer.batch_size, trainer.step_count
        rows = len(order.rows)
        steps = -(-rows // self.batch_size)
        # The epoch's loss is the mean over rows: the smaller last batch counts for the rows it has.
        self.share = np.full(steps, self.batch_size / rows)
        self.share[-1] = (rows - (steps - 1) * self.batch_size) / rows
        self.piece = self._steps_in(PIECE_WORK / (3 * model.count + 1))
        names = () if validation is None else ("val_loss", *(f"val_{name}" for name in validation.metrics))
        columns = ("epoch", "loss", *names, "lr", "seconds")
        for monitor in schedule.monitors:
            if monitor not in columns:
                needs = " (it needs validation data)" if monitor.startswith("val_") else ""
                raise ValueError(f"fit(schedule): it follows {monitor!r}; an epoch has {', '.join(columns[1:])}{needs}")
        self.history = History({name: [] for name in columns}, backend=trainer.backend, threads=threads)
        self.context = Context(
            model,
            trainer,
            self.history,
            columns=columns[1:],
            first_epoch=first_epoch + 1,
            epochs=first_epoch + epochs,
            steps_per_epoch=steps,
        )
        self.averaged = False  # whether the model has the average of its weights, and the trainer the weights
        self.good = model.parameters.copy_state()
        self.good_from = "those before the training"

    def run(self) -> History:
        """Train. Returns the history, also after Ctrl-C; raises NonFiniteLoss with the last good weights restored."""
        history, failure = self.history, None
        start = time.perf_counter()
        try:
            self._call("on_train_begin")
            self.model.loss = self.loss
            try:
                history.stopped = self._epochs()
            except KeyboardInterrupt:
                self._show_average(True)
                history.stopped = "interrupted"
                history.trim()
            except NonFiniteLoss as error:
                history.stopped, failure = "non-finite loss", error
            history.seconds = time.perf_counter() - start
            self._count_steps()
            self._call("on_train_end")
        finally:
            if self.progress is not None:
                self.progress.close()
        if failure is not None:
            raise failure
        if history.stopped == "interrupted":
            self._say_interrupted()
        return history

    def _call(self, hook: str) -> None:
        for method in self.hooks[hook]:
            method(self.context)

    def _epochs(self) -> str:
        """All epochs; returns why they ended."""
        context, history = self.context, self.history
        start = time.perf_counter()
        for epoch in range(context.first_epoch, context.epochs + 1):
            context.epoch = epoch
            # Schedules and shuffling count epochs from 0, people from 1.
            self.trainer.lr = lr = self._rate(epoch - 1)
            logs = {"loss": self._epoch(self.order(epoch - 1))}
            if self.validation is not None:
                logs.update([(f"val_{name}", value) for name, value in self.validation().items()])
            logs["lr"] = lr
            logs["seconds"] = time.perf_counter() - start
            self.schedule.see(logs)
            context.logs = logs
            history.append({"epoch": epoch, **logs})
            self._call("on_epoch_end")
            if context.reason is not None:
                return context.reason
        return "finished"

    def _rate(self, epoch: int) -> float:
        """Set the rates of an epoch, counted from 0; that of its last step."""
        steps = len(self.share)
        if self.schedule.per == "epoch":
            return float(self.schedule.rates(self.lr0, 1, epoch)[0])
        self.rates = self.schedule.rates(self.lr0, steps, epoch * steps)
        return float(self.rates[-1])

    def _epoch(self, order: np.ndarray) -> float:
        """The steps of one epoch; returns its mean loss. Between epochs the model has the average of its weights, if
        the optimizer makes one."""
        self._show_average(False)
        steps = len(self.share)
        if self.piece >= steps:
            losses = self._steps(order, 0, steps)
        else:
            losses, done = np.empty(steps), 0
            while done < steps:
                # Pieces end where weights are to be set aside, so that this does not depend on the machine's speed.
                stop = min(done + self.piece, steps, (done // KEEP_EVERY + 1) * KEEP_EVERY)
                losses[done:stop] = self._steps(order, done, stop)
                done = stop
                if done < steps:
                    if done % KEEP_EVERY == 0:
                        self._keep(done)
                    self._call("on_progress")
        self._show_average(True)
        self._keep(steps)
        share = self.share if self.bound.weights is None else self.bound.shares(order)
        return float((losses * share).sum())

    def _show_average(self, shown: bool) -> None:
        """Gives the model the average of its weights, or takes it back before training goes on."""
        if self.trainer.optimizer.ema_decay is not None and self.trainer.step_count and shown != self.averaged:
            self.trainer.swap_average()
            self.averaged = shown

    def _steps(self, order: np.ndarray, first: int, stop: int) -> np.ndarray:
        """Steps `first` to `stop` of an epoch; returns their losses, all finite."""
        start = time.perf_counter()
        try:
            if self.full:
                losses = self.bound.run_full(1)
            else:
                rates = None if self.rates is None else self.rates[first:stop]
                losses = self.bound.run(order[first * self.batch_size : stop * self.batch_size], rates)
        except NonFiniteLoss as error:
            raise self._failure(first + error.step, error) from None
        finally:
            seconds = time.perf_counter() - start
            self.history.train_seconds += seconds
        self._count_steps()
        if stop - first < len(self.share):
            self.piece = self._steps_in(PIECE_SECONDS / seconds * (stop - first) * self.batch_size)
        return losses

    def _steps_in(self, rows: float) -> int:
        return max(1, int(rows / self.batch_size))

    def _count_steps(self) -> None:
        context = self.context
        context.steps_done = self.history.steps = self.trainer.step_count - self.first_step
        epochs, steps = divmod(context.steps_done, context.steps_per_epoch)
        self.history.rows = epochs * len(self.order.rows) + steps * self.batch_size

    def _keep(self, steps: int) -> None:
        """Set the weights aside as the last good ones; NonFiniteLoss when they are not finite themselves."""
        parameters = self.model.parameters
        # A sum is finite only if every term is. It may overflow all the same: then all are looked at.
        with np.errstate(over="ignore", invalid="ignore"):
            total = parameters.arena.view(parameters.dtype).sum() + parameters.state.view(parameters.dtype).sum()
        if not (
            np.isfinite(total) or all(np.isfinite(e.value).all() for e in (*parameters.entries, *parameters.buffers))
        ):
            raise self._failure(steps - 1, None)
        self.good = parameters.copy_state()
        where = f"epoch {self.context.epoch}"
        self.good_from = (
            f"those of the end of {where}" if steps == len(self.share) else f"those of step {steps} of {where}"
        )

    def _failure(self, step: int, error: NonFiniteLoss | None) -> NonFiniteLoss:
        """Restore the last good weights; the error to raise for a step of this epoch, counted from 0."""
        self.model.parameters.restore_state(self.good)
        what = "the weights became non-finite" if error is None else f"the loss became {error.losses[error.step]}"
        failure = NonFiniteLoss(0, np.array([np.nan])) if error is None else error
        failure.args = (
            f"fit: {what} in epoch {self.context.epoch}, step {step + 1} of {len(self.share)}; "
            f"the model's weights are {self.good_from}. A smaller learning rate (now {self.trainer.lr:g}) "
            "or standardised inputs and targets usually help",
        )
        return failure

    def _say_interrupted(self) -> None:
        epoch, steps = self.context.epoch, self.context.steps_done
        text = (
            f"fastnn: training interrupted in epoch {epoch} after {steps:,} steps; the model is whole and can be used"
        )
        if sys.stderr is not None:
            print(text, file=sys.stderr, flush=True)
