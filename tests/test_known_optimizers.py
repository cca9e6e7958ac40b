"""Optimizers against PyTorch 2.13, and optax's Lion: the stored arrays of tests/known_answers/make_optimizers.py.

Updates are compared one step at a time from the other's own state and over all 100 steps; what no other library has
stored here is compared with the formulas of the papers, written out in float64. Each check is also shown to reject a
kernel that is a little wrong.
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
Update = Callable[..., None]  # called as a kernel of fastnn.ops is: arrays and scalars by name

BACKENDS = cases.BACKENDS
SECOND: dict[str, Any] = {"lr": 0.03, "betas": (0.8, 0.99), "eps": 1e-6}
OPTIMIZERS: dict[str, Optimizer] = {
    "sgd_default": fnn.SGD(lr=1e-3),
    "sgd_second": fnn.SGD(lr=0.03),
    "sgd_decay": fnn.SGD(lr=0.03, weight_decay=0.1),
    "momentum_default": fnn.SGD(lr=1e-3, momentum=0.9),
    "momentum_second": fnn.SGD(lr=0.03, momentum=0.55),
    "nesterov_default": fnn.SGD(lr=1e-3, momentum=0.9, nesterov=True),
    "nesterov_second": fnn.SGD(lr=0.03, momentum=0.55, nesterov=True, weight_decay=0.01),
    "lion_default": fnn.Lion(weight_decay=0.1),
    "lion_second": fnn.Lion(lr=0.01, betas=(0.7, 0.95), weight_decay=0.1),
    "rprop_default": fnn.Rprop(),
    "rprop_second": fnn.Rprop(lr=0.1, etas=(0.4, 1.3), step_sizes=(1e-3, 0.2)),
    "adam_default": fnn.Adam(),
    "adam_second": fnn.Adam(**SECOND),
    "adam_decay": fnn.Adam(weight_decay=0.1),
    "adamw_default": fnn.AdamW(),
    "adamw_second": fnn.AdamW(**SECOND, weight_decay=0.3),
    "nadam_default": fnn.NAdam(),
    "nadam_second": fnn.NAdam(**SECOND, momentum_decay=0.02, weight_decay=0.1, decoupled=True),
    "radam_default": fnn.RAdam(),
    "radam_second": fnn.RAdam(**SECOND, weight_decay=0.1),
    "adagrad_default": fnn.AdaGrad(),
    "adagrad_second": fnn.AdaGrad(lr=0.1, eps=1e-6),
    "adagrad_third": fnn.AdaGrad(lr=0.1, lr_decay=0.05, initial_accumulator_value=0.1, weight_decay=0.01),
    "adadelta_default": fnn.Adadelta(),
    "adadelta_second": fnn.Adadelta(lr=0.3, rho=0.8, eps=1e-4),
    "rmsprop_default": fnn.RMSProp(),
    "rmsprop_second": fnn.RMSProp(lr=0.1, alpha=0.9, eps=1e-6),
    "rmsprop_momentum": fnn.RMSProp(lr=0.01, alpha=0.9, momentum=0.8),
    "rmsprop_centered": fnn.RMSProp(alpha=0.9, centered=True),
    "rmsprop_centered_momentum": fnn.RMSProp(alpha=0.9, centered=True, momentum=0.8),
}
BIT_FOR_BIT = ("adam_", "adagrad_default", "adagrad_second")
"""Those that PyTorch fuses. (AdamW's weights it multiplies by 1 - lr * weight_decay, rounded; here the decay is
subtracted from them with one rounding.)"""
BOUNDS = {
    "adam_decay": 3, "radam_second": 5, "adadelta_default": 5, "adadelta_second": 5, "rmsprop_momentum": 3,
    "rmsprop_centered_momentum": 3,
}  # fmt: skip
"""ulp, where more than 2: those that PyTorch rounds more often, one operation after the other."""


@functools.cache
def stored() -> Mapping[str, Array]:
    with np.load(Path(__file__).parent / "known_answers" / "optimizers.npz", allow_pickle=False) as file:
        return dict(file)


def kernel(name: str, backend: str) -> Update:
    return functools.partial(getattr(ops, name), backend=backend)


def moments_at_start(optimizer: Optimizer, like: Array) -> list[Array]:
    return [np.full_like(like, optimizer.starts.get(moment, 0.0)) for moment in optimizer.moments]


def updated(update: Update, optimizer: Optimizer, arrays: list[Array], grad: Array, step: int) -> None:
    """One step on parameters and moments, in place."""
    names = ("param", *optimizer.moments)
    update(**dict(zip(names, arrays, strict=True)), grad=grad, **scalars_at(optimizer, step))


def scalars_at(optimizer: Optimizer, step: int) -> dict[str, float]:
    """The kernel's scalars at one step, counted from 1."""
    found = optimizer.scalars(np.array([float(step)]), optimizer.lr)
    return {name: float(np.reshape(value, -1)[0]) for name, value in found.items()}


