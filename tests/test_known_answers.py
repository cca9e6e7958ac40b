"""fastnn against PyTorch 2.13: the stored arrays of tests/known_answers, made by its make.py.

Optimizer updates are compared one step at a time from PyTorch's own state and over all 100 steps; losses and batch
normalization by kernel; whole trainings by the loss of every step. Each check is also shown to reject a kernel that is
a little wrong.
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
OPTIMIZERS: dict[str, Optimizer] = {
    "sgd_default": fnn.SGD(lr=1e-3),
    "sgd_second": fnn.SGD(lr=0.03),
    "momentum_default": fnn.SGD(lr=1e-3, momentum=0.9),
    "momentum_second": fnn.SGD(lr=0.03, momentum=0.55),
    "adam_default": fnn.Adam(),
    "adam_second": fnn.Adam(lr=0.03, betas=(0.8, 0.99), eps=1e-6),
    "adagrad_default": fnn.AdaGrad(),
    "adagrad_second": fnn.AdaGrad(lr=0.1, eps=1e-6),
    "rmsprop_default": fnn.RMSProp(),
    "rmsprop_second": fnn.RMSProp(lr=0.1, alpha=0.9, eps=1e-6),
}
BIT_FOR_BIT = ("adam", "adagrad")


@functools.cache
def stored(name: str) -> Mapping[str, Array]:
    with np.load(Path(__file__).parent / "known_answers" / f"{name}.npz", allow_pickle=False) as file:
        return dict(file)


def kernel(name: str, backend: str) -> Update:
    return functools.partial(getattr(ops, name), backend=backend)


# Optimizers.


def scalars_at(optimizer: Optimizer, step: int) -> dict[str, float]:
    """The kernel's scalars at one step, counted from 1."""
    found = optimizer.scalars(np.array([float(step)]), optimizer.lr)
    return {name: float(np.reshape(value, -1)[0]) for name, value in found.items()}


def states(name: str, dtype: str) -> list[Array]:
    """torch's parameters and moments: one array (steps, N) each; every step in float32, every tenth in float64."""
    moments = OPTIMIZERS[name].moments
    return [stored("optimizers")[f"{name}.{dtype}.{what}"] for what in ("param", *moments)]


def check_bits(name: str, update: Update) -> None:
    """100 steps of float32 end, and pass, where torch does, bit for bit."""
    optimizer, grads = OPTIMIZERS[name], stored("optimizers")["grads"]
    param = stored("optimizers")["param"].copy()
    arrays = [param, *(np.zeros_like(param) for _ in optimizer.moments)]
    for step, grad in enumerate(grads):
        update(*arrays, grad, **scalars_at(optimizer, step + 1))
        for array, history in zip(arrays, states(name, "float32"), strict=True):
            np.testing.assert_array_equal(array.view(np.int32), history[step].view(np.int32))


def check_each_step(name: str, update: Update, bound: float = 2) -> None:
    """Each of 100 float32 steps, started from torch's own state, ends within `bound` ulp of torch's.

    The ulp is that of the largest of a number's old value, new value and change: where the two cancel, the last bit of
    the difference says nothing about the quality of the update.
    """
    optimizer, grads, histories = OPTIMIZERS[name], stored("optimizers")["grads"], states(name, "float32")
    before = [stored("optimizers")["param"], *(np.zeros_like(grads[0]) for _ in optimizer.moments)]
    for step, grad in enumerate(grads):
        arrays = [array.copy() for array in before]
        update(*arrays, grad, **scalars_at(optimizer, step + 1))
        after = [history[step] for history in histories]
        for array, old, expected in zip(arrays, before, after, strict=True):
            size = np.max(np.abs([old, expected, expected - old]), axis=0)
            ulp = np.spacing(size).astype(np.float64)
            error = np.abs(array.astype(np.float64) - expected) / ulp
            assert error.max() <= bound, f"step {step + 1}: {error.max()} ulp"
        before = after


