"""Layers that normalise."""

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from .. import checks
from ..described import description
from ..plan.arena import Layout, Ref
from ..plan.compiler import Builder, Gradient, Value
from .base import Layer


@description
class BatchNorm(Layer):
    """Batch normalisation with a learnt scale gamma and shift beta; running statistics are used for inference.

    momentum   weight of each batch in the running statistics, in (0, 1]
    eps        added to the variance, above 0

    PyTorch's variant and defaults (Keras: momentum is the weight of the old value, eps 1e-3).
    """

    momentum: float = 0.1
    eps: float = 1e-5
    mixes_rows = True
    initial: ClassVar[Mapping[str, float]] = {"gamma": 1.0, "running_var": 1.0}
    minimum: ClassVar[Mapping[str, float]] = {"running_var": 0.0}

    def __post_init__(self) -> None:
        momentum = checks.number("BatchNorm", "momentum", self.momentum, above=0.0, maximum=1.0)
        object.__setattr__(self, "momentum", momentum)
        object.__setattr__(self, "eps", checks.number("BatchNorm", "eps", self.eps, above=0.0))

    def parameters(self, layout: Layout, index: int, inputs: int, dtype: np.dtype[Any]) -> dict[str, Ref]:
        return {k: Ref("parameters", layout.vector(f"{k}{index}", inputs, dtype)) for k in ("gamma", "beta")}

    def buffers(self, layout: Layout, index: int, inputs: int, dtype: np.dtype[Any]) -> dict[str, Ref]:
        return {k: Ref("state", layout.vector(f"{k}{index}", inputs, dtype)) for k in ("running_mean", "running_var")}

    def forward(self, builder: Builder, x: Value) -> Value:
        n = builder.layer
        y = builder.value(f"h{n}", x.features)
        parameters = {kind: builder.parameter(kind) for kind in ("gamma", "beta")}
        running = {kind: builder.buffer(kind) for kind in ("running_mean", "running_var")}
        if not builder.training:
            text = f"{y.name} = gamma{n} ({x.name} - running_mean{n}) / sqrt(running_var{n} + eps) + beta{n}"
            builder.call("batch_norm_inference", text, y=y.data, x=x.data, **parameters, **running, eps=self.eps)
            return y
        statistics = {kind: builder.vector(f"{kind}{n}", x.features) for kind in ("mean", "inv_std")}
        builder.call(
            "batch_norm_forward", f"{y.name} = gamma{n} ({x.name} - mean) / sqrt(var + eps) + beta{n}",
            y=y.data, x=x.data, **statistics, **running, **parameters, eps=self.eps, momentum=self.momentum,
        )  # fmt: skip
        builder.kept[n] = {"x": x, **statistics}
        return y

    def backward(self, builder: Builder, dy: Gradient) -> Gradient | None:
        kept = builder.kept[builder.layer]
        x = kept["x"]
        dx = builder.gradient_of(x)
        builder.call(
            "batch_norm_backward", f"d{x.name}, dgamma{builder.layer}, dbeta{builder.layer} = gradient({dy.name})",
            dx=dx, dgamma=builder.gradient("gamma"), dbeta=builder.gradient("beta"), dy=dy.data, x=x.data,
            gamma=builder.parameter("gamma"), mean=kept["mean"], inv_std=kept["inv_std"],
        )  # fmt: skip
        return Gradient(f"d{x.name}", dx)
