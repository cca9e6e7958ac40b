"""scikit-learn's MLP, driven step by step through `partial_fit`."""

from __future__ import annotations

import numpy as np
from sklearn.neural_network import MLPClassifier, MLPRegressor

from bench.networks import LEARNING_RATE, Network, Problem


def supports(network: Network) -> bool:
    """scikit-learn has no batch normalization, no dropout, and no classification of two logits."""
    return not network.batchnorm and not network.dropout and (network.loss == "mse" or network.widths[-1] > 2)


class SklearnMLP:
    """A network with Adam, trained by `run(order)`.

    Its squared loss is half the mean over rows and outputs, so that the losses are doubled here; Adam does not feel the
    factor in the gradient, except through eps, which scikit-learn moreover adds before the bias correction.
    """

    chunk = 1

    def __init__(self, problem: Problem) -> None:
        network = problem.network
        self.full = network.batch == 0
        self.X = problem.X
        self.labels = network.loss == "cross_entropy"
        self.y = problem.y if self.labels or problem.y.shape[1] > 1 else problem.y[:, 0]
        make = MLPClassifier if self.labels else MLPRegressor
        self.model = make(
            hidden_layer_sizes=network.widths[1:-1],
            activation=network.activation,
            solver="adam",
            alpha=0.0,
            batch_size=network.batch_rows,
            learning_rate_init=LEARNING_RATE,
            shuffle=False,
        )
        self.arguments = {"classes": np.arange(network.widths[-1])} if self.labels else {}
        # The first call allocates everything; then its weights and moments are replaced by the given start.
        self._step(np.arange(network.batch_rows))
        for array, value in zip(self.model.coefs_, problem.weights[::2], strict=True):
            array[...] = value
        for array, value in zip(self.model.intercepts_, problem.weights[1::2], strict=True):
            array[...] = value
        optimizer = self.model._optimizer
        optimizer.t = 0
        for moment in (*optimizer.ms, *optimizer.vs):
            moment[...] = 0

    def _step(self, rows: np.ndarray) -> float:
        if self.full:
            self.model.partial_fit(self.X, self.y, **self.arguments)
        else:
            self.model.partial_fit(self.X[rows], self.y[rows], **self.arguments)
        return float(self.model.loss_) * (1.0 if self.labels else 2.0)

    def run(self, order: np.ndarray) -> np.ndarray:
        return np.array([self._step(rows) for rows in order])
