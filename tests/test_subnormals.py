"""Subnormal numbers: they count as zeros while a native loop runs a plan, and nowhere else."""

from typing import Any

import cases
import networks
import numpy as np
import pytest

import fastnn as fnn
from fastnn.plan import threads as threads_of_plans

Array = np.ndarray[Any, Any]

WAYS = [(backend, threads) for backend in cases.COMPILED for threads in ((1, 2) if backend == "c" else (1,))]


@pytest.fixture(autouse=True)
def cut_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    """Calls of any size are cut, so that every thread meets such numbers."""
    monkeypatch.setattr(threads_of_plans, "_LEAST_PRODUCT", 1)
    monkeypatch.setattr(threads_of_plans, "_LEAST_NUMBERS", 1)


def trained(backend: str, threads: int, how: str) -> tuple[Array, Array]:
    """Losses and moments after training on rows so small that the squares of their gradients are subnormal."""
    X, y = networks.data("mse", 600, 7, 5, "float32")
    model = networks.network("tanh", 7, 40, 5, "float32")
    trainer = fnn.Trainer(model, "mse", fnn.Adam(lr=1e-2), batch_size=100, threads=threads, backend=backend)
    bound = trainer.bind(X * np.float32(1e-18), y)
    if how == "steps":
        losses = np.array(list(bound.steps(np.arange(600))))
    else:
        losses = bound.run(np.arange(600)) if how == "mini-batches" else bound.run_full(3)
    return losses, np.concatenate([trainer._arenas[name].view(np.float32) for name in trainer.optimizer.moments])


def subnormal(numbers: Array) -> int:
    return int(np.sum((numbers != 0) & (np.abs(numbers) < np.finfo(numbers.dtype).smallest_normal)))


@pytest.mark.parametrize("how", ["mini-batches", "steps", "full batch"])
@pytest.mark.parametrize(("backend", "threads"), WAYS)
def test_training_leaves_no_subnormal_number(backend: str, threads: int, how: str) -> None:
    losses, moments = trained(backend, threads, how)
    expected, with_subnormals = trained("reference", 1, how)
    assert subnormal(with_subnormals) > 100  # so this training makes them where they are kept
    assert subnormal(moments) == 0
    np.testing.assert_allclose(losses, expected, rtol=1e-5)


@pytest.mark.parametrize("how", ["mini-batches", "steps", "full batch"])
@pytest.mark.parametrize(("backend", "threads"), WAYS)
def test_subnormal_numbers_of_the_caller_are_kept_after_training(backend: str, threads: int, how: str) -> None:
    trained(backend, threads, how)
    small = np.full(64, np.finfo(np.float32).smallest_normal)
    assert (small / 2 != 0).all()
    assert (small / 2 * 2 == small).all()


@pytest.mark.parametrize("backend", cases.COMPILED)
def test_operations_on_arrays_keep_subnormal_numbers(backend: str) -> None:
    param, grad = np.zeros(64, np.float32), np.full(64, np.finfo(np.float32).smallest_normal)
    fnn.ops.sgd_update(param, grad, lr=0.5, backend=backend)
    assert (param == -grad / 2).all()
    assert (param != 0).all()
