"""Which learning rates a training can take: the loss while the rate grows from step to step."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fastnn import checks, randomness, scoring
from fastnn.bound import NonFiniteLoss
from fastnn.losses import get_loss
from fastnn.optimizers import get_optimizer
from fastnn.optimizers.search import LBFGS
from fastnn.trainer import Trainer

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from numpy.typing import ArrayLike

    from fastnn.model import Sequential

SMOOTHING = 0.95
"""Weight of what came before in the moving average of the losses."""
DIVERGED = 4.0
"""Times the lowest smoothed loss at which a test ends, as in fastai."""
_PIECE = 16  # steps between two looks at the loss


@dataclass(frozen=True)
class RangeTest:
    """What `lr_range_test` found.

    rates, losses   (steps,) float64: the rate of each step and its loss, up to where the loss had grown too large
    smoothed        (steps,) float64: a moving average of the losses, each weighing 0.95 times the one after it
    """

    rates: np.ndarray
    losses: np.ndarray
    smoothed: np.ndarray

    @property
    def steepest(self) -> float:
        """The rate at which the smoothed loss falls fastest with the logarithm of the rate: a usual choice.

        Slopes are taken over a tenth of the steps, so that the noise of single batches does not decide.
        """
        reach = max(1, len(self.rates) // 20)
        if len(self.rates) < 2 * reach + 1:
            return float(self.rates[0])
        falls = self.smoothed[2 * reach :] - self.smoothed[: -2 * reach]  # equal steps of the logarithm
        return float(self.rates[reach + np.argmin(falls)])

    @property
    def lowest(self) -> float:
        """The rate at which the smoothed loss is lowest; a tenth of it is another usual choice."""
        return float(self.rates[np.argmin(self.smoothed)])

    def plot(self, path: str | Path | None = None, theme: str = "light") -> Figure:
        """Draw the loss against the rate, and write the picture (.png, .svg, .pdf) if a path is given."""
        from fastnn import plots

        columns = (self.rates.tolist(), self.losses.tolist(), self.smoothed.tolist())
        return plots.range_test(*columns, self.steepest, path, theme)


def lr_range_test(
    model: Sequential, X: ArrayLike, y: ArrayLike, *, loss: Any, optimizer: Any = "adam", low: float = 1e-6,
    high: float = 1.0, steps: int = 200, batch_size: int = 32, backend: str = "auto", allow_nonfinite: bool = False,
) -> RangeTest:  # fmt: skip
    """Train a copy of a model while the rate grows from `low` to `high`, the same factor in each step.

    Smith 2017, "Cyclical learning rates", section 3.3, with the geometric growth that fastai and Lightning use.

    model       is left as it is
    X, y, loss, optimizer, backend   as in `fit`; the optimizer's own rate does not matter, but
                that of Rprop, which is the length of its first steps
    low, high   above 0, low < high;  steps   at least 3;  batch_size   rows of a step, drawn by the model's seed
    The test ends early where the smoothed loss is four times its lowest, or no longer finite.
    """
    low = checks.number("lr_range_test", "low", low, above=0.0)
    high = checks.number("lr_range_test", "high", high, above=low)
    steps = checks.integer("lr_range_test", "steps", steps, minimum=3)
    batch_size = checks.integer("lr_range_test", "batch_size", batch_size, minimum=1)
    allow_nonfinite = checks.flag("lr_range_test", "allow_nonfinite", allow_nonfinite)
    loss = get_loss(loss)
    X = model.parameters.checked_inputs(X, allow_nonfinite=allow_nonfinite)
    targets = scoring.check_targets(model, loss, y, X, ("X", "y"), allow_nonfinite)
    batch_size = min(batch_size, len(X))
    optimizer = get_optimizer(optimizer)
    if isinstance(optimizer, LBFGS):
        raise ValueError(f"lr_range_test(optimizer={optimizer}): it chooses its own steps")
    trainer = Trainer(model.copy(), loss, optimizer, batch_size, backend=backend)
    bound = trainer.bind(X, targets, allow_nonfinite=True)  # it was looked for above
    order = _order(len(X), steps * batch_size, model.seed).reshape(steps, batch_size)
    rates = low * (high / low) ** (np.arange(steps) / (steps - 1))
    found = RangeTest(np.empty(0), np.empty(0), np.empty(0))
    for first in range(0, steps, _PIECE):
        own = slice(first, first + _PIECE)
        try:
            losses = bound.run(order[own], rates[own])
        except NonFiniteLoss as error:
            return _with(found, rates, error.losses[: error.step])
        found = _with(found, rates, losses)
        beyond = found.smoothed > DIVERGED * np.minimum.accumulate(found.smoothed)
        if beyond.any():
            end = int(np.argmax(beyond)) + 1
            return RangeTest(found.rates[:end], found.losses[:end], found.smoothed[:end])
    return found


def _order(rows: int, count: int, seed: int) -> np.ndarray:
    """So many row numbers: permutations of all rows, one after the other."""
    stream = randomness.Stream(randomness.key(seed, randomness.SHUFFLE))
    epochs = [stream.at(epoch).permutation(rows) for epoch in range(-(-count // rows))]
    return np.concatenate(epochs)[:count].astype(np.int64)


def _with(found: RangeTest, rates: np.ndarray, losses: np.ndarray) -> RangeTest:
    """The test so far with some more steps."""
    together = np.concatenate([found.losses, losses])
    average, smoothed = 0.0, np.empty(len(together))
    for index, value in enumerate(together):
        average = SMOOTHING * average + (1.0 - SMOOTHING) * value
        smoothed[index] = average / (1.0 - SMOOTHING ** (index + 1))
    return RangeTest(rates[: len(together)], together, smoothed)
