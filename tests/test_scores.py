"""Metrics beyond accuracy, RMSE and R2: their edges, their names, the losses they fit, scikit-learn's through a bridge.

Known answers are in test_known_answers_data.py.
"""

import math
import sys

import numpy as np
import pytest

import fastnn as fnn
from fastnn import metrics
from fastnn.losses import LOSSES
from fastnn.metrics import METRICS, from_sklearn, get_metrics, larger_is_better

rng = np.random.default_rng(7)
NAN = math.nan
FOR_CLASSES = [name for name, metric in METRICS.items() if "classify" in metric.tasks]


def logits(rows=40, classes=6):
    return rng.standard_normal((rows, classes)), rng.integers(0, classes, rows)


# NaN, empty classes, ties.


def test_nan_outputs_are_wrong_answers_that_claim_nothing():
    z, y = np.array([[NAN, 3.0, 0.0], [0.0, 2.0, 1.0], [0.0, 2.0, 1.0]]), np.array([1, 1, 2])
    assert fnn.TopK(2)(z, y) == pytest.approx(2 / 3)
    assert fnn.Recall("micro")(z, y) == pytest.approx(1 / 3)
    assert fnn.Precision("micro")(z, y) == 0.5
    # Class 1: right 1, claimed 2, true 2. Class 2: never claimed, so 0. Class 0 does not occur.
    assert fnn.Precision()(z, y) == fnn.Recall()(z, y) == fnn.F1()(z, y) == 0.25
    assert fnn.Recall()(np.array([[NAN], [1.0]]), np.array([1, 1])) == 0.5
    assert fnn.Precision()(np.array([[NAN], [1.0]]), np.array([0, 1])) == 1.0


@pytest.mark.parametrize("name", ["auc", "ece", "brier", "log_loss"])
def test_scores_of_probabilities_are_nan_where_an_output_is(name):
    z, y = logits()
    z[3, 1] = NAN
    assert math.isnan(METRICS[name](z, y))
    assert math.isnan(METRICS[name](z[:, :1] + NAN, y > 2))


@pytest.mark.parametrize("call", [fnn.confusion_matrix, fnn.calibration_curve])
def test_tables_are_refused_for_nan(call):
    z, y = logits()
    z[3, 1] = NAN
    with pytest.raises(ValueError, match=f"{call.__name__}.*NaN"):
        call(z, y)


@pytest.mark.parametrize("rows", [1, 5])
def test_auc_of_one_class_alone_is_nan(rows):
    assert math.isnan(fnn.AUC()(rng.standard_normal((rows, 1)), np.ones(rows)))
    assert math.isnan(fnn.AUC()(rng.standard_normal((rows, 3)), np.full(rows, 2)))


def test_auc_leaves_out_classes_that_never_occur():
    z, y = logits(60, 3)
    with_fourth = np.hstack((z, np.full((60, 1), -1e3)))
    assert fnn.AUC()(with_fourth, y) == pytest.approx(fnn.AUC()(z, y), rel=1e-12)
    constant = np.hstack((z[:, :1], z[:, :1]))
    yes = (y == 1).astype(float)
    assert fnn.AUC()(constant, np.column_stack((yes, np.ones(60)))) == fnn.AUC()(z[:, :1], yes)


def test_auc_counts_ties_half_and_equals_all_pairs():
    z, y = np.round(rng.standard_normal(80) * 2), rng.integers(0, 2, 80)
    pairs = [(a > b) + 0.5 * (a == b) for a in z[y == 1] for b in z[y == 0]]
    assert fnn.AUC()(z, y) == pytest.approx(np.mean(pairs), rel=1e-14)
    assert fnn.AUC()(np.zeros(80), y) == 0.5
    assert fnn.AUC()(np.where(y == 1, math.inf, -math.inf), y) == 1.0


def test_auc_tells_certain_rows_apart_whose_probabilities_round_to_one():
    z = np.array([[0.0, 40.0], [0.0, 50.0], [0.0, 60.0]])
    assert (metrics.base.softmax(z)[:, 1] == 1.0).all()
    assert fnn.AUC()(z, np.array([0, 1, 1])) == 1.0
    z = np.hstack((np.zeros((3, 2)), z[:, 1:]))  # as one of three classes
    assert fnn.AUC()(z, np.array([0, 2, 2])) == 1.0


