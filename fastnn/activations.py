"""Activations that a layer can name, with what a plan has to know of each.

There are two kinds. The derivative of most follows from their output y; where it has one of three simple forms the
product of the backward pass applies it to its finished elements, and no pass over memory is spent on it. That of the
others, which are not monotonic, needs the input x: in training their forward kernel puts the derivative, which shares
the exponential of the value, in x's place, and backward multiplies by it, which a product does in passing, too.
"""

import functools
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

from . import checks
from .described import description
from .kernels import own
from .kernels.reference.activations import SELU_ALPHA, SELU_SCALE
from .kernels.reference.dense import IN_TWO_PARTS, QUADRATIC, WHERE_POSITIVE
from .kernels.table import Operation


class Derivative(NamedTuple):
    """How `dense_backward_input` finds the derivative in the output y, or in the derivative itself (`KEPT`).

    kind   WHERE_POSITIVE: 1 where y > 0, else 0;  QUADRATIC: c0 + c1 y + c2 y**2;
           IN_TWO_PARTS: c2 where y > 0, else c0 + c1 y
    """

    kind: int
    c0: float = 0.0
    c1: float = 0.0
    c2: float = 0.0


KEPT = Derivative(QUADRATIC, 0.0, 1.0, 0.0)
_NONE: Mapping[str, float] = MappingProxyType({})
# Where functions of one's own are compared, from -25 to 25. Kinks tend to lie at round numbers, so that what a
# derivative says at one is compared too.
_POINTS = np.array([number * abs(number) / 16 for number in range(-20, 21)])
# Of the number, or of 1 where that is more: the last digits of exp depend on the machine's library.
_SAME = 1e-10


class ActivationSpec(NamedTuple):
    """What a plan has to know of an activation.

    forward, backward   operations, None for the identity: y = f(x), and dx = dy f'(x) from y
    derivative          the form in which a product can apply its derivative, None if it cannot
    floor               if not None: max(x, floor) is the activation, fused into the product that feeds it
    scalars             of both operations
    with_slope          the operation that makes value and derivative at once, where backward needs the derivative
                        kept: backward is `slope_backward` then, and the form KEPT
    """

    name: str
    forward: str | Operation | None
    backward: str | Operation | None
    derivative: Derivative | None
    floor: float | None = None
    scalars: Mapping[str, float] = _NONE
    with_slope: str | Operation | None = None


class ActivationFunction:
    """What a layer's `activation` may be besides a name: for other numbers than the usual ones."""

    @property
    def spec(self) -> ActivationSpec:
        """What a plan has to know of it."""
        raise NotImplementedError


@description
class LeakyReLU(ActivationFunction):
    """y = x where x > 0, else negative_slope x; the derivative at 0 is negative_slope. PyTorch's `LeakyReLU`.

    negative_slope   at least 0: the derivative is found in y, which must have the sign of x (Keras: 0.3)

    Maas, Hannun and Ng 2013.
    """

    negative_slope: float = 0.01

    def __post_init__(self) -> None:
        slope = checks.number("LeakyReLU", "negative_slope", self.negative_slope, minimum=0.0)
        object.__setattr__(self, "negative_slope", slope)

    @property
    def spec(self) -> ActivationSpec:
        slope = self.negative_slope
        derivative, scalars = Derivative(IN_TWO_PARTS, slope, 0.0, 1.0), {"negative_slope": slope}
        return ActivationSpec("leaky_relu", "leaky_relu_forward", "leaky_relu_backward", derivative, scalars=scalars)


@description
class ELU(ActivationFunction):
    """y = x where x > 0, else alpha (exp(x) - 1); the derivative at 0 is alpha. PyTorch's `ELU`.

    alpha   at least 0: the derivative is found in y, which must have the sign of x

    Clevert, Unterthiner and Hochreiter 2016.
    """

    alpha: float = 1.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "alpha", checks.number("ELU", "alpha", self.alpha, minimum=0.0))

    @property
    def spec(self) -> ActivationSpec:
        derivative, scalars = Derivative(IN_TWO_PARTS, self.alpha, 1.0, 1.0), {"alpha": self.alpha}
        return ActivationSpec("elu", "elu_forward", "elu_backward", derivative, scalars=scalars)


