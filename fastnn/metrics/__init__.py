"""Scores of a model's outputs against targets: accuracy, AUC, calibration, RMSE and others.

A metric is a function `metric(outputs, targets) -> float`. `outputs` (rows, outputs) are the raw outputs of the last
layer, of any float dtype; `targets` are in the form of the loss: labels (rows,) for several classes, else numbers
(rows, outputs), or (rows,) for one output. Those with parameters are instances, such as `TopK(3)`; their names stand
for the defaults. Everything is computed in float64, on all rows alike: no metric knows of sample weights. The judges of
the tests are scikit-learn's functions, any of which `from_sklearn` brings in.
"""

from .base import Metric, MetricsLike, Score
from .bridge import SklearnMetric, from_sklearn
from .calibration import ECE, CalibrationCurve, brier, calibration_curve, log_loss
from .classes import F1, Precision, Recall, TopK, accuracy, confusion_matrix
from .lookup import METRICS, get_metrics, larger_is_better, refuse_other_tasks
from .ranking import AUC
from .regression import mae, r2, rmse

__all__ = [
    "AUC",
    "ECE",
    "F1",
    "METRICS",
    "CalibrationCurve",
    "Metric",
    "MetricsLike",
    "Precision",
    "Recall",
    "Score",
    "SklearnMetric",
    "TopK",
    "accuracy",
    "brier",
    "calibration_curve",
    "confusion_matrix",
    "from_sklearn",
    "get_metrics",
    "larger_is_better",
    "log_loss",
    "mae",
    "r2",
    "refuse_other_tasks",
    "rmse",
]