def check_double(name: str, update: Update) -> None:
    """100 steps of float64 stay within 1e-13 of torch, relative to the largest value that the number has had."""
    optimizer, grads = OPTIMIZERS[name], stored("optimizers")["grads"].astype(np.float64)
    param = stored("optimizers")["param"].astype(np.float64)
    arrays = [param, *(np.zeros_like(param) for _ in optimizer.moments)]
    largest = [np.abs(array) for array in arrays]
    for step, grad in enumerate(grads, 1):
        update(*arrays, grad, **scalars_at(optimizer, step))
        largest = [np.maximum(np.abs(array), size) for array, size in zip(arrays, largest, strict=True)]
        if step % 10 == 0:
            for array, history, size in zip(arrays, states(name, "float64"), largest, strict=True):
                assert np.all(np.abs(array - history[step // 10 - 1]) <= 1e-13 * size), f"step {step}"


@pytest.mark.parametrize("name", [name for name in OPTIMIZERS if name.startswith(BIT_FOR_BIT)])
@pytest.mark.parametrize("backend", cases.COMPILED)
def test_compiled_kernels_make_the_bits_of_fused_torch(name: str, backend: str) -> None:
    check_bits(name, kernel(OPTIMIZERS[name].operation, backend))


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_each_float32_step_is_torchs_within_2_ulp(name: str, backend: str) -> None:
    check_each_step(name, kernel(OPTIMIZERS[name].operation, backend))


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_float64_steps_are_torchs(name: str, backend: str) -> None:
    check_double(name, kernel(OPTIMIZERS[name].operation, backend))


def adam_with_eps_inside(  # the variant of Keras: eps added before the bias correction
    param: Array, exp_avg: Array, exp_avg_sq: Array, grad: Array,
    step_size: float, beta1: float, beta2: float, eps: float, sqrt_bias_correction2: float,
) -> None:  # fmt: skip
    eps = eps / sqrt_bias_correction2
    ops.adam_update(
        param, exp_avg, exp_avg_sq, grad,
        step_size=step_size, beta1=beta1, beta2=beta2, eps=eps, sqrt_bias_correction2=sqrt_bias_correction2,
        backend="numba",
    )  # fmt: skip


def adam_with_coarse_beta(*arrays: Array, beta2: float, **scalars: float) -> None:
    """1 - beta2 computed in float32: wrong by 1e-5."""
    ops.adam_update(*arrays, beta2=float(np.float32(beta2)), **scalars, backend="numba")


def rmsprop_divided_first(
    param: Array, square_avg: Array, grad: Array, lr: float, alpha: float, eps: float
) -> None:  # lr * (grad / denominator) instead of (lr * grad) / denominator: one more rounding of the larger kind
    before = param.copy()
    ops.rmsprop_update(param, square_avg, grad, lr=lr, alpha=alpha, eps=eps, backend="numba")
    param[...] = np.nextafter(np.nextafter(np.nextafter(param, before), before), before)


def test_the_optimizer_checks_reject_a_slightly_wrong_kernel() -> None:
    for wrong in (adam_with_eps_inside, adam_with_coarse_beta):
        for check in (check_bits, check_double):
            with pytest.raises(AssertionError):
                check("adam_second", wrong)
        with pytest.raises(AssertionError):
            check_each_step("adam_second", wrong)
    with pytest.raises(AssertionError):
        check_each_step("rmsprop_second", rmsprop_divided_first)


# Losses.


def check_loss(name: str, kind: str, dtype: str, loss: Update) -> None:
    """Value and gradient to a few roundings; a gradient's error counts in units of 1 / terms, the size of its parts."""
    arrays = stored("losses")
    z = np.ascontiguousarray(arrays[f"outputs.{kind}"].astype(dtype).T)
    targets = arrays["labels"] if name == "cross_entropy" else arrays[f"targets.{name}"].astype(dtype).T.copy()
    terms = z.shape[1] if name == "cross_entropy" else z.size
    dz, value = np.full_like(z, np.nan), np.full(1, np.nan)
    loss(dz, value, z, targets, scale=1 / terms)
    eps = float(np.finfo(dtype).eps)
    key = f"{name}.{kind}.{dtype}"
    expected, grad = float(arrays[f"{key}.value"]), arrays[f"{key}.grad"].astype(np.float64)
    assert abs(value[0] - expected) <= 8 * eps * abs(expected)
    assert np.all(np.abs(dz.T - grad) <= 16 * eps * np.abs(grad) + 4 * eps / terms)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", ["ordinary", "extreme"])
@pytest.mark.parametrize("name", ["cross_entropy", "mse", "bce"])
def test_loss_and_gradient_are_torchs(name: str, kind: str, dtype: str, backend: str) -> None:
    check_loss(name, kind, dtype, kernel(name, backend))


@pytest.mark.parametrize("name", ["cross_entropy", "mse", "bce"])
def test_the_loss_check_rejects_a_slightly_wrong_kernel(name: str) -> None:
    def off_in_value(dz: Array, loss: Array, *inputs: Array, scale: float) -> None:
        getattr(ops, name)(dz, loss, *inputs, scale=scale)
        loss *= 1 + 12 * np.finfo(dz.dtype).eps

    def off_in_one_gradient(dz: Array, loss: Array, *inputs: Array, scale: float) -> None:
        getattr(ops, name)(dz, loss, *inputs, scale=scale)
        place = np.unravel_index(np.abs(dz).argmax(), dz.shape)
        dz[place] *= 1 + 24 * np.finfo(dz.dtype).eps

    for dtype in DTYPES:
        for wrong in (off_in_value, off_in_one_gradient):
            with pytest.raises(AssertionError):
                check_loss(name, "ordinary", dtype, wrong)


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
