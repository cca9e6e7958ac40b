"""How often, and how, the right classes are told: accuracy, precision and its kin, the confusion matrix."""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np

from fastnn import checks
from fastnn.described import description

from .base import CLASSES, Score, columns, decided, fits, is_classes, labelled, same_rows

AVERAGES = ("auto", "binary", "macro", "micro", "weighted")


@fits(*CLASSES, larger=True)
def accuracy(outputs: np.ndarray, targets: np.ndarray) -> float:
    """The share of right answers, 0 to 1.

    Several classes, targets (rows,): the largest output must be that of the label (the first one among equals; a row
    whose outputs contain NaN counts as wrong). One or several yes-or-no outputs, targets (rows,) or (rows, outputs):
    the logit must be above 0 where the target is above 0.5; several such outputs are counted one by one
    (scikit-learn's accuracy_score wants all of a row right).
    """
    outputs, targets = np.asarray(outputs), np.asarray(targets)
    if is_classes(outputs, targets):
        same_rows("accuracy", outputs, targets)
        best = outputs.argmax(axis=1)
        right = best == targets
        # argmax takes NaN for the largest.
        broken = np.isnan(outputs[np.arange(len(best)), best])
    else:
        outputs, targets = columns("accuracy", outputs, targets)
        right = (outputs > 0) == (targets > 0.5)
        broken = np.isnan(outputs)
    return int(np.count_nonzero(right & ~broken)) / int(right.size)


@description
class TopK(Score):
    """The share of rows whose label is among the k largest outputs; for classes, more than k of them.

    Equal outputs count as larger where they come first, so that TopK(1) is `accuracy` (scikit-learn's
    top_k_accuracy_score prefers the last ones). A row with NaN among its outputs counts as wrong. Its name is
    "top_5" for k=5; "top_k" stands for TopK(), whose column is then called "top_k".
    """

    k: int = 5

    tasks: ClassVar[tuple[str, ...]] = ("classify",)

    def __post_init__(self) -> None:
        checks.integer("TopK", "k", self.k, minimum=1)

    @property
    def name(self) -> str:
        return f"top_{self.k}"

    def __call__(self, outputs: np.ndarray, targets: np.ndarray) -> float:
        outputs, targets = np.asarray(outputs), np.asarray(targets)
        if not is_classes(outputs, targets):
            shapes = f"outputs {outputs.shape} and targets {targets.shape}"
            raise ValueError(f"{self.name}: {shapes}, expected (rows, classes) and (rows,)")
        if outputs.shape[1] <= self.k:
            raise ValueError(f"TopK(k={self.k}): of {outputs.shape[1]} classes, expected more classes than k")
        outputs, labels = labelled(self.name, outputs, targets)
        own = np.take_along_axis(outputs, labels[:, None].astype(np.intp), axis=1)
        ahead = (outputs > own).sum(axis=1)
        ahead += ((outputs == own) & (np.arange(outputs.shape[1]) < labels[:, None])).sum(axis=1)
        return float(((ahead < self.k) & ~np.isnan(outputs).any(axis=1)).mean())


