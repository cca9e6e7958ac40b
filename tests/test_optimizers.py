"""What all optimizers can do beside their update: weight decay, groups, clipped gradients, averaged weights."""

import math
from typing import Any

import cases
import networks
import numpy as np
import pytest

import fastnn as fnn
from fastnn.kernels import OPERATIONS
from fastnn.optimizers import OPTIMIZERS, Optimizer

Array = np.ndarray[Any, Any]
X, Y = networks.data("mse", 40, 5, 3)
ORDER = np.random.default_rng(0).integers(0, 40, (12, 10))


def network() -> fnn.Sequential:
    layers = [fnn.Dense(7, "tanh"), fnn.BatchNorm(), fnn.Dense(4, "relu", bias=False), fnn.Dense(3)]
    return fnn.Sequential(layers, inputs=5, dtype="float64", seed=3)


def trained(optimizer: Optimizer, backend: str = "auto", steps: int = 12, **options: Any) -> fnn.Trainer:
    trainer = fnn.Trainer(network(), "mse", optimizer, batch_size=10, backend=backend, **options)
    if steps:
        trainer.run(X, Y, ORDER[:steps])
    return trainer


def entries(trainer: fnn.Trainer) -> dict[str, Array]:
    return {entry.name: entry.value.copy() for entry in trainer.model.parameters.entries}


def first_gradients() -> dict[str, Array]:
    """The gradients of the first step, by name."""
    trainer = trained(fnn.SGD(lr=1e-12), steps=1)
    names = [entry.name for entry in trainer.model.parameters.entries]
    return dict(zip(names, trainer.gradients, strict=True))


def moved(optimizer: Optimizer, backend: str = "auto") -> dict[str, Array]:
    """By how much the first step moves each parameter."""
    before, after = trained(optimizer, backend, steps=0), trained(optimizer, backend, steps=1)
    return {name: value - entries(before)[name] for name, value in entries(after).items()}


def check_moved(optimizer: Optimizer, expected: dict[str, Array], backend: str) -> None:
    for name, value in moved(optimizer, backend).items():
        np.testing.assert_allclose(value, expected[name], rtol=1e-11, atol=1e-15, err_msg=name)


START = entries(fnn.Trainer(network(), "mse"))
GRADIENTS = first_gradients()
by_backend = pytest.mark.parametrize("backend", cases.BACKENDS)


# Weight decay.


@by_backend
def test_coupled_decay_is_added_to_the_gradient(backend: str) -> None:
    expected = {name: -0.1 * (GRADIENTS[name] + 0.3 * START[name]) for name in START}
    check_moved(fnn.SGD(lr=0.1, weight_decay=0.3), expected, backend)


@by_backend
def test_decoupled_decay_shrinks_weights_beside_the_update(backend: str) -> None:
    expected = {name: -0.1 * np.sign(GRADIENTS[name]) - 0.1 * 0.3 * START[name] for name in START}
    check_moved(fnn.Lion(lr=0.1, weight_decay=0.3), expected, backend)


def test_decay_of_a_changed_rate_is_that_of_the_rate() -> None:
    trainer = fnn.Trainer(network(), "mse", fnn.SGD(lr=0.5, weight_decay=0.3, decoupled=True), batch_size=10)
    trainer.lr = 0.1
    trainer.run(X, Y, ORDER[:1])
    for name, value in entries(trainer).items():
        np.testing.assert_allclose(value, START[name] - 0.1 * (GRADIENTS[name] + 0.3 * START[name]), rtol=1e-12)


def test_adamw_is_adam_with_decoupled_decay() -> None:
    same = entries(trained(fnn.Adam(weight_decay=0.01, decoupled=True)))
    for name, value in entries(trained(fnn.AdamW())).items():
        assert np.array_equal(value, same[name])


# Groups.


