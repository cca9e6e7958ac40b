"""Losses of one's own: a Python function instead of an operation, with all that a training promises."""

import copy
import os
import pickle
import signal
import threading
from collections.abc import Callable
from functools import partial
from typing import Any

import networks
import numpy as np
import pytest

import fastnn as fnn
from fastnn import batches

Array = np.ndarray[Any, Any]


def squares(outputs: Array, targets: Array) -> tuple[float, Array]:
    """MSE, by hand."""
    difference = outputs - targets
    return float((difference**2).mean()), 2 * difference / difference.size


def softmax(outputs: Array, labels: Array) -> tuple[float, Array]:
    """Cross-entropy, by hand."""
    shares = np.exp(outputs - outputs.max(axis=1, keepdims=True))
    shares /= shares.sum(axis=1, keepdims=True)
    rows = np.arange(len(labels))
    value = -np.log(shares[rows, labels]).mean()
    shares[rows, labels] -= 1
    return value, shares / len(labels)


def model(mix: str = "tanh", dtype: str = "float64") -> fnn.Sequential:
    return networks.network(mix, 4, 7, 3, dtype)


PAIRS = {"mse": squares, "cross_entropy": softmax}


@pytest.mark.parametrize("backend", networks.BACKENDS)
@pytest.mark.parametrize("mix", ["relu", "all kinds", "dropout last", "one layer"])
@pytest.mark.parametrize("name", PAIRS)
def test_training_with_a_function_is_training_with_the_loss_that_it_computes(name: str, mix: str, backend: str) -> None:
    X, y = networks.data(name, 50, 4, 3)
    order, found = np.random.default_rng(0).permutation(50), []
    for loss in (name, PAIRS[name]):
        net = model(mix)
        bound = fnn.Trainer(net, loss, batch_size=16, backend=backend).bind(X, y)
        losses = [bound.run(order), bound.run(order[:48].reshape(3, 16), [0.01, 0.0, 0.02]), bound.run_full(2)]
        losses.append(np.array(list(bound.steps(order))))
        found.append(np.concatenate([*losses, networks.numbers(net)]))
    np.testing.assert_allclose(found[1], found[0], rtol=1e-8, atol=1e-11)


def test_value_and_gradient_are_those_of_the_loss_that_it_computes() -> None:
    X, y = networks.data("mse", 30, 4, 3)
    net = model("all kinds")
    theta = net.parameters.flatten(net.parameters.arena)
    value, gradient = fnn.Trainer(net, "mse").value_and_grad(theta, X, y)
    own, own_gradient = fnn.Trainer(net, squares).value_and_grad(theta, X, y)
    np.testing.assert_allclose(own, value, rtol=1e-13)
    np.testing.assert_allclose(own_gradient, gradient, rtol=1e-10, atol=1e-14)
    assert fnn.gradcheck(net, squares, X, y, samples=30).error < 1e-5


@pytest.mark.parametrize("batch_size", [16, 100])
def test_fit_with_a_function_has_the_history_of_the_loss_that_it_computes(batch_size: int) -> None:
    X, y = networks.data("mse", 60, 4, 3)
    histories = []
    for loss in ("mse", squares):
        net = model("all kinds")
        history = net.fit(X, y, loss=loss, epochs=3, batch_size=batch_size, validation_split=0.2, progress=False,
                          schedule=fnn.Cosine(3).per_step(), metrics="rmse")  # fmt: skip
        histories.append((history, net))
    for name in ("loss", "val_loss", "val_rmse", "lr"):
        np.testing.assert_allclose(histories[1][0].columns[name], histories[0][0].columns[name], rtol=1e-8)
    assert isinstance(histories[1][1].loss, fnn.CustomLoss)
    assert set(histories[1][1].evaluate(X, y)) == {"loss"}
    np.testing.assert_allclose(
        histories[1][1].evaluate(X, y)["loss"], histories[0][1].evaluate(X, y)["loss"], rtol=1e-7
    )


