"""What gives the epochs of a training their batches: arrays, in an order drawn anew for each epoch, or an iterator.

The loop asks a `Source` for steps in two halves, how many it can make next and to make them, so that it can say their
learning rates when it knows their number. Arrays lie in memory or in a file that is mapped to it; either way native
code gathers the rows of a batch by their numbers, unless they have to be converted first.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from fastnn import checks, randomness
from fastnn.bound import Bound, NonFiniteLoss
from fastnn.described import description
from fastnn.losses.base import reciprocal

if TYPE_CHECKING:
    from fastnn.trainer import Trainer

Array = np.ndarray[Any, Any]
_AT_ONCE_BYTES = 2**22  # of rows that are converted for one call into native code


class Source(Protocol):
    """Batches for a trainer.

    steps   of an epoch, None where that is not known before its end
    """

    @property
    def steps(self) -> int | None: ...

    def begin(self, epoch: int, done: int) -> None:
        """Get ready for an epoch, counted from 0, of which `done` steps have been made."""

    def fetch(self, limit: int) -> int:
        """How many steps `run` is to make next: at most `limit`, 0 at the end of the epoch."""

    def run(self, rates: Array | None) -> Array:
        """Make them, at these rates or the trainer's, and return their losses; NonFiniteLoss counts from the first."""

    def rows_of(self, steps: int) -> int:
        """How many rows the first steps of this epoch had."""

    def share(self) -> Array:
        """The share of the epoch's rows, or of their weight, that each step had, (steps,), when all have been made."""

    def goes_ahead(self, constant: bool) -> bool:
        """Whether it can make the steps of several epochs in one call; `constant`: at a rate that does not change."""

    def run_epochs(self, first: int, count: int, rates: Array | None) -> Array:
        """Makes all steps of so many epochs, the first of which is counted from 0, and returns their losses, (count,
        steps). After it, `share` is called for each of them in order."""

    def close(self) -> None:
        """No more epochs follow, perhaps in the middle of one."""


