"""Preprocessing against scikit-learn 1.9: the stored arrays of tests/known_answers, by its make_data.py."""

import functools
from pathlib import Path

import numpy as np
import pytest

import fastnn as fnn

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
