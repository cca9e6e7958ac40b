"""Data bound to a trainer: checked and converted once, then trained on in stretches.

Steps run in chunks of some 50 ms, between which Ctrl-C arrives and the losses are looked at; within a chunk there is no Python.
"""

import time
from collections.abc import Mapping
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


class NonFiniteLoss(ArithmeticError):
    """The loss became NaN or infinite.

    step     index, within the run, of the first step whose loss is not finite
    losses   (steps,) float64: the losses up to the end of the chunk in which that was found
    """

    def __init__(self, step: int, losses: Array) -> None:
        self.step, self.losses = step, losses
        super().__init__(
            f"the loss is {losses[step]} at step {step}: training diverged; a lower learning rate or standardised data may help"
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
        calls = np.empty((len(starts), 2), np.int64)
        calls[:] = self._step_calls(program)
        return self._run(program, flat, calls, starts, rows, np.arange(len(starts)), rows)

    def run_full(self, steps: int) -> Array:
        """Trains for that many steps, each on all rows, and returns their losses, (steps,) float64."""
        program, starts, rows = self._tiles()
        tiles = len(starts)
        calls = np.empty((steps, tiles, 2), np.int64)
        calls[:, :-1] = self._gradient_calls(program)
        calls[:, -1] = self._step_calls(program)
        step_of = np.repeat(np.arange(steps), tiles)
        every = np.full(steps * tiles, self.rows)
        losses = self._run(
            program, self._all_rows, calls.reshape(-1, 2), np.tile(starts, steps), np.tile(rows, steps), step_of, every
        )
        return losses.reshape(steps, tiles).sum(axis=1)

    def differentiate(self) -> float:
        """The loss over all rows; its gradient is in the trainer's gradients then. Nothing else is changed."""
        program, starts, rows = self._tiles()
        calls = np.empty((len(starts), 2), np.int64)
        calls[:] = self._gradient_calls(program)
        counters = np.zeros(len(starts), np.int64)
        given, losses = self._given(self._all_rows, starts, rows, counters, np.full(len(starts), self.rows))
        given |= self._trainer.dropout_keys(np.arange(len(starts)))
        program.runner.run(Passes(calls, rows, given))
        return float(losses.sum())

    # ---- passes ----

    def _tiles(self) -> tuple[Program, Array, Array]:
        """The program of a full batch, and where each of its passes starts and how many rows it takes."""
        tile = self._trainer.tile_rows(self.rows)
        starts = np.arange(0, self.rows, tile)
        return self._trainer.program(tile), starts, np.minimum(tile, self.rows - starts)

    @staticmethod
    def _gradient_calls(program: Program) -> list[tuple[int, int]]:
        return [program.calls("gather", "backward")]

    @staticmethod
    def _step_calls(program: Program) -> list[tuple[int, int]]:
        return [program.calls("gather", "update")]

    def _given(
        self, order: Array, starts: Array, rows: Array, step_of: Array, averaged: Array
    ) -> tuple[dict[str, Column], Array]:
        """Data, row order, losses and scale of a stretch of passes, and the array that will hold the losses."""
        losses = np.zeros(len(starts))
        first_of_step = np.diff(step_of, prepend=step_of[0] - 1) != 0
        given: dict[str, Column] = {
            "X": self._X, "y": self._y,
            "order": Window(order, starts),
            "loss": Window(losses, np.arange(len(starts)), 1),
            "scale": PerPass(1.0 / self._loss.terms(averaged, self._trainer.model.parameters.outputs)),
            "accumulate": PerPass((~first_of_step).astype(np.int64)),
        }  # fmt: skip
        return given, losses

    def _run(
        self, program: Program, order: Array, calls: Array, starts: Array, rows: Array, step_of: Array, averaged: Array
    ) -> Array:
        """Runs passes in chunks; `step_of` numbers the step that each pass belongs to, `averaged` how many rows its mean is over."""
        losses = np.empty(0)
        kind = (int(calls[0, 0]), int(calls[-1, 1]))
        first = 0
        while first < len(starts):
            seconds = program.seconds_per_pass.get(kind)
            count = _FIRST_PASSES if seconds is None else max(1, int(CHUNK_SECONDS / seconds))
            last = _end_of_step(step_of, min(first + count, len(starts)))
            part = slice(first, last)
            done = self._run_chunk(program, order, calls[part], starts[part], rows[part], step_of[part], averaged[part], kind)
            losses = done if first == 0 else np.concatenate([losses, done])
            if not np.isfinite(done).all():
                raise NonFiniteLoss(int(step_of[np.argmax(~np.isfinite(losses))]), losses)
            first = last
        return losses

    def _run_chunk(
        self, program: Program, order: Array, calls: Array, starts: Array, rows: Array, step_of: Array, averaged: Array,
        kind: tuple[int, int],
    ) -> Array:  # fmt: skip
        trainer = self._trainer
        given, losses = self._given(order, starts, rows, step_of, averaged)
        steps = int(step_of[-1] - step_of[0]) + 1
        numbers = trainer.step_count + 1.0 + np.arange(steps)
        given |= per_step(trainer.optimizer.scalars(numbers, trainer.lr), step_of - step_of[0])
        given |= trainer.dropout_keys((trainer.step_count + step_of - step_of[0]) * 2**20 + _index_within_step(step_of))
        begin = time.perf_counter()
        try:
            program.runner.run(Passes(calls, rows, given))
        finally:
            trainer.step_count += steps
        program.seconds_per_pass[kind] = max((time.perf_counter() - begin) / len(starts), 1e-9)
        return losses


def per_step(scalars: Mapping[str, float | Array], step_of: Array) -> dict[str, Column]:
    """An optimizer's scalars as columns: what differs by step is spread over the passes of each step."""
    return {name: PerPass(value[step_of]) if isinstance(value, np.ndarray) else value for name, value in scalars.items()}


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
