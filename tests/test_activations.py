"""Activations as users have them: against PyTorch, at their kinks, in plans of every set, in files, and one's own."""

import copy
import functools
import json
import math
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cases
import networks
import numba
import numpy as np
import pytest

import fastnn as fnn
from fastnn import ops, storage
from fastnn.activations import ACTIVATIONS, ActivationFunction, ActivationSpec, get_activation
from fastnn.kernels import cpu, own
from fastnn.kernels.backends import kernel_address

Array = np.ndarray[Any, Any]
BACKENDS = cases.BACKENDS
DTYPES = ("float32", "float64")
INF, NAN = math.inf, math.nan

both = pytest.mark.parametrize("backend", BACKENDS)
all_dtypes = pytest.mark.parametrize("dtype", DTYPES)


def applied(spec: ActivationSpec, x: Array, backend: str) -> tuple[Array, Callable[[Array], Array]]:
    """y = f(x) as training computes it, and what turns dy into dx."""
    y, scalars = np.empty_like(x), spec.scalars
    if spec.with_slope is not None:
        slope = np.empty_like(x)
        getattr(ops, str(spec.with_slope))(y, slope, x, backend=backend)
        alone = np.empty_like(x)
        getattr(ops, str(spec.forward))(alone, x, backend=backend)
        np.testing.assert_array_equal(alone, y)
        arguments: dict[str, Any] = {"slope": slope}
    else:
        getattr(ops, str(spec.forward))(y, x, **scalars, backend=backend)
        arguments = {"y": y, **scalars}

    def backward(dy: Array) -> Array:
        dx = np.empty_like(x)
        getattr(ops, str(spec.backward))(dx=dx, dy=dy, **arguments, backend=backend)
        return dx

    return y, backward


# PyTorch.

STORED = {
    **{name: ACTIVATIONS[name] for name in ACTIVATIONS if name not in ("identity", "softmax", "log_softmax")},
    "leaky_relu.0.2": fnn.LeakyReLU(0.2).spec,
    "elu.0.5": fnn.ELU(0.5).spec,
    "hard_tanh.0.6": fnn.HardTanh(0, 6).spec,
}
"""The name of an answer -> the activation. PyTorch's answers for infinite arguments are left out where they are NaN."""


@functools.cache
def stored() -> dict[str, Array]:
    path = Path(__file__).parent / "known_answers" / "activations.npz"
    with np.load(path, allow_pickle=False) as file:
        return dict(file)


def assert_within(got: Array, expected: Array, limit: Array) -> None:
    off = np.abs(got - expected) / np.maximum(limit, 1e-300)
    assert off.max() <= 1, f"off by {off.max():.3g} tolerances: {got[off.argmax()]}, expected {expected[off.argmax()]}"


def check_number_by_number(name: str, spec: ActivationSpec, dtype: str, backend: str) -> None:
    x, dy = (stored()[what].astype(dtype).reshape(1, -1) for what in ("x", "dy"))
    expected, gradient = stored()[f"{name}.y"], stored()[f"{name}.dx"]
    with np.errstate(all="ignore"):
        y, backward = applied(spec, x, backend)
        dx = backward(dy)
    u = float(np.finfo(dtype).eps)
    known, finite = ~np.isnan(expected), np.isfinite(expected)
    np.testing.assert_array_equal(y[0][known & ~finite], expected[known & ~finite])
    assert np.isnan(y[0][np.isnan(x[0])]).all()
    # 1 + erf and exp of float64 lose what the tails need; PyTorch's own error there is absolute.
    limit = 4 * u * np.abs(expected) + 2e-16 * (1 + np.abs(x[0]))
    assert_within(y[0, finite], expected[finite], limit[finite])
    signs = finite & (np.abs(x[0]) < 1e3)
    signs &= (expected.astype(dtype) != 0) | (x[0] == 0)  # half of the least number is +0 where the CPU has no FMA
    if name != "relu":  # whose zeros may have either sign
        assert (np.signbit(y[0]) == np.signbit(expected))[signs].all()
    there = np.isfinite(gradient) & ~np.isnan(x[0])
    limit = 6 * u * np.maximum(np.abs(dy[0]), np.abs(gradient)) + 2e-16 * np.minimum(np.abs(x[0]), 50) * np.abs(dy[0])
    assert_within(dx[0, there], gradient[there], limit[there])


