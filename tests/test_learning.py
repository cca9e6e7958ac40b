"""Networks learn: small classics, and real data as well as scikit-learn's MLP learns it.

The larger data sets are looked for in the folder that FASTNN_DATA names (default: ../shared/data beside the checkout);
their tests are skipped when it is not there.
"""

import functools
import sys
import warnings
from pathlib import Path
from typing import Any

import cases
import numpy as np
import pytest

import fastnn as fnn
from fastnn.optimizers import Optimizer

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # bench/ is part of the checkout, not of the package
from bench import datasets

Array = np.ndarray[Any, Any]
SEEDS = (0, 1, 2)

needs_files = pytest.mark.skipif(not datasets.folder().is_dir(), reason="no data folder: set FASTNN_DATA")


def accuracy(model: fnn.Sequential, X: Array, y: Array) -> float:
    return float(np.mean(model.predict(X).argmax(axis=1) == y))


def two_moons(rows: int, seed: int) -> tuple[Array, Array]:
    """Two interleaved half circles with noise, as scikit-learn's make_moons."""
    generator = np.random.default_rng(seed)
    angle = np.pi * generator.random(rows)
    y = generator.integers(0, 2, rows)
    X = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    X[y == 1] = np.array([1.0, 0.5]) - X[y == 1]
    return X + generator.normal(0, 0.1, X.shape), y


@pytest.mark.parametrize("backend", cases.BACKENDS)
@pytest.mark.parametrize("loss", ["cross_entropy", "bce", "mse"])
def test_learns_xor(loss: str, backend: str) -> None:
    X, y = np.array([[0.0, 0], [0, 1], [1, 0], [1, 1]]), np.array([0, 1, 1, 0])
    model = fnn.Sequential([fnn.Dense(8, activation="tanh"), fnn.Dense(2 if loss == "cross_entropy" else 1)], inputs=2)
    trainer = fnn.Trainer(model, loss, fnn.Adam(lr=0.05), batch_size=4, backend=backend)
    losses = trainer.run(X, y, steps=400)
    outputs = model.predict(X)
    answers = outputs.argmax(axis=1) if loss == "cross_entropy" else outputs[:, 0] > (0 if loss == "bce" else 0.5)
    assert np.array_equal(answers, y)
    assert losses[-1] < 0.02 < losses[0]


@pytest.mark.parametrize(
    "optimizer", [fnn.SGD(lr=0.1, momentum=0.9), fnn.Adam(lr=0.01), fnn.RMSProp(), fnn.AdaGrad(0.1)]
)
def test_learns_two_moons(optimizer: Optimizer) -> None:
    (X, y), (Xv, yv) = two_moons(400, 0), two_moons(1000, 1)
    model = fnn.Sequential([fnn.Dense(16, activation="relu"), fnn.Dense(16, activation="relu"), fnn.Dense(2)], inputs=2)
    model.fit(X, y, loss="cross_entropy", optimizer=optimizer, epochs=60, batch_size=32, progress=False)
    assert accuracy(model, Xv, yv) > 0.98


def score(data: datasets.Data, seed: int, weight_init: str | None = None) -> float:
    """Validation score of fastnn after the data set's usual training."""
    layers = [fnn.Dense(width, activation="relu", weight_init=weight_init) for width in data.hidden]
    layers.append(fnn.Dense(data.widths[-1], weight_init=weight_init))
    model = fnn.Sequential(layers, inputs=data.widths[0], seed=seed)
    loss = "cross_entropy" if data.classes else "mse"
    model.fit(
        data.X,
        data.y,
        loss=loss,
        optimizer=fnn.Adam(lr=1e-3),
        epochs=data.epochs,
        batch_size=data.batch,
        progress=False,
    )
    return data.score(model.predict(data.Xv))


def sklearn_score(data: datasets.Data, seed: int) -> float:
    """The same training with scikit-learn's MLP, which starts from Xavier's uniform weights."""
    neural = pytest.importorskip("sklearn.neural_network")
    make = neural.MLPClassifier if data.classes else neural.MLPRegressor
    judge = make(
        hidden_layer_sizes=data.hidden,
        alpha=0.0,
        batch_size=data.batch,
        learning_rate_init=1e-3,
        max_iter=data.epochs,
        n_iter_no_change=data.epochs + 1,
        random_state=seed,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that max_iter was reached
        judge.fit(data.X, data.y if data.classes else data.y[:, 0])
    return data.score(judge.predict_proba(data.Xv) if data.classes else judge.predict(data.Xv))


@functools.cache
def data_of(name: str) -> datasets.Data:
    pytest.importorskip("pandas")
    pytest.importorskip("sklearn")
    return datasets.DATASETS[name]()


def test_learns_digits_to_96_percent() -> None:
    assert np.mean([score(data_of("digits"), seed) for seed in SEEDS]) >= 0.96


def test_learns_with_batch_norm_and_dropout() -> None:
    data = data_of("digits")
    layers: list[Any] = []
    for width in data.hidden:
        layers += [fnn.Dense(width), fnn.BatchNorm(), fnn.Activation("relu"), fnn.Dropout(0.2)]
    model = fnn.Sequential([*layers, fnn.Dense(10)], inputs=64, seed=0)
    model.fit(data.X, data.y, loss="cross_entropy", epochs=30, batch_size=128, progress=False)
    assert accuracy(model, data.Xv, data.yv) >= 0.96


@needs_files
@pytest.mark.slow
def test_learns_mnist_10k_to_96_3_percent() -> None:
    assert np.mean([score(data_of("mnist"), seed) for seed in SEEDS]) >= 0.963


@needs_files
@pytest.mark.slow
def test_learns_california_housing_as_scikit_learn_does() -> None:
    """Errors vary by some 1% between seeds; the mean of three may be 2% worse."""
    data = data_of("california")
    ours = np.mean([score(data, seed, "xavier_uniform") for seed in SEEDS])
    theirs = np.mean([sklearn_score(data, seed) for seed in SEEDS])
    assert ours <= 1.02 * theirs


@needs_files
@pytest.mark.slow
def test_learns_adult_as_scikit_learn_does() -> None:
    """Both vary by some 0.4 points between seeds; the mean of ours may be 0.6 points below one seed of theirs."""
    data = data_of("adult")
    ours = np.mean([score(data, seed, "xavier_uniform") for seed in SEEDS])
    assert ours >= sklearn_score(data, 0) - 0.006
