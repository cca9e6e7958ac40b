"""Networks that tests of plans, trainers and gradients share: mixes of layers in which a mistake about memory shows.

A value may be overwritten by what follows it only if nobody needs it again; the mixes put every kind of layer before
and behind every other that keeps, replaces or passes on its input.
"""

from typing import Any

import cases
import numpy as np

from fastnn import (
    Activation,
    BatchNorm,
    Concatenate,
    Dense,
    Dropout,
    Flatten,
    LayerNorm,
    Residual,
    RMSNorm,
    Sequential,
    Standardize,
)
from fastnn.losses import get_loss

Array = np.ndarray[Any, Any]
LOSSES = ("cross_entropy", "mse", "bce")
BACKENDS = cases.BACKENDS


def mixes(width: int, outputs: int) -> dict[str, list[Any]]:
    """Layers by name, hidden layers of that width."""
    last = Dense(outputs)
    return {
        "one layer": [last],
        "no bias": [Dense(width, "relu", bias=False), Dense(width, "tanh", bias=False), Dense(outputs, bias=False)],
        "relu": [Dense(width, "relu"), Dense(width, "relu"), last],
        "tanh": [Dense(width, "tanh"), Dense(width, "tanh"), last],
        "sigmoid": [Dense(width, "sigmoid"), Dense(width, "sigmoid"), last],
        "linear": [Dense(width), Dense(width), last],
        "relu last": [Dense(width, "tanh"), Dense(outputs, "relu")],
        "sigmoid last": [Dense(width, "relu"), Dense(outputs, "sigmoid")],
        "identity first and between": [Activation("identity"), Dense(width, "tanh"), Activation("identity"), last],
        "activation first": [Activation("tanh"), Dense(width, "relu"), last],
        "activation after linear": [Dense(width), Activation("relu"), Dense(width), Activation("sigmoid"), last],
        "activation after activation": [Dense(width, "sigmoid"), Activation("tanh"), Activation("relu"), last],
        "activation last": [Dense(width, "relu"), last, Activation("tanh")],
        "slope kept": [Dense(width, "silu"), Dense(width, "elu"), Dense(width, "gelu"), last],
        "slope kept last": [Dense(width, "gelu_tanh"), Dense(outputs, "mish")],
        "slope kept first and after another": [
            Activation("silu"), Dense(width, "mish"), Activation("gelu"), Activation("softplus"), last
        ],
        "slope kept before dropout and batch norm": [
            Dense(width, "gelu"), Dropout(0.2), BatchNorm(), Activation("silu"), Dropout(0.1), last
        ],
        "softmax between": [Dense(width, "leaky_relu"), Dense(width, "softmax"), Activation("log_softmax"), last],
        "dropout first": [Dropout(0.3), Dense(width, "relu"), last],
        "dropout after tanh": [Dense(width, "tanh"), Dropout(0.3), last],
        "dropout twice": [Dense(width), Dropout(0.2), Dropout(0.3), last],
        "dropout of nothing": [Dense(width, "relu"), Dropout(0.0), Dense(width, "sigmoid"), Dropout(0.0), last],
        "dropout last": [Dense(width, "relu"), last, Dropout(0.25)],
        "batch norm first": [BatchNorm(), Dense(width, "relu"), last],
        "batch norm after relu": [Dense(width, "relu"), BatchNorm(), last],
        "batch norm before relu": [Dense(width, bias=False), BatchNorm(), Activation("relu"), last],
        "batch norm twice": [Dense(width, "tanh"), BatchNorm(), BatchNorm(momentum=0.5), last],
        "batch norm last": [Dense(width, "sigmoid"), last, BatchNorm()],
        "batch norm without gamma": [
            Dense(width, "relu"), BatchNorm(scale=False), Dense(width), BatchNorm(shift=False), last,
        ],
        "batch norm of nothing learnt": [BatchNorm(scale=False, shift=False), Dense(width, "tanh"), last],
        "layer norm first": [LayerNorm(), Dense(width, "relu"), last],
        "layer norm before relu": [Dense(width), LayerNorm(), Activation("relu"), last],
        "layer norm after tanh": [Dense(width, "tanh"), LayerNorm(shift=False), Dropout(0.2), last],
        "layer norm twice and last": [Dense(width, "sigmoid"), LayerNorm(scale=False), LayerNorm(), last, LayerNorm()],
        "rms norm": [RMSNorm(), Dense(width, "relu"), RMSNorm(0.1), Dense(width), RMSNorm(scale=False), last],
        "residual": [Dense(width, "relu"), Residual([Dense(width, "relu"), Dense(width)]), Activation("relu"), last],
        "residual first and last": [
            Residual([Dense(width, "tanh")], shortcut=[Dense(width)]),
            Residual([Dense(outputs, "sigmoid")], shortcut=[Dense(outputs, "relu"), LayerNorm()]),
        ],
        "residual after tanh": [Dense(width, "tanh"), Residual([Activation("relu"), Dense(width, "tanh")]), last],
        "residual after sigmoid": [Dense(width, "sigmoid"), Residual([Dropout(0.3), Dense(width, "relu")]), last],
        "residual of nothing": [
            Dense(width, "tanh"), Residual([Dropout(0.0)]), Residual([Activation("identity")]), last,
        ],
        "residual in residual": [
            Dense(width, "relu"), Residual([Residual([Dense(width, "tanh"), Dropout(0.2)]), Residual([BatchNorm()])]),
            last,
        ],
        "dense net": [
            Concatenate([[], [Dense(width, "relu")]]), Concatenate([[], [LayerNorm(), Dense(width, "tanh")]]), last,
        ],
        "branches": [
            Dense(width, "tanh"),
            Concatenate([[Dense(width, "sigmoid")], [Dropout(0.2)], [Dense(2), BatchNorm(), Activation("tanh")]]),
            Residual([Concatenate([[Dense(2)], [Dense(width + width, "relu")]])]), last,
        ],
        "branches of nothing": [
            Concatenate([[], []]), Dense(width, "relu"), Concatenate([[], [Activation("tanh")]]), last,
        ],
        "branches last": [
            Dense(width, "relu"), Concatenate([[Dense(max(outputs - 1, 1))], [Activation("tanh"), Dense(1)]]),
        ],
        "flatten first": [Flatten(), Dense(width, "relu"), Flatten(), last],
        "standardize between and last": [
            Dense(width, "tanh"), Standardize((0.5,) * width, (2.0,) * width), Dense(width, "relu"),
            Residual([Standardize((0.1,) * width, (0.5,) * width)]), last,
            Standardize((-1.0,) * outputs, (3.0,) * outputs),
        ],
        "all kinds in a residual": [
            Dense(width, "relu"), Residual([BatchNorm(), Activation("tanh"), Dropout(0.2), Dense(width), RMSNorm()]),
            Dropout(0.1), Concatenate([[Dense(2, "sigmoid"), Dropout(0.3)], []]), BatchNorm(), last,
        ],
        "all kinds": [
            Dense(width, "relu"), BatchNorm(), Activation("tanh"), Dropout(0.2), Dense(width, "sigmoid"), Dropout(0.1),
            BatchNorm(), Activation("identity"), last,
        ],
    }  # fmt: skip


