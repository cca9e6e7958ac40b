"""Weights of rows and of classes: they equal repeated rows, whatever the loss, the backend, the batches and the
threads."""

from typing import Any

import networks
import numpy as np
import pytest

import fastnn as fnn
from fastnn.data import split_rows
from fastnn.kernels import native
from fastnn.losses import LOSSES
from fastnn.losses.weights import class_weights

Array = np.ndarray[Any, Any]
built_only = pytest.mark.skipif(not native.available(), reason=native.why_not() or "")


def model(outputs: int = 3, dtype: str = "float64") -> fnn.Sequential:
    return networks.network("tanh", 4, 7, outputs, dtype)


def trainer_of(loss: str, batch_size: int = 16, backend: str = "auto", outputs: int = 3, **options: Any) -> fnn.Trainer:
    net = model(networks.outputs_for(loss, 4 if loss == "gaussian" else outputs))
    return fnn.Trainer(net, loss, fnn.SGD(0.05), batch_size, backend=backend, **options)


def theta(trainer: fnn.Trainer) -> Array:
    return trainer.model.parameters.flatten(trainer.model.parameters.arena)


@pytest.mark.parametrize("backend", networks.BACKENDS)
@pytest.mark.parametrize("loss", LOSSES)
def test_weights_are_repeated_rows(loss: str, backend: str) -> None:
    """Value and gradient of weights 0, 1, 2, 3 are those of data in which rows stand so many times."""
    trainer = trainer_of(loss, backend=backend)
    X, y = networks.data(loss, 41, 4, trainer.model.parameters.outputs)
    times = np.arange(41) % 4
    value, gradient = trainer.value_and_grad(theta(trainer), X, y, sample_weight=times)
    rows = np.repeat(np.arange(41), times)
    expected, expected_gradient = trainer.value_and_grad(theta(trainer), X[rows], y[rows])
    np.testing.assert_allclose(value, expected, rtol=1e-12)
    np.testing.assert_allclose(gradient, expected_gradient, rtol=1e-9, atol=1e-13)


@pytest.mark.parametrize("loss", LOSSES)
def test_gradients_with_weights_agree_with_differences(loss: str) -> None:
    net = model(networks.outputs_for(loss, 4 if loss == "gaussian" else 3))
    X, y = networks.data(loss, 19, 4, net.outputs)
    weights = np.random.default_rng(0).random(19)
    assert fnn.gradcheck(net, loss, X, y, samples=40, sample_weight=weights).error < 1e-5


@pytest.mark.parametrize("backend", networks.BACKENDS)
@pytest.mark.parametrize("loss", ["cross_entropy", "mse", "focal", "huber", "gaussian"])
def test_weights_of_one_are_no_weights_bit_by_bit(loss: str, backend: str) -> None:
    """Of equal rows a batch: the sum of the weights is then a whole number, as the number of rows is."""
    found = []
    for weights in (None, np.ones(80)):
        trainer = trainer_of(loss, backend=backend)
        X, y = networks.data(loss, 80, 4, trainer.model.parameters.outputs)
        losses = [
            trainer.run(X, y, np.arange(80), sample_weight=weights),
            trainer.run(X, y, steps=2, sample_weight=weights),
        ]
        found.append((np.concatenate(losses).tobytes(), networks.numbers(trainer.model).tobytes()))
    assert found[0] == found[1]


@pytest.mark.parametrize("backend", networks.BACKENDS)
@pytest.mark.parametrize("rows", [40, 1300])
def test_every_way_to_the_weighted_loss_agrees(rows: int, backend: str) -> None:
    """A batch of all rows, a full batch in one tile or in several, steps one by one, and the description's value."""
    X, y = networks.data("cross_entropy", rows, 4, 3)
    weights = np.random.default_rng(0).random(rows)
    trainer = trainer_of("cross_entropy", batch_size=rows, backend=backend)
    trainer.lr = 0.0
    bound = trainer.bind(X, y, sample_weight=weights)
    ways = [
        bound.run(np.arange(rows))[0], bound.run_full(1)[0], bound.run_full(2)[1], next(bound.steps(np.arange(rows))),
        trainer.value_and_grad(theta(trainer), X, y, weights)[0],
    ]  # fmt: skip
    expected = fnn.CrossEntropy().value(trainer.model.predict(X), y, weights)
    np.testing.assert_allclose(ways, expected, rtol=1e-12)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("factor", [2.0**-40, 1e-60, 1e-300, 1e60, 1e300])
