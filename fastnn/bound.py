"""Data bound to a trainer: checked and converted once, then trained on in stretches.

Steps run in chunks of some 50 ms, between which Ctrl-C arrives and the losses are looked at; within a chunk there is no
Python. `steps` makes them one by one, for loops of one's own.
"""

import contextlib
import itertools
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from . import checks
from .feed import Feed, checked_rates
from .losses import Loss
from .plan.passes import Passes, Window
from .plan.prepared import UNWRITTEN, Prepared, stepper
from .plan.program import Program
from .steps import Steps, by_step, full_batch, mini_batches, repeated

if TYPE_CHECKING:
    from .trainer import Trainer

Array = np.ndarray[Any, Any]
CHUNK_SECONDS = 0.05
# Of a pass whose speed is not known yet: slow, as 1 GFLOP/s. Chunks of such passes are in truth ten times as short.
_SECONDS_PER_WEIGHT_AND_ROW, _SECONDS_PER_CALL = 6e-9, 2e-6
_FIRST_CHUNK_SECONDS = 0.4
_KEPT_PASSES = 4096  # that are kept ready for the next run; to make more ready is little beside their work
_GATHERED_AT_ONCE = 64  # tiles of a full batch, between which Ctrl-C arrives
# How many steps are prepared ahead where they are made one by one: after something came between, growing by, at most.
_AHEAD_FIRST, _AHEAD_GROWS, _AHEAD = 16, 16, 4096
_PAUSE = 1e-4  # seconds, between attempts to make a step while another thread makes one
_PARTS, _PARTS_BYTES = 8, 2**28  # of the gradients of a full batch: as many threads share it; no more memory than this
_NO_ROWS = np.empty(0, np.int64)
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


