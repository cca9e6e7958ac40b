"""Whether the candidates of bench/steps.py compute the same: their losses step by step, and how far they drift."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import numpy as np

from bench.networks import Network, Problem

CHECKED_STEPS = 20
# Largest relative difference of a loss from NumPy's over those steps. In float32 Adam turns the sign of a gradient near
# zero into a whole step; scikit-learn adds eps elsewhere. The float64 bound is the one that finds mistakes.
TOLERANCE = {"float64": 1e-11, "float32": 2e-3}
SKLEARN_TOLERANCE = {"float64": 2e-3, "float32": 3e-2}
BF16_TOLERANCE = 1e-2
DROPOUT_TOLERANCE = 0.15  # masks are drawn differently by everyone

LONG_STEPS = 300
LAST = 20  # of them count
LONG_FLOPS = 10**11  # of all long steps of a candidate: about two seconds of NumPy

LEGEND = (
    f"loss after {LONG_STEPS}: mean relative difference of the last {LAST} losses from those of NumPy in float64, "
    "dropout off"
)


class Candidate(Protocol):
    """A network that trains; `chunk` steps at a time, if it must."""

    chunk: int

    def run(self, order: np.ndarray) -> np.ndarray: ...


Maker = Callable[[Problem], Candidate]


def losses_of(candidate: Candidate, order: np.ndarray, steps: int = CHECKED_STEPS) -> np.ndarray:
    """The first losses of a candidate; one that may only run whole chunks runs them, or has a check of its own."""
    if hasattr(candidate, "check"):
        return np.asarray(candidate.check(order[:steps]))
    return candidate.run(order[: -(-steps // candidate.chunk) * candidate.chunk])[:steps]


def disagreements(data: Problem, made: dict[str, Maker]) -> dict[str, float]:
    """Largest relative difference from NumPy's losses, by candidate, for those that exceed their tolerance."""
    wrong = {}
    for dtype in dict.fromkeys(("float64", data.network.dtype)):
        plain = data.in_dtype(dtype).without_dropout()
        order = plain.order(1024)
        expected = losses_of(made["NumPy"](plain), order)
        for name, make in made.items():
            lower = name.endswith("bf16")
            if lower and dtype == "float64":
                continue  # there is no such thing
            difference = float(np.abs(losses_of(make(plain), order) / expected - 1).max())
            bound = BF16_TOLERANCE if lower else (SKLEARN_TOLERANCE if name == "sklearn" else TOLERANCE)[dtype]
            if not difference <= bound:  # also true for NaN
                wrong[f"{name} {dtype}"] = difference
    if data.network.dropout and not wrong:
        order = data.order(1024)
        expected = losses_of(made["NumPy"](data), order).mean()
        for name, make in made.items():
            difference = float(abs(losses_of(make(data), order).mean() / expected - 1))
            if not difference <= DROPOUT_TOLERANCE:
                wrong[f"{name} with dropout"] = difference
    return wrong


def long_run_is_cheap(network: Network) -> bool:
    """Whether LONG_STEPS steps take about two seconds of NumPy at most."""
    return LONG_STEPS * network.flops <= LONG_FLOPS


def loss_differences(data: Problem, made: dict[str, Maker]) -> dict[str, dict[str, float | None]]:
    """How far each candidate, in the dtype of the row, has drifted from the NumPy baseline in float64, dropout off.

    By candidate: "20" is the relative difference of the loss of step 20; "300" the mean of those of steps 281 to 300,
    or None where so many steps would cost too much.
    """
    plain = data.without_dropout()
    steps = LONG_STEPS if long_run_is_cheap(plain.network) else CHECKED_STEPS
    order = plain.order(1024)
    expected = losses_of(made["NumPy"](plain.in_dtype("float64")), order, steps)
    found: dict[str, dict[str, float | None]] = {}
    for name, make in made.items():
        off = np.abs(losses_of(make(plain), order, steps) / expected - 1)
        late = float(off[-LAST:].mean()) if steps == LONG_STEPS else None
        found[name] = {str(CHECKED_STEPS): float(off[CHECKED_STEPS - 1]), str(LONG_STEPS): late}
    return found
