"""Losses of numbers."""

from ..described import description
from .base import Loss


@description
class MSE(Loss):
    """Mean squared error over rows and outputs. PyTorch's `mse_loss`; scikit-learn's MLP takes half of it."""

    name = "mse"
    task = "regress"
    default_metrics = ("rmse", "r2")
