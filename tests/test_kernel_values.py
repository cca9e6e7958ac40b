"""What kernels do with numbers that are not ordinary, and with dropout's random ones: NaN, infinities, both zeros,
subnormal numbers, logits far apart.
"""

from typing import Any

import cases
import numpy as np
import pytest

from fastnn import ops
from fastnn.kernels import OPERATIONS

Array = np.ndarray[Any, Any]
BACKENDS = cases.BACKENDS
DTYPES = ("float32", "float64")
NAN, INF = float("nan"), float("inf")

both = pytest.mark.parametrize("backend", BACKENDS)
all_dtypes = pytest.mark.parametrize("dtype", DTYPES)


def applied(name: str, x: list[float], dtype: str, backend: str, **scalars: Any) -> Array:
    """An activation of these numbers, given once as whole vectors and once as an odd few."""
    row = np.array([x], dtype)
    wide = np.tile(row, (2, 16))
    y, odd = np.empty_like(wide), np.empty_like(row)
    getattr(ops, name)(y, wide, **scalars, backend=backend)
    getattr(ops, name)(odd, row, **scalars, backend=backend)
    for part in (y[0, : len(x)], y[1, -len(x) :]):
        np.testing.assert_array_equal(part, odd[0])
    return odd[0]


@both
@all_dtypes
def test_relu_keeps_nan_and_subnormals(backend: str, dtype: str) -> None:
    small = float(np.finfo(dtype).smallest_subnormal)
    y = applied("relu_forward", [NAN, INF, -INF, -0.0, small, -small], dtype, backend)
    np.testing.assert_array_equal(y, np.array([NAN, INF, 0, 0, small, 0], dtype))


@both
@all_dtypes
def test_relu_gradient_is_zero_at_both_zeros_and_at_nan(backend: str, dtype: str) -> None:
    y = np.array([[0.0, -0.0, NAN, 1.0, INF]], dtype)
    dx = np.full_like(y, 7)
    ops.relu_backward(dx, np.full_like(y, 3), y, backend=backend)
    np.testing.assert_array_equal(dx, np.array([[0, 0, 0, 3, 3]], dtype))


@both
@all_dtypes
def test_tanh_and_sigmoid_have_their_limits_and_keep_nan(backend: str, dtype: str) -> None:
    x = [INF, -INF, NAN, 0.0, 1e4, -1e4]
    y = applied("tanh_forward", x, dtype, backend)
    np.testing.assert_array_equal(y, np.array([1, -1, NAN, 0, 1, -1], dtype))
    y = applied("sigmoid_forward", x, dtype, backend)
    np.testing.assert_array_equal(y, np.array([1, 0, NAN, 0.5, 1, 0], dtype))


@both
@all_dtypes
def test_tanh_keeps_the_sign_of_zero(backend: str, dtype: str) -> None:
    y = applied("tanh_forward", [0.0, -0.0], dtype, backend)
    assert list(np.signbit(y)) == [False, True]


@both
@all_dtypes
@pytest.mark.parametrize("floor", [0.0, -INF])
def test_product_keeps_nan_in_its_place_under_any_floor(backend: str, dtype: str, floor: float) -> None:
    arguments = cases.arguments("dense_forward", {"O": 5, "B": 19, "K": 7}, dtype)
    arguments["x"][3, 11] = NAN
    arguments["floor"] = floor
    ops.dense_forward(**arguments, backend=backend)
    expected = np.zeros((5, 19), bool)
    expected[:, 11] = True
    np.testing.assert_array_equal(np.isnan(arguments["y"]), expected)


@both
@all_dtypes
def test_weight_gradient_that_does_not_accumulate_forgets_nan(backend: str, dtype: str) -> None:
    arguments = cases.arguments("dense_backward_weight", {"O": 5, "B": 19, "K": 7}, dtype) | {"accumulate": 0}
    arguments["dweight"][...] = NAN
    ops.dense_backward_weight(**arguments, backend=backend)
    assert np.isfinite(arguments["dweight"]).all()


