"""The learning-rate range test: what it tries, where it ends, what it suggests, what it leaves alone."""

from typing import Any

import numpy as np
import pytest

import fastnn as fnn

Array = np.ndarray[Any, Any]


def data(rows: int = 200) -> tuple[Array, Array]:
    generator = np.random.default_rng(0)
    X = generator.standard_normal((rows, 5)).astype(np.float32)
    return X, X @ generator.standard_normal((5, 1)).astype(np.float32)


def network() -> fnn.Sequential:
    return fnn.Sequential([fnn.Dense(16, "tanh"), fnn.Dense(1)], inputs=5, seed=3)


def test_rates_grow_by_the_same_factor_from_low_to_high() -> None:
    found = fnn.lr_range_test(network(), *data(), loss="mse", low=1e-5, high=1e-2, steps=50)
    np.testing.assert_allclose(found.rates, np.geomspace(1e-5, 1e-2, 50), rtol=1e-12)
    assert found.losses.shape == found.smoothed.shape == (50,)


def test_losses_are_those_of_a_training_at_these_rates() -> None:
    X, y = data()
    found = fnn.lr_range_test(network(), X, y, loss="mse", low=1e-4, high=1e-1, steps=40, batch_size=20)
    from fastnn.training import Order

    order = Order(np.arange(200), True, 3)
    rows = np.concatenate([order(epoch) for epoch in range(4)])
    trainer = fnn.Trainer(network(), "mse", fnn.Adam(), batch_size=20)
    expected = trainer.bind(X, y).run(rows.reshape(40, 20), found.rates)
    assert found.losses.tobytes() == expected.tobytes()


def test_the_model_and_its_loss_are_left_as_they_are() -> None:
    model = network()
    before = [weight.tobytes() for weight in model.get_weights()]
    fnn.lr_range_test(model, *data(), loss="mse")
    assert [weight.tobytes() for weight in model.get_weights()] == before
    assert model.loss is None


def test_it_ends_where_the_loss_has_grown_too_large() -> None:
    found = fnn.lr_range_test(network(), *data(), loss="mse", optimizer=fnn.SGD(), low=1e-3, high=1e3, steps=300)
    assert len(found.rates) < 300
    assert np.isfinite(found.losses).all()
    beyond = found.smoothed > 4 * np.minimum.accumulate(found.smoothed)
    assert not beyond[:-1].any()
    assert found.rates[0] < found.steepest < found.lowest < found.rates[-1]


def test_smoothed_losses_are_a_moving_average_without_a_bias_at_the_start() -> None:
    found = fnn.lr_range_test(network(), *data(), loss="mse", steps=30)
    weights = 0.95 ** np.arange(30)
    for index in (0, 7, 29):
        own = weights[: index + 1][::-1]
        assert found.smoothed[index] == pytest.approx((own * found.losses[: index + 1]).sum() / own.sum())


def test_a_suggested_rate_trains_better_than_one_far_below_or_above() -> None:
    X, y = data()
    suggested = fnn.lr_range_test(network(), X, y, loss="mse", optimizer=fnn.SGD(), high=10.0).steepest
    losses = {}
    for factor in (1e-3, 1.0, 100.0):
        model = network()
        try:
            optimizer = fnn.SGD(lr=suggested * factor)
            model.fit(X, y, loss="mse", optimizer=optimizer, epochs=5, progress=False)
            losses[factor] = model.evaluate(X, y)["loss"]
        except fnn.NonFiniteLoss:
            losses[factor] = np.inf
    assert losses[1.0] < min(losses[1e-3], losses[100.0])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"low": 0.0}, "low must be above"),
        ({"low": 1.0, "high": 0.5}, "high must be above"),
        ({"steps": 2}, "steps must be at least 3"),
        ({"batch_size": 0}, "batch_size must be at least 1"),
        ({"loss": "msee"}, "did you mean 'mse'"),
    ],
)
def test_bad_arguments_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        fnn.lr_range_test(network(), *data(), **{"loss": "mse", **options})


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_it_draws_itself(theme: str, tmp_path: Any) -> None:
    pytest.importorskip("matplotlib")
    found = fnn.lr_range_test(network(), *data(), loss="mse", optimizer=fnn.SGD(), low=1e-3, high=1e3)
    figure = found.plot(tmp_path / "range.png", theme)
    assert figure.axes[0].get_xscale() == "log"
    assert (tmp_path / "range.png").stat().st_size > 5000
