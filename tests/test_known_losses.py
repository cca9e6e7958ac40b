"""Losses against PyTorch 2.13 and the papers' formulas: the stored arrays of tests/known_answers/losses.npz, made by
make_losses.py. The check is also shown to reject a loss that is a little wrong."""

import functools
import re
from pathlib import Path
from typing import Any

import cases
import numpy as np
import pytest

import fastnn as fnn
from fastnn import ops
from fastnn.losses import LOSSES, Loss
from fastnn.losses.base import _halves, reciprocal

Array = np.ndarray[Any, Any]
DTYPES = ("float32", "float64")

KNOWN: dict[str, tuple[Loss, str]] = {
    "cross_entropy": (fnn.CrossEntropy(), "labels"),
    "cross_entropy smoothed": (fnn.CrossEntropy(0.1), "labels"),
    "cross_entropy soft": (fnn.CrossEntropy(), "shares"),
    "cross_entropy soft smoothed": (fnn.CrossEntropy(0.1), "shares"),
    "focal": (fnn.Focal(), "labels"),
    "focal half": (fnn.Focal(0.5), "labels"),
    "multi_class_hinge": (fnn.MultiClassHinge(), "labels"),
    "multi_class_hinge squared": (fnn.MultiClassHinge(margin=0.5, p=2), "labels"),
    "mse": (fnn.MSE(), "numbers"),
    "mae": (fnn.AbsoluteError(), "numbers"),
    "huber": (fnn.Huber(), "numbers"),
    "huber narrow": (fnn.Huber(0.25), "numbers"),
    "log_cosh": (fnn.LogCosh(), "numbers"),
    "quantile": (fnn.Quantile(0.9), "numbers"),
    "poisson": (fnn.Poisson(), "counts"),
    "gaussian": (fnn.GaussianLikelihood(), "halves"),
    "bce": (fnn.BCE(), "shares"),
    "binary_focal": (fnn.BinaryFocal(), "answers"),
    "binary_focal half": (fnn.BinaryFocal(0.5), "answers"),
    "hinge": (fnn.Hinge(), "signs"),
    "squared_hinge": (fnn.SquaredHinge(), "signs"),
    "margin_ranking": (fnn.MarginRanking(), "pairs"),
}
"""What the names of the stored arrays are in fastnn, and which targets they are of."""


@functools.cache
def stored() -> dict[str, Array]:
    return dict(np.load(Path(__file__).parent / "known_answers" / "losses.npz"))


ANSWERS = sorted(key.removesuffix(".value") for key in stored() if re.search(r"(even|weighted)\.value$", key))


def computed(
    loss: Loss, outputs: Array, y: Array, weights: Array | None, backend: str
) -> tuple[float, Array]:  # fmt: skip
    """Value and gradient (rows, outputs) by the loss's operation."""
    targets = loss.check_targets(y, outputs.shape[1], outputs.dtype)
    form, z = loss.form(targets), np.ascontiguousarray(outputs.T)
    dz, value = np.full_like(z, np.nan), np.full(1, np.nan)
    given = None if weights is None else weights.astype(outputs.dtype)
    scale = float(reciprocal(form.terms(len(outputs) if given is None else given.sum(dtype=float), len(z))))
    arrays = form.operands(dz, z, targets if targets.ndim == 1 else np.ascontiguousarray(targets.T), _halves)
    getattr(ops, form.name)(
        loss=value, weights=given, scale=scale, weighted=int(given is not None), **arrays, **form.scalars(),
        backend=backend,
    )  # fmt: skip
    return float(value[0]), dz.T


def check(answer: str, found: tuple[float, Array]) -> None:
    """Value and gradient to a few roundings; a gradient's error counts in units of 1 / terms, the size of its parts."""
    value, grad = stored()[f"{answer}.value"], stored()[f"{answer}.grad"].astype(np.float64)
    eps = float(np.finfo(value.dtype).eps)
    np.testing.assert_allclose(found[0], value, rtol=12 * eps, atol=2 * eps)
    np.testing.assert_allclose(found[1], grad, rtol=24 * eps, atol=4 * eps / grad.size)


def found(answer: str, backend: str) -> tuple[float, Array]:
    name, kind, dtype, weighting = answer.split(".")
    loss, wanted = KNOWN[name]
    outputs = stored()[f"outputs.{kind}"].astype(dtype)[:, : 2 if wanted == "pairs" else None]
    y = stored()[f"targets.{wanted}"]
    weights = stored()["weights"] if weighting == "weighted" else None
    return computed(loss, outputs, y if wanted == "labels" else y.astype(dtype), weights, backend)