@both
@all_dtypes
@pytest.mark.parametrize("name", STORED)
def test_values_and_gradients_are_those_of_pytorch(name: str, dtype: str, backend: str) -> None:
    check_number_by_number(name, STORED[name], dtype, backend)


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("leaky_relu", fnn.LeakyReLU(0.0100001).spec),
        ("elu", fnn.ELU(1.00001).spec),
        ("hard_tanh", fnn.HardTanh(-1, 1.00001).spec),
        ("gelu", ACTIVATIONS["gelu_tanh"]),
        ("silu", ACTIVATIONS["mish"]),
    ],
)
def test_activation_that_is_a_little_wrong_is_not_that_of_pytorch(name: str, wrong: ActivationSpec) -> None:
    with pytest.raises(AssertionError):
        check_number_by_number(name, wrong, "float32", BACKENDS[-1])


@both
@all_dtypes
@pytest.mark.parametrize("name", ["softmax", "log_softmax"])
def test_softmax_and_its_logarithm_are_those_of_pytorch(name: str, dtype: str, backend: str) -> None:
    x, dy = (np.ascontiguousarray(stored()[what].astype(dtype).T) for what in ("rows", "drows"))
    expected, gradient = stored()[f"{name}.y"].T, stored()[f"{name}.dx"].T
    with np.errstate(all="ignore"):
        y, backward = applied(ACTIVATIONS[name], x, backend)
        dx = backward(dy)
    u = float(np.finfo(dtype).eps)
    np.testing.assert_allclose(y, expected, rtol=20 * u, atol=4 * u if name == "log_softmax" else 1e-38)
    whole = np.isfinite(expected).all(axis=0)  # PyTorch was not asked for the gradient through -inf
    size = np.abs(dy).sum(axis=0)
    assert (np.abs(dx - gradient) <= 12 * u * size)[:, whole].all()


# Kinks: a derivative is that of one side, which is stated.

AT_KINKS: list[tuple[str | ActivationFunction, float, float]] = [
    ("relu", 0.0, 0.0), ("leaky_relu", 0.0, 0.01), (fnn.LeakyReLU(0.3), 0.0, 0.3), ("elu", 0.0, 1.0),
    (fnn.ELU(0.25), 0.0, 0.25), ("selu", 0.0, 1.7580993408473766), ("softsign", 0.0, 1.0), ("hard_tanh", -1.0, 0.0),
    ("hard_tanh", 1.0, 0.0), (fnn.HardTanh(0, 6), 0.0, 0.0), (fnn.HardTanh(0, 6), 6.0, 0.0),
]  # fmt: skip


@both
@all_dtypes
@pytest.mark.parametrize(("activation", "x", "derivative"), AT_KINKS, ids=str)
def test_derivative_at_a_kink_is_the_stated_one_by_itself_and_in_a_product(
    activation: str | ActivationFunction, x: float, derivative: float, dtype: str, backend: str
) -> None:
    spec = get_activation(activation)
    given = np.full((2, 17), x, dtype)
    given[1] = -given[1] if x == 0 else given[1]
    y, backward = applied(spec, given, backend)
    np.testing.assert_array_equal(backward(np.ones_like(given)), np.array(derivative, dtype))
    if spec.derivative is not None:
        dx, weight = np.empty_like(given), np.eye(2, dtype=dtype)
        kind, c0, c1, c2 = spec.derivative
        ops.dense_backward_input(dx, np.ones_like(given), weight, y, kind, c0, c1, c2, backend=backend)
        np.testing.assert_array_equal(dx, np.array(derivative, dtype))


