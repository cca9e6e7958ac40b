"""Layers that normalise: over the rows of a batch, or over the features of a row."""

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from .. import checks
from ..described import description
from ..plan.arena import Layout, Ref
from ..plan.compiler import Builder, Gradient, Value
from ..plan.plan import Given
from .base import _Penalized


class _Norm(_Penalized):
    """What layers with a learnt scale gamma and shift beta, both optional, have in common."""

    initial: ClassVar[Mapping[str, float]] = {"gamma": 1.0, "running_var": 1.0}
    scale: bool
    shift: bool

    def __post_init__(self) -> None:
        super().__post_init__()
        name = "l1" if self.l1 else "l2"
        if getattr(self, name) and not self.scale:
            owner = f"{type(self).__name__}(scale=False, {name}={getattr(self, name)!r})"
            raise ValueError(f"{owner}: {name} is a penalty on gamma, which scale=False leaves out")

    @property
    def _learnt(self) -> dict[str, bool]:
        return {"gamma": self.scale, "beta": self.shift}

    def parameters(self, layout: Layout, index: int, inputs: int, dtype: np.dtype[Any]) -> dict[str, Ref]:
        kinds = [kind for kind, learnt in self._learnt.items() if learnt]
        return {kind: Ref("parameters", layout.vector(f"{kind}{index}", inputs, dtype)) for kind in kinds}

    def _factors(self, builder: Builder, features: int) -> dict[str, Ref]:
        """gamma and beta; in the place of one that is left out a constant that changes no number."""
        return {
            kind: builder.parameter(kind) if learnt else builder.constant(kind, features, self.initial.get(kind, 0.0))
            for kind, learnt in self._learnt.items()
        }

    def _gradients(self, builder: Builder, features: int) -> dict[str, Ref]:
        """Places for the gradients of both; those of one that is left out are written and never read."""
        return {
            f"d{kind}": builder.gradient(kind) if learnt else builder.vector(f"d{kind}", features)
            for kind, learnt in self._learnt.items()
        }

    def _text(self, n: int, normalised: str) -> str:
        """The formula of the output, as plans print it."""
        return f"{f'gamma{n} ' if self.scale else ''}{normalised}{f' + beta{n}' if self.shift else ''}"

    def _gradient_text(self, builder: Builder, *others: str) -> str:
        kinds = (kind for kind, learnt in self._learnt.items() if learnt)
        return ", ".join((*others, *(f"d{kind}{builder.layer}" for kind in kinds)))


def _checked_eps(owner: str, eps: float) -> float:
    """eps, which is no width: that follows from the input."""
    try:
        return checks.number(owner, "eps", eps, above=0.0, maximum=1.0)
    except ValueError as error:
        raise ValueError(f"{error} (a width is not given: it follows from the input)") from None


@description
class BatchNorm(_Norm):
    """gamma (x - mean) / sqrt(var + eps) + beta with mean and variance of each feature over the rows of the batch;
    running statistics are used for inference.

    momentum   weight of each batch in the running statistics, in (0, 1]
    eps        added to the variance, above 0
    scale      False leaves gamma out
    shift      False leaves beta out
    l1, l2     penalties on gamma, as those of `Dense` on W: they pull it to 0, not to 1 (Keras's gamma_regularizer).
               With l1 features that a network can do without get a gamma near 0 (Liu et al. 2017, network slimming)

    It normalises what stands before it: `Dense(8), BatchNorm(), Activation("relu")` the inputs of the activation, as
    Ioffe and Szegedy 2015, who leave out the bias of the Dense, which has no effect there; `Dense(8, "relu"),
    BatchNorm()` its outputs.

    PyTorch's variant and defaults (affine=False: neither gamma nor beta). Keras: scale and center, momentum is the
    weight of the old value, eps 1e-3, and the running variance is the biased one.
    """

    momentum: float = 0.1
    eps: float = 1e-5
    scale: bool = True
    shift: bool = True
    mixes_rows = True
    minimum: ClassVar[Mapping[str, float]] = {"running_var": 0.0}

    def __post_init__(self) -> None:
        momentum = checks.number("BatchNorm", "momentum", self.momentum, above=0.0, maximum=1.0)
        object.__setattr__(self, "momentum", momentum)
        object.__setattr__(self, "eps", _checked_eps("BatchNorm", self.eps))
        object.__setattr__(self, "scale", checks.flag("BatchNorm", "scale", self.scale))
        object.__setattr__(self, "shift", checks.flag("BatchNorm", "shift", self.shift))
        super().__post_init__()

    def buffers(self, layout: Layout, index: int, inputs: int, dtype: np.dtype[Any]) -> dict[str, Ref]:
        return {k: Ref("state", layout.vector(f"{k}{index}", inputs, dtype)) for k in ("running_mean", "running_var")}

    def forward(self, builder: Builder, x: Value) -> Value:
        n = builder.layer
        y = builder.value(f"h{n}", x.features)
        factors = self._factors(builder, x.features)
        running = {kind: builder.buffer(kind) for kind in ("running_mean", "running_var")}
        if not builder.training:
            text = self._text(n, f"({x.name} - running_mean{n}) / sqrt(running_var{n} + eps)")
            text = f"{y.name} = {text}"
            builder.call("batch_norm_inference", text, y=y.data, x=x.data, **factors, **running, eps=self.eps)
            return y
        statistics = {kind: builder.vector(f"{kind}{n}", x.features) for kind in ("mean", "inv_std")}
        builder.call(
            "batch_norm_forward", f"{y.name} = {self._text(n, f'({x.name} - mean) / sqrt(var + eps)')}",
            y=y.data, x=x.data, **statistics, **running, **factors, eps=self.eps, momentum=self.momentum,
        )  # fmt: skip
        builder.kept[n] = {"x": x, "gamma": factors["gamma"], **statistics}
        return y

    def backward(self, builder: Builder, dy: Gradient) -> Gradient | None:
        kept = builder.kept[builder.layer]
        x = kept["x"]
        dx = builder.gradient_of(x)
        builder.call(
            "batch_norm_backward", f"{self._gradient_text(builder, f'd{x.name}')} = gradient({dy.name})",
            dx=dx, **self._gradients(builder, x.features), dy=dy.data, x=x.data, gamma=kept["gamma"],
            mean=kept["mean"], inv_std=kept["inv_std"],
        )  # fmt: skip
        return Gradient(f"d{x.name}", dx)


