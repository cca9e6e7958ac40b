"""Penalties on weights: in the loss, in the gradient, once a step, and nowhere else."""

from typing import Any

import networks
import numpy as np
import pytest

import fastnn as fnn
from fastnn.kernels import native

Array = np.ndarray[Any, Any]
built_only = pytest.mark.skipif(not native.available(), reason=native.why_not() or "")
L1, L2 = 0.01, 0.03


def model(l1: float = L1, l2: float = L2, dtype: str = "float64", bias: bool = True, width: int = 7) -> fnn.Sequential:
    layers = [
        fnn.Dense(width, "relu", bias=bias, l1=l1), fnn.Dense(5, "tanh", bias=bias, l2=l2), fnn.BatchNorm(),
        fnn.Dense(3, bias=bias, l1=l1, l2=l2),
    ]  # fmt: skip
    net = fnn.Sequential(layers, inputs=4, dtype=dtype, seed=3)
    for entry in net.parameters.entries:
        if entry.kind == "bias":
            entry.value[...] = 0.1 + np.arange(entry.value.size)  # a penalty on biases would show
    return net


def penalties(net: fnn.Sequential) -> float:
    """By the formula."""
    weights = {entry.layer: entry.value for entry in net.parameters.entries if entry.kind == "weight"}
    return float(sum(
        net.layers[layer].l1 * np.abs(weight).sum() + net.layers[layer].l2 * (weight**2).sum()
        for layer, weight in weights.items()
    ))  # fmt: skip


def theta(net: fnn.Sequential) -> Array:
    return net.parameters.flatten(net.parameters.arena)


