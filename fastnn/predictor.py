"""Predictor: a model compiled for inference."""

from typing import TYPE_CHECKING, Any

import numpy as np

from .kernels import backends
from .plan.arena import padded_matrix
from .plan.compiler import compile_inference
from .plan.kept import kept
from .plan.passes import Column, Passes, Window
from .plan.prepared import Prepared
from .plan.program import Program

if TYPE_CHECKING:
    from .trainer import Model

Array = np.ndarray[Any, Any]
# Rows a pass can take: a plan for each, rather than one for every number of rows that comes along.
_CAPACITIES = (16, 64, 512)
# Inputs that have so many bytes with their outputs are copied to where passes for their number of rows have been made
# ready, which takes some 45 us. So many such stretches of passes are kept, those used last.
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
        self._kept: dict[int, tuple[Array, Prepared, Array]] = {}

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.model, self.backend)  # a copy compiles its own plans: those of this one hold addresses

    def run(self, X: Array) -> Array:
        """The outputs (rows, outputs) for X (rows, inputs), which has passed `checks.features`."""
        model, rows = self.model, len(X)
        if 0 < rows * (model.inputs + model.parameters.outputs) * X.itemsize <= _SMALL:
            return self._run_kept(X)
        prepared, outputs = self._prepared(X)
        prepared.run(0, -(-rows // self._tile(rows)))
        return np.ascontiguousarray(outputs)

    def _run_kept(self, X: Array) -> Array:
        """The same by passes that are kept for this number of rows, or will be. While they run no other thread finds
        them."""
        rows = len(X)
        kept = self._kept.pop(rows, None)
        if kept is None:
            inputs = np.zeros((rows, self.model.inputs), self.model.dtype)
            kept = (inputs, *self._prepared(inputs))
        inputs, prepared, outputs = kept
        inputs[...] = X
        prepared.run(0, -(-rows // self._tile(rows)))
        results = outputs.copy(order="C")
        self._kept[rows] = kept
        for oldest in list(self._kept)[:-_KEPT]:
            self._kept.pop(oldest, None)
        return results

    def _prepared(self, X: Array) -> tuple[Prepared, Array]:
        """Passes over the rows of X, ready to run, and where they put their outputs."""
        model, rows = self.model, len(X)
        tile = self._tile(rows)
        starts = np.arange(0, rows, tile)
        outputs = padded_matrix(rows, model.parameters.outputs, model.dtype)
        program = self._program(tile)
        calls = np.empty((len(starts), 2), np.int64)
        calls[:] = program.calls("gather", "output")
        order, out = Window(np.arange(rows), starts), Window(outputs, starts)
        given: dict[str, Column] = {"X": X, "order": order, "outputs": out}
        return program.runner.prepare(Passes(calls, np.minimum(tile, rows - starts), given)), outputs

    @staticmethod
    def _tile(rows: int) -> int:
        return next((size for size in _CAPACITIES if rows <= size), _CAPACITIES[-1])

    def _program(self, rows: int) -> Program:
        if rows not in self._programs:
            model = self.model
            of = "inference", model.layers, model.inputs, model.dtype, rows
            plan = kept(of, lambda: compile_inference(model.layers, model.parameters, rows))
            self._programs[rows] = Program(plan, self._arenas, self.backend)
        return self._programs[rows]
