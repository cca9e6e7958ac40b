"""Calls that `fastnn.ops.<name>.bind` prepares, and the short way of plain calls: the same bits as any other way."""

import copy
import gc
import threading
import weakref
from typing import Any

import cases
import judge
import numpy as np
import pytest

from fastnn import ops
from fastnn.kernels import OPERATIONS
from fastnn.kernels.cpu import vector_bytes
from fastnn.ops import direct

both = pytest.mark.parametrize("backend", cases.BACKENDS)
compiled = pytest.mark.parametrize("backend", cases.COMPILED)
SIZES = (1, 16, 17, 48)


def drawn(name: str, size: int = 17, dtype: str = "float32") -> dict[str, Any]:
    return cases.arguments(name, dict.fromkeys(OPERATIONS[name].sizes, size), dtype)


def results(name: str, arguments: dict[str, Any]) -> list[bytes]:
    return [arguments[array.name].tobytes() for array in OPERATIONS[name].arrays if array.access != "reads"]


@both
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", OPERATIONS)
def test_bound_call_repeats_the_plain_call(name: str, size: int, dtype: str, backend: str) -> None:
    plain, bound = drawn(name, size, dtype), drawn(name, size, dtype)
    call = getattr(ops, name).bind(**bound, backend=backend)
    assert results(name, bound) == results(name, plain)  # bind itself does nothing
    for _ in range(3):
        getattr(ops, name)(**plain, backend=backend)
        call()
        assert results(name, bound) == results(name, plain)


@compiled
@pytest.mark.parametrize("layout", judge.LAYOUTS)
@pytest.mark.parametrize("name", OPERATIONS)
def test_bound_call_has_the_same_bits_for_every_layout(name: str, layout: str, backend: str) -> None:
    plain, bound = drawn(name), drawn(name)
    guarded = {
        array.name: judge.Guarded(bound[array.name], layout, array.access != "reads")
        for array in OPERATIONS[name].arrays
    }
    views = bound | {operand: one.array for operand, one in guarded.items()}
    call = getattr(ops, name).bind(**views, backend=backend)
    for _ in range(2):
        getattr(ops, name)(**plain, backend=backend)
        call()
        assert results(name, views) == results(name, plain)
    assert all(one.unchanged(around_only=True) for one in guarded.values())


@compiled
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", OPERATIONS)
def test_short_way_has_the_bits_of_the_long_one(
    name: str, size: int, backend: str, monkeypatch: pytest.MonkeyPatch
) -> None:  # fmt: skip
    short, long = drawn(name, size), drawn(name, size)
    getattr(ops, name)(**short, backend=backend)
    monkeypatch.setattr(direct.Direct, "run", lambda *_: False)
    getattr(ops, name)(**long, backend=backend)
    assert results(name, short) == results(name, long)


@compiled
@pytest.mark.parametrize("name", ["adam_update", "relu_forward", "dense_forward", "cross_entropy", "gather_rows"])
def test_whole_vectors_take_the_short_way(name: str, backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ops, "check", lambda *_: pytest.fail("the long way"))
    getattr(ops, name)(**drawn(name, 16), backend=backend)


@compiled
def test_in_place_takes_the_short_way_and_other_overlaps_do_not(
    backend: str, monkeypatch: pytest.MonkeyPatch
) -> None:  # fmt: skip
    x = np.linspace(-1, 1, 320, dtype=np.float32).reshape(10, 32)
    expected = np.maximum(x, 0)
    with monkeypatch.context() as patched:
        patched.setattr(ops, "check", lambda *_: pytest.fail("the long way"))
        ops.relu_forward(x, x, backend=backend)
    np.testing.assert_array_equal(x, expected)
    memory = np.linspace(-1, 1, 32 * 11, dtype=np.float32).reshape(11, 32)
    expected = np.tanh(memory[:10].astype(np.float64))
    ops.tanh_forward(memory[1:], memory[:10], backend=backend)
    np.testing.assert_allclose(memory[1:], expected, rtol=1e-6)


