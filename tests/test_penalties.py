"""Penalties on weights, tables and gammas: in the loss, in the gradient, once a step, and nowhere else."""

import json
from functools import partial
from typing import Any

import networks
import numpy as np
import pytest

import fastnn as fnn
from fastnn import storage
from fastnn.kernels import native

Array = np.ndarray[Any, Any]
built_only = pytest.mark.skipif(not native.available(), reason=native.why_not() or "")
L1, L2 = 0.01, 0.03


def model(l1: float = L1, l2: float = L2, dtype: str = "float64", bias: bool = True, width: int = 7) -> fnn.Sequential:
    layers = [
        fnn.Dense(width, "relu", bias=bias, l1=l1), fnn.Dense(5, "tanh", bias=bias, l2=l2), fnn.BatchNorm(l1=l1, l2=l2),
        fnn.Dense(3, bias=bias, l1=l1, l2=l2),
    ]  # fmt: skip
    net = fnn.Sequential(layers, inputs=4, dtype=dtype, seed=3)
    for entry in net.parameters.entries:
        if entry.kind in ("bias", "beta"):
            entry.value[...] = 0.1 + np.arange(entry.value.size)  # a penalty on them would show
    return net


def penalized(l1: float, l2: float) -> dict[str, list[Any]]:
    """Layers that take penalties, alone and in blocks, on inputs whose columns 0 and 2 are codes."""
    own, columns = {"l1": l1, "l2": l2}, {0: (5, 3), 2: (19, 1)}
    return {
        "embedding": [fnn.Embedding(columns, **own), fnn.Dense(3)],
        "embedding l1": [fnn.Embedding({2: (19, 17)}, l1=l1), fnn.Dense(3)],
        "batch norm": [fnn.BatchNorm(l1=l1), fnn.Dense(33, "relu"), fnn.BatchNorm(**own), fnn.Dense(3)],
        "layer norm": [fnn.LayerNorm(l2=l2), fnn.Dense(17, "relu"), fnn.LayerNorm(shift=False, **own), fnn.Dense(3)],
        "rms norm": [fnn.Dense(16, "tanh"), fnn.RMSNorm(**own), fnn.Dense(1), fnn.RMSNorm(0.1, l1=l1), fnn.Dense(3)],
        "all": [fnn.Embedding(columns, l2=l2), fnn.Dense(7, "tanh", **own), fnn.LayerNorm(l1=l1), fnn.Dense(3, l2=l2)],
        "in a residual": [
            fnn.Dense(6), fnn.Residual([fnn.LayerNorm(**own), fnn.Residual([fnn.RMSNorm(l2=l2), fnn.Dense(6, l1=l1)])]),
            fnn.Residual([fnn.Dense(3)], shortcut=[fnn.BatchNorm(l1=l1), fnn.Dense(3, l2=l2)]),
        ],
        "in branches": [
            fnn.Concatenate([[fnn.Embedding(columns, **own), fnn.Dense(4)], [], [fnn.Dense(2), fnn.BatchNorm(l2=l2)]]),
            fnn.Dense(3, l1=l1),
        ],
    }  # fmt: skip


KINDS = tuple(penalized(0.0, 0.0))


def network(kind: str, l1: float = L1, l2: float = L2, dtype: str = "float64") -> fnn.Sequential:
    """One of them with numbers of both signs."""
    net = fnn.Sequential(penalized(l1, l2)[kind], inputs=4, dtype=dtype, seed=3)
    generator = np.random.default_rng(8)
    for entry in net.parameters.entries:
        entry.value[...] += generator.standard_normal(entry.shape)
    return net


def data(rows: int, dtype: str = "float64") -> tuple[Array, Array]:
    """Columns 0 and 2 are codes, of which not all occur."""
    X, y = networks.data("mse", rows, 4, 3, dtype)
    X[:, 0], X[:, 2] = np.arange(rows) % 4, np.arange(rows) % 18
    return X, y


def has_penalty(entry: Any) -> bool:
    return entry.kind not in ("bias", "beta")


def penalties(net: fnn.Sequential) -> float:
    """By the formula."""
    return float(sum(
        layer.l1 * np.abs(entry.value).sum() + layer.l2 * (entry.value**2).sum()
        for entry in net.parameters.entries if has_penalty(entry)
        for layer in [net.parameters.nodes[entry.layer].layer]
    ))  # fmt: skip