@description
class HardTanh(ActivationFunction):
    """y = x between min_val and max_val, else the nearer of the two; the derivative at both is 0. PyTorch's `Hardtanh`.

    min_val, max_val   min_val < max_val

    Collobert 2004.
    """

    min_val: float = -1.0
    max_val: float = 1.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "min_val", checks.number("HardTanh", "min_val", self.min_val))
        object.__setattr__(self, "max_val", checks.number("HardTanh", "max_val", self.max_val, above=self.min_val))

    @property
    def spec(self) -> ActivationSpec:
        scalars = {"min_val": self.min_val, "max_val": self.max_val}
        return ActivationSpec("hard_tanh", "hard_tanh_forward", "hard_tanh_backward", None, scalars=scalars)


@description
class Custom(ActivationFunction):
    """A function of your own and its derivative, each of one number; `Activation(forward=f, backward=df)` makes one.

    forward    f(x): a plain Python function that Numba can compile (or one that it has compiled)
    backward   its derivative df(x), at the same x

    Both are called with one number of the model's dtype and become one kernel. They are checked when this is made:
    Numba has to compile them, and df has to agree with differences of f at points from -20 to 20, where both must be
    finite. They must not raise errors. Without Numba only backend="reference" takes them. A model with such an
    activation can be copied, and pickled if its functions can be imported. Files (`save`, `Checkpoint`) hold what
    `described` gives in the place of the functions: `load` is given them again, `fit(resume=...)` finds them in the
    model, and both refuse others.
    """

    forward: Callable[[float], float]
    backward: Callable[[float], float]

    def __post_init__(self) -> None:
        for argument in ("forward", "backward"):
            function = getattr(self, argument)
            if not callable(function) or isinstance(function, type):
                raise TypeError(f"Activation({argument}={function!r}): {argument} must be a function of one number")
        _check(self.forward, self.backward)

    def __repr__(self) -> str:
        return f"Custom({_name(self.forward)}, {_name(self.backward)})"

    @property
    def spec(self) -> ActivationSpec:
        value, both = own.operations(self.forward, self.backward)
        return ActivationSpec(_name(self.forward), value, "slope_backward", KEPT, with_slope=both)

    def described(self) -> dict[str, Any]:
        """What files hold of it, as JSON: the functions' names, and what they compute, in float64, at 41 points; None
        stands for a number that is not finite. By these numbers `difference` knows functions again that another
        process has defined anew. Their code would not do: it is another one for each version of Python, and says
        nothing of the numbers and functions that it refers to."""
        functions = {"forward": self.forward, "backward": self.backward}
        each = {
            argument: {"name": _name(function), "values": list(_at_points(function))}
            for argument, function in functions.items()
        }
        return {"type": Custom.__name__, **each}


def is_own(description: Any) -> bool:
    """Whether a piece of JSON is a `Custom` as `described` gives it."""
    return isinstance(description, dict) and description.get("type") == Custom.__name__


def own_name(description: Mapping[str, Any]) -> str:
    """That of a `Custom`, for people, from what `described` gives."""
    try:
        forward, backward = (description[argument]["name"] for argument in ("forward", "backward"))
    except (KeyError, TypeError) as error:
        raise ValueError(f"damaged description of an activation of your own: {error!r}") from None
    return f"Custom({forward}, {backward})"


def difference(here: Mapping[str, Any], there: Mapping[str, Any]) -> str:
    """Where the functions differ of which `described` gave two descriptions, the second one from a file: in words, or
    "" where they compute the same. Their names do not count. ValueError where the second one is damaged."""
    for argument in ("forward", "backward"):
        try:
            now, then = (np.array(description[argument]["values"], dtype=np.float64) for description in (here, there))
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise ValueError(f"damaged description of an activation of your own: {error!r}") from None
        if then.shape != _POINTS.shape:
            raise ValueError(f"damaged description of an activation of your own: {then.size} values of {argument}")
        same = np.isclose(now, then, rtol=_SAME, atol=_SAME, equal_nan=True)
        if not same.all():
            place = int(np.argmin(same))
            return f"{argument}({_POINTS[place]:g}) is {now[place]:.12g} here, {then[place]:.12g} in the file"
    return ""


