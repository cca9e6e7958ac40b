"""Optimizers without gradients, and L-BFGS: by their formulas, by SciPy called directly, and in fit."""

import gc
import signal
import threading
from typing import Any

import cases
import networks
import numpy as np
import pytest
from scipy.optimize import minimize

import fastnn as fnn
from fastnn import randomness
from fastnn.optimizers import SEARCHES

Array = np.ndarray[Any, Any]
X, Y = networks.data("mse", 60, 4, 2)
X = 3 * X + 5  # far from standardised


def network(dtype: str = "float64") -> fnn.Sequential:
    return fnn.Sequential([fnn.Dense(6, "tanh"), fnn.Dense(2)], inputs=4, dtype=dtype, seed=7)


def flat(model: fnn.Sequential) -> Array:
    return model.parameters.flatten(model.parameters.arena).astype(np.float64)


def loss_at(theta: Array, rows: Array) -> float:
    model = network()
    model.parameters.unflatten(theta)
    return float(np.mean((model.predict(X[rows], backend="reference") - Y[rows]) ** 2))


def directions(step: int) -> np.random.Generator:
    return randomness.Stream(randomness.key(7, randomness.SEARCH)).at(step)


def ars_by_hand(theta: Array, step: int, rows: Array, along: Any) -> Array:
    """One step of Algorithm 1 with N = 5, b = 3, noise 0.1 and lr 0.2."""
    generator = directions(step)
    drawn = [along(generator.standard_normal(len(theta))) for _ in range(5)]
    rewards = [(-loss_at(theta + 0.1 * d, rows), -loss_at(theta - 0.1 * d, rows)) for d in drawn]
    best = sorted(range(5), key=lambda k: -max(rewards[k]))[:3]
    deviation = np.std([reward for k in best for reward in rewards[k]])
    return theta + 0.2 / (3 * deviation) * sum((rewards[k][0] - rewards[k][1]) * drawn[k] for k in best)


def into_standardised(drawn: Array) -> Array:
    """A direction for the first layer on standardised inputs, as one for the layer on inputs as they are."""
    weight, bias, rest = drawn[:24].reshape(4, 6), drawn[24:30], drawn[30:]
    mean, deviation = X.mean(axis=0), X.std(axis=0)
    folded = weight / deviation[:, None]
    return np.concatenate([folded.ravel(), bias - mean @ folded, rest])


