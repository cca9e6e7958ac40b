"""Data bound to a trainer: checked and converted once, then trained on in stretches.

Steps run in chunks of some 50 ms, between which Ctrl-C arrives and the losses are looked at; within a chunk there is no
Python. `steps` makes them one by one, for loops of one's own.
"""

import itertools
import math
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from . import checks
from .losses import Loss
from .losses.base import reciprocal
from .plan.prepared import UNWRITTEN, stepper
from .plan.program import Program
from .plan.runner import Column, Passes, PerPass, Window
from .steps import Steps, by_step, full_batch, mini_batches, repeated

if TYPE_CHECKING:
    from .trainer import Trainer

Array = np.ndarray[Any, Any]
CHUNK_SECONDS = 0.05
_SECONDS_PER_WEIGHT_AND_ROW = 6e-9  # of a pass whose speed is not known yet: slow, as 1 GFLOP/s
_GATHERED_AT_ONCE = 64  # tiles of a full batch, between which Ctrl-C arrives
# How many steps are prepared ahead where they are made one by one: after something came between, growing by, at most.
_AHEAD_FIRST, _AHEAD_GROWS, _AHEAD = 16, 16, 4096
_PAUSE = 1e-4  # seconds, between attempts to make a step while another thread makes one
_PARTS, _PARTS_BYTES = 8, 2**28  # of the gradients of a full batch: as many threads share it; no more memory than this
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
    """One data set, bound to a trainer: `rows` rows that have passed all checks.

    weights   (rows,) of the model's dtype, what each row counts in the loss; None: all alike
    taken     int64 row numbers: those that a full batch takes; None: all
    """

    def __init__(
        self, trainer: "Trainer", loss: Loss, X: Array, y: Array, weights: Array | None = None,
        taken: Array | None = None,
    ) -> None:  # fmt: skip
        self._trainer, self._loss, self._X, self._y, self.weights = trainer, loss.form(y), X, y, weights
        self.rows = len(X)
        self._token = object()  # what a program remembers its tiles by, rather than by this and its data
        self._taken = taken

    @cached_property
    def _full(self) -> Array:
        """The rows of a full batch. Of data larger than memory these numbers alone are large, and rarely needed."""
        return np.arange(self.rows, dtype=np.int64) if self._taken is None else self._taken

    def run(self, order: Any, rates: Any = None) -> Array:
        """Trains on rows in this order and returns the loss of each step, (steps,) float64.

        order   int64 (steps, batch_size) row numbers, or (rows,), which is cut into batches, the last one smaller
        rates   (steps,) learning rates, finite and at least 0; None: the trainer's `lr` for all, which stays as it is
        """
        program = self._program(self._trainer.batch_size)
        steps = self._mini_batches(program, order)
        return self._run(program, steps, rates=None if rates is None else checked_rates(rates, len(steps.starts)))

    def run_batches(self, sizes: Any, rates: Any = None) -> Array:
        """Trains on the rows as they come, in batches of any sizes, and returns the loss of each, (steps,) float64.

        sizes   (steps,) integers: rows of each batch, at least 1, and together no more than there are
        rates   as in `run`

        Batches larger than the trainer's batch_size take the plan for twice as many rows, for four times as many, and
        so on: which one depends on the batch alone.
        """
        rows = self._checked_sizes(sizes)
        if rates is not None:
            rates = checked_rates(rates, len(rows))
        trainer, ends = self._trainer, np.cumsum(rows)
        order = np.arange(ends[-1])
        doublings = np.ceil(np.log2(np.maximum(rows / trainer.batch_size, 1.0))).astype(np.int64)
        begins = [0, *(np.flatnonzero(np.diff(doublings)) + 1), len(rows)]
        losses = np.empty(len(rows))
        for first, last in itertools.pairwise(begins):
            program, own = self._program(trainer.batch_size << int(doublings[first])), slice(first, last)
            calls = repeated(program.calls("gather", "update"), last - first)
            steps = Steps(order, calls, (ends - rows)[own], rows[own])
            try:
                losses[own] = self._run(program, steps, rates=None if rates is None else rates[own])
            except NonFiniteLoss as error:
                raise NonFiniteLoss(first + error.step, np.append(losses[:first], error.losses)) from None
        return losses

    def _checked_sizes(self, sizes: Any) -> Array:
        rows = checks.numeric(sizes, "run_batches(sizes)")
        if rows.ndim != 1 or rows.dtype.kind not in "iu" or len(rows) == 0 or rows.min() < 1 or rows.sum() > self.rows:
            raise ValueError(
                f"run_batches(sizes={sizes!r}): expected whole numbers from 1, of {self.rows} rows together"
            )
        return rows.astype(np.int64)

    def steps(self, order: Any) -> Iterator[float]:
        """Trains on rows in this order, one step whenever the next loss is asked for, and gives the loss of each.

            for loss in bound.steps(order): ...

        Between two steps anything may be done with the trainer: change its `lr`, run other steps, reset it, or leave
        the loop. A step takes what it finds, so that all steps together are those of `run(order)`, bit for bit. A loss
        that is not finite raises NonFiniteLoss in place of being given. `order` is copied.
        """
        program = self._program(self._trainer.batch_size)
        return self._step_by_step(program, self._mini_batches(program, order, copy=True))

    def run_full(self, steps: int) -> Array:
        """Trains for that many steps, each on all rows, and returns their losses, (steps,) float64.

        The rows are cut into tiles, each of which goes through all layers while it is in cache. Gradients add up over
        the tiles of a part, then over the parts, which threads compute side by side. No step makes the plan and fetches
        the tiles, no more.
        """
        starts, rows = self._tiles()
        tiles = len(starts)
        kept = self._keep_batches(tiles)
        program = self._program(int(rows[0]), batches=tiles if kept else 1, parts=self._parts(tiles))
        if kept:
            self._gather(program, starts, rows)
        if steps == 0:
            return np.empty(0)
        sections = "forward" if kept else "gather", "update"
        step = full_batch(program, self._full, (starts, rows), self._parts(tiles), sections, kept)
        return self._run(program, step.times(steps))

    def differentiate(self) -> float:
        """The loss over all rows, with the dropout masks of the first step; the trainer then has its gradient."""
        starts, rows = self._tiles()
        parts = self._parts(len(starts))
        program = self._program(int(rows[0]), parts=parts)
        step = full_batch(program, self._full, (starts, rows), parts, ("gather", "penalty"), kept=False)
        return float(self._run(program, step, training=False)[0])

    def prepare(self) -> None:
        """Makes the plan of mini-batches, which the first run would make."""
        self._program(self._trainer.batch_size)

    # Passes.

    def _program(self, rows: int, batches: int = 1, parts: int = 0) -> Program:
        """The trainer's for this kind of targets, with weights or without."""
        weighted = self.weights is not None
        return self._trainer.program(rows, batches=batches, parts=parts, form=self._loss, weighted=weighted)

    def _mini_batches(self, program: Program, order: Any, copy: bool = False) -> Steps:
        """A pass for each batch of an order."""
        batch_size = self._trainer.batch_size
        rows_of_order = checks.row_numbers(order, self.rows, batch_size)
        if rows_of_order.ndim == 2:
            batch_size = rows_of_order.shape[1]
        flat = rows_of_order.flatten() if copy else rows_of_order.ravel()
        return mini_batches(program, flat, batch_size)

    def _step_by_step(self, program: Program, steps: Steps) -> Iterator[float]:
        """Runs one pass after the other. Passes ahead are prepared, as long as nothing comes between."""
        trainer, total = self._trainer, len(steps.starts)
        losses = np.full(total, UNWRITTEN).view(np.float64)
        index, end, ahead = 0, 0, _AHEAD_FIRST
        while index < total:
            ahead = min(_AHEAD_GROWS * ahead, _AHEAD) if index == end else _AHEAD_FIRST
            own = slice(index, min(index + ahead, total))
            end = own.stop
            trainer.abandon_step()
            program.gathered = None  # the first batch is overwritten
            expected = trainer.progress.cells.copy()
            prepared = program.runner.prepare(self._passes(program, steps, own, losses, training=True))
            stretch = stepper(prepared, trainer.progress, expected, losses[own])
            for loss in iter(stretch.next, math.inf):  # noqa: UP028 - `yield from` would not hear Ctrl-C
                yield loss
            index = own.start + stretch.made
            if index == own.start:
                time.sleep(_PAUSE)  # another thread is at work in the workspace
            elif not math.isfinite(losses[index - 1]):
                raise NonFiniteLoss(index - 1, losses[:index].copy())

    def _tiles(self) -> tuple[Array, Array]:
        """Where each pass of a full batch starts, and how many rows it takes."""
        rows = len(self._full)
        tile = self._trainer.tile_rows(rows)
        starts = np.arange(0, rows, tile)
        return starts, np.minimum(tile, rows - starts)

    def _parts(self, tiles: int) -> int:
        """How many parts of the gradients the tiles of a full batch are summed into. It decides the order of the sums,
        so it depends on the model and the data alone. 0: into the gradients themselves."""
        parts = min(tiles, _PARTS)
        enough = parts * len(self._trainer.model.parameters.arena) <= _PARTS_BYTES
        return parts if tiles > 1 and enough else 0

    def _keep_batches(self, tiles: int) -> bool:
        """Whether a full batch may be kept in the layout of its passes, which takes some two copies of the data."""
        return tiles == 1 or 2 * (self._X.nbytes + self._y.nbytes) // self.rows * len(self._full) <= _KEPT_BYTES

    def _gather(self, program: Program, starts: Array, rows: Array) -> None:
        """Fetches each tile of a full batch into a batch of its own, unless the program still has them."""
        if program.gathered is self._token:
            return
        program.gathered = None
        self._trainer.abandon_step()  # steps that go on afterwards overwrite the first batch
        for first in range(0, len(starts), _GATHERED_AT_ONCE):
            own = slice(first, first + _GATHERED_AT_ONCE)
            given = {**self._data(), "order": Window(self._full, starts[own])}
            calls = repeated(program.calls("gather", "gather"), len(rows[own]))
            program.runner.run(Passes(calls, rows[own], given, batch=np.arange(len(starts))[own]))
        program.gathered = self._token

    def _run(self, program: Program, steps: Steps, training: bool = True, rates: Array | None = None) -> Array:
        """Runs passes in chunks and returns the loss of each step; a chunk may end within a step, whose gradients wait.

        training   there is an update at the end of each step; a loss that is not finite is an error
        rates      of each step; None: the trainer's
        """
        self._trainer.abandon_step()
        if steps.batch is None:
            program.gathered = None  # its passes fetch their own rows into the first batch
        losses = np.zeros(len(steps.starts))
        first, total = 0, len(losses)
        while first < total:
            count = max(1, int(CHUNK_SECONDS / self._seconds_per_pass(program)))
            last = min(first + count, total)
            self._run_chunk(program, steps, slice(first, last), losses, training, rates)
            finite = np.isfinite(losses[first:last])
            if training and not finite.all():
                step = (first + int(np.argmin(finite))) // steps.passes
                raise NonFiniteLoss(step, by_step(losses[:last], steps.passes))
            first = last
        return by_step(losses, steps.passes)

    def _run_chunk(
        self, program: Program, steps: Steps, own: slice, losses: Array, training: bool, rates: Array | None
    ) -> None:
        """Runs some of the passes; their losses go to their places in `losses`."""
        passes = self._passes(program, steps, own, losses, training, rates)
        pieces = [passes]
        if len(passes) == 1 and self._seconds_per_pass(program) > CHUNK_SECONDS:
            # One pass that is long, or may be: Ctrl-C arrives between its calls, of which the update is the last.
            calls = range(*passes.calls[0])
            pieces = [replace(passes, calls=np.array([[call, call + 1]])) for call in calls]
        begin, left = time.perf_counter(), len(pieces)
        try:
            for piece in pieces:
                left -= 1
                program.runner.run(piece)
        finally:
            if training and left == 0:
                self._trainer.step_count += int(own.stop // steps.passes - own.start // steps.passes)
        program.seconds_per_pass = max((time.perf_counter() - begin) / len(passes), 1e-9)

    def _seconds_per_pass(self, program: Program) -> float:
        """What it took last; before the first, what it will hardly exceed."""
        if program.seconds_per_pass is not None:
            return program.seconds_per_pass
        return _SECONDS_PER_WEIGHT_AND_ROW * program.plan.rows * max(1, self._trainer.model.parameters.count)

    def _passes(
        self, program: Program, steps: Steps, own: slice, losses: Array, training: bool, rates: Array | None = None
    ) -> Passes:
        """Some of the passes with all that they are given, at the trainer's step count and these learning rates, or the
        trainer's."""
        trainer, rows = self._trainer, steps.rows[own]
        index = np.arange(own.start, own.stop)
        step, place = divmod(index, steps.passes)
        start = trainer.step_count if training else 0
        given: dict[str, Column] = {
            **self._data(),
            "order": Window(steps.order, steps.starts[own]),
            "loss": Window(losses, index, 1),
            "scale": self._scale(rows, steps.passes) if self.weights is None else self._weighted_scale(steps, own),
            "accumulate": 0 if steps.accumulate is None else PerPass(steps.accumulate[own]),
            **trainer.dropout_keys(start + step - step[0], place),
        }  # fmt: skip
        if training:
            numbers = start + 1.0 + np.arange(step[-1] - step[0] + 1)
            lr = trainer.lr if rates is None else rates[step[0] : step[-1] + 1]
            given |= per_step(trainer.optimizer.scalars(numbers, lr), step - step[0])
        if steps.part is not None:
            given["parts"] = program.parts
        own_or_none = (None if column is None else column[own] for column in (steps.batch, steps.part, steps.marks))
        return Passes(steps.calls[own], rows, given, *own_or_none)

    def _data(self) -> dict[str, Column]:
        """What batches are gathered from."""
        data: dict[str, Column] = {"X": self._X, "y": self._y}
        return data if self.weights is None else {**data, "w": self.weights}

    def _weighted_scale(self, steps: Steps, own: slice) -> Column:
        """The same where rows have weights: 1 / (sum of the weights, as many terms a row as there are), 0 for 0."""
        assert self.weights is not None
        outputs = self._trainer.model.parameters.outputs
        if steps.passes > 1 or steps.batch is not None:  # each step is on all rows
            return float(reciprocal(self._loss.terms(self.weights[self._full].sum(dtype=np.float64), outputs)))
        starts, last = steps.starts[own], own.stop - 1
        rows = steps.order[starts[0] : steps.starts[last] + steps.rows[last]]
        mass = np.add.reduceat(self.weights[rows].astype(np.float64), starts - starts[0])
        return PerPass(reciprocal(self._loss.terms(mass, outputs)))

    def _scale(self, rows: Array, passes: int) -> Column:
        """1 / (terms of the mean) for each pass: over all rows where a step has several passes, else over its own."""
        outputs = self._trainer.model.parameters.outputs
        if passes > 1:
            return 1.0 / float(self._loss.terms(len(self._full), outputs))
        if (rows == rows[0]).all():
            return 1.0 / float(self._loss.terms(int(rows[0]), outputs))
        return PerPass(1.0 / self._loss.terms(rows, outputs))


def checked_rates(rates: Any, steps: int) -> Array:
    """Learning rates, one for each of so many steps."""
    found = checks.numeric(rates, "run(rates)").astype(np.float64)
    if found.shape != (steps,):
        raise ValueError(f"run(rates): has shape {found.shape}, expected one for each of {steps} steps")
    if not (np.isfinite(found).all() and (found >= 0).all()):
        raise ValueError("run(rates): expected finite numbers, 0 or more")
    return found


def per_step(scalars: Mapping[str, float | Array], step_of: Array) -> dict[str, Column]:
    """An optimizer's scalars as columns: what differs by step is spread over the passes of each step."""
    return {
        name: PerPass(value[step_of]) if isinstance(value, np.ndarray) else value for name, value in scalars.items()
    }
