"""Blocks of layers: names and numbers of what is in them, mistakes, files, and the same bits whatever runs them."""

import copy
import json
import pickle

import networks
import numpy as np
import pytest

import fastnn as fnn
from fastnn import Activation, BatchNorm, Concatenate, Dense, Dropout, LayerNorm, Residual, Sequential, Trainer
from fastnn.kernels.backends import backends
from fastnn.plan.nodes import all_layers

BLOCKS = [
    Dense(6, "relu"),
    Residual([Dense(6, "tanh"), Residual([LayerNorm(), Dense(6)]), Dropout(0.2)]),
    Activation("relu"),
    Concatenate([[], [Dense(4, "relu"), BatchNorm()], [Dropout(0.3)]]),
    Residual([Dense(5)], shortcut=[Dense(5, bias=False)]),
    Dense(3),
]


def model(dtype: str = "float32", seed: int = 2) -> Sequential:
    return Sequential(BLOCKS, inputs=4, dtype=dtype, seed=seed)


# Names, numbers and starting values.


def test_arrays_in_blocks_are_named_by_their_path():
    names = [entry.name for entry in model()._numbers()]
    assert names[2:8] == [
        "layers.1.layers.0.weight", "layers.1.layers.0.bias",
        "layers.1.layers.1.layers.0.gamma", "layers.1.layers.1.layers.0.beta",
        "layers.1.layers.1.layers.1.weight", "layers.1.layers.1.layers.1.bias",
    ]  # fmt: skip
    assert names[8:14] == [
        f"layers.3.branches.1.{name}"
        for name in ("0.weight", "0.bias", "1.gamma", "1.beta", "1.running_mean", "1.running_var")
    ]
    assert names[14:] == [
        "layers.4.layers.0.weight", "layers.4.layers.0.bias", "layers.4.shortcut.0.weight",
        "layers.5.weight", "layers.5.bias",
    ]  # fmt: skip


def test_layers_are_numbered_depth_first_and_without_blocks_by_their_place():
    nodes = model().parameters.nodes
    assert [node.number for node in nodes] == list(range(len(nodes)))
    assert tuple(node.layer for node in nodes) == tuple(all_layers(BLOCKS))
    plain = Sequential(networks.mixes(5, 2)["all kinds"], inputs=4)
    assert [node.path for node in plain.parameters.nodes] == [f"layers.{n}" for n in range(len(plain.layers))]


def test_layers_in_blocks_start_as_the_same_layers_with_the_same_numbers_do_elsewhere():
    inside = Sequential([Dense(4), Residual([Dense(4, "tanh"), Dense(4)])], inputs=4).get_weights()
    outside = Sequential([Dense(4), Dropout(0.1), Dense(4, "tanh"), Dense(4)], inputs=4).get_weights()
    assert [a.tobytes() for a in inside] == [a.tobytes() for a in outside]


@pytest.mark.parametrize(
    ("layers", "found"),
    [
        ([Residual([Dense(400), Activation("relu"), Dense(300)]), Activation("tanh")], "he"),
        ([Residual([Dense(400), LayerNorm()], shortcut=[Dense(400)]), Activation("relu")], "he"),
        ([Dense(400), Residual([Activation("relu"), Dense(400)])], "he"),
        ([Dense(400), Residual([Dense(400, "relu")])], "xavier"),
        ([Concatenate([[Dense(400)], [Activation("relu"), Dense(2)]]), Dense(2)], "xavier"),
        ([Concatenate([[Dense(400)], []]), BatchNorm(), Activation("relu")], "he"),
    ],
)
def test_the_activation_behind_a_layer_is_found_across_the_borders_of_blocks(layers, found):
    model = Sequential(layers, inputs=300)
    weight = next(entry.value for entry in model.parameters.entries if entry.shape == (300, 400))
    variance = {"he": 2 / 300, "xavier": 2 / 700}[found]
    assert weight.var() == pytest.approx(variance, rel=0.05)


def test_dropout_in_two_branches_draws_two_masks():
    layers = [Concatenate([[Dropout(0.5)], [Dropout(0.5)]])]
    out = Trainer(Sequential(layers, inputs=64)).forward(np.ones((16, 64)))
    assert not np.array_equal(out[:, :64], out[:, 64:])


def test_a_group_of_parameters_may_be_a_block():
    frozen = fnn.Group(layers=(0, 1), lr=0.0)
    own = Sequential([Dense(4), Residual([Dense(4), LayerNorm()]), Dense(2)], inputs=4)
    before = own.get_weights()
    Trainer(own, "mse", fnn.Adam(groups=(frozen, fnn.Group(layers=-1, lr=2.0)))).run(
        *networks.data("mse", 9, 4, 2, "float32"), steps=3
    )
    same = [np.array_equal(a, b) for a, b in zip(before, own.get_weights(), strict=True)]
    assert same == [True] * 6 + [False] * 2


# What blocks compute.