@pytest.mark.parametrize("backend", cases.BACKENDS)
@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("batch_size", [20, 60])
def test_ars_takes_the_steps_of_the_paper(batch_size: int, version: int, backend: str) -> None:
    model, theta = network(), flat(network())
    optimizer = fnn.ARS(lr=0.2, directions=5, top=3, noise=0.1, version=version)
    trainer = fnn.Trainer(model, "mse", optimizer, batch_size=batch_size, backend=backend)
    order = np.arange(60).reshape(-1, batch_size)
    bound = trainer.bind(X, Y)
    losses = bound.run(order) if batch_size < 60 else bound.run_full(2)
    for step in range(3 if batch_size < 60 else 2):
        rows = order[step % len(order)]
        assert losses[step] == pytest.approx(loss_at(theta, rows), rel=1e-12)
        theta = ars_by_hand(theta, step, rows, into_standardised if version == 2 else lambda drawn: drawn)
    np.testing.assert_allclose(flat(model), theta, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("distribution", ["normal", "rademacher"])
def test_two_point_takes_the_steps_of_its_formula(distribution: Any) -> None:
    model, theta = network(), flat(network())
    optimizer = fnn.TwoPoint(lr=0.05, directions=2, noise=1e-3, distribution=distribution)
    fnn.Trainer(model, "mse", optimizer, batch_size=30).run(X, Y, np.arange(60))
    for step, rows in enumerate(np.arange(60).reshape(2, 30)):
        generator, gradient = directions(step), np.zeros(len(theta))
        for _ in range(2):
            drawn = (
                generator.standard_normal(len(theta)) if distribution == "normal"
                else 2.0 * generator.integers(0, 2, len(theta)) - 1.0
            )  # fmt: skip
            gradient += (loss_at(theta + 1e-3 * drawn, rows) - loss_at(theta - 1e-3 * drawn, rows)) / 2e-3 * drawn / 2
        theta = theta - 0.05 * gradient
    np.testing.assert_allclose(flat(model), theta, rtol=1e-8, atol=1e-9)


def test_a_two_point_gradient_is_in_the_mean_the_gradient() -> None:
    # With Rademacher directions of two parameters all four can be averaged: no chance is left.
    def value(theta: Array) -> float:
        return float(3 * theta[0] - 2 * theta[1])

    class Both:
        def __init__(self) -> None:
            self.left = [np.array(d) for d in ([0, 0], [0, 1], [1, 0], [1, 1])]

        def integers(self, low: int, high: int, size: int) -> Array:
            return self.left.pop()

    optimizer = fnn.TwoPoint(lr=1.0, directions=4, distribution="rademacher")
    moved = optimizer.move(value, np.zeros(2), 1.0, Both(), lambda drawn: drawn)  # type: ignore[arg-type]
    np.testing.assert_allclose(moved, [-3.0, 2.0], rtol=1e-9)


def scipys(steps: int) -> tuple[Array, list[float]]:
    """SciPy's L-BFGS called directly."""
    model, losses = network(), list[float]()
    trainer = fnn.Trainer(model, "mse")
    found = minimize(
        lambda theta: trainer.value_and_grad(theta, X, Y), flat(model), jac=True, method="L-BFGS-B",
        callback=lambda intermediate_result: losses.append(float(intermediate_result.fun)),
        options={"maxiter": steps, "maxcor": 10, "gtol": 1e-5, "ftol": 2.22e-9},
    )  # fmt: skip
    return found.x, losses


def test_lbfgs_in_fit_is_scipys_bit_for_bit() -> None:
    theta, losses = scipys(25)
    model = network()
    history = model.fit(X, Y, loss="mse", optimizer=fnn.LBFGS(), epochs=25, batch_size=60, progress=False)
    assert np.array_equal(flat(model), theta)
    assert history["loss"] == losses
    assert losses[-1] < 0.6 * loss_at(flat(network()), np.arange(60))


def threads_when_others_have_ended() -> int:
    """How many threads there are, when those whose data are gone have ended."""
    gc.collect()
    for thread in threading.enumerate():
        if thread.name == "fastnn-lbfgs":
            thread.join(5)
    return threading.active_count()


def test_lbfgs_stays_where_it_has_converged_and_leaves_no_thread() -> None:
    before = threads_when_others_have_ended()
    model = fnn.Sequential([fnn.Dense(1)], inputs=2, dtype="float64")
    data = np.random.default_rng(0).standard_normal((30, 2))
    trainer = fnn.Trainer(model, "mse", fnn.LBFGS(), batch_size=30)
    bound = trainer.bind(data, data @ [1.0, -2.0] + 3)
    losses = bound.run_full(60)
    assert losses[-1] == losses[-2] < 1e-8
    weights = flat(model)
    bound.run_full(5)
    assert np.array_equal(flat(model), weights)
    np.testing.assert_allclose(weights, [1, -2, 3], atol=1e-4)
    half = fnn.Trainer(network(), "mse", fnn.LBFGS(), batch_size=60).bind(X, Y)
    half.run_full(2)  # its thread waits for a third
    del half, bound
    assert threads_when_others_have_ended() == before


def test_lbfgs_raises_what_its_loss_raises_where_the_step_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    from fastnn.search import SearchBound

    bound = fnn.Trainer(network(), "mse", fnn.LBFGS(), batch_size=60).bind(X, Y)

    def wrong(self: Any, theta: Array) -> Any:
        raise KeyError("wrong")

    monkeypatch.setattr(SearchBound, "value_and_grad", wrong)
    with pytest.raises(KeyError, match="wrong"):
        bound.run_full(1)


@pytest.mark.parametrize("name", SEARCHES)
def test_searches_learn_in_fit_and_repeat_themselves(name: str) -> None:
    generator = np.random.default_rng(2)
    data = generator.standard_normal((200, 3))
    labels = (data @ [1.0, -1.0, 0.5] > 0).astype(int)
    optimizer = {"ars": fnn.ARS(lr=0.3, noise=0.1), "twopoint": fnn.TwoPoint(lr=0.1, directions=4), "lbfgs": "lbfgs"}
    results = []
    for _ in range(2):
        model = fnn.Sequential([fnn.Dense(2)], inputs=3, seed=1)
        history = model.fit(
            data, labels, loss="cross_entropy", optimizer=optimizer[name], epochs=40, batch_size=200,
            validation_data=(data, labels), progress=False,
        )  # fmt: skip
        assert history["val_accuracy"][-1] > 0.9
        assert history["loss"][-1] < 0.6 * history["loss"][0]
        results.append(flat(model))
    assert np.array_equal(*results)


@pytest.mark.parametrize("optimizer", [fnn.ARS(noise=0.05), fnn.TwoPoint()])
def test_steps_one_by_one_are_those_of_run(optimizer: Any) -> None:
    results = []
    for one_by_one in (False, True):
        model = network("float32")
        bound = fnn.Trainer(model, "mse", optimizer, batch_size=20).bind(X, Y)
        losses = list(bound.steps(np.arange(60))) if one_by_one else bound.run(np.arange(60)).tolist()
        results.append((losses, flat(model).tolist()))
    assert results[0] == results[1]


def test_a_search_moves_running_statistics_once_a_step_and_keeps_dropout_in_step() -> None:
    layers = [fnn.Dense(6), fnn.BatchNorm(), fnn.Dropout(0.5), fnn.Dense(2)]
    models = [fnn.Sequential(layers, inputs=4, dtype="float64", seed=3) for _ in range(2)]
    searched = fnn.Trainer(models[0], "mse", fnn.TwoPoint(lr=1e-9), batch_size=20)
    plain = fnn.Trainer(models[1], "mse", fnn.SGD(lr=1e-12), batch_size=20)
    losses = [trainer.run(X, Y, np.arange(60)) for trainer in (searched, plain)]
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-6)
    for mine, other in zip(models[0].parameters.buffers, models[1].parameters.buffers, strict=True):
        np.testing.assert_allclose(mine.value, other.value, rtol=1e-6)