def test_a_class_without_claims_counts_as_zero_division():
    z = np.array([[2.0, 1.0, 0.0]] * 4)  # always class 0
    y = np.array([0, 0, 1, 1])
    assert fnn.Precision()(z, y) == 0.25
    assert fnn.Precision(zero_division=1.0)(z, y) == 0.75
    assert fnn.Precision()(np.full((3, 1), -1.0), np.zeros(3)) == 0.0
    assert fnn.Recall(zero_division=1.0)(np.full((3, 1), -1.0), np.zeros(3)) == 1.0
    none = np.zeros((3, 2))
    assert fnn.Recall("weighted", zero_division=1.0)(none - 1, none) == 1.0
    assert fnn.Recall("weighted")(none - 1, none) == 0.0


def test_top_1_is_accuracy_with_ties():
    z, y = np.round(rng.standard_normal((200, 5))), rng.integers(0, 5, 200)
    assert (np.sort(z, axis=1)[:, -1] == np.sort(z, axis=1)[:, -2]).any()
    assert fnn.TopK(1)(z, y) == metrics.accuracy(z, y)
    shares = [fnn.TopK(k)(z, y) for k in range(1, 5)]
    assert shares == sorted(shares)
    best = np.argsort(-z, axis=1, kind="stable")
    assert shares == [np.mean((best[:, :k] == y[:, None]).any(axis=1)) for k in range(1, 5)]


def test_confusion_matrix_has_a_row_and_a_column_for_every_output():
    z, y = logits(30, 4)
    matrix = fnn.confusion_matrix(z, y)
    assert (matrix.shape, matrix.dtype, matrix.sum()) == ((4, 4), np.int64, 30)
    by_hand = np.zeros((4, 4), int)
    for told, true in zip(z.argmax(axis=1), y, strict=True):
        by_hand[true, told] += 1
    np.testing.assert_array_equal(matrix, by_hand)
    assert np.trace(matrix) == 30 * metrics.accuracy(z, y)
    alone = fnn.confusion_matrix(np.array([[3.0, 0.0, 0.0]]), np.array([1]), normalize="true")
    np.testing.assert_array_equal(alone, [[0, 0, 0], [1, 0, 0], [0, 0, 0]])


def test_calibrated_outputs_lie_on_the_diagonal():
    z = np.repeat(np.linspace(-3, 3, 13), 4000)
    p = 1 / (1 + np.exp(-z))
    y = (np.arange(len(z)) % 4000 + 0.5) / 4000 < p  # of each logit's rows, as many as it says
    curve = fnn.calibration_curve(z, y, bins=10)
    assert curve.predictions.sum() == len(z)
    np.testing.assert_allclose(curve.accuracy, curve.confidence, atol=1e-3)
    assert fnn.ECE()(z, y) < 1e-3
    assert fnn.ECE()(3 * z, y) > 0.1
    assert fnn.ECE()(z, p) < 1e-15  # targets that are shares


def test_a_probability_on_an_edge_belongs_to_the_bin_below():
    curve = fnn.calibration_curve(np.array([0.0, 1e-9]), np.array([1.0, 0.0]), bins=2)
    np.testing.assert_array_equal(curve.accuracy, [1.0, 0.0])


def test_huge_logits_are_certain_and_overflow_nowhere():
    z = np.array([[1e4], [-1e4], [1e4]])
    y = np.array([1.0, 0.0, 0.0])
    assert metrics.brier(z, y) == pytest.approx(1 / 3)
    assert metrics.log_loss(z, y) == pytest.approx(1e4 / 3)
    two = np.hstack((-z / 2, z / 2))
    assert metrics.log_loss(two, y.astype(int)) == pytest.approx(1e4 / 3)
    assert metrics.brier(two, y.astype(int)) == pytest.approx(1 / 3)


# Names and parameters.


def test_parameters_are_in_the_name():
    names = [
        m.name for m in (fnn.TopK(3), fnn.Precision("macro"), fnn.F1(), fnn.AUC("weighted"), fnn.ECE(), fnn.ECE(9))
    ]
    assert names == ["top_3", "precision_macro", "f1", "auc_weighted", "ece", "ece_9"]
    assert list(get_metrics(("top_k", fnn.TopK(3), fnn.F1("micro"), "f1"))) == ["top_k", "top_3", "f1_micro", "f1"]
    with pytest.raises(ValueError, match="'f1': given twice"):
        get_metrics(("f1", fnn.F1()))