@both
@all_dtypes
def test_cross_entropy_survives_logits_of_1e4(backend: str, dtype: str) -> None:
    z = np.array([[1e4, -1e4, 1e4], [-1e4, 1e4, 1e4], [0, 0, 1e4]], dtype)
    labels = np.array([0, 0, 2], np.int32)
    dz, loss = np.empty_like(z), np.empty(1)
    ops.cross_entropy(dz, loss, z, labels, None, 1 / 3, 0, 0.0, backend=backend)
    third, ninth = 1 / 3, 1 / 9
    expected = np.array([[0, -third, ninth], [0, third, ninth], [0, 0, ninth - third]], dtype)
    np.testing.assert_allclose(dz, expected, rtol=4 * np.finfo(dtype).eps, atol=0)
    np.testing.assert_allclose(loss, (2e4 + np.log(3)) / 3, rtol=4 * np.finfo(dtype).eps)


@both
@all_dtypes
def test_cross_entropy_of_one_class_is_zero(backend: str, dtype: str) -> None:
    dz, loss = np.empty((1, 5), dtype), np.empty(1)
    z = np.linspace(-3, 3, 5, dtype=dtype).reshape(1, 5)
    ops.cross_entropy(dz, loss, z, np.zeros(5, np.int32), None, 0.2, 0, 0.0, backend=backend)
    np.testing.assert_array_equal(loss, [0])
    np.testing.assert_array_equal(dz, np.zeros((1, 5)))


@both
@all_dtypes
def test_binary_cross_entropy_survives_logits_of_1e4(backend: str, dtype: str) -> None:
    z = np.array([[1e4, 1e4, -1e4, -1e4, 0]], dtype)
    targets = np.array([[1, 0, 1, 0, 0.5]], dtype)
    dz, loss = np.empty_like(z), np.empty(1)
    ops.bce(dz, loss, z, targets, None, 0.2, 0, backend=backend)
    np.testing.assert_allclose(dz, np.array([[0, 0.2, -0.2, 0, 0]], dtype), rtol=2 * np.finfo(dtype).eps, atol=0)
    np.testing.assert_allclose(loss, 0.2 * (2e4 + np.log(2)), rtol=4 * np.finfo(dtype).eps)


@both
@all_dtypes
@pytest.mark.parametrize("name", [name for name, entry in OPERATIONS.items() if "z" in entry.operands])
def test_nan_among_the_outputs_reaches_the_loss(name: str, backend: str, dtype: str) -> None:
    for place in ((0, 0), (1, 20)):
        arguments = cases.arguments(name, {"C": 2, "B": 21}, dtype)
        arguments["z"][place] = NAN
        getattr(ops, name)(**arguments, backend=backend)
        assert np.isnan(arguments["loss"][0]), place


@both
@all_dtypes
@pytest.mark.parametrize("operand", ["mean", "log_var"])
def test_nan_among_means_or_variances_reaches_the_loss(operand: str, backend: str, dtype: str) -> None:
    for place in ((0, 0), (1, 20)):
        arguments = cases.arguments("gaussian", {"C": 2, "B": 21}, dtype)
        arguments[operand][place] = NAN
        ops.gaussian(**arguments, backend=backend)
        assert np.isnan(arguments["loss"][0]), place
        assert np.isnan(arguments["dlog_var"][place])


@both
@all_dtypes
@pytest.mark.parametrize("name", ["mse", "mae", "huber", "log_cosh", "quantile", "poisson", "hinge", "squared_hinge"])
def test_an_infinite_output_has_an_infinite_loss_and_no_gradient_of_nan(name: str, backend: str, dtype: str) -> None:
    arguments = cases.arguments(name, {"C": 1, "B": 21}, dtype)
    arguments["targets"][0, 20] = -1.0
    arguments["z"][0, 20] = INF
    getattr(ops, name)(**arguments, backend=backend)
    assert arguments["loss"][0] == INF
    assert not np.isnan(arguments["dz"]).any()


@both
@all_dtypes
@pytest.mark.parametrize("name", cases.UPDATES)
def test_zero_gradient_at_the_first_step_moves_nothing(name: str, backend: str, dtype: str) -> None:
    arguments = cases.first_step(name, cases.arguments(name, {"N": 37}, dtype))
    arguments["grad"][...] = 0
    still = {"weight_decay": 0.0, "shrink": 0.0, "min_step": 0.0, "max_step": 10.0}
    arguments |= {scalar: value for scalar, value in still.items() if scalar in arguments}
    before = cases.copied(arguments)
    getattr(ops, name)(**arguments, backend=backend)
    for operand, value in before.items():
        np.testing.assert_array_equal(arguments[operand], value, err_msg=operand)


