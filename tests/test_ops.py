"""fastnn.ops: what is refused, with which words, that it leaves arrays as they were; and what just works."""

import inspect
from collections.abc import Callable
from typing import Any

import cases
import numpy as np
import pytest

from fastnn import ops
from fastnn.kernels import OPERATIONS, backends

BACKENDS = cases.BACKENDS

both = pytest.mark.parametrize("backend", BACKENDS)


def drawn(name: str, size: int = 17, dtype: str = "float32") -> dict[str, Any]:
    return cases.arguments(name, dict.fromkeys(OPERATIONS[name].sizes, size), dtype)


def refused(name: str, error: type[Exception], match: str, backend: str = "auto", **changes: Any) -> None:
    """The call with these arguments changed raises, naming the operation, and no array is touched."""
    arguments = drawn(name) | changes
    before = cases.copied(arguments)
    with pytest.raises(error, match=match) as raised:
        getattr(ops, name)(**arguments, backend=backend)
    if backend in (*BACKENDS, "auto") and error is not RuntimeError:
        assert name in str(raised.value)
    for operand, value in before.items():
        if isinstance(value, np.ndarray):
            assert arguments[operand].tobytes() == value.tobytes(), f"{operand} was changed"


def test_every_operation_is_listed_and_shows_its_signature() -> None:
    assert dir(ops) == sorted(OPERATIONS)
    for name, entry in OPERATIONS.items():
        function = getattr(ops, name)
        assert list(inspect.signature(function).parameters) == [*entry.operands, "backend"]
        assert function.__doc__ == entry.reference.__doc__
        assert function.__name__ == name


def test_unknown_operation_names_the_nearest() -> None:
    with pytest.raises(AttributeError, match=r"unknown operation 'adam_updat': did you mean 'adam_update'\?"):
        ops.adam_updat  # noqa: B018
    assert not hasattr(ops, "adam")


def test_unknown_backend_names_the_nearest() -> None:
    refused("sgd_update", ValueError, r"unknown backend 'numbs': did you mean 'numba'\?", backend="numbs")


def test_backend_that_is_not_there_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    without = backends.Backends({"reference": "NumPy"}, {"c": "there is none"}, "reference", "no other")
    monkeypatch.setattr(backends, "backends", lambda: without)
    refused("sgd_update", RuntimeError, "backend='c': not available: there is none", backend="c")


@both
def test_missing_and_unknown_arguments_show_what_is_expected(backend: str) -> None:
    with pytest.raises(TypeError, match=r"sgd_update: missing .*'lr'.* expected sgd_update\(param, grad, "):
        ops.sgd_update(np.zeros(3), np.zeros(3), backend=backend)
    refused("sgd_update", TypeError, "unexpected keyword argument 'rate'", backend, rate=1.0)


@both
@pytest.mark.parametrize("value", [[1.0] * 17, 1.0, None, "grad"])
def test_what_is_no_array_is_refused(value: Any, backend: str) -> None:
    refused("sgd_update", TypeError, "grad is a .*, expected a NumPy array", backend, grad=value)


@both
@pytest.mark.parametrize("dtype", ["float16", "int64", "complex64", "longdouble", "object", "U3"])
def test_dtype_that_no_kernel_has_is_refused(dtype: str, backend: str) -> None:
    wrong = np.zeros(17, dtype)
    refused(
        "sgd_update", TypeError, "param has dtype .*, expected float32 or float64", backend, param=wrong, grad=wrong
    )


@both
def test_mixed_dtypes_are_refused(backend: str) -> None:
    refused("sgd_update", TypeError, "grad has dtype float64, expected float32", backend, grad=np.zeros(17))
    labels = np.zeros(17, np.int64)
    refused("cross_entropy", TypeError, "labels has dtype int64, expected int32", backend, labels=labels)
    refused(
        "cross_entropy", TypeError, "loss has dtype float32, expected float64", backend, loss=np.zeros(1, "float32")
    )


