"""A program: a plan bound to memory and to kernels, ready to run."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from ..kernels import backends
from .arena import aligned_zeros
from .plan import Plan
from .runner import NativeRunner, ReferenceRunner, Runner

Array = np.ndarray[Any, Any]


class Program:
    """A plan with a workspace of its own and arenas that it shares: parameters, gradients, moments, running statistics.

    backend   "reference", or the compiled set whose kernels are called
    batches   how many batches are kept side by side; a full batch gathers each of its tiles once
    """

    def __init__(self, plan: Plan, arenas: Mapping[str, Array], backend: str, batches: int = 1) -> None:
        self.plan, self.batches = plan, batches
        self._arenas = {
            **arenas,
            "batch": plan.batch.allocate(batches),
            "workspace": plan.workspace.allocate(),
            "scratch": aligned_zeros(plan.scratch.bytes),
        }
        self.gathered: object | None = None
        """Whose tiles the batches hold, if they are those of a full batch."""
        self.seconds_per_pass: float | None = None
        """What a pass took last, None before the first: it decides how many make a chunk."""
        self.runner: Runner
        if backend == "reference":
            self.runner = ReferenceRunner(plan, self._arenas)
        else:
            dtype = str(plan.dtype)
            addresses = [backends.kernel_address(backend, call.operation.name, dtype) for call in plan.calls]
            self.runner = NativeRunner(plan, self._arenas, addresses, backends.native_loop(backend))

    def calls(self, first: str, last: str) -> tuple[int, int]:
        """The range of calls from the beginning of one section to the end of another."""
        return self.plan.sections[first][0], self.plan.sections[last][1]

    def fill_workspace(self, byte: int) -> None:
        """Overwrites all that lives within a pass, constants excepted: no result may depend on it."""
        self.gathered = None
        layouts = {"batch": self.plan.batch, "workspace": self.plan.workspace, "scratch": self.plan.scratch}
        for name, layout in layouts.items():
            self._arenas[name][...] = byte
            layout.fill_constants(self._arenas[name])