@both
@all_dtypes
def test_values_of_leaky_relu_and_hard_tanh_that_are_not_ordinary(dtype: str, backend: str) -> None:
    small = float(np.finfo(dtype).smallest_subnormal)
    x = np.array([[INF, -INF, NAN, 0.0, -0.0, 1e4, -1e4, small, -small]], dtype)
    leaky, _ = applied(fnn.LeakyReLU(0.5).spec, x, backend)
    np.testing.assert_array_equal(leaky, np.array([[INF, -INF, NAN, 0, -0.0, 1e4, -5e3, small, -0.0]], dtype))
    hard, backward = applied(ACTIVATIONS["hard_tanh"], x, backend)
    np.testing.assert_array_equal(hard, np.array([[1, -1, NAN, 0, -0.0, 1, -1, small, -small]], dtype))
    for y in (leaky, hard):
        assert list(np.signbit(y[0, [3, 4]])) == [False, True]
    np.testing.assert_array_equal(backward(np.full_like(x, 2)), np.array([[0, 0, 2, 2, 2, 0, 0, 2, 2]], dtype))


@both
@all_dtypes
def test_softmax_of_rows_that_are_not_ordinary(dtype: str, backend: str) -> None:
    rows = [[1e4, -1e4, 0], [-INF, 0, 0], [-INF, -INF, -INF], [INF, 0, 0], [0, NAN, 0], [NAN, 0, 0], [3, 3, 3]]
    x = np.ascontiguousarray(np.array(rows, dtype).T)
    with np.errstate(all="ignore"):
        y, _ = applied(ACTIVATIONS["softmax"], x, backend)
        log, _ = applied(ACTIVATIONS["log_softmax"], x, backend)
    nothing, third = [NAN] * 3, [1 / 3] * 3
    expected = [[1, 0, 0], [0, 0.5, 0.5], nothing, nothing, nothing, nothing, third]
    np.testing.assert_allclose(y.T, np.array(expected, dtype), rtol=2 * np.finfo(dtype).eps)
    half = -math.log(2)
    expected = [[0, -2e4, -1e4], [-INF, half, half], nothing, nothing, nothing, nothing, [-math.log(3)] * 3]
    np.testing.assert_allclose(log.T, np.array(expected, dtype), rtol=2 * np.finfo(dtype).eps)


# In plans.

PARAMETERIZED = (fnn.LeakyReLU(0.3), fnn.ELU(0.5), fnn.HardTanh(-0.5, 2.0))
EVERY = [*ACTIVATIONS, *PARAMETERIZED]


def network(activation: Any, dtype: str = "float64") -> fnn.Sequential:
    """With that activation in a dense layer and as a layer, before and behind others."""
    layers = [fnn.Dense(19, activation), fnn.Dense(18), fnn.Activation(activation), fnn.BatchNorm()]
    layers += [fnn.Dense(17, activation), fnn.Dropout(0.1), fnn.Dense(3)]
    return fnn.Sequential(layers, inputs=6, dtype=dtype, seed=2)


def trained(activation: Any, dtype: str, backend: str, **options: Any) -> tuple[list[float], Array]:
    X, y = networks.data("cross_entropy", 75, 6, 3, dtype)
    model = network(activation, dtype)
    settings: dict[str, Any] = {"batch_size": 32, "optimizer": "sgd", "progress": False, **options}
    history = model.fit(X, y, loss="cross_entropy", epochs=2, backend=backend, **settings)
    return history["loss"], model.predict(X, backend=backend)


@all_dtypes
@pytest.mark.parametrize("activation", EVERY, ids=str)
def test_all_sets_train_and_predict_the_same(activation: str | ActivationFunction, dtype: str) -> None:
    expected, outputs = trained(activation, dtype, "reference")
    for backend in cases.COMPILED:
        losses, predicted = trained(activation, dtype, backend)
        tolerance = 2e-4 if dtype == "float32" else 1e-11
        np.testing.assert_allclose(losses, expected, rtol=tolerance)
        np.testing.assert_allclose(predicted, outputs, rtol=50 * tolerance, atol=10 * tolerance)
    bits = {trained(activation, dtype, backend)[1].tobytes() for backend in cases.COMPILED}
    assert len(bits) == 1


