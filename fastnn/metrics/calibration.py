"""Whether probabilities are as large as what they say: calibration, and scores that reward it."""

from __future__ import annotations

from typing import ClassVar, NamedTuple

import numpy as np

from fastnn import checks
from fastnn.described import description

from .base import CLASSES, Score, fits, is_classes, labelled, shares, sigmoid, softmax


class CalibrationCurve(NamedTuple):
    """The points of a reliability diagram, (points,) each; bins without predictions have none.

    confidence   mean probability of the predictions in a bin
    accuracy     how many of them came true
    predictions  how many are in it
    """

    confidence: np.ndarray
    accuracy: np.ndarray
    predictions: np.ndarray


def calibration_curve(outputs: np.ndarray, targets: np.ndarray, bins: int = 15) -> CalibrationCurve:
    """How often predictions of which probability came true; for calibrated outputs, as often as they say.

    outputs, targets   as for `accuracy`, logits. Several classes: the probability of the class that is told, and how
                       often it is right (Guo et al. 2017). Yes-or-no outputs: the probability of yes, and how often it
                       was yes (targets between 0 and 1 count as such shares); several such outputs are taken together
    bins               of equal width from 0 to 1; a probability on an edge belongs to the bin below

    scikit-learn's calibration_curve with strategy="uniform" is the second kind; it returns accuracy, confidence.
    ValueError for outputs with NaN.
    """
    bins = checks.integer("calibration_curve", "bins", bins, minimum=1)
    certain, right = _certainties("calibration_curve", outputs, targets)
    if np.isnan(certain).any():
        raise ValueError("calibration_curve: outputs hold NaN, or infinities that have no probabilities")
    places = np.searchsorted(np.linspace(0.0, 1.0, bins + 1)[1:-1], certain)
    counts = np.bincount(places, minlength=bins)
    full = counts > 0
    sums = (np.bincount(places, weights=values, minlength=bins)[full] for values in (certain, right))
    confidence, accuracy = (total / counts[full] for total in sums)
    return CalibrationCurve(confidence, accuracy, counts[full])


@description
class ECE(Score):
    """Expected calibration error: the mean distance between the points of `calibration_curve` and its diagonal.

    bins   of equal width from 0 to 1

    sum over bins of the share of the predictions in it times |accuracy - confidence| (Guo et al. 2017, equation 3; 15
    bins there). Of one yes-or-no output it takes the probability of yes (as torchmetrics' binary form), of two classes
    that of the class told. NaN where an output is NaN. It depends on the bins and is too large where rows are few.
    """

    bins: int = 15

    larger: ClassVar[bool | None] = False

    def __post_init__(self) -> None:
        checks.integer("ECE", "bins", self.bins, minimum=1)

    @property
    def name(self) -> str:
        return "ece" if self.bins == 15 else f"ece_{self.bins}"

    def __call__(self, outputs: np.ndarray, targets: np.ndarray) -> float:
        if np.isnan(_certainties("ece", outputs, targets)[0]).any():
            return float("nan")
        confidence, accuracy, predictions = calibration_curve(outputs, targets, self.bins)
        return float((predictions * np.abs(accuracy - confidence)).sum() / predictions.sum())


@fits(*CLASSES, larger=False)
def brier(outputs: np.ndarray, targets: np.ndarray) -> float:
    """Mean squared distance of the probabilities from what came true (Brier 1950).

    Yes-or-no outputs: mean((p - y)^2), over all outputs. Several classes: the mean over rows of sum over classes
    (p - [class is the label])^2, half of that for two classes, so that both forms agree (scikit-learn's
    brier_score_loss). NaN where an output is NaN.
    """
    outputs, targets = np.asarray(outputs), np.asarray(targets)
    if not is_classes(outputs, targets):
        outputs, targets = shares("brier", outputs, targets)
        return float(np.square(sigmoid(outputs) - targets).mean())
    outputs, labels = labelled("brier", outputs, targets)
    wrong = softmax(outputs)
    wrong[np.arange(len(labels)), labels] -= 1.0
    return float(np.square(wrong).sum(axis=1).mean()) / (2.0 if wrong.shape[1] == 2 else 1.0)


@fits(*CLASSES, larger=False)
def log_loss(outputs: np.ndarray, targets: np.ndarray) -> float:
    """Mean negative logarithm of the probability of what came true: "cross_entropy" or "bce" beside another loss.

    From logits in float64, without the clipping of scikit-learn's log_loss; over rows and outputs. NaN where an
    output is NaN.
    """
    outputs, targets = np.asarray(outputs), np.asarray(targets)
    with np.errstate(invalid="ignore", under="ignore"):
        if not is_classes(outputs, targets):
            z, y = shares("log_loss", outputs, targets)
            return float((np.maximum(z, 0.0) - z * y + np.log1p(np.exp(-np.abs(z)))).mean())
        z, labels = labelled("log_loss", outputs, targets)
        z -= z.max(axis=1, keepdims=True)
        return float((np.log(np.exp(z).sum(axis=1)) - z[np.arange(len(labels)), labels]).mean())


def _certainties(name: str, outputs: np.ndarray, targets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities and how much of each came true, float64 (predictions,)."""
    outputs, targets = np.asarray(outputs), np.asarray(targets)
    if not is_classes(outputs, targets):
        outputs, targets = shares(name, outputs, targets)
        return sigmoid(outputs).ravel(), targets.ravel()
    outputs, labels = labelled(name, outputs, targets)
    return softmax(outputs).max(axis=1), (outputs.argmax(axis=1) == labels).astype(np.float64)
