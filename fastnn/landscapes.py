"""Functions of two variables, and the paths that optimizers take down them: what textbooks draw.

A path is made by the optimizer's own update, in float64, on the two coordinates and the gradient of the function, or
its values where the optimizer takes no gradient.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from . import randomness
from .iterations import Iterations
from .optimizers import ARS, LBFGS, OPTIMIZERS, SGD, Optimizer, TwoPoint

Array = np.ndarray[Any, Any]


class Landscape(NamedTuple):
    """A function of two variables.

    value, gradient   of points (..., 2): (...,) and (..., 2)
    start             where paths begin;  minimum  where the least value is
    view              (left, right, bottom, top) of a map
    """

    name: str
    value: Callable[[Array], Array]
    gradient: Callable[[Array], Array]
    start: tuple[float, float]
    minimum: tuple[float, float]
    view: tuple[float, float, float, float]


def _bowl(p: Array) -> Array:
    x, y = p[..., 0], p[..., 1]
    value: Array = 0.5 * (x**2 + 20 * y**2)
    return value


def _bowl_gradient(p: Array) -> Array:
    return p * np.array([1.0, 20.0])


def _ravine(p: Array) -> Array:
    x, y = p[..., 0], p[..., 1]
    value: Array = (1 - x) ** 2 + 100 * (y - x**2) ** 2
    return value


def _ravine_gradient(p: Array) -> Array:
    x, y = p[..., 0], p[..., 1]
    across = y - x**2
    return np.stack([-2 * (1 - x) - 400 * x * across, 200 * across], axis=-1)


LANDSCAPES = {
    landscape.name: landscape
    for landscape in (
        Landscape("bowl", _bowl, _bowl_gradient, (-4.0, 1.5), (0.0, 0.0), (-5.0, 2.0, -2.0, 2.0)),
        Landscape("ravine", _ravine, _ravine_gradient, (-1.2, 1.0), (1.0, 1.0), (-1.8, 1.6, -0.6, 2.2)),
    )
}
"""A quadratic bowl, twenty times steeper along y than along x, and Rosenbrock's function (1960), a bent ravine."""

_RATES = {
    "bowl": {
        "sgd": 0.09, "momentum": 0.02, "nesterov": 0.02, "lion": 0.03, "rprop": 0.1, "adagrad": 1.0, "adadelta": 20.0,
        "rmsprop": 0.05, "adam": 0.2, "adamw": 0.2, "nadam": 0.1, "radam": 0.04, "ars": 0.1, "twopoint": 0.04,
    },
    "ravine": {
        "sgd": 0.0015, "momentum": 0.0008, "nesterov": 0.0008, "lion": 0.01, "rprop": 0.01, "adagrad": 0.6,
        "adadelta": 30.0, "rmsprop": 0.02, "adam": 0.1, "adamw": 0.1, "nadam": 0.1, "radam": 0.0015,
        "ars": 0.03, "twopoint": 0.001,
    },
}  # fmt: skip
"""Rates that get an optimizer somewhere on each of them, by hand."""


def shown(landscape: str) -> dict[str, Optimizer]:
    """Every optimizer with a rate for this landscape, by name; momentum in two forms."""
    rates = _RATES[landscape]
    made: dict[str, Optimizer] = {name: cls(lr=rates[name]) for name, cls in OPTIMIZERS.items() if name in rates}
    made["momentum"] = SGD(rates["momentum"], momentum=0.9)
    made["nesterov"] = SGD(rates["nesterov"], momentum=0.9, nesterov=True)
    made["ars"] = ARS(rates["ars"], directions=4, noise=0.02)
    made["twopoint"] = TwoPoint(rates["twopoint"], directions=2)
    made["lbfgs"] = LBFGS()  # type: ignore[call-arg]
    return {name: made[name] for name in (*rates, "lbfgs")}


def path(optimizer: Optimizer, landscape: Landscape, steps: int) -> Array:
    """The points (steps + 1, 2) that an optimizer comes to, the start first."""
    points = np.empty((steps + 1, 2))
    points[0] = landscape.start
    if isinstance(optimizer, LBFGS):
        return _iterated(optimizer, landscape, points)
    if isinstance(optimizer, (ARS, TwoPoint)):
        return _searched(optimizer, landscape, points)
    param = points[0].copy()
    moments = {name: np.full(2, optimizer.starts.get(name, 0.0)) for name in optimizer.moments}
    scalars = optimizer.scalars(np.arange(1.0, steps + 1), optimizer.lr)
    scalars.pop("ema_decay", None)
    with np.errstate(over="ignore", invalid="ignore"):  # a rate that is too high leads away
        for step in range(steps):
            now = {name: np.broadcast_to(value, steps)[step].item() for name, value in scalars.items()}
            optimizer.entry.reference(param=param, grad=landscape.gradient(param), **moments, **now)
            points[step + 1] = param
    return points


def _searched(optimizer: ARS | TwoPoint, landscape: Landscape, points: Array) -> Array:
    """The points behind the first one, by an optimizer that takes no gradient; seed 0."""
    stream = randomness.Stream(randomness.key(0, randomness.SEARCH))
    for step in range(len(points) - 1):
        points[step + 1] = optimizer.move(
            lambda p: float(landscape.value(p)), points[step], optimizer.lr, stream.at(step), lambda drawn: drawn
        )
    return points


class _Function:
    """A landscape as L-BFGS asks for it."""

    def __init__(self, landscape: Landscape) -> None:
        self._landscape = landscape

    def value_and_grad(self, theta: Array) -> tuple[float, Array]:
        """The height at a point, and its gradient."""
        return float(self._landscape.value(theta)), self._landscape.gradient(theta)


def _iterated(optimizer: LBFGS, landscape: Landscape, points: Array) -> Array:
    function = _Function(landscape)  # which the iterations know by a weak reference
    iterations = Iterations(function, points[0], optimizer)
    for step in range(1, len(points)):
        iterations.next()
        points[step] = iterations.theta
    iterations.stop()
    return points
