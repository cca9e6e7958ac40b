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
from fastnn.schedules import Constant

if TYPE_CHECKING:
    from fastnn.loop import Loop

_MOST_ROWS = 2**20  # whose numbers are held for a stretch


class _Start(NamedTuple):
    """Where a stretch began: what the trainer keeps beside the model, whose weights the loop has, and the steps."""

    kept: Any
    step_count: int


def is_possible(loop: Loop) -> bool:
    """Whether epochs of this training may go ahead of what is noted of them."""
    called = (*loop.hooks["on_epoch_end"], *loop.hooks["on_progress"])
    lag = all(getattr(getattr(method, "__self__", None), "may_lag", False) is True for method in called)
    constant = isinstance(loop.schedule, Constant)
    return (
        lag
        and loop.validation is None
        and loop.trainer.optimizer.ema_decay is None
        and loop.schedule.known_ahead
        and loop.source.goes_ahead(constant)
    )


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
    start = _Start(loop.trainer.kept_arrays(), loop.trainer.step_count)
    first, begin, noted = loop.finished, time.perf_counter(), 0
    try:
        try:
            rates = _rates(loop, first, epochs)
            losses = loop.source.run_epochs(first, epochs, None if rates is None else rates.ravel())
            whole = loop.weights_are_finite()
        except (NonFiniteLoss, ValueError):  # which the epochs say themselves, one by one
            whole = False
        seconds = time.perf_counter() - begin
        loop.history.train_seconds += seconds
        if not whole:
            _begin_again(loop, start)
            loop.goes_ahead = False
            return
        loop.epoch_seconds = seconds / epochs
        for epoch in range(epochs):
            if rates is not None:
                loop.trainer.lr = float(rates[epoch, -1])
            loop.note(losses[epoch], begin + seconds * (epoch + 1) / epochs)
            noted = epoch + 1
            if loop.context.reason is not None:
                break
        if noted < epochs:
            _begin_again(loop, start)
            _train_silently(loop, first, noted)
    except BaseException as error:  # Ctrl-C, or a callback's
        loop.history.trim()
        noted = loop.finished - first
        made = (loop.trainer.step_count - start.step_count) // (loop.source.steps or 1)
        _begin_again(loop, start)
        _train_silently(loop, first, noted)
        if isinstance(error, KeyboardInterrupt):
            for _ in range(made - noted):
                loop.epoch()
        raise
    loop.keep(f"those of the end of epoch {loop.context.epoch}")


def _rates(loop: Loop, first: int, epochs: int) -> np.ndarray[Any, Any] | None:
    """Of each step, (epochs, steps); None where it is the trainer's throughout."""
    schedule, steps = loop.schedule, loop.source.steps or 1
    if isinstance(schedule, Constant):
        return None
    if schedule.per == "step":
        done = loop.first_time + loop.trainer.step_count
        return schedule.rates(loop.lr0, epochs * steps, done).reshape(epochs, steps)
    return np.repeat(schedule.rates(loop.lr0, epochs, first)[:, None], steps, axis=1)


def _begin_again(loop: Loop, start: _Start) -> None:
    loop.model.parameters.restore_state(loop.good)
    loop.trainer.put_back(start.kept, start.step_count)


def _train_silently(loop: Loop, first: int, epochs: int) -> None:
    """Trains epochs again that have been noted."""
    if epochs:
        rates = _rates(loop, first, epochs)
        loop.source.run_epochs(first, epochs, None if rates is None else rates.ravel())
