"""Accuracy, RMSE and R2 against scikit-learn, and on the edges."""

import math

import numpy as np
import pytest

from fastnn.metrics import accuracy, get_metrics, larger_is_better, r2, rmse

sklearn_metrics = pytest.importorskip("sklearn.metrics")
rng = np.random.default_rng(5)


@pytest.mark.parametrize("rows", [1, 2, 57, 1000])
@pytest.mark.parametrize("classes", [2, 3, 10])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_accuracy_of_classes_agrees_with_sklearn(rows, classes, dtype):
    logits = rng.standard_normal((rows, classes)).astype(dtype)
    labels = rng.integers(0, classes, rows).astype(np.int32)
    assert accuracy(logits, labels) == sklearn_metrics.accuracy_score(labels, logits.argmax(axis=1))


@pytest.mark.parametrize("shape", [(40,), (40, 1)])
def test_accuracy_of_one_logit_agrees_with_sklearn(shape):
    logits = rng.standard_normal((40, 1))
    labels = rng.integers(0, 2, shape).astype(np.float32)
    assert accuracy(logits, labels) == sklearn_metrics.accuracy_score(labels.ravel(), logits.ravel() > 0)


def test_accuracy_counts_several_logits_one_by_one():
    assert accuracy(np.array([[1.0, -1.0], [2.0, 3.0]]), np.array([[1, 0], [1, 0]])) == 0.75


def test_a_logit_of_zero_says_no():
    assert accuracy(np.zeros((2, 1)), np.array([0.0, 1.0])) == 0.5


def test_nan_outputs_count_as_wrong():
    assert accuracy(np.array([[math.nan, 1.0], [0.0, 1.0]]), np.array([0, 1])) == 0.5
    assert accuracy(np.array([[math.nan], [-1.0]]), np.array([0.0, 0.0])) == 0.5


@pytest.mark.parametrize("outputs", [1, 3])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_rmse_and_r2_agree_with_sklearn(outputs, dtype):
    predicted = rng.standard_normal((101, outputs)).astype(dtype)
    targets = (0.5 * predicted + rng.standard_normal((101, outputs))).astype(dtype)
    wide = (targets.astype(np.float64), predicted.astype(np.float64))
    assert rmse(predicted, targets) == pytest.approx(sklearn_metrics.root_mean_squared_error(*wide), rel=1e-14)
    assert r2(predicted, targets) == pytest.approx(sklearn_metrics.r2_score(*wide), rel=1e-12)


def test_r2_of_constant_targets_is_sklearns():
    targets = np.full((7, 1), 0.1)
    assert r2(targets, targets) == 1.0
    assert r2(targets + 1e-9, targets) == 0.0
    for shift in (0.0, 0.5):
        with np.errstate(all="ignore"):
            assert r2(np.full(4, 2.0) + shift, np.full(4, 2.0)) == sklearn_metrics.r2_score(
                [2.0] * 4, [2.0 + shift] * 4
            )


def test_r2_with_one_constant_output_is_sklearns():
    targets = np.column_stack([np.ones(5), np.arange(5.0)])
    predicted = targets + 0.25
    assert r2(predicted, targets) == pytest.approx(sklearn_metrics.r2_score(targets, predicted), rel=1e-14)


def test_r2_of_one_row_is_nan():
    assert math.isnan(r2(np.ones((1, 1)), np.ones((1, 1))))


def test_columns_and_vectors_are_compared_element_by_element():
    column, vector = np.arange(6.0)[:, None], np.arange(6.0)
    assert rmse(column, vector) == 0.0
    assert r2(column, vector) == 1.0


@pytest.mark.parametrize("metric", [accuracy, rmse, r2])
def test_shapes_that_do_not_fit_are_refused(metric):
    with pytest.raises(ValueError, match=metric.__name__):
        metric(np.ones((4, 1)), np.ones(5))
    with pytest.raises(ValueError, match=metric.__name__):
        metric(np.ones((0, 1)), np.ones(0))
    with pytest.raises(ValueError, match=metric.__name__):
        metric(np.ones((4, 3)), np.ones((4, 2)))


def test_large_float32_values_do_not_overflow():
    assert rmse(np.full((2, 1), 1e30, np.float32), np.zeros((2, 1), np.float32)) == pytest.approx(1e30, rel=1e-6)


def test_names_and_functions_are_looked_up():
    def bias(outputs, targets):
        return float(np.mean(outputs - targets))

    assert get_metrics(("rmse", bias)) == {"rmse": rmse, "bias": bias}
    assert get_metrics("accuracy") == {"accuracy": accuracy}
    assert get_metrics(("loss", "r2")) == {"r2": r2}
    assert get_metrics(()) == {}


def test_wrong_metrics_are_refused():
    with pytest.raises(ValueError, match="unknown metric 'acuracy': did you mean 'accuracy'"):
        get_metrics("acuracy")
    with pytest.raises(ValueError, match="'rmse': given twice"):
        get_metrics(("rmse", rmse))
    with pytest.raises(TypeError, match="metric 3"):
        get_metrics((3,))


def test_direction_of_known_metrics():
    assert larger_is_better("val_accuracy") is True
    assert larger_is_better("val_loss") is False
    assert larger_is_better("r2") is True
    assert larger_is_better("val_mine") is None
