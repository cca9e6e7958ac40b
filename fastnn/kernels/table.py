"""The table of operations: what each one is called, reads and writes, and how a compiled kernel is given its arguments.

A reference kernel declares its operands once, with `@operation`; plans, `fastnn.ops` and tests take them from here. All
compiled kernels have one C signature, `void kernel(const int64_t *words)`, and the words follow from the declaration:

    for each array its address and, if it has two axes, the two strides, counted in elements (one axis: contiguous);
    then each size, in the order in which the axis letters first appear;
    then each scalar, a float as the bits of a float64, an integer as itself.

Arrays that are written come first, then those that are read, then sizes, then scalars; an array that may be absent
(`name?`) has address 0 then. Axis letters: B rows of the batch, I inputs, O outputs, K terms of a sum, N elements, F
features, R rows of the data or of a table, C outputs of the network.
"""

import functools
import re
import struct
from collections.abc import Callable, Mapping
from types import FunctionType, MappingProxyType
from typing import Any, Literal, NamedTuple

import numpy as np

Access = Literal["writes", "updates", "reads"]
Padding = Literal["none", "vectors", "blocks"]


class ArrayOperand(NamedTuple):
    """An array that an operation takes.

    dtype        None where the plan's own dtype (float32 or float64) is meant
    optional     the integer scalar that is 0 where the array may be None; "" if it may not
    below        the axis whose size all entries are below, and not negative: they are indices; "" if they are not
    transposed   compiled kernels take it with its first axis contiguous, others with the last one
    """

    name: str
    axes: tuple[str, ...]
    dtype: str | None
    access: Access
    optional: str = ""
    below: str = ""
    transposed: bool = False

    def type(self, plan_dtype: np.dtype[Any]) -> np.dtype[Any]:
        return plan_dtype if self.dtype is None else np.dtype(self.dtype)


class Scalar(NamedTuple):
    """A scalar operand: a float64 that the kernel rounds to the plan's dtype once, or an integer.

    below   an integer is at least 0 and below this; None: any int64
    """

    name: str
    integer: bool = False
    below: int | None = None


class Operation(NamedTuple):
    """One row of the table; `reference` defines what it computes."""

    name: str
    arrays: tuple[ArrayOperand, ...]
    scalars: tuple[Scalar, ...]
    reference: Callable[..., None]
    in_place: tuple[str, str] | None = None
    """The array that is written and the one, read, that it may be: the same memory, shape and strides."""
    padding: Padding = "vectors"
    """What compiled kernels may touch behind a row: nothing, the rest of its last vector, or, behind the last row of a
    matrix, a whole square block."""
    nonempty: tuple[str, ...] = ()
    """Axes without whose entries there is no result."""
    splits: tuple[str, ...] = ()
    """Axes along which threads may share a call, the better one first: no sum runs along them, so no bit changes."""
    counts: str = ""
    """The integer scalar that numbers the first entry of the axis of `splits`, if the kernel counts along it."""
    needs: str = ""
    """The feature of the CPU without which there is no compiled kernel, only the reference."""
    address: Callable[[str], int] | None = None
    """Of an operation that is not of the table: the address of its compiled kernel for a dtype."""

    @property
    def dtypes(self) -> tuple[str, ...]:
        """Of the plans that can have the operation: float32 alone where the declaration says float32."""
        fixed = any(array.dtype == "float32" for array in self.arrays)
        return ("float32",) if fixed else ("float32", "float64")

    @property
    def sizes(self) -> tuple[str, ...]:
        """The axis letters, in order of first appearance."""
        return _axis_letters(self.arrays)

    @property
    def operands(self) -> tuple[str, ...]:
        """Names of arrays and scalars: the parameters of the reference kernel."""
        return (*(array.name for array in self.arrays), *(scalar.name for scalar in self.scalars))

    @property
    def words(self) -> Mapping[str, int]:
        """Position of the first word of each array, size and scalar; "" is their number."""
        return _word_places(self.arrays, self.scalars)

    def size_of(self, arguments: Mapping[str, Any]) -> dict[str, int]:
        """The value of each axis letter; a ValueError if two arrays disagree about one."""
        found: dict[str, tuple[int, str]] = {}
        for array in self.arrays:
            value = arguments[array.name]
            if value is None:
                continue
            if value.ndim != len(array.axes):
                raise ValueError(f"{self.name}: {array.name} has {value.ndim} axes, expected {list(array.axes)}")
            for axis, length in zip(array.axes, value.shape, strict=True):
                known, owner = found.setdefault(axis, (int(axis) if axis.isdigit() else length, array.name))
                if known != length:
                    raise ValueError(
                        f"{self.name}: {array.name} has shape {value.shape}, expected {axis} = {known} as in {owner}"
                    )
        return {axis: length for axis, (length, _) in found.items() if not axis.isdigit()}


@functools.lru_cache(256)
def _axis_letters(arrays: tuple[ArrayOperand, ...]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(axis for array in arrays for axis in array.axes if not axis.isdigit()))


@functools.lru_cache(256)
def _word_places(arrays: tuple[ArrayOperand, ...], scalars: tuple[Scalar, ...]) -> Mapping[str, int]:
    places, place = {}, 0
    for array in arrays:
        places[array.name] = place
        place += 1 if len(array.axes) == 1 else 3
    for name in (*_axis_letters(arrays), *(scalar.name for scalar in scalars)):
        places[name] = place
        place += 1
    places[""] = place
    return MappingProxyType(places)