@by_backend
def test_groups_have_rates_and_decays_of_their_own(backend: str) -> None:
    groups = [fnn.Group.without_decay(), fnn.Group(layers=0, lr=0.5), fnn.Group(layers=-1, kinds="weight", lr=0)]
    expected = {}
    for name, start in START.items():
        layer, kind = int(name.split(".")[1]), name.split(".")[2]
        rate = 0.1 * (0.5 if layer == 0 else 0.0 if (layer, kind) == (3, "weight") else 1.0)
        decay = 0.3 if kind == "weight" else 0.0
        expected[name] = -rate * (GRADIENTS[name] + decay * start)
    check_moved(fnn.SGD(lr=0.1, weight_decay=0.3, groups=groups), expected, backend)


@by_backend
def test_rates_by_fan_in_are_divided_by_its_root(backend: str) -> None:
    fans = {0: 5, 1: 1, 2: 7, 3: 4}
    expected = {n: -0.1 / math.sqrt(fans[int(n.split(".")[1])]) * GRADIENTS[n] for n in START}
    check_moved(fnn.SGD(lr=0.1, groups=fnn.Group(by_fan_in=True)), expected, backend)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_group_with_a_rate_of_zero_stays_where_it_is(name: str) -> None:
    optimizer = OPTIMIZERS[name](weight_decay=0.1, groups=fnn.Group(layers=2, lr=0.0))  # type: ignore[call-arg]
    after = entries(trained(optimizer))
    assert np.array_equal(after["layers.2.weight"], START["layers.2.weight"])
    assert not np.array_equal(after["layers.3.weight"], START["layers.3.weight"])


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_groups_of_factors_one_change_nothing_to_speak_of(name: str) -> None:
    plain = entries(trained(OPTIMIZERS[name](weight_decay=0.1)))  # type: ignore[call-arg]
    grouped = entries(trained(OPTIMIZERS[name](weight_decay=0.1, groups=fnn.Group())))  # type: ignore[call-arg]
    for key, value in plain.items():
        np.testing.assert_allclose(grouped[key], value, rtol=1e-9, atol=1e-12)


def test_a_group_without_parameters_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match=r"SGD\(groups\): the model has no parameters for Group\(layers=\(1,\)"):
        fnn.Trainer(network(), "mse", fnn.SGD(groups=fnn.Group(layers=1, kinds="weight")))


def test_a_layer_or_kind_that_there_is_not_is_named_even_beside_others() -> None:
    for group, wrong in ((fnn.Group(layers=(0, 99)), "99"), (fnn.Group(kinds=("bias", "gama")), "'gama'")):
        with pytest.raises(ValueError, match=f"the model has no parameters for {wrong} of Group"):
            fnn.Trainer(network(), "mse", fnn.SGD(groups=group))


def test_an_exemption_from_decay_needs_nothing_to_exempt() -> None:
    model = fnn.Sequential([fnn.Dense(3, bias=False)], inputs=5)
    fnn.Trainer(model, "mse", fnn.AdamW(groups=fnn.Group.without_decay())).run(X, Y, steps=1)


def test_tables_of_embeddings_are_weights() -> None:
    model = fnn.Sequential([fnn.Embedding({0: (4, 2)}), fnn.Dense(3)], inputs=1, dtype="float64")
    before = {entry.name: entry.value.copy() for entry in model.parameters.entries}
    optimizer = fnn.SGD(lr=0.1, groups=fnn.Group(kinds="weight", lr=0.0))
    fnn.Trainer(model, "mse", optimizer).run(np.arange(40)[:, None] % 4, Y, steps=2)
    moved = {entry.kind for entry in model.parameters.entries if not np.array_equal(entry.value, before[entry.name])}
    assert moved == {"bias"}


def test_weight_decay_is_decoupled_in_keras_forms() -> None:
    for optimizer in (fnn.SGD.keras(weight_decay=0.1), fnn.Adam.keras(), fnn.RMSProp.keras(), fnn.AdaGrad.keras()):
        assert optimizer.decoupled
    assert fnn.AdamW.keras() == fnn.AdamW(1e-3, (0.9, 0.999), 1e-7, eps_hat=True, weight_decay=0.004)
    assert isinstance(fnn.AdamW.keras(), fnn.AdamW)


# Clipped gradients.


