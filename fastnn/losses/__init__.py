"""Losses: what the outputs of a network are compared with, and how."""

from typing import Any

from .. import checks
from .base import Loss
from .binary import BCE, BinaryFocal, Hinge, MarginRanking, SquaredHinge, ranking_of_pairs
from .classification import CrossEntropy, Focal, MultiClassHinge
from .custom import CustomLoss
from .regression import MSE, AbsoluteError, GaussianLikelihood, Huber, LogCosh, Poisson, Quantile

__all__ = [
    "BCE", "LOSSES", "MSE", "AbsoluteError", "BinaryFocal", "CrossEntropy", "CustomLoss", "Focal",
    "GaussianLikelihood", "Hinge", "Huber", "LogCosh", "Loss", "MarginRanking", "MultiClassHinge", "Poisson",
    "Quantile", "SquaredHinge", "get_loss", "ranking_of_pairs",
]  # fmt: skip

LOSSES: dict[str, type[Loss]] = {
    loss.name: loss
    for loss in (
        CrossEntropy, Focal, MultiClassHinge, MSE, AbsoluteError, Huber, LogCosh, Quantile, Poisson, GaussianLikelihood,
        BCE, BinaryFocal, Hinge, SquaredHinge, MarginRanking,
    )
}  # fmt: skip


def get_loss(loss: Any) -> Loss:
    """The loss of that name, or the loss itself; a function (outputs, targets) -> (value, gradient) as CustomLoss."""
    if isinstance(loss, Loss):
        return loss
    checks.not_a_class("loss", loss, Loss)
    if callable(loss) and not isinstance(loss, type):
        return CustomLoss(loss)
    if not isinstance(loss, str) or loss not in LOSSES:
        raise checks.unknown_name("loss", loss, LOSSES)
    return LOSSES[loss]()
