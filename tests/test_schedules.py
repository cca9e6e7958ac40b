"""Learning rate schedules: formulas, PyTorch's answers, combinations, plateaus, trainings that follow them."""

import math
from typing import Any

import numpy as np
import pytest

import fastnn as fnn
from fastnn.schedules import (
    AtLeast,
    ByHand,
    Constant,
    Cosine,
    CosineRestarts,
    Exponential,
    InTurn,
    InverseSquareRoot,
    InverseTime,
    MultiStepDecay,
    OneCycle,
    PerStep,
    Polynomial,
    Product,
    ReduceOnPlateau,
    Schedule,
    SearchThenConverge,
    StepDecay,
    Warmup,
    get_schedule,
)

# Formulas.


def test_constant_keeps_the_rate() -> None:
    assert Constant().rates(0.1, 3, first=1000).tolist() == [0.1] * 3
    assert get_schedule(None) == Constant()


def test_step_decay_multiplies_after_each_period() -> None:
    schedule = StepDecay(factor=0.5, every=3)
    assert schedule.rates(0.8, 8).tolist() == [0.8, 0.8, 0.8, 0.4, 0.4, 0.4, 0.2, 0.2]


FORMULAS = [
    (InverseTime(0.25), lambda lr, t: lr / (1 + 0.25 * t)),
    (Exponential(0.9), lambda lr, t: lr * 0.9**t),
    (Exponential.of_rate(0.3), lambda lr, t: lr * math.exp(-0.3 * t)),
    (InverseSquareRoot(0.95), lambda lr, t: lr * 0.95 / math.sqrt(t + 1)),
    (SearchThenConverge(4), lambda lr, t: lr * 4 / max(t, 4)),
    (Polynomial(10, 2.0), lambda lr, t: lr * (1 - min(t, 10) / 10) ** 2),
    (Cosine(10, 0.01), lambda lr, t: 0.01 + (lr - 0.01) * (1 + math.cos(math.pi * min(t, 10) / 10)) / 2),
]


@pytest.mark.parametrize(("schedule", "formula"), FORMULAS)
def test_rates_are_those_of_the_formula(schedule: Schedule, formula: Any) -> None:
    np.testing.assert_allclose(schedule.rates(0.4, 25), [formula(0.4, t) for t in range(25)], rtol=1e-14)


TORCH = [
    (StepDecay(0.7, 4), lambda o, s: s.StepLR(o, step_size=4, gamma=0.7), 20),
    (MultiStepDecay(0.5, (2, 7, 8)), lambda o, s: s.MultiStepLR(o, [2, 7, 8], gamma=0.5), 20),
    (Exponential(0.9), lambda o, s: s.ExponentialLR(o, 0.9), 20),
    (Polynomial(12, 1.5), lambda o, s: s.PolynomialLR(o, 12, 1.5), 20),
    (Cosine(15, 0.02), lambda o, s: s.CosineAnnealingLR(o, 15, 0.02), 16),
    (CosineRestarts(4, 2, 0.01), lambda o, s: s.CosineAnnealingWarmRestarts(o, 4, 2, 0.01), 60),
    (CosineRestarts(5), lambda o, s: s.CosineAnnealingWarmRestarts(o, 5), 23),
    (OneCycle(30), lambda o, s: s.OneCycleLR(o, 0.3, total_steps=30, cycle_momentum=False), 30),
    (OneCycle(17, 0.5, 10, 100),
     lambda o, s: s.OneCycleLR(o, 0.3, total_steps=17, pct_start=0.5, div_factor=10, final_div_factor=100,
                               cycle_momentum=False), 17),
    (InTurn([(5, Constant()), (6, Exponential(0.5))], Cosine(9)),
     lambda o, s: s.SequentialLR(o, [s.ConstantLR(o, 1.0, 1), s.ExponentialLR(o, 0.5), s.CosineAnnealingLR(o, 9)],
                                 milestones=[5, 11]), 20),
]  # fmt: skip


@pytest.mark.parametrize(("schedule", "theirs", "count"), TORCH, ids=lambda value: getattr(type(value), "__name__", ""))
def test_rates_are_those_of_torch(schedule: Schedule, theirs: Any, count: int) -> None:
    torch = pytest.importorskip("torch")
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.3)
    scheduler, expected = theirs(optimizer, torch.optim.lr_scheduler), []
    for _ in range(count):
        expected.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        if len(expected) < count:
            scheduler.step()
    np.testing.assert_allclose(schedule.rates(0.3, count), expected, rtol=1e-12, atol=1e-16)


