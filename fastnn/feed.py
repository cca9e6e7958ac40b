"""What the passes over bound data are given: the data, which rows, where losses go, the scalars of each step."""

from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from . import checks
from .losses import Loss
from .losses.base import reciprocal
from .plan.passes import Column, Passes, PerPass, Window
from .plan.program import Program
from .steps import Steps

if TYPE_CHECKING:
    from .trainer import Trainer

Array = np.ndarray[Any, Any]


class Feed:
    """Data that have passed all checks, for the passes of a trainer.

    weights   (rows,) of the model's dtype, what each row counts in the loss; None: all alike
    taken     int64 row numbers: those that a full batch takes; None: all
    """

    def __init__(
        self, trainer: "Trainer", loss: Loss, X: Array, y: Array, weights: Array | None, taken: Array | None
    ) -> None:
        self._trainer, self._loss, self._X, self._y, self._weights = trainer, loss, X, y, weights
        self._taken = taken

    @cached_property
    def full(self) -> Array:
        """The rows of a full batch. Of data larger than memory these numbers alone are large, and rarely needed."""
        return np.arange(len(self._X), dtype=np.int64) if self._taken is None else self._taken

    @property
    def data(self) -> dict[str, Column]:
        """What batches are gathered from."""
        data: dict[str, Column] = {"X": self._X, "y": self._y}
        return data if self._weights is None else {**data, "w": self._weights}

    def passes(
        self, program: Program, steps: Steps, own: slice, losses: Array, training: bool, rates: Array | None = None
    ) -> Passes:
        """Some of the passes with all that they are given, at the trainer's step count and these learning rates, or the
        trainer's; their losses go to their places in `losses`."""
        rows = steps.rows[own]
        given: dict[str, Column] = {
            **self.data,
            "accumulate": 0 if steps.accumulate is None else PerPass(steps.accumulate[own]),
            **self.changing(steps, own, losses, training, rates),
        }
        if self._weights is None:
            given["scale"] = self._scale(rows, steps.passes)
        if steps.part is not None:
            given["parts"] = program.parts
        own_or_none = (None if column is None else column[own] for column in (steps.batch, steps.part, steps.marks))
        return Passes(steps.calls[own], rows, given, *own_or_none)

    def changing(
        self, steps: Steps, own: slice, losses: Array, training: bool, rates: Array | None = None
    ) -> dict[str, Column]:
        """What of it is another when the same passes are run again, on other rows or later."""
        trainer = self._trainer
        index = np.arange(own.start, own.stop)
        step, place = divmod(index, steps.passes) if steps.passes > 1 else (index, np.zeros_like(index))
        start = trainer.step_count if training else 0
        given: dict[str, Column] = {
            "order": Window(steps.order, steps.starts[own]),
            "loss": Window(losses, index, 1),
            **trainer.dropout_keys(start + step - step[0], place),
        }
        if self._weights is not None:
            given["scale"] = self._weighted_scale(steps, own)
        if training:
            numbers = start + 1.0 + np.arange(step[-1] - step[0] + 1)
            lr = trainer.lr if rates is None else rates[step[0] : step[-1] + 1]
            given |= per_step(trainer.optimizer.scalars(numbers, lr), step - step[0])
        return given

    def _weighted_scale(self, steps: Steps, own: slice) -> Column:
        """1 / (sum of the weights, as many terms a row as there are), 0 for 0."""
        assert self._weights is not None
        outputs = self._trainer.model.parameters.outputs
        if steps.passes > 1 or steps.batch is not None:  # each step is on all rows
            return float(reciprocal(self._loss.terms(self._weights[self.full].sum(dtype=np.float64), outputs)))
        starts, last = steps.starts[own], own.stop - 1
        rows = steps.order[starts[0] : steps.starts[last] + steps.rows[last]]
        mass = np.add.reduceat(self._weights[rows].astype(np.float64), starts - starts[0])
        return PerPass(reciprocal(self._loss.terms(mass, outputs)))

    def _scale(self, rows: Array, passes: int) -> Column:
        """1 / (terms of the mean) for each pass: over all rows where a step has several passes, else over its own."""
        outputs = self._trainer.model.parameters.outputs
        if passes > 1:
            return 1.0 / float(self._loss.terms(len(self.full), outputs))
        if (rows == rows[0]).all():
            return 1.0 / float(self._loss.terms(int(rows[0]), outputs))
        return PerPass(1.0 / self._loss.terms(rows, outputs))


def checked_rates(rates: Any, steps: int) -> Array:
    """Learning rates, one for each of so many steps."""
    found = checks.numeric(rates, "run(rates)").astype(np.float64)
    if found.shape != (steps,):
        raise ValueError(f"run(rates): has shape {found.shape}, expected one for each of {steps} steps")
    if not (np.isfinite(found).all() and (found >= 0).all()):
        raise ValueError("run(rates): expected finite numbers, 0 or more")
    return found


def per_step(scalars: Mapping[str, float | Array], step_of: Array) -> dict[str, Column]:
    """An optimizer's scalars as columns: what differs by step is spread over the passes of each step."""
    return {
        name: PerPass(value[step_of]) if isinstance(value, np.ndarray) else value for name, value in scalars.items()
    }
