"""What every layer answers."""

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

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

    minimum: ClassVar[Mapping[str, float]] = {}
    """The least number that a parameter or buffer may hold, by kind, where there is one."""

    def outputs(self, inputs: int) -> int:
        """Width of the output for a width of the input."""
        return inputs

    def parameters(self, layout: Layout, index: int, inputs: int, dtype: np.dtype[Any]) -> dict[str, Ref]:
        """Places for what the optimizer moves; `index` is the layer's position in the model."""
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
