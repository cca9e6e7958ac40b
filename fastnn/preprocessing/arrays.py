"""Rows of plain numbers, with gaps, to rows that a network takes: what the command line does to arrays."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from fastnn.data import DataError

from .base import Array, Json
from .scaling import SCALINGS, shift_and_scale


@dataclass(frozen=True, eq=False)
class ArrayEncoder:
    """Rows of plain numbers (an image, an .npz array) to rows a network takes: gaps filled, then shifted and scaled.

    names     the columns, () when they have none
    fill      (columns,) what a missing (NaN) number is replaced by: the column's median
    mean      (columns,)
    scale     (columns,)
    scaling   how mean and scale were chosen, one of SCALINGS
    white     for images: what all pixels are divided by, the number that stands for full intensity (255 for bytes).
              Scaled one by one, a pixel that is nearly always 0 would be blown up to values no other pixel reaches.
    """

    names: tuple[str, ...]
    fill: Array
    mean: Array
    scale: Array
    white: int | None = None
    scaling: str = "standard"

    @classmethod
    def fit(
        cls, X: Array, names: tuple[str, ...] = (), white: int | None = None, scaling: str = "standard"
    ) -> "ArrayEncoder":
        """Medians, and what `scaling` shifts and divides by, of the training rows X (rows, columns); NaN is a missing
        number."""
        if scaling not in SCALINGS:
            raise ValueError(f"ArrayEncoder.fit(scaling={scaling!r}): expected one of {', '.join(SCALINGS)}")
        columns = X.shape[1]
        if white:
            return cls(names, np.zeros(columns), np.zeros(columns), np.full(columns, float(white)), white)
        X = X.astype(np.float64)
        missing = np.isnan(X)
        fill = np.zeros(columns)
        if missing.any():
            empty = np.flatnonzero(missing.all(axis=0))
            if empty.size:
                raise DataError(f"column {_label(names, int(empty[0]))} has no values in the training rows")
            fill = np.nanmedian(X, axis=0)
            X = np.where(missing, fill, X)
        _refuse_infinite(X, names)
        mean, scale = shift_and_scale(X, scaling)
        if not np.isfinite(scale).all():
            column = _label(names, int(np.argmin(np.isfinite(scale))))
            raise DataError(f"column {column} holds numbers too large to be {SCALINGS[scaling]}")
        return cls(names, fill, mean, scale, scaling=scaling)

    @property
    def columns(self) -> int:
        """Columns of the data it takes."""
        return len(self.mean)

    @property
    def width(self) -> int:
        """Columns of what it gives: the inputs of the network."""
        return len(self.mean)

    def transform(self, X: Array, dtype: Any = np.float32) -> Array:
        """X (rows, columns), NaN where a number is missing -> (rows, width) of `dtype`, C-contiguous, a new array."""
        if X.ndim != 2 or X.shape[1] != self.columns:
            raise DataError(f"the data have shape {X.shape}: expected (rows, {self.columns})")
        if self.white:
            # In one pass and in the narrow type: a set of images is the largest thing this ever sees.
            if X.dtype.kind == "f":
                X = np.nan_to_num(X)
            return np.asarray(np.divide(X, np.asarray(self.white, dtype), dtype=dtype))
        X = np.where(np.isnan(X), self.fill, X).astype(np.float64, copy=False)
        _refuse_infinite(X, self.names)
        return np.ascontiguousarray((X - self.mean) / self.scale, dtype)

    def describe(self) -> str:
        """One line for the report of a training."""
        how = f"divided by {self.white}" if self.white else SCALINGS[self.scaling]
        return f"{self.columns} numbers, {how}"

    def to_json(self) -> Json:
        """Plain lists and text."""
        state: Json = {"kind": "array", "columns": self.columns, "names": list(self.names), "white": self.white}
        if not self.white:
            state |= {"fill": self.fill.tolist(), "mean": self.mean.tolist(), "scale": self.scale.tolist()}
            state["scaling"] = self.scaling
        return state

    @classmethod
    def from_json(cls, state: Mapping[str, Any]) -> "ArrayEncoder":
        """The encoder that `to_json` described."""
        names, columns = tuple(state["names"]), int(state["columns"])
        if state["white"]:
            white = int(state["white"])
            return cls(names, np.zeros(columns), np.zeros(columns), np.full(columns, float(white)), white)
        fill, mean, scale = (np.asarray(state[key], np.float64) for key in ("fill", "mean", "scale"))
        scaling = state.get("scaling", "standard")  # files of before there was a choice
        if scaling not in SCALINGS:
            raise ValueError(f"scaling {scaling!r}: expected one of {', '.join(SCALINGS)}")
        return cls(names, fill, mean, scale, scaling=scaling)


def _label(names: tuple[str, ...], column: int) -> str:
    return repr(names[column]) if names else str(column)


def _refuse_infinite(X: Array, names: tuple[str, ...]) -> None:
    infinite = np.argwhere(np.isinf(X))
    if len(infinite):
        row, column = map(int, infinite[0])
        raise DataError(f"column {_label(names, column)} holds an infinite value (row {row}, counted from 0)")
