"""Data bound to a trainer whose loss is a Python function: each step leaves native code for it."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from . import checks
from .bound import Bound, NonFiniteLoss
from .feed import checked_rates
from .losses import CustomLoss

if TYPE_CHECKING:
    from .trainer import Trainer

Array = np.ndarray[Any, Any]


class CustomBound(Bound):
    """The same promises as those of `Bound`, kept by the trainer's `forward`, `backward` and `step`; a full batch goes
    through all layers in one piece."""

    def __init__(
        self, trainer: "Trainer", loss: CustomLoss, X: Array, y: Array, weights: Array | None = None,
        taken: Array | None = None,
    ) -> None:  # fmt: skip
        super().__init__(trainer, loss, X, y, weights, taken)
        self._function = loss

    def run(self, order: Any, rates: Any = None) -> Array:
        """As `Bound.run`."""
        return self._train(self._batches(order), rates)

    def run_batches(self, sizes: Any, rates: Any = None) -> Array:
        """As `Bound.run_batches`."""
        rows = self._checked_sizes(sizes)
        return self._train(np.split(np.arange(rows.sum()), np.cumsum(rows)[:-1]), rates)

    def _train(self, batches: list[Array], rates: Any) -> Array:
        given = None if rates is None else checked_rates(rates, len(batches))
        lr, losses = self._trainer.lr, np.empty(len(batches))
        try:
            for step, rows in enumerate(batches):
                if given is not None:
                    self._trainer.lr = float(given[step])
                losses[step] = self._step(rows)
                if not np.isfinite(losses[step]):
                    raise NonFiniteLoss(step, losses[: step + 1].copy())
        finally:
            if given is not None:
                self._trainer.lr = lr
        return losses

    def steps(self, order: Any) -> Iterator[float]:
        """As `Bound.steps`."""
        return self._one_by_one(self._batches(np.array(order)))

    def run_full(self, steps: int) -> Array:
        """As `Bound.run_full`, with all rows in one pass."""
        return self._all(steps)

    def differentiate(self) -> float:
        """As `Bound.differentiate`."""
        return self._gradient(self._feed.full, step=0)

    def prepare(self) -> None:
        """Nothing: plans are made for the rows that come."""

    def _batches(self, order: Any) -> list[Array]:
        size = self._trainer.batch_size
        rows = checks.row_numbers(order, self.rows, size)
        if rows.ndim == 2:
            return [*rows]
        return [rows[first : first + size] for first in range(0, len(rows), size)]

    def _all(self, steps: int) -> Array:
        losses = np.empty(steps)
        for step in range(steps):
            losses[step] = self._step(self._feed.full)
            if not np.isfinite(losses[step]):
                raise NonFiniteLoss(step, losses[: step + 1].copy())
        return losses

    def _one_by_one(self, batches: list[Array]) -> Iterator[float]:
        losses: list[float] = []
        for rows in batches:
            losses.append(self._step(rows))
            if not np.isfinite(losses[-1]):
                raise NonFiniteLoss(len(losses) - 1, np.array(losses))
            yield losses[-1]

    def _step(self, rows: Array) -> float:
        """The loss of a step, which is made unless the loss is not finite."""
        loss = self._gradient(rows, self._trainer.step_count)
        if np.isfinite(loss):
            self._trainer.step()
        return loss

    def _gradient(self, rows: Array, step: int) -> float:
        """The loss of some rows, penalties included; the trainer then has its gradient."""
        outputs = self._trainer.forward_rows(self._X, rows, step)
        first = not self._trainer.loss_checked
        judged = self._function.judge(outputs, self._y[rows], self._weights_of(rows), first)
        self._trainer.loss_checked = True
        self._trainer.backward(judged.gradient)
        return judged.value + self._trainer.penalty

    def _weights_of(self, rows: Array) -> Array | None:
        return None if self.weights is None else self.weights[rows]