class _Chunk(NamedTuple):
    """Passes that are ready.

    calls   those of the steps that they were cut from: the same array, the same steps but for their order
    what    which of the steps' passes, and how they are run
    """

    calls: Array
    what: tuple[Any, ...]
    prepared: Prepared


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
        self._feed = Feed(trainer, self._loss, X, y, weights, taken)
        self._last_steps: tuple[tuple[Any, ...], Steps] | None = None
        self._chunks: list[_Chunk] = []  # the last one: passes that are ready, until a thread takes them

    def run(self, order: Any, rates: Any = None) -> Array:
        """Trains on rows in this order and returns the loss of each step, (steps,) float64.

        order   int64 (steps, batch_size) row numbers, or (rows,), which is cut into batches, the last one smaller
        rates   (steps,) learning rates, finite and at least 0; None: the trainer's `lr` for all, which stays as it is
        """
        program = self._program(self._trainer.batch_size)
        steps = self._mini_batches(program, order)
        return self._run(program, steps, rates=None if rates is None else checked_rates(rates, len(steps.starts)))

    def run_epochs(self, orders: Array, rates: Any = None) -> Array:
        """Trains on rows in one order after the other, each cut into batches by itself, and returns the loss of each
        step, (epochs, steps) float64.

        orders   int64 (epochs, rows) row numbers
        rates    as in `run`, (epochs * steps,)
        """
        program, batch_size = self._program(self._trainer.batch_size), self._trainer.batch_size
        flat, epochs = checks.row_numbers(orders.ravel(), self.rows, batch_size), len(orders)
        steps = self._in_batches(program, flat, batch_size, epochs)
        losses = self._run(program, steps, rates=None if rates is None else checked_rates(rates, len(steps.starts)))
        return losses.reshape(epochs, -1)

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
        sections, parts = ("forward" if kept else "gather", "update"), self._parts(tiles)
        step = self._steps(
            (program, kept), lambda: full_batch(program, self._feed.full, (starts, rows), parts, sections, kept)
        )
        return self._run(program, step.times(steps))

    def differentiate(self) -> float:
        """The loss over all rows, with the dropout masks of the first step; the trainer then has its gradient."""
        starts, rows = self._tiles()
        parts = self._parts(len(starts))
        program = self._program(int(rows[0]), parts=parts)
        step = full_batch(program, self._feed.full, (starts, rows), parts, ("gather", "penalty"), kept=False)
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
        return self._in_batches(program, rows_of_order.flatten() if copy else rows_of_order.ravel(), batch_size)

    def _in_batches(self, program: Program, order: Array, batch_size: int, epochs: int = 1) -> Steps:
        """The same of a flat order, or of several. It may be large: what is kept of the steps does not hold it."""
        of = program, len(order), batch_size, epochs
        steps = self._steps(of, lambda: mini_batches(program, order, batch_size, epochs)._replace(order=_NO_ROWS))
        return steps._replace(order=order)

    def _steps(self, of: tuple[Any, ...], make: Callable[[], Steps]) -> Steps:
        """The steps that were asked for last, if they are asked for again: chunks of the same steps are prepared once.

        of   what they follow from, but for the order of the rows
        """
        found = self._last_steps
        if found is None or found[0] != of:
            found = self._last_steps = of, make()
        return found[1]

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
            prepared = program.runner.prepare(self._feed.passes(program, steps, own, losses, training=True))
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
        rows = len(self._feed.full)
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
        return tiles == 1 or 2 * (self._X.nbytes + self._y.nbytes) // self.rows * len(self._feed.full) <= _KEPT_BYTES

    def _gather(self, program: Program, starts: Array, rows: Array) -> None:
        """Fetches each tile of a full batch into a batch of its own, unless the program still has them."""
        if program.gathered is self._token:
            return
        program.gathered = None
        self._trainer.abandon_step()  # steps that go on afterwards overwrite the first batch
        for first in range(0, len(starts), _GATHERED_AT_ONCE):
            own = slice(first, first + _GATHERED_AT_ONCE)
            given = {**self._feed.data, "order": Window(self._feed.full, starts[own])}
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
            last = min(first + self._passes_at_once(program), total)
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
        count = own.stop - own.start
        if count == 1 and self._seconds_per_pass(program) > CHUNK_SECONDS:
            # One pass that is long, or may be: Ctrl-C arrives between its calls, of which the update is the last.
            passes = self._feed.passes(program, steps, own, losses, training, rates)
            calls = range(*passes.calls[0])
            chunks = [program.runner.prepare(replace(passes, calls=np.array([[call, call + 1]]))) for call in calls]
            ready = None
        else:
            ready = self._ready(program, steps, own, losses, training, rates)
            chunks = [ready.prepared]
        begin, left = time.perf_counter(), len(chunks)
        try:
            for chunk in chunks:
                left -= 1
                chunk.run(0, count)
        finally:
            if training and left == 0:
                self._trainer.step_count += int(own.stop // steps.passes - own.start // steps.passes)
        program.seconds_per_pass = max((time.perf_counter() - begin) / count, 1e-9)
        if ready is not None and count <= _KEPT_PASSES:
            self._chunks[:] = [ready]

    def _ready(
        self, program: Program, steps: Steps, own: slice, losses: Array, training: bool, rates: Array | None
    ) -> _Chunk:
        """Some of the passes, ready to run: those that ran last, if they are the same but for what they are given, such
        as an epoch's with another order of the rows. No other thread finds them while they run."""
        found, wanted = None, (program, own.start, own.stop, training, rates is None)
        with contextlib.suppress(IndexError):
            found = self._chunks.pop()
        if found is not None and found.calls is steps.calls and found.what == wanted:
            found.prepared.refill(self._feed.changing(steps, own, losses, training, rates))
            return found
        passes = self._feed.passes(program, steps, own, losses, training, rates)
        return _Chunk(steps.calls, wanted, program.runner.prepare(passes))

    def _passes_at_once(self, program: Program) -> int:
        """How many passes make a chunk. The first one is cut for a speed that any machine has."""
        known = program.seconds_per_pass is not None
        return max(1, int((CHUNK_SECONDS if known else _FIRST_CHUNK_SECONDS) / self._seconds_per_pass(program)))

    def _seconds_per_pass(self, program: Program) -> float:
        """What it took last; before the first, what it will hardly exceed."""
        if program.seconds_per_pass is not None:
            return program.seconds_per_pass
        work = program.plan.rows * self._trainer.model.parameters.count
        return _SECONDS_PER_WEIGHT_AND_ROW * work + _SECONDS_PER_CALL * len(program.plan.calls)