def test_optimizers_clip_and_average_as_with_the_loss_that_it_computes() -> None:
    X, y = networks.data("mse", 60, 4, 3)
    optimizer, found = fnn.Adam(lr=0.01, clip_norm=0.2, ema_decay=0.9), []
    for loss in ("mse", squares):
        net = model()
        history = net.fit(X, y, loss=loss, optimizer=optimizer, epochs=3, batch_size=16, progress=False)
        found.append(np.concatenate([history.columns["loss"], networks.numbers(net)]))
    np.testing.assert_allclose(found[1], found[0], rtol=1e-8)


def test_penalties_of_layers_are_part_of_the_loss() -> None:
    X, y = networks.data("mse", 40, 4, 3)
    found = []
    for loss in ("mse", squares):
        net = fnn.Sequential([fnn.Dense(5, "tanh", l1=0.1), fnn.Dense(3, l2=0.1)], inputs=4, dtype="float64")
        losses = fnn.Trainer(net, loss, batch_size=16).run(X, y, np.arange(40))
        found.append(np.concatenate([losses, networks.numbers(net)]))
    np.testing.assert_allclose(found[1], found[0], rtol=1e-10)


def test_targets_are_whatever_the_function_takes() -> None:
    X = np.random.default_rng(0).standard_normal((20, 4))
    words = np.array(["up", "down"])[np.arange(20) % 2]
    seen: list[Any] = []

    def function(outputs: Array, targets: Array) -> tuple[float, Array]:
        seen.append(targets)
        wanted = np.where(targets == "up", 1.0, -1.0)[:, None]
        return squares(outputs, wanted + 0 * outputs)

    model().fit(X, words, loss=function, epochs=2, batch_size=8, progress=False)
    assert {len(targets) for targets in seen} == {8, 4}
    assert set(np.concatenate(seen)) == {"up", "down"}


def test_the_function_may_write_into_what_it_is_given() -> None:
    def greedy(outputs: Array, targets: Array) -> tuple[float, Array]:
        value, gradient = squares(outputs, targets)
        outputs[...], targets[...] = np.nan, np.nan
        return value, gradient

    X, y = networks.data("mse", 30, 4, 3)
    kept = y.copy()
    found = [fnn.Trainer(model(), fnn.CustomLoss(f, check=False), batch_size=16).run(X, y, np.arange(30))
             for f in (squares, greedy)]  # fmt: skip
    np.testing.assert_array_equal(found[0], found[1])
    np.testing.assert_array_equal(y, kept)


# What is checked.


def wrong(change: Callable[[float, Array], Any]) -> Callable[[Array, Array], Any]:
    def function(outputs: Array, targets: Array) -> Any:
        return change(*squares(outputs, targets))

    return function


def with_nan(value: float, gradient: Array) -> Any:
    gradient[1, 2] = np.nan
    return value, gradient


MISTAKES: dict[str, tuple[Callable[[float, Array], Any], type[Exception], str]] = {
    "no pair": (lambda value, gradient: value, TypeError, r"returned float, expected a pair \(value, gradient\)"),
    "no number": (lambda value, gradient: ("3", gradient), TypeError, "the value is '3', expected one number"),
    "a value for each row": (lambda value, gradient: (gradient, gradient), TypeError, "expected one number"),
    "shape": (lambda value, gradient: (value, gradient.T), ValueError, r"has shape \(3, 16\), expected \(16, 3\)"),
    "no gradient": (lambda value, gradient: (value, None), TypeError, "the gradient: is None"),
    "not finite": (with_nan, ValueError, "the gradient at row 1, output 2 is nan"),
    "sum for mean": (lambda value, gradient: (value, gradient * gradient.size), ValueError, "the gradient at row 0"),
    "wrong sign": (lambda value, gradient: (value, -gradient), ValueError, "but the value changes by"),
    "no derivative": (lambda value, gradient: (value, 0 * gradient), ValueError, "but the value changes by"),
}  # fmt: skip


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", MISTAKES)
def test_a_function_that_returns_something_else_is_refused_before_a_step(name: str, dtype: str) -> None:
    change, error, message = MISTAKES[name]
    net = model(dtype=dtype)
    before = networks.numbers(net)
    X, y = networks.data("mse", 16, 4, 3, dtype)
    with pytest.raises(error, match=message):
        net.fit(X, y, loss=wrong(change), progress=False)
    assert networks.numbers(net).tobytes() == before.tobytes()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("loss", ["mae", "huber", "hinge", "quantile", "poisson", "bce", "squared_hinge", "log_cosh"])
