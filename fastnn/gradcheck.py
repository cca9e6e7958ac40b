"""Gradients against central differences: a check for anyone who adds a layer, an activation or a loss."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from . import checks
from .losses import Loss
from .plan.arena import Parameters
from .trainer import Trainer

if TYPE_CHECKING:
    from .layers import Layer
    from .losses.custom import Function
    from .trainer import Model


@dataclass(frozen=True)
class GradientReport:
    """The worst disagreement that `gradcheck` found.

    error      |analytic - numeric| / max(|analytic|, |numeric|, floor)
    analytic, numeric   the two derivatives there
    parameter  its name, such as "layers.0.weight", and its place in that array
    checked    how many derivatives were compared
    """

    error: float
    analytic: float
    numeric: float
    parameter: str
    place: tuple[int, ...]
    checked: int


@dataclass
class _Double:
    """A float64 copy of a model, as far as a trainer needs one."""

    layers: "tuple[Layer, ...]"
    inputs: int
    dtype: np.dtype[Any]
    parameters: Parameters
    seed: int


def gradcheck(
    model: "Model", loss: "str | Loss | Function", X: Any, y: Any,
    step: float = 1e-5, samples: int | None = None, backend: str = "auto", sample_weight: Any = None,
) -> GradientReport:  # fmt: skip
    """Compares the gradient of a loss, penalties of the layers included, with central differences, in float64 whatever
    the model's dtype.

    model     left as it is: a float64 copy is checked, in training mode, with the dropout masks of the first step
    X, y      a batch; some ten rows are plenty
    step      h in (f(theta + h) - f(theta - h)) / 2h; the error of the quotient is about step**2 + 1e-16 / step
    samples   how many parameters to compare, spread over all; None: every one
    Returns the worst disagreement, relative to the larger derivative, or to 1e-3 of the largest of all where both are
    small.

    A parameter whose change moves a ReLU over its kink disagrees without being wrong; other data will tell.
    """
    step = checks.number("gradcheck", "step", step, above=0.0)
    if samples is not None:
        samples = checks.integer("gradcheck", "samples", samples, minimum=1)
    double = _as_double(model)
    trainer = Trainer(double, loss, backend=backend)
    theta = double.parameters.flatten(double.parameters.arena)
    _, gradient = trainer.value_and_grad(theta, X, y, sample_weight)
    places = np.arange(len(theta))
    if samples is not None and samples < len(theta):
        places = np.linspace(0, len(theta) - 1, samples).astype(int)
    numeric = np.empty(len(places))
    for index, place in enumerate(places):
        values = []
        for sign in (1, -1):
            moved = theta.copy()
            moved[place] += sign * step
            values.append(trainer.value_and_grad(moved, X, y, sample_weight)[0])
        numeric[index] = (values[0] - values[1]) / (2 * step)
    return _report(double.parameters, places, gradient[places], numeric)


def _as_double(model: "Model") -> _Double:
    layers: Sequence[Layer] = model.layers
    parameters = Parameters(layers, model.inputs, np.float64)
    for mine, theirs in zip(
        (*parameters.entries, *parameters.buffers), (*model.parameters.entries, *model.parameters.buffers), strict=True
    ):
        mine.value[...] = theirs.value
    return _Double(tuple(layers), model.inputs, np.dtype(np.float64), parameters, model.seed)


def _report(parameters: Parameters, places: Any, analytic: Any, numeric: Any) -> GradientReport:
    floor = 1e-3 * max(np.abs(analytic).max(initial=0.0), 1e-30)
    error = np.abs(analytic - numeric) / np.maximum(np.maximum(np.abs(analytic), np.abs(numeric)), floor)
    worst = int(np.argmax(error))
    place = int(places[worst])
    for entry in parameters.entries:
        if place < entry.value.size:
            where = tuple(int(i) for i in np.unravel_index(place, entry.shape))
            return GradientReport(
                float(error[worst]), float(analytic[worst]), float(numeric[worst]), entry.name, where, len(places)
            )
        place -= entry.value.size
    raise AssertionError("a place beyond the last parameter")