def test_only_ratios_of_weights_count(factor: float, dtype: str) -> None:
    X, y = networks.data("cross_entropy", 40, 4, 3, dtype)
    weights, found = np.random.default_rng(0).random(40), []
    for given in (weights, factor * weights):
        net = model(dtype=dtype)
        history = net.fit(
            X, y, loss="cross_entropy", epochs=2, batch_size=16, sample_weight=given, progress=False,
            class_weight=[factor, 3 * factor, 2 * factor] if given is not weights else [1.0, 3.0, 2.0],
        )  # fmt: skip
        found.append(np.concatenate([history.columns["loss"], networks.numbers(net)]))
    np.testing.assert_allclose(found[1], found[0], rtol=1e-4 if dtype == "float32" else 1e-12)


@pytest.mark.parametrize("backend", networks.BACKENDS)
def test_each_batch_is_divided_by_its_own_weights(backend: str) -> None:
    X, y = networks.data("mse", 50, 4, 3)
    weights = np.random.default_rng(1).random(50)
    order = np.random.default_rng(2).permutation(50)
    trainer = trainer_of("mse", backend=backend)
    trainer.lr = 0.0
    losses = trainer.run(X, y, order, sample_weight=weights)
    outputs = trainer.model.predict(X)
    expected = []
    for first in range(0, 50, 16):
        rows = order[first : first + 16]
        terms = ((outputs - y)[rows] ** 2).mean(axis=1)
        expected.append((weights[rows] * terms).sum() / weights[rows].sum())
    np.testing.assert_allclose(losses, expected, rtol=1e-12)


@pytest.mark.parametrize("backend", networks.BACKENDS)
@pytest.mark.parametrize("loss", LOSSES)
def test_a_batch_whose_weights_are_zero_has_loss_zero_and_moves_nothing(loss: str, backend: str) -> None:
    trainer = trainer_of(loss, backend=backend)
    X, y = networks.data(loss, 32, 4, trainer.model.parameters.outputs)
    before = networks.numbers(trainer.model)
    weights = np.repeat([0.0, 1.0], 16)
    assert trainer.run(X, y, np.arange(16), sample_weight=weights)[0] == 0
    assert networks.numbers(trainer.model).tobytes() == before.tobytes()
    assert trainer.run(X, y, steps=1, sample_weight=np.zeros(32))[0] == 0
    assert networks.numbers(trainer.model).tobytes() == before.tobytes()


@pytest.mark.parametrize("rows", [40, 1300])
def test_optimizers_that_search_weigh_rows(rows: int) -> None:
    X, y = networks.data("cross_entropy", rows, 4, 3)
    times, found = np.arange(rows) % 3, []
    again = np.repeat(np.arange(rows), times)
    for data, weights in (((X, y), times), ((X[again], y[again]), None)):
        trainer = fnn.Trainer(model(), "cross_entropy", fnn.LBFGS(), batch_size=2 * rows)
        found.append(trainer.run(*data, steps=4, sample_weight=weights))
    np.testing.assert_allclose(found[1], found[0], rtol=1e-6)


@built_only
def test_c_and_numba_trainings_with_weights_write_the_same_bits_on_any_number_of_threads() -> None:
    X, y = networks.data("cross_entropy", 1300, 4, 3)
    weights, found = np.random.default_rng(0).random(1300), []
    for backend, threads in (("numba", 1), ("c", 1), ("c", 2), ("c", 3)):
        trainer = trainer_of("cross_entropy", backend=backend, threads=threads)
        losses = [
            trainer.run(X, y, np.arange(1300), sample_weight=weights),
            trainer.run(X, y, steps=3, sample_weight=weights),
        ]
        found.append((np.concatenate(losses).tobytes(), networks.numbers(trainer.model).tobytes()))
    assert all(one == found[0] for one in found)