class _RowNorm(_Norm):
    """Normalisation of each row by itself: about its mean, or about 0."""

    eps: float | None
    centred: ClassVar[int]

    def _eps(self, builder: Builder) -> float:
        return float(np.finfo(builder.plan.dtype).eps) if self.eps is None else self.eps

    def forward(self, builder: Builder, x: Value) -> Value:
        n, training = builder.layer, builder.training
        y = builder.value(f"h{n}", x.features) if training else builder.value_like(x)
        factors = self._factors(builder, x.features)
        statistics = {kind: builder.vector(f"{kind}{n}", builder.rows) for kind in ("mean", "inv_std")}
        normalised = f"({x.name} - mean) / sqrt(var + eps)" if self.centred else f"{x.name} / sqrt(mean_square + eps)"
        builder.call(
            "layer_norm_forward", f"{y.name} = {self._text(n, normalised)}", y=y.data, x=x.data, **statistics,
            **factors, eps=self._eps(builder), centred=self.centred,
        )  # fmt: skip
        builder.kept[n] = {"x": x, "gamma": factors["gamma"], **statistics}
        return y

    def backward(self, builder: Builder, dy: Gradient) -> Gradient | None:
        kept = builder.kept[builder.layer]
        x, statistics = kept["x"], {kind: kept[kind] for kind in ("mean", "inv_std")}
        if self.scale or self.shift:  # before dx, which may take the place of x
            builder.call(
                "layer_norm_backward_parameters", f"{self._gradient_text(builder)} = gradient({dy.name})",
                **self._gradients(builder, x.features), dy=dy.data, x=x.data, **statistics,
                accumulate=Given("accumulate"),
            )  # fmt: skip
        if not builder.input_gradient_needed:
            return None
        dx = builder.gradient_of(x)
        builder.call(
            "layer_norm_backward_input", f"d{x.name} = gradient({dy.name})", dx=dx, dy=dy.data, x=x.data,
            gamma=kept["gamma"], **statistics, centred=self.centred,
        )  # fmt: skip
        return Gradient(f"d{x.name}", dx)


@description
class LayerNorm(_RowNorm):
    """gamma (x - mean) / sqrt(var + eps) + beta with mean and variance of each row over its features, in training and
    inference alike.

    eps      added to the variance, above 0
    scale    False leaves gamma out
    shift    False leaves beta out
    l1, l2   penalties on gamma, as those of `Dense` on W: they pull it to 0, not to 1 (Keras's gamma_regularizer)

    Ba, Kiros and Hinton 2016. PyTorch's variant (the biased variance) and defaults; there elementwise_affine=False
    leaves out both and bias=False beta (Keras: scale, center, and eps 1e-3).
    """

    eps: float = 1e-5
    scale: bool = True
    shift: bool = True
    centred: ClassVar[int] = 1

    def __post_init__(self) -> None:
        object.__setattr__(self, "eps", _checked_eps("LayerNorm", self.eps))
        object.__setattr__(self, "scale", checks.flag("LayerNorm", "scale", self.scale))
        object.__setattr__(self, "shift", checks.flag("LayerNorm", "shift", self.shift))
        super().__post_init__()


@description
class RMSNorm(_RowNorm):
    """gamma x / sqrt(mean of x**2 + eps), the mean over the features of each row, in training and inference alike.

    eps      added to the mean of squares, above 0; None: the machine epsilon of the model's dtype (float32: 1.2e-7)
    scale    False leaves gamma out
    l1, l2   penalties on gamma, as those of `Dense` on W: they pull it to 0, not to 1

    Zhang and Sennrich 2019. PyTorch's variant and defaults; there elementwise_affine=False leaves out gamma (Keras: eps
    1e-6).
    """

    eps: float | None = None
    scale: bool = True
    centred: ClassVar[int] = 0
    shift: ClassVar[bool] = False  # type: ignore[misc]

    def __post_init__(self) -> None:
        if self.eps is not None:
            object.__setattr__(self, "eps", _checked_eps("RMSNorm", self.eps))
        object.__setattr__(self, "scale", checks.flag("RMSNorm", "scale", self.scale))
        super().__post_init__()
