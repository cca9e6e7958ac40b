"""The networks that the benchmarks train, their data and their starting weights.

One list for all benchmarks and baselines. A name reads as in the tables: widths, what is not ReLU, batch size.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

LEARNING_RATE = 1e-3  # Adam's default, everywhere


@dataclass(frozen=True)
class Network:
    """A multilayer perceptron and how it is trained.

    widths       inputs, hidden widths, outputs
    batch        rows of a step; 0: full batch, every step takes all rows and gathers none
    rows         rows of the data set
    activation   of the hidden layers: "relu" or "tanh"; with batchnorm it follows the normalization
    loss         "cross_entropy" or "mse"
    dropout      rate behind every hidden layer
    target       least NumPy time / fastnn time that the project promises for this row; 0: none
    jax_target   the same for JAX's scan
    neighbour    a network whose widths or batch are whole vectors, timed beside this one, whose are not
    group        "table": the promised rows; "odd": odd widths and batches; "width": one width throughout; "bf16": with
                 precision="bf16", too, where the CPU has that; "large": beyond the caches, slow
    """

    widths: tuple[int, ...]
    batch: int
    rows: int = 4096
    activation: str = "relu"
    loss: str = "cross_entropy"
    dtype: str = "float32"
    batchnorm: bool = False
    dropout: float = 0.0
    target: float = 0.0
    jax_target: float = 1.0
    group: str = "table"
    neighbour: Network | None = None

    @property
    def name(self) -> str:
        parts = ["-".join(map(str, self.widths))]
        parts += [self.activation] if self.activation != "relu" else []
        parts += ["batch norm + dropout"] if self.batchnorm else []
        parts += [self.dtype] if self.dtype != "float32" else []
        parts += [self.group] if self.group == "bf16" else []
        return " ".join(parts) + (f", {self.batch}" if self.batch else f", full batch of {self.rows}")

    @property
    def batch_rows(self) -> int:
        return self.batch or self.rows

    @property
    def flops(self) -> int:
        """Floating point operations of the products of one step; the first layer has no input gradient."""
        products = [fan_in * fan_out for fan_in, fan_out in pairwise(self.widths)]
        return 2 * self.batch_rows * (3 * sum(products) - products[0])

    @property
    def flops_of_largest(self) -> int:
        """Those of its largest product."""
        return 2 * self.batch_rows * max(fan_in * fan_out for fan_in, fan_out in pairwise(self.widths))

    @property
    def parameters(self) -> int:
        pairs = pairwise(self.widths)
        return sum((fan_in + 1) * fan_out for fan_in, fan_out in pairs) + 2 * sum(self.widths[1:-1]) * self.batchnorm


_WIDTHS = (8, 16, 32, 64, 128, 256)


def _equal(width: int, batch: int = 128) -> Network:
    """Four equal layers: inputs and three dense layers."""
    return Network((width,) * 4, batch, group="width")


NETWORKS = (
    Network((4, 16, 16, 3), 32, target=30.0, jax_target=7.0),
    Network((10, 46, 46, 10), 128, target=5.0, jax_target=2.5),
    Network((64, 128, 64, 10), 32, target=4.2),
    Network((64, 128, 64, 10), 128, target=2.6),
    Network((784, 128, 10), 64, target=2.1),
    Network((784, 256, 128, 10), 128, target=1.65),
    Network((784, 1024, 1024, 10), 128, target=1.6),
    Network((2, 64, 64, 64, 1), 256, activation="tanh", loss="mse", target=2.3),
    Network((2, 64, 64, 64, 1), 256, activation="tanh", loss="mse", dtype="float64", target=2.1),
    Network((784, 256, 128, 10), 128, batchnorm=True, dropout=0.2, target=1.8),
    Network((4, 32, 16, 4), 0, rows=10_000, activation="tanh", loss="mse", target=2.8, jax_target=2.0),
    Network((784, 1024, 1024, 10), 128, group="bf16"),
    Network((4, 16, 3), 32, group="odd"),
    Network((13, 64, 1), 64, loss="mse", group="odd"),
    Network((10, 45, 45, 10), 128, group="odd"),
    Network((10, 45, 45, 10), 127, group="odd"),
    Network((64, 128, 64, 10), 31, group="odd"),
    Network((65, 127, 63, 10), 32, group="odd"),
    Network((65, 127, 63, 10), 127, group="odd"),
    *(_equal(width) for width in _WIDTHS),
    *(replace(_equal(width - 1), group="odd", neighbour=_equal(width)) for width in _WIDTHS),
    *(replace(_equal(width, 127), group="odd", neighbour=_equal(width)) for width in _WIDTHS),
    Network((2048, 4096, 4096, 1000), 256, group="large"),
)


@dataclass(frozen=True)
class Problem:
    """What all candidates of a row are given: equal data, weights and row order.

    weights   [W (fan_in, fan_out), b (fan_out,), ...] in layer order; gamma starts at 1, beta at 0
    """

    network: Network
    X: np.ndarray
    y: np.ndarray
    weights: list[np.ndarray]

    def order(self, steps: int, seed: int = 1) -> np.ndarray:
        """Row numbers of some steps: permutations of all rows, one after the other. Full batch: (steps, 0)."""
        rows, batch = self.network.rows, self.network.batch
        if not batch:
            return np.zeros((steps, 0), np.int64)
        generator = np.random.default_rng(seed)
        per_epoch = rows // batch
        epochs = -(-steps // per_epoch)
        cut = [generator.permutation(rows)[: per_epoch * batch].reshape(per_epoch, batch) for _ in range(epochs)]
        return np.concatenate(cut)[:steps].astype(np.int64)

    def without_dropout(self) -> Problem:
        return replace(self, network=replace(self.network, dropout=0.0))

    def in_dtype(self, dtype: str) -> Problem:
        """The same numbers in another dtype: float64 holds every float32 exactly."""
        y = self.y if self.y.dtype == np.int32 else self.y.astype(dtype)
        weights = [value.astype(dtype) for value in self.weights]
        return Problem(replace(self.network, dtype=dtype), self.X.astype(dtype), y, weights)


def problem(network: Network, seed: int = 0) -> Problem:
    """Data from a random smooth function and noise, and starting weights: He's or Xavier's scale, biases zero.

    Without noise a long run learns the rows by heart, and its gradients die away into subnormal numbers, which takes
    some CPUs three times as long in NumPy: candidates that have made more steps by then would be at a disadvantage.
    """
    generator = np.random.default_rng(seed)
    inputs, outputs = network.widths[0], network.widths[-1]
    X = generator.standard_normal((network.rows, inputs))
    scores = np.tanh(X @ generator.standard_normal((inputs, outputs)) / math.sqrt(inputs))
    if network.loss == "cross_entropy":  # drawn by softmax(2 scores)
        y = (2 * scores + generator.gumbel(size=scores.shape)).argmax(axis=1).astype(np.int32)
    else:
        y = scores + 0.3 * generator.standard_normal(scores.shape)
    gain = 2.0 if network.activation == "relu" else 1.0
    weights = []
    for fan_in, fan_out in pairwise(network.widths):
        weights.append(generator.standard_normal((fan_in, fan_out)) * math.sqrt(gain / fan_in))
        weights.append(np.zeros(fan_out))
    # Through float32, so that the problem is the same in both dtypes.
    single = Problem(network, X.astype(np.float32), y.astype(np.float32) if y.ndim == 2 else y, weights)
    return Problem(network, single.X, single.y, [value.astype(np.float32) for value in weights]).in_dtype(network.dtype)