def test_right_gradients_pass_the_check_kinks_included(loss: str, dtype: str) -> None:
    from fastnn.losses import get_loss
    from fastnn.ops import __getattr__ as operation

    described = get_loss(loss)

    def function(outputs: Array, targets: Array) -> tuple[float, Array]:
        z, t = np.ascontiguousarray(outputs.T), np.ascontiguousarray(targets.astype(outputs.dtype).T)
        dz, value = np.empty_like(z), np.empty(1)
        operation(loss)(dz=dz, loss=value, z=z, targets=t, weights=None, scale=1 / z.size, weighted=0,
                        **described.scalars())  # fmt: skip
        return value[0], dz.T

    X, y = networks.data(loss, 32, 4, 3, dtype)
    y = described.check_targets(y, 3, dtype)
    for net in (model(dtype=dtype), fnn.Sequential([fnn.Dense(3, weight_init="zeros")], inputs=4, dtype=dtype)):
        net.fit(np.zeros_like(X), 0 * y if loss in ("mae", "quantile") else y, loss=function, epochs=2, progress=False)


def test_the_check_can_be_left_out() -> None:
    generator = np.random.default_rng(0)

    def noisy(outputs: Array, targets: Array) -> tuple[float, Array]:
        value, gradient = squares(outputs, targets)
        return value + generator.normal(), gradient

    X, y = networks.data("mse", 16, 4, 3)
    with pytest.raises(ValueError, match=r"CustomLoss\(function, check=False\) does not look"):
        model().fit(X, y, loss=noisy, progress=False)
    assert model().fit(X, y, loss=fnn.CustomLoss(noisy, check=False), epochs=2, progress=False).epochs == 2


def test_errors_of_the_function_come_out_as_they_are_and_the_model_is_whole() -> None:
    calls = []

    def failing(outputs: Array, targets: Array) -> tuple[float, Array]:
        calls.append(1)
        if len(calls) == 4:
            raise LookupError("of the user")
        return squares(outputs, targets)

    X, y = networks.data("mse", 32, 4, 3)
    net = model()
    with pytest.raises(LookupError, match="of the user"):
        net.fit(X, y, loss=fnn.CustomLoss(failing, check=False), batch_size=16, progress=False)
    assert np.isfinite(net.predict(X)).all()


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_value_that_is_not_finite_ends_the_training(bad: float) -> None:
    calls = []

    def diverging(outputs: Array, targets: Array) -> tuple[float, Array]:
        calls.append(1)
        value, gradient = squares(outputs, targets)
        return (bad if len(calls) > 3 else value), gradient

    X, y = networks.data("mse", 32, 4, 3)
    net = model()
    with pytest.raises(fnn.NonFiniteLoss, match="epoch 2, step 2 of 2") as caught:
        net.fit(X, y, loss=fnn.CustomLoss(diverging, check=False), batch_size=16, progress=False)
    assert np.isfinite(net.predict(X)).all()
    assert "those of the end of epoch 1" in str(caught.value)
    trainer = fnn.Trainer(model(), fnn.CustomLoss(diverging, check=False), batch_size=16)
    before = networks.numbers(trainer.model)
    with pytest.raises(fnn.NonFiniteLoss) as caught:
        trainer.run(X, y, np.arange(32))
    assert caught.value.step == 0
    assert networks.numbers(trainer.model).tobytes() == before.tobytes()


