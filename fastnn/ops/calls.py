"""Calls that have been checked and prepared, to be run many times on the same arrays."""

import ctypes
import functools
import struct
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .. import checks
from ..kernels import Operation, backends
from ..kernels.cpu import vector_bytes
from ..kernels.table import ArrayOperand, array_words
from ..plan.arena import aligned_zeros, padded_matrix
from .arguments import check_indices, check_scalar, overlapping

Array = np.ndarray[Any, Any]
DTYPES = {np.dtype(np.float32): "float32", np.dtype(np.float64): "float64"}


class BoundCall:
    """A call of an operation on certain arrays, checked once: `fastnn.ops.<name>.bind(...)`.

    call()          runs the operation with the scalars that it was bound with
    call(lr=0.01)   with another value of a scalar, this once
    copied          names of arrays that are copied in every call, whole or their last numbers, to padded memory or back

    It keeps its arrays alive and works on what they hold when it is called. Indices (labels, row numbers) are checked
    in every call, since they may have changed; all else was checked by `bind`, so an array must not be resized
    afterwards. A call costs least where nothing is copied and there are no indices.

    Threads may share a bound call, each with scalars of its own. Two calls that write one array at the same time are
    for the caller to keep apart, as with NumPy's functions; calls that copy take turns.
    """

    def __init__(self, kernel_set: str, entry: Operation, arguments: Mapping[str, Any], dtype: np.dtype[Any]) -> None:
        sizes = entry.size_of(arguments)
        # A compiled kernel needs something to do, but a sum over nothing is still written.
        compiled = kernel_set != "reference" and 0 not in sizes.values()
        self._entry, self._backend = entry, kernel_set if compiled else "reference"
        self._arrays: dict[str, Array | None] = {array.name: arguments[array.name] for array in entry.arrays}
        self._scalars = tuple(arguments[scalar.name] for scalar in entry.scalars)
        self._places = {scalar.name: place for place, scalar in enumerate(entry.scalars)}
        self._pack = _packer("".join("q" if scalar.integer else "d" for scalar in entry.scalars))
        self._indices = [(a, arguments[a.name], sizes[a.below]) for a in entry.arrays if a.below]
        self._pieces = _pieces(entry, self._arrays, overlapping(entry, arguments), compiled)
        self.copied = tuple(name for name in self._arrays if any(name in piece.copied for piece in self._pieces))
        self._lock = threading.Lock()  # the memory that arrays are copied to serves one call at a time
        self._kernel, self._words = None, list[bytes]()
        if compiled:
            end = self._pack(*self._scalars)
            self._kernel = kernel(kernel_set, entry.name, DTYPES[dtype])
            self._words = [_array_words(entry, piece, sizes) + end for piece in self._pieces]
        self._bare: bytes | None = None  # what the kernel is given where there is nothing else to do
        if len(self._words) == 1 and not self.copied and not self._indices:
            self._bare = self._words[0]

    def __call__(self, **scalars: Any) -> None:
        if scalars or self._bare is None:
            self._run(self._with(scalars) if scalars else self._scalars)
        else:
            self._kernel(self._bare)  # type: ignore[misc]

    def __repr__(self) -> str:
        copied = f", copies {', '.join(self.copied)} in every call" if self.copied else ""
        return f"<{self._entry.name} bound to its arrays, backend {self._backend!r}{copied}>"

    def _with(self, changed: Mapping[str, Any]) -> tuple[Any, ...]:
        """All scalars, some of them changed."""
        entry, places, scalars = self._entry, self._places, [*self._scalars]
        for name, value in changed.items():
            place = places.get(name)
            if place is None:
                raise TypeError(f"{entry.name}: {checks.unknown_name('scalar', name, places)}")
            scalar = entry.scalars[place]
            if type(value) is not float or scalar.integer:
                check_scalar(entry, scalar, value)
                for array in entry.arrays:
                    if array.optional == name and value and self._arrays[array.name] is None:
                        raise TypeError(f"{entry.name}: {array.name} is a NoneType, expected a NumPy array")
            scalars[place] = value
        return tuple(scalars)

    def _run(self, scalars: tuple[Any, ...]) -> None:
        for operand, indices, limit in self._indices:
            check_indices(self._entry, operand, indices, limit)
        if not self.copied:
            self._run_pieces(scalars)
            return
        with self._lock:
            for piece in self._pieces:
                for given, value in piece.fetch:
                    given[...] = value
            self._run_pieces(scalars)
            for piece in self._pieces:
                for value, given in piece.store:
                    value[...] = given

    def _run_pieces(self, scalars: tuple[Any, ...]) -> None:
        if self._kernel is None:
            with np.errstate(all="ignore"):
                self._entry.reference(*self._pieces[0].given.values(), *scalars)
            return
        if scalars is self._scalars:
            for words in self._words:
                self._kernel(words)
        else:
            end = self._pack(*scalars)
            for words in self._words:
                self._kernel(words[: -len(end)] + end)