# fit and evaluate.


def fitted(**options: Any) -> tuple[fnn.Sequential, fnn.History]:
    X, y = networks.data("cross_entropy", 60, 4, 3)
    net = model()
    arguments = {"loss": "cross_entropy", "epochs": 3, "batch_size": 16, "progress": False, **options}
    return net, net.fit(X, y, **arguments)


def test_class_weights_are_the_weights_of_their_rows() -> None:
    y = networks.data("cross_entropy", 60, 4, 3)[1]
    by_class = [0.5, 2.0, 1.0]
    histories = [
        fitted(class_weight={0: 0.5, 1: 2.0}), fitted(class_weight=by_class),
        fitted(sample_weight=np.array(by_class)[y]),
        fitted(class_weight=by_class, sample_weight=np.ones(60)),
    ]  # fmt: skip
    for net, history in histories[1:]:
        assert history.columns["loss"] == histories[0][1].columns["loss"]
        assert networks.numbers(net).tobytes() == networks.numbers(histories[0][0]).tobytes()
    assert histories[0][1].columns["loss"] != fitted()[1].columns["loss"]


def test_balanced_class_weights_are_scikit_learns() -> None:
    labels = np.array([0, 0, 0, 0, 0, 2, 2, 2], np.int32)
    expected = np.array([8 / (2 * 5), 8 / 2, 8 / (2 * 3)])  # a class without rows: nobody asks
    np.testing.assert_allclose(class_weights("balanced", fnn.CrossEntropy(), labels, 3), expected)
    one_hot = np.eye(3)[labels]
    np.testing.assert_allclose(class_weights("balanced", fnn.CrossEntropy(), one_hot, 3), expected)
    yes = np.array([[1.0], [0], [0], [0]])
    for loss in (fnn.BCE(), fnn.BinaryFocal(), fnn.Hinge()):
        targets = np.where(yes == 0, -1, 1) if isinstance(loss, fnn.Hinge) else yes
        np.testing.assert_allclose(class_weights("balanced", loss, targets, 1), [4 / 6, 4 / 2])


def test_the_loss_of_an_epoch_is_the_weighted_mean_over_its_rows() -> None:
    X, y = networks.data("cross_entropy", 50, 4, 3)
    weights = np.random.default_rng(3).random(50)
    net = model()
    expected = fnn.CrossEntropy().value(net.predict(X), y, weights)
    for batch_size in (16, 50):
        history = net.copy().fit(
            X, y, loss="cross_entropy", optimizer=fnn.SGD(1e-300), epochs=2, batch_size=batch_size,
            sample_weight=weights, progress=False,
        )  # fmt: skip
        np.testing.assert_allclose(history.columns["loss"], expected, rtol=1e-12)


@pytest.mark.parametrize("batch_size", [16, 100])
def test_the_validation_split_takes_its_weights_along(batch_size: int) -> None:
    X, y = networks.data("cross_entropy", 60, 4, 3)
    weights, by_class = np.random.default_rng(3).random(60), np.array([1.0, 0.25, 3.0])
    rows, held = split_rows(60, 0.3, model().seed)
    net = model()
    history = net.fit(
        X, y, loss="cross_entropy", optimizer=fnn.SGD(1e-300), epochs=1, batch_size=batch_size, validation_split=0.3,
        sample_weight=weights, class_weight=by_class, progress=False,
    )  # fmt: skip
    of_rows = weights * by_class[y]
    for name, part in (("loss", rows), ("val_loss", held)):
        expected = fnn.CrossEntropy().value(net.predict(X[part]), y[part], of_rows[part])
        np.testing.assert_allclose(history.columns[name], expected, rtol=1e-12)
    whole = model().fit(
        X[rows], y[rows], loss="cross_entropy", optimizer=fnn.SGD(1e-300), epochs=1, batch_size=batch_size,
        validation_data=(X[held], y[held], weights[held]), sample_weight=weights[rows], class_weight=by_class,
        progress=False,
    )  # fmt: skip
    np.testing.assert_allclose(whole.columns["val_loss"], history.columns["val_loss"], rtol=1e-14)


