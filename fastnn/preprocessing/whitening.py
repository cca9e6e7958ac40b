"""Whitening: rows are turned and stretched until their covariance is the identity.

The directions and their deviations come from a singular value decomposition of the centred rows, not from the
eigenvalues of their covariance, which would lose half of the digits. Of many rows only the triangle R of a QR
decomposition is decomposed, which has the same singular values and the same directions, and R is built up from piece to
piece, so that no float64 copy of the rows is made.
"""

import math
from typing import Any, Literal

import numpy as np

from fastnn import checks

from .base import Array, Transform, pieces


class Whitener(Transform):
    """Decorrelates the columns and gives them variance 1: the covariance of the training rows becomes the identity.

    kind          "pca": `(x - mean) V / deviation`, columns from the widest direction down
                  "zca": `(x - mean) V / deviation V^T`, turned back to the columns of the data: of all white forms the
                  one nearest to them (Kessy, Lewin and Strimmer 2018), images stay images
    components    for "pca": how many columns to keep, or, as a share above 0 and below 1, as many as explain more than
                  that share of the variance; None: all directions that the training rows have
    epsilon       added to the variances: what divides is sqrt(deviation^2 + epsilon). It dampens directions of less
                  variance than that, mostly noise, which plain whitening blows up; common with images, 0.01 to 0.1 for
                  standardised pixels (Coates, Lee and Ng 2011). The variances are then deviation^2 / (deviation^2 +
                  epsilon)

    mean          (columns,) float64 after `fit`
    directions    (kept, columns): orthonormal rows V^T, the largest entry of each positive (as scikit-learn)
    deviation     (kept,), falling: the standard deviation of the training rows along each direction

    X - mean = U S V^T, deviation = S / sqrt(rows). This is the population's, as Standardizer's: one column is whitened
    as it is standardised. scikit-learn's PCA(whiten=True) divides by rows - 1 and so gives numbers smaller by
    sqrt((rows - 1) / rows).

    Some S are no more than what rounding left of directions that the training rows do not have (columns that are
    constant or combinations of others; all beyond rows - 1): S[0] max(rows, columns) eps, the rounding of the
    decomposition, or sum_j |V[j]| |X[:, j]| eps along a direction, that of the numbers themselves (eps of X's dtype).
    They are not amplified: "pca" leaves these directions out, so `width` may be less than `columns`; "zca" divides them
    by the largest deviation, so that it can be undone for all rows. `inverse` gives back the training rows up to
    rounding; with fewer components than directions it gives the nearest rows that the components reach. Columns of very
    different units are better standardised first, in a `Chain`.

    Rows transformed together may differ in the last bits from the same rows by themselves. ValueError from `fit` where
    all rows are equal (a single one, too), and where there are fewer directions than components.
    """

    setting_names = ("kind", "components", "epsilon")
    array_names = ("mean", "deviation", "directions")
    mean: Array | None
    deviation: Array | None
    directions: Array | None

    def __init__(
        self, kind: Literal["pca", "zca"] = "pca", components: int | float | None = None, epsilon: float = 0.0
    ) -> None:
        if kind not in ("pca", "zca"):
            raise checks.unknown_name("kind of whitening", kind, ("pca", "zca"))
        self.kind = kind
        self.components = _components(components)
        if kind == "zca" and components is not None:
            raise ValueError(f"Whitener(kind='zca', components={components!r}): only 'pca' can leave directions out")
        self.epsilon = checks.number("Whitener", "epsilon", epsilon, minimum=0.0)
        self._made: tuple[Array, Array, Array] | None = None
        super().__init__()

    @property
    def width(self) -> int:
        return len(self.arrays()["deviation"]) if self.kind == "pca" else self.columns

    def _check_shapes(self) -> None:
        mean, deviation, directions = self.arrays().values()
        shape = (deviation.size, mean.size)
        if mean.ndim != 1 or deviation.ndim != 1 or directions.shape != shape or not deviation.size:
            shapes = f"mean {mean.shape}, deviation {deviation.shape} and directions {directions.shape}"
            raise ValueError(f"Whitener: {shapes}: expected (columns,), (kept,) and (kept, columns), kept at least 1")
        if not (deviation > 0).all():
            raise ValueError("Whitener: deviation holds numbers that are not positive")

    def _find(self, X: Array) -> dict[str, Array]:
        largest = max(float(X.max()), -float(X.min()))
        if not math.isfinite(largest * largest * X.size):
            raise ValueError(
                f"X: holds numbers too large to be whitened, {largest:g} in size: their variance overflows"
            )
        mean = _mean(X)
        values, directions = _decomposed(X, mean)
        found = values > _rounding(X, mean, values, directions)
        found &= values >= math.sqrt(len(X)) * np.finfo(np.float64).tiny  # below, 1 / deviation would be infinite
        if not found.any():
            raise ValueError(f"X: the rows ({len(X)}) are all equal, up to rounding: there is nothing to whiten")
        deviation, directions = values[found] / math.sqrt(len(X)), directions[found]
        kept = self._kept(np.square(deviation / deviation[0]))
        return {"mean": mean, "deviation": deviation[:kept].copy(), "directions": _signed(directions[:kept])}

    def _kept(self, variance: Array) -> int:
        """How many of the directions that were found to keep."""
        if self.components is None:
            return len(variance)
        if isinstance(self.components, float):
            explained = np.cumsum(variance) / variance.sum()
            return min(len(variance), int(np.searchsorted(explained, self.components, side="right")) + 1)
        if self.components > len(variance):
            raise ValueError(
                f"Whitener(components={self.components}): the rows of X span {len(variance)} directions, "
                "expected at most as many components"
            )
        return self.components

    def _scale(self) -> Array:
        return np.hypot(self.arrays()["deviation"], math.sqrt(self.epsilon))

    def _forward(self, X: Array) -> Array:
        X -= self.mean
        return X @ self._matrices()[0]

    def _backward(self, X: Array) -> Array:
        result: Array = X @ self._matrices()[1]
        result += self.mean
        return result

    def _matrices(self) -> tuple[Array, Array]:
        """What centred rows are multiplied by, (columns, width), and back; kept from call to call."""
        directions = self.arrays()["directions"]
        if self._made is None or self._made[0] is not directions:
            scale = self._scale()
            there, back = directions.T / scale, scale[:, None] * directions
            if self.kind == "zca":
                # The rest, in none of the directions, takes the scale of the widest one.
                rest = np.eye(self.columns) - directions.T @ directions
                there, back = there @ directions + rest / scale[0], directions.T @ back + rest * scale[0]
            self._made = directions, there, back
        return self._made[1:]