@pytest.mark.parametrize("activation", ["silu", "elu", "gelu_tanh", "softmax"])
@pytest.mark.parametrize("batch_size", [512, 1201])
def test_several_threads_write_the_same_bits(activation: str, batch_size: int) -> None:
    if "c" not in cases.COMPILED:
        pytest.skip("threads need the C library")
    X, y = networks.data("mse", 1201, 30, 2, "float32")

    def run(threads: int) -> Array:
        layers = [fnn.Dense(300, activation), fnn.Activation(activation), fnn.Dense(300, activation), fnn.Dense(2)]
        model = fnn.Sequential(layers, inputs=30)
        trainer = fnn.Trainer(model, "mse", "sgd", batch_size=batch_size, threads=threads)
        trainer.run(X, y, steps=3)
        return networks.numbers(model)

    assert run(1).tobytes() == run(2).tobytes()


@pytest.mark.skipif(not cpu.has("avx512bf16"), reason="this CPU, or the level in use, has no AVX512_BF16")
@pytest.mark.parametrize("activation", ["gelu", "selu", "softsign"])
def test_products_in_bfloat16_apply_the_derivative_too(activation: str) -> None:
    X, y = networks.data("mse", 64, 40, 2, "float32")

    def gradient(backend: str, precision: str | None) -> Array:
        layers = [fnn.Dense(64, activation), fnn.Dense(48, activation), fnn.Dense(2)]
        model = fnn.Sequential(layers, inputs=40, seed=4)
        trainer = fnn.Trainer(model, "mse", batch_size=64, backend=backend, precision=precision)
        assert ("bf16" in str(trainer.plan)) == (precision is not None)
        theta = np.concatenate([value.ravel() for value in model.get_weights()])
        return np.asarray(trainer.value_and_grad(theta, X, y)[1])

    exact = gradient("reference", None)
    for backend in cases.COMPILED:
        off = np.abs(gradient(backend, "bf16") - exact).max() / np.abs(exact).max()
        assert 1e-5 < off < 2e-2


def test_plan_keeps_the_slope_in_the_place_of_the_pre_activation() -> None:
    model = fnn.Sequential([fnn.Dense(8, "silu"), fnn.Dense(8), fnn.Activation("mish"), fnn.Dense(2)], inputs=4)
    text = str(fnn.Trainer(model, "mse", batch_size=16).plan)
    for line in (
        "z0 = W0 x", "h0, act_prime(h0) = silu(z0)", "h1 = W1 h0", "h2, act_prime(h2) = mish(h1)",
        "dh2 = W3^T dh3 * act_prime(h2)", "dh0 = W1^T dh2 * act_prime(h0)",
    ):  # fmt: skip
        assert f"  {line}\n" in text
    assert "slope_backward" not in text
    assert "with_slope" not in str(model.predictor().plan if hasattr(model.predictor(), "plan") else "")


def test_plan_multiplies_by_the_slope_where_no_product_does() -> None:
    model = fnn.Sequential([fnn.Dense(8, "silu"), fnn.BatchNorm(), fnn.Dense(2, "gelu")], inputs=4)
    text = str(fnn.Trainer(model, "mse", batch_size=16).plan)
    assert text.count("slope_backward") == 2


@both
def test_outputs_of_a_softmax_layer_sum_to_one(backend: str) -> None:
    X, _ = networks.data("mse", 45, 6, 5, "float32")
    for layers in ([fnn.Dense(5, "softmax")], [fnn.Dense(5), fnn.Activation("softmax")]):
        outputs = fnn.Sequential(layers, inputs=6).predict(1000 * X, backend=backend)
        np.testing.assert_allclose(outputs.sum(axis=1), 1, rtol=1e-6)
        assert outputs.min() >= 0
    logarithms = fnn.Sequential([fnn.Dense(5, "log_softmax")], inputs=6).predict(X, backend=backend)
    np.testing.assert_allclose(np.exp(logarithms).sum(axis=1), 1, rtol=1e-6)


