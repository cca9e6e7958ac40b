"""Data bound to a trainer: checked and converted once, then trained on in stretches.

Steps run in chunks of some 50 ms, between which Ctrl-C arrives and the losses are looked at; within a chunk there is no
Python.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from . import checks
from .losses import Loss
from .plan.program import Program
from .plan.runner import Column, Passes, PerPass, Window

if TYPE_CHECKING:
    from .trainer import Trainer

Array = np.ndarray[Any, Any]
CHUNK_SECONDS = 0.05
_FIRST_PASSES = 16  # of a stretch whose speed is not known yet
_KEPT_BYTES = 2**30  # a full batch larger than this is gathered anew in every step
_PASSES_OF_A_STEP = 2**20  # dropout counters: step * this + pass within the step


class NonFiniteLoss(ArithmeticError):
    """The loss became NaN or infinite.

    step     index, within the run, of the first step whose loss is not finite
    losses   (steps,) float64: the losses up to the end of the chunk in which that was found
    """

    def __init__(self, step: int, losses: Array) -> None:
        self.step, self.losses = step, losses
        super().__init__(
            f"the loss is {losses[step]} at step {step}: training diverged; "
            "a lower learning rate or standardised data may help"
        )


class Bound:
    """One data set, bound to a trainer: `rows` rows that have passed all checks."""

    def __init__(self, trainer: "Trainer", loss: Loss, X: Array, y: Array) -> None:
        self._trainer, self._loss, self._X, self._y = trainer, loss, X, y
        self.rows = len(X)
        self._all_rows = np.arange(self.rows, dtype=np.int64)

    def run(self, order: Any) -> Array:
        """Trains on rows in this order and returns the loss of each step, (steps,) float64.

        order   int64 (steps, batch_size) row numbers, or (rows,), which is cut into batches, the last one smaller
        """
        batch_size = self._trainer.batch_size
        rows_of_order = checks.row_numbers(order, self.rows, batch_size)
        if rows_of_order.ndim == 2:
            batch_size = rows_of_order.shape[1]
        flat = rows_of_order.ravel()
        starts = np.arange(0, len(flat), batch_size)
        rows = np.minimum(batch_size, len(flat) - starts)
        program = self._trainer.program(self._trainer.batch_size)
        calls = _repeated(program.calls("gather", "update"), len(starts))
        return self._run(program, _Steps(flat, calls, starts, rows, np.arange(len(starts)), rows))

    def run_full(self, steps: int) -> Array:
        """Trains for that many steps, each on all rows, and returns their losses, (steps,) float64.

        The rows are cut into tiles, each of which goes through all layers while it is in cache; gradients add up over
        them.
        """
        if steps == 0:
            return np.empty(0)
        starts, rows = self._tiles()
        tiles = len(starts)
        kept = self._keep_batches(tiles)
        program = self._trainer.program(int(rows[0]), batches=tiles if kept else 1)
        first = "forward" if kept else "gather"
        if kept:
            given, _ = self._given(_Steps(self._all_rows, starts, starts, rows, starts, rows))
            gather = _repeated(program.calls("gather", "gather"), tiles)
            program.runner.run(Passes(gather, rows, given, batch=np.arange(tiles)))
        calls = np.tile(_repeated(program.calls(first, "backward"), tiles), (steps, 1))
        calls[tiles - 1 :: tiles] = program.calls(first, "update")
        step_of = np.repeat(np.arange(steps), tiles)
        batch = np.tile(np.arange(tiles), steps) if kept else None
        averaged = np.full(steps * tiles, self.rows)
        starts, rows = np.tile(starts, steps), np.tile(rows, steps)
        losses = self._run(program, _Steps(self._all_rows, calls, starts, rows, step_of, averaged, batch))
        return losses.reshape(steps, tiles).sum(axis=1)

    def differentiate(self) -> float:
        """The loss over all rows; its gradient is in the trainer's gradients then. Nothing else is changed."""
        starts, rows = self._tiles()
        program = self._trainer.program(int(rows[0]))
        calls = _repeated(program.calls("gather", "backward"), len(starts))
        same_step = np.zeros(len(starts), np.int64)
        given, losses = self._given(
            _Steps(self._all_rows, calls, starts, rows, same_step, np.full(len(starts), self.rows))
        )
        given |= self._trainer.dropout_keys(np.arange(len(starts)))
        program.runner.run(Passes(calls, rows, given))
        return float(losses.sum())

    # ---- passes ----

    def _tiles(self) -> tuple[Array, Array]:
        """Where each pass of a full batch starts, and how many rows it takes."""
        tile = self._trainer.tile_rows(self.rows)
        starts = np.arange(0, self.rows, tile)
        return starts, np.minimum(tile, self.rows - starts)

    def _keep_batches(self, tiles: int) -> bool:
        """Whether a full batch may be kept in the layout of its passes, which takes some two copies of the data."""
        return tiles == 1 or 2 * (self._X.nbytes + self._y.nbytes) <= _KEPT_BYTES

    def _given(self, steps: "_Steps") -> tuple[dict[str, Column], Array]:
        """Data, row order, losses and scale of a stretch of passes, and the array that will hold the losses."""
        passes = len(steps.starts)
        losses = np.zeros(passes)
        outputs = self._trainer.model.parameters.outputs
        given: dict[str, Column] = {
            "X": self._X, "y": self._y,
            "order": Window(steps.order, steps.starts),
            "loss": Window(losses, np.arange(passes), 1),
            "scale": PerPass(1.0 / self._loss.terms(steps.averaged, outputs)),
            "accumulate": PerPass((_index_within_step(steps.step_of) > 0).astype(np.int64)),
        }  # fmt: skip
        return given, losses

    def _run(self, program: Program, steps: "_Steps") -> Array:
        """Runs passes in chunks."""
        losses = np.empty(0)
        first, total = 0, len(steps.starts)
        while first < total:
            seconds = program.seconds_per_pass
            count = _FIRST_PASSES if seconds is None else max(1, int(CHUNK_SECONDS / seconds))
            last = _end_of_step(steps.step_of, min(first + count, total))
            done = self._run_chunk(program, steps.part(first, last))
            losses = done if first == 0 else np.concatenate([losses, done])
            if not np.isfinite(done).all():
                raise NonFiniteLoss(int(steps.step_of[np.argmax(~np.isfinite(losses))]), losses)
            first = last
        return losses

    def _run_chunk(self, program: Program, steps: "_Steps") -> Array:
        trainer = self._trainer
        given, losses = self._given(steps)
        step_of = steps.step_of - steps.step_of[0]
        count = int(step_of[-1]) + 1
        given |= per_step(trainer.optimizer.scalars(trainer.step_count + 1.0 + np.arange(count), trainer.lr), step_of)
        given |= trainer.dropout_keys((trainer.step_count + step_of) * _PASSES_OF_A_STEP + _index_within_step(step_of))
        begin = time.perf_counter()
        try:
            program.runner.run(Passes(steps.calls, steps.rows, given, steps.batch))
        finally:
            trainer.step_count += count
        program.seconds_per_pass = max((time.perf_counter() - begin) / len(steps.rows), 1e-9)
        return losses


