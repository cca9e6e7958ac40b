"""Passes made ready: stretches of them in one call, or training steps one by one.

A step by itself is to cost little more than its work, so nothing of it is Python: `Progress` keeps in memory what
native code has to know of a trainer, and to change in it, and one call without arguments makes the next step.
"""

import math
import time
from typing import Any, Protocol

import numpy as np

from ..kernels.native import Loop

Array = np.ndarray[Any, Any]
_PAUSE = 1e-4  # seconds, between attempts to get a workspace in which another thread is at work


class Prepared(Protocol):
    """Passes that are ready to run, a stretch at a time."""

    def run(self, first: int, count: int) -> None:
        """Runs `count` of the passes, from `first` on, in order."""


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


UNWRITTEN = -1
"""The bits of a loss that has not been written: no kernel writes them."""


class NativePasses:
    """Passes as the native loop takes them: words of their own, and a table with a row for each pass.

    fixed   the addresses of what all passes of a runner share: kernels, starts of their words, and one number that is 1
            while a pass runs in the workspace
    alive   what else must stay where it is
    """

    def __init__(
        self, words: Array, places: Array, table: Array, fixed: tuple[int, int, int], loop: Loop, alive: object
    ) -> None:
        self._alive = words, places, table, alive
        kernels, starts, busy = fixed
        # The members of fastnn_passes, in their order: see kernels/fastnn.h.
        members = [address_of(words), kernels, starts, address_of(places), len(places), address_of(table), busy]
        members += [0, 0, 0, len(table), 0, 0, 0]
        self._state, self._loop = np.array(members, np.int64), loop
        self._run = loop.run(address_of(self._state))

    def run(self, first: int, count: int) -> None:
        while not self._run(first, count):
            time.sleep(_PAUSE)

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


def address_of(array: Array) -> int:
    """Where its first number lies."""
    return int(array.__array_interface__["data"][0])
