"""Runs a kernel under guard: its arrays lie in memory that it may not touch elsewhere, the reference runs beside it in
wider arithmetic, and afterwards everything is compared: what was written with the judge's, within its tolerance; what
was read, and all memory around the arrays, with what it was before, bit by bit.
"""

import ctypes
from collections.abc import Callable, Mapping
from typing import Any

import cases
import numpy as np
import tolerances
from tolerances import Outcome

from fastnn.kernels import Operation
from fastnn.kernels.backends import kernel_address
from fastnn.kernels.table import argument_words
from fastnn.plan.arena import Layout

Array = np.ndarray[Any, Any]
Run = Callable[..., None]  # called as a kernel of fastnn.ops is, all arguments by name

_CANARY = 0xA5

# A shape -> the shape of some larger memory, and the view of it that has the shape.
LAYOUTS: dict[str, Callable[[tuple[int, ...]], tuple[tuple[int, ...], Callable[[Array], Array]]]] = {
    "contiguous": lambda shape: ((int(np.prod(shape)) + 64,), lambda m: m[32:-32].reshape(shape)),
    "rows apart": lambda shape: (_grown(shape, 1, 37), lambda m: m[tuple(slice(1, 1 + n) for n in shape)]),
    "every other": lambda shape: (_grown(shape, 2, 3), lambda m: m[tuple(slice(1, 1 + 2 * n, 2) for n in shape)]),
    "backwards": lambda shape: (
        _grown(shape, 1, 5),
        lambda m: m[tuple(slice(2, 2 + n) for n in shape)][(..., *_BACK[: len(shape)])],
    ),
    "transposed": lambda shape: (_grown(shape[::-1], 1, 3), lambda m: m[tuple(slice(1, 1 + n) for n in shape[::-1])].T),
}
_BACK = (slice(None, None, -1),) * 2


def _grown(shape: tuple[int, ...], times: int, more: int) -> tuple[int, ...]:
    return tuple(times * n + more for n in shape)


class Guarded:
    """An array inside memory full of a pattern that nobody may change."""

    def __init__(self, values: Array, layout: str, writeable: bool) -> None:
        shape, self._view = LAYOUTS[layout](values.shape)
        self._memory = (
            np.full(int(np.prod(shape)) * values.itemsize, _CANARY, np.uint8).view(values.dtype).reshape(shape)
        )
        self.array = self._view(self._memory)
        self.array[...] = values
        self._before = self._memory.copy()
        self.array.flags.writeable = writeable

    def unchanged(self, around_only: bool = False) -> bool:
        """Whether the memory is as it was, that of the array itself included or not."""
        now = self._memory.copy()
        if around_only:
            self._view(now)[...] = self._view(self._before)
        return now.tobytes() == self._before.tobytes()


def dtype_of(entry: Operation, arguments: Mapping[str, Any]) -> np.dtype[Any]:
    """The floating-point dtype of a call; float32 where there is none."""
    first = next((arguments[a.name] for a in entry.arrays if a.dtype is None), None)
    return np.dtype(np.float32) if first is None else first.dtype


def outcome(entry: Operation, arguments: Mapping[str, Any]) -> Outcome:
    """What the judge makes of the arguments, which stay as they are."""
    dtype = dtype_of(entry, arguments)
    before = cases.copied(dict(arguments), np.float64 if dtype == np.float32 else np.longdouble)
    after = cases.copied(before)
    with np.errstate(all="ignore"):
        entry.reference(**after)
    return Outcome(before, after, dtype)


def check(
    entry: Operation, arguments: Mapping[str, Any], run: Run, layouts: Mapping[str, str], in_place: bool = False
) -> None:
    """Runs a kernel on these arguments and fails unless it did what the judge did, and nothing else.

    layouts    for each array the name of its layout
    in_place   the array that is written and the one, read, that it may be are one
    """
    values = {**arguments, **_without_old_values(entry, arguments)}
    guarded = {
        array.name: Guarded(values[array.name], layouts[array.name], array.access != "reads")
        for array in entry.arrays
        if values[array.name] is not None
    }
    if in_place:
        assert entry.in_place is not None
        written, read = entry.in_place
        guarded[written].array[...] = values[read]
        guarded[read] = guarded[written]
    judged = outcome(entry, values)
    run(**{**values, **{name: one.array for name, one in guarded.items()}})
    for array in entry.arrays:
        if array.name not in guarded or (in_place and array.name == read):
            continue
        one = guarded[array.name]
        assert one.unchanged(around_only=array.access != "reads"), (
            f"{entry.name} changed {array.name} or memory around it"
        )
        if array.access != "reads":
            limit = tolerances.allowed(entry.name, array.name, judged)
            off = tolerances.excess(one.array, judged.after[array.name], limit)
            assert off <= 1, f"{entry.name}: {array.name} of shape {one.array.shape} is off by {off:.3g} tolerances"


def _without_old_values(entry: Operation, arguments: Mapping[str, Any]) -> dict[str, Array]:
    """NaN, or the least integer, in every array that is written without being read: old values must not matter."""
    written = {a.name for a in entry.arrays if a.access == "writes"}
    if arguments.get("accumulate") == 0:
        written |= {a.name for a in entry.arrays if a.access == "updates"}
    return {name: np.full_like(arguments[name], _worst(arguments[name].dtype)) for name in written}


def _worst(dtype: np.dtype[Any]) -> Any:
    return np.nan if dtype.kind == "f" else np.iinfo(dtype).min


def as_in_a_plan(entry: Operation, kernels: str, by_outputs: bool, padding: int, in_place: bool = False) -> Run:
    """Runs a compiled kernel on one arena, laid out as a plan does it, whose padding is full of a byte.

    kernels      the set that it is taken from
    by_outputs   weights and their gradients are stored [out][in], else [in][out]; the operand of the weight gradient
                 that shares its contiguous axis is given transposed
    """
    weight_gradient = entry.name.startswith("dense_backward_weight")
    exchanged = {"x"} if weight_gradient else set()
    if not by_outputs:
        exchanged = {"dweight", "dy"} if weight_gradient else {"weight"}

    def run(**arguments: Any) -> None:
        layout, slots, ends = Layout(), {}, {}
        for array in entry.arrays:
            value = arguments[array.name]
            if value is None or (in_place and entry.in_place is not None and array.name == entry.in_place[1]):
                continue
            if value.ndim == 1:
                slots[array.name] = layout.vector(array.name, len(value), value.dtype)
            else:
                rows, columns = value.T.shape if array.name in exchanged else value.shape
                slots[array.name] = layout.matrix(array.name, rows, columns, value.dtype)
            ends[array.name] = layout.bytes
        arena = layout.allocate()
        arena[...] = padding
        views: dict[str, Array | None] = {}
        for name, slot in slots.items():
            view = slot.view(arena)
            views[name] = view.T if name in exchanged else view
            views[name][...] = arguments[name]  # type: ignore[index]
        if in_place and entry.in_place is not None:
            views[entry.in_place[1]] = views[entry.in_place[0]]
        before = arena.copy()
        words = argument_words(entry, {**arguments, **views})
        address = kernel_address(kernels, entry.name, str(dtype_of(entry, arguments)))
        ctypes.CFUNCTYPE(None, ctypes.c_void_p)(address)(words.ctypes.data)
        for array in entry.arrays:
            if array.name not in slots:
                continue
            if array.access == "reads":
                part = slice(slots[array.name].offset, ends[array.name])
                assert np.array_equal(arena[part], before[part]), f"{entry.name} changed {array.name} or its padding"
            else:
                arguments[array.name][...] = views[array.name]

    return run