@both
@all_dtypes
@pytest.mark.parametrize("name", cases.UPDATES)
def test_nan_in_the_gradient_stays_in_its_place(name: str, backend: str, dtype: str) -> None:
    arguments = cases.arguments(name, {"N": 37}, dtype)
    arguments["grad"][[3, 36]] = NAN
    getattr(ops, name)(**arguments, backend=backend)
    assert list(np.flatnonzero(np.isnan(arguments["param"]))) == [3, 36]


@both
@all_dtypes
def test_batch_norm_of_equal_rows_is_beta(backend: str, dtype: str) -> None:
    for rows in (1, 21):
        arguments = cases.arguments("batch_norm_forward", {"F": 3, "B": rows}, dtype)
        arguments["x"][...] = np.array([[0.5], [-2.0], [0.0]])
        ops.batch_norm_forward(**arguments, backend=backend)
        np.testing.assert_array_equal(arguments["y"], np.broadcast_to(arguments["beta"][:, None], (3, rows)))


# Dropout: the mask is a function of place and key.


def mask(dtype: str, backend: str, features: int, rows: int, key: int, threshold: int) -> Array:
    y = np.empty((features, rows), dtype)
    ops.dropout_forward(y, np.ones_like(y), key, threshold, 1.0, 0, backend=backend)
    return y == 1


@both
@all_dtypes
def test_dropout_backward_uses_the_mask_of_forward(backend: str, dtype: str) -> None:
    kept = mask(dtype, backend, 13, 57, 123456789, 0x90000000)
    dx = np.empty((13, 57), dtype)
    ops.dropout_backward(dx, np.ones_like(dx), 123456789, 0x90000000, 1.0, 0, backend=backend)
    np.testing.assert_array_equal(dx == 1, kept)


@pytest.mark.parametrize("key", [0, 1, 2**31, 2**32 - 1])
def test_dropout_mask_is_the_same_in_all_backends_and_dtypes(key: int) -> None:
    masks = [mask(dtype, backend, 37, 129, key, 0xC0000000) for dtype in DTYPES for backend in BACKENDS]
    for other in masks[1:]:
        np.testing.assert_array_equal(other, masks[0])


def test_dropout_mask_does_not_depend_on_the_number_of_rows() -> None:
    whole = mask("float32", "numba", 8, 129, 77, 0x80000000)
    np.testing.assert_array_equal(mask("float32", "numba", 8, 50, 77, 0x80000000), whole[:, :50])


@pytest.mark.parametrize("keep", [0.1, 0.5, 0.9])
def test_dropout_keeps_at_the_stated_rate(keep: float) -> None:
    """Over many places, over places of many keys, and without correlation between neighbours: within 5 sigma."""
    threshold, size = round(keep * 2**32), 1000 * 1000
    kept = mask("float32", "numba", 1000, 1000, 42, threshold)
    sigma = np.sqrt(keep * (1 - keep))
    assert abs(kept.mean() - keep) < 5 * sigma / np.sqrt(size)
    assert np.abs(kept.mean(axis=0) - keep).max() < 5 * sigma / np.sqrt(1000)
    assert np.abs(kept.mean(axis=1) - keep).max() < 5 * sigma / np.sqrt(1000)
    by_key = np.array([mask("float32", "numba", 4, 16, key, threshold) for key in range(2000)])
    assert np.abs(by_key.mean(axis=0) - keep).max() < 5 * sigma / np.sqrt(2000)
    deviation = kept - keep
    pairs = [deviation[1:] * deviation[:-1], deviation[:, 1:] * deviation[:, :-1]]
    for product in (*pairs, (by_key[1:] - keep) * (by_key[:-1] - keep)):
        assert abs(product.mean()) < 5 * sigma**2 / np.sqrt(product.size)


@both
@all_dtypes
def test_dropped_nan_is_zero_and_kept_nan_stays(backend: str, dtype: str) -> None:
    kept = mask(dtype, backend, 4, 33, 5, 0x80000000)
    y = np.empty((4, 33), dtype)
    ops.dropout_forward(y, np.full_like(y, NAN), 5, 0x80000000, 2.0, 0, backend=backend)
    np.testing.assert_array_equal(np.isnan(y), kept)
    np.testing.assert_array_equal(y[~kept], 0)
