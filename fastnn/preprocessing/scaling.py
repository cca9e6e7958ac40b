"""Transforms that treat every column by itself: a number is subtracted, and what is left is divided by another."""

import math
from statistics import NormalDist

import numpy as np

from fastnn import checks

from .base import Array, Transform, refuse_overflow


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


def minimum_and_range(X: Array) -> tuple[Array, Array]:
    """Smallest number and distance to the largest, float64 (columns,); the distance of constant columns is 1."""
    minimum, maximum = X.min(axis=0).astype(np.float64), X.max(axis=0).astype(np.float64)
    with np.errstate(over="ignore"):
        return minimum, np.where(minimum == maximum, 1.0, maximum - minimum)


def median_and_range(X: Array, quantile_range: tuple[float, float] = (25.0, 75.0)) -> tuple[Array, Array]:
    """Median and distance between two percentiles, float64 (columns,); a distance of 0 becomes 1.

    Percentiles between two numbers are interpolated linearly, NumPy's default.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        low, median, high = np.percentile(X.astype(np.float64), (quantile_range[0], 50.0, quantile_range[1]), axis=0)
        return median, np.where(low == high, 1.0, high - low)


# What the command line offers, and the word for columns so treated.
SCALINGS = {
    "standard": "standardised",
    "minmax": "scaled from 0 to 1",
    "robust": "scaled by median and quartiles",
    "none": "as they are",
}


def shift_and_scale(X: Array, scaling: str) -> tuple[Array, Array]:
    """What to subtract and what to divide by, float64 (columns,), for one of SCALINGS; constant columns: scale 1.

    A scale is infinite or NaN where numbers are too large for it.
    """
    if scaling == "standard":
        return mean_and_scale(X)
    if scaling == "minmax":
        return minimum_and_range(X)
    if scaling == "robust":
        return median_and_range(X)
    return np.zeros(X.shape[1]), np.ones(X.shape[1])


class Centerer(Transform):
    """Subtracts every column's mean, and changes no scale.

    mean    (columns,) float64 after `fit`, None before: `x - mean`
    """

    array_names = ("mean",)
    mean: Array | None

    def _find(self, X: Array) -> dict[str, Array]:
        with np.errstate(over="ignore"):
            mean = X.mean(axis=0, dtype=np.float64)
        refuse_overflow(mean, "sum")
        return {"mean": mean}

    def _forward(self, X: Array) -> Array:
        X -= self.mean
        return X

    def _backward(self, X: Array) -> Array:
        X += self.mean
        return X


class Standardizer(Transform):
    """Shifts and scales every column to mean 0 and standard deviation 1.

        standardizer = Standardizer().fit(X_train)
        X_train, X_new = standardizer.transform(X_train), standardizer.transform(X_new)

    mean, scale    (columns,) float64 after `fit`, None before: `(x - mean) / scale`

    The standard deviation is the population's (divided by the number of rows), as in scikit-learn's StandardScaler. A
    constant column gets scale 1, so it becomes zeros; constant means that its variance is within the rounding of its
    mean. Vectors are taken as one column and come back as vectors.
    """

    array_names = ("mean", "scale")
    mean: Array | None
    scale: Array | None

    def _find(self, X: Array) -> dict[str, Array]:
        with np.errstate(over="ignore", invalid="ignore"):
            mean, scale = mean_and_scale(X)
        refuse_overflow(scale, "variance")
        return {"mean": mean, "scale": scale}

    def _forward(self, X: Array) -> Array:
        X -= self.mean
        X /= self.scale
        return X

    def _backward(self, X: Array) -> Array:
        X *= self.scale
        X += self.mean
        return X


class MinMaxScaler(Transform):
    """Stretches every column linearly, so that its training rows reach from one end of `feature_range` to the other.

    feature_range     (low, high), low < high
    minimum, scale    (columns,) float64 after `fit`: the smallest number, and the distance to the largest:
                      `low + (high - low) (x - minimum) / scale`

    A constant column gets scale 1 and becomes `low`. Later rows may leave the range (scikit-learn's MinMaxScaler can
    clip them). scikit-learn takes a column for constant where its distance is below 10 eps; here it must be 0.
    """

    setting_names = ("feature_range",)
    array_names = ("minimum", "scale")
    minimum: Array | None
    scale: Array | None

    def __init__(self, feature_range: tuple[float, float] = (0.0, 1.0)) -> None:
        low, high = checks.pair("MinMaxScaler", "feature_range", feature_range)
        if not (low < high and math.isfinite(high - low)):
            raise ValueError(f"MinMaxScaler(feature_range={feature_range!r}): the first must be below the second")
        self.feature_range = low, high
        super().__init__()

    def _find(self, X: Array) -> dict[str, Array]:
        minimum, scale = minimum_and_range(X)
        refuse_overflow(scale, "range")
        return {"minimum": minimum, "scale": scale}

    def _forward(self, X: Array) -> Array:
        low, high = self.feature_range
        X -= self.minimum
        X /= self.scale
        X *= high - low
        X += low
        return X

    def _backward(self, X: Array) -> Array:
        low, high = self.feature_range
        X -= low
        X /= high - low
        X *= self.scale
        X += self.minimum
        return X


class RobustScaler(Transform):
    """Subtracts every column's median and divides by the distance between two of its percentiles: outliers, however
    far out, hardly move either.

    quantile_range    the percentiles, from 0 to 100: the quartiles
    unit_variance     divide the distance by that of a normal distribution of deviation 1, so that normal columns come
                      out with deviation 1; both percentiles must then be inside 0 to 100
    median, scale     (columns,) float64 after `fit`: `(x - median) / scale`

    scikit-learn's RobustScaler. Where both percentiles are equal, as those of a column that is mostly 0, the
    distance counts as 1.
    """

    setting_names = ("quantile_range", "unit_variance")
    array_names = ("median", "scale")
    median: Array | None
    scale: Array | None

    def __init__(self, quantile_range: tuple[float, float] = (25.0, 75.0), unit_variance: bool = False) -> None:
        low, high = checks.pair("RobustScaler", "quantile_range", quantile_range, minimum=0.0, maximum=100.0)
        if low >= high:
            raise ValueError(f"RobustScaler(quantile_range={quantile_range!r}): the first must be below the second")
        self.unit_variance = checks.flag("RobustScaler", "unit_variance", unit_variance)
        if unit_variance and not 0.0 < low < high < 100.0:
            raise ValueError(
                f"RobustScaler(quantile_range={quantile_range!r}, unit_variance=True): a normal distribution has no "
                "finite percentiles 0 and 100"
            )
        self.quantile_range = low, high
        super().__init__()

    def _find(self, X: Array) -> dict[str, Array]:
        median, scale = median_and_range(X, self.quantile_range)
        refuse_overflow(median + scale, "range")
        if self.unit_variance:
            low, high = (NormalDist().inv_cdf(percent / 100.0) for percent in self.quantile_range)
            scale = scale / (high - low)
        return {"median": median, "scale": scale}

    def _forward(self, X: Array) -> Array:
        X -= self.median
        X /= self.scale
        return X

    def _backward(self, X: Array) -> Array:
        X *= self.scale
        X += self.median
        return X
