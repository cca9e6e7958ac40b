"""What runs over a plan: passes, and what each of them is given.

A pass runs the calls [first, last) of a plan on some rows; a training step is one pass, or several for a batch that is
taken in tiles.
"""

from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from .arena import address_of

Array = np.ndarray[Any, Any]


class Window(NamedTuple):
    """A stretch of an array along its first axis, beginning at another place in each pass.

    starts   one index into `array` per pass
    length   of the stretch; None: as many as the pass has rows
    """

    array: Array
    starts: Array
    length: int | None = None

    def addresses(self) -> Array:
        return address_of(self.array) + self.starts * self.array.strides[0]

    def at(self, index: int, rows: int) -> Array:
        start = int(self.starts[index])
        return self.array[start : start + (rows if self.length is None else self.length)]


class PerPass(NamedTuple):
    """A scalar that differs from pass to pass: (passes,) float64 or int64."""

    values: Array


Column = Array | Window | PerPass | float | int
"""What passes are given under one name: the same in all of them, or not."""


@dataclass
class Passes:
    """A stretch of passes.

    calls    (passes, 2) int64: [first, last) of each
    batch    (passes,) int64: which of the program's batches each works on; None: the first
    part     (passes,) int64: which part of the gradients each writes, -1 for the gradients themselves; None: no parts
    marks    (passes,) int64: 0 follows the pass before, 1 begins a chain of passes that may run beside the chains
             before it, 2 begins a chain that waits for all before; None: one chain
    rows     (passes,) int64: rows of each, at most the plan's
    given    by name: an array or a scalar that is the same in all passes, a Window, or PerPass scalars
    """

    calls: Array
    rows: Array
    given: dict[str, Column] = field(default_factory=dict)
    batch: Array | None = None
    part: Array | None = None
    marks: Array | None = None

    def __len__(self) -> int:
        return len(self.rows)
