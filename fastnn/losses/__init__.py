"""Losses: what the outputs of a network are compared with, and how."""

from .. import checks
from .base import Loss
from .classification import BCE, CrossEntropy
from .regression import MSE

__all__ = ["BCE", "LOSSES", "MSE", "CrossEntropy", "Loss", "get_loss"]

LOSSES: dict[str, type[Loss]] = {loss.name: loss for loss in (CrossEntropy, MSE, BCE)}


def get_loss(loss: "str | Loss") -> Loss:
    """The loss of that name, or the loss itself."""
    if isinstance(loss, Loss):
        return loss
    checks.not_a_class("loss", loss, Loss)
    if not isinstance(loss, str) or loss not in LOSSES:
        raise checks.unknown_name("loss", loss, LOSSES)
    return LOSSES[loss]()
