"""precision="bf16": products that round their operands to bfloat16, plans that have them, where they are refused.

That the kernels agree with their reference, and C with Numba, is shown with those of all operations (test_kernels.py,
test_native.py); here are the shapes that take several blocks, and whole trainings.
"""

import os
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import judge
import numpy as np
import pytest
import tolerances

import fastnn as fnn
from fastnn import ops
from fastnn.kernels import OPERATIONS, cpu, native
from fastnn.kernels.reference.low_precision import bf16

Array = np.ndarray[Any, Any]
here = pytest.mark.skipif(not cpu.has("avx512bf16"), reason="this CPU, or the level in use, has no AVX512_BF16")
SETS = ("numba", "c") if native.available() else ("numba",)
PRODUCTS = {
    "dense_forward_bf16": ("OBK", {"y": "OB", "x": "KB", "weight": "OK"}, {"floor": 0.0}),
    "dense_backward_input_bf16": (
        "IBO", {"dx": "IB", "dy": "OB", "weight": "OI", "x": "IB"}, {"derivative": 2, "c0": 1.0, "c1": 0.0, "c2": -1.0},
    ),
    "dense_backward_weight_bf16": ("OKB", {"dweight": "OK", "dy": "OB", "x": "KB"}, {"accumulate": 1}),
}  # fmt: skip
"""The axes of each product, rows and columns of the result first, its arrays, and its scalars."""


def drawn(name: str, shape: tuple[int, int, int], transposed: str = "") -> dict[str, Any]:
    """Arguments of a product; some arrays lie transposed."""
    axes, arrays, scalars = PRODUCTS[name]
    size, generator = dict(zip(axes, shape, strict=True)), np.random.default_rng([*shape])
    found: dict[str, Any] = {}
    for array, letters in arrays.items():
        rows, columns = (size[letter] for letter in letters)
        if array in transposed.split():
            found[array] = generator.standard_normal((columns, rows)).astype(np.float32).T
        else:
            found[array] = generator.standard_normal((rows, columns)).astype(np.float32)
    return {**found, **scalars}


# Rounding.


def test_numbers_are_rounded_to_the_nearest_bfloat16_and_ties_to_even() -> None:
    ulp = 2.0**-7  # of numbers from 1 to 2
    given = [1.0, 1 + 0.49 * ulp, 1 + 0.5 * ulp, 1 + 1.5 * ulp, 1 + 0.51 * ulp, -1 - 1.5 * ulp, 3.4e38, 1e-40, -0.0]
    wanted = [1.0, 1.0, 1.0, 1 + 2 * ulp, 1 + ulp, -1 - 2 * ulp, np.inf, 2.0**-133, -0.0]
    for dtype in (np.float32, np.float64):
        got = bf16(np.array(given, np.float32).astype(dtype))
        assert got.dtype == dtype
        assert got.tobytes() == np.array(wanted, np.float32).astype(dtype).tobytes()


def test_what_is_not_finite_stays_so_under_rounding() -> None:
    payloads = np.array([0x7F800001, 0x7FFFFFFF, 0xFFFFFFFF, 0x7F808000], np.uint32).view(np.float32)
    assert np.isnan(bf16(payloads)).all()
    assert bf16(np.array([np.inf, -np.inf], np.float32)).tolist() == [np.inf, -np.inf]


# Kernels.


@here
@pytest.mark.parametrize("backend", SETS)
@pytest.mark.parametrize("transposed", ["", "weight dweight", "x", "dy x", "dweight dy"])
@pytest.mark.parametrize("name", PRODUCTS)
def test_products_of_several_blocks_agree_with_the_reference(name: str, transposed: str, backend: str) -> None:
    for shape in ((40, 700, 1500), (19, 1030, 577), (1, 300, 290), (33, 31, 289)):
        arguments = drawn(name, shape, transposed)
        layouts = dict.fromkeys(arguments, "contiguous") | dict.fromkeys(transposed.split(), "transposed")
        judge.check(OPERATIONS[name], arguments, lambda **given: getattr(ops, name)(**given, backend=backend), layouts)


@here
@pytest.mark.skipif(len(SETS) < 2, reason="the C kernels are not built")
@pytest.mark.parametrize("name", PRODUCTS)
def test_products_of_several_blocks_are_the_same_bits_in_c_and_numba(name: str) -> None:
    written = next(iter(PRODUCTS[name][1]))
    for shape in ((40, 700, 1500), (17, 33, 577)):
        results = []
        for backend in SETS:
            arguments = drawn(name, shape)
            getattr(ops, name)(**arguments, backend=backend)
            results.append(arguments[written].tobytes())
        assert results[0] == results[1]


