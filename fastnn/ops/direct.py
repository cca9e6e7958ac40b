"""The short way from a plain call to a compiled kernel, for arrays on which it can work where they are.

A call that is not of that kind, be it for the layout of an array or for a mistake, takes the long way through
`arguments.check` and `BoundCall`, which know all kinds and all errors. So nothing is explained here: whatever is not
plainly right is left to them.
"""

import ctypes
import struct
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..kernels import Operation
from ..kernels.cpu import vector_bytes
from .calls import DTYPES, kernel

Array = np.ndarray[Any, Any]


class Direct:
    """The short way of one operation."""

    def __init__(self, entry: Operation) -> None:
        letters = list(dict.fromkeys(axis for array in entry.arrays for axis in array.axes))
        names = [array.name for array in entry.arrays]
        self._name, self._vector = entry.name, vector_bytes()
        self._possible = entry.padding != "blocks" and not any(array.transposed for array in entry.arrays)
        self._arrays = [
            (
                None if array.dtype is None else np.dtype(array.dtype),
                array.access != "reads",
                entry.padding == "vectors" and array.axes != ("1",),  # rows have to be whole vectors
                tuple(letters.index(axis) for axis in array.axes),
                letters.index(array.below) if array.below else -1,
                [scalar.name for scalar in entry.scalars].index(array.optional) if array.optional else -1,
            )
            for array in entry.arrays
        ]
        # The array that may be the first one.
        self._in_place = names.index(entry.in_place[1]) if entry.in_place and entry.in_place[0] == names[0] else -1
        self._lengths = [int(axis) if axis.isdigit() else 0 for axis in letters]
        self._sizes = [letters.index(axis) for axis in entry.sizes]
        # The range of each scalar; None for floats.
        self._ranges = [((0, s.below) if s.below else (-(2**63), 2**63)) if s.integer else None for s in entry.scalars]
        words = entry.words[""] - len(entry.scalars)
        self._pack = struct.Struct(f"={words}q" + "".join("q" if s.integer else "d" for s in entry.scalars)).pack
        self._kernels: dict[tuple[str, Any], Callable[[bytes], None]] = {}

    def run(self, kernel_set: str, values: Sequence[Any]) -> bool:
        """Runs the operation on its operands, in order, if it can be run that way; whether it was."""
        arrays, scalars = values[: len(self._arrays)], values[len(self._arrays) :]
        real = getattr(arrays[0], "dtype", None)  # what an operation writes first has the dtype of the call
        if kernel_set == "reference" or not self._possible or real not in DTYPES or not self._are_fit(scalars):
            return False
        words = self._array_words(arrays, scalars, real)
        if words is None:
            return False
        function = self._kernels.get((kernel_set, real))
        if function is None:
            function = self._kernels[kernel_set, real] = kernel(kernel_set, self._name, DTYPES[real])
        function(self._pack(*words, *scalars))
        return True

    def _are_fit(self, scalars: Sequence[Any]) -> bool:
        for value, bounds in zip(scalars, self._ranges, strict=True):
            kind = type(value)
            if bounds is None:
                if kind is not float:
                    return False
            elif kind is not int or not bounds[0] <= value < bounds[1]:
                return False
        return True

    def _array_words(self, arrays: Sequence[Any], scalars: Sequence[Any], real: Any) -> list[int] | None:
        """The words of arrays and sizes; None unless kernels can work on all arrays where they are."""
        words: list[int] = []
        spans: list[tuple[int, int, bool]] = []
        indices: list[tuple[Array, int]] = []
        lengths = self._lengths.copy()
        for place, (value, operand) in enumerate(zip(arrays, self._arrays, strict=True)):
            dtype, written, whole, axes, below, optional = operand
            if value is None and optional >= 0 and not scalars[optional]:
                words += (0,) if len(axes) == 1 else (0, 0, 0)
                continue
            if type(value) is not np.ndarray or value.dtype is not (dtype or real):
                return None
            shape, flags = value.shape, value.flags
            if len(shape) != len(axes) or not (flags.carray or (not written and flags.c_contiguous and flags.aligned)):
                return None
            for axis, length in zip(axes, shape, strict=True):
                if lengths[axis] != length or not length:
                    if lengths[axis] or not length:
                        return None
                    lengths[axis] = length
            itemsize = value.itemsize
            if whole and shape[-1] * itemsize % self._vector:
                return None
            address = _address(value)
            words.append(address)
            if len(shape) == 2:
                words += (value.strides[0] // itemsize, 1)
            if place != self._in_place or address != words[0]:
                spans.append((address, address + value.nbytes, written))
            if below >= 0:
                indices.append((value, below))
        if _meet(spans) or any(_beyond(value, lengths[axis]) for value, axis in indices):
            return None
        return words + [lengths[axis] for axis in self._sizes]


def _address(value: Array) -> int:
    """Where an array's numbers begin; for one that is contiguous."""
    if value.flags.writeable:  # NumPy's own ways take 0.7 us, this one 0.15
        return ctypes.addressof(ctypes.c_char.from_buffer(value))  # type: ignore[arg-type]
    return int(value.__array_interface__["data"][0])


def _meet(spans: list[tuple[int, int, bool]]) -> bool:
    """Whether two stretches of memory overlap, one of which is written."""
    spans.sort()
    end, written = 0, False  # of what begins before
    for start, stop, writes in spans:
        if start < end and (writes or written):
            return True
        written = writes or (written and start < end)
        end = max(end, stop)
    return False


def _beyond(indices: Array, limit: int) -> bool:
    """Whether one of them is negative or not below the limit."""
    unsigned = np.uint32 if indices.itemsize == 4 else np.uint64  # of which a negative one is among the largest
    return bool(np.maximum.reduce(indices.view(unsigned)) >= limit)
