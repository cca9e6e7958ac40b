"""Losses as users choose them: their targets, what metrics see, training with each, and mistakes."""

from typing import Any

import networks
import numpy as np
import pytest

import fastnn as fnn
from fastnn import storage
from fastnn.losses import LOSSES, get_loss

Array = np.ndarray[Any, Any]
X = np.random.default_rng(3).standard_normal((60, 4))


def model(outputs: int, dtype: str = "float64", **options: Any) -> fnn.Sequential:
    return fnn.Sequential([fnn.Dense(8, "tanh", **options), fnn.Dense(outputs)], inputs=4, dtype=dtype, seed=1)


# Training with each.


@pytest.mark.parametrize("name", LOSSES)
def test_fit_with_every_loss_lowers_it_and_evaluate_agrees_with_its_value(name: str) -> None:
    outputs = networks.outputs_for(name, 2)
    net, y = model(outputs), networks.data(name, 60, 4, outputs)[1]
    before = net.evaluate(X, y, loss=name)["loss"]
    history = net.fit(X, y, loss=name, epochs=30, batch_size=16, validation_split=0.2, progress=False)
    scores = net.evaluate(X, y)
    assert scores["loss"] < before
    assert np.isclose(scores["loss"], get_loss(name).value(net.predict(X), y), rtol=1e-12)
    assert set(scores) == {"loss", *get_loss(name).default_metrics}
    assert all(np.isfinite(column).all() for column in history.columns.values())


@pytest.mark.parametrize("backend", networks.BACKENDS)
@pytest.mark.parametrize("name", [*LOSSES, "soft"])
def test_every_way_to_the_loss_of_all_rows_agrees(name: str, backend: str) -> None:
    """One pass, tiles and the value of the description, on any number of rows."""
    loss: Any = fnn.CrossEntropy(0.1) if name == "soft" else name
    outputs = networks.outputs_for(name, 4)
    data = networks.data("cross_entropy" if name == "soft" else name, 1200, 4, outputs)
    y = np.eye(4)[data[1]] if name == "soft" else data[1]
    net = model(outputs)
    trainer = fnn.Trainer(net, loss, "sgd", batch_size=1200, backend=backend)
    trainer.lr = 0.0
    theta = np.concatenate([w.ravel() for w in net.get_weights()])
    expected = get_loss(loss).value(net.predict(data[0]), y)
    ways = [
        trainer.run(data[0], y, steps=1)[0], trainer.run(data[0], y, np.arange(1200))[0],
        trainer.value_and_grad(theta, data[0], y)[0],
    ]  # fmt: skip
    np.testing.assert_allclose(ways, expected, rtol=1e-12)


@pytest.mark.parametrize("loss", [fnn.Huber(0.3), fnn.Quantile(0.8), fnn.CrossEntropy(0.1), fnn.MultiClassHinge(2.0, 2),
                                  fnn.Focal(0.5), fnn.GaussianLikelihood(0.5)])  # fmt: skip
def test_gradients_with_other_parameters_agree_with_differences(loss: Any) -> None:
    if isinstance(loss, fnn.GaussianLikelihood):  # variances above the smallest one
        net = model(2)
        net.set_weights([*net.get_weights()[:3], np.array([0.0, 3.0])])
        data = X, X[:, :1]
    else:
        net, data = model(4), networks.data(loss.name, 60, 4, 4)
    assert fnn.gradcheck(net, loss, *data, samples=30).error < 1e-5


@pytest.mark.parametrize("smoothing", [0.0, 0.3])
def test_gradients_of_soft_targets_agree_with_differences(smoothing: float) -> None:
    shares = np.random.default_rng(0).dirichlet(np.ones(3), 60)
    assert fnn.gradcheck(model(3), fnn.CrossEntropy(smoothing), X, shares).error < 1e-5


def test_quantile_regression_finds_the_quantile() -> None:
    generator = np.random.default_rng(0)
    y = generator.exponential(size=2000)
    net = fnn.Sequential([fnn.Dense(1, weight_init="zeros")], inputs=1, dtype="float64")
    net.fit(np.zeros((2000, 1)), y, loss=fnn.Quantile(0.9), optimizer=fnn.SGD(0.1), epochs=2000, batch_size=2000,
            progress=False)  # fmt: skip
    assert abs((y < net.predict(np.zeros((1, 1)))[0, 0]).mean() - 0.9) < 0.01


def test_gaussian_likelihood_finds_mean_and_variance() -> None:
    y = 3 + 0.5 * np.random.default_rng(0).standard_normal(2000)
    net = fnn.Sequential([fnn.Dense(2, weight_init="zeros")], inputs=1, dtype="float64")
    net.fit(np.zeros((2000, 1)), y, loss="gaussian", optimizer=fnn.Adam(0.05), epochs=600, batch_size=2000,
            progress=False)  # fmt: skip
    mean, log_var = net.predict(np.zeros((1, 1)))[0]
    np.testing.assert_allclose([mean, np.exp(log_var)], [y.mean(), y.var()], rtol=1e-3)


# Targets.