def test_ctrl_c_ends_a_training_between_steps() -> None:
    X, y = networks.data("mse", 64, 4, 3)
    net, main = model(), threading.main_thread().ident
    assert main is not None
    timer = threading.Timer(0.3, lambda: signal.pthread_kill(main, signal.SIGINT) if os.name == "posix" else None)
    timer.start()
    try:
        history = net.fit(X, y, loss=squares, epochs=1_000_000, batch_size=16, progress=False)
    finally:
        timer.cancel()
    assert history.stopped == "interrupted"
    assert np.isfinite(net.predict(X)).all()


# Weights of rows.


def weighted_softmax(outputs: Array, labels: Array, sample_weight: Array | None = None) -> tuple[float, Array]:
    weights = np.ones(len(labels)) if sample_weight is None else sample_weight
    z = np.asarray(outputs, np.float64)
    p = np.exp(z - z.max(axis=1, keepdims=True))
    p /= p.sum(axis=1, keepdims=True)
    hit = np.arange(len(labels)), labels
    value = -(weights * np.log(p[hit])).sum() / weights.sum()
    p[hit] -= 1
    return float(value), p * (weights / weights.sum())[:, None]


def rows_of(data: tuple[Array, ...], size: int) -> list[tuple[Array, ...]]:
    return [tuple(part[first : first + size] for part in data) for first in range(0, len(data[0]), size)]


@pytest.mark.parametrize("batch_size", [8, 40, 32])
@pytest.mark.parametrize(
    ("form", "class_weight"),
    [("arrays", None), ("arrays", "balanced"), ("arrays", {0: 3.0}), ("batches", None), ("batches", [1.0, 0.25, 2.0])],
)
def test_a_function_with_weights_trains_as_the_loss_that_it_computes(
    form: str, batch_size: int, class_weight: Any
) -> None:
    X, y = networks.data("cross_entropy", 40, 4, 3)
    weights = np.random.default_rng(0).uniform(0.5, 20.0, 40)
    held = X[:10], y[:10], weights[:10]
    histories, nets = [], [model(), model()]
    for net, loss in zip(nets, (weighted_softmax, "cross_entropy"), strict=True):
        given: Any = {"X": X, "y": y, "sample_weight": weights, "batch_size": batch_size}
        if form == "batches":
            given = {"X": rows_of((X, y, weights), batch_size)}
        histories.append(
            net.fit(
                **given,
                loss=loss,
                class_weight=class_weight,
                epochs=3,
                validation_data=held,
                progress=False,
                metrics=[],
            )
        )
    for one, other in zip(nets[0].get_weights(), nets[1].get_weights(), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-9, atol=1e-12)
    for name in ("loss", "val_loss"):
        np.testing.assert_allclose(histories[0][name], histories[1][name], rtol=1e-10)
    scores = [
        net.evaluate(X, y, loss=loss, sample_weight=weights, metrics=[])
        for net, loss in zip(nets, (weighted_softmax, "cross_entropy"), strict=True)
    ]
    np.testing.assert_allclose(scores[0]["loss"], scores[1]["loss"], rtol=1e-9)


@pytest.mark.parametrize("optimizer", ["lbfgs", "ars"])
def test_searches_give_the_function_its_weights(optimizer: str) -> None:
    X, y = networks.data("cross_entropy", 40, 4, 3)
    weights = np.random.default_rng(0).uniform(0.5, 20.0, 40)
    nets = [model(), model()]
    for net, loss in zip(nets, (weighted_softmax, "cross_entropy"), strict=True):
        net.fit(X, y, loss=loss, optimizer=optimizer, epochs=3, batch_size=40, sample_weight=weights, progress=False)
    for one, other in zip(nets[0].get_weights(), nets[1].get_weights(), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-6, atol=1e-8)


