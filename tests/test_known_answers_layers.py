"""Layers against PyTorch 2.13: the stored arrays of tests/known_answers, made by its make_layers.py."""

import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cases
import numpy as np
import pytest

import fastnn as fnn
from fastnn import BatchNorm, Concatenate, Dense, Embedding, LayerNorm, Residual, RMSNorm, Sequential, Trainer

Array = np.ndarray[Any, Any]
NORMS = {
    "layer_norm": LayerNorm(),
    "layer_norm_eps": LayerNorm(eps=1e-2),
    "layer_norm_no_bias": LayerNorm(shift=False),
    "layer_norm_plain": LayerNorm(scale=False, shift=False),
    "rms_norm": RMSNorm(),
    "rms_norm_eps": RMSNorm(eps=1e-2),
    "rms_norm_plain": RMSNorm(scale=False),
    "batch_norm_plain": BatchNorm(scale=False, shift=False),
}


@functools.cache
def stored(name: str) -> Mapping[str, Array]:
    with np.load(Path(__file__).parent / "known_answers" / f"{name}.npz", allow_pickle=False) as file:
        return dict(file)


def magnification(name: str, x: Array, eps: float) -> tuple[Array, Array]:
    """1 / deviation, and by how much the error of a mean is magnified, for each number of x."""
    axis = 0 if name.startswith("batch") else 1
    var = (x * x).mean(axis=1, keepdims=True) if name.startswith("rms") else x.var(axis=axis, keepdims=True)
    inv_std = 1 / np.sqrt(var + eps) + np.zeros_like(x)
    return inv_std, 1 + np.abs(x).max(axis=axis, keepdims=True) * inv_std


def check_norm(name: str, dtype: str, layer: fnn.layers.Layer, backend: str) -> None:
    """Output and gradients behind a dense layer whose weight is 1 and whose gradient is x^T dx; bounds in eps of what
    is added up: a mean of 50 leaves an error of 50 eps."""
    arrays, key = stored("norms"), f"{name}.{dtype}"
    x, dy = (arrays[what].astype(dtype) for what in ("x", "dy"))
    model = Sequential([Dense(x.shape[1], bias=False), layer], inputs=x.shape[1], dtype=dtype)
    for entry in model.parameters.entries:
        entry.value[...] = np.eye(len(x[0])) if entry.kind == "weight" else arrays[entry.kind]
    trainer = Trainer(model, backend=backend)
    y = trainer.forward(x)
    trainer.backward(dy)

    eps = 1e-2 if name.endswith("eps") else float(np.finfo(dtype).eps) if name.startswith("rms") else 1e-5
    (inv_std, magnified), unit = magnification(name, x.astype(np.float64), eps), 8 * float(np.finfo(dtype).eps)
    assert np.all(np.abs(y - arrays[f"{key}.y"]) <= 2 * unit * magnified)
    found = dict(zip((e.kind for e in model.parameters.entries), trainer.gradients, strict=True))
    for kind in ("gamma", "beta"):
        assert (kind in found) == (f"{key}.d{kind}" in arrays)
        if kind in found:
            assert np.all(np.abs(found[kind] - arrays[f"{key}.d{kind}"]) <= unit * magnified.sum(axis=0))
    dx = arrays[f"{key}.dx"].astype(np.float64)
    off = np.abs(x).T.astype(np.float64) @ (2 * unit * inv_std * magnified)
    assert np.all(np.abs(found["weight"] - x.astype(np.float64).T @ dx) <= off)


@pytest.mark.parametrize("backend", cases.BACKENDS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", NORMS)
def test_normalisation_is_torchs(name: str, dtype: str, backend: str) -> None:
    check_norm(name, dtype, NORMS[name], backend)


@pytest.mark.parametrize(
    ("name", "wrong"),
    [("layer_norm", LayerNorm(eps=2e-5)), ("rms_norm", RMSNorm(eps=1e-5)), ("layer_norm_eps", RMSNorm(eps=1e-2))],
)
def test_the_check_of_normalisation_rejects_another_eps_and_another_kind(name: str, wrong: fnn.layers.Layer) -> None:
    with pytest.raises(AssertionError):
        check_norm(name, "float64", wrong, "reference")


@pytest.mark.parametrize("backend", cases.BACKENDS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_embeddings_are_torchs(dtype: str, backend: str) -> None:
    arrays = stored("embedding")
    model = Sequential([Embedding({0: (5, 3), 1: (6, 4)})], inputs=2, dtype=dtype)
    model.set_weights([arrays["table0"], arrays["table1"]])
    trainer = Trainer(model, backend=backend)
    assert trainer.forward(arrays["codes"]).tobytes() == arrays[f"{dtype}.y"].tobytes()
    trainer.backward(arrays["dy"])
    for number, gradient in enumerate(trainer.gradients):
        expected = arrays[f"{dtype}.dtable{number}"]
        np.testing.assert_allclose(gradient, expected, rtol=0, atol=21 * float(np.finfo(dtype).eps))
    assert (trainer.gradients[1][1::2] == 0).all()


def blocks() -> Sequential:
    layers = [
        Embedding({0: (4, 3)}),
        Dense(12, "relu"),
        Residual([Dense(12, "relu"), Dense(12)]),
        fnn.Activation("relu"),
        Concatenate([[], [LayerNorm(), Dense(6, "tanh")]]),
        BatchNorm(scale=False, shift=False),
        Residual([RMSNorm(), Dense(10)], shortcut=[Dense(10, bias=False)]),
        Dense(3),
    ]
    model = Sequential(layers, inputs=5, dtype="float64")
    for index, entry in enumerate(model.parameters.entries):
        start = stored("training_blocks")[f"start{index}"]
        entry.value[...] = start.T if entry.kind == "weight" else start
    return model


def train(model: Sequential, backend: str) -> Array:
    arrays = stored("training_blocks")
    trainer = Trainer(model, "cross_entropy", fnn.Adam(lr=1e-2), batch_size=32, backend=backend)
    bound = trainer.bind(arrays["x"], arrays["y"])
    return np.concatenate([bound.run(epoch) for epoch in arrays["order"].astype(np.int64)])


@pytest.mark.parametrize("backend", cases.BACKENDS)
def test_100_losses_of_a_network_of_blocks_are_torchs(backend: str) -> None:
    arrays, model = stored("training_blocks"), blocks()
    losses = train(model, backend)
    assert losses.shape == (100,)
    np.testing.assert_allclose(losses, arrays["losses"], rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(model.predict(arrays["x"]), arrays["outputs"], rtol=1e-10, atol=1e-10)


def test_the_check_of_the_training_rejects_a_slightly_other_start() -> None:
    model = blocks()
    model.parameters.entries[0].value[0, 0] += 1e-9
    with pytest.raises(AssertionError):
        np.testing.assert_allclose(train(model, "numba"), stored("training_blocks")["losses"], rtol=1e-12, atol=1e-12)