@pytest.mark.parametrize("name", ["hinge", "squared_hinge", "margin_ranking"])
def test_zeros_and_minus_ones_are_the_same_targets(name: str) -> None:
    z = np.random.default_rng(0).standard_normal((30, 2 if name == "margin_ranking" else 1))
    yes = np.arange(30) % 3 == 0
    assert get_loss(name).value(z, yes) == get_loss(name).value(z, np.where(yes, 1.0, -1.0)) > 0
    converted = get_loss(name).check_targets(yes, z.shape[1], np.float32)
    assert set(converted.ravel()) == {-1.0, 1.0}
    np.testing.assert_array_equal(get_loss(name).check_targets(converted, z.shape[1], np.float32), converted)


MISTAKES: list[tuple[Any, int, Any, str]] = [
    ("hinge", 1, [0, 1, -1], "y: row 0, column 0 is 0.0, expected -1 and 1, or 0 and 1, for loss='hinge'|row 2"),
    ("hinge", 1, [1, 2, -1], "y: row 1, column 0 is 2.0, expected -1 and 1"),
    ("binary_focal", 1, [0, 1, 0.5], "y: row 2, column 0 is 0.5, expected 0 or 1 for loss='binary_focal'"),
    ("poisson", 1, [0, 1, -2], "y: row 2, column 0 is -2.0, expected targets of 0 or more for loss='poisson'"),
    ("gaussian", 3, [0, 1, 2], "loss='gaussian': the network has 3 outputs, expected two for each target"),
    ("gaussian", 4, [0, 1, 2], r"y: has shape \(3,\), expected \(rows, 2\) for a network with 4 outputs"),
    ("margin_ranking", 1, [0, 1, 1], "loss='margin_ranking': the network has 1 outputs, expected the 2 scores"),
    (
        "focal",
        1,
        [0, 1, 1],
        "loss='focal': needs at least 2 outputs, one per class; with one output use 'binary_focal'",
    ),
    ("multi_class_hinge", 1, [0, 1, 1], "with one output use 'hinge'"),
    ("cross_entropy", 2, [[0.5, 0.4]] * 3, "y: row 0 adds up to 0.9, expected probabilities that add up to 1"),
    ("cross_entropy", 2, [[0.5, 0.5], [1.5, -0.5]], "y: row 1, column 0 is 1.5, expected probabilities from 0 to 1"),
    ("cross_entropy", 2, [[0.5, np.nan]] * 3, "y: row 0, column 1 is nan, expected finite numbers"),
]


