"""A plan: operations in order, each with its operands, cut into sections. `print(plan)` reads like the maths of one
step."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from ..kernels.table import OPERATIONS, Operation, float_word
from .arena import Layout, Ref, address_of

Array = np.ndarray[Any, Any]


class Given(NamedTuple):
    """An operand that the runner is given with each run: the data, the row order, the loss, a step's scalars."""

    name: str


Operand = Ref | Given | float | int | None


class Call(NamedTuple):
    """One operation of a plan. `formula` says what it computes, for people."""

    operation: Operation
    arguments: Mapping[str, Operand]
    formula: str


class Words:
    """The words of a plan's calls, one after the other, as compiled kernels take them (see kernels/table.py), before
    arenas have an address: they follow from the plan alone, so that its programs share them.

    starts     (calls,) int64, where the words of each call begin
    pointing   arena -> words that point into it
    filled     what is given, by its name, or "B", the rows of a pass -> words that hold it
    shapes     of each array that is given: its name, the word of its first stride or -1, axis -> the word of its size
    """

    def __init__(self, calls: Sequence[Call]) -> None:
        self.pointing: dict[str, list[int]] = {}
        self.filled: dict[str, list[int]] = {}
        self.shapes: list[tuple[str, int, dict[int, int]]] = []
        fixed: list[int] = []
        starts = []
        for call in calls:
            starts.append(len(fixed))
            fixed += self._of(call, len(fixed))
        self.starts, self._fixed = np.array(starts, np.int64), np.array(fixed, np.int64)

    def __len__(self) -> int:
        return len(self._fixed)

    def within(self, arenas: Mapping[str, Array]) -> Array:
        """All words, (words,) int64; those that are given with each run are still 0."""
        words = self._fixed.copy()
        for arena, pointing in self.pointing.items():
            words[pointing] += address_of(arenas[arena])
        return words

    def _of(self, call: Call, start: int) -> list[int]:
        """The words of one call, which begin at `start`; addresses count from the beginning of their arena."""
        entry, places = call.operation, call.operation.words
        own = [0] * places[""]
        sizes: dict[str, int] = {}
        for array in entry.arrays:
            value, place = call.arguments[array.name], places[array.name]
            if isinstance(value, Given):
                self._note(self.filled, value.name, start + place)
                strides = start + place + 1 if len(array.axes) == 2 else -1
                unknown = {n: start + places[axis] for n, axis in enumerate(array.axes) if axis in "RP"}
                self.shapes.append((value.name, strides, unknown))
            elif isinstance(value, Ref):
                own[place], shape, strides_of = value.place()
                if len(shape) == 2:
                    own[place + 1 : place + 3] = [stride // value.slot.dtype.itemsize for stride in strides_of]
                self._note(self.pointing, value.arena, start + place)
                sizes |= dict(zip(array.axes, shape, strict=True))
        for axis in entry.sizes:
            if axis == "B":
                self._note(self.filled, "B", start + places[axis])
            own[places[axis]] = sizes.get(axis, 0)
        for scalar in entry.scalars:
            value = call.arguments[scalar.name]
            if isinstance(value, Given):
                self._note(self.filled, value.name, start + places[scalar.name])
            else:
                assert isinstance(value, (int, float))
                own[places[scalar.name]] = int(value) if scalar.integer else float_word(value)
        return own

    @staticmethod
    def _note(places: dict[str, list[int]], name: str, place: int) -> None:
        places.setdefault(name, []).append(place)


@dataclass(eq=False)
class Plan:
    """What one step of training, or one pass of inference, does.

    rows       the most rows that a pass can take; a pass may have fewer
    sections   name -> [first, last) in `calls`: "gather", "forward", "loss", "backward", "reduce", "penalty", "update",
               "output"; from "reduce" on they are run once a step, after all its passes
    batch      the layout of a pass's inputs and targets: written by "gather", only read by the other sections
    workspace  that of values that live within a pass;  scratch  of those that live within a layer
    """

    title: str
    dtype: np.dtype[Any]
    rows: int
    calls: list[Call] = field(default_factory=list)
    sections: dict[str, tuple[int, int]] = field(default_factory=dict)
    batch: Layout = field(default_factory=Layout)
    workspace: Layout = field(default_factory=Layout)
    scratch: Layout = field(default_factory=Layout)

    @cached_property
    def words(self) -> Words:
        """Of all calls, once there are all."""
        return Words(self.calls)

    def __str__(self) -> str:
        width = max((len(call.operation.name) for call in self.calls), default=0)
        memory = (self.batch.bytes + self.workspace.bytes + self.scratch.bytes) / 1024
        lines = [f"{self.title}, {self.dtype}, up to {self.rows} rows a pass, {memory:.0f} KiB of workspace"]
        for name, (first, last) in self.sections.items():
            if first < last:
                lines.append(f"{name}:")
            lines += [f"  {call.operation.name:<{width}}  {call.formula}" for call in self.calls[first:last]]
        return "\n".join(lines)

    def add(self, operation: str | Operation, formula: str, arguments: Mapping[str, Operand]) -> None:
        """One more call, of an operation of the table, or of one that a user has made."""
        entry = OPERATIONS[operation] if isinstance(operation, str) else operation
        self.calls.append(Call(entry, arguments, formula))