def test_direction_of_metrics_with_parameters_is_known():
    for name in ("top_3", "val_precision_macro", "auc_weighted", "top_k", "f1", "val_recall"):
        assert larger_is_better(name) is True
    for name in ("val_ece_10", "ece", "brier", "log_loss", "mae"):
        assert larger_is_better(name) is False
    for name in ("accuracy_macro", "mine_3", "rmse_3", "top_many"):
        assert larger_is_better(name) is None


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: fnn.TopK(0), ValueError, "k must be at least 1"),
        (lambda: fnn.TopK(2.5), TypeError, "k must be an integer"),
        (lambda: fnn.Precision("samples"), ValueError, "unknown average of Precision 'samples'"),
        (lambda: fnn.F1(zero_division=NAN), ValueError, "zero_division must be at least 0"),
        (lambda: fnn.AUC("micro"), ValueError, "unknown average of AUC 'micro'"),
        (lambda: fnn.ECE(0), ValueError, "bins must be at least 1"),
        (lambda: get_metrics(fnn.TopK), TypeError, r"write TopK\(\)"),
        (lambda: get_metrics([fnn.TopK]), TypeError, r"write TopK\(\)"),
        (lambda: fnn.confusion_matrix(*logits(), normalize="rows"), ValueError, "unknown normalize 'rows'"),
        (lambda: fnn.calibration_curve(*logits(), bins=0), ValueError, "bins must be at least 1"),
        (lambda: fnn.TopK(6)(*logits()), ValueError, r"TopK\(k=6\): of 6 classes, expected more"),
        (lambda: fnn.TopK(1)(np.zeros((4, 1)), np.zeros(4)), ValueError, r"expected \(rows, classes\) and \(rows,\)"),
        (lambda: fnn.F1("binary")(*logits()), ValueError, "is for two classes, not for 6"),
        (lambda: fnn.F1("binary")(np.zeros((4, 3)), np.zeros((4, 3))), ValueError, "not for 3 outputs"),
        (lambda: fnn.confusion_matrix(np.zeros((4, 3)), np.zeros((4, 3))), ValueError, "3 yes-or-no outputs"),
    ],
)
def test_what_makes_no_sense_is_refused(make, error, message):
    with pytest.raises(error, match=message):
        make()


@pytest.mark.parametrize("call", [metrics.brier, metrics.log_loss, fnn.ECE(), fnn.calibration_curve])
def test_scores_of_probabilities_take_targets_from_0_to_1(call):
    with pytest.raises(ValueError, match=r"targets: row 1, column 0 is -1\.0, expected 0 to 1"):
        call(np.ones((2, 1)), np.array([1.0, -1.0]))


@pytest.mark.parametrize("name", METRICS)
def test_rows_and_labels_that_do_not_fit_are_refused(name):
    metric = fnn.TopK(2) if name == "top_k" else METRICS[name]
    for z, y in (
        (np.ones((4, 3)), np.ones(5, int)),
        (np.ones((0, 3)), np.ones(0, int)),
        (np.ones((4, 3)), np.ones((4, 2))),
    ):
        with pytest.raises(ValueError, match=r"rows|shape|expected"):
            metric(z, y)
    if name in FOR_CLASSES and name != "accuracy":
        with pytest.raises(ValueError, match="row 1 is 3, expected labels from 0 to 2"):
            metric(np.ones((2, 3)), np.array([0, 3]))


# With a model.


def network(outputs, inputs=3):
    return fnn.Sequential([fnn.Dense(outputs)], inputs=inputs, seed=1)


@pytest.mark.parametrize("loss", ["cross_entropy", "bce", "mse"])
def test_metrics_fit_the_losses_of_their_task_and_are_refused_elsewhere(loss):
    X = rng.standard_normal((40, 3))
    model = network(6 if loss == "cross_entropy" else 1)
    y = rng.integers(0, 6, 40) if loss == "cross_entropy" else rng.integers(0, 2, 40).astype(float)
    fitting = [name for name, metric in METRICS.items() if LOSSES[loss].task in metric.tasks]
    assert len(fitting) >= 3
    history = model.fit(X, y, loss=loss, metrics=fitting, epochs=1, progress=False, validation_split=0.5)
    assert all(f"val_{name}" in history.columns for name in fitting)
    scores = model.evaluate(X, y, metrics=fitting)
    for name in fitting:
        assert scores[name] == METRICS[name](model.predict(X), y)
    before = model.get_weights()
    for name in set(METRICS) - set(fitting):
        with pytest.raises(ValueError, match=f"metric '{name}': is for .*, loss '{loss}' is for .*; for these are"):
            model.fit(X, y, metrics=name, epochs=1, progress=False)
        with pytest.raises(ValueError, match=r"is for .*, loss .* is for .*; for these are"):
            model.evaluate(X, y, metrics=METRICS[name])
    np.testing.assert_array_equal(model.get_weights()[0], before[0])


