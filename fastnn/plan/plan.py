"""A plan: operations in order, each with its operands, cut into sections. `print(plan)` reads like the maths of one
step."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from ..kernels.table import OPERATIONS, Operation
from .arena import Layout, Ref

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


@dataclass
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
