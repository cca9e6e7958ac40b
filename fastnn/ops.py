"""Every kernel on plain NumPy arrays, with checks: `fastnn.ops.<name>(..., backend="auto")`.

The names, the order of the arguments and what is written where are those of the reference kernels;
`help(fastnn.ops.adam_update)` shows them. Arrays may have any strides; those that are written are written in place, and
nothing is returned:

    ops.adam_update(param, exp_avg, exp_avg_sq, grad, step_size=1e-3, beta1=0.9, beta2=0.999, eps=1e-8,
    sqrt_bias_correction2=1.0)

Compiled kernels work directly on arrays whose contiguous axis is the last one and a whole number of vectors long (16
float32 at AVX-512); others are copied to padded memory and back.
"""

import functools
import inspect
from collections.abc import Callable
from typing import Any

import numpy as np

from . import checks
from .kernels import OPERATIONS, Operation, backends, objects
from .kernels.cpu import vector_bytes
from .kernels.table import Array as Operand
from .kernels.table import argument_words
from .plan.arena import aligned_zeros, padded_matrix

Array = np.ndarray[Any, Any]

# The operand that runs along the contiguous axis of the result has to be given with that axis contiguous.
_TRANSPOSED = {("dense_backward_weight", "x")}
# Square blocks are read and written: arrays need room behind their last row.
_NEED_SPARE_ROWS = {"rows_to_features", "features_to_rows"}
# Operands whose entries are indices, and the axis of another operand that bounds them.
_INDICES = {"order": "R", "labels": "C"}


def __getattr__(name: str) -> Callable[..., None]:
    if name not in OPERATIONS:
        raise AttributeError(f"fastnn.ops has no operation {name!r}; there are {', '.join(sorted(OPERATIONS))}")
    return _function(name)


def __dir__() -> list[str]:
    return sorted(OPERATIONS)


@functools.cache
def _function(name: str) -> Callable[..., None]:
    entry = OPERATIONS[name]
    signature = inspect.signature(entry.reference)
    backend = inspect.Parameter("backend", inspect.Parameter.KEYWORD_ONLY, default="auto")

    @functools.wraps(entry.reference)
    def run(*args: Any, backend: str = "auto", **kwargs: Any) -> None:
        arguments = signature.bind(*args, **kwargs).arguments
        kernels = backends.resolve(backend)
        dtype = _check(entry, arguments)
        if kernels == "reference":
            with np.errstate(all="ignore"):
                entry.reference(**arguments)
        else:
            _run_compiled(entry, arguments, dtype)

    run.__signature__ = signature.replace(parameters=[*signature.parameters.values(), backend])  # type: ignore[attr-defined]
    return run


def _check(entry: Operation, arguments: dict[str, Any]) -> np.dtype[Any]:
    """Refuses what a kernel must not meet; the floating-point dtype of the call."""
    dtype: np.dtype[Any] | None = None
    for array in entry.arrays:
        value = arguments[array.name]
        if value is None and array.optional:
            continue
        if not isinstance(value, np.ndarray):
            raise TypeError(f"{entry.name}: {array.name} is a {type(value).__name__}, expected a NumPy array")
        if array.dtype is None:
            dtype = dtype or value.dtype
            if value.dtype not in (np.float32, np.float64) or not value.dtype.isnative:
                raise _wrong_dtype(entry, array, value, "native float32 or float64")
        if value.dtype != array.type(dtype or value.dtype):
            raise _wrong_dtype(entry, array, value, str(array.type(dtype or value.dtype)))
        if array.access != "reads" and not value.flags.writeable:
            raise ValueError(f"{entry.name}: {array.name} is read-only, but the operation writes it")
    for scalar in entry.scalars:
        value = arguments[scalar.name]
        if scalar.integer:
            checks.integer(entry.name, scalar.name, value)
        elif not isinstance(value, (int, float, np.floating, np.integer)):
            raise TypeError(f"{entry.name}: {scalar.name} is a {type(value).__name__}, expected a number")
    sizes = entry.size_of(arguments)
    for name, axis in _INDICES.items():
        indices = arguments.get(name)
        if indices is None or axis not in sizes or not indices.size:
            continue
        if indices.min() < 0 or indices.max() >= sizes[axis]:
            raise ValueError(f"{entry.name}: {name} has entries outside [0, {sizes[axis]})")
    assert dtype is not None or entry.name == "gather_labels"
    return dtype or np.dtype(np.float32)