def _components(components: Any) -> int | float | None:
    if components is None:
        return None
    if isinstance(components, (float, np.floating)):
        return checks.number("Whitener", "components", components, above=0.0, below=1.0)
    return checks.integer("Whitener", "components", components, minimum=1)


def _mean(X: Array) -> Array:
    """Means to the last bits, those of constant columns exact: what is left of them would look like directions."""
    mean = X.mean(axis=0, dtype=np.float64)
    mean += sum((X[piece] - mean).sum(axis=0) for piece in pieces(X)) / len(X)
    return np.where(X.min(axis=0) == X.max(axis=0), X[0], mean)


def _decomposed(X: Array, mean: Array) -> tuple[Array, Array]:
    """Singular values, falling, and right singular vectors as rows, of X - mean."""
    rows, columns = X.shape
    if rows <= 2 * columns:
        centred = X - mean
    else:
        centred = np.empty((0, columns))
        for piece in pieces(X, least=8 * columns):
            centred = np.asarray(np.linalg.qr(np.vstack((centred, X[piece] - mean)), mode="r"))
    _, values, directions = np.linalg.svd(centred, full_matrices=False)
    return values, directions


def _rounding(X: Array, mean: Array, values: Array, directions: Array) -> Array:
    """What rounding alone can make of each singular value: the decomposition's, or that of the numbers in X."""
    decomposition = np.finfo(np.float64).eps * max(X.shape) * values[0]
    lengths = np.sqrt(len(X) * np.square(mean) + np.square(values) @ np.square(directions))  # of the columns of X
    return np.maximum(decomposition, np.finfo(X.dtype).eps * (np.abs(directions) @ lengths))


def _signed(directions: Array) -> Array:
    """Rows with the sign that makes their largest entry positive: a decomposition leaves it open."""
    largest = np.take_along_axis(directions, np.abs(directions).argmax(axis=1)[:, None], axis=1)
    return directions * np.where(largest < 0, -1.0, 1.0)
