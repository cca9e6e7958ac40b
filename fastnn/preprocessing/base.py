"""What every transform of data has in common: fitted on rows, applied to rows, undone, stored.

A transform is made of settings (what the constructor takes) and, once fitted, of a few float64 arrays. Both together
are all there is to store: as JSON (`to_json`), or as JSON and tensors (`files.py`).
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, ClassVar, Self

import numpy as np

from fastnn import checks

Array = np.ndarray[Any, np.dtype[Any]]
Json = dict[str, Any]

# Numbers that are worked on at a time where a result is narrower than float64.
_PIECE = 1 << 18


class Transform:
    """Takes rows to rows by what `fit` found in the training rows.

        scaler = Standardizer().fit(X_train)
        X_train, X_new = scaler.transform(X_train), scaler.transform(X_new)

    All take X (rows, columns), or (rows,) as one column, of finite real numbers, and give a new array: float32 for
    float32, else float64. All arithmetic is float64, rounded once at the end. A vector comes back as a vector where
    the result has one column. Rows do not depend on each other. Errors: ValueError or TypeError that names X and what
    was expected, before anything is changed; ValueError where a transform is not fitted yet.

    columns, width    of what `transform` takes and gives; ValueError before `fit`
    """

    # What the constructor takes, and the float64 arrays after `fit`, attributes all of them.
    setting_names: ClassVar[tuple[str, ...]] = ()
    array_names: ClassVar[tuple[str, ...]] = ()

    def __init__(self) -> None:
        for name in self.array_names:
            setattr(self, name, None)

    def __repr__(self) -> str:
        given = [f"{name}={getattr(self, name)!r}" for name in self.setting_names]
        return f"{type(self).__name__}({', '.join([*given, self._state()])})"

    def _state(self) -> str:
        return f"columns={self.columns}" if self.fitted else "not fitted"

    @property
    def fitted(self) -> bool:
        """Whether `fit` was called, or the transform was read from a file."""
        return all(getattr(self, name) is not None for name in self.array_names)

    @property
    def columns(self) -> int:
        """How many columns `transform` takes."""
        return int(self.arrays()[self.array_names[0]].size)

    @property
    def width(self) -> int:
        """How many columns `transform` gives."""
        return self.columns

    def fit(self, X: Any) -> Self:
        """Takes what it needs from the rows of X, at least one. Returns itself, as it was where X is refused."""
        found = self._find(checked(X)[0])
        for name, array in found.items():
            setattr(self, name, array)
        return self

    def transform(self, X: Any) -> Array:
        """The rows of X, transformed, as a new array."""
        return self._mapped(X, self.columns, self._forward, self.width)

    def inverse(self, X: Any) -> Array:
        """Undoes `transform`: takes (rows, width), gives (rows, columns) as a new array."""
        return self._mapped(X, self.width, self._backward, self.columns)

    def fit_transform(self, X: Any) -> Array:
        """`fit(X).transform(X)`."""
        return self.fit(X).transform(X)

    def settings(self) -> Json:
        """What the constructor took."""
        return {name: getattr(self, name) for name in self.setting_names}

    def arrays(self) -> dict[str, Array]:
        """The fitted float64 arrays by name; ValueError before `fit`."""
        if not self.fitted:
            raise ValueError(f"{type(self).__name__}: not fitted yet: call fit(X) first")
        return {name: getattr(self, name) for name in self.array_names}

    def to_json(self) -> Json:
        """Type, settings and fitted numbers as lists; `from_json` gives back an equal transform, bit for bit."""
        numbers = {name: array.tolist() for name, array in self.arrays().items()}
        return {"type": type(self).__name__, **self.settings(), **numbers}

    @classmethod
    def from_json(cls, state: Mapping[str, Any]) -> Self:
        """A fitted transform from what `to_json` gave; ValueError where that was another type's, or is damaged."""
        if state.get("type", cls.__name__) != cls.__name__:
            raise ValueError(f"{cls.__name__}.from_json: the state is that of a {state['type']!r}")
        return cls.restored(state, state)

    @classmethod
    def restored(cls, settings: Mapping[str, Any], arrays: Mapping[str, Any]) -> Self:
        """A fitted transform of these settings and arrays; ValueError for missing ones and shapes that do not fit."""
        needed = [*(name for name in cls.setting_names if name not in settings)]
        needed += [name for name in cls.array_names if name not in arrays]
        if needed:
            raise ValueError(f"{cls.__name__}: {needed[0]!r} is missing")
        given = {name: settings[name] for name in cls.setting_names}
        result = cls(**{name: tuple(v) if isinstance(v, list) else v for name, v in given.items()})
        for name in cls.array_names:
            array = np.asarray(arrays[name], np.float64)
            if not np.isfinite(array).all():
                raise ValueError(f"{cls.__name__}: {name} holds NaN or infinity")
            setattr(result, name, array)
        result._check_shapes()
        return result

    def _check_shapes(self) -> None:
        arrays = self.arrays()
        if any(array.ndim != 1 for array in arrays.values()) or len({array.shape for array in arrays.values()}) > 1:
            shapes = " and ".join(f"{name} {array.shape}" for name, array in arrays.items())
            raise ValueError(f"{type(self).__name__}: {shapes} must be equal vectors")

    def _find(self, X: Array) -> dict[str, Array]:
        """The fitted arrays for checked rows X, float32 or float64."""
        raise NotImplementedError

    def _forward(self, X: Array) -> Array:
        """Checked rows of float64, which may be written over, transformed."""
        raise NotImplementedError

    def _backward(self, X: Array) -> Array:
        """Checked rows of float64, which may be written over, transformed back."""
        raise NotImplementedError

    def _mapped(self, X: Any, columns: int, function: Callable[[Array], Array], width: int) -> Array:
        X, shape = checked(X, columns)
        result = np.empty((len(X), width), X.dtype)
        with np.errstate(over="ignore"):  # what is beyond float32 becomes infinite, as everywhere in NumPy
            for rows in pieces(X):
                result[rows] = function(np.array(X[rows], np.float64))
        return result[:, 0] if len(shape) == 1 and width == 1 else result


def transform_class(name: str) -> type[Transform]:
    """The class of that name; ValueError, with the nearest known one, for another name."""
    known = checks.subclasses(Transform)
    if name not in known:
        raise checks.unknown_name("transform", name, known)
    found: type[Transform] = known[name]
    return found


def pieces(X: Array, least: int = 1) -> Iterator[slice]:
    """Slices of the rows of X, of so many rows that float64 copies of them stay small; `least` rows at least."""
    rows = max(least, _PIECE // max(1, X.shape[1]))
    for start in range(0, len(X), rows):
        yield slice(start, min(start + rows, len(X)))


def checked(X: Any, columns: int | None = None) -> tuple[Array, tuple[int, ...]]:
    """X as finite (rows, columns) of float32 or float64, and the shape that the caller gave."""
    X = checks.numeric(X, "X")
    shape = X.shape
    if X.ndim == 1:
        X = X[:, None]
    dtype = np.dtype(np.float32 if X.dtype.kind == "f" and X.dtype.itemsize == 4 else np.float64)
    return checks.features(X, columns, dtype), shape


def refuse_overflow(scale: Array, what: str) -> None:
    """ValueError where a column's scale (columns,) is not finite: `what`, such as "variance", overflows there."""
    if not np.isfinite(scale).all():
        column = int(np.argmin(np.isfinite(scale)))
        raise ValueError(f"X: column {column} holds numbers too large to be scaled: their {what} overflows")