def test_evaluate_weighs_the_loss_and_not_the_metrics() -> None:
    X, y = networks.data("cross_entropy", 40, 4, 3)
    weights, net = np.random.default_rng(0).random(40), model()
    scores = net.evaluate(X, y, loss="cross_entropy", sample_weight=weights)
    assert scores["loss"] == fnn.CrossEntropy().value(net.predict(X), y, weights)
    assert scores["accuracy"] == net.evaluate(X, y, loss="cross_entropy")["accuracy"]


def test_balanced_weights_help_the_rare_class() -> None:
    generator = np.random.default_rng(0)
    X = np.concatenate([generator.normal(0, 1, (950, 2)), generator.normal(1.5, 1, (50, 2))])
    y = np.repeat([0, 1], [950, 50])
    found = []
    for class_weight in (None, "balanced"):
        net = fnn.Sequential([fnn.Dense(2)], inputs=2, seed=0)
        net.fit(
            X, y, loss="cross_entropy", optimizer=fnn.Adam(0.05), epochs=20, class_weight=class_weight, progress=False
        )
        found.append((net.predict(X[950:]).argmax(axis=1) == 1).mean())
    assert found[0] < 0.5 < 0.75 < found[1]


MISTAKES: list[tuple[dict[str, Any], str]] = [
    ({"sample_weight": np.ones(59)}, r"sample_weight: has shape \(59,\), expected \(60,\)"),
    ({"sample_weight": np.ones((60, 2))}, r"sample_weight: has shape \(60, 2\)"),
    (
        {"sample_weight": np.where(np.arange(60) == 7, -1.0, 1.0)},
        "sample_weight: row 7 is -1.0, expected finite numbers",
    ),
    ({"sample_weight": np.where(np.arange(60) == 7, np.nan, 1.0)}, "sample_weight: row 7 is nan"),
    ({"sample_weight": np.zeros(60)}, "the weights of all rows to train on are 0"),
    ({"class_weight": "even"}, "class_weight='even': expected 'balanced', a dict or an array of 3 numbers"),
    ({"class_weight": {3: 1.0}}, "class_weight: has a weight for class 3, expected classes from 0 to 2"),
    ({"class_weight": {0: -1.0}}, "class_weight.*must be at least 0"),
    ({"class_weight": [1.0, 2.0]}, r"class_weight: has shape \(2,\), expected \(3,\)"),
    ({"validation_data": (np.zeros((5, 4)), np.zeros(5), np.ones(4))}, r"sample_weight: has shape \(4,\)"),
]


@pytest.mark.parametrize(("options", "message"), MISTAKES)
def test_weights_that_do_not_fit_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        fitted(**options)


def test_losses_without_classes_refuse_class_weights() -> None:
    X = np.zeros((6, 4))
    for loss, y, message in (
        ("mse", np.zeros((6, 3)), "class_weight: loss='mse' has no classes; give sample_weight"),
        ("bce", np.zeros((6, 3)), "class_weight: loss='bce' has 3 questions here"),
        ("cross_entropy", np.full((6, 3), 1 / 3), "row 0 of the targets is of several classes"),
    ):
        with pytest.raises(ValueError, match=message):
            model().fit(X, y, loss=loss, class_weight="balanced", progress=False)
    with pytest.raises(ValueError, match="targets that are yes or no"):
        model(1).fit(X, np.full(6, 0.5), loss="bce", class_weight="balanced", progress=False)


def test_weights_of_validation_data_that_are_all_zero_are_refused() -> None:
    X, y = networks.data("mse", 20, 3, 2)
    model = fnn.Sequential([fnn.Dense(2)], inputs=3)
    with pytest.raises(ValueError, match="the weights of all rows are 0"):
        model.fit(X, y, loss="mse", validation_data=(X, y, np.zeros(20)), progress=False)
    with pytest.raises(ValueError, match="the weights of all rows are 0"):
        model.evaluate(X, y, loss="mse", sample_weight=np.zeros(20))