@pytest.mark.parametrize("name", PRODUCTS)
def test_tolerance_refuses_a_product_whose_operands_are_not_rounded(name: str) -> None:
    arguments = drawn(name, (33, 33, 33))
    written = next(iter(PRODUCTS[name][1]))
    judged = judge.outcome(OPERATIONS[name], arguments)
    getattr(ops, name.removesuffix("_bf16"))(**arguments, backend="reference")
    limit = tolerances.allowed(name, written, judged)
    assert tolerances.excess(arguments[written], judged.after[written], limit) > 100


@here
@pytest.mark.parametrize("backend", SETS)
def test_nan_and_infinity_pass_through(backend: str) -> None:
    arguments = drawn("dense_forward_bf16", (20, 40, 33))
    arguments["x"][5, 3], arguments["x"][6, 7] = np.nan, np.inf
    ops.dense_forward_bf16(**arguments | {"floor": -np.inf}, backend=backend)
    y = arguments["y"]
    assert np.isnan(y[:, 3]).all()
    assert np.isinf(y[:, 7]).all()
    assert np.isfinite(np.delete(y, [3, 7], axis=1)).all()


# Plans and trainings.


def network(extra: bool = False, dtype: str = "float32", widths: tuple[int, ...] = (64, 96)) -> fnn.Sequential:
    layers: list[Any] = []
    for width in widths:
        parts = [fnn.Dense(width), fnn.BatchNorm(), fnn.Activation("tanh"), fnn.Dropout(0.2)]
        layers += parts if extra else [fnn.Dense(width, "relu")]
    return fnn.Sequential([*layers, fnn.Dense(5)], inputs=70, seed=3, dtype=dtype)


def data(rows: int = 500) -> tuple[Array, Array]:
    """Classes that follow from the inputs, a quarter of them drawn anew: no network gets below a certain loss."""
    generator = np.random.default_rng(1)
    X = generator.standard_normal((rows, 70)).astype(np.float32)
    y = np.argmax(X[:, :5] + 0.3 * X[:, 5:10] * X[:, 10:15], axis=1)
    noise = generator.random(rows) < 0.25
    return X, np.where(noise, generator.integers(0, 5, rows), y).astype(np.int32)


def losses(backend: str, extra: bool, threads: int = 1, rows: int = 1200) -> Array:
    """Of a training in batches, the last of an epoch smaller, and on all rows, in tiles where layers allow it."""
    X, y = data(rows)
    options: dict[str, Any] = {"batch_size": 64, "backend": backend, "threads": threads, "precision": "bf16"}
    bound = fnn.Trainer(network(extra), "cross_entropy", **options).bind(X, y)
    order = np.random.default_rng(2).permutation(rows)
    return np.concatenate([bound.run(order), bound.run_full(3), bound.run(order)])


@here
@pytest.mark.parametrize("extra", [False, True])
def test_trainings_of_all_sets_agree(extra: bool) -> None:
    reference = losses("reference", extra)
    found = [losses(backend, extra) for backend in SETS]
    assert all(one.tobytes() == found[0].tobytes() for one in found)
    # Sums are rounded differently, which a training magnifies; the first step has seen none of that.
    assert abs(found[0][0] - reference[0]) < 1e-5
    assert np.abs(found[0] - reference).max() < 2e-2


@here
@pytest.mark.skipif(not native.available(), reason="the pool of threads is in the C library")
def test_threads_change_no_bit() -> None:
    assert len({losses("c", False, threads).tobytes() for threads in (1, 2, 3)}) == 1


def test_narrow_layers_and_small_batches_are_not_rounded() -> None:
    trainer = fnn.Trainer(network(), "cross_entropy", batch_size=64, backend="reference", precision="bf16")
    names = [call.operation.name for call in trainer.plan.calls]
    forward = [name for name in names if name.startswith("dense_forward")]
    assert forward == ["dense_forward_bf16", "dense_forward_bf16", "dense_forward"]
    assert "dense_forward_bf16" in str(trainer.plan)
    small = fnn.Trainer(network(), "cross_entropy", batch_size=8, backend="reference", precision="bf16")
    assert not any(call.operation.name.endswith("_bf16") for call in small.plan.calls)


@pytest.mark.parametrize("backend", [*(SETS if cpu.has("avx512bf16") else ()), "reference"])
def test_loss_after_300_steps_is_within_one_percent_of_float32(backend: str) -> None:
    X, y = data(4096)
    found = {}
    for precision in (None, "bf16"):
        model = network(widths=(128, 128))
        trainer = fnn.Trainer(model, "cross_entropy", batch_size=128, backend=backend, precision=precision)
        order = np.random.default_rng(4).integers(0, len(X), (300, 128))
        trainer.bind(X, y).run(order)
        found[precision] = model.evaluate(X, y, loss="cross_entropy")["loss"]
    assert found[None] < 0.9 * np.log(5), "it has learnt"
    assert found["bf16"] != found[None]
    assert abs(found["bf16"] / found[None] - 1) < 0.01


