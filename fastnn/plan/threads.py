"""Several threads inside one model: how calls are cut among them, and the runner that hands passes to the thread pool
of the C library. No bit depends on the number of threads.

Passes that do not depend on each other (the tiles of a full batch) are run by different threads, each in a workspace
of its own. Elsewhere a call that is large enough is cut along an axis that its operation names (`splits`): each thread
runs the same kernel on a part of the arrays.
"""

import threading
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..kernels import native
from ..kernels.cpu import vector_bytes
from ..kernels.table import Operation
from .arena import address_of
from .passes import Column, Passes
from .plan import Plan
from .prepared import Prepared, Table
from .runner import NativeRunner

Array = np.ndarray[Any, Any]

# Less than this is not worth sharing: half a microsecond of a product (multiplications), as much of anything else
# (numbers). A call among threads that are awake costs 0.1 us. (64-128-64-10 at batch 128 on two threads: 35 us, with
# these numbers four times larger 41.)
_LEAST_PRODUCT, _LEAST_NUMBERS = 2**16, 2**12
_CACHE_LINE = 64
_ROWS_OF_A_TILE = 8  # cuts elsewhere would give threads tiles of odd heights
_MOST_ARRAYS, _MOST_SIZES, _MOST_WORDS = 12, 4, 96  # as in fastnn.h

_CUT = np.dtype(
    [
        ("size", np.int64), ("granule", np.int64), ("grain", np.int64), ("words", np.int64), ("first", np.int64),
        ("works", np.int64), ("work", np.int64, _MOST_SIZES), ("arrays", np.int64),
        ("address", np.int64, _MOST_ARRAYS), ("stride", np.int64, _MOST_ARRAYS), ("bytes", np.int64, _MOST_ARRAYS),
    ]
)  # fmt: skip


def cut_of(operation: Operation, words: Array, rows: int, dtype: np.dtype[Any], threads: int) -> Array:
    """How a call is cut, as `fastnn_cut` of fastnn.h: a structure of one element.

    words   those of the call; what is given later may still be 0
    rows    the most that a pass may have: the size of axis B
    """
    cut = np.zeros((), _CUT)
    cut["size"], cut["first"] = -1, -1
    places = operation.words
    if not operation.splits or places[""] > _MOST_WORDS:
        return cut
    granules = {axis: _granule(operation, axis, words, dtype) for axis in operation.splits}
    pieces = {axis: (rows if axis == "B" else int(words[places[axis]])) // granules[axis] for axis in granules}
    enough = [axis for axis in operation.splits if pieces[axis] >= 2 * threads]
    axis = enough[0] if enough else max(operation.splits, key=lambda a: pieces[a])
    sizes = [places[letter] for letter in operation.sizes if letter != "R"]
    cut["size"], cut["granule"], cut["words"] = places[axis], granules[axis], places[""]
    cut["grain"] = _LEAST_PRODUCT if len(sizes) == 3 else _LEAST_NUMBERS
    cut["first"] = places[operation.counts] if operation.counts else -1
    cut["works"], cut["work"][: len(sizes)] = len(sizes), sizes
    cut_arrays = [array for array in operation.arrays if axis in array.axes]
    cut["arrays"] = len(cut_arrays)
    for index, array in enumerate(cut_arrays):
        cut["address"][index] = places[array.name]
        along = array.axes.index(axis)
        cut["stride"][index] = -1 if len(array.axes) == 1 else places[array.name] + 1 + along
        cut["bytes"][index] = array.type(dtype).itemsize
    return cut


def _granule(operation: Operation, axis: str, words: Array, dtype: np.dtype[Any]) -> int:
    """Borders between threads lie at whole vectors, and whole cache lines, of every array that is contiguous along the
    axis."""
    places = operation.words
    strides = [
        1 if len(array.axes) == 1 else int(words[places[array.name] + 1 + array.axes.index(axis)])
        for array in operation.arrays
        if axis in array.axes
    ]
    return max(vector_bytes(), _CACHE_LINE) // dtype.itemsize if 1 in strides else _ROWS_OF_A_TILE


class TeamRunner(NativeRunner):
    """The native runner on several threads.

    workspaces   how many lie side by side in the arenas of what lives within a pass: one for each thread if passes may
                 run at the same time
    """

    def __init__(
        self, plan: Plan, arenas: Mapping[str, Array], kernels: Sequence[int], threads: int, workspaces: int
    ) -> None:
        super().__init__(plan, arenas, kernels, native.loop())
        self._threads = threads
        self._lock = threading.Lock()  # the workspaces serve one call at a time
        ends = [*self._starts[1:], len(self._words)]
        cuts = [
            cut_of(call.operation, self._words[start:end], plan.rows, plan.dtype, threads)
            for call, start, end in zip(plan.calls, self._starts, ends, strict=True)
        ]
        self._cuts = np.array(cuts, _CUT)
        self._offsets = np.zeros((workspaces, len(self._words)), np.int64)
        layouts = {"batch": plan.batch, "workspace": plan.workspace, "scratch": plan.scratch}
        for arena, layout in layouts.items():
            self._offsets[:, plan.words.pointing.get(arena, [])] = np.arange(workspaces)[:, None] * layout.bytes

    def _prepared(self, passes: Passes, table: Table) -> Prepared:
        table.words = table.words + self._offsets
        return _TeamPasses(self, passes, table)


class _TeamPasses:
    """Passes as the loop for several threads takes them: words for each workspace, and a table."""

    def __init__(self, runner: TeamRunner, passes: Passes, table: Table) -> None:
        self._runner, self._passes, self._table = runner, passes, table  # the memory behind the addresses
        self._loop = native.team_loop(
            address_of(table.words), table.words.shape[1], address_of(runner._kernels), address_of(runner._starts),
            address_of(table.places), len(table.places), address_of(runner._cuts), runner._threads,
        )  # fmt: skip
        self._rows, self._stride = address_of(table.rows), table.rows.strides[0]

    def run(self, first: int, count: int) -> None:
        marks = self._passes.marks
        waves, chains = _waves(None if marks is None else marks[first : first + count], count)
        with self._runner._lock:
            self._loop(self._rows + first * self._stride, address_of(waves), len(waves) - 1, address_of(chains))

    def refill(self, given: Mapping[str, Column]) -> None:
        self._table.refill(self._passes.given, given)


def _waves(marks: Array | None, count: int) -> tuple[Array, Array]:
    """Where chains begin, as passes, and where waves begin, as chains; both with their end.

    marks   for each pass: 0 it follows the one before, 1 it begins a chain, 2 it begins a wave
    """
    if marks is None:
        return np.array([0, 1]), np.array([0, count])
    begins = marks.copy()
    begins[0] = 2
    chains = np.flatnonzero(begins)
    waves = np.flatnonzero(begins[chains] == 2)
    return np.append(waves, len(chains)), np.append(chains, count)
