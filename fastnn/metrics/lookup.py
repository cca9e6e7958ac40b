"""Metrics by name, and whether they fit a loss."""

from __future__ import annotations

import re
from collections.abc import Mapping

from fastnn import checks

from .base import TASKS, Metric, MetricsLike, Score
from .calibration import ECE, brier, log_loss
from .classes import AVERAGES, F1, Precision, Recall, TopK, accuracy
from .ranking import AUC
from .regression import mae, r2, rmse

METRICS: dict[str, Metric] = {
    "accuracy": accuracy,
    "top_k": TopK(),
    "precision": Precision(),
    "recall": Recall(),
    "f1": F1(),
    "auc": AUC(),
    "ece": ECE(),
    "brier": brier,
    "log_loss": log_loss,
    "rmse": rmse,
    "mae": mae,
    "r2": r2,
}

# How the names of metrics with parameters of their own end: precision_macro, ece_10.
_PARAMETER = re.compile(rf"_({'|'.join(AVERAGES)}|\d+)$")


def larger_is_better(name: str) -> bool | None:
    """Whether a larger value of a metric, "loss" or "val_..." is better; None for a metric that is not known here."""
    name = name.removeprefix("val_")
    if name == "loss":
        return False
    if name not in METRICS:
        name = "top_k" if re.fullmatch(r"top_\d+", name) else _PARAMETER.sub("", name)
        if not isinstance(METRICS.get(name), Score):
            return None
    larger: bool | None = getattr(METRICS[name], "larger", None)
    return larger


def get_metrics(metrics: MetricsLike) -> dict[str, Metric]:
    """Metrics by name. Each is a known name, a `Score` such as TopK(3), which has its name, or a function `(outputs,
    targets) -> float`, which keeps its own.

    "loss" is accepted and left out: the loss is always reported. ValueError for an unknown name (it says the nearest
    known one) or a name given twice, TypeError for anything else.
    """
    if isinstance(metrics, str) or callable(metrics):
        metrics = (metrics,)
    found: dict[str, Metric] = {}
    for metric in metrics:
        checks.not_a_class("metrics", metric, Score)
        if isinstance(metric, str):
            if metric == "loss":
                continue
            if metric not in METRICS:
                raise checks.unknown_name("metric", metric, ("loss", *METRICS))
            name, function = metric, METRICS[metric]
        elif isinstance(metric, Score):
            name, function = metric.name, metric
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


def refuse_other_tasks(metrics: Mapping[str, Metric], task: str, loss: str) -> None:
    """ValueError for a metric that is not for the task of the loss; functions of the user's fit all."""
    for name, metric in metrics.items():
        tasks = getattr(metric, "tasks", None)
        if tasks is None or task not in TASKS or task in tasks:
            continue
        fitting = ", ".join(known for known, other in METRICS.items() if task in getattr(other, "tasks", ()))
        own = " and ".join(TASKS[one] for one in tasks)
        raise ValueError(f"metric {name!r}: is for {own}, loss {loss!r} is for {TASKS[task]}; for these are {fitting}")
