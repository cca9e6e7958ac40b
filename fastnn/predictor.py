"""Predictor: a model compiled for inference."""

from typing import TYPE_CHECKING, Any

import numpy as np

from .kernels import backends
from .plan.arena import padded_matrix
from .plan.compiler import compile_inference
from .plan.prepared import Prepared
from .plan.program import Program
from .plan.runner import Column, Passes, Window

if TYPE_CHECKING:
    from .trainer import Model

Array = np.ndarray[Any, Any]
# Rows a pass can take: a plan for each, rather than one for every number of rows that comes along.
_CAPACITIES = (16, 64, 512)
# Inputs of so many bytes are copied to where a pass for their number of rows has been made ready: making one ready
# takes longer than running it. So many such passes are kept, those used last.
_SMALL, _KEPT = 1 << 16, 8


class Predictor:
    """Runs a model forward, with running statistics and without dropout; parameters are read where they are, so that
    one predictor serves a model while it is trained.
    """

    def __init__(self, model: "Model", backend: str = "auto") -> None:
        self.model = model
        self.backend = backends.resolve(backend)
        self._arenas = {"parameters": model.parameters.arena, "state": model.parameters.state}
        self._programs: dict[int, Program] = {}
        self._ready: dict[int, tuple[Prepared, Array, Array]] = {}

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.model, self.backend)  # a copy compiles its own plans: those of this one hold addresses

    def run(self, X: Array) -> Array:
        """The outputs (rows, outputs) for X (rows, inputs), which has passed `checks.features`."""
        if 0 < len(X) <= _CAPACITIES[-1] and X.nbytes <= _SMALL:
            prepared, inputs, results = self._one_pass(len(X))
            inputs[...] = X
            prepared.run(0, 1)
            return results.copy(order="C")
        model, rows = self.model, len(X)
        tile = self._tile(rows)
        starts = np.arange(0, rows, tile)
        outputs = padded_matrix(rows, model.parameters.outputs, model.dtype)
        program = self._program(tile)
        calls = np.empty((len(starts), 2), np.int64)
        calls[:] = program.calls("gather", "output")
        order, out = Window(np.arange(rows), starts), Window(outputs, starts)
        given: dict[str, Column] = {"X": X, "order": order, "outputs": out}
        program.runner.run(Passes(calls, np.minimum(tile, rows - starts), given))
        return np.ascontiguousarray(outputs)

    def _one_pass(self, rows: int) -> tuple[Prepared, Array, Array]:
        """A pass for so many rows, ready to run again and again, and where its inputs and outputs lie."""
        found = self._ready.pop(rows, None)
        if found is None:
            model, program, start = self.model, self._program(self._tile(rows)), np.zeros(1, np.int64)
            inputs = np.zeros((rows, model.inputs), model.dtype)
            outputs = padded_matrix(rows, model.parameters.outputs, model.dtype)
            given: dict[str, Column] = {"X": inputs, "order": np.arange(rows), "outputs": Window(outputs, start)}
            calls = np.array([program.calls("gather", "output")], np.int64)
            found = program.runner.prepare(Passes(calls, np.array([rows]), given)), inputs, outputs
            if len(self._ready) == _KEPT:
                del self._ready[next(iter(self._ready))]
        self._ready[rows] = found
        return found

    @staticmethod
    def _tile(rows: int) -> int:
        return next((size for size in _CAPACITIES if rows <= size), _CAPACITIES[-1])

    def _program(self, rows: int) -> Program:
        if rows not in self._programs:
            plan = compile_inference(self.model.layers, self.model.parameters, rows)
            self._programs[rows] = Program(plan, self._arenas, self.backend)
        return self._programs[rows]