def norm(arrays: dict[str, Array]) -> float:
    return math.sqrt(sum(float((value**2).sum()) for value in arrays.values()))


@by_backend
@pytest.mark.parametrize("share", [0.5, 2.0])
def test_the_whole_gradient_is_shortened_to_a_norm(share: float, backend: str) -> None:
    limit = share * norm(GRADIENTS)
    factor = min(1.0, limit / (norm(GRADIENTS) + 1e-6))
    check_moved(fnn.SGD(lr=0.1, clip_global_norm=limit), {n: -0.1 * factor * g for n, g in GRADIENTS.items()}, backend)


@by_backend
def test_the_gradient_of_each_array_is_shortened_to_a_norm(backend: str) -> None:
    limit = float(np.median([norm({"": g}) for g in GRADIENTS.values()]))
    expected = {n: -0.1 * min(1.0, limit / (norm({"": g}) + 1e-6)) * g for n, g in GRADIENTS.items()}
    check_moved(fnn.SGD(lr=0.1, clip_norm=limit), expected, backend)


@by_backend
def test_each_number_of_the_gradient_is_cut(backend: str) -> None:
    expected = {n: -0.1 * np.clip(g, -0.01, 0.01) for n, g in GRADIENTS.items()}
    assert any((np.abs(g) > 0.01).any() and (np.abs(g) < 0.01).any() for g in GRADIENTS.values())
    check_moved(fnn.SGD(lr=0.1, clip_value=0.01), expected, backend)


@pytest.mark.parametrize("clip", ["clip_value", "clip_norm", "clip_global_norm"])
def test_a_full_batch_in_tiles_is_clipped_as_a_whole(clip: str) -> None:
    rows = np.random.default_rng(1).integers(0, 40, 1300)
    optimizer = fnn.SGD(lr=0.1, **{clip: 1e-3})
    results = []
    for threads in (1, 2) if "c" in cases.BACKENDS else (1,):
        layers = [fnn.Dense(7, "tanh"), fnn.Dense(3)]
        model = fnn.Sequential(layers, inputs=5, dtype="float64", seed=3)
        trainer = fnn.Trainer(model, "mse", optimizer, batch_size=1300, threads=threads)
        trainer.run(X[rows], Y[rows], steps=3)
        results.append(networks.numbers(model))
    model = fnn.Sequential(layers, inputs=5, dtype="float64", seed=3)
    fnn.Trainer(model, "mse", optimizer, batch_size=1300).run(X[rows], Y[rows], np.tile(np.arange(1300), (3, 1)))
    assert all(np.array_equal(result, results[0]) for result in results)
    np.testing.assert_allclose(networks.numbers(model), results[0], rtol=1e-11)


# The average of the weights.


@by_backend
def test_the_average_is_that_of_the_weights_after_each_step(backend: str) -> None:
    trainer = fnn.Trainer(network(), "mse", fnn.SGD(lr=0.1, ema_decay=0.8), batch_size=10, backend=backend)
    average: dict[str, Array] = {}
    for step, rows in enumerate(ORDER):
        trainer.run(X, Y, rows[None])
        decay = 0.8 if step else 0.0
        average = {n: decay * average.get(n, 0.0) + (1 - decay) * value for n, value in entries(trainer).items()}
    weights = entries(trainer)
    trainer.swap_average()
    for name, value in entries(trainer).items():
        np.testing.assert_allclose(value, average[name], rtol=1e-12, err_msg=name)
    trainer.swap_average()
    assert all(np.array_equal(value, weights[name]) for name, value in entries(trainer).items())


def test_the_average_moves_no_weight() -> None:
    plain = entries(trained(fnn.Adam()))
    assert all(np.array_equal(value, plain[n]) for n, value in entries(trained(fnn.Adam(ema_decay=0.9))).items())


