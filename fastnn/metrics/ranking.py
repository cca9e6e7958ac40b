"""How well outputs rank: the area under the receiver operating characteristic."""

from __future__ import annotations

from typing import Literal

import numpy as np

from fastnn import checks
from fastnn.described import description

from .base import Score, columns, is_classes, labelled


@description
class AUC(Score):
    """The area under the ROC curve: how probably a yes is ranked above a no, ties counting half.

    average   "macro": the mean over classes, or over yes-or-no outputs; "weighted": by how often each is true

    AUC = (sum of the ranks of the yes - yes (yes + 1) / 2) / (yes no), the statistic of Mann and Whitney 1947; equal
    scores get the mean of their ranks. Several classes: each against all others, ranked by its probability (as log
    p / (1 - p), which does not run into 1). scikit-learn's roc_auc_score, with multi_class="ovr".

    A class or output whose rows are all yes or all no has no such area: it is left out of the mean (scikit-learn gives
    NaN for the whole); NaN where none is left, and where an output is NaN (or, among several classes, infinite).
    """

    average: Literal["macro", "weighted"] = "macro"

    def __post_init__(self) -> None:
        if self.average not in ("macro", "weighted"):
            raise checks.unknown_name("average of AUC", self.average, ("macro", "weighted"))

    @property
    def name(self) -> str:
        return "auc" if self.average == "macro" else f"auc_{self.average}"

    def __call__(self, outputs: np.ndarray, targets: np.ndarray) -> float:
        outputs, targets = np.asarray(outputs), np.asarray(targets)
        if is_classes(outputs, targets):
            outputs, labels = labelled("auc", outputs, targets)
            yes = labels[:, None] == np.arange(outputs.shape[1])
            scores = _log_odds(outputs)
        else:
            scores, targets = columns("auc", outputs, targets)
            yes = targets > 0.5
        if np.isnan(scores).any():
            return float("nan")
        areas = np.asarray([_area(scores[:, place], yes[:, place]) for place in range(scores.shape[1])])
        known = ~np.isnan(areas)
        if not known.any():
            return float("nan")
        weights = yes.sum(axis=0)[known] if self.average == "weighted" else None
        return float(np.average(areas[known], weights=weights))


def _log_odds(outputs: np.ndarray) -> np.ndarray:
    """log p / (1 - p) of the softmax probabilities p of logits (rows, classes)."""
    with np.errstate(invalid="ignore", divide="ignore", under="ignore"):
        rows, best = np.arange(len(outputs)), outputs.argmax(axis=1)
        shifted = outputs - outputs[rows, best][:, None]
        shares = np.exp(shifted)
        others = shares.sum(axis=1, keepdims=True) - shares
        # The largest share is taken away before the sum, not from it: what is left may be tiny.
        shares[rows, best] = 0.0
        others[rows, best] = shares.sum(axis=1)
        return np.asarray(shifted - np.log(others))


def _area(scores: np.ndarray, yes: np.ndarray) -> float:
    """The area for scores (rows,); NaN where all rows are alike."""
    positive = int(np.count_nonzero(yes))
    negative = len(yes) - positive
    if not positive or not negative:
        return float("nan")
    _, place, counts = np.unique(scores, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    ranks = last - (counts - 1) / 2  # of each different score, from 1
    return (float(ranks[place[yes]].sum()) - positive * (positive + 1) / 2) / (positive * negative)
