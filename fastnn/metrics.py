"""Scores of a model's outputs against targets: accuracy, RMSE, R2.

A metric is a function `metric(outputs, targets) -> float`. `outputs` (rows, outputs) are the raw outputs of the last
layer, of any float dtype; `targets` are in the form of the loss: labels (rows,) for several classes, else numbers
(rows, outputs), or (rows,) for one output. Everything is computed in float64. The judges of the tests are
scikit-learn's accuracy_score, root_mean_squared_error and r2_score.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeAlias

import numpy as np

from fastnn import checks

Metric: TypeAlias = Callable[[np.ndarray, np.ndarray], float]
# What may be given where metrics are asked for.
MetricsLike: TypeAlias = str | Metric | Iterable[str | Metric]


def accuracy(outputs: np.ndarray, targets: np.ndarray) -> float:
    """The share of right answers, 0 to 1.

    Several classes, targets (rows,): the largest output must be that of the label (the first one among equals; a row
    whose outputs contain NaN counts as wrong). One or several yes-or-no outputs, targets (rows,) or (rows, outputs):
    the logit must be above 0 where the target is above 0.5; several such outputs are counted one by one
    (scikit-learn's accuracy_score wants all of a row right).
    """
    outputs, targets = np.asarray(outputs), np.asarray(targets)
    if outputs.ndim == 2 and outputs.shape[1] > 1 and targets.ndim == 1:
        _same_rows("accuracy", outputs, targets)
        best = outputs.argmax(axis=1)
        right = best == targets
        # argmax takes NaN for the largest.
        broken = np.isnan(outputs[np.arange(len(best)), best])
    else:
        outputs, targets = _columns("accuracy", outputs, targets)
        right = (outputs > 0) == (targets > 0.5)
        broken = np.isnan(outputs)
    return int(np.count_nonzero(right & ~broken)) / int(right.size)


def rmse(outputs: np.ndarray, targets: np.ndarray) -> float:
    """Root mean squared error, sqrt(mean((outputs - targets)**2)); with several outputs the mean of each one's."""
    outputs, targets = _columns("rmse", outputs, targets)
    return float(np.sqrt(np.square(outputs - targets).mean(axis=0)).mean())


def r2(outputs: np.ndarray, targets: np.ndarray) -> float:
    """Coefficient of determination, 1 - sum((targets - outputs)**2) / sum((targets - mean)**2), at most 1.

    With several outputs the mean of each one's (scikit-learn's "uniform_average"). Where all targets are the same
    the sum below is zero: 1 when the outputs are exact, else 0 (scikit-learn's force_finite=True; PyTorch Ignite
    gives -inf). A single row has no variance: NaN.
    """
    outputs, targets = _columns("r2", outputs, targets)
    if len(targets) < 2:
        return float("nan")
    residual = np.square(targets - outputs).sum(axis=0)
    total = np.square(targets - targets.mean(axis=0)).sum(axis=0)
    # Equal targets are recognised by themselves: their rounded mean can leave a tiny total that is not zero.
    constant = (targets == targets[0]).all(axis=0)
    score = 1.0 - residual / np.where(constant, 1.0, total)
    return float(np.where(constant, residual == 0.0, score).mean())


METRICS: dict[str, Metric] = {"accuracy": accuracy, "rmse": rmse, "r2": r2}

_LARGER_IS_BETTER = {"loss": False, "accuracy": True, "rmse": False, "r2": True}


def larger_is_better(name: str) -> bool | None:
    """Whether a larger value of a metric, "loss" or "val_..." is better; None for a metric that is not known here."""
    return _LARGER_IS_BETTER.get(name.removeprefix("val_"))


def get_metrics(metrics: MetricsLike) -> dict[str, Metric]:
    """Metrics by name. Each is a known name or a function `(outputs, targets) -> float`, which keeps its own name.

    "loss" is accepted and left out: the loss is always reported. ValueError for an unknown name (it says the nearest
    known one) or a name given twice, TypeError for anything else.
    """
    if isinstance(metrics, str) or callable(metrics):
        metrics = (metrics,)
    found: dict[str, Metric] = {}
    for metric in metrics:
        if isinstance(metric, str):
            if metric == "loss":
                continue
            if metric not in METRICS:
                raise checks.unknown_name("metric", metric, ("loss", *METRICS))
            name, function = metric, METRICS[metric]
        elif callable(metric):
            name, function = getattr(metric, "__name__", type(metric).__name__), metric
        else:
            raise TypeError(
                f"metric {metric!r}: expected a name ({', '.join(METRICS)}) or a function (outputs, targets)"
            )
        if name in found or name == "loss":
            raise ValueError(f"metric {name!r}: given twice")
        found[name] = function
    return found


def _columns(name: str, outputs: np.ndarray, targets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both as float64 (rows, outputs) of the same shape, which stops (rows,) - (rows, 1) from making a square."""
    given = np.asarray(outputs), np.asarray(targets)
    outputs, targets = (a.astype(np.float64) for a in given)
    outputs, targets = (a[:, None] if a.ndim == 1 else a for a in (outputs, targets))
    if outputs.ndim != 2 or outputs.shape != targets.shape:
        raise ValueError(f"{name}: outputs {given[0].shape} and targets {given[1].shape} must have the same shape")
    _same_rows(name, outputs, targets)
    return outputs, targets


def _same_rows(name: str, outputs: np.ndarray, targets: np.ndarray) -> None:
    if len(outputs) != len(targets):
        raise ValueError(f"{name}: outputs have {len(outputs)} rows, targets have {len(targets)}")
    if not len(outputs):
        raise ValueError(f"{name}: there are no rows")