@functools.cache
def kernel(kernel_set: str, name: str, dtype: str) -> Callable[[bytes], None]:
    """A compiled kernel as a function of its words; the GIL is released during a call."""
    return ctypes.CFUNCTYPE(None, ctypes.c_char_p)(backends.kernel_address(kernel_set, name, dtype))


@functools.cache
def _packer(kinds: str) -> Callable[..., bytes]:
    """From numbers to words: integers where there is a q, floats where there is a d."""
    return struct.Struct(f"={kinds}").pack


def _array_words(entry: Operation, piece: "_Piece", sizes: Mapping[str, int]) -> bytes:
    """The words of a call but for its scalars: `argument_words` of the table, for arrays that have been checked."""
    words = [word for array in entry.arrays for word in array_words(array, piece.given[array.name])]
    words += [sizes[axis] if piece.length is None else piece.length for axis in entry.sizes]
    return _packer("q" * len(words))(*words)


# What compiled kernels work on.


@dataclass(frozen=True)
class _Piece:
    """One run of a kernel.

    given   what it gets for each array: the user's or a part of it, or memory that this is copied to and from
    fetch   (given, the user's): copied before;  store  (the user's, given): copied after
    length  of arrays of one axis; None: the sizes of the call
    """

    given: dict[str, Array | None]
    copied: set[str]
    fetch: list[tuple[Array, Array]]
    store: list[tuple[Array, Array]]
    length: int | None


def _pieces(
    entry: Operation, arrays: Mapping[str, Array | None], overlaps: set[str], compiled: bool
) -> Sequence[_Piece]:  # fmt: skip
    """The runs of a kernel that make a call: one, or for arrays of one axis two, of whole vectors and of the rest."""
    if not compiled:
        return [_piece(entry, arrays, overlaps, lambda _, value: np.empty_like(value))]
    if any(array.axes != ("N",) for array in entry.arrays):
        unfit = {array.name for array in entry.arrays if not _fits(entry, array, arrays[array.name])}
        return [_piece(entry, arrays, overlaps | unfit, _padded_like)]
    flat = {name: value for name, value in arrays.items() if value is not None}
    length, itemsize = next((len(value), value.itemsize) for value in flat.values())
    whole = length - length % (vector_bytes() // itemsize) if all(map(_usable, flat.values())) else 0
    pieces = []
    if whole:
        first = {n: None if v is None else v[:whole] for n, v in arrays.items()}
        pieces.append(_piece(entry, first, overlaps, _padded_like, whole))
    if whole < length:
        rest = {n: None if v is None else v[whole:] for n, v in arrays.items()}
        pieces.append(_piece(entry, rest, {*flat}, _padded_like, length - whole))
    return pieces


def _piece(
    entry: Operation, arrays: Mapping[str, Array | None], copied: set[str],
    like: Callable[[ArrayOperand, Array], Array], length: int | None = None,
) -> _Piece:  # fmt: skip
    piece = _Piece(dict(arrays), copied, [], [], length)
    for operand in entry.arrays:
        value = arrays[operand.name]
        if value is None or operand.name not in copied:
            continue
        given = piece.given[operand.name] = like(operand, value)
        if operand.access != "writes":
            piece.fetch.append((given, value))
        if operand.access != "reads":
            piece.store.append((value, given))
    return piece


def _fits(entry: Operation, operand: ArrayOperand, value: Array | None) -> bool:
    """Whether a compiled kernel can work on the array itself."""
    if value is None:
        return True
    value = value.T if operand.transposed else value
    if entry.padding == "blocks" or not _usable(value):
        return False
    # The one number of a sum is written by itself.
    return entry.padding == "none" or operand.axes == ("1",) or value.shape[-1] * value.itemsize % vector_bytes() == 0


def _usable(value: Array) -> bool:
    """Whether a compiled kernel can read the array's rows where they are."""
    contiguous = value.strides[-1] == value.itemsize and (value.ndim == 1 or value.strides[0] >= 0)
    return contiguous and value.dtype.isnative and value.flags.aligned


def _padded_like(operand: ArrayOperand, value: Array) -> Array:
    """Room for an array: whole vectors behind each row, a whole block behind the last."""
    dtype = value.dtype.newbyteorder("=")
    if value.ndim == 1:
        size = (len(value) * value.itemsize // vector_bytes() + 1) * vector_bytes()
        return aligned_zeros(size).view(dtype)[: len(value)]
    rows, columns = value.T.shape if operand.transposed else value.shape
    room = padded_matrix(rows, columns, dtype)
    return room.T if operand.transposed else room