@both
@pytest.mark.parametrize(
    ("name", "operand", "shape", "match"),
    [
        ("sgd_update", "grad", (17, 1), r"grad has 2 axes, expected \['N'\]"),
        ("sgd_update", "grad", (16,), r"grad has shape \(16,\), expected N = 17 as in param"),
        ("relu_forward", "x", (17, 18), r"x has shape \(17, 18\), expected B = 17 as in y"),
        ("relu_forward", "y", (17,), r"y has 1 axes, expected \['F', 'B'\]"),
        ("dense_forward", "weight", (17, 16), r"weight has shape \(17, 16\), expected K = 17 as in x"),
        ("cross_entropy", "loss", (2,), r"loss has shape \(2,\), expected 1 = 1"),
        ("batch_norm_forward", "gamma", (16,), r"gamma has shape \(16,\), expected F = 17 as in y"),
        ("gather_rows", "x", (17, 3), r"X has shape \(17, 17\), expected F = 3 as in x"),
    ],
)
def test_shapes_that_do_not_fit_are_refused(
    name: str, operand: str, shape: tuple[int, ...], match: str, backend: str
) -> None:  # fmt: skip
    refused(name, ValueError, match, backend, **{operand: np.zeros(shape, drawn(name)[operand].dtype)})


@both
@pytest.mark.parametrize("name", OPERATIONS)
def test_read_only_results_are_refused_and_read_only_inputs_are_not(name: str, backend: str) -> None:
    entry, arguments = OPERATIONS[name], drawn(name)
    for array in entry.arrays:
        arguments[array.name].flags.writeable = array.access != "reads"
    getattr(ops, name)(**arguments, backend=backend)
    for array in entry.arrays:
        if array.access != "reads":
            locked = drawn(name)[array.name]
            locked.flags.writeable = False
            refused(name, ValueError, f"{array.name} is read-only", backend, **{array.name: locked})


@both
@pytest.mark.parametrize("bad", [-1, 17, 2**31 - 1])
def test_indices_out_of_range_are_refused(bad: int, backend: str) -> None:
    for name, operand in (("cross_entropy", "labels"), ("gather_rows", "order"), ("gather_labels", "order")):
        indices = drawn(name)[operand]
        indices[5] = bad
        refused(name, ValueError, rf"{operand}\[5\] is {bad}, expected 0 to 16", backend, **{operand: indices})


@both
def test_gathering_from_no_rows_is_refused(backend: str) -> None:
    refused("gather_rows", ValueError, "order", backend, X=np.zeros((0, 17), np.float32))


@both
@pytest.mark.parametrize(
    ("name", "scalar", "value", "error"),
    [
        ("dense_backward_input", "derivative", 4, ValueError),
        ("dense_backward_input", "derivative", 1.0, TypeError),
        ("dense_backward_weight", "accumulate", 2, ValueError),
        ("dense_backward_weight", "accumulate", True, TypeError),
        ("dropout_forward", "key", -1, ValueError),
        ("dropout_forward", "threshold", 2**32, ValueError),
        ("dropout_forward", "threshold", 0.5, TypeError),
        ("sgd_update", "lr", "0.1", TypeError),
        ("sgd_update", "lr", None, TypeError),
        ("sgd_update", "lr", True, TypeError),
        ("sgd_update", "lr", np.zeros(1), TypeError),
    ],
)
def test_scalars_that_mean_nothing_are_refused(
    name: str, scalar: str, value: Any, error: type[Exception], backend: str
) -> None:  # fmt: skip
    refused(name, error, f"{scalar} must be", backend, **{scalar: value})


@both
@pytest.mark.parametrize("derivative", [1, 2])
def test_derivative_without_x_is_refused(derivative: int, backend: str) -> None:
    refused("dense_backward_input", TypeError, "x is a NoneType", backend, x=None, derivative=derivative)


@both
def test_batch_norm_of_no_rows_is_refused(backend: str) -> None:
    none = np.zeros((17, 0), np.float32)
    refused("batch_norm_forward", ValueError, "B is 0, expected at least 1", backend, x=none, y=none.copy())


@both
def test_two_results_in_one_place_are_refused(backend: str) -> None:
    shared = np.zeros(20, np.float32)
    refused(
        "momentum_update",
        ValueError,
        "param and momentum_buffer overlap",
        backend,
        param=shared[:17],
        momentum_buffer=shared[3:],
    )


# What just works.