MIXES = tuple(mixes(1, 1))


def network(name: str, inputs: int, width: int, outputs: int, dtype: str = "float64", seed: int = 3) -> Sequential:
    """One of the mixes; biases are drawn too, so that no unit sits on the kink of a ReLU."""
    model = Sequential(mixes(width, outputs)[name], inputs=inputs, dtype=dtype, seed=seed)
    generator = np.random.default_rng(seed)
    for entry in model.parameters.entries:
        if entry.kind in ("bias", "gamma", "beta"):
            entry.value[...] += generator.standard_normal(entry.shape) / 4
    return model


def data(loss: str, rows: int, inputs: int, outputs: int, dtype: str = "float64", seed: int = 5) -> tuple[Array, Array]:
    """X (rows, inputs) and targets that fit the loss."""
    generator = np.random.default_rng([seed, rows, inputs, outputs])
    X = generator.standard_normal((rows, inputs)).astype(dtype)
    if get_loss(loss).takes_labels:
        return X, generator.integers(0, outputs, rows).astype(np.int32)
    columns = get_loss(loss).target_columns(outputs)
    if loss == "bce":
        return X, generator.random((rows, columns)).astype(dtype)
    if get_loss(loss).task == "binary":
        return X, generator.integers(0, 2, (rows, columns)).astype(dtype)
    numbers = generator.standard_normal((rows, columns)).astype(dtype)
    return X, np.abs(numbers) if loss == "poisson" else numbers


def outputs_for(loss: str, outputs: int) -> int:
    """How many outputs a network has with that loss: so many, unless it wants others."""
    return 2 if loss == "margin_ranking" else outputs


def numbers(model: Sequential) -> Array:
    """Parameters and running statistics as one vector, padding left out."""
    return np.concatenate([weight.ravel() for weight in model.get_weights()] or [np.empty(0)])