def states(name: str, dtype: str) -> list[Array]:
    """torch's parameters and moments: one array (steps, N) each; every step in float32, every tenth in float64."""
    moments = OPTIMIZERS[name].moments
    return [stored()[f"{name}.{dtype}.{what}"] for what in ("param", *moments)]


def check_bits(name: str, update: Update) -> None:
    """100 steps of float32 end, and pass, where torch does, bit for bit."""
    optimizer, grads = OPTIMIZERS[name], stored()["grads"]
    param = stored()["param"].copy()
    arrays = [param, *moments_at_start(optimizer, param)]
    for step, grad in enumerate(grads):
        updated(update, optimizer, arrays, grad, step + 1)
        for array, history in zip(arrays, states(name, "float32"), strict=True):
            np.testing.assert_array_equal(array.view(np.int32), history[step].view(np.int32))


def check_each_step(name: str, update: Update) -> None:
    """Each of 100 float32 steps, started from the other's own state, ends within a few ulp of the other's.

    The ulp is that of the largest of a number's old value, new value and change: where the two cancel, the last bit of
    the difference says nothing about the quality of the update.
    """
    optimizer, grads, histories = OPTIMIZERS[name], stored()["grads"], states(name, "float32")
    before = [stored()["param"], *moments_at_start(optimizer, grads[0])]
    for step, grad in enumerate(grads):
        arrays = [array.copy() for array in before]
        updated(update, optimizer, arrays, grad, step + 1)
        after = [history[step] for history in histories]
        for array, old, expected in zip(arrays, before, after, strict=True):
            size = np.max(np.abs([old, expected, expected - old]), axis=0)
            ulp = np.spacing(size).astype(np.float64)
            error = np.abs(array.astype(np.float64) - expected) / ulp
            assert error.max() <= BOUNDS.get(name, 2), f"step {step + 1}: {error.max()} ulp"
        before = after


def check_double(name: str, update: Update) -> None:
    """100 steps of float64 stay within 1e-13 of the other's, relative to the largest value that the number has had."""
    optimizer, grads = OPTIMIZERS[name], stored()["grads"].astype(np.float64)
    param = stored()["param"].astype(np.float64)
    arrays = [param, *moments_at_start(optimizer, param)]
    largest = [np.abs(array) for array in arrays]
    for step, grad in enumerate(grads, 1):
        updated(update, optimizer, arrays, grad, step)
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
def test_each_float32_step_is_the_others_within_some_ulp(name: str, backend: str) -> None:
    check_each_step(name, kernel(OPTIMIZERS[name].operation, backend))


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_float64_steps_are_the_others(name: str, backend: str) -> None:
    check_double(name, kernel(OPTIMIZERS[name].operation, backend))


def adam_with_eps_inside(  # the variant of Keras: eps added before the bias correction
    param: Array, exp_avg: Array, exp_avg_sq: Array, grad: Array,
    step_size: float, beta1: float, beta2: float, eps: float, sqrt_bias_correction2: float, **decay: float,
) -> None:  # fmt: skip
    eps = eps / sqrt_bias_correction2
    ops.adam_update(
        param, exp_avg, exp_avg_sq, grad,
        step_size=step_size, beta1=beta1, beta2=beta2, eps=eps, sqrt_bias_correction2=sqrt_bias_correction2,
        backend="numba",
    )  # fmt: skip


def adam_with_coarse_beta(beta2: float, **arguments: Any) -> None:
    """1 - beta2 computed in float32: wrong by 1e-5."""
    ops.adam_update(beta2=float(np.float32(beta2)), **arguments, backend="numba")