def test_every_loss_has_known_answers() -> None:
    assert {name for name, (_, _) in KNOWN.items()} == {answer.split(".")[0] for answer in ANSWERS}
    assert {loss.name for loss, _ in KNOWN.values()} == set(LOSSES)


@pytest.mark.parametrize("backend", cases.BACKENDS)
@pytest.mark.parametrize("answer", ANSWERS)
def test_loss_and_gradient_are_the_known_ones(answer: str, backend: str) -> None:
    check(answer, found(answer, backend))


@pytest.mark.parametrize("answer", [answer for answer in ANSWERS if "ordinary" in answer])
def test_the_check_rejects_a_slightly_wrong_loss(answer: str) -> None:
    value, grad = found(answer, "reference")
    eps = np.finfo(grad.dtype).eps
    with pytest.raises(AssertionError):
        check(answer, (value * (1 + 32 * eps), grad))
    wrong = grad.copy()
    wrong[np.unravel_index(np.abs(grad).argmax(), grad.shape)] *= 1 + 100 * eps
    with pytest.raises(AssertionError):
        check(answer, (value, wrong))


def test_class_weights_are_torchs() -> None:
    outputs, labels = stored()["outputs.ordinary"].astype(np.float64), stored()["targets.labels"]
    weights = stored()["class_weights"].astype(np.float64)[labels]
    value, grad = computed(fnn.CrossEntropy(), outputs, labels, weights, "auto")
    np.testing.assert_allclose(value, stored()["by_class.value"], rtol=1e-14)
    np.testing.assert_allclose(grad, stored()["by_class.grad"], rtol=1e-13, atol=1e-16)


# Kinks and ends of the range, which are stated in the docstrings.

AT_THE_KINK: list[tuple[Loss, list[float], list[float], list[float]]] = [
    (fnn.AbsoluteError(), [1.0, 1.5, 0.5], [1.0, 1.0, 1.0], [0, 1, -1]),
    (fnn.Huber(0.5), [1.5, 0.5, 1.0], [1.0, 1.0, 1.0], [0.5, -0.5, 0]),
    (fnn.Quantile(0.25), [1.0, 1.5, 0.5], [1.0, 1.0, 1.0], [0, 0.75, -0.25]),
    (fnn.LogCosh(), [1.0, 1.0, 1.0], [1.0, 1.0, 1.0], [0, 0, 0]),
    (fnn.Hinge(), [1.0, -1.0, 1.0], [1, 0, 0], [0, 0, 1]),
    (fnn.SquaredHinge(), [1.0, -1.0, 1.0], [1, 0, 0], [0, 0, 4]),
]  # fmt: skip


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("backend", cases.BACKENDS)
@pytest.mark.parametrize(("loss", "outputs", "y", "slopes"), AT_THE_KINK, ids=lambda item: getattr(item, "name", ""))
def test_gradient_at_a_kink_is_the_stated_one(
    loss: Loss, outputs: list[float], y: list[float], slopes: list[float], backend: str, dtype: str
) -> None:
    _, grad = computed(loss, np.array(outputs, dtype)[:, None], np.array(y, dtype), None, backend)
    np.testing.assert_allclose(3 * grad[:, 0], slopes, rtol=2 * np.finfo(dtype).eps, atol=0)


@pytest.mark.parametrize("backend", cases.BACKENDS)
def test_gradients_of_scores_exactly_at_the_margin_are_zero(backend: str) -> None:
    _, grad = computed(fnn.MarginRanking(1.0), np.array([[2.0, 1.0], [0.0, 1.0]]), np.array([1, 0]), None, backend)
    np.testing.assert_array_equal(grad, 0)
    _, grad = computed(fnn.MultiClassHinge(), np.array([[2.0, 1.0, 1.5]]), np.array([0]), None, backend)
    np.testing.assert_allclose(3 * grad, [[-1, 0, 1]])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("backend", cases.BACKENDS)
