"""Memory: slots are laid out first, then one aligned allocation is made, and NumPy views are taken of it.

The contiguous axis of every slot is padded to whole vectors, so that a compiled kernel needs no tails; users see the
logical shape only. Four arenas share the layout of a model's parameters: the numbers themselves, their gradients and
the moments of the optimizer, each one flat array that an optimizer update walks once.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from .. import checks
from ..kernels.cpu import vector_bytes
from .nodes import depth_first, numbered, place_of

if TYPE_CHECKING:
    from ..layers import Layer

Array = np.ndarray[Any, Any]
_ALIGNMENT = 64
# Rows whose distance is a multiple of this fall into the same few sets of the L1 cache: one vector more keeps them
# apart.
_ALIASING_BYTES = 2048


class Slot(NamedTuple):
    """A place in an arena. `fill` is a constant that is written when the arena is made and by no kernel after."""

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    offset: int  # bytes
    strides: tuple[int, ...]  # bytes
    fill: float | None = None

    def view(self, arena: Array) -> Array:
        """The slot's numbers in an arena of bytes."""
        return np.ndarray(self.shape, self.dtype, arena.data, self.offset, self.strides)


class Ref(NamedTuple):
    """An array that lies in a named arena: a slot, perhaps only its first rows or columns, perhaps with its axes
    exchanged."""

    arena: str  # "parameters", "gradients", "state", "workspace", "scratch" or the name of a moment
    slot: Slot
    rows: int | None = None
    columns: int | None = None
    transposed: bool = False

    def view(self, arenas: Mapping[str, Array]) -> Array:
        array = self.slot.view(arenas[self.arena])
        if array.ndim == 2:
            array = array[: self.rows, : self.columns]
        return array.T if self.transposed else array

    def place(self) -> tuple[int, tuple[int, ...], tuple[int, ...]]:
        """Where that view begins in its arena, its shape and its strides, in bytes."""
        shape, strides = self.slot.shape, self.slot.strides
        if len(shape) == 2:
            height, width = shape
            height = height if self.rows is None else min(height, self.rows)
            shape = height, width if self.columns is None else min(width, self.columns)
        if self.transposed:
            shape, strides = shape[::-1], strides[::-1]
        return self.slot.offset, shape, strides

    @property
    def height(self) -> int:
        """The length of the first axis."""
        return self.slot.shape[0] if self.rows is None else self.rows

    def features(self, first: int, count: int) -> "Ref":
        """Some of the features of a feature-major value, where they lie."""
        offset = self.slot.offset + first * self.slot.strides[0]
        return Ref(self.arena, self.slot._replace(shape=(count, self.slot.shape[1]), offset=offset))

    def feature(self, number: int) -> "Ref":
        """One feature of such a value, of one axis."""
        slot, offset = self.slot, self.slot.offset + number * self.slot.strides[0]
        return Ref(self.arena, slot._replace(shape=slot.shape[1:], offset=offset, strides=slot.strides[1:]))

    @property
    def T(self) -> "Ref":
        return self._replace(transposed=not self.transposed)

    def first(self, columns: int) -> "Ref":
        """Only the first columns of a matrix."""
        return self._replace(rows=columns) if self.transposed else self._replace(columns=columns)

    def within(self, arena: str) -> "Ref":
        """The same place in another arena of the same layout."""
        return self._replace(arena=arena)


