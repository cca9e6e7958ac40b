"""Compiled kernels without the rest: which sets there are, one kernel on given arrays, one call of a compiled plan.

Calls are made by the native loop, many at once, as training makes them; Python's part vanishes in their number.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from fastnn import Trainer
from fastnn.kernels import Operation, backends
from fastnn.plan.arena import Layout, Ref
from fastnn.plan.passes import Column, Passes
from fastnn.plan.plan import Call, Plan
from fastnn.plan.program import Program

PASSES = 16_384  # calls that the native loop makes at once: what Python does for them vanishes

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


def one_call(kernel_set: str, entry: Operation, dtype: str, arguments: Mapping[str, Any]) -> tuple[Run, dict[str, Any]]:
    """A plan of one operation on copies of these arrays, laid out as plans do: runs it as often as asked for.

    Also returned: the arguments with the copies. NaN is in what is only written, and in the padding.
    """
    layout, refs = Layout(), dict[str, Ref]()
    for array in entry.arrays:
        value = arguments[array.name]
        if value is None:
            continue
        value = value.T if array.transposed else value
        if value.ndim == 1:
            slot = layout.vector(array.name, len(value), value.dtype)
        else:
            slot = layout.matrix(array.name, value.shape[0], value.shape[1], value.dtype)
        refs[array.name] = Ref("operands", slot, transposed=array.transposed)
    arena = layout.allocate()
    arena[...] = 0xFF  # NaN and -1: neither old values nor the padding may matter
    views = {name: ref.view({"operands": arena}) for name, ref in refs.items()}
    for array in entry.arrays:
        if array.access != "writes" and array.name in views:
            views[array.name][...] = arguments[array.name]
    rows = entry.size_of(arguments).get("B", 1)
    plan = Plan("one operation", np.dtype(dtype), rows)
    plan.add(entry.name, "", {**arguments, **refs})
    return _repeated(Program(plan, {"operands": arena}, kernel_set), 0, 1, rows, {}), {**arguments, **views}


def _repeated(program: Program, first: int, last: int, rows: int, given: Mapping[str, Column]) -> Run:
    """Runs the calls [first, last) of a program, as often as asked for, each time with the same operands."""
    calls = np.tile(np.array([first, last], np.int64), (PASSES, 1))
    counts = np.full(PASSES, rows, np.int64)

    def run(count: int) -> None:
        for done in range(0, count, PASSES):
            some = min(PASSES, count - done)
            program.runner.run(Passes(calls[:some], counts[:some], dict(given)))

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
        return _repeated(self.program, first, last, self.rows, self.given)
