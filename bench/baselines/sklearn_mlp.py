"""scikit-learn's MLP: timed through `fit`, as its users run it, and checked step by step through `partial_fit`."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPClassifier, MLPRegressor

from bench.networks import LEARNING_RATE, Network, Problem


def supports(network: Network) -> bool:
    """scikit-learn has no batch normalisation, no dropout, and no classification of two logits."""
    return not network.batchnorm and not network.dropout and (network.loss == "mse" or network.widths[-1] > 2)


class SklearnMLP:
    """A network with Adam.

    `check` walks a given order and returns its losses. `run` does as many steps as the order has, in whole epochs
    (`chunk` steps each) and in scikit-learn's own order: a `partial_fit` for each step would cost three times as much.

    Its squared loss is half the mean over rows and outputs, so that the losses are doubled here; Adam does not feel the
    factor in the gradient, except through eps, which scikit-learn moreover adds before the bias correction.
    """

    def __init__(self, problem: Problem) -> None:
        network = problem.network
        self.network, self.X, self.weights = network, problem.X, problem.weights
        self.labels = network.loss == "cross_entropy"
        self.y = problem.y if self.labels or problem.y.shape[1] > 1 else problem.y[:, 0]
        self.chunk = -(-network.rows // network.batch_rows)

    def _model(self, **arguments: Any) -> Any:
        make = MLPClassifier if self.labels else MLPRegressor
        return make(
            hidden_layer_sizes=self.network.widths[1:-1],
            activation=self.network.activation,
            alpha=0.0,
            batch_size=self.network.batch_rows,
            learning_rate_init=LEARNING_RATE,
            **arguments,
        )

    def run(self, order: np.ndarray) -> np.ndarray:
        """Mean loss of each epoch, repeated for its steps; starts from scikit-learn's own weights."""
        epochs = max(1, len(order) // self.chunk)
        model = self._model(max_iter=epochs, n_iter_no_change=epochs + 1)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # the number of epochs is given
            model.fit(self.X, self.y)
        return np.repeat(np.asarray(model.loss_curve_, np.float64), self.chunk)[: len(order)]

    def check(self, order: np.ndarray) -> np.ndarray:
        """The loss of each step from the problem's own weights."""
        model = self._model(shuffle=False)
        classes = {"classes": np.arange(self.network.widths[-1])} if self.labels else {}
        model.partial_fit(self.X[: self.network.batch_rows], self.y[: self.network.batch_rows], **classes)
        # That call made the arrays; the weights and moments that it left are replaced by the given start.
        for array, value in zip(model.coefs_, self.weights[::2], strict=True):
            array[...] = value
        for array, value in zip(model.intercepts_, self.weights[1::2], strict=True):
            array[...] = value
        model._optimizer.t = 0
        for moment in (*model._optimizer.ms, *model._optimizer.vs):
            moment[...] = 0
        losses = []
        for rows in order:
            chosen = rows if self.network.batch else slice(None)
            model.partial_fit(self.X[chosen], self.y[chosen], **classes)
            losses.append(float(model.loss_) * (1.0 if self.labels else 2.0))
        return np.array(losses)