@dataclass(frozen=True)
class _Steps:
    """A stretch of passes over bound data, all arrays (passes,) but for the first two.

    order      row numbers;  calls  (passes, 2) what each pass runs
    starts     where in `order` each pass begins;  rows  how many it takes
    step_of    which step each belongs to;  averaged  how many rows the mean of its loss is over
    batch      which of the program's batches it works on, or None
    """

    order: Array
    calls: Array
    starts: Array
    rows: Array
    step_of: Array
    averaged: Array
    batch: Array | None = None

    def part(self, first: int, last: int) -> "_Steps":
        own = slice(first, last)
        batch = None if self.batch is None else self.batch[own]
        return _Steps(
            self.order, self.calls[own], self.starts[own], self.rows[own], self.step_of[own], self.averaged[own], batch
        )


def _repeated(calls: tuple[int, int], passes: int) -> Array:
    return np.tile(np.array(calls, np.int64), (passes, 1))


def per_step(scalars: Mapping[str, float | Array], step_of: Array) -> dict[str, Column]:
    """An optimizer's scalars as columns: what differs by step is spread over the passes of each step."""
    return {
        name: PerPass(value[step_of]) if isinstance(value, np.ndarray) else value for name, value in scalars.items()
    }


def _end_of_step(step_of: Array, last: int) -> int:
    """`last`, moved on to the end of the step that it falls into."""
    while last < len(step_of) and step_of[last] == step_of[last - 1]:
        last += 1
    return last


def _index_within_step(step_of: Array) -> Array:
    """0, 1, 2 ... for the passes of each step."""
    place = np.arange(len(step_of))
    first = np.r_[True, step_of[1:] != step_of[:-1]]
    return place - np.maximum.accumulate(np.where(first, place, 0))