def test_weights_come_as_they_were_given_and_may_be_written_into() -> None:
    X, y = networks.data("cross_entropy", 16, 4, 3)
    weights, seen = np.linspace(3.0, 1e300, 16), []

    def loss(outputs: Array, labels: Array, sample_weight: Array | None) -> tuple[float, Array]:
        seen.append(None if sample_weight is None else sample_weight.copy())
        if sample_weight is not None:
            sample_weight[...] = np.nan
        return softmax(outputs, labels)

    def given(**named: Any) -> list[float] | None:
        """What each call of a training was given; the first one is checked, by several."""
        seen.clear()
        net.fit(X, y, loss=loss, epochs=1, shuffle=False, progress=False, **named)
        assert all(np.array_equal(one, seen[0]) for one in seen)
        return None if seen[0] is None else seen[0].tolist()

    net = model(dtype="float32")
    assert given(sample_weight=weights) == weights.tolist()
    assert np.isfinite(weights).all()
    assert given(sample_weight=np.full(16, 3), class_weight={1: 5}) == np.where(y == 1, 15.0, 3.0).tolist()
    assert given(class_weight=[3.0, 5.0, 7.0]) == np.array([3.0, 5.0, 7.0])[y].tolist()
    assert given() is None
    seen.clear()
    net.evaluate(X, y, loss=loss, sample_weight=weights)
    assert [one.tolist() for one in seen] == [weights.tolist()]


def test_the_default_of_the_argument_stands_where_there_are_no_weights() -> None:
    """None would be no number to multiply by, and would undo what `partial` has filled in."""
    X, y = networks.data("mse", 16, 4, 3)
    nets = [model(), model(), model()]

    def loss(outputs: Array, targets: Array, sample_weight: Any = 1.0) -> tuple[float, Array]:
        value, gradient = squares(outputs, targets)
        return float(np.mean(sample_weight) * value), np.mean(sample_weight) * gradient

    ways = (squares, 0.25), (loss, 0.25), (partial(loss, sample_weight=2.0), 0.125)
    for net, (own, rate) in zip(nets, ways, strict=True):
        net.fit(X, y, loss=own, optimizer=fnn.SGD(rate), epochs=2, progress=False)
        assert np.isfinite(net.evaluate(X, y, loss=own)["loss"])
    for net in nets[1:]:
        for one, other in zip(net.get_weights(), nets[0].get_weights(), strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-12)


