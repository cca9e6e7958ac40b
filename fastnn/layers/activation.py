"""Activations as layers of their own, and their derivatives as operations of their own."""

from ..activations import ActivationSpec, get_activation
from ..described import description
from ..plan.compiler import Builder, Gradient, Value
from .base import Layer


def differentiate(builder: Builder, activation: ActivationSpec, dy: Gradient, y: Value) -> None:
    """The derivative of an activation as an operation of its own, in place, unless a product has already applied it."""
    if activation.backward is not None and not dy.through_activation:
        builder.call(activation.backward, f"{dy.name} *= act_prime({y.name})", dx=dy.data, dy=dy.data, y=y.data)


@description
class Activation(Layer):
    """An activation as a layer of its own: "relu", "tanh", "sigmoid" or "identity"."""

    name: str

    def __post_init__(self) -> None:
        get_activation(self.name)

    def forward(self, builder: Builder, x: Value) -> Value:
        activation = get_activation(self.name)
        if activation.forward is None:
            builder.kept[builder.layer] = {"y": x}
            return x
        y = builder.value_like(x)
        builder.call(activation.forward, f"{y.name} = {activation.name}({x.name})", y=y.data, x=x.data)
        y.derivative, y.needed = activation.derivative, activation.backward is not None
        builder.kept[builder.layer] = {"y": y}
        return y

    def backward(self, builder: Builder, dy: Gradient) -> Gradient | None:
        activation = get_activation(self.name)
        if activation.forward is None:
            return dy
        differentiate(builder, activation, dy, builder.kept[builder.layer]["y"])
        return Gradient(dy.name, dy.data)
