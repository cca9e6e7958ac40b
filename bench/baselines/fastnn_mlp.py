"""fastnn through its public interface, beside the baselines: build a model, set its weights, bind the data, run."""

from __future__ import annotations

from typing import Any

import numpy as np

import fastnn as fnn
from bench.networks import LEARNING_RATE, Network, Problem


def layers_of(network: Network) -> list[Any]:
    layers: list[Any] = []
    for width in network.widths[1:-1]:
        if network.batchnorm:
            layers += [fnn.Dense(width), fnn.BatchNorm(), fnn.Activation(network.activation)]
        else:
            layers.append(fnn.Dense(width, activation=network.activation))
        layers += [fnn.Dropout(network.dropout)] if network.dropout else []
    return [*layers, fnn.Dense(network.widths[-1])]


def model_of(problem: Problem) -> fnn.Sequential:
    """The model with the problem's weights; gamma and beta of batch normalisation start at 1 and 0 by themselves."""
    network = problem.network
    model = fnn.Sequential(layers_of(network), inputs=network.widths[0], dtype=network.dtype, seed=0)
    weights = model.get_weights()
    matrices = [index for index, value in enumerate(weights) if value.ndim == 2]
    for index, weight, bias in zip(matrices, problem.weights[::2], problem.weights[1::2], strict=True):
        weights[index], weights[index + 1] = weight, bias
    model.set_weights(weights)
    return model


class FastnnMLP:
    """A network with Adam, trained by `run(order)`."""

    chunk = 1

    def __init__(self, problem: Problem, backend: str = "auto", threads: int = 1, precision: str | None = None) -> None:
        network = problem.network
        self.full = network.batch == 0
        self.trainer = fnn.Trainer(
            model_of(problem),
            loss=network.loss,
            optimizer=fnn.Adam(lr=LEARNING_RATE),
            batch_size=network.batch_rows,
            threads=threads,
            backend=backend,
            precision=precision,
        )
        self.bound = self.trainer.bind(problem.X, problem.y)

    def run(self, order: np.ndarray) -> np.ndarray:
        if self.full:
            return np.asarray(self.bound.run_full(len(order)))
        return np.asarray(self.bound.run(order))


def build(network: Network, config: dict[str, Any]) -> tuple[fnn.Sequential, dict[str, Any]]:
    """A model and how it is trained, as a user of `fnn.sweep` says it; its seed is the number in the configuration."""
    model = fnn.Sequential(
        layers_of(network), inputs=network.widths[0], dtype=config["dtype"], seed=config["number"]
    )  # fmt: skip
    return model, {
        "loss": network.loss, "optimizer": fnn.Adam(lr=LEARNING_RATE), "batch_size": network.batch_rows,
        "backend": config["backend"],
    }  # fmt: skip