@pytest.mark.parametrize(("loss", "outputs", "y", "message"), MISTAKES)
def test_targets_that_do_not_fit_are_refused(loss: Any, outputs: int, y: Any, message: str) -> None:
    net = model(outputs)
    before = net.get_weights()
    with pytest.raises(ValueError, match=message):
        net.fit(X[: len(y)], np.array(y), loss=loss, progress=False)
    assert all(np.array_equal(a, b) for a, b in zip(before, net.get_weights(), strict=True))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: fnn.Huber(0.0), r"Huber\(delta=0.0\): delta must be above 0"),
        (lambda: fnn.Quantile(1.0), r"Quantile\(tau=1.0\): tau must be below 1"),
        (lambda: fnn.CrossEntropy(1.5), r"label_smoothing must be at most 1"),
        (lambda: fnn.Focal(-1), r"Focal\(gamma=-1\): gamma must be at least 0"),
        (lambda: fnn.BinaryFocal(np.inf), "gamma must be finite"),
        (lambda: fnn.MultiClassHinge(p=3), r"MultiClassHinge\(p=3\): p must be at most 2"),
        (lambda: fnn.MarginRanking(-0.5), "margin must be at least 0"),
        (lambda: fnn.GaussianLikelihood(0), "eps must be above 0"),
        (lambda: fnn.ranking_of_pairs(np.zeros(3)), r"ranking_of_pairs\(scores\): has shape \(3,\)"),
        (lambda: fnn.ranking_of_pairs(np.zeros((4, 2))), r"has shape \(4, 2\), expected \(rows, 1\)"),
    ],
)
def test_parameters_out_of_range_are_refused(make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize("name", LOSSES)
def test_a_model_remembers_its_loss_in_its_file(name: str, tmp_path: Any) -> None:
    outputs = networks.outputs_for(name, 2)
    net = model(outputs)
    net.loss = {"huber": fnn.Huber(2.5), "cross_entropy": fnn.CrossEntropy(0.1)}.get(name, get_loss(name))
    net.save(tmp_path / "net")
    assert fnn.load(tmp_path / "net").loss == net.loss


@pytest.mark.parametrize("kind", ["_SoftCrossEntropy", "_OfClasses", "CustomLoss"])
def test_a_file_cannot_ask_for_what_is_no_loss_for_files(kind: str, tmp_path: Any) -> None:
    net, path = model(2), tmp_path / "net"
    net.save(path)
    contents = storage.read(path)
    storage.write(path, contents.tensors, contents.model | {"loss": {"type": kind, "function": "print"}})
    with pytest.raises(fnn.ModelFileError, match=f"unknown loss '{kind}'|function must take"):
        fnn.load(path)


# What metrics see.


def test_metrics_of_soft_targets_compare_the_likeliest_classes() -> None:
    z, shares = np.array([[2.0, 0.0], [0.0, 1.0]]), np.array([[0.6, 0.4], [0.9, 0.1]])
    net = fnn.Sequential([fnn.Dense(2, weight_init="zeros", bias=False)], inputs=2, dtype="float64")
    net.set_weights([np.eye(2)])
    assert net.evaluate(z, shares, loss="cross_entropy")["accuracy"] == 0.5


def test_metrics_of_losses_of_numbers_compare_expectations() -> None:
    net = fnn.Sequential([fnn.Dense(2, bias=False)], inputs=2, dtype="float64")
    net.set_weights([np.eye(2)])
    z = np.log(np.array([[2.0, 3.0], [1.0, 5.0]]))
    assert net.evaluate(z, np.exp(z), loss="poisson")["rmse"] < 1e-12
    assert net.evaluate(z, z[:, 0], loss="gaussian")["rmse"] == 0
    # A metric of one's own gets what the network puts out, and y.
    seen: list[Array] = []
    net.evaluate(z, np.exp(z), lambda outputs, targets: seen.extend((outputs, targets)) or 0.0, loss="poisson")
    np.testing.assert_allclose(seen[0], z)
    np.testing.assert_allclose(seen[1], np.exp(z))


def test_accuracy_of_rankings_is_the_share_of_pairs_in_the_right_order() -> None:
    net = fnn.Sequential([fnn.Dense(2, bias=False)], inputs=2, dtype="float64")
    net.set_weights([np.eye(2)])
    scores = np.array([[2.0, 1.0], [2.0, 1.0], [0.0, 1.0]])
    assert net.evaluate(scores, [1, -1, -1], loss="margin_ranking")["accuracy"] == 2 / 3


def test_metrics_of_yes_or_no_see_targets_of_minus_one_as_no() -> None:
    net = fnn.Sequential([fnn.Dense(1, bias=False)], inputs=1, dtype="float64")
    net.set_weights([np.ones((1, 1))])
    scores = np.array([[2.0], [1.0], [-1.0], [-3.0]])
    found = net.evaluate(scores, [1, -1, 1, -1], ("accuracy", "precision", "recall"), loss="hinge")
    assert (found["accuracy"], found["precision"], found["recall"]) == (0.5, 0.5, 0.5)


# Pairs for one scorer.


def test_ranking_of_pairs_is_the_ranking_loss_of_both_scores() -> None:
    scores = np.random.default_rng(0).standard_normal((40, 1))
    value, gradient = fnn.ranking_of_pairs(scores, margin=0.7)
    assert np.isclose(value, fnn.MarginRanking(0.7).value(scores.reshape(20, 2), np.ones(20)), rtol=1e-14)
    for row in range(40):
        moved = scores.copy()
        moved[row] += 1e-6
        assert abs((fnn.ranking_of_pairs(moved, margin=0.7)[0] - value) / 1e-6 - gradient[row, 0]) < 1e-8
    assert fnn.ranking_of_pairs(np.zeros(2), margin=0.0)[1].tolist() == [0.0, 0.0]


def test_one_scorer_learns_to_rank_pairs_of_rows() -> None:
    generator = np.random.default_rng(0)
    pairs = generator.standard_normal((200, 2, 4))
    pairs = np.take_along_axis(pairs, (-pairs[:, :, :1]).argsort(axis=1), axis=1)  # the larger first column first
    rows = pairs.reshape(400, 4)
    loss = fnn.CustomLoss(lambda outputs, targets: fnn.ranking_of_pairs(outputs))
    net = model(1)
    net.fit(rows, np.zeros(400), loss=loss, optimizer=fnn.Adam(0.02), epochs=10, shuffle=False, progress=False)
    scores = net.predict(rows).reshape(200, 2)
    assert (scores[:, 0] > scores[:, 1]).mean() > 0.97


# The command line.


@pytest.mark.parametrize("name", ["hinge", "poisson", "gaussian", "multi_class_hinge", "margin_ranking"])
def test_the_command_line_refuses_losses_whose_outputs_it_cannot_explain(name: str, run: Any, tmp_path: Any) -> None:
    path = tmp_path / "data.csv"
    path.write_text("a,b\n" + "".join(f"{i},{i % 7}.5\n" for i in range(40)))
    code, _, err = run("train", str(path), "--target", "b", "--loss", name, "--epochs", "1")
    assert code == 2
    assert f"--loss {name} is for Python" in err


@pytest.mark.parametrize("name", ["huber", "mae", "log_cosh", "quantile"])
def test_the_command_line_trains_with_losses_of_numbers(name: str, run: Any, tmp_path: Any) -> None:
    path = tmp_path / "data.csv"
    path.write_text("a,b\n" + "".join(f"{i},{i % 7}.5\n" for i in range(40)))
    code, out, _ = run("train", str(path), "--target", "b", "--loss", name, "--epochs", "2", "--quiet")
    assert code == 0
    assert f"{name}, " in out
