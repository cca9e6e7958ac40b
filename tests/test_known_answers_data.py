"""Preprocessing and metrics against scikit-learn 1.9: the stored arrays of tests/known_answers, by its make_data.py."""

import functools
from pathlib import Path

import numpy as np
import pytest

import fastnn as fnn
from fastnn import metrics

EPS = np.finfo(np.float64).eps


@functools.cache
def stored(name):
    with np.load(Path(__file__).parent / "known_answers" / f"{name}.npz", allow_pickle=False) as file:
        return dict(file)


# Preprocessing.

SCALERS = {
    "standard": fnn.Standardizer,
    "minmax": fnn.MinMaxScaler,
    "minmax_wide": lambda: fnn.MinMaxScaler((-1.0, 2.5)),
    "robust": fnn.RobustScaler,
    "robust_wide": lambda: fnn.RobustScaler((10.0, 85.0), unit_variance=True),
}


@pytest.mark.parametrize("name", SCALERS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_scalers_give_scikit_learns_numbers(name, dtype):
    data = stored("preprocessing")
    scaler = SCALERS[name]().fit(data["X"])
    for rows in ("X", "new"):
        given = data[rows].astype(dtype)
        result, answer = scaler.transform(given), data[f"{name}.{rows}"]
        assert result.dtype == dtype
        # Rounded numbers of a column far from 0 move by eps |x| over its scale; all else is within a few roundings.
        slope = np.abs(answer[1] - answer[0]) / np.maximum(np.abs(data[rows][1] - data[rows][0]), 1e-300)
        bound = np.finfo(dtype).eps * (4 * np.abs(answer) + 4 + 60 * slope * np.abs(data["X"]).max(axis=0))
        assert (np.abs(result - answer) <= bound).all()
        assert not (np.abs(result * (1 + 1e-2) + 1e-2 - answer) <= bound).all()


@pytest.mark.parametrize("name", ["tall", "wide"])
def test_whitening_is_scikit_learns_but_for_the_divisor(name):
    data = stored("preprocessing")
    rows, n = data[f"{name}.rows"], len(data[f"{name}.rows"])
    whitener = fnn.Whitener().fit(rows)
    variance = data[f"{name}.variance"] * (n - 1) / n
    np.testing.assert_allclose(whitener.deviation, np.sqrt(variance), rtol=1e-11)
    np.testing.assert_allclose(whitener.directions, data[f"{name}.components"], atol=1e-9)
    white = whitener.transform(rows) * np.sqrt((n - 1) / n)
    np.testing.assert_allclose(white, data[f"{name}.white"], atol=1e-9)


# Metrics. All of them are few sums of float64: a hundred roundings are generous.

MAKERS = {"precision": fnn.Precision, "recall": fnn.Recall, "f1": fnn.F1}
ANSWERS = [name for name in stored("metrics") if "." in name and not name.endswith((".outputs", ".targets"))]


def our_score(kind, parts, outputs, targets):
    if kind in MAKERS:
        return MAKERS[kind](average=parts[0], zero_division=float(parts[1]))(outputs, targets)
    if kind == "auc":
        return fnn.AUC(average=parts[0])(outputs, targets)
    if kind == "ece":
        return fnn.ECE(int(parts[0]))(outputs, targets)
    if kind == "confusion":
        return fnn.confusion_matrix(outputs, targets, None if parts[0] == "None" else parts[0])
    if kind == "curve":
        return getattr(fnn.calibration_curve(outputs, targets, bins=10), parts[0])
    if kind.startswith("top_"):
        return fnn.TopK(int(kind.removeprefix("top_")))(outputs, targets)
    return metrics.METRICS[kind](outputs, targets)


@pytest.mark.parametrize("answer", ANSWERS)
def test_metrics_give_scikit_learns_numbers(answer):
    data = stored("metrics")
    case, kind, *parts = answer.split(".")
    outputs, targets = data[f"{case}.outputs"], data[f"{case}.targets"]
    score = our_score(kind, parts, outputs, targets)
    np.testing.assert_allclose(score, data[answer], rtol=100 * EPS, atol=100 * EPS)
    if kind != "curve":  # its bins are scikit-learn's only in float64
        narrow = our_score(kind, parts, outputs.astype(np.float32), targets.astype(np.float32))
        np.testing.assert_allclose(narrow, score, rtol=1e-5, atol=1e-6)


def test_the_default_average_is_binary_for_two_classes_and_macro_for_more():
    data = stored("metrics")
    for case, average in (("binary", "binary"), ("classes", "macro"), ("several", "macro")):
        for name, make in MAKERS.items():
            score = make()(data[f"{case}.outputs"], data[f"{case}.targets"])
            np.testing.assert_allclose(score, data[f"{case}.{name}.{average}.0"], rtol=100 * EPS)


def test_two_outputs_are_scored_as_the_one_that_says_the_same():
    data = stored("metrics")
    z, y = data["binary.outputs"], data["binary.targets"]
    two, labels = np.hstack((np.zeros_like(z), z)), y[:, 0]
    for name, metric in metrics.METRICS.items():
        if "binary" in getattr(metric, "tasks", ()) and name != "ece":
            np.testing.assert_allclose(metric(two, labels), metric(z, y), rtol=100 * EPS, err_msg=name)
    np.testing.assert_array_equal(fnn.confusion_matrix(two, labels), fnn.confusion_matrix(z, y))