def test_mistakes_are_named() -> None:
    with pytest.raises(ValueError, match=r"LBFGS.*takes all rows in each step, once; batch_size must be at least 60"):
        fnn.Trainer(network(), "mse", fnn.LBFGS(), batch_size=20).run(X, Y, np.arange(60))
    no_bias = fnn.Sequential([fnn.Dense(6, bias=False), fnn.Dense(2)], inputs=4)
    with pytest.raises(ValueError, match="the first layer must be Dense with a bias"):
        fnn.Trainer(no_bias, "mse", fnn.ARS(version=2), batch_size=60).run(X, Y, steps=1)
    with pytest.raises(ValueError, match="ARS: takes no weight_decay"):
        fnn.ARS(weight_decay=0.1)
    with pytest.raises(ValueError, match="top must be at most 4"):
        fnn.ARS(directions=4, top=5)
    with pytest.raises(ValueError, match="version must be at most 2"):
        fnn.ARS(version=3)
    with pytest.raises(ValueError, match="unknown distribution"):
        fnn.TwoPoint(distribution="uniform")  # type: ignore[arg-type]
    trainer = fnn.Trainer(network(), "mse", fnn.ARS(), batch_size=60)
    with pytest.raises(RuntimeError, match="makes no step of its own"):
        trainer.step()


def test_lbfgs_in_fit_takes_all_rows_by_itself_and_no_schedule() -> None:
    models = [network(), network()]
    models[0].fit(X, Y, loss="mse", optimizer="lbfgs", epochs=3, progress=False)
    models[1].fit(X, Y, loss="mse", optimizer=fnn.LBFGS(), batch_size=60, epochs=3, progress=False)
    assert np.array_equal(flat(models[0]), flat(models[1]))
    with pytest.raises(ValueError, match="LBFGS chooses its own steps"):
        models[0].fit(X, Y, loss="mse", optimizer="lbfgs", schedule=fnn.Cosine(3), progress=False)


def test_lbfgs_moves_running_statistics_along() -> None:
    layers = [fnn.Dense(9, "relu"), fnn.BatchNorm(), fnn.Dense(2)]
    model = fnn.Sequential(layers, inputs=4, dtype="float64", seed=1)
    history = model.fit(X, Y, loss="mse", optimizer="lbfgs", epochs=80, validation_data=(X, Y), progress=False)
    assert history["val_loss"][-1] == pytest.approx(history["loss"][-1], rel=0.1)