@pytest.mark.parametrize("backend", networks.BACKENDS)
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("width", [1, 7, 16, 33])
def test_value_and_gradient_are_those_of_the_loss_and_of_the_penalties(width: int, bias: bool, backend: str) -> None:
    X, y = networks.data("mse", 30, 4, 3)
    net, plain = model(bias=bias, width=width), model(0.0, 0.0, bias=bias, width=width)
    value, gradient = fnn.Trainer(net, "mse", backend=backend).value_and_grad(theta(net), X, y)
    expected, of_loss = fnn.Trainer(plain, "mse", backend=backend).value_and_grad(theta(plain), X, y)
    np.testing.assert_allclose(value, expected + penalties(net), rtol=1e-13)
    own = []
    for entry in net.parameters.entries:
        layer = net.layers[entry.layer]
        slope = (
            layer.l1 * np.sign(entry.value) + 2 * layer.l2 * entry.value if entry.kind == "weight" else 0 * entry.value
        )
        own.append(slope.ravel())
    np.testing.assert_allclose(gradient, of_loss + np.concatenate(own), rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("backend", networks.BACKENDS)
@pytest.mark.parametrize("layers", [
    [fnn.Dense(9, "tanh", l2=0.1), fnn.Dense(2, l1=0.1)], [fnn.Dense(2, l1=0.1, l2=0.2, bias=False)],
])  # fmt: skip
def test_gradients_with_penalties_agree_with_differences(layers: Any, backend: str) -> None:
    net = fnn.Sequential(layers, inputs=5, dtype="float64", seed=1)
    assert fnn.gradcheck(net, "mse", *networks.data("mse", 12, 5, 2), backend=backend).error < 1e-5


def test_the_penalty_of_a_weight_of_zero_has_gradient_zero() -> None:
    net = fnn.Sequential([fnn.Dense(2, l1=1.0, weight_init="zeros")], inputs=3, dtype="float64")
    _, gradient = fnn.Trainer(net, "mse").value_and_grad(np.zeros(8), np.zeros((4, 3)), np.zeros((4, 2)))
    np.testing.assert_array_equal(gradient, 0)


@pytest.mark.parametrize("backend", networks.BACKENDS)
@pytest.mark.parametrize("rows", [40, 1300])
def test_a_full_batch_in_tiles_is_penalised_once_a_step(rows: int, backend: str) -> None:
    layers = [fnn.Dense(7, "relu", l1=L1), fnn.Dense(3, l2=L2)]
    X, y = networks.data("mse", rows, 4, 3)
    found = []
    for way in ("one batch", "tiles", "parts"):
        net = fnn.Sequential(layers, inputs=4, dtype="float64", seed=3)
        trainer = fnn.Trainer(net, "mse", fnn.SGD(0.1), batch_size=rows, backend=backend)
        if way == "one batch":
            losses = trainer.run(X, y, np.tile(np.arange(rows), (3, 1)))
        elif way == "tiles":
            losses = trainer.run(X, y, steps=3)
        else:  # a loop of one's own
            losses = np.empty(3)
            for step in range(3):
                outputs = trainer.forward(X)
                trainer.backward(2 * (outputs - y) / outputs.size)
                losses[step] = ((outputs - y) ** 2).mean() + trainer.penalty
                trainer.step()
        found.append(np.concatenate([losses, networks.numbers(net)]))
    for other in found[1:]:
        np.testing.assert_allclose(other, found[0], rtol=1e-11, atol=1e-14)


@built_only
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_c_and_numba_trainings_with_penalties_write_the_same_bits_on_any_number_of_threads(dtype: str) -> None:
    X, y = networks.data("mse", 1300, 4, 3, dtype)
    found = []
    for backend, threads in (("numba", 1), ("c", 1), ("c", 2), ("c", 3)):
        net = fnn.Sequential([fnn.Dense(33, "relu", l1=L1), fnn.Dense(3, l2=L2)], inputs=4, dtype=dtype, seed=3)
        trainer = fnn.Trainer(net, "mse", batch_size=16, backend=backend, threads=threads)
        losses = [trainer.run(X, y, np.arange(200)), trainer.run(X, y, steps=3)]
        found.append((np.concatenate(losses).tobytes(), networks.numbers(net).tobytes()))
    assert all(one == found[0] for one in found)


def test_steps_one_by_one_are_those_of_run_with_penalties_too() -> None:
    X, y = networks.data("mse", 64, 4, 3)
    one, other = model(), model()
    losses = fnn.Trainer(one, "mse", batch_size=16).bind(X, y).run(np.arange(64))
    steps = list(fnn.Trainer(other, "mse", batch_size=16).bind(X, y).steps(np.arange(64)))
    assert losses.tolist() == steps
    assert networks.numbers(one).tobytes() == networks.numbers(other).tobytes()


@pytest.mark.parametrize("rows", [30, 1300])
@pytest.mark.parametrize("optimizer", [fnn.TwoPoint(), fnn.ARS(), fnn.LBFGS()], ids=lambda item: type(item).__name__)
def test_optimizers_that_search_see_penalties(optimizer: Any, rows: int) -> None:
    X, y = networks.data("mse", rows, 4, 3)
    net = model()
    start = fnn.MSE().value(fnn.Trainer(net.copy(), None).forward(X), y) + penalties(net)
    if not isinstance(optimizer, fnn.LBFGS):
        losses = fnn.Trainer(net, "mse", optimizer, batch_size=rows).run(X, y, steps=1)
        np.testing.assert_allclose(losses[0], start, rtol=1e-12)
        return
    trainer = fnn.Trainer(net, "mse", optimizer, batch_size=rows)
    last = trainer.run(X, y, steps=5)[-1]
    np.testing.assert_allclose(last, fnn.Trainer(net, "mse").value_and_grad(theta(net), X, y)[0], rtol=1e-9)
    assert last < start


def test_l2_is_half_of_weight_decay() -> None:
    """A step of SGD shrinks each weight by 2 lr l2 of it, beside the step of the loss."""
    X, y = networks.data("mse", 16, 4, 3)
    nets = [fnn.Sequential([fnn.Dense(3, l2=l2)], inputs=4, dtype="float64", seed=0) for l2 in (0.0, 0.2)]
    before = nets[0].get_weights()[0]
    for net in nets:
        fnn.Trainer(net, "mse", fnn.SGD(0.1), batch_size=16).run(X, y, steps=1)
    plain, decayed = (net.get_weights() for net in nets)
    np.testing.assert_allclose(decayed[0], plain[0] - 0.1 * 0.4 * before, rtol=1e-12)
    np.testing.assert_allclose(decayed[1], plain[1], rtol=1e-13)


def test_fit_reports_penalties_and_evaluate_does_not() -> None:
    X, y = networks.data("mse", 48, 4, 3)
    net = fnn.Sequential([fnn.Dense(3, l1=L1, l2=L2)], inputs=4, dtype="float64", seed=3)
    start = penalties(net)
    scores = net.evaluate(X, y, loss="mse")
    history = net.fit(
        X, y, loss="mse", optimizer=fnn.SGD(1e-300), epochs=1, batch_size=16, validation_data=(X, y), progress=False
    )  # fmt: skip
    np.testing.assert_allclose(history.columns["loss"][0], scores["loss"] + start, rtol=1e-12)
    np.testing.assert_allclose(history.columns["val_loss"][0], scores["loss"], rtol=1e-12)


def test_l1_makes_useless_weights_small() -> None:
    generator = np.random.default_rng(0)
    X = generator.standard_normal((300, 8))
    y = 2 * X[:, 0] - X[:, 3]
    net = fnn.Sequential([fnn.Dense(1, l1=0.1)], inputs=8, dtype="float64")
    net.fit(X, y, loss="mse", optimizer=fnn.SGD(0.01), epochs=400, batch_size=300, progress=False)
    weights = net.get_weights()[0][:, 0]
    assert np.abs(np.delete(weights, [0, 3])).max() < 0.01
    np.testing.assert_allclose(weights[[0, 3]], [1.95, -0.95], atol=0.03)  # the lasso's shrinkage: l1 / 2


def test_penalties_are_in_the_plan_where_there_are_some_and_nowhere_else() -> None:
    assert "penalty" not in str(fnn.Trainer(model(0.0, 0.0), "mse").plan)
    assert str(fnn.Trainer(model(), "mse").plan).count("penalty ") == 3


def test_a_model_with_penalties_comes_back_from_its_file(tmp_path: Any) -> None:
    net = model()
    net.save(tmp_path / "net")
    assert fnn.load(tmp_path / "net").layers == net.layers


@pytest.mark.parametrize(("field", "value"), [("l1", -0.1), ("l2", np.nan), ("l1", np.inf)])
def test_penalties_out_of_range_are_refused(field: str, value: float) -> None:
    with pytest.raises(ValueError, match=rf"Dense\({field}=.*\): {field} must be"):
        fnn.Dense(3, **{field: value})


def test_layers_in_blocks_are_penalised_once() -> None:
    inner = fnn.Dense(4, "tanh", l1=0.02, l2=0.3)
    plain = fnn.Dense(4, "tanh")
    values = []
    for layer in (inner, plain):
        blocks = [fnn.Residual([layer, fnn.Residual([layer])]), fnn.Concatenate([[layer], [fnn.Dense(2)]])]
        model = fnn.Sequential([fnn.Dense(4), *blocks, fnn.Dense(2)], inputs=3, dtype="float64", seed=2)
        X, y = networks.data("mse", 9, 3, 2)
        report = fnn.gradcheck(model, "mse", X, y)
        assert report.error < 1e-5, report
        theta = model.parameters.flatten(model.parameters.arena)
        values.append(fnn.Trainer(model, "mse").value_and_grad(theta, X, y)[0])
    squares = [e.value for e in model.parameters.entries if e.kind == "weight" and e.shape == (4, 4)]
    expected = sum(0.02 * np.abs(w).sum() + 0.3 * (w**2).sum() for w in squares)
    assert len(squares) == 3
    np.testing.assert_allclose(values[0] - values[1], expected, rtol=1e-10)
