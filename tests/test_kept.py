"""What is kept between trainings and between runs: plans of an architecture, and passes that are ready. It saves time
and changes nothing."""

import threading
import weakref
from typing import Any

import cases
import networks
import numpy as np
import pytest

import fastnn as fnn
from fastnn.plan import kept as kept_plans

Array = np.ndarray[Any, Any]
LAYERS = [fnn.Dense(7, "relu"), fnn.Dropout(0.3), fnn.Dense(3)]


def trainer_of(layers: list[Any] = LAYERS, backend: str = "auto", **settings: Any) -> fnn.Trainer:
    model = fnn.Sequential(layers, inputs=5, dtype=settings.pop("dtype", "float32"), seed=settings.pop("seed", 0))
    settings = {"loss": "cross_entropy", "optimizer": "adam", "batch_size": 8, **settings}
    return fnn.Trainer(model, backend=backend, **settings)


def weights(trainer: fnn.Trainer) -> list[bytes]:
    return [entry.value.tobytes() for entry in trainer.model.parameters.entries]


# Plans.


@pytest.mark.parametrize("change", [{"seed": 3}, {"optimizer": fnn.Adam(lr=0.5)}])
def test_models_that_differ_in_seed_or_learning_rate_share_a_plan(change: dict[str, Any]) -> None:
    assert trainer_of().plan is trainer_of(**change).plan


@pytest.mark.parametrize(
    "change",
    [
        {"layers": [fnn.Dense(7, "relu"), fnn.Dropout(0.31), fnn.Dense(3)]},
        {"layers": [fnn.Dense(7, "relu"), fnn.Dense(3)]},
        {"loss": fnn.CrossEntropy(label_smoothing=0.1)},
        {"optimizer": fnn.Adam(clip_norm=1.0)},
        {"optimizer": "sgd"},
        {"batch_size": 9},
        {"dtype": "float64"},
    ],
)
def test_models_that_differ_elsewhere_do_not(change: dict[str, Any]) -> None:
    assert trainer_of().plan is not trainer_of(**change).plan


def test_a_plan_with_a_function_of_the_users_is_not_kept() -> None:
    own = fnn.Activation(forward=lambda x: 2.0 * x, backward=lambda x: 2.0)
    assert trainer_of([own, fnn.Dense(3)]).plan is not trainer_of([own, fnn.Dense(3)]).plan


class Doubled(fnn.Dense):
    """A user's: how many outputs it writes is no field of the description."""

    def __init__(self, twice: bool) -> None:
        super().__init__(3)
        object.__setattr__(self, "twice", twice)


class Slow(fnn.SGD):
    """The same of an optimizer."""


@pytest.mark.parametrize(
    "settings",
    [
        {"layers": [Doubled(True), fnn.Dense(3)]},
        {"optimizer": Slow(0.1)},
        {"layers": [fnn.Dense(4, weight_init=lambda generator, shape: np.zeros(shape)), fnn.Dense(3)]},
    ],
    ids=["a layer", "an optimizer", "an initializer"],
)
def test_what_a_user_has_made_is_kept_by_no_plan(settings: dict[str, Any]) -> None:
    """It may differ where its fields do not, and hold anything alive."""
    before = dict(kept_plans._PLANS)
    assert trainer_of(**settings).plan is not trainer_of(**settings).plan
    assert before == kept_plans._PLANS


def test_descriptions_that_are_equal_and_differ_have_plans_of_their_own() -> None:
    """Zeros of both signs make outputs of both."""
    X = -np.ones((4, 5), np.float32)
    for slope in (0.0, -0.0):
        model = fnn.Sequential([fnn.Activation(fnn.LeakyReLU(slope))], inputs=5)
        assert np.signbit(model.predict(X)).all() == (not np.signbit(slope))


def test_no_more_than_so_many_plans_are_kept() -> None:
    first = trainer_of().plan
    for batch_size in range(100, 100 + kept_plans._MOST):
        _ = trainer_of(batch_size=batch_size).plan
    assert len(kept_plans._PLANS) == kept_plans._MOST
    assert trainer_of().plan is not first


