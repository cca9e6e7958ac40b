"""Make the known answers of preprocessing: what scikit-learn 1.9 computes in float64, in small arrays.

    python tests/known_answers/make_data.py

needs scikit-learn 1.9, and torch for what it shares with make.py, and writes preprocessing.npz beside this script.
Inputs are stored with the answers. Nothing here imports fastnn.
"""

from __future__ import annotations

import sys
import warnings

import numpy as np
import sklearn
from make import HERE, Numbers
from sklearn import decomposition, preprocessing


def save(name: str, arrays: dict[str, np.ndarray]) -> None:
    path = HERE / f"{name}.npz"
    made_by = np.array(f"scikit-learn {sklearn.__version__}, numpy {np.__version__}")
    np.savez_compressed(path, allow_pickle=False, made_by=made_by, **arrays)
    print(f"{path.name}: {len(arrays)} arrays, {path.stat().st_size / 1024:.0f} KiB")


def scalers() -> None:
    """Fitted numbers and transformed rows; columns of all sizes, one of them constant, one equal but for a few."""
    numbers = Numbers(21)
    size = np.array([1.0, 1e-3, 300.0, 4.0, 1.0, 1.0])
    X = size * numbers.uniform(-1, 1, 61, 6) + np.array([0.0, 5.0, -2e4, 0.0, 0.0, 0.0])
    X[:, 3] = 0.1
    X[:, 4] = np.where(np.arange(61) % 7 == 0, X[:, 4], 2.0)
    new = size * numbers.uniform(-2, 2, 5, 6)
    judges = {
        "standard": preprocessing.StandardScaler(),
        "minmax": preprocessing.MinMaxScaler(),
        "minmax_wide": preprocessing.MinMaxScaler((-1.0, 2.5)),
        "robust": preprocessing.RobustScaler(),
        "robust_wide": preprocessing.RobustScaler(quantile_range=(10.0, 85.0), unit_variance=True),
    }
    arrays = {"X": X, "new": new}
    for name, judge in judges.items():
        judge.fit(X)
        arrays[f"{name}.X"], arrays[f"{name}.new"] = judge.transform(X), judge.transform(new)
    # The same rows, correlated: tall, and with more columns than rows.
    mixed = X[:, [0, 1, 5]] @ numbers.uniform(-1, 1, 3, 3) + np.array([1.0, 0.0, 100.0])
    for name, rows in {"tall": mixed, "wide": numbers.uniform(-1, 1, 6, 11)}.items():
        judge = decomposition.PCA(whiten=True, svd_solver="full").fit(rows)
        kept = judge.explained_variance_ > 1e-20
        arrays |= {f"{name}.rows": rows, f"{name}.white": judge.transform(rows)[:, kept]}
        arrays |= {f"{name}.variance": judge.explained_variance_[kept], f"{name}.components": judge.components_[kept]}
    save("preprocessing", arrays)


def main() -> int:
    if not sklearn.__version__.startswith("1.9."):
        print(f"make_data.py: found scikit-learn {sklearn.__version__}, the answers are those of 1.9", file=sys.stderr)
        return 1
    warnings.simplefilter("error")
    scalers()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
