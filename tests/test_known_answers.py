"""fastnn against PyTorch 2.13: the stored arrays of tests/known_answers, made by its make.py.

Batch normalization is compared by kernel, whole trainings by the loss of every step. Each check is also shown to reject
a kernel that is a little wrong. Optimizers and losses have files of their own.
"""

import functools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import cases
import numpy as np
import pytest

import fastnn as fnn
from fastnn import ops
from fastnn.optimizers import Optimizer

Array = np.ndarray[Any, Any]
Update = Callable[..., None]  # called as a kernel of fastnn.ops is: arrays by position, scalars by name

BACKENDS = cases.BACKENDS
DTYPES = ("float32", "float64")


@functools.cache
def stored(name: str) -> Mapping[str, Array]:
    with np.load(Path(__file__).parent / "known_answers" / f"{name}.npz", allow_pickle=False) as file:
        return dict(file)


def kernel(name: str, backend: str) -> Update:
    return functools.partial(getattr(ops, name), backend=backend)


# Batch normalisation.


def check_batchnorm(setting: str, dtype: str, forward: Update, backward: Update, inference: Update) -> None:
    """Four batches, then inference. Bounds are in eps of what is added up: a mean of 100 leaves an error of 100 eps."""
    arrays = stored("batchnorm")
    momentum, eps = arrays[f"{setting}.momentum_eps"]
    gamma, beta = arrays["gamma"].astype(dtype), arrays["beta"].astype(dtype)
    features, unit = len(gamma), 8 * float(np.finfo(dtype).eps)
    running_mean, running_var = np.zeros(features, dtype), np.ones(features, dtype)
    for index in range(4):
        x, dy = (np.ascontiguousarray(arrays[f"{what}{index}"].astype(dtype).T) for what in ("x", "dy"))
        y, dx = np.full_like(x, np.nan), np.full_like(x, np.nan)
        mean, inv_std, dgamma, dbeta = (np.full(features, np.nan, dtype) for _ in range(4))
        forward(y, mean, inv_std, running_mean, running_var, x, gamma, beta, eps=eps, momentum=momentum)
        backward(dx, dgamma, dbeta, dy, x, gamma, mean, inv_std)

        x_hat_error = 1 + np.abs(x).max(axis=1) * inv_std
        bounds = {
            "y": ((gamma * x_hat_error + np.abs(beta))[:, None] + np.zeros_like(x)).T,
            "dx": ((gamma * inv_std * x_hat_error)[:, None] * np.abs(dy).max(axis=1, keepdims=True) + 0 * x).T,
            "dgamma": np.abs(dy).sum(axis=1) * x_hat_error,
            "dbeta": np.abs(dy).sum(axis=1),
            "running_mean": np.abs(x).max(axis=1),
            "running_var": running_var,
        }
        found = {"y": y.T, "dx": dx.T, "dgamma": dgamma, "dbeta": dbeta}
        found |= {"running_mean": running_mean, "running_var": running_var}
        for what, value in found.items():
            expected = arrays[f"{setting}.{dtype}.{what}{index}"]
            assert np.all(np.abs(value - expected) <= unit * bounds[what]), f"{what} of batch {index}"
    x = np.ascontiguousarray(arrays["x_inference"].astype(dtype).T)
    y = np.full_like(x, np.nan)
    inference(y, x, gamma, beta, running_mean, running_var, eps=eps)
    size = gamma * (1 + (np.abs(x).max(axis=1) + np.abs(running_mean)) / np.sqrt(running_var + eps)) + np.abs(beta)
    assert np.all(np.abs(y.T - arrays[f"{setting}.{dtype}.y_inference"]) <= unit * size)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("setting", ["default", "second"])
def test_batch_norm_is_torchs(setting: str, dtype: str, backend: str) -> None:
    names = ("batch_norm_forward", "batch_norm_backward", "batch_norm_inference")
    check_batchnorm(setting, dtype, *(kernel(name, backend) for name in names))


def test_the_batch_norm_check_rejects_a_biased_running_variance() -> None:
    def biased(y: Array, mean: Array, inv_std: Array, running_mean: Array, running_var: Array,
               x: Array, gamma: Array, beta: Array, eps: float, momentum: float) -> None:  # fmt: skip
        before = running_var.copy()
        ops.batch_norm_forward(
            y, mean, inv_std, running_mean, running_var, x, gamma, beta, eps=eps, momentum=momentum, backend="numba"
        )
        running_var[...] = (1 - momentum) * before + momentum * x.var(axis=1)

    with pytest.raises(AssertionError, match="running_var"):
        check_batchnorm("default", "float64", biased, ops.batch_norm_backward, ops.batch_norm_inference)


# Whole trainings.

TRAININGS: dict[str, tuple[list[Any], str, Optimizer]] = {
    "relu_adam": (
        [fnn.Dense(16, activation="relu"), fnn.Dense(16, activation="relu"), fnn.Dense(3)],
        "cross_entropy",
        fnn.Adam(lr=1e-2),
    ),
    "tanh_momentum": (
        [fnn.Dense(64, activation="tanh"), fnn.Dense(64, activation="tanh"), fnn.Dense(1)],
        "mse",
        fnn.SGD(lr=0.02, momentum=0.9),
    ),
    "sigmoid_batchnorm_rmsprop": (
        [fnn.Dense(20, bias=False), fnn.BatchNorm(), fnn.Activation("sigmoid"), fnn.Dense(2)],
        "bce",
        fnn.RMSProp(lr=2e-3),
    ),
}


def start(model: fnn.Sequential, arrays: Mapping[str, Array]) -> None:
    """Put the stored weights of the dense layers into the model; gamma and beta start at 1 and 0 anyway."""
    dense = [entry for entry in model.parameters.entries if entry.kind in ("weight", "bias")]
    for index, entry in enumerate(dense):
        entry.value[...] = arrays[f"weight{index}"]


def train(name: str, backend: str, optimizer: Optimizer | None = None) -> tuple[Array, fnn.Sequential]:
    layers, loss, given = TRAININGS[name]
    arrays = stored(f"training_{name}")
    model = fnn.Sequential(layers, inputs=arrays["x"].shape[1], dtype="float64")
    start(model, arrays)
    trainer = fnn.Trainer(model, loss, optimizer or given, batch_size=int(arrays["batch_size"]), backend=backend)
    bound = trainer.bind(arrays["x"], arrays["y"])
    return np.concatenate([bound.run(epoch) for epoch in arrays["order"].astype(np.int64)]), model


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", TRAININGS)
def test_300_losses_of_a_training_are_torchs(name: str, backend: str) -> None:
    arrays = stored(f"training_{name}")
    losses, model = train(name, backend)
    assert losses.shape == (300,)
    np.testing.assert_allclose(losses, arrays["losses"], rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(model.predict(arrays["x"]), arrays["outputs"], rtol=1e-11, atol=1e-11)
    for index, entry in enumerate(model.parameters.buffers):
        np.testing.assert_allclose(entry.value, arrays[f"running{index}"], rtol=1e-12, atol=1e-12)


def test_the_training_check_rejects_another_eps() -> None:
    losses, _ = train("relu_adam", "numba", fnn.Adam(lr=1e-2, eps=1.001e-8))
    with pytest.raises(AssertionError):
        np.testing.assert_allclose(losses, stored("training_relu_adam")["losses"], rtol=1e-12, atol=1e-12)
