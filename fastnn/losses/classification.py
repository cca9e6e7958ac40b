"""Losses of classes and of yes-or-no questions."""

from typing import TYPE_CHECKING, Any

import numpy as np

from .. import checks
from ..described import description
from .base import Array, Loss

if TYPE_CHECKING:
    from ..plan.arena import Ref
    from ..plan.compiler import Builder


@description
class CrossEntropy(Loss):
    """Softmax cross-entropy on integer labels, mean over rows; the outputs are logits, one per class, at least 2.

    PyTorch's `cross_entropy`.
    """

    name = "cross_entropy"
    task = "classify"
    default_metrics = ("accuracy",)

    def check_targets(self, y: Any, outputs: int, dtype: Any, name: str = "y", allow_nonfinite: bool = False) -> Array:
        if outputs < 2:
            raise ValueError("loss='cross_entropy': needs at least 2 outputs, one per class; with one output use 'bce'")
        return checks.labels(y, outputs, name)

    def terms(self, rows: Any, outputs: int) -> Any:
        return rows

    def gather(self, builder: "Builder", outputs: int) -> "Ref":
        from ..plan.arena import Ref
        from ..plan.plan import Given

        labels = Ref("batch", builder.plan.batch.vector("labels", builder.rows, np.int32))
        builder.call("gather_labels", "labels = y[order]", labels=labels, y=Given("y"), order=Given("order"))
        return labels

    def _for_kernel(self, targets: Array) -> Array:
        return targets


@description
class BCE(Loss):
    """Binary cross-entropy on logits, mean over rows and outputs; targets in [0, 1].

    PyTorch's `binary_cross_entropy_with_logits`.
    """

    name = "bce"
    task = "binary"
    default_metrics = ("accuracy",)

    def check_targets(self, y: Any, outputs: int, dtype: Any, name: str = "y", allow_nonfinite: bool = False) -> Array:
        targets = checks.targets(y, outputs, dtype, name, allow_nonfinite)
        outside = (targets < 0) | (targets > 1)
        if outside.any():
            row, column = np.argwhere(outside)[0]
            raise ValueError(
                f"{name}: row {row}, column {column} is {targets[row, column]}, "
                "expected targets in [0, 1] for loss='bce'"
            )
        return targets
