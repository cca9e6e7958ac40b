"""How far numbers are from those measured."""

from __future__ import annotations

import numpy as np

from .base import columns, fits


@fits("regress", larger=False)
def rmse(outputs: np.ndarray, targets: np.ndarray) -> float:
    """Root mean squared error, sqrt(mean((outputs - targets)**2)); with several outputs the mean of each one's."""
    outputs, targets = columns("rmse", outputs, targets)
    return float(np.sqrt(np.square(outputs - targets).mean(axis=0)).mean())


@fits("regress", larger=False)
def mae(outputs: np.ndarray, targets: np.ndarray) -> float:
    """Mean absolute error, mean(|outputs - targets|); with several outputs the mean of each one's."""
    outputs, targets = columns("mae", outputs, targets)
    return float(np.abs(outputs - targets).mean())


@fits("regress", larger=True)
def r2(outputs: np.ndarray, targets: np.ndarray) -> float:
    """Coefficient of determination, 1 - sum((targets - outputs)**2) / sum((targets - mean)**2), at most 1.

    With several outputs the mean of each one's (scikit-learn's "uniform_average"). Where all targets are the same
    the sum below is zero: 1 when the outputs are exact, else 0 (scikit-learn's force_finite=True; PyTorch Ignite
    gives -inf). A single row has no variance: NaN.
    """
    outputs, targets = columns("r2", outputs, targets)
    if len(targets) < 2:
        return float("nan")
    residual = np.square(targets - outputs).sum(axis=0)
    total = np.square(targets - targets.mean(axis=0)).sum(axis=0)
    # Equal targets are recognised by themselves: their rounded mean can leave a tiny total that is not zero.
    constant = (targets == targets[0]).all(axis=0)
    score = 1.0 - residual / np.where(constant, 1.0, total)
    return float(np.where(constant, residual == 0.0, score).mean())