@pytest.mark.parametrize("together", [True, False])
def test_batches_without_weights_have_none_whatever_is_drawn_beside_them(
    together: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """How many are drawn at once depends on the clock."""
    if not together:
        monkeypatch.setattr(batches, "GATHER_BYTES", 1)
    X, y = networks.data("cross_entropy", 16, 4, 3)
    given, seen = [(X, y), (X, y, np.full(16, 3.0)), (X, y), (X, y, None), (X[:9], y[:9], np.full(9, 2.0))], []

    def loss(outputs: Array, labels: Array, sample_weight: Array | None = None) -> tuple[float, Array]:
        seen.append(None if sample_weight is None else sample_weight.tolist())
        return weighted_softmax(outputs, labels, sample_weight)

    nets = [model(), model()]
    own: Any = fnn.CustomLoss(loss, check=False)
    histories = [
        net.fit(given, loss=one, epochs=2, progress=False)
        for net, one in zip(nets, (own, "cross_entropy"), strict=True)
    ]
    assert seen == [None, [3.0] * 16, None, None, [2.0] * 9] * 2
    np.testing.assert_allclose(histories[0]["loss"], histories[1]["loss"], rtol=1e-10)


def test_a_function_without_an_argument_for_weights_is_refused_them() -> None:
    X, y = networks.data("mse", 16, 4, 3)
    ones, net = np.ones(16), model()
    before = [values.copy() for values in net.get_weights()]
    for call in (
        lambda: net.fit(X, y, loss=squares, sample_weight=ones, progress=False),
        lambda: net.fit(X, y, loss=squares, class_weight="balanced", progress=False),
        lambda: net.fit([(X, y, ones)], loss=squares, progress=False),
        lambda: net.evaluate(X, y, loss=squares, sample_weight=ones),
        lambda: fnn.Trainer(net, squares).bind(X, y, sample_weight=ones),
    ):
        with pytest.raises(
            ValueError, match=r"the loss 'squares' takes no weights; .* \(outputs, targets, sample_weight\)"
        ):
            call()
    for one, other in zip(net.get_weights(), before, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(
    ("y", "message"),
    [
        (np.zeros((16, 3)), r"y has shape \(16, 3\) and dtype float64, expected whole numbers \(rows,\)"),
        (np.arange(16), "y has class 3 in row 3, expected 0 to 2"),
        (-np.ones(16, int), "y has class -1 in row 0"),
    ],
)
@pytest.mark.parametrize("split", [0.0, 0.25])
def test_targets_that_are_no_classes_are_refused_class_weights(y: Array, message: str, split: float) -> None:
    settings: dict[str, Any] = {"class_weight": "balanced", "validation_split": split, "progress": False}
    with pytest.raises(ValueError, match=f"class_weight: {message}"):
        model().fit(np.zeros((16, 4)), y, loss=weighted_softmax, **settings)


@pytest.mark.parametrize(
    ("y", "error", "message"),
    [
        (None, TypeError, "give the targets y"),
        (3.0, ValueError, r"y: has shape \(\)"),
        (np.zeros(5), ValueError, "y: has 5 rows, expected 16"),
        (np.full((16, 3), np.nan), ValueError, r"y: entry \(0, 0\) is nan"),
    ],
)
def test_targets_without_rows_are_refused(y: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        model().fit(np.zeros((16, 4)), y, loss=squares, progress=False)


def test_what_is_no_function_is_refused() -> None:
    with pytest.raises(TypeError, match=r"CustomLoss\(function='mse'\): function must take"):
        fnn.CustomLoss("mse")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="check must be True or False"):
        fnn.CustomLoss(squares, check="yes")  # type: ignore[arg-type]


# Files and copies.


def test_a_model_is_saved_without_a_loss_of_ones_own(tmp_path: Any) -> None:
    X, y = networks.data("mse", 16, 4, 3)
    net = model()
    net.fit(X, y, loss=squares, epochs=1, progress=False)
    net.save(tmp_path / "net")
    loaded = fnn.load(tmp_path / "net")
    assert loaded.loss is None
    np.testing.assert_array_equal(loaded.predict(X), net.predict(X))
    with pytest.raises(ValueError, match="was not fitted yet"):
        loaded.evaluate(X, y)


def test_copies_and_pickles_keep_the_function() -> None:
    X, y = networks.data("mse", 16, 4, 3)
    net = model()
    net.fit(X, y, loss=squares, epochs=1, progress=False)
    for twin in (net.copy(), copy.deepcopy(net), pickle.loads(pickle.dumps(net))):
        assert twin.loss == net.loss == fnn.CustomLoss(squares)
        assert twin.evaluate(X, y) == net.evaluate(X, y)


def test_numbers_in_a_row_come_as_a_column_beside_one_output() -> None:
    seen: list[tuple[Any, Any]] = []

    def squared(outputs: Array, targets: Array) -> tuple[float, Array]:
        seen.append((outputs.shape, targets.shape))
        difference = outputs - targets
        return float(np.mean(difference**2)), 2 * difference / difference.size

    X = np.random.default_rng(0).standard_normal((40, 3))
    models = [fnn.Sequential([fnn.Dense(1)], inputs=3, dtype="float64") for _ in range(2)]
    for model, loss in zip(models, (squared, "mse"), strict=True):
        model.fit(X, X[:, 0], loss=loss, epochs=3, batch_size=8, progress=False, metrics=["mae"])
    assert set(map(tuple, seen)) == {((8, 1), (8, 1))}
    np.testing.assert_allclose(models[0].get_weights()[0], models[1].get_weights()[0], rtol=1e-12)
