"""Every kernel on plain NumPy arrays, with checks: `fastnn.ops.<name>(..., backend="auto")`.

The names, the order of the arguments and what is written where are those of the reference kernels;
`help(fastnn.ops.adam_update)` shows them. Arrays may have any strides and byte order; those that are written are
written in place, and nothing is returned:

    ops.sgd_update(param, grad, lr=0.01)

What does not fit is refused before anything is changed: TypeError for a wrong kind of argument, ValueError for a wrong
value or shape. An array that is read may overlap one that is written and counts as it was before the call.

Compiled kernels work directly on arrays whose contiguous axis is the last one and a whole number of vectors long (16
float32 at AVX-512); others are copied to padded memory and back.
"""

import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from . import checks
from .kernels import OPERATIONS, Operation, backends
from .kernels.cpu import vector_bytes
from .kernels.table import ArrayOperand, Scalar, argument_words
from .plan.arena import aligned_zeros, padded_matrix

Array = np.ndarray[Any, Any]

_INT64 = (-(2**63), 2**63 - 1)
_TRANSPOSED = {(entry.name, array.name) for entry in OPERATIONS.values() for array in entry.arrays if array.transposed}


def __getattr__(name: str) -> Callable[..., None]:
    if name not in OPERATIONS:
        raise AttributeError(f"fastnn.ops: {checks.unknown_name('operation', name, OPERATIONS)}")
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
        try:
            arguments = signature.bind(*args, **kwargs).arguments
        except TypeError as error:
            raise TypeError(f"{name}: {error}; expected {name}({', '.join(signature.parameters)})") from None
        kernels = backends.resolve(backend)
        dtype = _check(entry, arguments)
        arguments |= _copies_of_overlapping(entry, arguments)
        if kernels == "reference":
            _run_reference(entry, arguments)
        else:
            _run_compiled(kernels, entry, arguments, dtype)

    run.__signature__ = signature.replace(parameters=[*signature.parameters.values(), backend])  # type: ignore[attr-defined]
    return run


def _check(entry: Operation, arguments: Mapping[str, Any]) -> np.dtype[Any]:
    """Refuses what a kernel must not meet; the floating-point dtype of the call."""
    for scalar in entry.scalars:
        _check_scalar(entry, scalar, arguments[scalar.name])
    dtype: np.dtype[Any] | None = None
    for array in entry.arrays:
        value = arguments[array.name]
        if value is None and array.optional and not arguments[array.optional]:
            continue
        if not isinstance(value, np.ndarray):
            raise TypeError(f"{entry.name}: {array.name} is a {type(value).__name__}, expected a NumPy array")
        native = value.dtype.newbyteorder("=")
        if array.dtype is None and dtype is None:
            if native not in (np.float32, np.float64):
                raise TypeError(f"{entry.name}: {array.name} has dtype {value.dtype}, expected float32 or float64")
            dtype = native
        expected = array.type(dtype or native)
        if native != expected:
            raise TypeError(f"{entry.name}: {array.name} has dtype {value.dtype}, expected {expected}")
        if array.access != "reads" and not value.flags.writeable:
            raise ValueError(f"{entry.name}: {array.name} is read-only, but the operation writes it")
    sizes = entry.size_of(arguments)
    for axis in entry.nonempty:
        if not sizes[axis]:
            raise ValueError(f"{entry.name}: {axis} is 0, expected at least 1")
    for array in entry.arrays:
        if array.below:
            _check_indices(entry, array, arguments[array.name], sizes[array.below])
    return dtype or np.dtype(np.float32)


def _check_indices(entry: Operation, operand: ArrayOperand, indices: Array, limit: int) -> None:
    wrong = (indices < 0) | (indices >= limit)
    if wrong.any():
        place = int(np.argmax(wrong))
        raise ValueError(f"{entry.name}: {operand.name}[{place}] is {indices[place]}, expected 0 to {limit - 1}")


def _check_scalar(entry: Operation, scalar: Scalar, value: Any) -> None:
    if scalar.integer:
        checks.integer(entry.name, scalar.name, value, *(_INT64 if scalar.below is None else (0, scalar.below - 1)))
    elif isinstance(value, bool) or not isinstance(value, (int, float, np.floating, np.integer)):
        raise TypeError(f"{entry.name}({scalar.name}={value!r}): {scalar.name} must be a number")