def slopes(net: fnn.Sequential) -> Array:
    """Their gradient by the formula."""
    found = []
    for entry in net.parameters.entries:
        layer: Any = net.parameters.nodes[entry.layer].layer
        slope = layer.l1 * np.sign(entry.value) + 2 * layer.l2 * entry.value if has_penalty(entry) else 0 * entry.value
        found.append(slope.ravel())
    return np.concatenate(found)


MAKERS = {
    partial(fnn.Dense, 3): "Dense", partial(fnn.Embedding, {0: (2, 3)}): "Embedding",
    fnn.BatchNorm: "BatchNorm", fnn.LayerNorm: "LayerNorm", fnn.RMSNorm: "RMSNorm",
}  # fmt: skip


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
    np.testing.assert_allclose(gradient, of_loss + slopes(net), rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("backend", networks.BACKENDS)
@pytest.mark.parametrize("kind", KINDS)
def test_every_layer_with_weights_takes_penalties_in_blocks_too(kind: str, backend: str) -> None:
    net, plain, (X, y) = network(kind), network(kind, 0.0, 0.0), data(30)
    value, gradient = fnn.Trainer(net, "mse", backend=backend).value_and_grad(theta(net), X, y)
    expected, of_loss = fnn.Trainer(plain, "mse", backend=backend).value_and_grad(theta(net), X, y)
    np.testing.assert_allclose(value, expected + penalties(net), rtol=1e-13)
    np.testing.assert_allclose(gradient, of_loss + slopes(net), rtol=1e-12, atol=1e-13)
    assert fnn.gradcheck(net, "mse", X, y, backend=backend).error < 1e-5
    trainer = fnn.Trainer(net, backend=backend)
    trainer.forward(X)
    trainer.backward(np.zeros_like(y))
    np.testing.assert_allclose(trainer.penalty, penalties(net), rtol=1e-13)
    np.testing.assert_allclose(np.concatenate([g.ravel() for g in trainer.gradients]), slopes(net), rtol=1e-12)


@pytest.mark.parametrize("backend", networks.BACKENDS)
def test_three_steps_are_those_of_the_formulas(backend: str) -> None:
    """PyTorch's Embedding, RMSNorm and Linear, the loss `mse_loss(z, y) + l1 * p.abs().sum() + l2 * (p ** 2).sum()` and
    SGD, written out."""
    layers = [fnn.Embedding({0: (5, 3)}, l1=0.03, l2=0.2), fnn.RMSNorm(1e-3, l1=0.1, l2=0.05), fnn.Dense(3, l2=0.1)]
    net, (X, y) = fnn.Sequential(layers, inputs=4, dtype="float64", seed=2), data(13)
    table, gamma, weight, bias = (array.copy() for array in net.get_weights())
    losses, codes, lr = [], X[:, 0].astype(int), 0.1
    for _ in range(3):
        x = np.hstack([table[codes], X[:, 1:]])
        r = 1 / np.sqrt((x**2).mean(axis=1, keepdims=True) + 1e-3)
        error = gamma * x * r @ weight + bias - y
        size = [(p.ravel() @ p.ravel(), np.abs(p).sum()) for p in (table, gamma, weight)]
        own = 0.2 * size[0][0] + 0.03 * size[0][1] + 0.05 * size[1][0] + 0.1 * size[1][1] + 0.1 * size[2][0]
        losses.append((error**2).mean() + own)
        dz = 2 * error / error.size
        dnormed = dz @ weight.T
        dx = gamma * dnormed * r - x * r**3 * (gamma * dnormed * x).mean(axis=1, keepdims=True)
        dtable = np.zeros_like(table)
        np.add.at(dtable, codes, dx[:, :3])
        dweight, dgamma = (gamma * x * r).T @ dz, (dnormed * x * r).sum(axis=0)
        table = table - lr * (dtable + 0.03 * np.sign(table) + 0.4 * table)
        gamma = gamma - lr * (dgamma + 0.1 * np.sign(gamma) + 0.1 * gamma)
        weight, bias = weight - lr * (dweight + 0.2 * weight), bias - lr * dz.sum(axis=0)
    trainer = fnn.Trainer(net, "mse", fnn.SGD(lr), batch_size=13, backend=backend)
    np.testing.assert_allclose(trainer.run(X, y, steps=3), losses, rtol=1e-12)
    for found, expected in zip(net.get_weights(), (table, gamma, weight, bias), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-11, atol=1e-14)


def test_categories_that_are_not_in_the_batch_are_penalised_too() -> None:
    net = fnn.Sequential([fnn.Embedding({0: (4, 2)}, l2=0.5), fnn.Dense(1)], inputs=1, dtype="float64")
    before = net.get_weights()[0].copy()
    fnn.Trainer(net, "mse", fnn.SGD(0.1), batch_size=3).run(np.ones((3, 1)), np.zeros(3), steps=1)
    np.testing.assert_allclose(net.get_weights()[0][[0, 2, 3]], 0.9 * before[[0, 2, 3]], rtol=1e-14)


def test_penalties_are_those_of_the_numbers_themselves_where_products_are_rounded() -> None:
    layers = [fnn.LayerNorm(l1=L1), fnn.Dense(64, "relu", l2=L2), fnn.RMSNorm(l2=L2), fnn.Dense(32, l1=L1)]
    net = fnn.Sequential(layers, inputs=40, seed=3)
    trainer = fnn.Trainer(net, batch_size=64, backend="reference", precision="bf16")
    trainer.forward(np.ones((64, 40)))
    trainer.backward(np.zeros((64, 32)))
    np.testing.assert_allclose(trainer.penalty, penalties(net), rtol=1e-6)
    found = np.concatenate([gradient.ravel() for gradient in trainer.gradients])
    np.testing.assert_allclose(found, slopes(net), rtol=1e-6)


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
    layers = penalized(L1, L2)["all"]
    X, y = data(rows)
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
@pytest.mark.parametrize("blocks", [False, True])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_c_and_numba_trainings_with_penalties_write_the_same_bits_on_any_number_of_threads(
    dtype: str, blocks: bool
) -> None:
    X, y = data(1300, dtype)
    layers = [fnn.Dense(33, "relu", l1=L1), *penalized(L1, L2)["in a residual"]] if blocks else penalized(L1, L2)["all"]
    found = []
    for backend, threads in (("numba", 1), ("c", 1), ("c", 2), ("c", 3)):
        net = fnn.Sequential(layers, inputs=4, dtype=dtype, seed=3)
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
    net = fnn.Sequential([fnn.LayerNorm(l1=L2), fnn.Dense(3, l1=L1, l2=L2)], inputs=4, dtype="float64", seed=3)
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
    assert str(fnn.Trainer(model(), "mse").plan).count("penalty ") == 4
    assert "penalty" not in str(fnn.Trainer(network("all", 0.0, 0.0), "mse").plan)
    plan = str(fnn.Trainer(network("embedding"), "mse").plan)
    assert plan.count("penalty ") == 2  # one a table
    assert "loss, dW0.2 += penalty(W0.2)" in plan


@pytest.mark.parametrize("kind", KINDS)
def test_a_model_with_penalties_comes_back_from_its_file(kind: str, tmp_path: Any) -> None:
    net, plain = network(kind), network(kind, 0.0, 0.0)
    net.save(tmp_path / "net")
    assert fnn.load(tmp_path / "net").layers == net.layers != plain.layers


@pytest.mark.parametrize("layer", [fnn.Embedding({0: (2, 3)}), fnn.BatchNorm(), fnn.LayerNorm(), fnn.RMSNorm()])
def test_layers_of_files_without_penalties_have_none(layer: Any) -> None:
    described = json.loads(json.dumps(storage.describe(layer)))
    assert described.pop("l1") == described.pop("l2") == 0
    assert storage.restore(described, fnn.layers.Layer, "layer") == layer


def test_penalties_are_written_behind_what_a_layer_needs() -> None:
    net = fnn.Sequential([fnn.BatchNorm(l1=0.5), fnn.Dense(3, "relu", l2=0.1)], inputs=4)
    assert "[BatchNorm(l1=0.5), Dense(3, activation='relu', l2=0.1)]" in repr(net)


@pytest.mark.parametrize(("field", "value"), [("l1", -0.1), ("l2", np.nan), ("l1", np.inf), ("l2", "no")])
@pytest.mark.parametrize("make", MAKERS)
def test_penalties_out_of_range_are_refused(make: Any, field: str, value: Any) -> None:
    with pytest.raises((ValueError, TypeError), match=rf"^{MAKERS[make]}\({field}=.*\): {field} must be"):
        make(**{field: value})


@pytest.mark.parametrize("layer", [fnn.BatchNorm, fnn.LayerNorm, fnn.RMSNorm])
def test_a_penalty_on_a_gamma_that_is_left_out_is_refused(layer: Any) -> None:
    with pytest.raises(ValueError, match=rf"{layer.__name__}\(scale=False, l2=0.1\): l2 is a penalty on gamma, which"):
        layer(scale=False, l2=0.1)
    assert layer(scale=False, l1=0.0).l1 == 0


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
