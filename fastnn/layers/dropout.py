"""Layers that leave out numbers at random."""

from typing import Any

from .. import checks
from ..described import description
from ..plan.compiler import Builder, Gradient, Value
from ..plan.plan import Given
from .base import Layer


@description
class Dropout(Layer):
    """Each number is zero with probability `rate` during training, the others grow by 1 / (1 - rate); nothing at
    inference.

    rate   in [0, 1)
    """

    rate: float
    random = True

    def __post_init__(self) -> None:
        object.__setattr__(self, "rate", checks.number("Dropout", "rate", self.rate, minimum=0.0, below=1.0))

    def forward(self, builder: Builder, x: Value) -> Value:
        if not builder.training or self.rate == 0.0:
            return x
        y = builder.value_like(x)
        text = f"{y.name} = dropout({x.name}, {self.rate:g})"
        builder.call("dropout_forward", text, y=y.data, x=x.data, **self._scalars(builder))
        return y

    def backward(self, builder: Builder, dy: Gradient) -> Gradient | None:
        if self.rate == 0.0:
            return dy
        text = f"{dy.name} = dropout({dy.name}, {self.rate:g})"
        dx = builder.place_of(dy)
        builder.call("dropout_backward", text, dx=dx, dy=dy.data, **self._scalars(builder))
        return Gradient(dy.name, dx)

    def _scalars(self, builder: Builder) -> dict[str, Any]:
        keep = 1.0 - self.rate
        threshold = min(round(keep * 2**32), 2**32 - 1)
        return {"key": Given(f"dropout_key{builder.layer}"), "threshold": threshold, "scale": 1.0 / keep, "first": 0}