@both
@pytest.mark.parametrize("size", [16, 17])
def test_scalars_change_for_one_call(size: int, backend: str) -> None:
    param, grad = np.zeros(size, np.float32), np.ones(size, np.float32)
    call = ops.sgd_update.bind(param, grad, lr=1.0, backend=backend)
    for lr, total in ((None, -1.0), (0.5, -1.5), (np.float32(0.25), -1.75), (2, -3.75), (None, -4.75)):
        call() if lr is None else call(lr=lr)
        np.testing.assert_array_equal(param, np.full(size, total, np.float32))


@both
@pytest.mark.parametrize("size", [16, 17])
@pytest.mark.parametrize(
    ("name", "changed", "error", "match"),
    [
        ("sgd_update", {"lr": "1"}, TypeError, r"sgd_update\(lr='1'\): lr must be a number"),
        ("sgd_update", {"lr": True}, TypeError, "lr must be a number"),
        ("sgd_update", {"rate": 1.0}, TypeError, "sgd_update: unknown scalar 'rate'"),
        ("sgd_update", {"grad": np.zeros(3)}, TypeError, "sgd_update: unknown scalar 'grad'"),
        ("dropout_forward", {"key": -1}, ValueError, "key must be at least 0"),
        ("dropout_forward", {"threshold": 0.5}, TypeError, "threshold must be an integer"),
        ("dense_backward_weight", {"accumulate": 2}, ValueError, "accumulate must be at most 1"),
    ],
)
def test_scalars_that_mean_nothing_are_refused_and_change_nothing(
    name: str, changed: dict[str, Any], error: type[Exception], match: str, size: int, backend: str
) -> None:  # fmt: skip
    arguments = drawn(name, size)
    call = getattr(ops, name).bind(**arguments, backend=backend)
    before = results(name, arguments)
    with pytest.raises(error, match=match):
        call(**changed)
    assert results(name, arguments) == before


@both
def test_derivative_cannot_be_asked_for_where_x_was_absent(backend: str) -> None:
    arguments = drawn("dense_backward_input", 16) | {"x": None, "derivative": 0}
    call = ops.dense_backward_input.bind(**arguments, backend=backend)
    call()
    before = results("dense_backward_input", arguments)
    for derivative in (1, 2):
        with pytest.raises(TypeError, match="dense_backward_input: x is a NoneType"):
            call(derivative=derivative)
    assert results("dense_backward_input", arguments) == before


@both
@pytest.mark.parametrize("size", [16, 17])
@pytest.mark.parametrize(("name", "operand"), [("cross_entropy", "labels"), ("gather_rows", "order")])
def test_indices_are_checked_in_every_call(name: str, operand: str, size: int, backend: str) -> None:
    arguments = drawn(name, size)
    call = getattr(ops, name).bind(**arguments, backend=backend)
    call()
    before = results(name, arguments)
    for bad in (-1, size, 2**31 - 1):
        good = arguments[operand][3]
        arguments[operand][3] = bad
        for run in (call, lambda: getattr(ops, name)(**arguments, backend=backend)):
            with pytest.raises(ValueError, match=rf"{name}: {operand}\[3\] is {bad}, expected 0 to {size - 1}"):
                run()
        assert results(name, arguments) == before
        arguments[operand][3] = good
    call()


@both
@pytest.mark.parametrize("name", OPERATIONS)
def test_bind_refuses_what_a_plain_call_refuses(name: str, backend: str) -> None:
    function, written = getattr(ops, name), OPERATIONS[name].arrays[0].name
    locked = drawn(name)
    locked[written].flags.writeable = False
    with pytest.raises(ValueError, match=f"{name}: {written} is read-only"):
        function.bind(**locked, backend=backend)
    with pytest.raises(TypeError, match=f"{name}: {written} is a list"):
        function.bind(**drawn(name) | {written: [1.0]}, backend=backend)
    with pytest.raises(TypeError, match=f"{name}: missing a required argument"):
        function.bind(backend=backend)
    with pytest.raises(ValueError, match="unknown backend"):
        function.bind(**drawn(name), backend="numbs")