@functools.cache
def _at_points(function: Callable[[float], float]) -> tuple[float | None, ...]:
    values = own.values(own.compiled(function) if own.has_numba() else function, _POINTS)
    return tuple(float(value) if np.isfinite(value) else None for value in values)


def _name(function: Callable[..., Any]) -> str:
    return str(getattr(function, "__name__", "own"))


@functools.cache
def _check(forward: Callable[[float], float], backward: Callable[[float], float]) -> None:
    """Refuses a pair of functions that cannot be an activation; once for each pair."""
    owner = f"Activation(forward={_name(forward)}, backward={_name(backward)})"
    f, df = (_compiled(owner, function) for function in (forward, backward))
    half = 0.0137 + 0.3771 * np.arange(54)  # no point where a function is likely to have a kink
    x = np.concatenate([-half[::-1], half])
    step = 1e-6 * np.maximum(1, np.abs(x))
    value, slope, above, below = own.values(f, x), own.values(df, x), own.values(f, x + step), own.values(f, x - step)
    for argument, found in (("forward", value), ("backward", slope)):
        if not np.isfinite(found).all():
            place = np.flatnonzero(~np.isfinite(found))[0]
            raise ValueError(f"{owner}: {argument}({x[place]:.6g}) is {found[place]}, expected a finite number")
    quotient = (above - below) / ((x + step) - (x - step))
    allowed = 1e-5 * np.maximum(np.abs(slope), np.abs(quotient)) + 1e-8 * np.maximum(1, np.abs(value))
    excess = np.abs(slope - quotient) / allowed
    worst = int(np.argmax(excess))
    if not excess[worst] <= 1:
        raise ValueError(
            f"{owner}: backward({x[worst]:.6g}) is {slope[worst]:.6g}, expected the derivative of forward there, about "
            f"{quotient[worst]:.6g}"
        )


def _compiled(owner: str, function: Callable[[float], float]) -> Callable[[float], float]:
    """The function as Numba makes it; itself where Numba is not installed."""
    if not own.has_numba():
        return function
    try:
        return own.compiled(function)
    except Exception as error:  # Numba's errors have no common class that could be named without importing it
        raise ValueError(
            f"{owner}: Numba cannot compile {_name(function)} as a function of one number: {error}"
        ) from None


def _with_slope(name: str) -> ActivationSpec:
    return ActivationSpec(name, f"{name}_forward", "slope_backward", KEPT, with_slope=f"{name}_forward_with_slope")


ACTIVATIONS = {
    spec.name: spec
    for spec in (
        ActivationSpec("identity", None, None, None),
        ActivationSpec("relu", "relu_forward", "relu_backward", Derivative(WHERE_POSITIVE), floor=0.0),
        LeakyReLU().spec,
        ELU().spec,
        ActivationSpec(
            "selu", "selu_forward", "selu_backward",
            Derivative(IN_TWO_PARTS, SELU_SCALE * SELU_ALPHA, 1.0, SELU_SCALE),
        ),
        ActivationSpec("tanh", "tanh_forward", "tanh_backward", Derivative(QUADRATIC, 1.0, 0.0, -1.0)),
        HardTanh().spec,
        ActivationSpec("softsign", "softsign_forward", "softsign_backward", None),
        ActivationSpec("sigmoid", "sigmoid_forward", "sigmoid_backward", Derivative(QUADRATIC, 0.0, 1.0, -1.0)),
        *(_with_slope(name) for name in ("softplus", "silu", "mish", "gelu", "gelu_tanh")),
        ActivationSpec("softmax", "softmax_forward", "softmax_backward", None),
        ActivationSpec("log_softmax", "log_softmax_forward", "log_softmax_backward", None),
    )
}  # fmt: skip


def get_activation(activation: "str | ActivationFunction | None") -> ActivationSpec:
    """The activation of that name, or what a description says; None is the identity."""
    if activation is None:
        return ACTIVATIONS["identity"]
    if isinstance(activation, ActivationFunction):
        return activation.spec
    checks.not_a_class("activation", activation, ActivationFunction)
    if callable(activation):
        raise TypeError(
            f"activation={activation!r}: for a function and its derivative write Activation(forward=f, backward=df)"
        )
    if not isinstance(activation, str) or activation not in ACTIVATIONS:
        raise checks.unknown_name("activation", activation, ACTIVATIONS)
    return ACTIVATIONS[activation]
