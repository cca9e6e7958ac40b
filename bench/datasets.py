"""Real data for benchmarks and tests, read the same way for every library: fixed splits, inputs ready for a network.

The files are looked for in the folder that FASTNN_DATA names, else in ../shared/data beside the checkout; digits comes
with scikit-learn. Numbers are standardised with the statistics of the training rows, missing numbers become the median,
every category of a column, "?" among them, becomes a column of zeros and ones.
"""

from __future__ import annotations

import gzip
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bench.environment import ROOT


@dataclass(frozen=True)
class Data:
    """A data set split into training and validation rows.

    X, Xv    (rows, columns) float32
    y, yv    int32 classes, or float32 (rows, 1): standardised numbers
    unit     what one of those numbers is worth: an error is multiplied by it; 1 for classes
    hidden, epochs, batch    how it is trained in the tables
    """

    name: str
    X: np.ndarray
    y: np.ndarray
    Xv: np.ndarray
    yv: np.ndarray
    hidden: tuple[int, ...]
    epochs: int
    batch: int = 128
    unit: float = 1.0

    @property
    def classes(self) -> bool:
        return self.y.dtype == np.int32

    @property
    def widths(self) -> tuple[int, ...]:
        outputs = int(self.y.max()) + 1 if self.classes else self.y.shape[1]
        return (self.X.shape[1], *self.hidden, outputs)

    def score(self, outputs: np.ndarray) -> float:
        """Accuracy, or root of the mean squared error in the target's own unit, of outputs for Xv."""
        if self.classes:
            return float(np.mean(outputs.argmax(axis=1) == self.yv))
        return float(np.sqrt(np.mean((outputs.reshape(self.yv.shape).astype(np.float64) - self.yv) ** 2))) * self.unit

    def score_text(self, score: float) -> str:
        return f"{score:.4f}" if self.classes else f"RMSE ${score:,.0f}"


def folder() -> Path:
    """Where the data files are, whether or not it exists."""
    return Path(os.environ.get("FASTNN_DATA") or ROOT.parent / "shared" / "data")


def _idx(path: Path) -> np.ndarray:
    """An array of bytes in IDX format, gzipped."""
    content = gzip.decompress(path.read_bytes())
    axes = content[3]
    shape = np.frombuffer(content, ">i4", axes, 4)
    return np.frombuffer(content, np.uint8, offset=4 + 4 * axes).reshape(shape)


def mnist() -> Data:
    """The 10,000-image half of MNIST: first 8,000 rows train, last 2,000 validate, grey levels 0 to 1."""
    images = _idx(folder() / "mnist10k" / "t10k-images-idx3-ubyte.gz").reshape(-1, 784)
    labels = _idx(folder() / "mnist10k" / "t10k-labels-idx1-ubyte.gz").astype(np.int32)
    X = images.astype(np.float32) / 255
    return Data("MNIST-10k", X[:8000], labels[:8000], X[8000:], labels[8000:], (256, 128), 20)


def _encode(train: Any, valid: Any) -> tuple[np.ndarray, np.ndarray]:
    """Two frames of the same columns as float32 matrices; all statistics from the first."""
    import pandas as pd

    left, right = [], []
    for name in train.columns:
        if pd.api.types.is_numeric_dtype(train[name]):
            both = [frame[name].fillna(train[name].median()).to_numpy(np.float64) for frame in (train, valid)]
            mean, deviation = both[0].mean(), both[0].std()
            encoded = [(values[:, None] - mean) / deviation for values in both]
        else:
            known = sorted(train[name].unique())
            encoded = [frame[name].to_numpy()[:, None] == known for frame in (train, valid)]
        left.append(encoded[0])
        right.append(encoded[1])
    return np.concatenate(left, 1).astype(np.float32), np.concatenate(right, 1).astype(np.float32)


def adult() -> Data:
    """UCI Adult with its own split: 32,561 rows train, 16,281 validate; is the income above 50,000?"""
    import pandas as pd

    def read(name: str) -> Any:
        frame = pd.read_csv(folder() / "tabular" / f"adult-{name}.csv.gz", header=None, skipinitialspace=True)
        return frame[frame[14].notna()]

    train, valid = read("train"), read("test")
    y, yv = (frame[14].str.startswith(">50K").to_numpy(np.int32) for frame in (train, valid))
    X, Xv = _encode(train.drop(columns=14), valid.drop(columns=14))
    return Data("Adult", X, y, Xv, yv, (128, 64), 30)


def california() -> Data:
    """California housing: 80% of the rows, drawn with seed 0, train; the value of a house in dollars."""
    import pandas as pd

    frame = pd.read_csv(folder() / "tabular" / "california-housing.csv.gz")
    order = np.random.default_rng(0).permutation(len(frame))
    cut = len(frame) * 8 // 10
    train, valid = frame.iloc[order[:cut]], frame.iloc[order[cut:]]
    X, Xv = _encode(train.drop(columns="median_house_value"), valid.drop(columns="median_house_value"))
    prices = [part["median_house_value"].to_numpy(np.float64)[:, None] for part in (train, valid)]
    mean, unit = prices[0].mean(), float(prices[0].std())
    y, yv = (((values - mean) / unit).astype(np.float32) for values in prices)
    return Data("California housing", X, y, Xv, yv, (128, 64), 30, unit=unit)


def digits() -> Data:
    """scikit-learn's digits: 80% of the rows, drawn with seed 0, train; grey levels 0 to 1."""
    from sklearn.datasets import load_digits

    X, y = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(X))
    X, y, cut = X[order].astype(np.float32) / 16, y[order].astype(np.int32), len(X) * 8 // 10
    return Data("digits", X[:cut], y[:cut], X[cut:], y[cut:], (128, 64), 30)


DATASETS: dict[str, Callable[[], Data]] = {"mnist": mnist, "adult": adult, "california": california, "digits": digits}


def available() -> list[str]:
    """Names of the data sets whose files are here."""
    return [name for name in DATASETS if name == "digits" or folder().is_dir()]
