"""Starting values of weights and biases: He, Xavier, zeros.

An initializer is a frozen dataclass that is called with a generator and a shape and returns float64 numbers. The model
rounds them to its dtype, so that a float32 and a float64 model of the same seed start equal (up to that rounding).

The default follows from the activation behind the layer: `he_normal` for ReLU, `xavier_uniform` for everything else,
each in the form of its paper (Keras uses Xavier uniform throughout; PyTorch's `Linear` draws uniformly with the
variance 1 / (3 fan_in), which is a sixth of He's and costs accuracy in the first epochs).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np

from fastnn import checks, randomness

# In quotes, because naming numpy.random here would import it (7 ms).
Initializer: TypeAlias = "Callable[[np.random.Generator, tuple[int, ...]], np.ndarray]"


@dataclass(frozen=True)
class VarianceScaling:
    """Random numbers of mean 0 and variance `scale / fan`.

    scale          2 for He, 1 for Xavier
    fan            "in": fan_in; "average": (fan_in + fan_out) / 2
    distribution   "normal" (not truncated: PyTorch, JAX's he_normal and Keras truncate differently) or "uniform" on
                   [-limit, limit) with limit = sqrt(3 scale / fan)
    """

    scale: float
    fan: Literal["in", "average"]
    distribution: Literal["normal", "uniform"]

    def __post_init__(self) -> None:
        object.__setattr__(self, "scale", checks.number("VarianceScaling", "scale", self.scale, above=0.0))
        if self.fan not in ("in", "average"):
            raise checks.unknown_name("fan", self.fan, ("in", "average"))
        if self.distribution not in ("normal", "uniform"):
            raise checks.unknown_name("distribution", self.distribution, ("normal", "uniform"))

    def __call__(self, generator: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
        """Draw float64 numbers of a shape (fan_in, fan_out); a vector (n,) counts as fan_in = fan_out = n."""
        fan_in, fan_out = shape[0], shape[-1]
        fan = fan_in if self.fan == "in" else 0.5 * (fan_in + fan_out)
        deviation = math.sqrt(self.scale / fan)
        if self.distribution == "normal":
            return generator.standard_normal(shape) * deviation
        limit = math.sqrt(3.0) * deviation
        return generator.uniform(-limit, limit, shape)


@dataclass(frozen=True)
class Zeros:
    """Zeros: the usual start of a bias. Weights that all start at zero never learn to differ."""

    def __call__(self, generator: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
        return np.zeros(shape)


# He, Zhang, Ren and Sun 2015, "Delving deep into rectifiers", equation 10 (forward case, fan_in).
he_normal = VarianceScaling(2.0, "in", "normal")
he_uniform = VarianceScaling(2.0, "in", "uniform")
# Glorot and Bengio 2010, "Understanding the difficulty of training deep feedforward neural networks", equation 16.
xavier_normal = VarianceScaling(1.0, "average", "normal")
xavier_uniform = VarianceScaling(1.0, "average", "uniform")
zeros = Zeros()

INITIALIZERS: dict[str, Initializer] = {
    "he_normal": he_normal,
    "he_uniform": he_uniform,
    "xavier_normal": xavier_normal,
    "xavier_uniform": xavier_uniform,
    "zeros": zeros,
}


def get_initializer(initializer: str | Initializer) -> Initializer:
    """The initializer of a name, or the given one: any callable `(generator, shape) -> array`.

    ValueError for an unknown name (it says the nearest known one), TypeError for anything else.
    """
    if isinstance(initializer, str):
        if initializer not in INITIALIZERS:
            raise checks.unknown_name("initializer", initializer, INITIALIZERS)
        return INITIALIZERS[initializer]
    if not callable(initializer) or isinstance(initializer, type):
        raise TypeError(
            f"initializer {initializer!r}: expected a name ({', '.join(INITIALIZERS)}) "
            "or a function (generator, shape) -> array"
        )
    return initializer


def initializer_name(initializer: str | Initializer | None) -> str | None:
    """The name under which an initializer can be written to a file; None for the default and for unnamed ones."""
    if initializer is None or isinstance(initializer, str):
        return initializer
    for name, known in INITIALIZERS.items():
        if initializer == known:
            return name
    return None


def default_initializer(activation: str | None, kind: str = "weight") -> Initializer:
    """The initializer of weights in front of an activation: he_normal for "relu", xavier_uniform for all others.

    Xavier is used with gain 1 for tanh and sigmoid too, as in the paper (PyTorch's calculate_gain says 5/3 for tanh).
    Biases (kind "bias") start at zero.
    """
    if kind == "bias":
        return zeros
    return he_normal if activation == "relu" else xavier_uniform


def draw(initializer: Initializer, seed: int, layer: int, kind: str, shape: tuple[int, ...]) -> np.ndarray:
    """The starting values of one parameter, float64: they depend on seed, layer number, kind and shape only.

    kind   "weight" or "bias"
    Raises ValueError when a function of the user's returns a wrong shape or numbers that are not finite.
    """
    index = 2 * layer + ("weight", "bias").index(kind)
    generator = randomness.generator(randomness.key(seed, randomness.INITIALIZE), index)
    values = np.asarray(initializer(generator, shape), dtype=np.float64)
    if values.shape != shape:
        raise ValueError(
            f"layer {layer}: {kind} initializer {initializer!r} returned shape {values.shape}, not {shape}"
        )
    if not np.isfinite(values).all():
        raise ValueError(f"layer {layer}: {kind} initializer {initializer!r} returned NaN or infinity")
    return values
