"""Weights of rows: those of classes and those of samples, checked and multiplied."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from .. import checks
from .base import Array, Loss


def sample_weights(weights: Any, rows: int, dtype: Any, name: str = "sample_weight", native: bool = True) -> Array:
    """Weights as a contiguous (rows,) array of `dtype`: finite, 0 or more. Only their ratios count, see `_scaled`.

    native   the loss's: False gives them as they are, as float64
    """
    given = checks.numeric(weights, name)
    if given.shape not in ((rows,), (rows, 1)):
        raise ValueError(f"{name}: has shape {given.shape}, expected ({rows},), a number for each row")
    array = given.reshape(rows).astype(np.float64)
    wrong = ~(np.isfinite(array) & (array >= 0))
    if wrong.any():
        row = int(np.argmax(wrong))
        raise ValueError(f"{name}: row {row} is {given.reshape(rows)[row]}, expected finite numbers, 0 or more")
    return _scaled(array, dtype) if native else array


def _scaled(weights: Array, dtype: Any) -> Array:
    """The same times a power of two that brings the largest to 1 or a little more, so that neither they nor 1 / (their
    sum) leave the range of float32. Such a factor changes no bit of a weighted mean."""
    exponent = np.frexp(weights.max(initial=0.0))[1] - 1
    return np.require(np.ldexp(weights, -exponent), dtype, ("C", "A"))


def class_weights(weights: Any, loss: Loss, targets: Array, outputs: int) -> Array:
    """A weight for each class, (classes,) float64.

    weights   "balanced": rows / (classes that are there * rows of the class), scikit-learn's, counted over `targets`;
              {class: weight}, in which classes that are not named weigh 1; or an array (classes,)
    """
    labels, count = loss.classes(targets, outputs)
    if isinstance(weights, str):
        if weights != "balanced":
            raise ValueError(f"class_weight={weights!r}: expected 'balanced', a dict or an array of {count} numbers")
        rows = np.bincount(labels, minlength=count)
        return np.asarray(len(labels) / (np.count_nonzero(rows) * np.maximum(rows, 1)))
    if not isinstance(weights, Mapping):
        return sample_weights(weights, count, np.float64, "class_weight", loss.native)
    found = np.ones(count)
    for key, weight in weights.items():
        number = checks.integer("class_weight", "key", key)
        if not 0 <= number < count:
            raise ValueError(f"class_weight: has a weight for class {number}, expected classes from 0 to {count - 1}")
        found[number] = checks.number("class_weight", str(number), weight, minimum=0.0)
    return found


def weights_of_rows(
    by_class: Array | None, by_row: Array | None, loss: Loss, targets: Array, outputs: int, dtype: Any
) -> Array | None:
    """The product of both weights of each row, (rows,) as `sample_weights` gives them; None where there are none."""
    if by_class is None:
        return by_row
    of_class = by_class[loss.classes(targets, outputs)[0]]
    product = of_class if by_row is None else of_class * by_row
    return _scaled(product, dtype) if loss.native else product
