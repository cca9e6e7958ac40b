"""Outputs, losses and metrics of a model on data: what predict and evaluate give and what validation reports."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from fastnn import checks
from fastnn.losses import CustomLoss, Loss
from fastnn.losses.base import reciprocal
from fastnn.losses.weights import sample_weights, weights_of_rows
from fastnn.metrics import Metric, MetricsLike, get_metrics, refuse_other_tasks

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from fastnn.model import Sequential
    from fastnn.predictor import Predictor

# Parameters times rows of one piece of a long prediction: a twentieth of a second at 40 GFLOP/s.
PIECE_WORK = 1_000_000_000
# The loss of so many rows is computed at once.
LOSS_ROWS = 2**18
# Rows held out for validation are copied if they take no more than this.
HELD_BYTES = 2**26


def predict_rows(predictor: Predictor, X: np.ndarray, parameters: int, rows: np.ndarray | None = None) -> np.ndarray:
    """Outputs (rows, outputs) for checked rows, in pieces between which Ctrl-C is heard.

    X            as `checks.features(whole=False)` returns it: what has to be converted or gathered is so by pieces
    parameters   of the model: what one row costs
    rows         int64 numbers of the rows that are meant; None: all
    """
    dtype, count = predictor.model.dtype, len(X) if rows is None else len(rows)
    piece = max(256, PIECE_WORK // max(parameters, 1) // 256 * 256)
    if rows is not None or not checks.is_ready(X, dtype):
        piece = min(piece, max(256, checks.block_rows(X.shape[1], dtype) // 256 * 256))
    outputs = None
    for start in range(0, count, piece):
        own = slice(start, start + piece)
        found = predictor.run(checks.rows_of(X, own if rows is None else rows[own], dtype))
        if count <= piece:
            return found
        if outputs is None:
            outputs = np.empty((count, found.shape[1]), dtype)
        outputs[own] = found
    assert outputs is not None  # no data has no rows
    return outputs


@dataclass(frozen=True)
class Scorer:
    """Loss and metrics of a model on fixed data; called, it gives them at the present weights.

    weights   of the rows, in the loss; metrics count all rows alike
    rows      int64: the rows of X that targets and weights are for; None: all
    """

    predictor: Predictor
    parameters: int
    X: np.ndarray
    targets: np.ndarray
    loss: Loss
    metrics: Mapping[str, Metric]
    weights: np.ndarray | None = None
    rows: np.ndarray | None = None

    @property
    def data(self) -> tuple[np.ndarray, ...]:
        """What it scores the model on, as far as checkpoints can compare it."""
        return (self.X, self.targets) if self.weights is None else (self.X, self.targets, self.weights)

    def __call__(self) -> dict[str, float]:
        """The loss under "loss", then each metric under its name."""
        outputs = predict_rows(self.predictor, self.X, self.parameters, self.rows)
        return scores(outputs, self.targets, self.weights, self.loss, self.metrics)

    def rehearse(self) -> None:
        """Score some rows, so that metrics that do not fit the data fail before training, and the plan is made."""
        some = slice(min(len(self.targets), 4096))
        X, rows = (self.X[some], None) if self.rows is None else (self.X, self.rows[some])
        weights = None if self.weights is None else self.weights[some]
        replace(self, X=X, targets=self.targets[some], weights=weights, rows=rows)()

    def of_rows(self, rows: np.ndarray) -> Scorer:
        """That of some of the rows, which are copied where they take little memory, else gathered anew each time."""
        own = replace(self, targets=self.targets[rows], weights=None if self.weights is None else self.weights[rows])
        row_bytes = self.X.shape[1] * self.predictor.model.dtype.itemsize
        if len(rows) * row_bytes > HELD_BYTES:
            return replace(own, rows=rows)
        return replace(own, X=checks.rows_of(self.X, rows, self.predictor.model.dtype))


def scores(
    outputs: np.ndarray, targets: np.ndarray, weights: np.ndarray | None, loss: Loss, metrics: Mapping[str, Metric]
) -> dict[str, float]:
    """The loss under "loss", then each metric under its name."""
    # Outputs that overflowed give a loss of NaN or infinity, which says it all.
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        found = {"loss": _loss(outputs, targets, weights, loss)}
        for name, metric in metrics.items():
            own = loss.scored(outputs, targets) if hasattr(metric, "tasks") else (outputs, targets)
            found[name] = _score(name, metric(*own))
    return found


def _loss(outputs: np.ndarray, targets: np.ndarray, weights: np.ndarray | None, loss: Loss) -> float:
    """The mean loss; of many rows in pieces, because it takes some fifteen times the memory of the outputs. A function
    of one's own need not be a mean."""
    rows = len(outputs)
    if rows <= LOSS_ROWS or not loss.native:
        return float(loss.value(outputs, targets, weights))
    total, mass = 0.0, 0.0
    for start in range(0, rows, LOSS_ROWS):
        own = slice(start, start + LOSS_ROWS)
        given = None if weights is None else weights[own]
        piece = float(len(outputs[own]) if given is None else given.sum(dtype=np.float64))
        total += float(loss.value(outputs[own], targets[own], given)) * piece
        mass += piece
    return float(total * reciprocal(mass))


def _score(name: str, value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        raise TypeError(f"metric {name!r} returned {value!r}: expected a number") from None


def metrics_of(loss: Loss, metrics: MetricsLike | None) -> dict[str, Metric]:
    """The metrics asked for by name, those of the loss for None; ValueError for one that does not fit the loss."""
    found = get_metrics(loss.default_metrics if metrics is None else metrics)
    if getattr(loss, "native", True):  # a loss of the user's own may be for anything
        refuse_other_tasks(found, loss.task, loss.name)
    return found


def scorer(
    model: Sequential,
    X: ArrayLike,
    y: ArrayLike,
    *,
    loss: Loss,
    metrics: Mapping[str, Metric],
    backend: str,
    allow_nonfinite: bool,
    names: tuple[str, str] = ("X", "y"),
    by_class: np.ndarray | None = None,
    sample_weight: ArrayLike | None = None,
) -> Scorer:
    """Check data and targets (called `names` in errors) and make them ready for scoring.

    by_class, sample_weight   weights of the classes, and of the rows
    """
    X = model.parameters.checked_inputs(X, names[0], allow_nonfinite, whole=False)
    targets = check_targets(model, loss, y, X, names, allow_nonfinite)
    by_row = None if sample_weight is None else row_weights(model, loss, sample_weight, len(X))
    weights = weights_of_rows(by_class, by_row, loss, targets, model.outputs, model.dtype)
    if weights is not None and not weights.any():
        raise ValueError(f"{names[0]}, {names[1]}: the weights of all rows are 0")
    return Scorer(model.predictor(backend), model.count, X, targets, loss, metrics, weights)


def row_weights(
    model: Sequential, loss: Loss, weights: ArrayLike, rows: int, name: str = "sample_weight"
) -> np.ndarray:
    """Weights of rows, checked, in the model's dtype; as they are for a loss of one's own."""
    if isinstance(loss, CustomLoss):
        loss.check_weights(weights)
    return sample_weights(weights, rows, model.dtype, name, loss.native)


def check_targets(
    model: Sequential, loss: Loss, y: ArrayLike, X: np.ndarray, names: tuple[str, str], allow_nonfinite: bool
) -> np.ndarray:
    """The targets in the form of the loss, as many as there are rows of X."""
    targets = loss.check_targets(y, model.outputs, model.dtype, names[1], allow_nonfinite)
    checks.same_rows(X, targets, names)
    return np.asarray(targets)