def _copies_of_overlapping(entry: Operation, arguments: Mapping[str, Any]) -> dict[str, Array]:
    """Copies of what is read and overlaps what is written, unless the operation may work in place on the two."""
    given = [(array, arguments[array.name]) for array in entry.arrays if arguments[array.name] is not None]
    copies = {}
    for index, (written, target) in enumerate(given):
        if written.access == "reads":
            continue
        for other, value in given[index + 1 :]:
            if not np.may_share_memory(target, value):
                continue
            if other.access == "reads":
                if (written.name, other.name) != entry.in_place or not _same_view(target, value):
                    copies[other.name] = value.copy()
            elif np.shares_memory(target, value):
                raise ValueError(f"{entry.name}: {written.name} and {other.name} overlap, but both are written")
    return copies


def _same_view(a: Array, b: Array) -> bool:
    return a.ctypes.data == b.ctypes.data and (a.shape, a.strides, a.dtype) == (b.shape, b.strides, b.dtype)


def _run_reference(entry: Operation, arguments: Mapping[str, Any]) -> None:
    with np.errstate(all="ignore"):
        entry.reference(**arguments)


def _run_compiled(kernels: str, entry: Operation, arguments: dict[str, Any], dtype: np.dtype[Any]) -> None:
    if 0 in entry.size_of(arguments).values():
        _run_reference(entry, arguments)  # kernels need something to do, but a sum over nothing is still written
        return
    if all(array.axes == ("N",) for array in entry.arrays):
        _run_flat(kernels, entry, arguments, dtype)
        return
    given = {a.name: _prepared(entry, a, arguments[a.name]) for a in entry.arrays}
    _call(kernels, entry, {**arguments, **given}, dtype)
    for array in entry.arrays:
        value = arguments[array.name]
        if array.access != "reads" and given[array.name] is not value:
            value[...] = given[array.name]


def _run_flat(kernels: str, entry: Operation, arguments: dict[str, Any], dtype: np.dtype[Any]) -> None:
    """Elementwise over one axis: whole vectors in place, the rest in a padded copy."""
    lanes = vector_bytes() // dtype.itemsize
    arrays: dict[str, Array] = {a.name: arguments[a.name] for a in entry.arrays}
    length = entry.size_of(arguments)["N"]
    whole = length // lanes * lanes if all(map(_usable, arrays.values())) else 0
    if whole:
        _call(kernels, entry, {**arguments, **{name: value[:whole] for name, value in arrays.items()}}, dtype)
    if whole < length:
        rest = {a.name: _padded_copy(arrays[a.name][whole:]) for a in entry.arrays}
        _call(kernels, entry, {**arguments, **rest}, dtype)
        for array in entry.arrays:
            if array.access != "reads":
                arrays[array.name][whole:] = rest[array.name]


def _prepared(entry: Operation, operand: ArrayOperand, value: Array | None) -> Array | None:
    """The array itself where a compiled kernel can work on it, a padded copy otherwise."""
    if value is None:
        return None
    if operand.transposed:
        return _padded_copy(value.T).T
    whole_vectors = value.shape[-1] % (vector_bytes() // value.itemsize) == 0
    room = entry.padding == "none" or (whole_vectors and entry.padding == "vectors")
    return value if room and _usable(value) else _padded_copy(value)


def _usable(value: Array) -> bool:
    """Whether a compiled kernel can read the array's rows where they are."""
    contiguous = value.strides[-1] == value.itemsize and (value.ndim == 1 or value.strides[0] >= 0)
    return contiguous and value.dtype.isnative and value.flags.aligned


def _padded_copy(value: Array) -> Array:
    """A copy with room for whole vectors behind each row, and for a whole block behind the last."""
    dtype = value.dtype.newbyteorder("=")
    if value.ndim == 2:
        rows, columns = value.shape
        copy = padded_matrix(rows, columns, dtype)
    else:
        size = (len(value) * value.itemsize // vector_bytes() + 1) * vector_bytes()
        copy = aligned_zeros(size).view(dtype)[: len(value)]
    copy[...] = value
    return copy


def _call(kernels: str, entry: Operation, arguments: dict[str, Any], dtype: np.dtype[Any]) -> None:
    words = argument_words(entry, arguments)
    _kernel(kernels, entry.name, str(dtype))(words.ctypes.data)


@functools.cache
def _kernel(kernels: str, name: str, dtype: str) -> Callable[[int], None]:
    import ctypes

    return ctypes.CFUNCTYPE(None, ctypes.c_void_p)(backends.kernel_address(kernels, name, dtype))
