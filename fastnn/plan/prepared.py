"""Passes made ready: stretches of them in one call, or training steps one by one.

A step by itself is to cost little more than its work, so nothing of it is Python: `Progress` keeps in memory what
native code has to know of a trainer, and to change in it, and one call without arguments makes the next step.
"""

import math
import time
from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np

from ..kernels.native import Loop
from ..kernels.table import float_word
from .arena import address_of
from .passes import Column, Passes, PerPass, Window

Array = np.ndarray[Any, Any]
_PAUSE = 1e-4  # seconds, between attempts to get a workspace in which another thread is at work


class Prepared(Protocol):
    """Passes that are ready to run, a stretch at a time."""

    def run(self, first: int, count: int) -> None:
        """Runs `count` of the passes, from `first` on, in order."""

    def refill(self, given: Mapping[str, Column]) -> None:
        """Gives all passes other arrays or scalars under some of the names: of the same kinds, and of arrays also the
        same shapes and strides. Not while they run."""


class Stepper(Protocol):
    """Passes that are training steps, made one by one."""

    @property
    def made(self) -> int:
        """How many have been made."""

    def next(self) -> float:
        """Makes the next step and returns its loss. Infinity: none is left, the trainer is not as the step expects it,
        another thread is at work in the workspace, or the step was made and its loss is not finite."""


class Progress:
    """What a trainer and its steps agree by.

    generation   counts up whenever steps that were prepared are no longer to be made as they are
    step_count   steps made;  lr   of those to come
    """

    def __init__(self, lr: float) -> None:
        self.cells = np.zeros(3, np.int64)  # in this order, the learning rate as its bits: native code knows them so
        self._integers: memoryview[int] = memoryview(self.cells)  # type: ignore[arg-type]
        self._floats: memoryview[float] = self._integers.cast("B").cast("d")
        self.lr = lr

    @property
    def generation(self) -> int:
        return self._integers[0]

    @generation.setter
    def generation(self, value: int) -> None:
        self._integers[0] = value

    @property
    def step_count(self) -> int:
        return self._integers[1]

    @step_count.setter
    def step_count(self, value: int) -> None:
        self._integers[1] = value

    @property
    def lr(self) -> float:
        return self._floats[2]

    @lr.setter
    def lr(self, value: float) -> None:
        self._floats[2] = value


def stepper(prepared: Prepared, progress: Progress, expected: Array, losses: Array) -> Stepper:
    """Steps one by one, each a pass.

    expected   the cells of `progress` that they were prepared for
    losses     where they write their losses; it holds `UNWRITTEN`
    """
    if isinstance(prepared, NativePasses):
        prepared.expect(progress, expected, losses)
        return prepared
    return _PythonStepper(prepared, progress, expected, losses)


class Table:
    """What passes are given, as native loops take it: words that all share, and a row for each pass of what differs.

    words    of all calls, (words,), or (workspaces, words) where the workspaces have their own
    places   (n,) those of the words that differ from pass to pass
    rows     (passes, 2 + n): the range of calls, then the values of these words
    """

    def __init__(
        self, words: Array, calls: Array, filled: Mapping[str, list[int]], given: Mapping[str, Column]
    ) -> None:
        """filled   by name, the words that are given under it"""
        self.words, places = words, list[int]()
        self._where: dict[str, Array | slice] = {}  # words, or columns of the rows
        for name, column in given.items():
            own = filled.get(name, [])  # none: an operand of calls that this plan has not
            if isinstance(column, (Window, PerPass)):
                self._where[name] = slice(2 + len(places), 2 + len(places) + len(own))
                places += own
            else:
                self._where[name] = np.array(own, np.intp)
        self.places = np.array(places, np.int64)
        self.rows = np.empty((len(calls), 2 + len(places)), np.int64)
        self.rows[:, :2] = calls
        self.fill(given)

    def fill(self, given: Mapping[str, Column]) -> None:
        """Writes what is given under some of the names: see `Prepared.refill`."""
        for name, column in given.items():
            where = self._where[name]
            if isinstance(column, Window):
                self.rows[:, where] = column.addresses()[:, None]
            elif isinstance(column, PerPass):
                self.rows[:, where] = column.values.view(np.int64)[:, None]
            else:
                self.words[..., where] = _word_of(column)

    def refill(self, before: dict[str, Column], given: Mapping[str, Column]) -> None:
        """Writes what is given under some of the names in place of what was, and exchanges it there, where the memory
        behind addresses is kept alive."""
        self.fill({name: column for name, column in given.items() if column is not before[name]})
        before.update(given)

    def add(self, places: list[int], values: Array) -> None:
        """More words that differ from pass to pass, (passes, places)."""
        self.places = np.append(self.places, places)
        self.rows = np.hstack([self.rows, values])


def _word_of(fixed: Array | float | int) -> int:
    if isinstance(fixed, np.ndarray):
        return address_of(fixed)
    return float_word(fixed) if isinstance(fixed, float) else fixed


UNWRITTEN = -1
"""The bits of a loss that has not been written: no kernel writes them."""


class NativePasses:
    """Passes as the native loop takes them.

    fixed   the addresses of what all passes of a runner share: kernels, starts of their words, and one number that is 1
            while a pass runs in the workspace
    alive   what else must stay where it is
    """

    def __init__(self, passes: Passes, table: Table, fixed: tuple[int, int, int], loop: Loop, alive: object) -> None:
        self._passes, self._table, self._alive = passes, table, alive
        kernels, starts, busy = fixed
        words, places, rows = address_of(table.words), address_of(table.places), address_of(table.rows)
        # The members of fastnn_passes, in their order: see kernels/fastnn.h.
        members = [words, kernels, starts, places, len(table.places), rows, busy]
        members += [0, 0, 0, len(passes), 0, 0, 0]
        self._state, self._loop = np.array(members, np.int64), loop
        self._run = loop.run(address_of(self._state))

    def run(self, first: int, count: int) -> None:
        while not self._run(first, count):
            time.sleep(_PAUSE)

    def refill(self, given: Mapping[str, Column]) -> None:
        self._table.refill(self._passes.given, given)

    def expect(self, progress: Progress, expected: Array, losses: Array) -> None:
        """From here on they are steps, made by `next`: see `stepper`."""
        self._trained = progress, losses  # keeps the memory behind the addresses alive
        self._state[_TRAINER : _TRAINER + 2] = address_of(progress.cells), address_of(losses)
        self._state[_GENERATION:] = expected
        self.next = self._loop.next(address_of(self._state))

    @property
    def made(self) -> int:
        return int(self._state[_NEXT])


_TRAINER, _NEXT, _GENERATION = 7, 9, 11  # places of members


class _PythonStepper:
    """The same with a runner that has no native step."""

    def __init__(self, prepared: Prepared, progress: Progress, expected: Array, losses: Array) -> None:
        self._prepared, self._progress, self._expected = prepared, progress, expected.tolist()
        self._losses, self._bits = losses, losses.view(np.int64)
        self.made = 0

    def next(self) -> float:
        place = self.made
        if place == len(self._losses) or self._progress.cells.tolist() != self._expected:
            return math.inf
        try:
            self._prepared.run(place, 1)
        finally:
            if self._bits[place] != UNWRITTEN:  # Ctrl-C may come when the step was made
                self.made += 1
                self._expected[1] += 1
                self._progress.step_count += 1
        loss = float(self._losses[place])
        return loss if math.isfinite(loss) else math.inf