OPERATIONS: dict[str, Operation] = {}

REQUIRED: Any = ...
"""The default, in a reference kernel, of a scalar that must be given although arrays before it need not be."""


def operation(**declaration: str) -> Callable[..., Any]:
    """Enters a reference kernel into the table; its operands as in `declared`."""

    def enter(function: FunctionType) -> FunctionType:
        entry = declared(function, **declaration)  # type: ignore[arg-type]
        OPERATIONS[entry.name] = entry
        return function

    return enter


def declared(
    function: FunctionType, *,
    writes: str = "", updates: str = "", reads: str = "", scalars: str = "", in_place: str = "",
    padding: Padding = "vectors", nonempty: str = "", splits: str = "", counts: str = "", needs: str = "",
) -> Operation:  # fmt: skip
    """A reference kernel as an operation.

    writes, updates, reads   arrays, separated by spaces:
                                 x[F,B]                  two axes, the plan's dtype
                                 loss[1]:float64         one axis of that length, that dtype
                                 order[B]:int64<R        indices: every entry at least 0 and below the size of R
                                 x?derivative[I,B]       may be None if the integer scalar `derivative` is 0
                                 x[K,B]^T                lies transposed: the first axis is the contiguous one
    scalars                  "name" for a float, "name:int" for any int64, "name:int<2**32" for 0 to 2**32 - 1
    in_place                 "written=read" if these two may be the same array
    padding                  what compiled kernels may touch behind a row: "none", "vectors" or "blocks"
    nonempty                 axes that must have entries, separated by spaces
    splits                   axes along which threads may share a call, the better one first: no sum runs along them
    counts                   an integer scalar that numbers the first entry along such an axis
    needs                    the feature, in LLVM's words, that a CPU must have for there to be a compiled kernel
    """

    arrays = tuple(
        _array(text, access)
        for access, group in (("writes", writes), ("updates", updates), ("reads", reads))
        for text in group.split()
    )
    scalar = tuple(_scalar(text) for text in scalars.split())
    written, _, read = in_place.partition("=")
    same = (written, read) if in_place else None
    entry = Operation(
        function.__name__, arrays, scalar, function, same, padding,
        tuple(nonempty.split()), tuple(splits.split()), counts, needs,
    )  # fmt: skip
    code = function.__code__  # inspect.signature would take 0.1 ms for each
    names = code.co_varnames[: code.co_argcount]
    if names != entry.operands:
        raise TypeError(f"{function.__name__}{names}: the declaration names {entry.operands}")
    _check_names(entry)
    return entry


def _array(text: str, access: Any) -> ArrayOperand:
    match = re.fullmatch(r"(\w+)(?:\?(\w+))?\[([\w,]+)\](\^T)?(?::(\w+)(?:<(\w+))?)?", text)
    if match is None:
        raise TypeError(f"{text!r}: expected name[axes], name?scalar[axes], name[axes]^T or name[axes]:dtype<axis")
    name, optional, axes, transposed, dtype, below = match.groups()
    return ArrayOperand(name, tuple(axes.split(",")), dtype, access, optional or "", below or "", bool(transposed))


def _scalar(text: str) -> Scalar:
    match = re.fullmatch(r"(\w+)(:int(?:<(\d+)(?:\*\*(\d+))?)?)?", text)
    if match is None:
        raise TypeError(f"{text!r}: expected name, name:int or name:int<limit")
    name, integer, base, exponent = match.groups()
    return Scalar(name, bool(integer), int(base) ** int(exponent or 1) if base else None)


def _check_names(entry: Operation) -> None:
    """What a declaration refers to is declared: axes, and the scalars by which an array may be absent."""
    integers = {scalar.name for scalar in entry.scalars if scalar.integer}
    axes = {*entry.nonempty, *entry.splits, *(array.below for array in entry.arrays if array.below)}
    named = {array.optional for array in entry.arrays if array.optional} | ({entry.counts} - {""})
    unknown = (axes - {*entry.sizes}) | (named - integers)
    if unknown:
        raise TypeError(f"{entry.name}: the declaration has no {', '.join(sorted(unknown))}")


def array_words(array: ArrayOperand, value: np.ndarray[Any, Any] | None) -> list[int]:
    """The words of one array operand: its address and, with two axes, its strides in elements."""
    if value is None:
        return [0] * (1 if len(array.axes) == 1 else 3)
    address = value.__array_interface__["data"][0]
    if len(array.axes) == 1:
        return [address]
    return [address, *(stride // value.itemsize for stride in value.strides)]


def float_word(value: float) -> int:
    """The bits of a float64 as an integer."""
    word: int = _WORD.unpack(_FLOAT.pack(value))[0]
    return word


_FLOAT, _WORD = struct.Struct("=d"), struct.Struct("=q")


def argument_words(entry: Operation, arguments: Mapping[str, Any]) -> np.ndarray[Any, np.dtype[np.int64]]:
    """The words of one call of an operation, from its arrays and scalars."""
    sizes = entry.size_of(arguments)
    words: list[int] = []
    for array in entry.arrays:
        words += array_words(array, arguments[array.name])
    words += [sizes[axis] for axis in entry.sizes]
    for scalar in entry.scalars:
        value = arguments[scalar.name]
        words.append(int(value) if scalar.integer else float_word(value))
    return np.array(words, dtype=np.int64)