def _wrong_dtype(entry: Operation, operand: Operand, value: Array, expected: str) -> TypeError:
    return TypeError(f"{entry.name}: {operand.name} has dtype {value.dtype}, expected {expected}")


def _run_compiled(entry: Operation, arguments: dict[str, Any], dtype: np.dtype[Any]) -> None:
    sizes = entry.size_of(arguments)
    if 0 in sizes.values() and entry.name != "dense_forward":
        with np.errstate(all="ignore"):
            entry.reference(**arguments)  # nothing to compute, but a sum over nothing is still written
        return
    if all(array.axes == ("N",) for array in entry.arrays):
        _run_flat(entry, arguments, dtype)
        return
    given = {a.name: _prepared(entry, a, arguments[a.name]) for a in entry.arrays}
    _call(entry, {**arguments, **given}, dtype)
    for array in entry.arrays:
        value = arguments[array.name]
        if array.access != "reads" and given[array.name] is not value:
            value[...] = given[array.name]


def _run_flat(entry: Operation, arguments: dict[str, Any], dtype: np.dtype[Any]) -> None:
    """Elementwise over one axis: whole vectors in place, the rest in a padded copy."""
    lanes = vector_bytes() // dtype.itemsize
    length = next(iter(entry.size_of(arguments).values()))
    arrays = {a.name: arguments[a.name] for a in entry.arrays}
    whole = length // lanes * lanes if all(v.flags.c_contiguous for v in arrays.values()) else 0
    if whole:
        _call(entry, {**arguments, **{name: value[:whole] for name, value in arrays.items()}}, dtype)
    if whole < length:
        rest = {a.name: _padded_copy(arrays[a.name][whole:]) for a in entry.arrays}
        _call(entry, {**arguments, **rest}, dtype)
        for array in entry.arrays:
            if array.access != "reads":
                arrays[array.name][whole:] = rest[array.name]


def _prepared(entry: Operation, operand: Operand, value: Array | None) -> Array | None:
    """The array itself where a compiled kernel can work on it, a padded copy otherwise."""
    if value is None:
        return None
    if (entry.name, operand.name) in _TRANSPOSED:
        return _padded_copy(value.T).T
    whole_vectors = value.shape[-1] % (vector_bytes() // value.itemsize) == 0
    contiguous = value.strides[-1] == value.itemsize and (value.ndim == 1 or value.strides[0] >= 0)
    if whole_vectors and contiguous and entry.name not in _NEED_SPARE_ROWS:
        return value
    return _padded_copy(value)


def _padded_copy(value: Array) -> Array:
    """A copy with room for whole vectors behind each row, and for a whole block behind the last."""
    if value.ndim == 2:
        rows, columns = value.shape
        copy = padded_matrix(rows, columns, value.dtype)
    else:
        size = (len(value) * value.itemsize // vector_bytes() + 1) * vector_bytes()
        copy = aligned_zeros(size).view(value.dtype)[: len(value)]
    copy[...] = value
    return copy


def _call(entry: Operation, arguments: dict[str, Any], dtype: np.dtype[Any]) -> None:
    words = argument_words(entry, arguments)
    _kernel(entry.name, str(dtype))(words.ctypes.data)


@functools.cache
def _kernel(name: str, dtype: str) -> Callable[[int], None]:
    import ctypes

    return objects.function(name, dtype, ctypes.c_void_p)