def rmsprop_divided_first(
    param: Array, square_avg: Array, grad: Array, lr: float, alpha: float, eps: float, **others: float
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


# Formulas in float64, for what no other library has stored answers of.


def written_out(step: Callable[..., Array], starts: float) -> Array:
    """The parameters after all steps of a formula: step(grad, t, first, second) gives what is subtracted."""
    param = stored()["param"].astype(np.float64)
    first, second = np.full_like(param, starts), np.zeros_like(param)
    for t, grad in enumerate(stored()["grads"].astype(np.float64), 1):
        param -= step(grad, t, first, second)
    return param


def velocity(grad: Array, t: int, v: Array, _: Array) -> Array:
    v[...] = 0.9 * v - 0.01 * grad
    return -v


def velocity_of_nesterov(grad: Array, t: int, v: Array, _: Array) -> Array:
    v[...] = 0.9 * v - 0.01 * grad
    return 0.01 * grad - 0.9 * v


def average(grad: Array, t: int, v: Array, _: Array) -> Array:
    v[...] = 0.9 * v + (1 - 0.9) * grad
    return 0.01 * v


def adagrad_of_keras(grad: Array, t: int, accumulator: Array, _: Array) -> Array:
    accumulator += grad**2
    return 0.001 * grad / np.sqrt(accumulator + 1e-7)


def rmsprop_of_keras(grad: Array, t: int, v: Array, _: Array) -> Array:
    v[...] = 0.9 * v + (1 - 0.9) * grad**2
    return 0.001 * grad / np.sqrt(v + 1e-7)


def adam_of_keras(grad: Array, t: int, m: Array, v: Array) -> Array:
    alpha = 0.001 * np.sqrt(1 - 0.999**t) / (1 - 0.9**t)
    m += (grad - m) * (1 - 0.9)
    v += (grad**2 - v) * (1 - 0.999)
    return alpha * m / (np.sqrt(v) + 1e-7)


def adam_uncorrected(grad: Array, t: int, m: Array, v: Array) -> Array:
    m += (grad - m) * (1 - 0.9)
    v += (grad**2 - v) * (1 - 0.999)
    return 1e-3 * m / (np.sqrt(v) + 1e-8)


def adadelta_of_keras(grad: Array, t: int, v: Array, moved: Array) -> Array:
    v[...] = 0.95 * v + (1 - 0.95) * grad**2
    delta = np.sqrt(moved + 1e-7) / np.sqrt(v + 1e-7) * grad
    moved[...] = 0.95 * moved + (1 - 0.95) * delta**2
    return 0.001 * delta


def nadam_of_keras(grad: Array, t: int, m: Array, v: Array) -> Array:
    momenta = 0.9 * (1 - 0.5 * 0.96 ** np.arange(1, t + 2))
    m += (grad - m) * (1 - 0.9)
    v += (grad**2 - v) * (1 - 0.999)
    m_hat = momenta[t] * m / (1 - momenta.prod()) + (1 - momenta[t - 1]) * grad / (1 - momenta[:t].prod())
    return 0.001 * m_hat / (np.sqrt(v / (1 - 0.999**t)) + 1e-7)


def lion_of_keras(grad: Array, t: int, m: Array, _: Array) -> Array:
    step = 0.001 * np.sign(0.9 * m + (1 - 0.9) * grad)
    m[...] = 0.99 * m + (1 - 0.99) * grad
    return step


FORMULAS: dict[str, tuple[Optimizer, Callable[..., Array], float]] = {
    "SGD, velocity": (fnn.SGD(momentum=0.9, form="velocity"), velocity, 0.0),
    "SGD.keras, Nesterov": (fnn.SGD.keras(momentum=0.9, nesterov=True), velocity_of_nesterov, 0.0),
    "SGD, average": (fnn.SGD(momentum=0.9, form="average"), average, 0.0),
    "AdaGrad.keras": (fnn.AdaGrad.keras(), adagrad_of_keras, 0.1),
    "RMSProp.keras": (fnn.RMSProp.keras(), rmsprop_of_keras, 0.0),
    "Adam.keras": (fnn.Adam.keras(), adam_of_keras, 0.0),
    "Adam without correction": (fnn.Adam(bias_correction=False), adam_uncorrected, 0.0),
    "NAdam.keras": (fnn.NAdam.keras(), nadam_of_keras, 0.0),
    "Lion.keras": (fnn.Lion.keras(), lion_of_keras, 0.0),
    "Adadelta.keras": (fnn.Adadelta.keras(), adadelta_of_keras, 0.0),
}


def by_fastnn(optimizer: Optimizer, backend: str) -> Array:
    param = stored()["param"].astype(np.float64)
    arrays = [param, *moments_at_start(optimizer, param)]
    for step, grad in enumerate(stored()["grads"].astype(np.float64), 1):
        updated(kernel(optimizer.operation, backend), optimizer, arrays, grad, step)
    return param


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", FORMULAS)
def test_steps_are_those_of_the_formula(name: str, backend: str) -> None:
    optimizer, step, starts = FORMULAS[name]
    np.testing.assert_allclose(by_fastnn(optimizer, backend), written_out(step, starts), rtol=1e-12)


@pytest.mark.parametrize("name", [name for name in FORMULAS if name != "Lion.keras"])  # but for the rate the usual
def test_the_formulas_differ_from_the_usual_forms(name: str) -> None:
    optimizer, step, starts = FORMULAS[name]
    usual = type(optimizer)(lr=optimizer.lr)  # type: ignore[call-arg]
    wrong = by_fastnn(usual, "reference")
    assert np.abs(wrong - written_out(step, starts)).max() > 1e-6