def test_log_cosh_keeps_the_digits_of_small_differences(backend: str, dtype: str) -> None:
    d = np.array([1e-15, 1e-6, 1e-3, 0.1, 0.79, 0.81, 3.0, 1e4], dtype)
    for difference in d:
        value, grad = computed(fnn.LogCosh(), np.array([[difference]]), np.zeros(1, dtype), None, backend)
        wide = float(difference)
        exact = np.log1p(2 * np.sinh(wide / 2) ** 2) if wide < 100 else wide - np.log(2)
        np.testing.assert_allclose(value, exact, rtol=8 * np.finfo(dtype).eps)
        np.testing.assert_allclose(grad, np.tanh(wide), rtol=4 * np.finfo(dtype).eps)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("backend", cases.BACKENDS)
def test_focal_losses_survive_logits_of_1e4(backend: str, dtype: str) -> None:
    z = np.array([[1e4, -1e4, 0.0], [-1e4, 1e4, 0.0], [1e4, 1e4, 1e4]], dtype)
    value, grad = computed(fnn.Focal(), z, np.array([0, 0, 1]), None, backend)
    third = (2 / 3) ** 2 * np.log(3)
    np.testing.assert_allclose(value, (2e4 + third) / 3, rtol=4 * np.finfo(dtype).eps)
    np.testing.assert_allclose(grad[:2], np.array([[0, 0, 0], [-1, 1, 0]]) / 3, rtol=4 * np.finfo(dtype).eps)
    value, grad = computed(fnn.BinaryFocal(), np.array([[1e4, -1e4]], dtype), np.array([[1, 1]], dtype), None, backend)
    np.testing.assert_allclose(value, 5e3, rtol=4 * np.finfo(dtype).eps)
    np.testing.assert_allclose(grad, [[0, -0.5]], rtol=4 * np.finfo(dtype).eps)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("backend", cases.BACKENDS)
def test_focal_loss_keeps_the_digits_of_rows_that_are_learnt_well(backend: str, dtype: str) -> None:
    """1 - p as a difference would be 0 in float32 from a margin of 17 on."""
    value, grad = computed(fnn.Focal(1.0), np.array([[20.0, 0.0]], dtype), np.array([0]), None, backend)
    q = 1 / (1 + np.exp(20.0))
    np.testing.assert_allclose(value, -q * np.log1p(-q), rtol=40 * np.finfo(dtype).eps)
    np.testing.assert_allclose(grad[0, 1], q * q * (1 - (1 - q) * np.log1p(-q) / q), rtol=40 * np.finfo(dtype).eps)


@pytest.mark.parametrize("backend", cases.BACKENDS)
def test_focal_losses_with_gamma_zero_are_cross_entropy(backend: str) -> None:
    z, labels = stored()["outputs.ordinary"].astype(np.float64), stored()["targets.labels"]
    for focal, plain, y in (
        (fnn.Focal(0.0), fnn.CrossEntropy(), labels),
        (fnn.BinaryFocal(0.0), fnn.BCE(), stored()["targets.answers"].astype(np.float64)),
    ):
        value, grad = computed(focal, z, y, None, backend)
        expected, expected_grad = computed(plain, z, y, None, backend)
        np.testing.assert_allclose(value, expected, rtol=1e-13)
        np.testing.assert_allclose(grad, expected_grad, rtol=1e-12, atol=1e-17)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("backend", cases.BACKENDS)
def test_gaussian_likelihood_survives_log_variances_of_1e4(backend: str, dtype: str) -> None:
    z = np.array([[1.0, 1e4], [1.0, -1e4]], dtype)
    value, grad = computed(fnn.GaussianLikelihood(1e-2), z, np.zeros(2, dtype), None, backend)
    np.testing.assert_allclose(value, (1e4 + np.log(1e-2) + 100) / 4, rtol=16 * np.finfo(dtype).eps)
    expected = np.array([[0, 0.5], [100, -49.5]]) / 2  # below the smallest variance the gradient is that at it
    np.testing.assert_allclose(grad, expected, rtol=16 * np.finfo(dtype).eps)


def test_one_hot_targets_are_labels() -> None:
    z, labels = stored()["outputs.ordinary"].astype(np.float64), stored()["targets.labels"]
    for smoothing in (0.0, 0.2):
        loss = fnn.CrossEntropy(smoothing)
        value, grad = computed(loss, z, labels, None, "auto")
        one_hot, one_hot_grad = computed(loss, z, np.eye(z.shape[1])[labels], None, "auto")
        np.testing.assert_allclose(one_hot, value, rtol=1e-14)
        np.testing.assert_allclose(one_hot_grad, grad, rtol=1e-13, atol=1e-17)