def test_fit_takes_the_precision_and_a_copied_trainer_keeps_it() -> None:
    X, y = data(200)
    plain, rounded = network(), network()
    for model, precision in ((plain, "float32"), (rounded, "bf16")):
        model.fit(
            X, y, loss="cross_entropy", epochs=1, batch_size=50, backend="reference", precision=precision,
            progress=False,
        )  # fmt: skip
    assert not np.array_equal(plain.predict(X), rounded.predict(X))
    trainer = fnn.Trainer(plain, "mse", backend="reference", precision="bf16")
    assert pickle.loads(pickle.dumps(trainer)).precision == "bf16"


# Refusals.


def test_precision_is_refused_where_it_cannot_be_had(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match=r"precision='bf16': the model has dtype float64, expected float32"):
        fnn.Trainer(network(dtype="float64"), "mse", precision="bf16")
    with pytest.raises(ValueError, match=r"unknown precision 'bf61': did you mean 'bf16'\? Known: bf16, float32"):
        fnn.Trainer(network(), "mse", precision="bf61")
    with pytest.raises(ValueError, match=r"unknown precision 'float32'.* Known: bf16, float64"):
        fnn.Trainer(network(dtype="float64"), "mse", precision="float32")
    monkeypatch.setattr(cpu, "has", lambda feature: False)
    with pytest.raises(RuntimeError, match=r"precision='bf16': not available: .*AVX512_BF16.*backend='reference'"):
        fnn.Trainer(network(), "mse", precision="bf16", backend=SETS[0])
    assert fnn.Trainer(network(), "mse", precision="bf16", backend="reference").precision == "bf16"


def test_an_operation_without_a_compiled_kernel_is_run_by_its_reference_or_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(cpu, "has", lambda feature: False)
    arguments, expected = drawn("dense_forward_bf16", (4, 5, 6)), drawn("dense_forward_bf16", (4, 5, 6))
    ops.dense_forward_bf16(**expected, backend="reference")
    ops.dense_forward_bf16(**arguments)
    assert np.array_equal(arguments["y"], expected["y"])
    with pytest.raises(RuntimeError, match=r"dense_forward_bf16\(backend='numba'\): not available: .*avx512bf16"):
        ops.dense_forward_bf16(**arguments, backend="numba")


@pytest.mark.parametrize("feature", ["avx512bf16", "amx-bf16"])
def test_lower_levels_have_no_such_feature(feature: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cpu, "isa", lambda: "avx2")
    assert not cpu.has.__wrapped__(feature)


# The two forms of the product.


@pytest.mark.skipif(not cpu.has("amx-bf16"), reason="there is one form alone here")
@pytest.mark.parametrize("name", PRODUCTS)
def test_the_matrix_unit_takes_the_sums_in_another_order(name: str) -> None:
    """Both are right; that they differ shows that it was the unit that was asked."""
    written = next(iter(PRODUCTS[name][1]))
    arguments, program = drawn(name, (40, 70, 150)), (
        "import sys; from test_bf16 import drawn, ops; name = sys.argv[1]; a = drawn(name, (40, 70, 150));"
        "getattr(ops, name)(**a); sys.stdout.buffer.write(next(iter(a.values())).tobytes())"
    )  # fmt: skip
    getattr(ops, name)(**arguments)
    without = without_matrix_unit([sys.executable, "-c", program, name])
    other = np.frombuffer(without.stdout, np.float32).reshape(arguments[written].shape)
    assert not np.array_equal(arguments[written], other)
    np.testing.assert_allclose(arguments[written], other, rtol=1e-3, atol=1e-4)


@pytest.mark.slow
@pytest.mark.skipif(not cpu.has("amx-bf16"), reason="there is one form alone here, which the tests above are about")
def test_vectors_of_pairs_pass_the_same_tests() -> None:
    chosen = "several_blocks or sets_agree or threads or infinity"
    pytest_here = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-q", __file__, "-k", chosen]
    result = without_matrix_unit(pytest_here)
    assert result.returncode == 0, result.stdout.decode()[-4000:]
    assert b"skipped" not in result.stdout or not native.available()


def test_without_the_matrix_unit_there_is_none() -> None:
    told = without_matrix_unit([sys.executable, "-c", "from fastnn.kernels import cpu; print(cpu.has('amx-bf16'))"])
    assert told.stdout.strip() == b"False"


def without_matrix_unit(command: list[str]) -> subprocess.CompletedProcess[bytes]:
    environment = {**os.environ, "FASTNN_AMX": "0", "PYTHONPATH": str(Path(__file__).parent)}
    return subprocess.run(command, env=environment, cwd=Path(__file__).parents[1], capture_output=True, check=False)


@pytest.mark.skipif(not cpu.has("amx-bf16"), reason="this CPU has no matrix unit, or the system keeps it to itself")
def test_python_asks_for_the_matrix_unit_as_the_library_does() -> None:
    assert cpu._may_use_amx()
    assert "amx-bf16" in cpu.features()
