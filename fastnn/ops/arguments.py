"""Checks of the arguments of an operation: what a kernel must not meet is refused before anything is changed."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from .. import checks
from ..kernels import Operation
from ..kernels.table import ArrayOperand, Scalar

Array = np.ndarray[Any, Any]
_INT64 = (-(2**63), 2**63 - 1)


def check(entry: Operation, arguments: Mapping[str, Any]) -> np.dtype[Any]:
    """Refuses what a kernel must not meet; the floating-point dtype of the call."""
    for scalar in entry.scalars:
        check_scalar(entry, scalar, arguments[scalar.name])
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
            check_indices(entry, array, arguments[array.name], sizes[array.below])
    return dtype or np.dtype(np.float32)


def check_indices(entry: Operation, operand: ArrayOperand, indices: Array, limit: int) -> None:
    """Refuses indices that are negative, or `limit` and above."""
    wrong = (indices < 0) | (indices >= limit)
    if wrong.any():
        place = int(np.argmax(wrong))
        raise ValueError(f"{entry.name}: {operand.name}[{place}] is {indices[place]}, expected 0 to {limit - 1}")


def check_scalar(entry: Operation, scalar: Scalar, value: Any) -> None:
    """Refuses what is no number, and an integer that is not within its range."""
    if scalar.integer:
        checks.integer(entry.name, scalar.name, value, *(_INT64 if scalar.below is None else (0, scalar.below - 1)))
    elif isinstance(value, bool) or not isinstance(value, (int, float, np.floating, np.integer)):
        raise TypeError(f"{entry.name}({scalar.name}={value!r}): {scalar.name} must be a number")


def overlapping(entry: Operation, arguments: Mapping[str, Any]) -> set[str]:
    """Names of arrays that are read and overlap one that is written, unless the operation may work in place on the two.

    Two that are written and overlap are refused.
    """
    given = [(array, arguments[array.name]) for array in entry.arrays if arguments[array.name] is not None]
    found = set()
    for index, (written, target) in enumerate(given):
        if written.access == "reads":
            continue
        for other, value in given[index + 1 :]:
            if not np.may_share_memory(target, value):
                continue
            if other.access == "reads":
                if (written.name, other.name) != entry.in_place or not _same_view(target, value):
                    found.add(other.name)
            elif np.shares_memory(target, value):
                raise ValueError(f"{entry.name}: {written.name} and {other.name} overlap, but both are written")
    return found


def _same_view(a: Array, b: Array) -> bool:
    return a.ctypes.data == b.ctypes.data and (a.shape, a.strides, a.dtype) == (b.shape, b.strides, b.dtype)