@pytest.mark.parametrize("activation", EVERY, ids=str)
def test_model_files_and_copies_keep_the_activation(activation: str | ActivationFunction, tmp_path: Path) -> None:
    X, _ = networks.data("mse", 9, 6, 3)
    model = network(activation)
    model.save(tmp_path / "model.safetensors")
    for other in (fnn.load(tmp_path / "model.safetensors"), copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert other.layers == model.layers
        assert other.predict(X).tobytes() == model.predict(X).tobytes()


# What is refused.


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: fnn.LeakyReLU(-0.1), "LeakyReLU(negative_slope=-0.1): negative_slope must be at least 0"),
        (lambda: fnn.ELU(NAN), "alpha"),
        (lambda: fnn.ELU(-1.0), "alpha must be at least 0"),
        (lambda: fnn.HardTanh(1.0, 1.0), "HardTanh(max_val=1.0): max_val must be above 1"),
        (lambda: fnn.Dense(3, "geluu"), "unknown activation 'geluu': did you mean 'gelu'?"),
        (lambda: fnn.Dense(3, fnn.LeakyReLU), "activation=LeakyReLU: is a class"),
        (lambda: fnn.Activation(), "give a name"),
        (lambda: fnn.Activation("relu", forward=abs), "either a name or forward and backward"),
    ],
)
def test_mistakes_are_named(make: Callable[[], Any], message: str) -> None:
    with pytest.raises((ValueError, TypeError)) as caught:
        make()
    assert message in str(caught.value)


# One's own.


def softplus_squared(x: float) -> float:
    return math.log1p(math.exp(-abs(x))) * 0.5 + 0.25 * x * x / (1.0 + abs(x))


def softplus_squared_prime(x: float) -> float:
    a = abs(x)
    own_part = -0.5 * math.exp(-a) / (1.0 + math.exp(-a)) + 0.25 * (2.0 * a + a * a) / ((1.0 + a) * (1.0 + a))
    return own_part if x > 0.0 else -own_part


def swish(x: float) -> float:
    return x / (1.0 + math.exp(-x))


def swish_prime(x: float) -> float:
    s = 1.0 / (1.0 + math.exp(-x))
    return s * (1.0 + x * (1.0 - s))


def steps(x: float) -> float:
    return 2.0 * x if x > 0 else 0.5 * x


def steps_prime(x: float) -> float:
    return 2.0 if x > 0 else 0.5


PAIRS = [(swish, swish_prime), (steps, steps_prime), (softplus_squared, softplus_squared_prime)]


@pytest.mark.parametrize(("f", "df"), PAIRS[:2])
@all_dtypes
def test_own_activation_trains_the_same_in_all_sets(f: Any, df: Any, dtype: str) -> None:
    mine = fnn.Activation(forward=f, backward=df)
    expected, outputs = trained(mine, dtype, "reference")
    results = [trained(mine, dtype, backend) for backend in cases.COMPILED]
    if "c" in cases.COMPILED:
        results.append(trained(mine, dtype, "c", threads=2))
    for losses, predicted in results:
        np.testing.assert_allclose(losses, expected, rtol=1e-4 if dtype == "float32" else 1e-11)
        np.testing.assert_allclose(predicted, outputs, rtol=1e-2 if dtype == "float32" else 1e-9, atol=1e-3)
    assert len({predicted.tobytes() for _, predicted in results}) == 1


