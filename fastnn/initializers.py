"""Starting values of weights and biases, from the naive normal to He, Glorot, LeCun and orthogonal matrices.

An initializer is a frozen dataclass that is called with a generator and a shape and returns float64 numbers. The model
rounds them to its dtype, so that a float32 and a float64 model of the same seed start equal (up to that rounding).

The default follows from the activation behind the layer: `he_normal` for ReLU and what is like it, `lecun_normal` for
SELU, `xavier_uniform` for everything else, each in the form of its paper (Keras uses Xavier uniform throughout;
PyTorch's `Linear` draws uniformly with the variance 1 / (3 fan_in), `torch_linear` here, which is a sixth of He's and
costs accuracy in the first epochs).

    name                            weights                                                       source
    normal                          N(0, 1): naive, for teaching; sums of many terms saturate     -
    small_normal                    N(0, 0.01**2)                                                 Krizhevsky 2012
    xavier_normal, xavier_uniform   variance 2 / (fan_in + fan_out), |w| <= sqrt(6 / (the same))  Glorot, Bengio 2010
    lecun_normal, lecun_uniform     variance 1 / fan_in; some texts, and Caffe, call it Xavier    LeCun et al. 1998
    he_normal, he_uniform           variance 2 / fan_in                                           He et al. 2015
    truncated_normal                N(0, 0.02**2), drawn again beyond two deviations              Devlin et al. 2019
    orthogonal                      orthonormal rows or columns                                   Saxe et al. 2014
    torch_linear                    uniform within 1 / sqrt(fan_in), biases too                   torch.nn.Linear
    zeros, ones                     constants, for biases                                         -

`VarianceScaling`, `Normal`, `Uniform`, `TruncatedNormal`, `Orthogonal` and `Constant` take other numbers, and `gain`
says by which factor weights in front of an activation should be larger: `xavier_uniform.with_gain("tanh")`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Literal, TypeAlias

import numpy as np

from fastnn import checks, randomness
from fastnn.described import description

# In quotes, because naming numpy.random here would import it (7 ms).
Initializer: TypeAlias = "Callable[[np.random.Generator, tuple[int, ...]], np.ndarray]"


# Deviation of a normal variable that is drawn again beyond two deviations, as a share of the one without that.
_TRUNCATED = 0.87962566103423978


def gain(activation: str, slope: float = 0.01) -> float:
    """By which factor the weights in front of an activation should be larger than for the identity, so that a deep
    network neither dies out nor blows up.

    activation   what PyTorch's `torch.nn.init.calculate_gain` knows has its value: "identity", "sigmoid": 1;  "tanh":
                 5/3;  "relu": sqrt(2);  "leaky_relu": sqrt(2 / (1 + slope**2));  "selu": 3/4. The others have
                 1 / sqrt(E[f(x)**2]) of a normal x (which is that of ReLU, too, and 1 of SELU), "softmax" and
                 "log_softmax", which stand at the end of a network, 1. ValueError for any other name
    slope        of leaky ReLU below 0
    """
    slope = checks.number("gain", "slope", slope)
    known = {
        "identity": 1.0, "sigmoid": 1.0, "tanh": 5.0 / 3.0, "relu": math.sqrt(2.0),
        "leaky_relu": math.sqrt(2.0 / (1.0 + slope**2)), "selu": 0.75, "softmax": 1.0, "log_softmax": 1.0,
        "hard_tanh": 1.39203614044830975, "softsign": 2.33753336310853966, "elu": 1.24519830070070655,
        "gelu": 1.53353044119553523, "gelu_tanh": 1.53358052166614692, "silu": 1.67653247033109116,
        "softplus": 1.04186683553530171, "mish": 1.4868475812732081,
    }  # fmt: skip
    if not isinstance(activation, str) or activation not in known:
        raise checks.unknown_name("activation", activation, known)
    return known[activation]


_LIKE_RELU = {"relu", "leaky_relu", "elu", "gelu", "gelu_tanh", "silu", "mish"}


def _gain(owner: str, value: float | str) -> float:
    return gain(value) if isinstance(value, str) else checks.number(owner, "gain", value, above=0.0)


@description
class VarianceScaling:
    """Random numbers of mean 0 and variance `scale / fan`.

    scale          2 for He, 1 for Xavier and LeCun; the square of a gain
    fan            "in": fan_in; "out": fan_out; "average": (fan_in + fan_out) / 2
    distribution   "normal" (not truncated, as in PyTorch), "uniform" on [-limit, limit) with limit =
                   sqrt(3 scale / fan), or "truncated_normal": drawn again beyond two deviations, and wider so that the
                   variance is the one asked for (what JAX and Keras call he_normal, glorot_normal and lecun_normal)
    """

    scale: float
    fan: Literal["in", "out", "average"]
    distribution: Literal["normal", "uniform", "truncated_normal"]

    def __post_init__(self) -> None:
        object.__setattr__(self, "scale", checks.number("VarianceScaling", "scale", self.scale, above=0.0))
        if self.fan not in ("in", "out", "average"):
            raise checks.unknown_name("fan", self.fan, ("in", "out", "average"))
        if self.distribution not in ("normal", "uniform", "truncated_normal"):
            raise checks.unknown_name("distribution", self.distribution, ("normal", "uniform", "truncated_normal"))

    def __call__(self, generator: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
        """Draw float64 numbers of a shape (fan_in, fan_out); a vector (n,) counts as fan_in = fan_out = n."""
        fan_in, fan_out = shape[0], shape[-1]
        fan = {"in": fan_in, "out": fan_out, "average": 0.5 * (fan_in + fan_out)}[self.fan]
        deviation = math.sqrt(self.scale / fan)
        if self.distribution == "normal":
            return generator.standard_normal(shape) * deviation
        if self.distribution == "truncated_normal":
            return _truncated(generator, shape, 2.0) * (deviation / _TRUNCATED)
        limit = math.sqrt(3.0) * deviation
        return generator.uniform(-limit, limit, shape)

    def with_gain(self, gain: float | str) -> VarianceScaling:
        """The same with all numbers `gain` times as large; the name of an activation stands for its `gain`."""
        return replace(self, scale=self.scale * _gain("VarianceScaling", gain) ** 2)


@description
class Normal:
    """Normal numbers: N(mean, deviation**2), whatever the shape."""

    deviation: float = 1.0
    mean: float = 0.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "deviation", checks.number("Normal", "deviation", self.deviation, minimum=0.0))
        object.__setattr__(self, "mean", checks.number("Normal", "mean", self.mean))

    def __call__(self, generator: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
        """Draw float64 numbers of a shape."""
        return self.mean + self.deviation * generator.standard_normal(shape)


@description
class Uniform:
    """Numbers on [low, high), all equally likely, whatever the shape."""

    low: float = -0.05
    high: float = 0.05

    def __post_init__(self) -> None:
        object.__setattr__(self, "low", checks.number("Uniform", "low", self.low))
        object.__setattr__(self, "high", checks.number("Uniform", "high", self.high, above=self.low))

    def __call__(self, generator: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
        """Draw float64 numbers of a shape."""
        return generator.uniform(self.low, self.high, shape)


@description
class TruncatedNormal:
    """Normal numbers, drawn again where they are further than `cut` deviations from the mean, whatever the shape.

    deviation   of the normal numbers, before any is drawn again, as in PyTorch, JAX and Keras
    cut         in deviations, above 0 (PyTorch's `trunc_normal_` takes the limits themselves, -2 and 2 by default)
    """

    deviation: float = 0.02
    mean: float = 0.0
    cut: float = 2.0

    def __post_init__(self) -> None:
        deviation = checks.number("TruncatedNormal", "deviation", self.deviation, minimum=0.0)
        object.__setattr__(self, "deviation", deviation)
        object.__setattr__(self, "mean", checks.number("TruncatedNormal", "mean", self.mean))
        # Below 0.1 nine in ten numbers, and more, would have to be drawn again.
        object.__setattr__(self, "cut", checks.number("TruncatedNormal", "cut", self.cut, minimum=0.1))

    def __call__(self, generator: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
        """Draw float64 numbers of a shape."""
        return self.mean + self.deviation * _truncated(generator, shape, self.cut)


def _truncated(generator: np.random.Generator, shape: tuple[int, ...], cut: float) -> np.ndarray:
    values = generator.standard_normal(shape)
    while (beyond := np.abs(values) > cut).any():
        values[beyond] = generator.standard_normal(np.count_nonzero(beyond))
    return values


@description
class Orthogonal:
    """A matrix whose rows (or columns, whichever are fewer) are orthogonal and of length `gain`, all such matrices
    equally likely; of a vector, a direction of that length.

    Saxe, McClelland and Ganguli 2014. By QR of normal numbers, with the signs of R's diagonal moved to Q, without which
    some matrices would be likelier than others (Mezzadri 2007); PyTorch, JAX and Keras do the same.
    """

    gain: float = 1.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "gain", checks.number("Orthogonal", "gain", self.gain, above=0.0))

    def __call__(self, generator: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
        """Draw float64 numbers of a shape."""
        rows, columns = shape[0], math.prod(shape[1:])
        normal = generator.standard_normal((max(rows, columns), min(rows, columns)))
        q, r = np.linalg.qr(normal)
        q *= np.where(np.diag(r) < 0, -self.gain, self.gain)
        return (q if rows >= columns else q.T).reshape(shape)

    def with_gain(self, gain: float | str) -> Orthogonal:
        """The same with all numbers `gain` times as large; the name of an activation stands for its `gain`."""
        return replace(self, gain=self.gain * _gain("Orthogonal", gain))


@description
class TorchLinear:
    """What `torch.nn.Linear` starts with: numbers on [-limit, limit) with limit = 1 / sqrt(fan_in), weights and biases
    alike (it comes of He's uniform form with the gain of a leaky ReLU of slope sqrt(5))."""

    def __call__(self, generator: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
        """Draw float64 weights of a shape (fan_in, fan_out)."""
        return self.bias(generator, shape, shape[0])

    def bias(self, generator: np.random.Generator, shape: tuple[int, ...], fan_in: int) -> np.ndarray:
        """Draw float64 biases (fan_out,) of a layer with that many inputs."""
        limit = 1.0 / math.sqrt(fan_in)
        return generator.uniform(-limit, limit, shape)


@description
class Constant:
    """The same number everywhere. Units whose weights all start equal never learn to differ: it is for biases."""

    value: float = 0.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "value", checks.number("Constant", "value", self.value))

    def __call__(self, generator: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
        """Float64 numbers of a shape."""
        return np.full(shape, self.value)


# Krizhevsky, Sutskever and Hinton 2012 (AlexNet), section 5; Glorot and Bengio 2010, equation 16; LeCun, Bottou, Orr
# and Mueller 1998, "Efficient BackProp", equation 16; He, Zhang, Ren and Sun 2015, equation 10 (forward case, fan_in);
# Devlin et al. 2019 (BERT).
normal, small_normal = Normal(1.0), Normal(0.01)
xavier_normal, xavier_uniform = (VarianceScaling(1.0, "average", form) for form in ("normal", "uniform"))
lecun_normal, lecun_uniform = (VarianceScaling(1.0, "in", form) for form in ("normal", "uniform"))
he_normal, he_uniform = (VarianceScaling(2.0, "in", form) for form in ("normal", "uniform"))
truncated_normal, orthogonal, torch_linear = TruncatedNormal(), Orthogonal(), TorchLinear()
zeros, ones = Constant(0.0), Constant(1.0)

INITIALIZERS: dict[str, Initializer] = {
    "he_normal": he_normal,
    "he_uniform": he_uniform,
    "lecun_normal": lecun_normal,
    "lecun_uniform": lecun_uniform,
    "normal": normal,
    "ones": ones,
    "orthogonal": orthogonal,
    "small_normal": small_normal,
    "torch_linear": torch_linear,
    "truncated_normal": truncated_normal,
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
    """The initializer of weights in front of an activation: he_normal for "relu" and for what is like it
    (leaky_relu, elu, gelu, gelu_tanh, silu, mish), lecun_normal for "selu" (Klambauer et al. 2017), xavier_uniform
    for all others.

    Xavier is used with gain 1 for tanh and sigmoid too, as in the paper (PyTorch's calculate_gain says 5/3 for tanh).
    Biases (kind "bias") start at zero.
    """
    if kind == "bias":
        return zeros
    if activation == "selu":
        return lecun_normal
    return he_normal if activation in _LIKE_RELU else xavier_uniform


def stream(seed: int) -> randomness.Stream:
    """What `draw` takes the numbers of all parameters of a model from."""
    return randomness.Stream(randomness.key(seed, randomness.INITIALIZE))


def draw(
    initializer: Initializer,
    stream: randomness.Stream,
    layer: int,
    kind: str,
    shape: tuple[int, ...],
    fan_in: int,
    number: int = 0,
) -> np.ndarray:
    """The starting values of one parameter, float64: they depend on the seed, layer, kind, number and shape only.

    stream   that of the seed
    kind     "weight" or "bias"
    fan_in   inputs of the layer, for initializers that draw biases by them
    number   of several parameters of that kind, below 2**32
    Raises ValueError when a function of the user's returns a wrong shape or numbers that are not finite.
    """
    index = 2 * layer + ("weight", "bias").index(kind) + (number << 32)
    generator = stream.at(index)
    if kind == "bias" and isinstance(initializer, TorchLinear):
        values = initializer.bias(generator, shape, fan_in)
    else:
        values = np.asarray(initializer(generator, shape), dtype=np.float64)
    if values.shape != shape:
        raise ValueError(
            f"layer {layer}: {kind} initializer {initializer!r} returned shape {values.shape}, not {shape}"
        )
    if not np.isfinite(values).all():
        raise ValueError(f"layer {layer}: {kind} initializer {initializer!r} returned NaN or infinity")
    return values
