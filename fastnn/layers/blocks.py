"""Blocks: layers that hold layers. A block writes its part of a plan by letting its layers write theirs."""

from collections.abc import Mapping

from ..described import description
from ..plan.compiler import Builder, Gradient, Value
from .base import Layer, checked_layers


@description
class Residual(Layer):
    """x + f(x), where f are layers one after the other; or shortcut(x) + f(x).

    layers     f, at least one layer; as wide as the input at their end, unless there is a shortcut
    shortcut   layers for x itself, which give it the width of f(x): `Residual([...], shortcut=[Dense(64)])`

    He, Zhang, Ren and Sun 2016. An activation of the sum stands behind the block, as in the paper:
    `Residual([Dense(64, "relu"), Dense(64)]), Activation("relu")`. PyTorch and Keras leave the addition to their users.
    """

    layers: tuple[Layer, ...]
    shortcut: tuple[Layer, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "layers", checked_layers("Residual", "layers", self.layers))
        object.__setattr__(self, "shortcut", checked_layers("Residual", "shortcut", self.shortcut))
        if not self.layers:
            raise ValueError("Residual(layers=[]): expected at least one layer")

    def parts(self) -> Mapping[str, tuple[Layer, ...]]:
        return {"layers": self.layers, "shortcut": self.shortcut} if self.shortcut else {"layers": self.layers}

    def outputs(self, inputs: int) -> int:
        through, aside = _width(self.layers, inputs), _width(self.shortcut, inputs)
        if through != aside:
            what = f"its shortcut has {aside}" if self.shortcut else f"its input has {aside}"
            advice = f"end the layers in Dense({aside})" if self.shortcut else f"give it shortcut=[Dense({through})]"
            raise ValueError(
                f"Residual: its layers have {through} outputs and {what}, which cannot be added: {advice}, for instance"
            )
        return through

    def forward(self, builder: Builder, x: Value) -> Value:
        x = builder.read_by_several(x)
        through = builder.run(builder.branch("layers"), x)
        aside = builder.run(builder.branch("shortcut"), x) if self.shortcut else x
        y = builder.value_like(through)
        builder.call("add", f"{y.name} = {through.name} + {aside.name}", out=y.data, a=through.data, b=aside.data)
        builder.kept[builder.layer] = {"x": x}
        return y

    def backward(self, builder: Builder, dy: Gradient) -> Gradient | None:
        x, shared = builder.kept[builder.layer]["x"], dy._replace(shared=True)
        through = builder.run_back(builder.branch("layers"), shared)
        aside = builder.run_back(builder.branch("shortcut"), shared) if self.shortcut else shared
        if not builder.input_gradient_needed or through is None or aside is None:
            return None
        return builder.total(f"d{x.name}", [through, aside])


@description
class Concatenate(Layer):
    """The outputs of branches side by side, each of them layers one after the other that take the same input.

    branches   two or more lists of layers; an empty one is the input itself, so that `Concatenate([[], [Dense(8)]])`
               adds eight features to those that are there (Huang, Liu, van der Maaten and Weinberger 2017, DenseNet)

    PyTorch's `torch.cat([f(x) for f in branches], dim=1)`, Keras' `Concatenate`.
    """

    branches: tuple[tuple[Layer, ...], ...]

    def __post_init__(self) -> None:
        if isinstance(self.branches, (str, Layer)) or not isinstance(self.branches, (list, tuple)):
            raise TypeError(
                f"Concatenate(branches={self.branches!r}): expected lists of layers, such as [[], [Dense(8)]]"
            )
        if len(self.branches) < 2:
            raise ValueError(f"Concatenate(branches={self.branches!r}): expected at least two branches")
        checked = (checked_layers("Concatenate", f"branches[{n}]", branch) for n, branch in enumerate(self.branches))
        object.__setattr__(self, "branches", tuple(checked))

    def parts(self) -> Mapping[str, tuple[Layer, ...]]:
        return {f"branches.{number}": branch for number, branch in enumerate(self.branches)}

    def outputs(self, inputs: int) -> int:
        return sum(_width(branch, inputs) for branch in self.branches)

    def forward(self, builder: Builder, x: Value) -> Value:
        x = builder.read_by_several(x)
        values = [builder.run(builder.branch(name), x) for name in self.parts()]
        y = builder.value(f"h{builder.layer}", sum(value.features for value in values))
        first = 0
        for value in values:
            text = f"{y.name}[{first}:{first + value.features}] = {value.name}"
            builder.call("copy_features", text, out=y.data.features(first, value.features), x=value.data)
            first += value.features
        builder.kept[builder.layer] = {"x": x, "widths": [value.features for value in values]}
        return y

    def backward(self, builder: Builder, dy: Gradient) -> Gradient | None:
        x, widths = builder.kept[builder.layer]["x"], builder.kept[builder.layer]["widths"]
        found: list[Gradient | None] = []
        first = 0
        for name, width in zip(self.parts(), widths, strict=True):
            nodes, part = builder.branch(name), dy.data.features(first, width)
            first += width
            if not nodes:
                found.append(Gradient(dy.name, part, shared=True))
            elif builder.input_gradient_needed or builder.have_parameters(nodes):
                # In a place of its own: a transposition in blocks may read behind the last feature.
                own = builder.like(part, f"d{name}")
                text = f"{dy.name}.{name} = {dy.name}[{first - width}:{first}]"
                builder.call("copy_features", text, out=own, x=part)
                found.append(builder.run_back(nodes, Gradient(f"{dy.name}.{name}", own)))
        gradients = [gradient for gradient in found if gradient is not None]
        return builder.total(f"d{x.name}", gradients) if builder.input_gradient_needed else None


def _width(layers: tuple[Layer, ...], inputs: int) -> int:
    """The width behind layers one after the other."""
    width = inputs
    for layer in layers:
        width = layer.outputs(width)
    return width