def test_early_stopping_follows_a_metric_with_parameters():
    X, y = rng.standard_normal((60, 3)), rng.integers(0, 4, 60)
    stopping = fnn.EarlyStopping(50, monitor="val_top_2")
    history = network(4).fit(
        X,
        y,
        loss="cross_entropy",
        metrics=fnn.TopK(2),
        epochs=8,
        validation_split=0.5,
        callbacks=stopping,
        progress=False,
    )
    assert stopping.best == max(history["val_top_2"])


# scikit-learn's.


def test_any_metric_of_scikit_learn_can_be_used():
    sklearn = pytest.importorskip("sklearn.metrics")
    X, y = rng.standard_normal((60, 3)), rng.integers(0, 4, 60)
    model = network(4)
    chosen = (
        from_sklearn("matthews_corrcoef"),
        from_sklearn(sklearn.roc_auc_score, of="probabilities", name="ovo", multi_class="ovo", labels=range(4)),
        from_sklearn("fbeta_score", beta=2, average="macro"),
    )
    history = model.fit(X, y, loss="cross_entropy", metrics=chosen, epochs=1, validation_data=(X, y), progress=False)
    z = model.predict(X).astype(np.float64)
    told, p = z.argmax(axis=1), np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)
    assert history["val_matthews_corrcoef"] == [sklearn.matthews_corrcoef(y, told)]
    assert history["val_ovo"][0] == pytest.approx(
        sklearn.roc_auc_score(y, p, multi_class="ovo", labels=range(4)), rel=1e-12
    )
    assert history["val_fbeta_score"] == [sklearn.fbeta_score(y, told, beta=2, average="macro")]
    assert "matthews_corrcoef of labels" in repr(chosen[0])


def test_the_bridge_gives_scikit_learn_what_it_takes():
    pytest.importorskip("sklearn.metrics")

    def shapes(true, told):
        return float(f"{true.ndim}{told.ndim}.{true.shape[-1]}{told.shape[-1]}")

    for of, targets in (("labels", np.ones(3, int)), ("probabilities", np.ones(3, int))):
        seen = from_sklearn(shapes, of=of)
        assert seen(np.zeros((3, 2)), targets) == 11.33
        assert seen(np.zeros((3, 1)), targets) == 11.33
        assert seen(np.zeros((3, 2)), np.ones((3, 2))) == 22.22
    assert from_sklearn(shapes, of="probabilities")(np.zeros((3, 4)), np.ones(3, int)) == 12.34
    assert from_sklearn(shapes, of="numbers")(np.zeros((3, 1)), np.ones(3)) == 11.33
    assert from_sklearn("median_absolute_error", of="numbers")(np.zeros((3, 1)), [1.0, 2.0, 5.0]) == 2.0
    assert (
        from_sklearn("average_precision_score", of="probabilities")(np.array([[-1.0, 2.0], [3.0, 1.0]]), [1, 0]) == 1.0
    )


def test_metrics_of_scikit_learn_fit_their_task_alone():
    pytest.importorskip("sklearn.metrics")
    X, y = rng.standard_normal((20, 3)), rng.standard_normal(20)
    with pytest.raises(
        ValueError, match="metric 'matthews_corrcoef': is for classes and yes-or-no outputs, loss 'mse'"
    ):
        network(1).fit(X, y, loss="mse", metrics=from_sklearn("matthews_corrcoef"), progress=False)
    with pytest.raises(ValueError, match="say 'min' or 'max'"):
        network(1).fit(
            X, y, loss="mse", metrics=from_sklearn("max_error", of="numbers"), validation_split=0.5, progress=False,
            callbacks=fnn.EarlyStopping(3, monitor="val_max_error"),
        )  # fmt: skip


def test_the_bridge_names_what_it_cannot_find(monkeypatch):
    pytest.importorskip("sklearn.metrics")
    with pytest.raises(ValueError, match="unknown metric of scikit-learn 'mathews_corrcoef': did you mean 'matthews_"):
        from_sklearn("mathews_corrcoef")
    with pytest.raises(ValueError, match="unknown kind of prediction 'logits'"):
        from_sklearn("f1_score", of="logits")
    with pytest.raises(TypeError, match="expected a name or a function"):
        from_sklearn(3)
    monkeypatch.setitem(sys.modules, "sklearn.metrics", None)
    with pytest.raises(ImportError, match=r"pip install 'fastnn\[tables\]'"):
        from_sklearn("f1_score")