def test_own_activation_is_the_one_of_the_same_formula() -> None:
    own_losses, _ = trained(fnn.Activation(forward=swish, backward=swish_prime), "float64", BACKENDS[-1])
    losses, _ = trained("silu", "float64", BACKENDS[-1], optimizer="sgd")
    model, same = network(fnn.Activation(forward=swish, backward=swish_prime)), network("silu")
    X, _ = networks.data("mse", 9, 6, 3)
    same.set_weights(model.get_weights())
    np.testing.assert_allclose(model.predict(X), same.predict(X), rtol=1e-12)
    assert own_losses != losses  # it starts with other weights: He's are for names that are known


@both
@pytest.mark.parametrize(("f", "df"), PAIRS[:2])
def test_gradients_through_an_own_activation_agree_with_differences(f: Any, df: Any, backend: str) -> None:
    model = network(fnn.Activation(forward=f, backward=df))
    report = fnn.gradcheck(model, "cross_entropy", *networks.data("cross_entropy", 11, 6, 3), backend=backend)
    assert report.error < 1e-5, report


@all_dtypes
def test_own_kernels_write_what_the_functions_say_and_nothing_else(dtype: str) -> None:
    value, both_at_once = own.operations(swish, swish_prime)
    x = np.random.default_rng(0).standard_normal((5, 48)).astype(dtype)
    memory = np.full((2, 7, 64), 7, dtype)
    import ctypes

    from fastnn.kernels.table import argument_words

    y, slope = memory[0, 1:6, 3:51], memory[1, 1:6, 3:51]
    words = argument_words(both_at_once, {"y": y, "slope": slope, "x": x})
    ctypes.CFUNCTYPE(None, ctypes.c_void_p)(kernel_address(cases.COMPILED[0], both_at_once, dtype))(words.ctypes.data)
    expected, prime = np.vectorize(swish)(x.astype(float)), np.vectorize(swish_prime)(x.astype(float))
    np.testing.assert_allclose(y, expected, rtol=4 * np.finfo(dtype).eps)
    np.testing.assert_allclose(slope, prime, rtol=8 * np.finfo(dtype).eps, atol=np.finfo(dtype).eps)
    y[...], slope[...] = 7, 7
    assert (memory == 7).all()
    assert value.name not in ops.__dict__


def test_own_activation_is_made_into_a_kernel_once() -> None:
    first, second = (fnn.Activation(forward=swish, backward=swish_prime) for _ in range(2))
    assert first == second
    assert hash(first) == hash(second)
    assert first.spec.forward is second.spec.forward
    operation = first.spec.forward
    assert not isinstance(operation, str)
    assert operation is not None
    assert kernel_address(cases.COMPILED[-1], operation, "float32") == kernel_address("numba", operation, "float32")


def test_own_activation_may_be_compiled_already_or_closed_over_numbers() -> None:
    factor = 0.75
    pair = numba.njit(lambda x: factor * x * x), lambda x: 2.0 * factor * x
    model = fnn.Sequential([fnn.Activation(forward=pair[0], backward=pair[1])], inputs=3, dtype="float64")
    X = np.linspace(-2, 2, 12).reshape(4, 3)
    for backend in BACKENDS:
        np.testing.assert_allclose(model.predict(X, backend=backend), 0.75 * X * X, rtol=1e-15)


def test_reference_has_numbas_result_where_python_raises() -> None:
    model = fnn.Sequential([fnn.Activation(forward=swish, backward=swish_prime)], inputs=1, dtype="float64")
    X = np.array([[-2000.0], [2000.0], [1.0]])
    for backend in BACKENDS:
        np.testing.assert_allclose(model.predict(X, backend=backend), [[-0.0], [2000.0], [swish(1.0)]], rtol=1e-15)