def test_behind_their_length_schedules_stay_where_they_are() -> None:
    assert Cosine(5, 0.1)(1.0, 1000) == pytest.approx(0.1)
    assert Polynomial(5)(1.0, 1000) == 0.0
    assert OneCycle(10)(1.0, 1000) == OneCycle(10)(1.0, 9) == pytest.approx(1 / 25 / 1e4)


def test_one_cycle_reaches_the_rate_that_it_is_given() -> None:
    assert OneCycle(20, rise=0.25).rates(0.7, 20).max() == 0.7


# By hand.


def test_functions_and_lists_are_schedules() -> None:
    assert get_schedule(lambda lr0, epoch: lr0 / 2**epoch).rates(1.0, 4).tolist() == [1.0, 0.5, 0.25, 0.125]
    assert get_schedule([0.3, 0.2, 0.1]).rates(9.0, 5).tolist() == [0.3, 0.2, 0.1, 0.1, 0.1]


@pytest.mark.parametrize("wrong", ["inverse_time", 0.1, InverseTime])
def test_what_is_no_schedule_is_refused(wrong: Any) -> None:
    with pytest.raises(TypeError, match="schedule="):
        get_schedule(wrong)


@pytest.mark.parametrize("value", [-0.1, math.nan, math.inf, None, "fast"])
def test_impossible_rates_are_refused_by_epoch(value: Any) -> None:
    with pytest.raises(ValueError, match=r"returned .* for epoch 5: expected a finite number"):
        ByHand(lambda lr0, epoch: value).rates(0.1, 1, first=5)


# Combinations.


def test_a_warm_up_grows_to_the_rate_and_what_follows_begins_at_its_own_beginning() -> None:
    schedule = StepDecay(0.5, 2).after_warmup(4)
    assert schedule.rates(0.8, 9).tolist() == pytest.approx([0.2, 0.4, 0.6, 0.8, 0.8, 0.8, 0.4, 0.4, 0.2])
    assert Warmup(2, Constant(), 0.5).rates(1.0, 4).tolist() == [0.75, 1.0, 1.0, 1.0]


def test_no_rate_is_below_the_minimum() -> None:
    assert Exponential(0.1).at_least(0.05).rates(1.0, 4).tolist() == pytest.approx([1.0, 0.1, 0.05, 0.05])


def test_a_product_applies_one_to_the_rate_of_the_other() -> None:
    product = StepDecay(0.5, 2) * InverseTime(1.0)
    assert product.rates(1.0, 4).tolist() == pytest.approx([1, 1 / 2, 0.5 / 3, 0.5 / 4])


def test_what_counts_differently_is_not_combined() -> None:
    with pytest.raises(ValueError, match=r"Product: .* count epochs and some steps"):
        Constant() * Cosine(5).per_step()
    with pytest.raises(ValueError, match="counts steps already"):
        Cosine(5).per_step().per_step()
    with pytest.raises(TypeError, match=r"AtLeast: .* is no schedule .*ByHand"):
        AtLeast(lambda lr0, t: lr0, 0.1)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "second", [ByHand([0.1]), AtLeast(ByHand([0.1]), 0.01), ReduceOnPlateau(), ReduceOnPlateau().after_warmup(3)]
)
def test_what_takes_no_notice_of_its_rate_is_no_second_factor(second: Schedule) -> None:
    with pytest.raises(ValueError, match="let it be the first factor"):
        Product(Exponential(0.5), second)
    assert Product(second, Exponential(0.5)).second == Exponential(0.5)


# Plateaus.


def plateau(schedule: Schedule, values: list[float], lr0: float = 0.1) -> list[float]:
    """The rate of each epoch, whose number is seen afterwards."""
    running, rates = schedule.start(), []
    for epoch, value in enumerate(values):
        rates.append(float(running.rates(lr0, 1, epoch)[0]))
        running.see({"val_loss": value})
    return rates


PLATEAUS = [
    {"patience": 2},
    {"patience": 0, "factor": 0.5, "cooldown": 2},
    {"patience": 1, "mode": "max"},
    {"patience": 1, "threshold": 0.2, "threshold_mode": "abs", "factor": 0.3},
    {"patience": 1, "threshold": 0.05, "floor": 0.02, "factor": 0.4},
]


