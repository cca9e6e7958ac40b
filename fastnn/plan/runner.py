"""Runners: what walks a plan. The reference runner is a Python loop over NumPy kernels; the native one hands whole
stretches of passes to a compiled loop, which calls kernels by address and holds no GIL. `Passes` says what each pass is
given.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np

from ..kernels.native import Loop
from .arena import Ref, address_of
from .passes import Column, Passes, PerPass, Window
from .plan import Call, Given, Plan
from .prepared import NativePasses, Prepared, Table

Array = np.ndarray[Any, Any]


class Runner(Protocol):
    """Walks a plan over the arenas it was bound to."""

    def run(self, passes: Passes) -> None:
        """Runs all passes, in order."""

    def prepare(self, passes: Passes) -> Prepared:
        """Does what can be done before passes run; other passes may be run before and between them."""


class ReferenceRunner:
    """A Python loop: one NumPy kernel after the other."""

    def __init__(self, plan: Plan, arenas: Mapping[str, Array]) -> None:
        self._plan, self._arenas = plan, arenas
        self._views: dict[tuple[int, int], list[dict[str, Any]]] = {}

    def run(self, passes: Passes) -> None:
        self.run_some(passes, 0, len(passes))

    def prepare(self, passes: Passes) -> Prepared:
        return _ReferencePasses(self, passes)

    def run_some(self, passes: Passes, start: int, count: int) -> None:
        """Runs `count` of the passes, from `start` on."""
        for index in range(start, start + count):
            first, last = passes.calls[index]
            batch = 0 if passes.batch is None else int(passes.batch[index])
            arguments = self._arguments(batch, -1 if passes.part is None else int(passes.part[index]))
            with np.errstate(all="ignore"):  # what overflows is found in the loss
                for q in range(first, last):
                    self._run(self._plan.calls[q], arguments[q], passes, index)

    def _arguments(self, batch: int, part: int) -> list[dict[str, Any]]:
        """The operands of all calls, those in an arena as views, for one of the batches and a part of the gradients."""
        if (batch, part) not in self._views:
            arenas = {**self._arenas, "batch": self._arenas["batch"][batch * self._plan.batch.bytes :]}
            if part >= 0:
                arenas["gradients"] = arenas["parts"][part * len(arenas["gradients"]) :]
            self._views[batch, part] = [
                {
                    name: value.view(arenas) if isinstance(value, Ref) else value
                    for name, value in call.arguments.items()
                }
                for call in self._plan.calls
            ]
        return self._views[batch, part]

    def _run(self, call: Call, arguments: Mapping[str, Any], passes: Passes, index: int) -> None:
        rows = int(passes.rows[index])
        values = []
        for array in call.operation.arrays:
            value = arguments[array.name]
            if isinstance(value, Given):
                column = passes.given[value.name]
                value = column.at(index, rows) if isinstance(column, Window) else column
            if value is not None and "B" in array.axes:
                value = value[tuple(slice(rows) if axis == "B" else slice(None) for axis in array.axes)]
            values.append(value)
        for scalar in call.operation.scalars:
            value = arguments[scalar.name]
            if isinstance(value, Given):
                column = passes.given[value.name]
                value = column.values[index].item() if isinstance(column, PerPass) else column
            values.append(value)
        call.operation.reference(*values)


class _ReferencePasses(NamedTuple):
    runner: ReferenceRunner
    passes: Passes

    def run(self, first: int, count: int) -> None:
        self.runner.run_some(self.passes, first, count)

    def refill(self, given: Mapping[str, Column]) -> None:
        self.passes.given.update(given)


class NativeRunner:
    """The words of all calls in one array, the addresses of their kernels in another, and the compiled loop."""

    def __init__(self, plan: Plan, arenas: Mapping[str, Array], kernels: Sequence[int], loop: Loop) -> None:
        self._plan, self._needed = plan, dict[tuple[int, int], set[str]]()
        self._words, self._starts = plan.words.within(arenas), plan.words.starts
        self._kernels = np.array(kernels, np.int64)
        self._arenas = arenas  # keeps the memory behind the addresses alive
        self._busy = np.zeros(1, np.int64)  # the workspace serves one thread at a time
        self._fixed = address_of(self._kernels), address_of(self._starts), address_of(self._busy)
        self._loop = loop

    def run(self, passes: Passes) -> None:
        self.prepare(passes).run(0, len(passes))

    def prepare(self, passes: Passes) -> Prepared:
        self._check_given(passes)
        words, rows = self._words.copy(), passes.rows
        self._set_shapes(words, passes)
        given = {**passes.given, "B": int(rows[0]) if (rows == rows[0]).all() else PerPass(rows)}
        table = Table(words, passes.calls, self._plan.words.filled, given)
        for pointing, moved in self._moved(passes):
            table.add(pointing, self._words[pointing] + moved[:, None])
        return self._prepared(passes, table)

    def _prepared(self, passes: Passes, table: Table) -> Prepared:
        return NativePasses(passes, table, self._fixed, self._loop, alive=self)

    def _moved(self, passes: Passes) -> Iterator[tuple[list[int], Array]]:
        """Words that point elsewhere from pass to pass, and by how many bytes."""
        if passes.batch is not None:
            yield self._plan.words.pointing["batch"], passes.batch * self._plan.batch.bytes
        if passes.part is not None:
            gradients, parts = self._arenas["gradients"], self._arenas["parts"]
            to_parts = address_of(parts) - address_of(gradients)
            moved = np.where(passes.part < 0, 0, to_parts + passes.part * len(gradients))
            yield self._plan.words.pointing["gradients"], moved

    def _check_given(self, passes: Passes) -> None:
        """Every operand that the calls of these passes take is given: a kernel must not meet the address of an earlier
        run."""
        first, last = int(passes.calls[:, 0].min()), int(passes.calls[:, 1].max())
        needed = self._needed.get((first, last))
        if needed is None:
            operands = [value for call in self._plan.calls[first:last] for value in call.arguments.values()]
            needed = self._needed[first, last] = {value.name for value in operands if isinstance(value, Given)}
        missing = needed - passes.given.keys()
        if missing:
            raise KeyError(f"the passes do not give {', '.join(sorted(missing))}")

    def _set_shapes(self, words: Array, passes: Passes) -> None:
        for name, strides, unknown in self._plan.words.shapes:
            if name not in passes.given:
                continue
            column = passes.given[name]
            array = column.array if isinstance(column, Window) else column
            assert isinstance(array, np.ndarray)
            if strides >= 0:
                words[strides : strides + 2] = [stride // array.itemsize for stride in array.strides]
            for axis, place in unknown.items():
                words[place] = array.shape[axis]