def test_models_with_an_own_activation_are_copied_and_pickled() -> None:
    model = network(fnn.Activation(forward=swish, backward=swish_prime))
    X, _ = networks.data("mse", 9, 6, 3)
    for other in (model.copy(), copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert other.predict(X).tobytes() == model.predict(X).tobytes()
        assert other.description() == model.description()
    assert "Custom(swish, swish_prime)" in model.summary()
    assert "h0, act_prime(h0) = swish(z0)" in str(fnn.Trainer(model, "mse").plan)


# One's own in files.


def scaled(factor: float) -> fnn.Activation:
    """Functions that are defined anew with each call, as in another process."""
    return fnn.Activation(forward=lambda x: factor * x * x, backward=lambda x: 2.0 * factor * x)


def test_a_saved_model_with_own_activations_is_loaded_with_them_and_predicts_the_same_bits(tmp_path: Path) -> None:
    """Each comes into its place by what it computes: both are called <lambda>."""
    path, steep = tmp_path / "net", fnn.Activation(forward=steps, backward=steps_prime)
    layers = [fnn.Dense(9, scaled(0.5)), fnn.Residual([fnn.Dense(9, scaled(0.25)), steep]), fnn.Activation(steep)]
    model = fnn.Sequential(layers, inputs=6, seed=3)
    model.save(path)
    given = [fnn.Activation(forward=swish, backward=swish_prime), steep, scaled(0.25), scaled(0.5)]
    loaded = fnn.load(path, activations=given)
    assert loaded.layers[0].activation is given[3].name
    assert [w.tobytes() for w in loaded.get_weights()] == [w.tobytes() for w in model.get_weights()]
    X = np.random.default_rng(0).standard_normal((33, 6))
    for backend in BACKENDS:
        assert loaded.predict(X, backend=backend).tobytes() == model.predict(X, backend=backend).tobytes()
    loaded.save(tmp_path / "again")
    assert storage.read(tmp_path / "again").model == storage.read(path).model


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    fnn.Sequential([fnn.Dense(4), fnn.Residual([scaled(0.5)])], inputs=3).save(tmp_path / "net")
    return tmp_path / "net"


@pytest.mark.parametrize(
    ("activations", "error", "message"),
    [
        (
            [], fnn.ModelFileError,
            "net: layers[1].layers[0].name is Custom(<lambda>, <lambda>), functions of your own, which no file holds: "
            "give them, fastnn.load(path, activations=[Activation(forward=f, backward=df)])",
        ),
        (
            [fnn.Activation(forward=steps, backward=steps_prime), scaled(0.51)], fnn.ModelFileError,
            "net: layers[1].layers[0].name is Custom(<lambda>, <lambda>), and none of the activations given computes "
            "the same: of Custom(steps, steps_prime) forward(-25) is -12.5 here, 312.5 in the file; of "
            "Custom(<lambda>, <lambda>) forward(-25) is 318.75 here, 312.5 in the file",
        ),
        ([scaled(0.5 * (1 + 1e-9))], fnn.ModelFileError, "forward(-25) is 312.5000003"),
        (scaled(0.5), TypeError, "expected a list of Activation(forward=f, backward=df)"),
        ({"own": scaled(0.5)}, TypeError, "expected a list of Activation(forward=f, backward=df)"),
        ([swish], TypeError, "load: activations holds <function swish"),
        ([fnn.Activation("relu")], TypeError, "load: activations holds Activation(name='relu'), expected"),
    ],
)  # fmt: skip
def test_a_model_with_own_activations_is_not_loaded_with_others(
    saved: Path, activations: Any, error: type[Exception], message: str
) -> None:
    with pytest.raises(error) as caught:
        fnn.load(saved, activations=activations)
    assert message in str(caught.value)


def test_functions_that_differ_in_rounding_are_the_same(tmp_path: Path) -> None:
    """The last digit of exp is another one in another library."""
    fnn.Sequential([fnn.Activation(forward=swish, backward=swish_prime)], inputs=2).save(tmp_path / "net")

    def in_another_order(x: float) -> float:
        return x * (1.0 / (1.0 + math.exp(-x)))

    other = fnn.Activation(forward=in_another_order, backward=swish_prime)
    described = [
        activation.name.described() for activation in (other, fnn.Activation(forward=swish, backward=swish_prime))
    ]
    assert described[0]["forward"]["values"] != described[1]["forward"]["values"]
    assert fnn.load(tmp_path / "net", activations=[other]).layers == (other,)


def test_functions_are_known_again_without_numba(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(own, "has_numba", lambda: False)
    model = fnn.load(saved, activations=[scaled(0.5)])
    assert model.predict(np.ones((2, 3)), backend="reference").shape == (2, 4)


def test_a_file_holds_an_own_activation_as_json_of_every_reader(tmp_path: Path) -> None:
    """Infinity, which JSON does not have, becomes null."""
    steep = fnn.Activation(forward=lambda x: math.exp(1.5 * x * x), backward=lambda x: 3.0 * x * math.exp(1.5 * x * x))
    model = fnn.Sequential([steep], inputs=2)
    described = json.loads(json.dumps(model.description(), allow_nan=False))["layers"][0]["name"]
    assert (described["forward"]["name"], described["forward"]["values"][::40]) == ("<lambda>", [None, None])
    assert described["backward"]["values"][20] == 0.0
    model.save(tmp_path / "net")
    assert fnn.load(tmp_path / "net", activations=[steep]).layers == (steep,)


@pytest.mark.parametrize("given", [[], [scaled(0.5)]])
@pytest.mark.parametrize(
    "damaged",
    [
        {"type": "Custom"},
        {"type": "Custom", "forward": "f", "backward": "df"},
        {"type": "Custom", "forward": {"name": "f", "values": [1.0]}, "backward": {"name": "df", "values": [1.0]}},
        {"type": "Custom", "forward": {"name": "f", "values": "many"}, "backward": {"name": "df", "values": {}}},
        {
            "type": "Custom",
            "forward": {"name": "f", "values": [10**400] * 41},
            "backward": {"name": "df", "values": []},
        },
    ],
)
def test_damaged_descriptions_of_own_activations_are_refused(saved: Path, damaged: Any, given: Any) -> None:
    contents = storage.read(saved)
    contents.model["layers"][1]["layers"][0]["name"] = damaged
    storage.write(saved, contents.tensors, contents.model)
    with pytest.raises(fnn.ModelFileError, match=r"net: (damaged description|layers\[1\].layers\[0\].name is Custom)"):
        fnn.load(saved, activations=given)


@pytest.mark.parametrize(
    ("forward", "backward", "message"),
    [
        (3, swish, "Activation(forward=3): forward must be a function of one number"),
        (swish, None, "Activation(backward=None): backward must be a function of one number"),
        (float, swish, "forward must be a function of one number"),
        (swish, lambda x: 1.001 * swish_prime(x), "backward(-20) is"),
        (swish, lambda x: input(x), "Numba cannot compile <lambda>"),
        (lambda x: (x, x), swish, "Numba cannot compile <lambda> as a function of one number"),
        (lambda x, y: x, swish, "Numba cannot compile <lambda> as a function of one number"),
        (lambda x: math.sqrt(x), swish, "forward(-20) is nan, expected a finite number"),
        (lambda x: x, lambda x: 1.0 / (x - x), "backward(-20) is"),
        (swish, swish, "expected the derivative of forward there, about 0.15"),
    ],
)
def test_own_activation_is_checked_when_it_is_made(forward: Any, backward: Any, message: str) -> None:
    with pytest.raises((ValueError, TypeError)) as caught:
        fnn.Activation(forward=forward, backward=backward)
    assert message in str(caught.value)


def test_own_activation_without_numba_is_for_the_reference(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(own, "has_numba", lambda: False)
    f, df = (lambda x: 3.0 * x), (lambda x: 3.0)
    model = fnn.Sequential([fnn.Activation(forward=f, backward=df)], inputs=1, dtype="float64")
    np.testing.assert_array_equal(model.predict([[2.0]], backend="reference"), [[6.0]])
    with pytest.raises(RuntimeError, match="needs Numba"):
        model.predict([[2.0]], backend=cases.COMPILED[0])
