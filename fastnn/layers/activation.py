"""Activations as layers of their own, and what they are made of wherever they stand."""

from collections.abc import Callable

from ..activations import ActivationFunction, ActivationSpec, Custom, get_activation
from ..described import description
from ..plan.arena import Ref
from ..plan.compiler import Builder, Gradient, Value
from .base import Layer


def activate(builder: Builder, activation: ActivationSpec, y: Value, name: str, x: Ref, slope: Ref | None) -> None:
    """y = activation(x), and what backward needs is kept; y may lie in x's place unless the slope is kept.

    name    of x, for people
    slope   where the derivative goes if `keeps_slope`: another place than y's, perhaps x's
    """
    if slope is not None and activation.with_slope is not None:
        text = f"{y.name}, act_prime({y.name}) = {activation.name}({name})"
        builder.call(activation.with_slope, text, y=y.data, slope=slope, x=x, **activation.scalars)
        y.slope = slope
    elif activation.forward is not None:
        builder.call(
            activation.forward, f"{y.name} = {activation.name}({name})", y=y.data, x=x, **activation.scalars
        )  # fmt: skip
        y.needed = True
    y.derivative = activation.derivative


def keeps_slope(builder: Builder, activation: ActivationSpec) -> bool:
    """Whether the derivative is made together with the value, because it does not follow from it."""
    return builder.training and activation.with_slope is not None


def differentiate(builder: Builder, activation: ActivationSpec, dy: Gradient, y: Value) -> Gradient:
    """dy times the derivative of an activation, by an operation of its own, unless a product has already applied it."""
    if activation.backward is None or dy.through_activation:
        return dy
    dx, text = builder.place_of(dy), f"{dy.name} *= act_prime({y.name})"
    if y.slope is not None:
        builder.call(activation.backward, text, dx=dx, dy=dy.data, slope=y.slope)
    else:
        builder.call(activation.backward, text, dx=dx, dy=dy.data, y=y.data, **activation.scalars)
    return Gradient(dy.name, dx, through_activation=True)


@description
class Activation(Layer, ActivationFunction):
    """An activation as a layer of its own, or one of your own.

    name       "relu", "gelu" and so on (`fastnn.activations.ACTIVATIONS` has all of them), or an instance such as
               LeakyReLU(0.2)
    forward, backward   instead of a name: a function of one number and its derivative, which become a kernel; see
                        `fastnn.activations.Custom`

    `Dense(10, Activation(forward=f, backward=df))` applies such a function to the outputs of a dense layer.
    """

    name: str | ActivationFunction

    def __init__(
        self,
        name: str | ActivationFunction | None = None,
        *,
        forward: Callable[[float], float] | None = None,
        backward: Callable[[float], float] | None = None,
    ) -> None:
        if name is not None and (forward is not None or backward is not None):
            raise TypeError(f"Activation(name={name!r}): give either a name or forward and backward")
        if forward is not None or backward is not None:
            name = Custom(forward, backward)  # type: ignore[arg-type]  # which refuses None
        if name is None:
            raise TypeError("Activation(): give a name such as 'relu', or forward and backward")
        get_activation(name)
        object.__setattr__(self, "name", name)

    @property
    def spec(self) -> ActivationSpec:
        return get_activation(self.name)

    def forward(self, builder: Builder, x: Value) -> Value:
        activation = self.spec
        if activation.forward is None:
            builder.kept[builder.layer] = {"y": x}
            return x
        if keeps_slope(builder, activation):
            y = builder.value(f"h{builder.layer}", x.features)
            slope = builder.matrix_like(f"z{builder.layer}", x) if x.needed else x.data
        else:
            y, slope = builder.value_like(x), None
        activate(builder, activation, y, x.name, x.data, slope)
        builder.kept[builder.layer] = {"y": y}
        return y

    def backward(self, builder: Builder, dy: Gradient) -> Gradient | None:
        activation = self.spec
        if activation.forward is None:
            return dy
        dx = differentiate(builder, activation, dy, builder.kept[builder.layer]["y"])
        return dx._replace(through_activation=False)
