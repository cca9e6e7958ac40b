"""From data as measured to the numbers a network trains on, and back again.

Everything here is fitted on training rows only, holds nothing but numbers and text, and goes through `to_json` and
`from_json`, so that a saved model carries its preprocessing as plain JSON. NumPy only: the encoder of tables with
categories and missing cells, which needs pandas, is in `encoding.py`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from fastnn import checks
from fastnn.data import DataError

Array = np.ndarray[Any, np.dtype[Any]]
Json = dict[str, Any]


def mean_and_scale(X: Array) -> tuple[Array, Array]:
    """Mean and deviation, float64 (columns,), of finite X (rows, columns); the deviation of constant columns is 1."""
    rows = len(X)
    mean = X.mean(axis=0, dtype=np.float64)
    with np.errstate(over="ignore"):  # an infinite variance is refused by those who ask
        variance = X.var(axis=0, dtype=np.float64)
        # Rounding leaves a constant column such a variance (Chan, Golub and LeVeque 1983; scikit-learn's bound).
        eps = float(np.finfo(np.float64).eps)  # of the sums, not of X
        constant = (variance <= rows * eps * variance + (rows * mean * eps) ** 2) & np.isfinite(variance)
    return mean, np.where(constant, 1.0, np.sqrt(variance))


class Standardizer:
    """Shifts and scales every column to mean 0 and standard deviation 1.

        standardizer = Standardizer().fit(X_train)
        X_train, X_new = standardizer.transform(X_train), standardizer.transform(X_new)

    mean, scale    (columns,) float64 after `fit`, None before: `(x - mean) / scale`

    The standard deviation is the population's (divided by the number of rows), as in scikit-learn's StandardScaler. A
    constant column gets scale 1, so it becomes zeros; constant means that its variance is within the rounding of its
    mean. Vectors are taken as one column and come back as vectors.
    """

    def __init__(self) -> None:
        self.mean: Array | None = None
        self.scale: Array | None = None

    def __repr__(self) -> str:
        return "Standardizer(not fitted)" if self.mean is None else f"Standardizer(columns={self.mean.size})"

    def fit(self, X: Any) -> "Standardizer":
        """Takes mean and scale from X (rows, columns) or (rows,): finite numbers, at least one row. Returns itself."""
        X, _ = self._checked(X)
        mean, scale = mean_and_scale(X)
        if not np.isfinite(scale).all():
            column = int(np.argmin(np.isfinite(scale)))
            raise ValueError(f"X: column {column} holds numbers too large to be standardised: their variance overflows")
        self.mean, self.scale = mean, scale
        return self

    def transform(self, X: Any) -> Array:
        """(X - mean) / scale as a new array; float32 stays float32, all else becomes float64."""
        X, shape, mean, scale = self._ready(X)
        result: Array = X - mean
        result /= scale
        return result.reshape(shape)

    def inverse(self, X: Any) -> Array:
        """X * scale + mean as a new array: undoes `transform`."""
        X, shape, mean, scale = self._ready(X)
        result: Array = X * scale
        result += mean
        return result.reshape(shape)

    def fit_transform(self, X: Any) -> Array:
        """`fit(X).transform(X)`."""
        return self.fit(X).transform(X)

    def to_json(self) -> Json:
        """The fitted numbers as lists; `from_json` gives back an equal standardizer, bit for bit."""
        mean, scale = self._fitted()
        return {"mean": mean.tolist(), "scale": scale.tolist()}

    @classmethod
    def from_json(cls, state: Mapping[str, Any]) -> "Standardizer":
        """A fitted standardizer from what `to_json` gave."""
        result = cls()
        result.mean = np.asarray(state["mean"], np.float64)
        result.scale = np.asarray(state["scale"], np.float64)
        if result.mean.ndim != 1 or result.mean.shape != result.scale.shape:
            shapes = f"mean {result.mean.shape} and scale {result.scale.shape}"
            raise ValueError(f"Standardizer: {shapes} must be equal vectors")
        return result

    def _fitted(self) -> tuple[Array, Array]:
        if self.mean is None or self.scale is None:
            raise ValueError("Standardizer: not fitted yet: call fit(X) first")
        return self.mean, self.scale

    def _ready(self, X: Any) -> tuple[Array, tuple[int, ...], Array, Array]:
        mean, scale = self._fitted()
        X, shape = self._checked(X, mean.size)
        return X, shape, mean.astype(X.dtype), scale.astype(X.dtype)

    @staticmethod
    def _checked(X: Any, columns: int | None = None) -> tuple[Array, tuple[int, ...]]:
        """X as finite (rows, columns) of float32 or float64, and the shape that the caller gave."""
        X = np.asarray(X)
        shape = X.shape
        if X.ndim == 1:
            X = X[:, None]
        dtype = np.dtype(np.float32 if X.dtype.kind == "f" and X.dtype.itemsize == 4 else np.float64)
        return checks.features(X, columns, dtype), shape


@dataclass(frozen=True, eq=False)
class ArrayEncoder:
    """Rows of plain numbers (an image, an .npz array) to rows a network takes: gaps filled, then shifted and scaled.

    names     the columns, () when they have none
    fill      (columns,) what a missing (NaN) number is replaced by: the column's median
    mean      (columns,)
    scale     (columns,)
    white     for images: what all pixels are divided by, the number that stands for full intensity (255 for bytes).
              Scaled one by one, a pixel that is nearly always 0 would be blown up to values no other pixel reaches.
    """

    names: tuple[str, ...]
    fill: Array
    mean: Array
    scale: Array
    white: int | None = None

    @classmethod
    def fit(cls, X: Array, names: tuple[str, ...] = (), white: int | None = None) -> "ArrayEncoder":
        """Medians, means and deviations of the training rows X (rows, columns); NaN is a missing number."""
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
        mean, scale = mean_and_scale(X)
        if not np.isfinite(scale).all():
            column = _label(names, int(np.argmin(np.isfinite(scale))))
            raise DataError(f"column {column} holds numbers too large to be standardised")
        return cls(names, fill, mean, scale)

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
        how = f"divided by {self.white}" if self.white else "standardised"
        return f"{self.columns} numbers, {how}"

    def to_json(self) -> Json:
        """Plain lists and text."""
        state: Json = {"kind": "array", "columns": self.columns, "names": list(self.names), "white": self.white}
        if not self.white:
            state |= {"fill": self.fill.tolist(), "mean": self.mean.tolist(), "scale": self.scale.tolist()}
        return state

    @classmethod
    def from_json(cls, state: Mapping[str, Any]) -> "ArrayEncoder":
        """The encoder that `to_json` described."""
        names, columns = tuple(state["names"]), int(state["columns"])
        if state["white"]:
            white = int(state["white"])
            return cls(names, np.zeros(columns), np.zeros(columns), np.full(columns, float(white)), white)
        fill, mean, scale = (np.asarray(state[key], np.float64) for key in ("fill", "mean", "scale"))
        return cls(names, fill, mean, scale)


def _label(names: tuple[str, ...], column: int) -> str:
    return repr(names[column]) if names else str(column)


def _refuse_infinite(X: Array, names: tuple[str, ...]) -> None:
    infinite = np.argwhere(np.isinf(X))
    if len(infinite):
        row, column = map(int, infinite[0])
        raise DataError(f"column {_label(names, column)} holds an infinite value (row {row}, counted from 0)")


@dataclass(frozen=True)
class ClassTarget:
    """Labels to class numbers and back: classes[i] is the text of class i."""

    name: str
    classes: tuple[str, ...]

    def encode(self, labels: Array) -> Array:
        """Text labels (rows,) -> int32 class numbers, -1 for a label that is none of the classes."""
        number = {text: index for index, text in enumerate(self.classes)}
        return np.fromiter((number.get(str(label), -1) for label in labels), np.int32, len(labels))

    def decode(self, numbers: Array) -> Array:
        """Class numbers (rows,) -> their texts."""
        return np.asarray(self.classes, dtype=object)[numbers]

    def to_json(self) -> Json:
        """Plain text."""
        return {"kind": "classify", "name": self.name, "classes": list(self.classes)}


@dataclass(frozen=True)
class NumberTarget:
    """A measured value, standardised for training and given back in its own unit."""

    name: str
    mean: float
    scale: float

    @classmethod
    def fit(cls, name: str, values: Array) -> "NumberTarget":
        """Mean and deviation of the training rows' values (rows,)."""
        mean, scale = mean_and_scale(np.asarray(values, np.float64)[:, None])
        if not np.isfinite(scale).all():
            raise DataError(f"target {name!r} holds numbers too large to be standardised, such as {np.max(values):g}")
        return cls(name, float(mean[0]), float(scale[0]))

    def encode(self, values: Array, dtype: Any = np.float32) -> Array:
        """Values (rows,) in their unit -> (rows,) standardised, of `dtype`."""
        return ((np.asarray(values, np.float64) - self.mean) / self.scale).astype(dtype)

    def decode(self, outputs: Array) -> Array:
        """Outputs of the network (rows,) -> float64 values in the target's unit."""
        return np.asarray(outputs, np.float64) * self.scale + self.mean

    def to_json(self) -> Json:
        """Plain numbers."""
        return {"kind": "regress", "name": self.name, "mean": self.mean, "scale": self.scale}


def target_from_json(state: Mapping[str, Any]) -> ClassTarget | NumberTarget:
    """The target that `to_json` described."""
    if state["kind"] == "classify":
        return ClassTarget(state["name"], tuple(state["classes"]))
    return NumberTarget(state["name"], float(state["mean"]), float(state["scale"]))