def test_ctrl_c_in_an_iteration_leaves_the_weights_of_the_last_one_and_nobody_at_work(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from fastnn.search import SearchBound

    theta, losses = scipys(3)
    model = network()
    bound = fnn.Trainer(model, "mse", fnn.LBFGS(), batch_size=60).bind(X, Y)
    assert bound.run_full(3).tolist() == losses
    right, main = SearchBound.value_and_grad, threading.main_thread().ident
    assert main is not None

    def interrupted(self: Any, theta: Array) -> Any:
        monkeypatch.setattr(SearchBound, "value_and_grad", right)
        signal.pthread_kill(main, signal.SIGINT)  # the main thread waits for this one
        return right(self, theta)

    monkeypatch.setattr(SearchBound, "value_and_grad", interrupted)
    with pytest.raises(KeyboardInterrupt):
        bound.run_full(1)
    assert not any(thread.name == "fastnn-lbfgs" and thread.is_alive() for thread in threading.enumerate())
    assert any(np.array_equal(flat(model), found) for found in (theta, scipys(4)[0]))  # not one that was only tried
    assert bound.run_full(1)[0] < losses[-1]


def test_lbfgs_begins_again_from_weights_that_were_changed() -> None:
    trainer = fnn.Trainer(network(), "mse", fnn.LBFGS(), batch_size=60)
    bound = trainer.bind(X, Y)
    bound.run_full(5)
    trainer.model.parameters.unflatten(flat(network()))
    assert bound.run_full(3).tolist() == scipys(3)[1]
    trainer.reset()
    trainer.model.parameters.unflatten(flat(network()))
    assert bound.run_full(2).tolist() == scipys(2)[1]


def squared(outputs: Array, targets: Array) -> tuple[float, Array]:
    difference = outputs - targets
    return float(np.mean(difference**2)), 2 * difference / difference.size


@pytest.mark.parametrize("optimizer", [fnn.ARS(noise=0.1), fnn.ARS(version=2), fnn.TwoPoint(), fnn.LBFGS()], ids=str)
def test_a_search_with_a_loss_of_ones_own_takes_the_steps_of_the_librarys(optimizer: Any) -> None:
    results = []
    for loss in ("mse", squared):
        model = network()
        model.fit(X, Y, loss=loss, optimizer=optimizer, epochs=3, batch_size=20, progress=False, shuffle=False)
        results.append(flat(model))
    np.testing.assert_allclose(results[0], results[1], rtol=1e-8, atol=1e-10)


def test_ars_needs_no_gradient_of_a_loss_of_ones_own() -> None:
    def wrong_answers(outputs: Array, labels: Array) -> tuple[float, None]:
        return float(np.mean(outputs.argmax(axis=1) != labels)), None

    generator = np.random.default_rng(4)
    data = generator.standard_normal((200, 3))
    labels = (data @ [1.0, -1.0, 0.5] > 0).astype(int)
    model = fnn.Sequential([fnn.Dense(2)], inputs=3, seed=1)
    optimizer = fnn.ARS(lr=0.3, noise=0.3)
    history = model.fit(
        data, labels, loss=wrong_answers, optimizer=optimizer, epochs=30, batch_size=200, progress=False
    )  # fmt: skip
    assert history["loss"][-1] < 0.1 < history["loss"][0]


def test_ars_leaves_out_losses_that_are_not_finite_and_diverges_where_none_is_left() -> None:
    optimizer = fnn.ARS(lr=1.0, directions=8, noise=1.0)
    drawn = directions(0)

    def value(theta: Array) -> float:
        return float(theta @ theta) if theta[0] > -1 else np.inf

    moved = optimizer.move(value, np.full(3, 2.0), 1.0, drawn, lambda d: d)
    assert np.isfinite(moved).all()
    assert not np.array_equal(moved, np.full(3, 2.0))
    with pytest.raises(fnn.NonFiniteLoss):
        network().fit(1e200 * X, Y, loss="mse", optimizer=fnn.ARS(noise=1e200), epochs=3, batch_size=60, progress=False)


def test_lbfgs_refuses_what_it_cannot_do() -> None:
    dropout = fnn.Sequential([fnn.Dense(3), fnn.Dropout(0.5), fnn.Dense(2)], inputs=4)
    with pytest.raises(ValueError, match="which Dropout has not"):
        fnn.Trainer(dropout, "mse", fnn.LBFGS(), batch_size=60).bind(X, Y)
    bound = fnn.Trainer(network(), "mse", fnn.LBFGS(), batch_size=60).bind(X, Y)
    with pytest.raises(ValueError, match="takes all rows in each step, once"):
        bound.run(np.zeros((1, 60), np.int64))
    with pytest.raises(ValueError, match="takes no rates"):
        bound.run(np.arange(60)[None], [0.1])
    with pytest.raises(ValueError, match="chooses its own steps"):
        fnn.lr_range_test(network(), X, Y, loss="mse", optimizer="lbfgs")
