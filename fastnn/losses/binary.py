"""Losses of yes-or-no questions, an output for each, and of pairs of scores. Targets are (rows, outputs), or (rows,)
with one output; means are over rows and outputs."""

from typing import Any

import numpy as np

from .. import checks
from ..described import description
from .base import Array, Loss


class _OfQuestions(Loss):
    """Each target is yes or no."""

    task = "binary"
    default_metrics = ("accuracy",)

    def classes(self, targets: Array, outputs: int) -> tuple[Array, int]:
        if targets.shape[1] != 1:
            raise ValueError(
                f"class_weight: loss={self.name!r} has {targets.shape[1]} questions here, classes are those of one; "
                "give sample_weight, a number for each row"
            )
        checks.entries(targets, ~np.isin(targets, (-1, 0, 1)), "class_weight: y", "targets that are yes or no")
        return (targets[:, 0] > 0.5).astype(np.int32), 2


@description
class BCE(_OfQuestions):
    """Binary cross-entropy on logits, mean over rows and outputs; targets in [0, 1].

    PyTorch's `binary_cross_entropy_with_logits`.
    """

    name = "bce"

    def check_targets(self, y: Any, outputs: int, dtype: Any, name: str = "y", allow_nonfinite: bool = False) -> Array:
        targets = super().check_targets(y, outputs, dtype, name, allow_nonfinite)
        checks.entries(targets, (targets < 0) | (targets > 1), name, "targets in [0, 1] for loss='bce'")
        return targets


@description
class BinaryFocal(_OfQuestions):
    """Mean of q^gamma (-log p) on logits, with p = sigmoid(z) where the target is 1, sigmoid(-z) where it is 0, and
    q = 1 - p: binary cross-entropy in which questions that are learnt well count little (Lin et al. 2017).

    gamma   0 or more; 0 is BCE
    Targets are 0 or 1. torchvision's `sigmoid_focal_loss` without its alpha, which is `class_weight` of fit.
    """

    gamma: float = 2.0

    name = "binary_focal"

    def __post_init__(self) -> None:
        object.__setattr__(self, "gamma", checks.number("BinaryFocal", "gamma", self.gamma, minimum=0.0))

    def check_targets(self, y: Any, outputs: int, dtype: Any, name: str = "y", allow_nonfinite: bool = False) -> Array:
        targets = super().check_targets(y, outputs, dtype, name, allow_nonfinite)
        checks.entries(targets, (targets != 0) & (targets != 1), name, "0 or 1 for loss='binary_focal'")
        return targets


class _OfSigns(_OfQuestions):
    """Targets are -1 and 1, or 0 and 1, of which 0 becomes -1."""

    in_commands = False

    def check_targets(self, y: Any, outputs: int, dtype: Any, name: str = "y", allow_nonfinite: bool = False) -> Array:
        targets = super().check_targets(y, outputs, dtype, name, allow_nonfinite)
        no = targets.min()
        wrong = (targets != 1) & (targets != (0 if no == 0 else -1))
        checks.entries(targets, wrong, name, f"-1 and 1, or 0 and 1, for loss={self.name!r}")
        return np.where(targets == 1, targets, targets.dtype.type(-1)) if no == 0 else targets

    def scored(self, outputs: Array, targets: Array) -> tuple[Array, Array]:
        return outputs, (targets > 0).astype(targets.dtype)


@description
class Hinge(_OfSigns):
    """Mean of max(0, 1 - y z) with y = -1 or 1; targets of 0 become -1. The outputs are scores, yes above 0.

    Exactly at the margin the gradient is 0; scikit-learn's SGDClassifier takes -y there. PyTorch has it as
    `MarginRankingLoss(margin=1)` of z and 0 (its `HingeEmbeddingLoss` is another).
    """

    name = "hinge"


@description
class SquaredHinge(_OfSigns):
    """Mean of max(0, 1 - y z)^2 with y = -1 or 1; targets of 0 become -1. Keras's `SquaredHinge`."""

    name = "squared_hinge"


@description
class MarginRanking(_OfSigns):
    """Mean over rows of max(0, margin - y (s - s')), where (s, s') are the network's two outputs: the score s is to be
    the higher one where y = 1, s' where y = -1 or 0.

    margin   0 or more. PyTorch's `MarginRankingLoss` has 0, with which equal scores have no loss; 1 is that of
             Collobert and Weston 2008, whose max(0, margin + s_corrupt - s) this is with y = 1 in all rows
    Exactly at the margin the gradient is 0, which PyTorch's is not. For one scorer that sees both candidates in rows of
    their own see `ranking_of_pairs`.
    """

    margin: float = 1.0

    name = "margin_ranking"

    def __post_init__(self) -> None:
        object.__setattr__(self, "margin", checks.number("MarginRanking", "margin", self.margin, minimum=0.0))

    def target_columns(self, outputs: int) -> int:
        if outputs != 2:
            raise ValueError(
                f"loss='margin_ranking': the network has {outputs} outputs, expected the 2 scores of a pair"
            )
        return 1

    def scored(self, outputs: Array, targets: Array) -> tuple[Array, Array]:
        return super().scored(outputs[:, :1] - outputs[:, 1:], targets)


def ranking_of_pairs(scores: Any, margin: float = 1.0) -> tuple[float, Array]:
    """The max-margin ranking loss of one scorer, over rows that come in pairs: rows 0, 2, 4 ... are to score higher by
    a margin than the rows 1, 3, 5 ... behind them (Collobert and Weston 2008: a window and a corrupted one).

    scores   (rows, 1) or (rows,): the outputs of a network with one output, rows an even number
    Returns the mean over pairs of max(0, margin + s_corrupt - s), and its gradient in the shape of `scores`; exactly at
    the margin it is 0. It is what a loop of one's own needs (`trainer.backward(gradient)`), and what `fnn.CustomLoss`
    takes: rows of a batch must stay in their pairs then, so train with `shuffle=False` and an even batch size, or give
    `Trainer.run` an order that shuffles pairs.

        loss = fnn.CustomLoss(lambda outputs, targets: fnn.ranking_of_pairs(outputs))
    """
    margin = checks.number("ranking_of_pairs", "margin", margin, minimum=0.0)
    array = checks.numeric(scores, "ranking_of_pairs(scores)")
    if array.ndim not in (1, 2) or array.size != len(array) or len(array) % 2 or not len(array):
        raise ValueError(
            f"ranking_of_pairs(scores): has shape {array.shape}, expected (rows, 1) or (rows,) with pairs of rows"
        )
    flat = array.ravel().astype(np.result_type(array.dtype, np.float32))
    short = margin + flat[1::2] - flat[::2]
    gradient = np.zeros_like(flat)
    gradient[1::2] = (short > 0) / len(short)
    gradient[::2] = -gradient[1::2]
    return float(np.maximum(short, 0).mean(dtype=np.float64)), gradient.reshape(array.shape)