def test_a_residual_block_adds_its_input_and_branches_stand_side_by_side():
    X = np.random.default_rng(0).standard_normal((7, 3))
    model = Sequential([Concatenate([[Residual([Dense(3)])], [], [Dense(2)]])], inputs=3, dtype="float64")
    weight, bias, other, shift = model.get_weights()
    expected = np.hstack([X + X @ weight + bias, X, X @ other + shift])
    np.testing.assert_allclose(model.predict(X), expected, rtol=1e-13, atol=1e-13)


def test_a_residual_block_has_the_gradient_of_the_same_layers_with_wider_weights():
    # x + W x is (1 + W) x: the gradient of W is that of a dense layer whose weight is 1 + W.
    X, y = networks.data("mse", 9, 4, 4)
    block = Sequential([Residual([Dense(4)]), Dense(4)], inputs=4, dtype="float64")
    dense = Sequential([Dense(4), Dense(4)], inputs=4, dtype="float64")
    weights = block.get_weights()
    dense.set_weights([weights[0] + np.eye(4), *weights[1:]])
    theta = [np.concatenate([w.ravel() for w in m.get_weights()]) for m in (block, dense)]
    losses, gradients = zip(
        *(Trainer(m, "mse").value_and_grad(t, X, y) for m, t in zip((block, dense), theta, strict=True)), strict=True
    )
    assert losses[0] == pytest.approx(losses[1], rel=1e-14)
    np.testing.assert_allclose(gradients[0], gradients[1], rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("backend", networks.BACKENDS)
def test_penalties_of_layers_in_blocks_count(backend):
    layers = [Dense(5, "tanh", l2=0.1), Residual([Dense(5, l1=0.02, l2=0.3)]), Concatenate([[], [Dense(2, l2=0.2)]])]
    own = Sequential([*layers, Dense(3)], inputs=4, dtype="float64")
    data = networks.data("mse", 9, 4, 3)
    assert fnn.gradcheck(own, "mse", *data, backend=backend).error < 1e-5
    theta = own.parameters.flatten(own.parameters.arena)
    value = Trainer(own, "mse", backend=backend).value_and_grad(theta, *data)[0]
    terms = own.get_weights()[:6:2]
    plain = Sequential([Dense(5, "tanh"), Residual([Dense(5)]), Concatenate([[], [Dense(2)]]), Dense(3)], inputs=4)
    without = Trainer(plain, "mse").value_and_grad(theta, *data)[0]
    assert value > without + sum(0.01 * (weight**2).sum() for weight in terms)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_backends_and_threads_train_blocks_to_the_same_bits(dtype):
    def trained(backend, threads):
        own = Sequential([Dense(64, "relu"), *BLOCKS], inputs=4, dtype=dtype, seed=2)
        trainer = Trainer(own, "cross_entropy", batch_size=128, threads=threads, backend=backend)
        X, y = networks.data("cross_entropy", 700, 4, 3, dtype)
        bound = trainer.bind(X, y)
        losses = np.concatenate([bound.run(np.arange(700)), bound.run_full(2)])
        return losses.tobytes(), networks.numbers(own).tobytes(), losses

    numba = trained("numba", 1)
    np.testing.assert_allclose(numba[2], trained("reference", 1)[2], rtol=1e-4 if dtype == "float32" else 1e-11)
    if "c" in backends().available:
        assert trained("c", 1)[:2] == trained("c", 2)[:2] == numba[:2]


@pytest.mark.parametrize("threads", [1, 2])
def test_a_full_batch_through_blocks_in_tiles_has_the_gradient_of_one_tile(threads):
    if threads > 1 and "c" not in backends().available:
        pytest.skip("threads come with the C library")
    layers = [Dense(8, "relu"), Residual([LayerNorm(), Dense(8, "tanh")]), Concatenate([[], [Dense(3)]]), Dense(3)]

    def gradient(in_one, threads):
        own = Sequential(layers, inputs=4, dtype="float64")
        trainer = Trainer(own, "cross_entropy", threads=threads)
        if in_one:
            trainer.tile_rows = lambda rows: rows
        return trainer.value_and_grad(
            own.parameters.flatten(own.parameters.arena), *networks.data("cross_entropy", 1501, 4, 3)
        )

    tiled, single = gradient(False, threads), gradient(True, 1)
    assert tiled[0] == pytest.approx(single[0], rel=1e-12)
    np.testing.assert_allclose(tiled[1], single[1], rtol=1e-9, atol=1e-13)


def test_batch_norm_in_a_block_mixes_rows():
    assert Trainer(model(), "cross_entropy").tile_rows(5000) == 5000
    with pytest.raises(ValueError, match="batches of at least 2 rows"):
        model().fit(np.zeros((4, 4)), [0, 1, 2, 0], loss="cross_entropy", batch_size=1)


# Copies, files, pictures.


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_model_of_blocks_survives_copies_pickles_and_files(dtype, tmp_path):
    own = model(dtype)
    X, y = networks.data("cross_entropy", 40, 4, 3, dtype)
    own.fit(X, y, loss="cross_entropy", epochs=2, progress=False)
    own.save(tmp_path / "model")
    for twin in (own.copy(), copy.deepcopy(own), pickle.loads(pickle.dumps(own)), fnn.load(tmp_path / "model")):
        assert twin.layers == own.layers
        assert networks.numbers(twin).tobytes() == networks.numbers(own).tobytes()
        assert twin.predict(X).tobytes() == own.predict(X).tobytes()
        twin.set_weights([2 * weight for weight in own.get_weights()])
        assert twin.predict(X).tobytes() != own.predict(X).tobytes()


def test_blocks_may_lie_a_hundred_deep_in_each_other(tmp_path):
    layer = Dense(2, "tanh")
    for _ in range(100):
        layer = Residual([layer])
    own = Sequential([layer], inputs=2)
    own.save(tmp_path / "deep")
    X, y = networks.data("mse", 9, 2, 2, "float32")
    assert np.isfinite(Trainer(fnn.load(tmp_path / "deep"), "mse").run(X, y, steps=1)).all()


def test_a_file_with_layers_in_layers_without_end_is_refused(tmp_path):
    description = {"type": "Dense", "units": 2}
    for _ in range(400):
        description = {"type": "Residual", "layers": [description]}
    contents = {"layers": [description], "inputs": 2, "dtype": "float32", "seed": 0, "loss": None}
    fnn.storage.write(tmp_path / "deep", {}, contents)
    with pytest.raises(fnn.ModelFileError, match="too deeply"):
        fnn.load(tmp_path / "deep")


@pytest.mark.parametrize("inner", [{"type": "MSE"}, {"type": "Residual"}, "Dense", 3, {"units": 3}])
def test_a_file_with_something_else_in_a_block_is_refused(inner, tmp_path):
    contents = {
        "layers": [{"type": "Residual", "layers": [inner]}],
        "inputs": 2,
        "dtype": "float32",
        "seed": 0,
        "loss": None,
    }
    fnn.storage.write(tmp_path / "wrong", {}, json.loads(json.dumps(contents)))
    with pytest.raises(fnn.ModelFileError):
        fnn.load(tmp_path / "wrong")


def test_the_summary_lists_the_layers_of_a_block_under_it():
    lines = model().summary().splitlines()
    cells = [line.split() for line in lines[2:]]
    assert cells[1] == ["1", "Residual", "6"]
    assert cells[2] == ["1.layers.0", "Dense(6,", "activation='tanh')", "6", "42"]
    assert cells[4] == ["1.layers.1.layers.0", "LayerNorm()", "6", "12"]
    assert cells[-1] == ["total", str(model().count)]


def test_a_model_of_blocks_is_written_as_it_was_made():
    own = model()
    again = eval(repr(own), vars(fnn) | {name: getattr(fnn, name) for name in fnn.__all__})
    assert again.layers == own.layers


# Mistakes.


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        (
            [Dense(3), Residual([Dense(4)])],
            r"layers\.1: Residual: .* 4 outputs and its input has 3.*shortcut=\[Dense\(4\)\]",
        ),
        ([Residual([Dense(4)], shortcut=[Dense(5)])], r"4 outputs and its shortcut has 5"),
        ([Residual([Concatenate([[], [Residual([Dense(9)])]])])], r"layers\.0\.layers\.0\.branches\.1\.0: Residual"),
    ],
)
def test_widths_that_cannot_be_added_are_refused_when_the_model_is_built(layers, message):
    with pytest.raises(ValueError, match=message):
        Sequential(layers, inputs=5)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: Residual([]), ValueError, "at least one layer"),
        (lambda: Residual(Dense(3)), TypeError, "expected a list of layers"),
        (lambda: Residual([Dense]), TypeError, r"layers\[0\] is .*brackets"),
        (lambda: Residual([Dense(3)], shortcut=[3]), TypeError, r"shortcut\[0\] is 3"),
        (lambda: Concatenate([[Dense(3)]]), ValueError, "at least two branches"),
        (lambda: Concatenate([Dense(3), Dense(4)]), TypeError, r"branches\[0\]=.*expected a list of layers"),
        (lambda: Concatenate("ab"), TypeError, "expected lists of layers"),
        (lambda: Concatenate([[], [Dense(3), "relu"]]), TypeError, r"branches\[1\]\[1\] is 'relu'"),
    ],
)
def test_a_block_of_something_else_is_refused(make, error, message):
    with pytest.raises(error, match=message):
        make()


def test_a_wrong_weight_in_a_block_is_named_by_its_path():
    own = model()
    weights = own.get_weights()
    weights[4] = np.zeros(3)
    with pytest.raises(ValueError, match=r"gamma of layer 1\.layers\.1\.layers\.0: shape \(3,\), expected \(6,\)"):
        own.set_weights(weights)
