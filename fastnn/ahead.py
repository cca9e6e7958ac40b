"""Several epochs in one call into native code, where nobody looks at the model between them.

An epoch of some hundred rows takes less time than the Python between two of them. Where that only notes numbers, such
as the loss, epochs are trained ahead, some 50 ms of them, and their numbers are noted afterwards. Nothing else is seen
of it: where a training ends in the midst of such a stretch (a loss that is not finite, Ctrl-C, a callback that stops
it), the stretch is made again up to there, to the same bits.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from fastnn.bound import CHUNK_SECONDS, NonFiniteLoss
from fastnn.interrupts import unbroken
from fastnn.schedules import Constant

if TYPE_CHECKING:
    from fastnn.loop import Loop

Array = np.ndarray[Any, Any]
_MOST_ROWS = 2**20  # whose numbers are held for a stretch


class _Start(NamedTuple):
    """Where a stretch began: what the trainer keeps beside the model, whose weights the loop has, and what was counted
    up to there."""

    kept: Any
    steps: int
    rows: int
    epochs: int


def is_possible(loop: Loop) -> bool:
    """Whether epochs of this training may go ahead of what is noted of them."""
    constant = isinstance(loop.schedule, Constant)
    return (
        all(map(_may_lag, (*loop.hooks["on_epoch_end"], *loop.hooks["on_progress"])))
        and loop.validation is None
        and loop.trainer.optimizer.ema_decay is None
        and loop.schedule.known_ahead
        and loop.source.goes_ahead(constant)
    )


def _may_lag(method: Any) -> bool:
    """Whether a callback says so of this hook: what a class says of its own does not hold for one that a class derived
    from it has put in its place."""
    callback = getattr(method, "__self__", None)
    if getattr(callback, "may_lag", False) is not True:
        return False
    if "may_lag" in getattr(callback, "__dict__", {}):
        return True
    for cls in type(callback).__mro__:
        if "may_lag" in vars(cls):
            return True
        if method.__name__ in vars(cls):
            return False
    return False


def count(loop: Loop, most_steps: int) -> int:
    """How many epochs are to be trained together: all that are left, or a power of two, so that the next stretch is as
    long and its passes are ready.

    most_steps   at most, of all of them
    """
    steps = loop.source.steps
    if loop.epoch_seconds is None or steps is None:
        return 1  # the first epoch shows how long they are
    left = loop.context.epochs - loop.finished
    most = int(
        min(CHUNK_SECONDS / max(loop.epoch_seconds, 1e-9), most_steps / steps, _MOST_ROWS / loop.source.rows_of(steps))
    )
    return left if left <= most else 1 << max(0, most.bit_length() - 1)


def train(loop: Loop, epochs: int) -> None:
    """Trains so many epochs and notes their numbers."""
    trainer = loop.trainer
    start = _Start(trainer.kept_arrays(), trainer.step_count, loop.rows_before, loop.finished)
    begin, made = time.perf_counter(), False
    try:
        rates, losses = _made(loop, start, epochs)
        made = True
        seconds = time.perf_counter() - begin
        loop.history.train_seconds += seconds
        loop.epoch_seconds = seconds / epochs
        if losses is not None:
            for epoch in range(epochs):
                if rates is not None:
                    trainer.lr = float(rates[epoch, -1])
                loop.note(losses[epoch], begin + seconds * (epoch + 1) / epochs)
                if loop.context.reason is not None:
                    break
        loop.goes_ahead = losses is not None
        if loop.finished < start.epochs + epochs:
            with unbroken():
                _end(loop, start)
    except BaseException as error:  # Ctrl-C, or a callback's
        with unbroken():
            whole = 0 if made else (trainer.step_count - start.steps) // (loop.source.steps or 1)
            _end(loop, start)
        if isinstance(error, KeyboardInterrupt):
            while whole and loop.context.reason is None:  # nobody has heard of them
                loop.epoch()
                whole -= 1
        raise
    if loop.goes_ahead:
        loop.keep(f"those of the end of epoch {loop.context.epoch}")


def _made(loop: Loop, start: _Start, epochs: int) -> tuple[Array | None, Array | None]:
    """The rates and the losses of so many epochs that are trained, (epochs, steps); the losses are None where something
    is not finite, which the epochs say themselves, one by one."""
    try:
        rates = _rates(loop, start.epochs, epochs)
        losses = loop.source.run_epochs(start.epochs, epochs, None if rates is None else rates.ravel())
    except (NonFiniteLoss, ValueError):
        return None, None
    return rates, losses if loop.weights_are_finite() else None


def _rates(loop: Loop, first: int, epochs: int) -> Array | None:
    """Of each step, (epochs, steps); None where it is the trainer's throughout."""
    schedule, steps = loop.schedule, loop.source.steps or 1
    if isinstance(schedule, Constant):
        return None
    if schedule.per == "step":
        done = loop.first_time + loop.trainer.step_count
        return schedule.rates(loop.lr0, epochs * steps, done).reshape(epochs, steps)
    return np.repeat(schedule.rates(loop.lr0, epochs, first)[:, None], steps, axis=1)


def _end(loop: Loop, start: _Start) -> None:
    """Has a stretch end with the last epoch that is in the history: all is as if no other had been trained."""
    loop.history.trim()
    noted = loop.history["epoch"]
    epochs = max(int(noted[-1]) - start.epochs, 0) if noted else 0
    loop.model.parameters.restore_state(loop.good)
    loop.trainer.put_back(start.kept, start.steps)
    if epochs:
        rates = _rates(loop, start.epochs, epochs)
        loop.source.run_epochs(start.epochs, epochs, None if rates is None else rates.ravel())
    steps = loop.source.steps or 1
    loop.back_to(start.epochs + epochs, start.steps + epochs * steps, start.rows + epochs * loop.source.rows_of(steps))
