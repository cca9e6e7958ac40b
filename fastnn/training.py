"""The training loop behind `Sequential.fit`: epochs, validation, callbacks, Ctrl-C, losses that are not finite.

All checks and conversions are done before it starts; an epoch then costs one call into the trainer, one look at the
weights and a few appended numbers (some 50 microseconds of Python), so that the time of an epoch of a hundred rows is
not spent here.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from fastnn import checks, randomness, scoring
from fastnn.bound import Bound, NonFiniteLoss
from fastnn.callbacks import CallbackLike, CallbacksLike, Context, ProgressBar, get_hooks, in_order, with_state
from fastnn.history import History
from fastnn.metrics import MetricsLike
from fastnn.schedules import Schedule, ScheduleLike, get_schedule
from fastnn.trainer import Trainer

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from fastnn.checkpoints import Saved
    from fastnn.model import Sequential
    from fastnn.storage import PathLike

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
    validation_data: tuple[ArrayLike, ArrayLike] | None,
    validation_split: float,
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
    resume: bool | PathLike,
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
    callbacks = in_order(callbacks)
    hooks = get_hooks(callbacks if bar is None else (*callbacks, bar))
    saved = _checkpoint(resume, callbacks)

    X = checks.features(X, model.inputs, model.dtype, allow_nonfinite=allow_nonfinite)
    targets = scoring.check_targets(model, loss, y, X, ("X", "y"), allow_nonfinite)
    rows, held, names = _held_out(X, targets, validation_data, split, model.seed)
    validation = None
    if held is not None:
        options = {"loss": loss, "metrics": functions, "backend": backend, "allow_nonfinite": allow_nonfinite}
        validation = scoring.scorer(model, *held, names=names, **options)
    full = batch_size >= len(rows)
    if full and len(rows) < len(X):
        # A full batch is taken in one piece, without gathering rows.
        X, targets, rows = X[rows], targets[rows], np.arange(len(rows))
    batch_size = min(batch_size, len(rows))
    trainer = Trainer(model, loss, optimizer, batch_size, threads, backend, precision)
    # Plans are made here, so that neither the first epoch's time nor Ctrl-C in it has to do with that.
    if validation is not None:
        validation.rehearse()
    bound = trainer.bind(X, targets, allow_nonfinite=True)  # it was looked for above
    if full:
        bound.run_full(0)
    else:
        trainer.program(batch_size)

    def settings() -> dict[str, Any]:
        """What must be the same when the training is resumed."""
        from fastnn import checkpoints

        return {
            **{name: value for name, value in model.description().items() if name != "loss"},
            "loss": checkpoints.describe(loss),
            "optimizer": checkpoints.describe(trainer.optimizer),
            "schedule": checkpoints.describe(schedule),
            "batch_size": batch_size,
            "shuffle": shuffle,
            "initial_epoch": initial_epoch,
            "precision": precision,
            "kernels": "reference" if trainer.backend == "reference" else "compiled",
            "X": checkpoints.describe(X),
            "y": checkpoints.describe(targets),
            "validation_split": split,
            "validation": None if validation is None else checkpoints.describe([validation.X, validation.targets]),
            "metrics": list(functions),
            "callbacks": [type(callback).__name__ for callback in with_state(callbacks)],
        }

    if saved is not None:
        saved.check(settings(), initial_epoch + epochs)
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
        callbacks=callbacks,
        progress=bar,
        threads=threads,
        settings=settings,
    )
    return loop.run(saved)


def _held_out(
    X: np.ndarray, targets: np.ndarray, validation_data: tuple[ArrayLike, ArrayLike] | None, split: float, seed: int
) -> tuple[np.ndarray, tuple[ArrayLike, ArrayLike] | None, tuple[str, str]]:
    """The rows of X to train on, the data to validate on if there is any, and what errors call it."""
    if validation_data is not None:
        if split:
            raise ValueError(f"fit(validation_split={split}): give this or validation_data, not both")
        return np.arange(len(X)), _pair(validation_data), ("validation_data[0]", "validation_data[1]")
    if not split:
        return np.arange(len(X)), None, ("X", "y")
    rows, held = _split(len(X), split, seed)
    return rows, (X[held], targets[held]), ("X", "y")


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


def _pair(validation_data: Any) -> tuple[Any, Any]:
    if not isinstance(validation_data, (tuple, list)) or len(validation_data) != 2:
        raise TypeError(f"fit(validation_data={type(validation_data).__name__}): expected a pair (X, y)")
    return validation_data[0], validation_data[1]


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
        callbacks: Sequence[CallbackLike],
        progress: ProgressBar | None,
        threads: int,
        settings: Callable[[], Mapping[str, Any]],
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
            checkpointer=self.write,
        )
        self.averaged = False  # whether the model has the average of its weights, and the trainer the weights
        self.finished = first_epoch  # epochs
        self.done, self.losses = 0, np.empty(0)  # steps of the epoch that is being trained, and their losses
        self.with_state, self.settings = with_state(callbacks), settings
        self.good = model.parameters.copy_state()
        self.good_from = "those before the training"

    def run(self, saved: Saved | None = None) -> History:
        """Train, from where a checkpoint left off if there is one. Returns the history, also after Ctrl-C; raises
        NonFiniteLoss with the last good weights restored."""
        history, failure = self.history, None
        self.start = time.perf_counter()
        try:
            try:
                if saved is not None:
                    self._restore(saved)
                self._call("on_train_begin")
                if saved is not None:
                    for callback, state in zip(self.with_state, saved.state["callbacks"], strict=True):
                        callback.restore(self.context, state)
            except BaseException:
                self.model.parameters.restore_state(self.good)
                raise
            self.good = self.model.parameters.copy_state()
            self.model.loss = self.loss
            try:
                history.stopped = self._epochs()
            except KeyboardInterrupt:
                self._show_average(True)
                history.stopped = "interrupted"
                history.trim()
            except NonFiniteLoss as error:
                history.stopped, failure = "non-finite loss", error
            history.seconds = time.perf_counter() - self.start
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

    def write(self, path: PathLike) -> None:
        """Write a checkpoint of the training as it is."""
        from fastnn import checkpoints

        checkpoints.write(path, self.model, self.settings(), self._state())

    def _state(self) -> dict[str, Any]:
        history = self.history
        return {
            "finished": self.finished,
            "losses": self.losses[: self.done],
            "columns": {name: np.array(values) for name, values in history.columns.items()},
            "seconds": time.perf_counter() - self.start,
            "train_seconds": history.train_seconds,
            "reason": self.context.reason,
            "trainer": self.trainer.state(),
            "schedule": self.schedule.state(),
            "callbacks": [callback.state(self.context) for callback in self.with_state],
        }

    def _restore(self, saved: Saved) -> None:
        """Everything but the callbacks as it was when the checkpoint was written."""
        state, context = saved.state, self.context
        parameters = self.model.parameters
        parameters.restore_state(parameters.snapshot(saved.model))
        self.trainer.restore(state["trainer"])
        self.schedule.restore(state["schedule"])
        self.finished, self.done = state["finished"], len(state["losses"])
        self.losses = np.empty(context.steps_per_epoch)
        self.losses[: self.done] = state["losses"]
        for name, values in state["columns"].items():
            self.history.columns[name] = values.tolist()
        self.history.train_seconds = state["train_seconds"]
        self.start -= state["seconds"]
        context.epoch, context.reason = self.finished, state["reason"]
        context.logs = {name: values[-1] for name, values in self.history.columns.items() if values and name != "epoch"}
        self.good_from = "those of the checkpoint"
        self._count_steps()

    def _call(self, hook: str) -> None:
        for method in self.hooks[hook]:
            method(self.context)

    def _epochs(self) -> str:
        """All epochs; returns why they ended."""
        context, history = self.context, self.history
        while context.reason is None and self.finished < context.epochs:
            context.epoch = epoch = self.finished + 1
            # Schedules and shuffling count epochs from 0, people from 1.
            self.trainer.lr = lr = self._rate(epoch - 1)
            logs = {"loss": self._epoch(self.order(epoch - 1))}
            if self.validation is not None:
                logs.update([(f"val_{name}", value) for name, value in self.validation().items()])
            logs["lr"] = lr
            logs["seconds"] = time.perf_counter() - self.start
            self.schedule.see(logs)
            context.logs = logs
            history.append({"epoch": epoch, **logs})
            self.finished, self.done = epoch, 0
            self._call("on_epoch_end")
        return context.reason or "finished"

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
        if self.piece >= steps and not self.done:
            losses = self._steps(order, 0, steps)
        else:
            if not self.done:
                self.losses = np.empty(steps)
            losses = self.losses
            while self.done < steps:
                # Pieces end where weights are to be set aside, so that this does not depend on the machine's speed.
                stop = min(self.done + self.piece, steps, (self.done // KEEP_EVERY + 1) * KEEP_EVERY)
                losses[self.done : stop] = self._steps(order, self.done, stop)
                self.done = stop
                if stop < steps:
                    if stop % KEEP_EVERY == 0:
                        self._keep(stop)
                    self._call("on_progress")
        self._show_average(True)
        self._keep(steps)
        return float((losses * self.share).sum())

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
