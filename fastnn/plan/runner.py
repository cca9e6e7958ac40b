"""Runners: what walks a plan. The reference runner is a Python loop over NumPy kernels; the native one hands whole
stretches of passes to a compiled loop, which calls kernels by address and holds no GIL.

A pass runs the calls [first, last) of a plan on some rows; a training step is one pass, or several for a batch that is
taken in tiles. `Passes` says what each pass is given.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

import numpy as np

from ..kernels.native import Loop
from ..kernels.table import array_words, float_word
from .arena import Ref
from .plan import Call, Given, Plan
from .prepared import NativePasses, Prepared, address_of

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
        first = self.array.__array_interface__["data"][0]
        return first + self.starts * self.array.strides[0]

    def at(self, index: int, rows: int) -> Array:
        start = int(self.starts[index])
        return self.array[start : start + (rows if self.length is None else self.length)]


class PerPass(NamedTuple):
    """A scalar that differs from pass to pass: (passes,) float64 or int64."""

    values: Array


Column = Array | Window | PerPass | float | int


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


class NativeRunner:
    """The words of all calls in one array, the addresses of their kernels in another, and the compiled loop."""

    def __init__(self, plan: Plan, arenas: Mapping[str, Array], kernels: Sequence[int], loop: Loop) -> None:
        self._places: dict[str, list[int]] = {}  # name of what is given, or "B" -> words that hold it
        # Given arrays: name, the word of the first stride, axis -> the word of its size.
        self._shapes: list[tuple[str, int, dict[int, int]]] = []
        self._calls, self._needed = plan.calls, dict[tuple[int, int], set[str]]()
        self._batch_bytes = plan.batch.bytes
        # Words that point into what lies side by side in an arena: batches, workspaces, parts of the gradients.
        self._pointing: dict[str, list[int]] = {name: [] for name in ("batch", "workspace", "scratch", "gradients")}
        words: list[Array] = []
        starts, start = [], 0
        for call in plan.calls:
            own = self._words(call, arenas, plan, start)
            words.append(own)
            starts.append(start)
            start += len(own)
        self._words_array = np.concatenate(words) if words else np.zeros(0, np.int64)
        self._starts = np.array(starts, np.int64)
        self._kernels = np.array(kernels, np.int64)
        self._arenas = arenas  # keeps the memory behind the addresses alive
        self._busy = np.zeros(1, np.int64)  # the workspace serves one thread at a time
        self._fixed = address_of(self._kernels), address_of(self._starts), address_of(self._busy)
        self._loop = loop

    def _words(self, call: Call, arenas: Mapping[str, Array], plan: Plan, start: int) -> Array:
        """The words of one call; whatever is given later is noted and left zero."""
        entry, places = call.operation, call.operation.words
        own = np.zeros(places[""], np.int64)
        sizes: dict[str, int] = {}
        for array in entry.arrays:
            value = call.arguments[array.name]
            if isinstance(value, Given):
                self._note(value.name, start + places[array.name])
                strides = start + places[array.name] + 1 if len(array.axes) == 2 else -1
                unknown = {n: start + places[axis] for n, axis in enumerate(array.axes) if axis in "RP"}
                self._shapes.append((value.name, strides, unknown))
            else:
                view = value.view(arenas) if isinstance(value, Ref) else None
                words = array_words(array, view)
                own[places[array.name] : places[array.name] + len(words)] = words
                if isinstance(value, Ref) and value.arena in self._pointing:
                    self._pointing[value.arena].append(start + places[array.name])
                if view is not None:
                    sizes |= dict(zip(array.axes, view.shape, strict=True))
        for axis in entry.sizes:
            if axis == "B":
                self._note("B", start + places[axis])
            own[places[axis]] = sizes.get(axis, 0)
        for scalar in entry.scalars:
            value = call.arguments[scalar.name]
            if isinstance(value, Given):
                self._note(value.name, start + places[scalar.name])
            else:
                assert isinstance(value, (int, float))
                own[places[scalar.name]] = int(value) if scalar.integer else float_word(value)
        return own

    def _note(self, name: str, place: int) -> None:
        self._places.setdefault(name, []).append(place)

    def run(self, passes: Passes) -> None:
        self.prepare(passes).run(0, len(passes))

    def prepare(self, passes: Passes) -> Prepared:
        """Fixed words are set once, in a copy of all words; those that differ from pass to pass become columns of a
        table."""
        self._check_given(passes)
        words = self._words_array.copy()
        self._set_shapes(words, passes)
        places: list[int] = []  # words, and the values they take, one for each pass
        columns: list[Array] = []
        for name, own in self._places.items():
            if name == "B":
                rows = passes.rows
                column: Column = int(rows[0]) if (rows == rows[0]).all() else PerPass(rows)
            elif name in passes.given:
                column = passes.given[name]
            else:
                continue  # an operand of a call that is not run
            if isinstance(column, (Window, PerPass)):
                places += own
                columns += [_words_of(column)] * len(own)
            else:
                words[own] = _word_of(column)
        for pointing, moved in self._moved(passes):
            places += pointing
            columns += [*(self._words_array[pointing][:, None] + moved)]
        table = np.empty((len(passes), 2 + len(places)), np.int64)
        table[:, :2] = passes.calls
        for index, values in enumerate(columns, 2):
            table[:, index] = values
        return self._prepared(passes, words, np.array(places, np.int64), table)

    def _prepared(self, passes: Passes, words: Array, places: Array, table: Array) -> Prepared:
        return NativePasses(words, places, table, self._fixed, self._loop, alive=(self, passes))

    def _moved(self, passes: Passes) -> Iterator[tuple[list[int], Array]]:
        """Words that point elsewhere from pass to pass, and by how many bytes."""
        if passes.batch is not None:
            yield self._pointing["batch"], passes.batch * self._batch_bytes
        if passes.part is not None:
            gradients, parts = self._arenas["gradients"], self._arenas["parts"]
            to_parts = address_of(parts) - address_of(gradients)
            yield self._pointing["gradients"], np.where(passes.part < 0, 0, to_parts + passes.part * len(gradients))

    def _check_given(self, passes: Passes) -> None:
        """Every operand that the calls of these passes take is given: a kernel must not meet the address of an earlier
        run."""
        first, last = int(passes.calls[:, 0].min()), int(passes.calls[:, 1].max())
        needed = self._needed.get((first, last))
        if needed is None:
            operands = [value for call in self._calls[first:last] for value in call.arguments.values()]
            needed = self._needed[first, last] = {value.name for value in operands if isinstance(value, Given)}
        missing = needed - passes.given.keys()
        if missing:
            raise KeyError(f"the passes do not give {', '.join(sorted(missing))}")

    def _set_shapes(self, words: Array, passes: Passes) -> None:
        for name, strides, unknown in self._shapes:
            if name not in passes.given:
                continue
            column = passes.given[name]
            array = column.array if isinstance(column, Window) else column
            assert isinstance(array, np.ndarray)
            if strides >= 0:
                words[strides : strides + 2] = [stride // array.itemsize for stride in array.strides]
            for axis, place in unknown.items():
                words[place] = array.shape[axis]


def _words_of(column: Window | PerPass) -> Array:
    """What a column puts into its words, one after the other: addresses, the bits of floats, or integers; (passes,)."""
    return column.addresses() if isinstance(column, Window) else column.values.view(np.int64)


def _word_of(fixed: Array | float | int) -> int:
    """The same for what all passes share."""
    if isinstance(fixed, np.ndarray):
        return address_of(fixed)
    return float_word(fixed) if isinstance(fixed, float) else fixed
