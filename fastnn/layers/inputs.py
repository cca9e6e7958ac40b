"""Layers that bring inputs into form, in front of all others: without trainable parameters, part of the model."""

from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

import numpy as np

from .. import checks
from ..described import description
from ..plan.arena import Layout, Ref
from ..plan.compiler import Builder, Gradient, Value
from .base import Layer

Array = np.ndarray[Any, Any]
_LEAST_SCALE = 1e-30


@description
class Flatten(Layer):
    """As the first layer it lets rows of data have any shape: X (rows, 28, 28) for `inputs=784` or `inputs=(28, 28)`,
    their numbers in C order, the last axis fastest. Elsewhere it does nothing: there a row is a vector already.

    PyTorch's and Keras' `Flatten`.
    """

    flattens: ClassVar[bool] = True

    def keeps(self, column: int) -> bool:
        return True

    def forward(self, builder: Builder, x: Value) -> Value:
        return x

    def backward(self, builder: Builder, dy: Gradient) -> Gradient | None:
        return dy


@description
class Standardize(Layer):
    """(x - mean) / scale with fixed numbers for each feature: standardisation that travels with the model, in files and
    in `predict`.

    mean, scale   one number for each feature of its input, finite; scale at least 1e-30

    Mostly made from data, `Standardize.of(X_train)`, as the first layer; then the model takes data as measured. The
    numbers are the model's ("mean" and "scale" in `get_weights` and files) but no optimizer moves them. Arithmetic
    is in the model's dtype, that of `Standardizer.transform` in float64. Keras' `Normalization`; PyTorch has none.
    """

    mean: tuple[float, ...]
    scale: tuple[float, ...]
    minimum: ClassVar[Mapping[str, float]] = {"scale": _LEAST_SCALE}

    def __post_init__(self) -> None:
        mean, scale = _numbers("mean", self.mean), _numbers("scale", self.scale)
        if len(mean) != len(scale):
            raise ValueError(f"Standardize: {len(mean)} numbers in mean and {len(scale)} in scale, expected as many")
        if min(scale) < _LEAST_SCALE:
            place = scale.index(min(scale))
            raise ValueError(f"Standardize: scale[{place}] is {scale[place]:g}, expected at least {_LEAST_SCALE:g}")
        object.__setattr__(self, "mean", mean)
        object.__setattr__(self, "scale", scale)

    @classmethod
    def of(cls, data: Any, columns: Iterable[int] | None = None) -> "Standardize":
        """The layer that brings every column to mean 0 and deviation 1, that of the population; constant ones to 0.

        data      X (rows, columns) or, for a model that begins with Flatten, (rows, ...): finite numbers;
                  or a fitted `Standardizer`, whose numbers it takes
        columns   those to standardise; the others pass as they are. None: all
        """
        from ..preprocessing import Standardizer

        if not isinstance(data, Standardizer):
            rows = checks.numeric(data, "X")
            rows = rows.reshape(len(rows), -1) if rows.ndim > 2 else rows
            data = Standardizer().fit(checks.features(rows, None, np.float64))
        if data.mean is None:
            raise ValueError("Standardize.of(data): the Standardizer is not fitted yet: call its fit(X) first")
        mean, scale = np.array(data.mean, np.float64), np.array(data.scale, np.float64)
        if columns is not None:
            chosen = [checks.integer("Standardize.of", "columns", c, minimum=0, maximum=len(mean) - 1) for c in columns]
            others = np.setdiff1d(np.arange(len(mean)), chosen)
            mean[others], scale[others] = 0.0, 1.0
        return cls(tuple(mean.tolist()), tuple(scale.tolist()))

    def outputs(self, inputs: int) -> int:
        if inputs != len(self.mean):
            raise ValueError(f"Standardize: has {len(self.mean)} numbers in mean and scale for {inputs} features")
        return inputs

    def keeps(self, column: int) -> bool:
        return self.mean[column] == 0.0 and self.scale[column] == 1.0

    def buffers(self, layout: Layout, index: int, inputs: int, dtype: np.dtype[Any]) -> dict[str, Ref]:
        return {kind: Ref("state", layout.vector(f"{kind}{index}", inputs, dtype)) for kind in ("mean", "scale")}

    def start(self, kind: str) -> Any:
        return self.mean if kind == "mean" else self.scale

    def forward(self, builder: Builder, x: Value) -> Value:
        n, y = builder.layer, builder.value_like(x)
        text = f"{y.name} = ({x.name} - mean{n}) / scale{n}"
        mean, scale = builder.buffer("mean"), builder.buffer("scale")
        builder.call("standardize", text, y=y.data, x=x.data, mean=mean, scale=scale)
        return y

    def backward(self, builder: Builder, dy: Gradient) -> Gradient | None:
        if not builder.input_gradient_needed:
            return None
        dx, nothing = builder.place_of(dy), builder.constant("nothing", len(self.mean), 0.0)
        text = f"{dy.name} = {dy.name} / scale{builder.layer}"
        builder.call("standardize", text, y=dx, x=dy.data, mean=nothing, scale=builder.buffer("scale"))
        return Gradient(dy.name, dx)


def _numbers(argument: str, given: Any) -> tuple[float, ...]:
    array = checks.numeric(given, f"Standardize({argument})").astype(np.float64)
    if array.ndim != 1 or not array.size:
        raise ValueError(f"Standardize({argument}): has shape {array.shape}, expected a number for each feature")
    if not np.isfinite(array).all():
        place = int(np.argmin(np.isfinite(array)))
        raise ValueError(f"Standardize({argument}): {argument}[{place}] is {array[place]}, expected finite numbers")
    return tuple(array.tolist())
