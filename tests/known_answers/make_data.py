"""Make the known answers of preprocessing and metrics: what scikit-learn 1.9 computes in float64, in small arrays.

    python tests/known_answers/make_data.py

needs scikit-learn 1.9, and torch for what it shares with make.py, and writes preprocessing.npz and metrics.npz beside
this script. Inputs are stored with the answers. The expected calibration error, which scikit-learn does not have, is
written out here as the paper has it. Nothing here imports fastnn.
"""

from __future__ import annotations

import itertools
import sys
import warnings

import numpy as np
import sklearn
from make import HERE, Numbers
from sklearn import decomposition, metrics, preprocessing

AVERAGES = ("macro", "micro", "weighted")


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


def averaged(
    arrays: dict[str, np.ndarray], case: str, true: np.ndarray, told: np.ndarray, averages: tuple[str, ...]
) -> None:
    """precision, recall and f1 by average and zero_division."""
    functions = {"precision": metrics.precision_score, "recall": metrics.recall_score, "f1": metrics.f1_score}
    for (name, function), average, zero in itertools.product(functions.items(), averages, (0.0, 1.0)):
        value = function(true, told, average=average, zero_division=zero)
        arrays[f"{case}.{name}.{average}.{zero:g}"] = np.array(value)


def expected_calibration_error(certain: np.ndarray, right: np.ndarray, bins: int) -> np.ndarray:
    """Guo et al. 2017, equations 2 and 3: bin m holds the probabilities in ((m - 1) / bins, m / bins]."""
    total = 0.0
    for m in range(1, bins + 1):
        inside = [i for i, p in enumerate(certain) if (m - 1) / bins < p <= m / bins]
        if inside:
            gap = sum(right[i] for i in inside) / len(inside) - sum(certain[i] for i in inside) / len(inside)
            total += len(inside) / len(certain) * abs(gap)
    return np.array(total)


def classes(arrays: dict[str, np.ndarray], numbers: Numbers, case: str, never: int | None) -> None:
    """Five classes, in the second case one of which is neither told nor true, and another never told."""
    z = numbers.uniform(-3, 3, 90, 5)
    y = numbers.integers(5, 90)
    if never is not None:
        z[:, never], z[:, 0] = -9.0, -8.0
        y = np.where(y == never, 1, y)
    p = np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)
    told, every = z.argmax(axis=1), np.arange(5)
    arrays |= {
        f"{case}.outputs": z,
        f"{case}.targets": y,
        f"{case}.accuracy": np.array(metrics.accuracy_score(y, told)),
    }
    for k in (2, 3):
        arrays[f"{case}.top_{k}"] = np.array(metrics.top_k_accuracy_score(y, z, k=k, labels=every))
    averaged(arrays, case, y, told, AVERAGES)
    for how in (None, "true", "pred", "all"):
        arrays[f"{case}.confusion.{how}"] = metrics.confusion_matrix(y, told, labels=every, normalize=how)
    arrays[f"{case}.log_loss"] = np.array(metrics.log_loss(y, p, labels=every))
    arrays[f"{case}.brier"] = np.array(metrics.brier_score_loss(y, p, labels=every))
    if never is None:
        for average in ("macro", "weighted"):
            value = metrics.roc_auc_score(y, p, multi_class="ovr", average=average)
            arrays[f"{case}.auc.{average}"] = np.array(value)
    for bins in (10, 15):
        arrays[f"{case}.ece.{bins}"] = expected_calibration_error(p.max(axis=1), told == y, bins)


def yes_or_no(arrays: dict[str, np.ndarray], numbers: Numbers, case: str, columns: int) -> None:
    """Logits on a coarse grid, so that many are equal and some are 0."""
    z = np.round(numbers.uniform(-3, 3, 70, columns) * 2) / 2
    y = (z + numbers.uniform(-3, 3, 70, columns) > 0.5).astype(np.int64)
    if columns > 1:
        z[:, -1] = -1.0  # never told
    p = 1.0 / (1.0 + np.exp(-z))
    true, told = (a[:, 0] if columns == 1 else a for a in (y, (z > 0).astype(np.int64)))
    arrays |= {f"{case}.outputs": z, f"{case}.targets": y}
    averaged(arrays, case, true, told, AVERAGES if columns > 1 else ("binary", *AVERAGES))
    for average in ("macro", "weighted"):
        arrays[f"{case}.auc.{average}"] = np.array(
            metrics.roc_auc_score(true, z[:, 0] if columns == 1 else z, average=average)
        )
    if columns > 1:
        return
    arrays[f"{case}.accuracy"] = np.array(metrics.accuracy_score(true, told))
    for how in (None, "true", "pred", "all"):
        arrays[f"{case}.confusion.{how}"] = metrics.confusion_matrix(true, told, normalize=how)
    arrays[f"{case}.log_loss"] = np.array(metrics.log_loss(true, p[:, 0]))
    arrays[f"{case}.brier"] = np.array(metrics.brier_score_loss(true, p[:, 0]))
    from sklearn.calibration import calibration_curve

    share, mean = calibration_curve(true, p[:, 0], n_bins=10, strategy="uniform")
    arrays |= {f"{case}.curve.accuracy": share, f"{case}.curve.confidence": mean}
    for bins in (10, 15):
        arrays[f"{case}.ece.{bins}"] = expected_calibration_error(p[:, 0], true, bins)


def scores() -> None:
    numbers = Numbers(22)
    arrays: dict[str, np.ndarray] = {}
    classes(arrays, numbers, "classes", never=None)
    classes(arrays, numbers, "absent", never=4)
    yes_or_no(arrays, numbers, "binary", 1)
    yes_or_no(arrays, numbers, "several", 3)
    z = numbers.uniform(-3, 3, 50, 2)
    y = z * 0.5 + numbers.uniform(-1, 1, 50, 2)
    arrays |= {"numbers.outputs": z, "numbers.targets": y}
    arrays["numbers.mae"] = np.array(metrics.mean_absolute_error(y, z))
    arrays["numbers.rmse"] = np.array(metrics.root_mean_squared_error(y, z))
    arrays["numbers.r2"] = np.array(metrics.r2_score(y, z))
    save("metrics", arrays)


def main() -> int:
    if not sklearn.__version__.startswith("1.9."):
        print(f"make_data.py: found scikit-learn {sklearn.__version__}, the answers are those of 1.9", file=sys.stderr)
        return 1
    warnings.simplefilter("error")
    scalers()
    scores()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