@description
class Confusions(Score):
    """The base of Precision, Recall and F1: right and wrong claims, counted for each class and averaged.

    average         "binary": of class 1, where there are two classes
                    "macro": the mean over the classes
                    "weighted": the mean weighted by how often each class is true
                    "micro": of the sums over all classes (for rows of one label each, their accuracy)
                    "auto": "binary" for two classes (of one output or of two), else "macro"
    zero_division   the value, 0 to 1, where there is nothing to divide by

    Classes are told as by `accuracy`; a row with NaN among its outputs claims no class, so that its own class misses
    it. A class that is neither true nor claimed anywhere is left out of the mean. Several yes-or-no outputs are
    averaged like classes, each counted as "binary", none left out. This is scikit-learn's, whose average is "binary"
    unless told otherwise, and which warns where it uses zero_division.
    """

    average: Literal["auto", "binary", "macro", "micro", "weighted"] = "auto"
    zero_division: float = 0.0

    kind: ClassVar[str]

    def __post_init__(self) -> None:
        if self.average not in AVERAGES:
            raise checks.unknown_name(f"average of {type(self).__name__}", self.average, AVERAGES)
        checks.number(type(self).__name__, "zero_division", self.zero_division, minimum=0.0, maximum=1.0)

    @property
    def name(self) -> str:
        return self.kind if self.average == "auto" else f"{self.kind}_{self.average}"

    def __call__(self, outputs: np.ndarray, targets: np.ndarray) -> float:
        right, claimed, true, average = self._counts(np.asarray(outputs), np.asarray(targets))
        if average == "micro":
            right, claimed, true = (np.asarray([counts.sum()]) for counts in (right, claimed, true))
        values = self._values(*self._fraction(right, claimed, true))
        if average != "weighted":
            return float(values.mean())
        return float((values * true).sum() / true.sum()) if true.sum() else float(self.zero_division)

    def _counts(self, outputs: np.ndarray, targets: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, str]:
        """Of each class that counts: how often it is rightly claimed, claimed, and true; and the average to take."""
        if outputs.ndim == 2 and outputs.shape == targets.shape and outputs.shape[1] > 1:
            outputs, targets = columns(self.kind, outputs, targets)
            if self.average == "binary":
                raise ValueError(
                    f"{self.kind}: average='binary' is for two classes, not for {outputs.shape[1]} outputs"
                )
            yes, real = outputs > 0, targets > 0.5
            average: str = "macro" if self.average == "auto" else self.average
            return (yes & real).sum(axis=0), yes.sum(axis=0), real.sum(axis=0), average
        predicted, labels, classes = decided(self.kind, outputs, targets)
        average = self.average
        if average == "auto":
            average = "binary" if classes == 2 else "macro"
        if average == "binary" and classes != 2:
            raise ValueError(f"{self.kind}: average='binary' is for two classes, not for {classes}")
        claimed = np.bincount(predicted[predicted >= 0], minlength=classes)
        right, true = (np.bincount(which, minlength=classes) for which in (labels[predicted == labels], labels))
        seen: np.ndarray = claimed + true > 0
        if average == "binary":
            seen = np.asarray([False, True])
        return right[seen], claimed[seen], true[seen], average

    def _fraction(self, right: np.ndarray, claimed: np.ndarray, true: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """What is divided by what."""
        raise NotImplementedError

    def _values(self, above: np.ndarray, below: np.ndarray) -> np.ndarray:
        return np.where(below > 0, above / np.where(below > 0, below, 1), self.zero_division)


@description
class Precision(Confusions):
    """The share of right ones among the rows that were claimed to be of a class: right / claimed."""

    kind = "precision"

    def _fraction(self, right: np.ndarray, claimed: np.ndarray, true: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return right, claimed


@description
class Recall(Confusions):
    """The share of the rows of a class that were found: right / true."""

    kind = "recall"

    def _fraction(self, right: np.ndarray, claimed: np.ndarray, true: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return right, true


@description
class F1(Confusions):
    """The harmonic mean of precision and recall: 2 right / (claimed + true)."""

    kind = "f1"

    def _fraction(self, right: np.ndarray, claimed: np.ndarray, true: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return 2 * right, claimed + true


def confusion_matrix(
    outputs: np.ndarray, targets: np.ndarray, normalize: Literal["true", "pred", "all"] | None = None
) -> np.ndarray:
    """How many rows of class i were taken for class j, (classes, classes): int64, or float64 shares.

    outputs, targets   as for `accuracy`: several classes, or one yes-or-no output, which makes two
    normalize          "true": shares of each row's sum; "pred": of each column's; "all": of all. An empty row or column
                       stays 0

    scikit-learn's. A matrix is no number: it is a function to call on `model.predict(X)`, not a metric for `fit` or
    `evaluate`. ValueError for outputs with NaN, which are of no class.
    """
    if normalize not in (None, "true", "pred", "all"):
        raise checks.unknown_name("normalize", normalize, ("true", "pred", "all"))
    predicted, labels, classes = decided("confusion_matrix", outputs, targets)
    if (predicted < 0).any():
        raise ValueError(f"confusion_matrix: outputs: row {int(np.argmax(predicted < 0))} holds NaN")
    matrix = np.bincount(labels.astype(np.int64) * classes + predicted, minlength=classes**2)
    matrix = matrix.reshape(classes, classes)
    if normalize is None:
        return matrix
    total = matrix.sum(axis={"true": 1, "pred": 0, "all": None}[normalize], keepdims=True)
    return matrix / np.maximum(total, 1)