def equal(name: str, backend: str, change: Callable[[dict[str, Any]], dict[str, Any]], size: int = 17) -> None:
    """The operation does to changed arguments what it does to the plain ones, bit for bit."""
    plain = drawn(name, size)
    changed = change(cases.copied(plain))
    getattr(ops, name)(**plain, backend=backend)
    getattr(ops, name)(**changed, backend=backend)
    for array in OPERATIONS[name].arrays:
        if array.access != "reads":
            np.testing.assert_array_equal(changed[array.name], plain[array.name], err_msg=f"{name}: {array.name}")


def of_arrays(convert: Callable[[Any], Any]) -> Callable[[dict[str, Any]], dict[str, Any]]:
    return lambda values: {k: convert(v) if isinstance(v, np.ndarray) else v for k, v in values.items()}


def unaligned(value: Any) -> Any:
    """The same numbers one byte off."""
    memory = np.zeros(value.nbytes + 1, np.uint8)
    moved = np.ndarray(value.shape, value.dtype, memory.data, 1)
    moved[...] = value
    return moved


@both
@pytest.mark.parametrize("size", [16, 17])
@pytest.mark.parametrize("name", OPERATIONS)
def test_foreign_byte_order_just_works(name: str, size: int, backend: str) -> None:
    equal(name, backend, of_arrays(lambda a: a.astype(a.dtype.newbyteorder())), size)


@both
@pytest.mark.parametrize("size", [16, 17])
@pytest.mark.parametrize("name", OPERATIONS)
def test_unaligned_memory_just_works(name: str, size: int, backend: str) -> None:
    equal(name, backend, of_arrays(unaligned), size)


def overlapping() -> list[tuple[str, str, str]]:
    """For each operation the pairs (written, read) of arrays of one shape and dtype."""
    pairs = []
    for name, entry in OPERATIONS.items():
        values = drawn(name)
        for written in (a.name for a in entry.arrays if a.access == "writes"):
            for read in (a.name for a in entry.arrays if a.access == "reads"):
                if (values[written].shape, values[written].dtype) == (values[read].shape, values[read].dtype):
                    pairs.append((name, written, read))
    return pairs


@both
@pytest.mark.parametrize("shift", [0, 1])
@pytest.mark.parametrize("size", [16, 17])
@pytest.mark.parametrize(("name", "written", "read"), overlapping())
def test_what_is_read_may_overlap_what_is_written(
    name: str, written: str, read: str, size: int, shift: int, backend: str
) -> None:  # fmt: skip
    """Both lie in the same memory, one of them `shift` numbers further on."""

    def overlap(values: dict[str, Any]) -> dict[str, Any]:
        numbers, shape = values[read].size, values[read].shape
        memory = np.zeros(numbers + shift, values[read].dtype)
        moved = memory[shift:].reshape(shape)
        moved[...] = values[read]
        return values | {read: moved, written: memory[:numbers].reshape(shape)}

    equal(name, backend, overlap, size)


@both
def test_gradient_that_is_the_parameter_counts_as_it_was(backend: str) -> None:
    for size in (16, 33):
        shared, apart = np.arange(size, dtype=np.float32), np.arange(size, dtype=np.float32)
        buffers = np.zeros((2, size), np.float32)
        ops.momentum_update(shared, buffers[0], shared, lr=0.5, momentum=0.5, backend=backend)
        ops.momentum_update(apart, buffers[1], apart.copy(), lr=0.5, momentum=0.5, backend=backend)
        np.testing.assert_array_equal(shared, apart)
        np.testing.assert_array_equal(buffers[0], buffers[1])


@both
def test_numbers_may_be_numpys(backend: str) -> None:
    param = np.ones(3, np.float32)
    ops.sgd_update(param, np.ones(3, np.float32), lr=np.float32(0.5), backend=backend)
    ops.sgd_update(param, np.ones(3, np.float32), lr=np.int64(1), backend=backend)
    np.testing.assert_array_equal(param, np.full(3, -0.5, np.float32))
    x = np.array([[1.0, -1.0]])
    ops.dense_backward_input(x, np.ones((1, 2)), np.ones((1, 1)), None, np.int32(0), 0, 0, 0, backend=backend)
    np.testing.assert_array_equal(x, np.ones((1, 2)))
