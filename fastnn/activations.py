"""Activations that a layer can name, with what a plan has to know of each.

The derivative of all of them follows from their output; where it is one of two simple forms the product of the backward
pass applies it to its finished elements, and no pass over memory is spent on it.
"""

from typing import NamedTuple

from .checks import unknown_name
from .kernels.reference.dense import QUADRATIC, WHERE_POSITIVE


class Derivative(NamedTuple):
    """How `dense_backward_input` finds the derivative in the output y.

    kind   WHERE_POSITIVE: 1 where y > 0, else 0;  QUADRATIC: c0 + c1 y + c2 y**2
    """

    kind: int
    c0: float = 0.0
    c1: float = 0.0
    c2: float = 0.0


class ActivationSpec(NamedTuple):
    """One activation.

    forward, backward   operations of the kernel table, None for the identity
    floor               if not None: max(x, floor) is the activation, fused into the product that feeds it
    derivative          the form in which a product can apply its derivative, None if it cannot
    """

    name: str
    forward: str | None
    backward: str | None
    derivative: Derivative | None
    floor: float | None = None


ACTIVATIONS = {
    spec.name: spec
    for spec in (
        ActivationSpec("identity", None, None, None),
        ActivationSpec("relu", "relu_forward", "relu_backward", Derivative(WHERE_POSITIVE), floor=0.0),
        ActivationSpec("tanh", "tanh_forward", "tanh_backward", Derivative(QUADRATIC, 1.0, 0.0, -1.0)),
        ActivationSpec("sigmoid", "sigmoid_forward", "sigmoid_backward", Derivative(QUADRATIC, 0.0, 1.0, -1.0)),
    )
}


def get_activation(name: str | None) -> ActivationSpec:
    """The activation of that name; None is the identity."""
    if name is None:
        return ACTIVATIONS["identity"]
    if not isinstance(name, str) or name not in ACTIVATIONS:
        raise unknown_name("activation", name, ACTIVATIONS)
    return ACTIVATIONS[name]
