"""Activations as layers of their own, and their derivatives as operations of their own."""

from ..activations import ActivationSpec, get_activation
from ..described import description
from ..plan.compiler import Builder, Gradient, Value
from .base import Layer


def differentiate(builder: Builder, activation: ActivationSpec, dy: Gradient, y: Value) -> Gradient:
    """dy times the derivative of an activation, by an operation of its own, unless a product has already applied it."""
    if activation.backward is None or dy.through_activation:
        return dy
    dx = builder.place_of(dy)
    builder.call(activation.backward, f"{dy.name} *= act_prime({y.name})", dx=dx, dy=dy.data, y=y.data)
    return Gradient(dy.name, dx, through_activation=True)


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
        dx = differentiate(builder, activation, dy, builder.kept[builder.layer]["y"])
        return dx._replace(through_activation=False)