@both
def test_what_is_read_counts_as_it_was_before_each_call(backend: str) -> None:
    for size in (16, 33):
        shared, apart = np.arange(size, dtype=np.float32), np.arange(size, dtype=np.float32)
        call = ops.momentum_update.bind(shared, np.zeros_like(shared), shared, lr=0.5, momentum=0.5, backend=backend)
        buffer = np.zeros_like(apart)
        for _ in range(3):
            call()
            ops.momentum_update(apart, buffer, apart.copy(), lr=0.5, momentum=0.5, backend=backend)
            np.testing.assert_array_equal(shared, apart)


def test_copies_are_told() -> None:
    lanes = vector_bytes() // 4
    whole, odd = np.zeros((3, lanes), np.float32), np.zeros((3, lanes + 1), np.float32)
    backend = cases.COMPILED[0]
    assert ops.relu_forward.bind(whole, whole.copy(), backend=backend).copied == ()
    assert ops.relu_forward.bind(odd, odd.copy(), backend=backend).copied == ("y", "x")
    assert ops.relu_forward.bind(whole, whole.T.copy().T, backend=backend).copied == ("x",)
    flat = np.zeros(lanes + 1, np.float32)
    call = ops.sgd_update.bind(flat, flat.copy(), lr=1.0, backend=backend)
    assert call.copied == ("param", "grad")
    assert repr(call) == f"<sgd_update bound to its arrays, backend {backend!r}, copies param, grad in every call>"
    assert ops.sgd_update.bind(flat, flat.copy(), lr=1.0, backend="reference").copied == ()
    assert ops.sgd_update.bind(flat, flat, lr=1.0, backend="reference").copied == ("grad",)


@both
def test_bound_call_keeps_its_arrays_alive_and_no_longer_than_itself(backend: str) -> None:
    param, grad = np.zeros(4096, np.float32), np.ones(4096, np.float32)
    seen = weakref.ref(grad)
    call = ops.sgd_update.bind(param, grad, lr=1.0, backend=backend)
    del grad
    gc.collect()
    assert seen() is not None
    call()
    assert param[0] == param[-1] == -1.0
    del call
    gc.collect()
    assert seen() is None


@both
def test_no_rows_just_work(backend: str) -> None:
    dweight = np.ones((3, 4), np.float32)
    arguments = dweight, np.zeros((3, 0), np.float32), np.zeros((4, 0), np.float32)
    call = ops.dense_backward_weight.bind(*arguments, accumulate=1, backend=backend)
    call()
    assert (dweight == 1).all()
    call(accumulate=0)
    assert (dweight == 0).all()


@both
@pytest.mark.parametrize("size", [48, 50])
def test_threads_share_a_call_each_with_scalars_of_its_own(size: int, backend: str) -> None:
    """All of them write the same into y, so that the order does not matter; what differs goes to an array each."""
    x = np.ones((2, size), np.float32)
    y = np.zeros_like(x)
    call = ops.batch_norm_inference.bind(y, x, *(np.ones(2, np.float32) for _ in range(4)), eps=3.0, backend=backend)
    failures: list[Any] = []

    def work(eps: float) -> None:
        try:
            for _ in range(300):
                call(eps=eps)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(eps,)) for eps in (0.0, 3.0, 8.0, 15.0)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    call()
    np.testing.assert_array_equal(y, np.ones_like(y))  # (x - mean) * anything + beta


@both
def test_bound_call_can_be_copied(backend: str) -> None:
    param = np.zeros(5, np.float32)
    call = copy.copy(ops.sgd_update.bind(param, np.ones_like(param), lr=1.0, backend=backend))
    call()
    np.testing.assert_array_equal(param, np.full(5, -1, np.float32))
