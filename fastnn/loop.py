"""The loop of a training: epochs, validation, callbacks, checkpoints, Ctrl-C, losses that are not finite.

All checks and conversions are done before it starts; an epoch then costs one call into the trainer, one look at the
weights and a few appended numbers. Epochs that take less than that are trained together where they can be (ahead.py).
"""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from fastnn import ahead
from fastnn.bound import NonFiniteLoss
from fastnn.callbacks import CallbackLike, Context, ProgressBar, with_state
from fastnn.history import History
from fastnn.schedules import Schedule
from fastnn.trainer import Trainer

if TYPE_CHECKING:
    from fastnn.batches import BatchScorer
    from fastnn.checkpoints import Saved
    from fastnn.model import Sequential
    from fastnn.scoring import Scorer
    from fastnn.sources import Source
    from fastnn.storage import PathLike

# Epochs longer than this are cut into pieces of about this length, for progress bars.
PIECE_SECONDS = 0.25
# Parameters times rows of the first piece, before its speed is known: some 50 ms at 120 GFLOP/s.
PIECE_WORK = 1_000_000_000
# Inside long epochs the weights are set aside after so many steps; at the end of an epoch always.
KEEP_EVERY = 10_000


class Loop:
    """One training: `run` does it, once."""

    def __init__(
        self,
        model: Sequential,
        trainer: Trainer,
        source: Source,
        *,
        first_epoch: int,
        epochs: int,
        loss: Any,
        schedule: Schedule,
        validation: Scorer | BatchScorer | None,
        hooks: Mapping[str, list[Callable[[Context], object]]],
        callbacks: Sequence[CallbackLike],
        progress: ProgressBar | None,
        threads: int,
        settings: Callable[[], Mapping[str, Any]],
    ) -> None:
        self.model, self.trainer, self.source = model, trainer, source
        self.loss, self.schedule, self.lr0 = loss, schedule.start(), trainer.lr
        self.validation, self.hooks, self.progress = validation, hooks, progress
        self.piece = self._steps_in(PIECE_WORK / (3 * model.count + 1))
        if schedule.per == "step" and first_epoch and source.steps is None:
            raise ValueError(
                f"fit(initial_epoch={first_epoch}): give steps_per_epoch, for the schedule counts steps from epoch 1"
            )
        self.first_time = first_epoch * (source.steps or 0)  # steps before those of this training
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
            steps_per_epoch=source.steps,
            checkpointer=self.write,
        )
        self.epoch_seconds: float | None = None  # that the last one took, without what follows it
        self.goes_ahead = ahead.is_possible(self)
        self.averaged = False  # whether the model has the average of its weights, and the trainer the weights
        self.finished = first_epoch  # epochs
        # Of the epoch that is being trained: its steps so far and their losses; what there was before it.
        self.done, self.losses = 0, list[np.ndarray]()
        self.steps_before = self.rows_before = 0
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
            self.source.close()
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
            "losses": np.concatenate([np.empty(0), *self.losses]) if self.done else np.empty(0),
            "rows_before": self.rows_before,
            "columns": {name: np.array(values) for name, values in history.columns.items()},
            "seconds": time.perf_counter() - self.start,
            "train_seconds": history.train_seconds,
            "reason": self.context.reason,
            "averaged": self.averaged,
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
        self.finished, self.done, self.losses = state["finished"], len(state["losses"]), [state["losses"]]
        self.steps_before, self.rows_before = self.trainer.step_count - self.done, state["rows_before"]
        for name, values in state["columns"].items():
            self.history.columns[name] = values.tolist()
        self.history.train_seconds = state["train_seconds"]
        self.start -= state["seconds"]
        self.averaged = state["averaged"]
        context.epoch, context.reason = self.finished, state["reason"]
        context.logs = {name: values[-1] for name, values in self.history.columns.items() if values and name != "epoch"}
        self.good_from = "those of the checkpoint"
        context.steps_done = self.trainer.step_count

    def _call(self, hook: str) -> None:
        for method in self.hooks[hook]:
            method(self.context)

    def _epochs(self) -> str:
        """All epochs; returns why they ended."""
        context = self.context
        while self.done or (context.reason is None and self.finished < context.epochs):  # what is begun is finished
            together = ahead.count(self, KEEP_EVERY) if self.goes_ahead and not self.done else 1
            if together > 1:
                ahead.train(self, together)
            else:
                self.epoch()
        return context.reason or "finished"

    def epoch(self) -> None:
        """One epoch with all that follows it."""
        epoch = self.finished + 1
        self.context.epoch = epoch
        # Schedules and shuffling count epochs from 0, people from 1.
        if self.schedule.per == "epoch":
            self.trainer.lr = float(self.schedule.rates(self.lr0, 1, epoch - 1)[0])
        self.source.begin(epoch - 1, self.done)
        seconds = self.history.train_seconds
        loss = self._epoch()
        self.epoch_seconds = self.history.train_seconds - seconds
        self._say(loss, time.perf_counter)

    def note(self, losses: np.ndarray, moment: float) -> None:
        """What is to be noted of an epoch that has been trained, whose steps had these losses, at a moment."""
        self.context.epoch = self.finished + 1
        self.losses, self.done = [losses], len(losses)
        self._count_epoch()
        self.context.steps_done = self.history.steps = self.steps_before
        self.history.rows = self.rows_before
        self._say(float((losses * self.source.share()).sum()), lambda: moment)

    def back_to(self, epochs: int, steps: int, rows: int) -> None:
        """Counts anew: so many epochs are finished, with so many steps and rows, and no other is begun."""
        self.finished, self.done = epochs, 0
        self.steps_before, self.rows_before = steps, rows

    def _say(self, loss: float, clock: Callable[[], float]) -> None:
        """Puts the numbers of an epoch into the history and before the callbacks."""
        logs = {"loss": loss}
        if self.validation is not None:
            logs.update([(f"val_{name}", value) for name, value in self.validation().items()])
        logs["lr"] = self.trainer.lr
        logs["seconds"] = clock() - self.start
        self.schedule.see(logs)
        self.context.logs = logs
        self.history.append({"epoch": self.context.epoch, **logs})
        self.finished, self.done = self.context.epoch, 0
        self._call("on_epoch_end")

    def _epoch(self) -> float:
        """The steps of one epoch; returns its mean loss. Between epochs the model has the average of its weights, if
        the optimizer makes one."""
        self._show_average(False)
        if not self.done:
            self.losses = []
        count = self._fetch()
        while count:
            self.losses.append(self._steps(count))
            self.done += count
            count = self._fetch()
            if count:
                if self.done % KEEP_EVERY == 0:
                    self.keep(f"those of step {self.done} of epoch {self.context.epoch}")
                self._call("on_progress")
        self._show_average(True)
        self.keep(f"those of the end of epoch {self.context.epoch}")
        self._count_epoch()
        losses = self.losses[0] if len(self.losses) == 1 else np.concatenate(self.losses)
        return float((losses * self.source.share()).sum())

    def _show_average(self, shown: bool) -> None:
        """Gives the model the average of its weights, or takes it back before training goes on."""
        if self.trainer.optimizer.ema_decay is not None and self.trainer.step_count and shown != self.averaged:
            self.trainer.swap_average()
            self.averaged = shown

    def _fetch(self) -> int:
        # Pieces end where weights are to be set aside, so that this does not depend on the machine's speed.
        return self.source.fetch(min(self.piece, KEEP_EVERY - self.done % KEEP_EVERY))

    def _steps(self, count: int) -> np.ndarray:
        """That many steps of an epoch; returns their losses, all finite."""
        rates = None
        if self.schedule.per == "step":
            rates = self.schedule.rates(self.lr0, count, self.first_time + self.trainer.step_count)
            self.trainer.lr = float(rates[-1])
        start = time.perf_counter()
        try:
            losses = self.source.run(rates)
        except NonFiniteLoss as error:
            raise self._failure(self.done + error.step, error) from None
        finally:
            seconds = time.perf_counter() - start
            self.history.train_seconds += seconds
        self._count_steps()
        if count != self.source.steps:
            self.piece = self._steps_in(PIECE_SECONDS / seconds * count * self.trainer.batch_size)
        return losses

    def _steps_in(self, rows: float) -> int:
        return max(1, int(rows / self.trainer.batch_size))

    def _count_epoch(self) -> None:
        self.context.steps_per_epoch = self.done
        self.rows_before += self.source.rows_of(self.done)
        self.steps_before += self.done

    def _count_steps(self) -> None:
        self.context.steps_done = self.history.steps = self.trainer.step_count
        self.history.rows = self.rows_before + self.source.rows_of(self.trainer.step_count - self.steps_before)

    def keep(self, which: str) -> None:
        """Set the weights aside as the last good ones; NonFiniteLoss when they are not finite themselves."""
        if not self.weights_are_finite():
            raise self._failure(self.done - 1, None)
        self.good, self.good_from = self.model.parameters.copy_state(), which

    def weights_are_finite(self) -> bool:
        """And running statistics."""
        parameters = self.model.parameters
        # A sum is finite only if every term is. It may overflow all the same: then all are looked at.
        with np.errstate(over="ignore", invalid="ignore"):
            totals = [a.view(parameters.dtype).sum() for a in (parameters.arena, parameters.state) if len(a)]
        return all(map(math.isfinite, totals)) or all(
            np.isfinite(entry.value).all() for entry in (*parameters.entries, *parameters.buffers)
        )

    def _failure(self, step: int, error: NonFiniteLoss | None) -> NonFiniteLoss:
        """Restore the last good weights; the error to raise for a step of this epoch, counted from 0."""
        self.model.parameters.restore_state(self.good)
        what = "the weights became non-finite" if error is None else f"the loss became {error.losses[error.step]}"
        failure = NonFiniteLoss(0, np.array([np.nan])) if error is None else error
        steps = f" of {self.source.steps}" if self.source.steps is not None else ""
        failure.args = (
            f"fit: {what} in epoch {self.context.epoch}, step {step + 1}{steps}; "
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
