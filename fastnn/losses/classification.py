"""Losses of one class among several, an output for each: logits or scores, at least 2."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from .. import checks
from ..described import description
from .base import Array, Loss

_SUM_TOLERANCE = 1e-4
"""How far the probabilities of a row may be from adding up to 1."""


class _OfClasses(Loss):
    """Targets are integer labels (rows,)."""

    task = "classify"
    default_metrics = ("accuracy",)
    takes_labels = True

    def check_targets(self, y: Any, outputs: int, dtype: Any, name: str = "y", allow_nonfinite: bool = False) -> Array:
        self._check_outputs(outputs)
        return checks.labels(y, outputs, name)

    def _check_outputs(self, outputs: int) -> None:
        if outputs < 2:
            other = {"focal": "binary_focal", "multi_class_hinge": "hinge"}.get(self.name, "bce")
            raise ValueError(
                f"loss={self.name!r}: needs at least 2 outputs, one per class; with one output use {other!r}"
            )

    def terms(self, rows: Any, outputs: int) -> Any:
        return rows

    def classes(self, targets: Array, outputs: int) -> tuple[Array, int]:
        return targets, outputs


@description
class CrossEntropy(_OfClasses):
    """Softmax cross-entropy, mean over rows; the outputs are logits, one per class.

    label_smoothing   0 to 1: that much of each target is spread evenly over all classes (Szegedy et al. 2016)

    Targets are integer labels (rows,), or probabilities (rows, classes) whose rows add up to 1 (soft targets, one-hot).
    PyTorch's `cross_entropy`, which does not look at the sums. With class weights its smoothing weights each class's
    share of a row, here a row has one weight; without smoothing, or without weights, both are the same.
    """

    label_smoothing: float = 0.0

    name = "cross_entropy"

    def __post_init__(self) -> None:
        checked = checks.number("CrossEntropy", "label_smoothing", self.label_smoothing, minimum=0.0, maximum=1.0)
        object.__setattr__(self, "label_smoothing", checked)

    def check_targets(self, y: Any, outputs: int, dtype: Any, name: str = "y", allow_nonfinite: bool = False) -> Array:
        self._check_outputs(outputs)
        shape = np.shape(y)
        if len(shape) != 2 or shape[1] != outputs:
            return checks.labels(y, outputs, name)
        targets = checks.targets(y, outputs, dtype, name, allow_nonfinite)
        checks.entries(targets, (targets < 0) | (targets > 1), name, "probabilities from 0 to 1")
        sums = targets.sum(axis=1, dtype=np.float64)
        wrong = np.abs(sums - 1) > _SUM_TOLERANCE
        if wrong.any():
            row = int(np.argmax(wrong))
            raise ValueError(f"{name}: row {row} adds up to {sums[row]:.6g}, expected probabilities that add up to 1")
        return targets

    def form(self, targets: Array) -> Loss:
        return self if targets.ndim == 1 else _SoftCrossEntropy(self.label_smoothing)

    def scored(self, outputs: Array, targets: Array) -> tuple[Array, Array]:
        return outputs, targets if targets.ndim == 1 else targets.argmax(axis=1)

    def classes(self, targets: Array, outputs: int) -> tuple[Array, int]:
        if targets.ndim == 2:
            mixed = targets.max(axis=1) != 1
            if mixed.any():
                raise ValueError(
                    f"class_weight: row {int(np.argmax(mixed))} of the targets is of several classes; "
                    "give sample_weight, a number for each row"
                )
            targets = targets.argmax(axis=1)
        return targets, outputs


@description
class _SoftCrossEntropy(CrossEntropy):
    """CrossEntropy on probabilities."""

    name = "soft_cross_entropy"
    takes_labels = False


@description
class Focal(_OfClasses):
    """Mean over rows of q^gamma (-log p), with p the softmax of the label's logit and q = 1 - p: cross-entropy in which
    rows that are learnt well count little (Lin et al. 2017). Targets are integer labels (rows,).

    gamma   0 or more; 0 is CrossEntropy
    The paper's alpha is `class_weight` of fit: a weighted mean, which divides by the sum of the weights.
    """

    gamma: float = 2.0

    name = "focal"

    def __post_init__(self) -> None:
        object.__setattr__(self, "gamma", checks.number("Focal", "gamma", self.gamma, minimum=0.0))


@description
class MultiClassHinge(_OfClasses):
    """Mean over rows of the sum over the other classes c of max(0, margin - z_label + z_c)^p, divided by the number of
    classes (Weston and Watkins 1999). Targets are integer labels (rows,).

    margin   above 0;  p   1 or 2
    PyTorch's `MultiMarginLoss(p, margin)`. Crammer and Singer's form, the largest term instead of the sum, is not
    offered. With p = 1 the gradient exactly at the margin is 0.
    """

    margin: float = 1.0
    p: int = 1

    name = "multi_class_hinge"
    in_commands = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "margin", checks.number("MultiClassHinge", "margin", self.margin, above=0.0))
        object.__setattr__(self, "p", checks.integer("MultiClassHinge", "p", self.p, minimum=1, maximum=2))

    def terms(self, rows: Any, outputs: int) -> Any:
        return rows * outputs

    def scalars(self) -> Mapping[str, float | int]:
        return {"margin": self.margin, "squared": int(self.p == 2)}
