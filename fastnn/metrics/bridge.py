"""scikit-learn's metrics, where it is installed, in the place of ours."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import numpy as np

from fastnn import checks

from .base import CLASSES, Score, columns, is_classes, labelled, sigmoid, softmax


class SklearnMetric(Score):
    """A function of scikit-learn as a metric; `from_sklearn` makes it."""

    def __init__(self, function: Callable[..., Any], of: str, name: str, options: dict[str, Any]) -> None:
        self.function, self.of, self.options, self._name = function, of, options, name
        self.tasks = ("regress",) if of == "numbers" else CLASSES  # type: ignore[misc]
        self.larger = None  # type: ignore[misc]

    def __repr__(self) -> str:
        return f"<scikit-learn's {self.function.__name__} of {self.of}>"

    @property
    def name(self) -> str:
        return self._name

    def __call__(self, outputs: np.ndarray, targets: np.ndarray) -> float:
        return float(self.function(*_as_sklearn(self.name, self.of, outputs, targets), **self.options))


def from_sklearn(
    metric: str | Callable[..., Any],
    of: Literal["labels", "probabilities", "numbers"] = "labels",
    name: str | None = None,
    **options: Any,
) -> SklearnMetric:
    """A metric of scikit-learn for `fit(metrics=...)` and `evaluate`: `from_sklearn("matthews_corrcoef")`.

    metric    its name in sklearn.metrics, or any function (y_true, y_pred, **options) that returns a number
    of        what it is given as y_pred
              "labels": class numbers (rows,), told as by `accuracy`; 0 and 1 (rows, outputs) for several yes-or-no ones
              "probabilities": (rows, classes); (rows,) of yes, or of class 1, for two classes; (rows, outputs) for
              several yes-or-no outputs
              "numbers": the outputs, (rows,) where there is one; for regression
    name      in histories and results; None: the function's
    options   go to the function with every call

    EarlyStopping has to be told its mode. What scikit-learn cannot take, such as NaN, is its error. ImportError where
    it is not installed, ValueError for a name that it does not have.
    """
    if of not in ("labels", "probabilities", "numbers"):
        raise checks.unknown_name("kind of prediction", of, ("labels", "probabilities", "numbers"))
    if isinstance(metric, str):
        try:
            import sklearn.metrics
        except ImportError:
            raise ImportError("from_sklearn needs scikit-learn: pip install 'fastnn[tables]'") from None
        found = getattr(sklearn.metrics, metric, None) if metric in sklearn.metrics.__all__ else None
        if found is None:
            raise checks.unknown_name("metric of scikit-learn", metric, sklearn.metrics.__all__)
        metric = found
    if not callable(metric):
        raise TypeError(f"from_sklearn(metric={metric!r}): expected a name or a function")
    return SklearnMetric(metric, of, getattr(metric, "__name__", "metric") if name is None else name, options)


def _as_sklearn(name: str, of: str, outputs: np.ndarray, targets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """y_true and y_pred as scikit-learn takes them."""
    outputs, targets = np.asarray(outputs), np.asarray(targets)
    if of != "numbers" and is_classes(outputs, targets):
        outputs, labels = labelled(name, outputs, targets)
        if of == "labels":
            return labels, outputs.argmax(axis=1)
        shares = softmax(outputs)
        return labels, shares[:, 1] if shares.shape[1] == 2 else shares
    outputs, targets = columns(name, outputs, targets)
    if of == "labels":
        outputs = (outputs > 0).astype(np.int64)
    elif of == "probabilities":
        outputs = sigmoid(outputs)
    if of != "numbers":
        targets = (targets > 0.5).astype(np.int64)
    return (targets[:, 0], outputs[:, 0]) if outputs.shape[1] == 1 else (targets, outputs)