class Layout:
    """Hands out slots of an arena that does not exist yet."""

    def __init__(self) -> None:
        self.slots: list[Slot] = []
        self.bytes = 0

    def vector(self, name: str, length: int, dtype: Any) -> Slot:
        """A slot of one axis."""
        dtype = np.dtype(dtype)
        return self._add(
            Slot(name, (length,), dtype, self.bytes, (dtype.itemsize,)), padded(length, dtype) * dtype.itemsize
        )

    def constant(self, name: str, length: int, dtype: Any, fill: float) -> Slot:
        """A slot of one axis that holds one number throughout."""
        slot = self.vector(name, length, dtype)
        self.slots[-1] = slot._replace(fill=fill)
        return self.slots[-1]

    def matrix(self, name: str, rows: int, columns: int, dtype: Any, spare_rows: bool = True) -> Slot:
        """A slot of two axes, the second contiguous.

        spare_rows   rows padded to whole vectors as well, as a transposition in square blocks writes them
        """
        dtype = np.dtype(dtype)
        stride = padded(columns, dtype) * dtype.itemsize
        if stride % _ALIASING_BYTES == 0:
            stride += vector_bytes()
        height = padded(rows, dtype) if spare_rows else rows
        return self._add(Slot(name, (rows, columns), dtype, self.bytes, (stride, dtype.itemsize)), height * stride)

    def row(self, matrix: Slot, row: int, columns: int, fill: float) -> Slot:
        """A constant row of a matrix slot, whole with its padding."""
        width = matrix.strides[0] // matrix.dtype.itemsize
        offset = matrix.offset + row * matrix.strides[0]
        slot = Slot(matrix.name, (width,), matrix.dtype, offset, matrix.strides[1:], fill)
        self.slots.append(slot)
        return slot

    def column(self, matrix: Slot, column: int, rows: int, fill: float) -> Slot:
        """A constant column of a matrix slot."""
        offset = matrix.offset + column * matrix.dtype.itemsize
        slot = Slot(matrix.name, (rows,), matrix.dtype, offset, matrix.strides[:1], fill)
        self.slots.append(slot)
        return slot

    def allocate(self, copies: int = 1) -> Array:
        """The arena, or several of them in a row, as bytes: aligned, zero, constants filled in."""
        arena = aligned_zeros(max(copies * self.bytes, _ALIGNMENT))
        self.fill_constants(arena)
        return arena

    def fill_constants(self, arena: Array) -> None:
        """Writes the constants of an arena of this layout, and of those behind it."""
        for start in range(0, len(arena) - self.bytes + 1, max(self.bytes, 1)):
            for slot in self.slots:
                if slot.fill is not None:
                    slot.view(arena[start:])[...] = slot.fill

    def _add(self, slot: Slot, size: int) -> Slot:
        self.slots.append(slot)
        self.bytes += -(-size // _ALIGNMENT) * _ALIGNMENT
        return slot


def padded(length: int, dtype: np.dtype[Any]) -> int:
    """`length` rounded up to whole vectors of that dtype."""
    lanes = vector_bytes() // dtype.itemsize
    return -(-length // lanes) * lanes


def aligned_zeros(size: int) -> Array:
    """`size` zero bytes, aligned to a cache line."""
    memory = np.zeros(size + _ALIGNMENT, np.uint8)
    start = -memory.__array_interface__["data"][0] % _ALIGNMENT
    return memory[start : start + size]


def address_of(array: Array) -> int:
    """Where its first number lies."""
    return int(array.__array_interface__["data"][0])


def padded_matrix(rows: int, columns: int, dtype: np.dtype[Any]) -> Array:
    """A (rows, columns) array that compiled kernels may write in square blocks: there is room behind its rows and
    columns."""
    layout = Layout()
    slot = layout.matrix("", rows, columns, dtype)
    return slot.view(layout.allocate())


class Entry(NamedTuple):
    """One array of a model as its user knows it.

    layer   its number in the model
    kind    "weight", "bias", "gamma", "beta", "running_mean" ...
    value   a writable view of the logical shape: weight (fan_in, fan_out), bias (fan_out,), gamma (features,) ...
    path    where the layer stands: "layers.0", in a block "layers.3.layers.0"
    """

    layer: int
    kind: str
    value: Array
    path: str

    @property
    def shape(self) -> tuple[int, ...]:
        return self.value.shape

    @property
    def name(self) -> str:
        return f"{self.path}.{self.kind}"

    @property
    def place(self) -> int:
        """The index in the model's list of the layer, or of the block that it is in."""
        return place_of(self.path)


class Parameters:
    """All the numbers of a model that training changes.

    entries   what the optimizer moves, in layer order          `arena` holds them, one flat padded array
    buffers   running statistics, which layers move themselves  `state` holds them
    nodes     all layers in the order of their numbers
    refs, state_refs   for each of them, by kind, where its arrays lie
    """

    def __init__(self, layers: Sequence["Layer"], inputs: int, dtype: Any) -> None:
        self.dtype = np.dtype(dtype)
        arena, state = Layout(), Layout()
        self.refs: list[dict[str, Ref]] = []
        self.state_refs: list[dict[str, Ref]] = []
        top = numbered(layers, inputs)
        self.nodes = tuple(depth_first(top))
        for node in self.nodes:
            self.refs.append(node.layer.parameters(arena, node.number, node.inputs, self.dtype))
            self.state_refs.append(node.layer.buffers(state, node.number, node.inputs, self.dtype))
        self.inputs, self.outputs = inputs, top[-1].outputs if top else inputs
        self.arena, self.state = arena.allocate(), state.allocate()
        self.entries = list(self.views(self.arena))
        self.buffers = list(self._buffers(self.state))

    def checked_inputs(self, X: Any, name: str = "X", allow_nonfinite: bool = False, whole: bool = True) -> Array:
        """X as (rows, inputs) that every layer can take, not copied where it is that. `whole` and errors: see
        checks.features."""
        if self.nodes[0].layer.flattens:
            array = checks.numeric(X, name)
            if array.ndim != 2 and array.ndim and array[:1].size == self.inputs:
                X = array.reshape(len(array), self.inputs)
            elif array.ndim != 2:
                raise ValueError(
                    f"{name}: has shape {array.shape}, expected (rows, ...) with {self.inputs} numbers in each row"
                )
        checked = checks.features(X, self.inputs, self.dtype, name, allow_nonfinite, whole)
        for node in self.nodes:
            node.layer.check_inputs(checked, name)
        return checked

    def views(self, arena: Array) -> Iterator[Entry]:
        """The entries of any arena with this layout: parameters, gradients or moments."""
        for node, refs in zip(self.nodes, self.refs, strict=True):
            arrays = {kind: ref.view({"parameters": arena}) for kind, ref in refs.items()}
            for kind, value in node.layer.entries(arrays).items():
                yield Entry(node.number, kind, value, node.path)

    def matrices(self) -> list[Ref]:
        """Each entry as a matrix whose second axis is contiguous, as operations take it."""
        start = self.arena.__array_interface__["data"][0]
        found = []
        for entry in self.entries:
            value, item = entry.value, self.dtype.itemsize
            if value.ndim == 1:
                shape = (1, len(value)) if value.strides == (item,) else (len(value), 1)
                stride = value.nbytes if shape[0] == 1 else value.strides[0]
            else:
                value = value if value.strides[1] == item else value.T
                shape, stride = value.shape, value.strides[0]
            offset = value.__array_interface__["data"][0] - start
            slot = Slot(f"{entry.kind}{entry.layer}", shape, self.dtype, offset, (stride, item))
            found.append(Ref("parameters", slot))
        return found

    def _buffers(self, state: Array) -> Iterator[Entry]:
        """The running statistics in an arena with the layout of `state`."""
        for node, refs in zip(self.nodes, self.state_refs, strict=True):
            for kind, ref in refs.items():
                yield Entry(node.number, kind, ref.view({"state": state}), node.path)

    @property
    def count(self) -> int:
        """The number of trainable numbers, padding not counted."""
        return sum(entry.value.size for entry in self.entries)

    def copy_state(self) -> Array:
        """A snapshot of parameters and buffers."""
        return np.concatenate([self.arena, self.state])

    def restore_state(self, state: Array) -> None:
        """Puts a snapshot back, in place."""
        if state.shape != (len(self.arena) + len(self.state),):
            raise ValueError(f"state: has shape {state.shape}, expected a snapshot of this model")
        self.arena[...], self.state[...] = state[: len(self.arena)], state[len(self.arena) :]

    def by_name(self, state: Array) -> dict[str, Array]:
        """Copies of the arrays of a snapshot by their names, each of its logical shape: for other machines too, whose
        vectors, and with them the layout of a snapshot, may differ."""
        return {entry.name: entry.value.copy() for entry in self._named(state)}

    def snapshot(self, arrays: Mapping[str, Array]) -> Array:
        """The snapshot of such arrays; ValueError where one is missing or has another shape or dtype."""
        state = self.copy_state()
        fill_entries(self._named(state), arrays)
        return state

    def _named(self, state: Array) -> Iterator[Entry]:
        yield from self.views(state[: len(self.arena)])
        yield from self._buffers(state[len(self.arena) :])

    def flatten(self, arena: Array) -> Array:
        """The entries of an arena with this layout as one vector without padding."""
        return np.concatenate([entry.value.ravel() for entry in self.views(arena)] or [np.empty(0, self.dtype)])

    def unflatten(self, vector: Array) -> None:
        """Puts such a vector into the parameters."""
        start = 0
        for entry in self.entries:
            entry.value[...] = vector[start : start + entry.value.size].reshape(entry.shape)
            start += entry.value.size


def fill_entries(entries: Iterable[Entry], arrays: Mapping[str, Array]) -> None:
    """Copies arrays into the entries of their names; ValueError, after changing nothing, where they do not fit."""
    places = {entry.name: entry.value for entry in entries}
    if places.keys() != arrays.keys():
        raise ValueError(f"arrays {', '.join(sorted(arrays))}: expected {', '.join(sorted(places))}")
    for name, place in places.items():
        value = arrays[name]
        if value.shape != place.shape or value.dtype != place.dtype:
            raise ValueError(f"array {name!r} is {value.dtype} {value.shape}, expected {place.dtype} {place.shape}")
    for name, place in places.items():
        place[...] = arrays[name]
