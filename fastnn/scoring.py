"""Outputs, losses and metrics of a model on data: what predict and evaluate give and what validation reports."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from fastnn import checks
from fastnn.losses import CustomLoss, Loss
from fastnn.losses.weights import sample_weights, weights_of_rows
from fastnn.metrics import Metric, MetricsLike, get_metrics, refuse_other_tasks

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from fastnn.model import Sequential
    from fastnn.predictor import Predictor

# Parameters times rows of one piece of a long prediction: a twentieth of a second at 40 GFLOP/s.
PIECE_WORK = 1_000_000_000


def predict_rows(predictor: Predictor, X: np.ndarray, parameters: int) -> np.ndarray:
    """Outputs (rows, outputs) for checked rows, in pieces between which Ctrl-C is heard.

    parameters   of the model: what one row costs
    """
    piece = max(256, PIECE_WORK // max(parameters, 1) // 256 * 256)
    if len(X) <= piece:
        return predictor.run(X)
    return np.concatenate([predictor.run(X[start : start + piece]) for start in range(0, len(X), piece)])


@dataclass(frozen=True)
class Scorer:
    """Loss and metrics of a model on fixed data; called, it gives them at the present weights."""

    predictor: Predictor
    parameters: int
    X: np.ndarray
    targets: np.ndarray
    loss: Loss
    metrics: Mapping[str, Metric]
    weights: np.ndarray | None = None
    """Of the rows, in the loss; metrics count all rows alike."""

    def __call__(self) -> dict[str, float]:
        """The loss under "loss", then each metric under its name."""
        outputs = predict_rows(self.predictor, self.X, self.parameters)
        # Outputs that overflowed give a loss of NaN or infinity, which says it all.
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            scores = {"loss": float(self.loss.value(outputs, self.targets, self.weights))}
            for name, metric in self.metrics.items():
                own = self.loss.scored(outputs, self.targets) if hasattr(metric, "tasks") else (outputs, self.targets)
                scores[name] = _score(name, metric(*own))
        return scores

    def rehearse(self) -> None:
        """Score some rows, so that metrics that do not fit the data fail before training, and the plan is made."""
        rows = slice(min(len(self.X), 4096))
        weights = None if self.weights is None else self.weights[rows]
        replace(self, X=self.X[rows], targets=self.targets[rows], weights=weights)()


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
    X = checks.features(X, model.inputs, model.dtype, name=names[0], allow_nonfinite=allow_nonfinite)
    targets = check_targets(model, loss, y, X, names, allow_nonfinite)
    by_row = None if sample_weight is None else row_weights(model, loss, sample_weight, len(X))
    weights = weights_of_rows(by_class, by_row, loss, targets, model.outputs, model.dtype)
    return Scorer(model.predictor(backend), model.count, X, targets, loss, metrics, weights)


def row_weights(model: Sequential, loss: Loss, weights: ArrayLike, rows: int) -> np.ndarray:
    """Weights of rows, checked, in the model's dtype."""
    if isinstance(loss, CustomLoss):
        loss.refuse_weights(weights)
    return sample_weights(weights, rows, model.dtype)


def check_targets(
    model: Sequential, loss: Loss, y: ArrayLike, X: np.ndarray, names: tuple[str, str], allow_nonfinite: bool
) -> np.ndarray:
    """The targets in the form of the loss, as many as there are rows of X."""
    targets = loss.check_targets(y, model.outputs, model.dtype, names[1], allow_nonfinite)
    checks.same_rows(X, targets, names)
    return np.asarray(targets)
