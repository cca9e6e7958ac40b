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
_FIRST_PASSES = 1  # of a program whose speed is not known yet
_GATHERED_AT_ONCE = 64  # tiles of a full batch, between which Ctrl-C arrives
_KEPT_BYTES = 2**30  # a full batch larger than this is gathered anew in every step


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

    def __reduce__(self) -> tuple[Any, ...]:
        # A worker of a process pool sends its exceptions pickled; by default the class would get the message alone.
        return type(self), (self.step, self.losses), {"args": self.args}


class Bound:
    """One data set, bound to a trainer: `rows` rows that have passed all checks."""

    def __init__(self, trainer: "Trainer", loss: Loss, X: Array, y: Array) -> None:
        self._trainer, self._loss, self._X, self._y = trainer, loss, X, y
        self.rows = len(X)
        self._token = object()  # what a program remembers its tiles by, rather than by this and its data
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
        return self._run(program, _Steps(flat, calls, starts, rows, 1))

    def run_full(self, steps: int) -> Array:
        """Trains for that many steps, each on all rows, and returns their losses, (steps,) float64.

        The rows are cut into tiles, each of which goes through all layers while it is in cache; gradients add up over
        them. No step makes the plan and fetches the tiles, no more.
        """
        starts, rows = self._tiles()
        tiles = len(starts)
        kept = self._keep_batches(tiles)
        program = self._trainer.program(int(rows[0]), batches=tiles if kept else 1)
        if kept:
            self._gather(program, starts, rows)
        if steps == 0:
            return np.empty(0)
        calls = np.tile(_repeated(program.calls("forward" if kept else "gather", "backward"), tiles), (steps, 1))
        calls[tiles - 1 :: tiles, 1] = program.calls("update", "update")[1]
        batch = np.tile(np.arange(tiles), steps) if kept else None
        starts, rows = np.tile(starts, steps), np.tile(rows, steps)
        return self._run(program, _Steps(self._all_rows, calls, starts, rows, tiles, batch))

    def differentiate(self) -> float:
        """The loss over all rows, with the dropout masks of the first step; the trainer then has its gradient."""
        starts, rows = self._tiles()
        program = self._trainer.program(int(rows[0]))
        calls = _repeated(program.calls("gather", "backward"), len(starts))
        steps = _Steps(self._all_rows, calls, starts, rows, len(starts))
        return float(self._run(program, steps, training=False)[0])

    # Passes.

    def _tiles(self) -> tuple[Array, Array]:
        """Where each pass of a full batch starts, and how many rows it takes."""
        tile = self._trainer.tile_rows(self.rows)
        starts = np.arange(0, self.rows, tile)
        return starts, np.minimum(tile, self.rows - starts)

    def _keep_batches(self, tiles: int) -> bool:
        """Whether a full batch may be kept in the layout of its passes, which takes some two copies of the data."""
        return tiles == 1 or 2 * (self._X.nbytes + self._y.nbytes) <= _KEPT_BYTES

    def _gather(self, program: Program, starts: Array, rows: Array) -> None:
        """Fetches each tile of a full batch into a batch of its own, unless the program still has them."""
        if program.gathered is self._token:
            return
        program.gathered = None
        for first in range(0, len(starts), _GATHERED_AT_ONCE):
            own = slice(first, first + _GATHERED_AT_ONCE)
            given: dict[str, Column] = {"X": self._X, "y": self._y, "order": Window(self._all_rows, starts[own])}
            calls = _repeated(program.calls("gather", "gather"), len(rows[own]))
            program.runner.run(Passes(calls, rows[own], given, batch=np.arange(len(starts))[own]))
        program.gathered = self._token

    def _run(self, program: Program, steps: "_Steps", training: bool = True) -> Array:
        """Runs passes in chunks and returns the loss of each step; a chunk may end within a step, whose gradients wait.

        training   there is an update at the end of each step; a loss that is not finite is an error
        """
        self._trainer.abandon_step()
        if steps.batch is None:
            program.gathered = None  # its passes fetch their own rows into the first batch
        losses = np.zeros(len(steps.starts))
        first, total = 0, len(losses)
        while first < total:
            seconds = program.seconds_per_pass
            count = _FIRST_PASSES if seconds is None else max(1, int(CHUNK_SECONDS / seconds))
            last = min(first + count, total)
            self._run_chunk(program, steps, slice(first, last), losses, training)
            finite = np.isfinite(losses[first:last])
            if training and not finite.all():
                step = (first + int(np.argmin(finite))) // steps.tiles
                raise NonFiniteLoss(step, _by_step(losses[:last], steps.tiles))
            first = last
        return _by_step(losses, steps.tiles)

    def _run_chunk(self, program: Program, steps: "_Steps", own: slice, losses: Array, training: bool) -> None:
        """Runs some of the passes; their losses go to their places in `losses`."""
        trainer, rows = self._trainer, steps.rows[own]
        index = np.arange(own.start, own.stop)
        step, place = divmod(index, steps.tiles)
        start = trainer.step_count if training else 0
        given: dict[str, Column] = {
            "X": self._X, "y": self._y,
            "order": Window(steps.order, steps.starts[own]),
            "loss": Window(losses, index, 1),
            "scale": self._scale(rows, steps.tiles),
            "accumulate": PerPass((place > 0).astype(np.int64)) if steps.tiles > 1 else 0,
            **trainer.dropout_keys(start + step - step[0], place),
        }  # fmt: skip
        done = 0
        if training:
            numbers = start + 1.0 + np.arange(step[-1] - step[0] + 1)
            given |= per_step(trainer.optimizer.scalars(numbers, trainer.lr), step - step[0])
            done = int(own.stop // steps.tiles - own.start // steps.tiles)
        batch = None if steps.batch is None else steps.batch[own]
        pieces = [steps.calls[own]]
        if len(rows) == 1 and (program.seconds_per_pass is None or program.seconds_per_pass > CHUNK_SECONDS):
            # One pass that is long, or may be: Ctrl-C arrives between its calls, of which the update is the last.
            pieces = [np.array([[call, call + 1]]) for call in range(*steps.calls[own.start])]
        begin, left = time.perf_counter(), len(pieces)
        try:
            for calls in pieces:
                left -= 1
                program.runner.run(Passes(calls, rows, given, batch))
        finally:
            trainer.step_count += done if left == 0 else 0
        program.seconds_per_pass = max((time.perf_counter() - begin) / len(rows), 1e-9)

    def _scale(self, rows: Array, tiles: int) -> Column:
        """1 / (terms of the mean) for each pass: over all rows where a step has several passes, else over its own."""
        outputs = self._trainer.model.parameters.outputs
        if tiles > 1:
            return 1.0 / float(self._loss.terms(self.rows, outputs))
        if rows[0] == rows[-1]:  # only the last batch can be smaller
            return 1.0 / float(self._loss.terms(int(rows[0]), outputs))
        return PerPass(1.0 / self._loss.terms(rows, outputs))


@dataclass(frozen=True)
class _Steps:
    """A stretch of passes over bound data, all arrays (passes,) but for the first two.

    order      row numbers;  calls  (passes, 2) what each pass runs
    starts     where in `order` each pass begins;  rows  how many it takes
    tiles      passes of a step
    batch      which of the program's batches each works on, or None
    """

    order: Array
    calls: Array
    starts: Array
    rows: Array
    tiles: int
    batch: Array | None = None


def _by_step(losses: Array, tiles: int) -> Array:
    """The losses of passes, added up by step, of which the last may be incomplete."""
    if tiles == 1:
        return losses
    return np.add.reduceat(losses, np.arange(0, len(losses), tiles))


def _repeated(calls: tuple[int, int], passes: int) -> Array:
    return np.tile(np.array(calls, np.int64), (passes, 1))


def per_step(scalars: Mapping[str, float | Array], step_of: Array) -> dict[str, Column]:
    """An optimizer's scalars as columns: what differs by step is spread over the passes of each step."""
    return {
        name: PerPass(value[step_of]) if isinstance(value, np.ndarray) else value for name, value in scalars.items()
    }