@pytest.mark.parametrize("backend", cases.BACKENDS)
def test_a_training_has_the_same_bits_on_a_plan_that_was_kept(backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    X, y = networks.data("cross_entropy", 40, 5, 3, "float32")

    def trained() -> list[bytes]:
        trainer = trainer_of(backend=backend)
        trainer.bind(X, y).run(np.arange(40))
        return weights(trainer)

    again = [trained(), trained()]
    monkeypatch.setattr(kept_plans, "_PLANS", {})
    assert again == [trained()] * 2


# Passes.

ORDERS = [np.random.default_rng(seed).permutation(43) for seed in range(4)]


@pytest.mark.parametrize("backend", cases.BACKENDS)
@pytest.mark.parametrize("weighted", [False, True], ids=["alike", "weighted"])
@pytest.mark.parametrize("optimizer", ["adam", "sgd", fnn.Adam(ema_decay=0.9)], ids=str)
def test_runs_one_after_the_other_have_the_bits_of_runs_on_data_bound_anew(
    optimizer: Any, weighted: bool, backend: str
) -> None:
    """Other rows, other steps and other rates in passes that are ready."""
    X, y = networks.data("cross_entropy", 43, 5, 3, "float32")
    given = {"sample_weight": np.random.default_rng(0).random(43)} if weighted else {}
    once, anew = (trainer_of(optimizer=optimizer, backend=backend) for _ in range(2))
    bound = once.bind(X, y, **given)
    runs = [
        lambda data: data.run(ORDERS[0]),
        lambda data: data.run(ORDERS[1]),
        lambda data: data.run(ORDERS[2], np.linspace(0.0, 0.1, 6)),
        lambda data: data.run(ORDERS[3], np.linspace(0.1, 0.0, 6)),
        lambda data: data.run(ORDERS[3][:42].reshape(6, 7)),
        lambda data: data.run(ORDERS[2][:42].reshape(6, 7)),
        lambda data: data.run(ORDERS[1]),
        lambda data: data.run_full(1),
        lambda data: data.run_full(1),
        lambda data: data.run_full(3),
        lambda data: data.run(ORDERS[0]),
    ]
    for number, run in enumerate(runs):
        once.lr = anew.lr = 0.01 / (1 + number)
        np.testing.assert_array_equal(run(bound), run(anew.bind(X, y, **given)), strict=True)
        assert weights(once) == weights(anew)


def test_arrays_of_an_earlier_run_may_go() -> None:
    """What the passes are given anew is kept alive in the place of what they had."""
    X, y = networks.data("cross_entropy", 43, 5, 3, "float32")
    once, anew = trainer_of(), trainer_of()
    bound = once.bind(X, y)
    for order in ORDERS:
        copy = order.copy()
        bound.run(copy)
        copy[:] = 0  # read no more
        del copy
        anew.bind(X, y).run(order)
    assert weights(once) == weights(anew)


def test_bound_data_hold_no_order_but_the_last() -> None:
    """That of data larger than memory is large itself."""
    X, y = networks.data("cross_entropy", 43, 5, 3, "float32")
    bound = trainer_of().bind(X, y)
    orders = [order.copy() for order in ORDERS]
    alive = [weakref.ref(order) for order in orders]
    while orders:
        bound.run(orders.pop(0))
    assert [order() is None for order in alive] == [True, True, True, False]


@pytest.mark.parametrize("backend", cases.COMPILED)
def test_threads_that_run_the_same_data_do_not_share_passes(backend: str) -> None:
    """Each run of each thread trains on its own rows, once: with a rate of 0 their losses are those of one thread."""
    X, y = networks.data("cross_entropy", 43, 5, 3, "float32")
    trainer = trainer_of([fnn.Dense(4, "tanh"), fnn.Dense(3)], optimizer="sgd", backend=backend)
    trainer.lr = 0.0
    bound = trainer.bind(X, y)
    expected = [bound.run(order) for order in ORDERS]
    wrong: list[int] = []

    def work(number: int) -> None:
        for _ in range(200):
            if not np.array_equal(bound.run(ORDERS[number]), expected[number]):
                wrong.append(number)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(len(ORDERS))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
