"""Standardizer, encoder of arrays, targets: what they compute, and that they survive JSON."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from fastnn.data import DataError
from fastnn.preprocessing import ArrayEncoder, ClassTarget, NumberTarget, Standardizer, target_from_json


def through_json(state):
    """What a model file does to it."""
    return json.loads(json.dumps(state, allow_nan=False))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_standardizer_agrees_with_scikit_learn(dtype):
    preprocessing = pytest.importorskip("sklearn.preprocessing")
    X = np.random.default_rng(0).normal([5, -2e3, 1e-6], [2, 30, 1e-7], (501, 3)).astype(dtype)
    ours, judge = Standardizer().fit(X), preprocessing.StandardScaler().fit(X.astype(np.float64))
    tolerance = 501 * np.finfo(np.float64).eps
    np.testing.assert_allclose(ours.mean, judge.mean_, rtol=tolerance)
    np.testing.assert_allclose(ours.scale, judge.scale_, rtol=1e4 * tolerance)
    result = ours.transform(X)
    assert result.dtype == dtype
    # x - mean cancels: up to |mean| / deviation roundings of the dtype.
    np.testing.assert_allclose(result, judge.transform(X.astype(np.float64)), atol=200 * np.finfo(dtype).eps)


@settings(deadline=None)
@given(hnp.arrays(np.float64, st.tuples(st.integers(1, 20), st.integers(1, 4)), elements=st.floats(-1e6, 1e6)))
def test_inverse_undoes_transform(X):
    standardizer = Standardizer().fit(X)
    back = standardizer.inverse(standardizer.transform(X))
    np.testing.assert_allclose(back, X, atol=8 * np.finfo(np.float64).eps * max(1, np.abs(X).max()))


@pytest.mark.parametrize("value", [0.0, 0.1, 1e9, -3.3e-300, 7])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_constant_column_becomes_zeros(value, dtype):
    X = np.full((1000, 1), value, dtype)
    standardizer = Standardizer().fit(X)
    assert standardizer.scale.tolist() == [1.0]
    np.testing.assert_allclose(standardizer.transform(X), 0, atol=1000 * np.finfo(dtype).eps * abs(value))


@pytest.mark.parametrize(("dtype", "step"), [(np.float64, 1e-9), (np.float32, 1e-3)])
def test_small_but_real_deviation_is_not_taken_for_constant(dtype, step):
    X = np.array([[1.0], [1.0 + step]] * 50_000, dtype)
    assert np.std(Standardizer().fit_transform(X).astype(np.float64)) == pytest.approx(1, rel=1e-3)


def test_standardizer_takes_vectors_integers_lists_and_any_layout():
    y = np.array([1, 2, 4])
    result = Standardizer().fit_transform(y)
    assert result.shape == (3,)
    assert result.dtype == np.float64
    X = np.arange(12.0).reshape(3, 4)
    expected = Standardizer().fit_transform(X)
    for other in (X.tolist(), np.asfortranarray(X), X.astype(">f8"), X[::-1][::-1], X.astype(int)):
        np.testing.assert_array_equal(Standardizer().fit_transform(other), expected)


def test_standardizer_leaves_its_input_alone():
    X = np.arange(6.0).reshape(3, 2)
    standardizer = Standardizer().fit(X)
    X.flags.writeable = False
    standardizer.inverse(standardizer.transform(X))
    np.testing.assert_array_equal(X, np.arange(6.0).reshape(3, 2))


def test_standardizer_survives_json_bit_for_bit():
    X = np.random.default_rng(1).normal(size=(50, 3)) / 3
    standardizer = Standardizer().fit(X)
    copy = Standardizer.from_json(through_json(standardizer.to_json()))
    assert copy.transform(X).tobytes() == standardizer.transform(X).tobytes()


def test_standardizer_misuse_is_named():
    with pytest.raises(ValueError, match="not fitted yet"):
        Standardizer().transform([[1.0]])
    fitted = Standardizer().fit(np.ones((2, 3)))
    with pytest.raises(ValueError, match="X"):
        fitted.transform(np.ones((2, 4)))
    with pytest.raises(ValueError, match="X"):
        Standardizer().fit([[1.0], [np.nan]])
    with pytest.raises((ValueError, TypeError), match="X"):
        Standardizer().fit([["a"]])
    with pytest.raises(ValueError, match="equal vectors"):
        Standardizer.from_json({"mean": [1.0], "scale": [1.0, 2.0]})
    assert "not fitted" in repr(Standardizer())
    assert "columns=3" in repr(fitted)


def test_array_encoder_fills_gaps_by_the_median_and_survives_json():
    X = np.array([[1.0, 10], [np.nan, 20], [3, np.nan], [100, 30]])
    encoder = ArrayEncoder.fit(X, ("a", "b"))
    np.testing.assert_array_equal(encoder.fill, [3, 20])
    result = encoder.transform(X, np.float64)
    assert np.isfinite(result).all()
    np.testing.assert_allclose(result.mean(axis=0), 0, atol=1e-15)
    np.testing.assert_allclose(result.std(axis=0), 1)
    copy = ArrayEncoder.from_json(through_json(encoder.to_json()))
    assert copy.transform(X).tobytes() == encoder.transform(X).tobytes()
    assert copy.transform(X).dtype == np.float32
    assert copy.transform(X).flags.c_contiguous


def test_byte_images_are_divided_by_255():
    X = np.array([[0, 255], [51, 102]], np.uint8)
    encoder = ArrayEncoder.from_json(through_json(ArrayEncoder.fit(X, white=255).to_json()))
    np.testing.assert_allclose(encoder.transform(X), [[0, 1], [0.2, 0.4]], rtol=1e-7)
    assert encoder.transform(X).dtype == np.float32


def test_array_encoder_refuses_what_it_cannot_encode():
    with pytest.raises(DataError, match="'b' has no values"):
        ArrayEncoder.fit(np.array([[1, np.nan], [2, np.nan]]), ("a", "b"))
    with pytest.raises(DataError, match=r"column 1 holds an infinite value \(row 0"):
        ArrayEncoder.fit(np.array([[1, np.inf], [2, 3]]))
    encoder = ArrayEncoder.fit(np.arange(4.0).reshape(2, 2))
    with pytest.raises(DataError, match="infinite"):
        encoder.transform(np.array([[-np.inf, 0]]))
    with pytest.raises(DataError, match=r"expected \(rows, 2\)"):
        encoder.transform(np.zeros((2, 3)))


def test_targets_go_there_and_back_and_survive_json():
    target = target_from_json(through_json(ClassTarget("t", ("b", "a", "Ünï")).to_json()))
    assert isinstance(target, ClassTarget)
    np.testing.assert_array_equal(target.encode(np.array(["a", "Ünï", "new", "b"])), [1, 2, -1, 0])
    assert target.decode(np.array([2, 0])).tolist() == ["Ünï", "b"]

    values = np.array([1e5, 2e5, 4e5])
    number = target_from_json(through_json(NumberTarget.fit("price", values).to_json()))
    assert isinstance(number, NumberTarget)
    encoded = number.encode(values, np.float64)
    np.testing.assert_allclose([encoded.mean(), encoded.std()], [0, 1], atol=1e-15)
    np.testing.assert_allclose(number.decode(encoded), values, rtol=1e-15)
