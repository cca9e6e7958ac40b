"""Which passes over a plan training steps are made of: one for each mini-batch, or one for each tile of a full batch
and one that adds up what they computed."""

from typing import Any, NamedTuple

import numpy as np

from .plan.program import Program

Array = np.ndarray[Any, Any]


class Steps(NamedTuple):
    """A stretch of passes, all arrays one number for each pass but for the first two.

    order        row numbers;  calls  (passes, 2) what each pass runs
    starts       where in `order` each pass begins;  rows  how many it takes
    passes       of a step
    batch        which of the program's batches each works on, or None
    accumulate   1 where gradients add to those of the pass before, or None
    part, marks  as in `Passes`
    """

    order: Array
    calls: Array
    starts: Array
    rows: Array
    passes: int = 1
    batch: Array | None = None
    accumulate: Array | None = None
    part: Array | None = None
    marks: Array | None = None

    def times(self, steps: int) -> "Steps":
        """The same passes again and again, on the same rows."""
        if steps == 1:
            return self
        columns: dict[str, Any] = {
            name: np.tile(column, (steps, 1) if column.ndim == 2 else steps)
            for name, column in self._asdict().items()
            if name != "order" and isinstance(column, np.ndarray)
        }
        return self._replace(**columns)


def mini_batches(program: Program, order: Array, batch_size: int, epochs: int = 1) -> Steps:
    """A step for each batch of a flat order, the last one perhaps smaller.

    epochs   so many orders of the same length follow each other, each of which is cut by itself
    """
    length = len(order) // epochs
    of_one = np.arange(0, length, batch_size)
    starts = (length * np.arange(epochs)[:, None] + of_one).ravel()
    rows = np.tile(np.minimum(batch_size, length - of_one), epochs)
    return Steps(order, repeated(program.calls("gather", "update"), len(starts)), starts, rows)


def full_batch(
    program: Program, order: Array, tiles: tuple[Array, Array], parts: int, sections: tuple[str, str], kept: bool
) -> Steps:
    """One step on all rows of an order: a pass for each tile, and, where there are several, one that waits for them,
    adds up the parts of the gradients and makes the update.

    tiles      where each begins, and how many rows it has
    parts      into how many parts the gradients are summed; passes of different parts may run at the same time
    sections   the first and the last of the plan's that run
    kept       every tile has a batch of its own
    """
    (starts, rows), (first, last) = tiles, sections
    count = len(starts)
    batch = np.arange(count) if kept else None
    if count == 1:
        calls = np.array([[program.calls(first, first)[0], program.calls(last, last)[1]]])
        return Steps(order, calls, starts, rows, 1, batch)
    calls = np.vstack([repeated(program.calls(first, "backward"), count), program.calls("reduce", last)])
    own = np.arange(count) * max(parts, 1) // count
    begins = np.diff(own, prepend=-1) > 0
    marks = begins.astype(np.int64)
    marks[0] = 2
    return Steps(
        order, calls, np.append(starts, 0), np.append(rows, 0), count + 1,
        batch=np.append(batch, 0) if batch is not None else None,
        accumulate=np.append(~begins, False).astype(np.int64),
        part=np.append(own, -1) if parts else None,
        marks=np.append(marks, 2) if parts else None,
    )  # fmt: skip


def by_step(losses: Array, passes: int) -> Array:
    """The losses of passes, added up by step, of which the last may be incomplete."""
    if passes == 1:
        return losses
    return np.add.reduceat(losses, np.arange(0, len(losses), passes))


def repeated(calls: tuple[int, int], passes: int) -> Array:
    """The same range of calls for each pass, (passes, 2)."""
    return np.tile(np.array(calls, np.int64), (passes, 1))
