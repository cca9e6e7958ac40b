"""A loss of one's own: a Python function of outputs and targets that returns value and gradient."""

import inspect
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from .. import checks
from ..described import description
from .base import Array, Loss

Function = Callable[..., tuple[Any, Any]]
_CHECKED = 6  # entries of the gradient that are compared with differences
_STEP = 1e-3  # of an output, relative to 1 + |z|


class Judged(NamedTuple):
    """What a loss of one's own made of a batch: its value, and its gradient with respect to the outputs."""

    value: float
    gradient: Array


@description
class CustomLoss(Loss):
    """A loss that a Python function computes: `function(outputs, targets) -> (value, gradient)`, or `function(outputs,
    targets, sample_weight)`.

    function   takes the outputs (rows, outputs) of a batch, of the model's dtype, and its rows of y, which may be any
               array with a row for each row of X; returns the value, a number, usually a mean over rows, and its
               gradient (rows, outputs) with respect to the outputs. Errors that it raises come out as they are
    check      compare some entries of the first gradient with differences of the value; False where the function draws
               random numbers

    A function with an argument `sample_weight` is given by that name the weights of the batch's rows, those of classes
    times those of samples, (rows,) float64 and as they were given to `fit`. Where there are none it is given the
    argument's default, or None if it has none. Losses of fastnn divide by the sum of the weights, and the loss of an
    epoch counts batches by it; the weights of a batch may all be 0, where losses of fastnn are 0. For `class_weight`
    the targets are whole numbers (rows,), from 0 to outputs - 1, or 0 and 1 beside one output.

    `fit(loss=function)` is short for `fit(loss=CustomLoss(function))`. Each step leaves native code for Python, some
    0.2 ms; a full batch goes through the network in one piece. Where a model is saved its loss is left out, and `load`
    gives a model whose loss is None.
    """

    function: Function
    check: bool = True

    name = "custom"
    task = "regress"
    default_metrics = ()
    native = False
    in_commands = False

    def __post_init__(self) -> None:
        if not callable(self.function):
            raise TypeError(
                f"CustomLoss(function={self.function!r}): function must take (outputs, targets) and return value and "
                "gradient"
            )
        object.__setattr__(self, "check", checks.flag("CustomLoss", "check", self.check))

    def check_targets(self, y: Any, outputs: int, dtype: Any, name: str = "y", allow_nonfinite: bool = False) -> Array:
        """y as an array, as it is, but (rows,) as (rows, 1) beside one output, as all losses take it; refused where it
        has no rows, or numbers that are not finite."""
        if y is None or hasattr(y, "toarray"):
            raise TypeError(f"{name}: is {'None' if y is None else 'a sparse matrix'}, expected an array of rows")
        targets = np.asarray(y)
        if targets.ndim == 0 or not len(targets):
            raise ValueError(f"{name}: has shape {targets.shape}, expected a row for each row of X")
        if not allow_nonfinite and targets.dtype.kind == "f" and not np.isfinite(targets).all():
            place = tuple(int(index) for index in np.argwhere(~np.isfinite(targets))[0])
            raise ValueError(f"{name}: entry {place} is {targets[place]}, expected finite numbers")
        return targets[:, None] if outputs == 1 and targets.ndim == 1 else targets

    def value(self, outputs: Any, y: Any, weights: Array | None = None) -> float:
        """What the function says of outputs (rows, outputs); its gradient is not looked at."""
        self.check_weights(weights)
        return self._called(np.array(outputs), y, weights)[0]

    def check_weights(self, weights: Any) -> None:
        """A ValueError where there are weights and the function has no argument for them."""
        if weights is not None and self._argument is None:
            raise ValueError(
                f"sample_weight, class_weight: the {self._title} takes no weights; give its function an argument "
                "sample_weight: (outputs, targets, sample_weight)"
            )

    def classes(self, targets: Array, outputs: int) -> tuple[Array, int]:
        """Targets that are the numbers of classes."""
        count = max(outputs, 2)
        labels = targets[:, 0] if targets.ndim == 2 and targets.shape[1] == 1 else targets
        if labels.ndim != 1 or labels.dtype.kind not in "iub":
            raise ValueError(
                f"class_weight: y has shape {targets.shape} and dtype {targets.dtype}, expected whole numbers (rows,)"
            )
        wrong = (labels < 0) | (labels >= count)
        if wrong.any():
            row = int(np.argmax(wrong))
            raise ValueError(f"class_weight: y has class {labels[row]} in row {row}, expected 0 to {count - 1}")
        return labels.astype(np.int64), count

    def judge(self, outputs: Array, targets: Array, weights: Array | None = None, first: bool = False) -> Judged:
        """Value and gradient of a batch, checked; at the first use the gradient also against differences."""
        value, gradient = self._called(outputs.copy(), targets, weights)
        made = checks.numeric(gradient, f"{self._title}: the gradient")
        if made.shape != outputs.shape:
            given = f"{outputs.shape} as the outputs; the targets have {np.shape(targets)}"
            raise ValueError(f"{self._title}: the gradient has shape {made.shape}, expected {given}")
        if first and np.isfinite(value):
            if not np.isfinite(made).all():
                row, column = np.argwhere(~np.isfinite(made))[0]
                raise ValueError(f"{self._title}: the gradient at row {row}, output {column} is {made[row, column]}")
            if self.check:
                self._compare(outputs, targets, weights, value, made)
        return Judged(value, made)

    @property
    def _title(self) -> str:
        return f"loss {getattr(self.function, '__name__', type(self.function).__name__)!r}"

    @property
    def _argument(self) -> inspect.Parameter | None:
        """The one for weights, None where the function has none that can be given by its name."""
        try:
            found = inspect.signature(self.function).parameters.get("sample_weight")
        except ValueError:  # some functions written in C do not say
            return None
        named = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
        return found if found is not None and found.kind in named else None

    def _called(self, outputs: Array, targets: Any, weights: Array | None) -> tuple[float, Any]:
        argument = self._argument
        given: dict[str, Array | None] = {}
        if argument is not None and (weights is not None or argument.default is inspect.Parameter.empty):
            given["sample_weight"] = None if weights is None else weights.copy()
        result = self.function(outputs, targets, **given)
        if not isinstance(result, (tuple, list)) or len(result) != 2:
            raise TypeError(f"{self._title}: returned {type(result).__name__}, expected a pair (value, gradient)")
        number = np.asarray(result[0])
        if number.size != 1 or number.dtype.kind not in "fiu":
            what = f"an array of shape {number.shape}" if number.ndim else repr(result[0])
            raise TypeError(f"{self._title}: the value is {what}, expected one number")
        return float(number.reshape(())), result[1]

    def _compare(
        self, outputs: Array, targets: Array, weights: Array | None, value: float, gradient: Array
    ) -> None:  # fmt: skip
        """The derivative lies between the differences to either side, where there is a kink too; all of that within
        what the function's own rounding may do."""
        wide = outputs.astype(np.float64)
        largest = float(np.abs(gradient).max(initial=0.0))
        for place in np.unique(np.linspace(0, outputs.size - 1, _CHECKED).astype(int)):
            index = tuple(int(i) for i in np.unravel_index(place, outputs.shape))
            step = _STEP * (1 + abs(wide[index]))
            sides = []
            for sign in (-1, 1):
                moved = wide.copy()
                moved[index] += sign * step
                sides.append(sign * (self._called(moved, targets, weights)[0] - value) / step)
            given, low, high = float(gradient[index]), min(sides), max(sides)
            slack = 1e-2 * max(abs(low), abs(high), largest) + 1e-6 * abs(value) / step
            if not low - slack <= given <= high + slack:
                raise ValueError(
                    f"{self._title}: the gradient at row {index[0]}, output {index[1]} is {given:.6g}, but the value "
                    f"changes by {(low + high) / 2:.6g} per unit there; CustomLoss(function, check=False) does not look"
                )
