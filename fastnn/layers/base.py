"""What every layer answers."""

import dataclasses
from collections.abc import Iterable, Mapping
from dataclasses import field
from typing import Any, ClassVar

import numpy as np

from .. import checks
from ..described import description
from ..plan.arena import Layout, Ref
from ..plan.compiler import Builder, Gradient, Value

Array = np.ndarray[Any, Any]


class Layer:
    """What every layer answers; the defaults are those of a layer without parameters that keeps its width."""

    mixes_rows = False
    """Whether a row's output depends on the other rows of its batch."""

    random = False
    """Whether it draws a mask in training: the runner gives it a key for each pass, `Given("dropout_key<layer>")`."""

    initial: ClassVar[Mapping[str, float]] = {}
    """What all numbers of a parameter or buffer start at, by kind: 0 for those not named here. Weights and biases are
    drawn by the layer's `weight_init` and `bias_init`."""

    flattens: ClassVar[bool] = False
    """Whether it lets rows of data have any shape, where it is the first layer."""

    minimum: ClassVar[Mapping[str, float]] = {}
    """The least number that a parameter or buffer may hold, by kind, where there is one."""

    def outputs(self, inputs: int) -> int:
        """Width of the output for a width of the input."""
        return inputs

    def parts(self) -> Mapping[str, tuple["Layer", ...]]:
        """The layers in it, if it is a block: branches of layers one after the other, by the names that stand in the
        paths of their arrays."""
        return {}

    def check_place(self, inputs: int, before: tuple["Layer", ...]) -> None:
        """ValueError where the layer cannot stand behind these layers, or take an input of that width."""

    def check_inputs(self, X: Array, name: str) -> None:
        """ValueError where X, (rows, inputs) of the model's dtype, holds numbers that the layer cannot take."""

    def keeps(self, column: int) -> bool:
        """Whether a feature comes out in its place as it was."""
        return False

    def start(self, kind: str) -> Any:
        """The starting values of a parameter or buffer that is not drawn."""
        return self.initial.get(kind, 0.0)

    def parameters(self, layout: Layout, index: int, inputs: int, dtype: np.dtype[Any]) -> dict[str, Ref]:
        """Places for what the optimizer moves; `index` is the layer's number in the model."""
        return {}

    def buffers(self, layout: Layout, index: int, inputs: int, dtype: np.dtype[Any]) -> dict[str, Ref]:
        """Places for what the layer itself moves."""
        return {}

    def entries(self, arrays: dict[str, Array]) -> dict[str, Array]:
        """The arrays of `parameters` as users know them."""
        return arrays

    def forward(self, builder: Builder, x: Value) -> Value:
        """Writes the operations that make the layer's output."""
        raise NotImplementedError

    def penalize(self, builder: Builder) -> None:
        """Writes those that add penalties on its parameters to the loss and to the gradients: `builder.penalize`."""

    def backward(self, builder: Builder, dy: Gradient) -> Gradient | None:
        """Writes those that make the gradients of its parameters and of its input, which it returns; a first layer need
        not."""
        raise NotImplementedError


@description
class _Penalized(Layer):
    """What layers with weights, or with gamma, have in common: l1 sum |w| + l2 sum w**2 over them is added to the loss
    of a training step. Biases and beta have no penalty."""

    l1: float = field(default=0.0, kw_only=True)
    l2: float = field(default=0.0, kw_only=True)

    def __post_init__(self) -> None:
        for name in ("l1", "l2"):
            value = checks.number(type(self).__name__, name, getattr(self, name), minimum=0.0)
            object.__setattr__(self, name, value)

    def penalize(self, builder: Builder) -> None:
        if self.l1 or self.l2:
            builder.penalize(self.l1, self.l2)


def checked_layers(owner: str, argument: str, layers: Any) -> tuple[Layer, ...]:
    """The layers as a tuple, each an instance of a known class."""
    if isinstance(layers, (str, Layer)) or not isinstance(layers, Iterable):
        raise TypeError(f"{owner}({argument}={layers!r}): expected a list of layers such as Dense(10)")
    layers = tuple(layers)
    for number, layer in enumerate(layers):
        if not isinstance(layer, Layer):
            hint = "; write it with its arguments in brackets" if isinstance(layer, type) else ""
            known = ", ".join(checks.subclasses(Layer))
            raise TypeError(f"{owner}: {argument}[{number}] is {layer!r}, expected one of {known}{hint}")
    return layers


def written(layer: Layer) -> str:
    """A layer as a user writes it: required fields without a name, and first; defaults left out."""
    parts = []
    for option in sorted(dataclasses.fields(layer), key=lambda option: bool(option.kw_only)):  # type: ignore[arg-type]
        value = getattr(layer, option.name)
        if option.default is dataclasses.MISSING:
            parts.append(_value(value))
        elif value != option.default:
            parts.append(f"{option.name}={_value(value)}")
    return f"{type(layer).__name__}({', '.join(parts)})"


def _value(value: Any) -> str:
    """The value of a field as a user writes it: layers in short too, of many numbers the first ones."""
    if isinstance(value, Layer):
        return written(value)
    if not isinstance(value, tuple):
        return repr(value)
    if len(value) > 3 and all(isinstance(item, float) for item in value):
        return f"[{', '.join(f'{item:g}' for item in value[:3])}, ... {len(value)} numbers]"
    return f"[{', '.join(map(_value, value))}]"
