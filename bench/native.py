"""Compiled kernels without the rest: which sets there are, one kernel on given arrays, one call of a compiled plan.

Calls are made by the native loop, many at once, as training makes them; Python's part vanishes in their number.
"""

from __future__ import annotations

import argparse
import ctypes
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from fastnn import Trainer
from fastnn.kernels import Operation, backends, objects
from fastnn.kernels.table import argument_words
from fastnn.plan.arena import Ref
from fastnn.plan.plan import Call
from fastnn.plan.program import Program
from fastnn.plan.runner import Column, Passes

PASSES = 1024  # calls that the native loop makes at once

Array = np.ndarray[Any, Any]
Run = Callable[[int], None]


def add_option(parser: argparse.ArgumentParser) -> None:
    """The option that `kernel_sets` reads."""
    parser.add_argument("--backend", default="all", metavar="SET", help="one set of kernels instead of all compiled")


def kernel_sets(asked: str = "all") -> list[str]:
    """The compiled sets that are there, or the one that is asked for."""
    if asked != "all":
        return [backends.resolve(asked)]
    return [name for name in backends.NAMES if name != "reference" and name in backends.backends().available]


def ratio(values: Mapping[str, float | None]) -> float | None:
    """What C takes over what Numba takes."""
    c, numba = values.get("c"), values.get("numba")
    return None if c is None or numba is None else c / numba


def kernel_calls(kernel_set: str, entry: Operation, dtype: str, arguments: Mapping[str, Any]) -> Run:
    """Calls of a kernel on these arrays, as many as asked for, without Python between them."""
    words = argument_words(entry, arguments)
    kernels = np.array([backends.kernel_address(kernel_set, entry.name, dtype)], np.int64)
    starts, places = np.zeros(1, np.int64), np.zeros(0, np.int64)
    table = np.tile(np.array([0, 1], np.int64), (PASSES, 1))  # each pass: the calls [0, 1)
    pointer = ctypes.c_void_p
    loop = objects.function("loop", "int64", *[pointer] * 4, ctypes.c_int64, pointer, ctypes.c_int64)

    def run(count: int, kept: object = arguments) -> None:  # the default keeps the arrays alive
        for done in range(0, count, PASSES):
            loop(
                words.ctypes.data, kernels.ctypes.data, starts.ctypes.data, places.ctypes.data, 0,
                table.ctypes.data, min(PASSES, count - done),
            )  # fmt: skip

    return run


@dataclass(frozen=True)
class PlanCalls:
    """The calls of a trainer's plan for some rows, one by one; what it is given is the same in every pass."""

    program: Program
    rows: int
    given: Mapping[str, Column]

    @staticmethod
    def of(trainer: Trainer, X: Array, y: Array, rows: int) -> PlanCalls:
        scalars = trainer.optimizer.scalars(np.ones(1), trainer.lr)
        given: dict[str, Column] = {
            "X": X, "y": y, "order": np.arange(rows, dtype=np.int64), "loss": np.zeros(1), "scale": 1.0 / rows,
            "accumulate": 0, **{name: float(np.reshape(value, -1)[0]) for name, value in scalars.items()},
        }  # fmt: skip
        return PlanCalls(trainer.program(rows), rows, given)

    @property
    def calls(self) -> list[Call]:
        return self.program.plan.calls

    def section(self, name: str) -> range:
        """Indices of a section's calls."""
        return range(*self.program.plan.sections[name])

    def arguments(self, call: int) -> dict[str, Any]:
        """The operands of a call; those in an arena as views, cut to the rows of a pass."""
        found: dict[str, Any] = {}
        for name, value in self.calls[call].arguments.items():
            found[name] = value.view(self.program._arenas) if isinstance(value, Ref) else value
        return found

    def run(self, first: int, last: int) -> Run:
        """Runs the calls [first, last), as often as asked for."""
        calls = np.tile(np.array([first, last], np.int64), (PASSES, 1))
        rows = np.full(PASSES, self.rows, np.int64)
        given = dict(self.given)

        def run(count: int) -> None:
            for done in range(0, count, PASSES):
                some = min(PASSES, count - done)
                self.program.runner.run(Passes(calls[:some], rows[:some], given))

        return run
