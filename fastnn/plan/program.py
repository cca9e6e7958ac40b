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
    parts     into how many parts of its own a full batch sums its gradients; 0: into the gradients themselves
    threads   how many share the work; it changes no bit
    """

    def __init__(
        self, plan: Plan, arenas: Mapping[str, Array], backend: str, batches: int = 1, parts: int = 0, threads: int = 1
    ) -> None:
        self.plan, self.batches = plan, batches
        side_by_side = threads if parts else 1  # passes that may run at the same time
        self._arenas = {
            **arenas,
            "batch": plan.batch.allocate(max(batches, side_by_side)),
            "workspace": plan.workspace.allocate(side_by_side),
            "scratch": aligned_zeros(side_by_side * plan.scratch.bytes),
        }
        if parts:
            self._arenas["parts"] = aligned_zeros(parts * len(arenas["gradients"]))
        self.gathered: object | None = None
        """Whose tiles the batches hold, if they are those of a full batch."""
        self.seconds_per_pass: float | None = None
        """What a pass took last, None before the first: it decides how many make a chunk."""
        self.runner: Runner
        if backend == "reference":
            self.runner = ReferenceRunner(plan, self._arenas)
        else:
            dtype = str(plan.dtype)
            addresses = [backends.kernel_address(backend, call.operation, dtype) for call in plan.calls]
            if threads > 1:
                from .threads import TeamRunner

                self.runner = TeamRunner(plan, self._arenas, addresses, threads, side_by_side)
            else:
                self.runner = NativeRunner(plan, self._arenas, addresses, backends.native_loop(backend))

    @property
    def parts(self) -> Array:
        """The parts of the gradients, (parts, numbers)."""
        numbers = self._arenas["parts"].view(self.plan.dtype)
        return numbers.reshape(-1, len(self._arenas["gradients"]) // self.plan.dtype.itemsize)

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