@description
class BlockShuffle:
    """An order for data that is larger than memory, with which a disk can keep up: blocks of rows that lie side by side
    are put in random order, and the rows of so many blocks that follow each other are mixed.

    `shuffle=True` jumps to another place of the file for each row, which costs a read of the disk each as soon as the
    file does not fit into memory. Here only `together` blocks are in use at a time, each read as a whole. The price:
    rows of different groups do not meet in a batch, so that a file sorted by class should be mixed once before.

    rows       of a block, at least 1; None: as many as take 1 MiB
    together   blocks whose rows are mixed, at least 1; together they should fit into memory well (256 MiB as it stands)
    """

    rows: int | None = None
    together: int = 256

    def __post_init__(self) -> None:
        if self.rows is not None:
            object.__setattr__(self, "rows", checks.integer("BlockShuffle", "rows", self.rows, minimum=1))
        object.__setattr__(self, "together", checks.integer("BlockShuffle", "together", self.together, minimum=1))

    def for_rows_of(self, row_bytes: int) -> BlockShuffle:
        """The same with the number of rows said."""
        return self if self.rows is not None else BlockShuffle(max(1, 2**20 // max(row_bytes, 1)), self.together)

    def order(self, rows: Array, generator: np.random.Generator) -> Array:
        """Row numbers in a new order."""
        assert self.rows is not None  # for_rows_of comes first
        blocks = generator.permutation(-(-len(rows) // self.rows))
        order, end = np.empty_like(rows), 0
        for first in range(0, len(blocks), self.together):
            some = blocks[first : first + self.together]
            mixed = generator.permutation(np.concatenate([rows[b * self.rows : (b + 1) * self.rows] for b in some]))
            order[end : end + len(mixed)] = mixed
            end += len(mixed)
        return order


def get_shuffle(shuffle: Any) -> bool | BlockShuffle:
    """What `fit(shuffle=...)` takes: True, False, "blocks" or an instance of BlockShuffle."""
    checks.not_a_class("shuffle", shuffle, BlockShuffle)
    if isinstance(shuffle, (bool, np.bool_)):
        return bool(shuffle)
    if isinstance(shuffle, str) and shuffle == "blocks":
        return BlockShuffle()
    if not isinstance(shuffle, BlockShuffle):
        raise TypeError(f'fit(shuffle={shuffle!r}): shuffle must be True or False, "blocks" or a BlockShuffle')
    return shuffle


class Order:
    """The order of the training rows in each epoch: it depends on the seed and the epoch's number only.

    rows      (rows,) int64, the row numbers to train on
    shuffle   draw a new order for each epoch, and how
    """

    def __init__(self, rows: Array, shuffle: bool | BlockShuffle, seed: int) -> None:
        self.rows, self.shuffle = rows, shuffle
        self._stream = randomness.Stream(randomness.key(seed, randomness.SHUFFLE))

    def __call__(self, epoch: int) -> Array:
        """Row numbers (rows,) of an epoch counted from 0."""
        if isinstance(self.shuffle, BlockShuffle):
            return self.shuffle.order(self.rows, self._stream.at(epoch))
        return self._stream.at(epoch).permutation(self.rows) if self.shuffle else self.rows


class _InOrder:
    """Rows in an order that is known before an epoch begins, in the trainer's batches, the last one perhaps smaller."""

    def __init__(self, trainer: Trainer, weights: Array | None, order: Order) -> None:
        self._weights = weights  # of rows in the loss
        self.order, self.batch_size, self.rows = order, trainer.batch_size, len(order.rows)
        self.steps = -(-self.rows // self.batch_size)
        # The epoch's loss is the mean over rows: the smaller last batch counts for the rows it has.
        self._share = np.full(self.steps, self.batch_size / self.rows)
        self._share[-1] = (self.rows - (self.steps - 1) * self.batch_size) / self.rows
        self._epoch = order.rows
        self._ahead: list[Array] = []  # the orders of epochs that have been trained and not been noted
        self._done = self._stop = 0

    def begin(self, epoch: int, done: int) -> None:
        self._epoch, self._ahead = self.order(epoch), []
        self._done = self._stop = done

    def fetch(self, limit: int) -> int:
        self._done, self._stop = self._stop, min(self._stop + limit, self.steps)
        return self._stop - self._done

    def _rows(self) -> Array:
        """The numbers of the rows of the steps that have been fetched."""
        return self._epoch[self._done * self.batch_size : self._stop * self.batch_size]

    def rows_of(self, steps: int) -> int:
        return min(steps * self.batch_size, self.rows)

    def share(self) -> Array:
        if self._ahead:
            self._epoch = self._ahead.pop(0)
        if self._weights is None:
            return self._share
        mass = np.add.reduceat(self._weights[self._epoch].astype(np.float64), np.arange(0, self.rows, self.batch_size))
        return mass * reciprocal(mass.sum())

    def goes_ahead(self, constant: bool) -> bool:
        del constant
        return False

    def run_epochs(self, first: int, count: int, rates: Array | None) -> Array:
        raise NotImplementedError

    def close(self) -> None:
        """Nothing is open."""


class ArraySource(_InOrder):
    """Arrays as native code takes them. A batch of all rows is gathered once."""

    def __init__(self, trainer: Trainer, X: Array, targets: Array, weights: Array | None, order: Order) -> None:
        super().__init__(trainer, weights, order)
        self._full = self.steps == 1
        self._bound = trainer.bound(X, targets, weights, taken=order.rows if self.rows < len(X) else None)
        # Plans are made here, so that neither the first epoch's time nor Ctrl-C in it has to do with that.
        if self._full:
            self._bound.run_full(0)
        else:
            self._bound.prepare()

    def run(self, rates: Array | None) -> Array:
        if self._full:
            return self._bound.run_full(1)  # at the trainer's rate, which is that of the step
        return self._bound.run(self._rows(), rates)

    def goes_ahead(self, constant: bool) -> bool:
        return type(self._bound) is Bound and (constant or not self._full)

    def run_epochs(self, first: int, count: int, rates: Array | None) -> Array:
        self._ahead = [self.order(epoch) for epoch in range(first, first + count)]
        if self._full:
            return self._bound.run_full(count)[:, None]
        return self._bound.run_epochs(np.stack(self._ahead), rates)

    def close(self) -> None:
        del self._bound  # with the thread of an optimizer that has one


class ConvertedSource(_InOrder):
    """Arrays in a file whose numbers are of another dtype than the model's, or do not lie row after row: rows are
    converted when they are used, some batches at a time, to the same bits as if all had been."""

    def __init__(self, trainer: Trainer, X: Array, targets: Array, weights: Array | None, order: Order) -> None:
        super().__init__(trainer, weights, order)
        if self.steps == 1:
            raise ValueError(
                f"fit(batch_size={self.batch_size}): X, {X.dtype} in a file, would have to be converted to "
                f"{trainer.model.dtype} in each step; take smaller batches, or store it as {trainer.model.dtype}"
            )
        self._trainer, self._X, self._targets = trainer, X, targets
        row_bytes = X.shape[1] * trainer.model.dtype.itemsize
        self._at_once = max(1, _AT_ONCE_BYTES // (row_bytes * self.batch_size)) * self.batch_size
        self._bind(np.arange(1)).prepare()

    def _bind(self, rows: Array) -> Bound:
        weights = None if self._weights is None else self._weights[rows]
        return self._trainer.bound(
            checks.rows_of(self._X, rows, self._trainer.model.dtype), self._targets[rows], weights
        )

    def run(self, rates: Array | None) -> Array:
        rows = self._rows()
        losses = np.empty(0)
        for first in range(0, len(rows), self._at_once):
            own, done = rows[first : first + self._at_once], len(losses)
            steps = -(-len(own) // self.batch_size)
            try:
                found = self._bind(own).run(np.arange(len(own)), None if rates is None else rates[done : done + steps])
            except NonFiniteLoss as error:
                raise NonFiniteLoss(done + error.step, np.append(losses, error.losses)) from None
            losses = np.append(losses, found)
        return losses