@pytest.mark.parametrize("options", PLATEAUS)
def test_plateaus_are_those_of_torch(options: dict[str, Any]) -> None:
    torch = pytest.importorskip("torch")
    values = (1.0 + np.random.default_rng(0).standard_normal(60).cumsum() * 0.1).tolist() + [math.nan] * 5
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.1)
    named = {{"floor": "min_lr"}.get(name, name): value for name, value in options.items()}
    scheduler, expected = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, **named), []
    for value in values:
        expected.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step(value)
    assert min(expected) < 0.1
    np.testing.assert_allclose(plateau(ReduceOnPlateau(**options), values), expected, rtol=1e-12)


def test_a_plateau_is_counted_from_where_its_time_comes() -> None:
    values = [1.0] * 8
    assert plateau(ReduceOnPlateau(0.5, patience=1).after_warmup(4), values)[-3:] == [0.1, 0.1, 0.05]


def test_a_training_begins_a_plateau_anew() -> None:
    schedule = ReduceOnPlateau(0.5, patience=0)
    assert plateau(schedule, [1.0, 1.0, 1.0]) == plateau(schedule, [1.0, 1.0, 1.0]) == [0.1, 0.1, 0.05]


@pytest.mark.parametrize("schedule", [ReduceOnPlateau(), ReduceOnPlateau().after_warmup(2)])
def test_a_plateau_without_its_number_is_refused_before_training(schedule: Schedule) -> None:
    with pytest.raises(ValueError, match=r"it follows 'val_loss'; an epoch has loss, .* \(it needs validation data\)"):
        fitted(schedule, callbacks=lambda context: pytest.fail("an epoch was trained"))


def test_a_relative_threshold_is_a_share_of_the_magnitude() -> None:
    rates = plateau(ReduceOnPlateau(0.5, patience=0, mode="max"), [-1.0, -1.00005, -0.9, -0.9])
    assert rates == [0.1, 0.1, 0.05, 0.05]


# Fields.


@pytest.mark.parametrize(
    "make",
    [
        lambda: StepDecay(0.0, 1),
        lambda: StepDecay(1.5, 1),
        lambda: StepDecay(math.nan, 1),
        lambda: StepDecay(0.5, 0),
        lambda: MultiStepDecay(0.5, (3, 3)),
        lambda: MultiStepDecay(0.5, (0,)),
        lambda: Exponential(1.1),
        lambda: Exponential.of_rate(-1.0),
        lambda: InverseTime(-0.1),
        lambda: InverseTime(math.inf),
        lambda: InverseSquareRoot(0.0),
        lambda: SearchThenConverge(0.0),
        lambda: Polynomial(0),
        lambda: Cosine(5, -0.1),
        lambda: CosineRestarts(5, 0),
        lambda: OneCycle(1),
        lambda: OneCycle(10, 1.0),
        lambda: OneCycle(10, 0.1),
        lambda: OneCycle(2),
        lambda: ReduceOnPlateau(factor=1.0),
        lambda: ReduceOnPlateau(mode="least"),
        lambda: ReduceOnPlateau(threshold_mode="relative"),
        lambda: ByHand([]),
        lambda: ByHand([0.1, -0.1]),
        lambda: Constant().after_warmup(0),
        lambda: Constant().after_warmup(5, 1.0),
        lambda: Constant().at_least(-1.0),
    ],
)
def test_fields_out_of_range_are_refused(make: Any) -> None:
    with pytest.raises(ValueError, match=r"\(\w+=|unknown "):
        make()


@pytest.mark.parametrize(
    "make",
    [
        lambda: StepDecay(0.5, 1.5),
        lambda: MultiStepDecay(0.5, 5),
        lambda: InTurn([Constant()], Constant()),
        lambda: ByHand(3),
    ],
)
def test_fields_of_a_wrong_type_are_refused(make: Any) -> None:
    with pytest.raises(TypeError, match=r"^(StepDecay|MultiStepDecay|InTurn|ByHand)\(\w+="):
        make()


def test_what_a_function_gives_instead_of_a_rate_is_named() -> None:
    with pytest.raises(ValueError, match=r"returned None for epoch 0"):
        ByHand(lambda lr0, t: None).at_least(0.1).rates(0.1, 1)  # type: ignore[arg-type, return-value]


# Trainings.