def test_fit_scores_and_leaves_the_average() -> None:
    model = network()
    seen: list[Array] = []
    history = model.fit(
        X, Y, loss="mse", optimizer=fnn.SGD(lr=0.1, ema_decay=0.9), epochs=4, batch_size=10, validation_data=(X, Y),
        callbacks=[lambda context: seen.append(networks.numbers(context.model))], progress=False,
    )  # fmt: skip
    assert np.array_equal(networks.numbers(model), seen[-1])
    assert history["val_loss"][-1] == pytest.approx(model.evaluate(X, Y)["loss"], rel=1e-12)
    plain, averages = network(), []
    trainer = fnn.Trainer(plain, "mse", fnn.SGD(lr=0.1), batch_size=10)
    from fastnn.training import Order

    order, average = Order(np.arange(40), True, plain.seed), None
    for epoch in range(4):
        for rows in order(epoch).reshape(-1, 10):
            trainer.run(X, Y, rows[None])
            now = {entry.name: entry.value.copy() for entry in plain.parameters.entries}
            average = now if average is None else {n: 0.9 * average[n] + 0.1 * now[n] for n in now}
        averages.append(average)
    for entry in model.parameters.entries:
        np.testing.assert_allclose(entry.value, averages[-1][entry.name], rtol=1e-11)


def test_swapping_needs_an_average_and_a_step() -> None:
    for trainer in (trained(fnn.SGD()), trained(fnn.SGD(ema_decay=0.9), steps=0)):
        with pytest.raises(ValueError, match="swap_average"):
            trainer.swap_average()


# Mistakes.


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"weight_decay": -1}, ValueError, "weight_decay must be at least 0"),
        ({"decoupled": 1}, TypeError, "decoupled must be True or False"),
        ({"clip_value": 0}, ValueError, "clip_value must be above 0"),
        ({"clip_norm": float("nan")}, ValueError, "clip_norm"),
        ({"clip_norm": 1, "clip_value": 1}, ValueError, "give clip_value or clip_norm, not both"),
        ({"groups": "bias"}, TypeError, "expected a Group"),
        ({"groups": [1]}, TypeError, "expected a Group"),
        ({"ema_decay": 1.0}, ValueError, "ema_decay must be below 1"),
    ],
)
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_options_out_of_range_are_refused(name: str, options: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        OPTIMIZERS[name](**options)  # type: ignore[call-arg]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: fnn.SGD(nesterov=True), "needs momentum above 0"),
        (lambda: fnn.SGD(momentum=0.9, form="velocty"), "unknown form 'velocty': did you mean 'velocity'"),  # type: ignore[arg-type]
        (lambda: fnn.Rprop(etas=(1.2, 0.5)), "one between 0 and 1, and one above 1"),
        (lambda: fnn.Rprop(step_sizes=(1.0, 0.1)), "the least step, then the largest"),
        (lambda: fnn.Adadelta(eps=0.0), "eps must be above 0"),
        (lambda: fnn.Group(lr=-1.0), "lr must be at least 0"),
        (lambda: fnn.Group(layers=1.5), "layers must be an integer"),  # type: ignore[arg-type]
        (lambda: fnn.Group(kinds=[1]), "expected names such as"),  # type: ignore[list-item]
    ],
)
def test_optimizers_and_groups_refuse_what_makes_no_sense(make: Any, message: str) -> None:
    with pytest.raises((ValueError, TypeError), match=message):
        make()


def test_a_copied_trainer_goes_on_with_moments_and_average() -> None:
    import copy

    optimizer = fnn.NAdam(weight_decay=0.1, ema_decay=0.9, groups=fnn.Group.without_decay())
    one = trained(optimizer, steps=5)
    other = copy.deepcopy(one)
    for trainer in (one, other):
        trainer.run(X, Y, ORDER[5:])
        trainer.swap_average()
    assert np.array_equal(networks.numbers(one.model), networks.numbers(other.model))


@pytest.mark.parametrize("name", cases.UPDATES)
def test_no_scalar_of_an_update_has_a_name_that_plans_use_otherwise(name: str) -> None:
    # Plans are given all of these by name; Rprop's "scale" once was that of the loss.
    taken = {"X", "y", "order", "loss", "scale", "accumulate", "parts", "doutputs", "outputs", "targets", "weights"}
    assert not taken & {scalar.name for scalar in OPERATIONS[name].scalars}