def fitted(schedule: Any, backend: str = "auto", epochs: int = 3, **options: Any) -> tuple[fnn.Sequential, fnn.History]:
    generator = np.random.default_rng(0)
    X, y = generator.standard_normal((50, 4)), generator.standard_normal((50, 1))
    model = fnn.Sequential([fnn.Dense(8, "tanh"), fnn.Dense(1)], inputs=4, dtype="float64", seed=2)
    options = {"batch_size": 16, "optimizer": fnn.Adam(lr=0.05), "progress": False, **options}
    history = model.fit(X, y, loss="mse", epochs=epochs, schedule=schedule, backend=backend, **options)
    return model, history


def test_a_training_per_step_is_one_whose_rate_is_set_before_each_step() -> None:
    schedule = Cosine(20, 0.001).after_warmup(3).per_step()
    model, history = fitted(schedule)
    twin = fnn.Sequential(model.layers, inputs=4, dtype="float64", seed=2)
    generator = np.random.default_rng(0)
    X, y = generator.standard_normal((50, 4)), generator.standard_normal((50, 1))
    trainer = fnn.Trainer(twin, "mse", fnn.Adam(lr=0.05), batch_size=16)
    bound, step = trainer.bind(X, y), 0
    from fastnn.training import Order

    order = Order(np.arange(50), True, 2)
    for epoch in range(3):
        for first in range(0, 50, 16):
            trainer.lr = schedule(0.05, step)
            bound.run(order(epoch)[first : first + 16])
            step += 1
    for one, other in zip(model.get_weights(), twin.get_weights(), strict=True):
        assert one.tobytes() == other.tobytes()
    assert history["lr"] == [schedule(0.05, step) for step in (3, 7, 11)]


@pytest.mark.parametrize("optimizer", [fnn.SGD(0.05), fnn.SGD(0.05, 0.9), fnn.RMSProp(), fnn.AdaGrad(), fnn.Adam()])
def test_every_optimizer_takes_a_rate_of_its_own_in_each_step(optimizer: Any) -> None:
    halved = ByHand(lambda lr0, t: lr0 * 0.5).per_step()
    one, _ = fitted(halved, optimizer=optimizer)
    other, _ = fitted(ByHand(lambda lr0, t: lr0 * 0.5), optimizer=optimizer)
    assert [w.tobytes() for w in one.get_weights()] == [w.tobytes() for w in other.get_weights()]


def test_a_training_goes_on_where_the_schedule_was() -> None:
    _, whole = fitted(Exponential(0.5).per_step(), epochs=2)
    _, later = fitted(Exponential(0.5).per_step(), epochs=1, initial_epoch=1)
    assert later["lr"] == whole["lr"][1:]


def test_a_training_follows_its_validation_error() -> None:
    schedule = ReduceOnPlateau(0.5, patience=0, threshold=1e9)  # nothing is an improvement, after the first epoch
    _, history = fitted(schedule, epochs=5, validation_split=0.2)
    assert history["lr"] == [0.05, 0.05, 0.025, 0.0125, 0.00625]


@pytest.mark.parametrize("rates", [np.ones(3), np.ones((4, 1)), [0.1, 0.1, 0.1, np.nan], [0.1, 0.1, 0.1, -0.1], "abc"])
def test_rates_that_do_not_fit_the_steps_are_refused_before_any(rates: Any) -> None:
    X, y = np.ones((16, 2), np.float32), np.ones((16, 1), np.float32)
    model = fnn.Sequential([fnn.Dense(1)], inputs=2)
    before, bound = model.get_weights(), fnn.Trainer(model, "mse", batch_size=4).bind(X, y)
    with pytest.raises((ValueError, TypeError), match=r"run\(rates\)"):
        bound.run(np.arange(16), rates)
    assert all(np.array_equal(a, b) for a, b in zip(before, model.get_weights(), strict=True))


# Pictures.


@pytest.mark.parametrize("schedule", [Cosine(50, 1e-3), OneCycle(20).per_step(), Constant()])
def test_a_schedule_draws_itself(schedule: Schedule, tmp_path: Any) -> None:
    pytest.importorskip("matplotlib")
    figure = schedule.plot(tmp_path / "rates.svg", lr0=0.1, count=60)
    (axes,) = figure.axes
    np.testing.assert_array_equal(axes.lines[0].get_ydata(), schedule.rates(0.1, 60))
    assert axes.get_xlabel() == f"Finished {schedule.per}s"
    assert (tmp_path / "rates.svg").stat().st_size > 1000


def test_per_step_says_what_it_counts() -> None:
    assert PerStep(Constant()).per == "step"
    assert Cosine(5).per == "epoch"
