"""Every operation of the kernel table, compiled and in NumPy: nanoseconds per element, GB/s, and how exact it is.

    python -m bench.kernels             every operation, float32 and float64, arrays that fill L1, L2 and part of L3
    python -m bench.kernels --quick     fewer and shorter rounds
    python -m bench.kernels -k dense    only operations whose name contains the text

Operations are found in the table, their arguments come from tests/cases.py. Before a kernel is timed, its answer is
compared with the judge of the tests (the reference in wider arithmetic, tests/tolerances.py); one that is out of
tolerance is not timed and makes the run fail. Kernels run as a training plan runs them: arrays in one padded arena,
arguments bound to words once, calls made by the native loop. "NumPy" is the reference kernel on contiguous arrays.

All axes of an operation have the same length. An element is one of the largest array that is written. GB/s count each
array once, twice if it is updated; products read theirs more often than that.
"""

from __future__ import annotations

import argparse
import ctypes
import math
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))  # cases, judge, tolerances
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from bench import environment

if __name__ == "__main__":
    environment.prepare()

import cases
import judge
import numpy as np
import tolerances

from bench import report, timing
from fastnn import ops
from fastnn.kernels import OPERATIONS, Operation, backends, objects
from fastnn.kernels.table import ArrayOperand, argument_words
from fastnn.plan.arena import Layout

DTYPES = ("float32", "float64")
USUAL = {"L1": "32K", "L2": "1024K", "L3": "16384K"}  # where the system does not tell
PASSES = 1024  # calls that the native loop makes at once: its own cost vanishes

Array = np.ndarray[Any, Any]
Arguments = dict[str, Any]
Run = Callable[[int], None]


def budgets() -> dict[str, float]:
    """Bytes of a working set that stays in each cache; in L3, which others share, no more than is clearly beyond L2."""
    found = USUAL | environment.cpu()["caches"]
    unit = {"K": 1 << 10, "M": 1 << 20}
    size = {level: int(found[level][:-1]) * unit[found[level][-1]] for level in USUAL}
    return {"L1": 0.75 * size["L1"], "L2": 0.75 * size["L2"], "L3": min(0.5 * size["L3"], 4 * size["L2"])}


def bytes_of(array: ArrayOperand, length: int, dtype: str) -> int:
    """Bytes of an operand all of whose axes have that length."""
    numbers = math.prod(int(axis) if axis.isdigit() else length for axis in array.axes)
    return numbers * array.type(np.dtype(dtype)).itemsize


def axis_length(entry: Operation, dtype: str, budget: float) -> int:
    """The length of every axis with which an operation's arrays just fit: whole vectors, but no multiple of 128, whose
    rows would fall into few sets of the caches where nobody pads them, as in the arrays that NumPy gets."""
    length = 16
    while sum(bytes_of(array, length + 16, dtype) for array in entry.arrays) <= budget:
        length += 16
    return length if length % 128 else length - 16


def _as_stored(entry: Operation, array: ArrayOperand, value: Array) -> Array:
    """The array, or its transpose where that is what lies in memory; and back."""
    return value.T if (entry.name, array.name) in ops._TRANSPOSED else value


def placed(entry: Operation, arguments: Arguments) -> Arguments:
    """The arguments with arrays in one arena, laid out as a plan does it; NaN in what is only written."""
    layout, slots = Layout(), {}
    for array in entry.arrays:
        value = _as_stored(entry, array, arguments[array.name])
        if value.ndim == 1:
            slots[array.name] = layout.vector(array.name, len(value), value.dtype)
        else:
            slots[array.name] = layout.matrix(array.name, value.shape[0], value.shape[1], value.dtype)
    arena = layout.allocate()
    arena[...] = 0xFF  # NaN and -1: neither old values nor the padding may matter
    views = {array.name: _as_stored(entry, array, slots[array.name].view(arena)) for array in entry.arrays}
    for array in entry.arrays:
        if array.access != "writes":
            views[array.name][...] = arguments[array.name]
    return arguments | views


def compiled(kernel_set: str, entry: Operation, dtype: str, arguments: Arguments) -> Run:
    """Calls of the compiled kernel on these arrays, as many as asked for, without Python between them."""
    words = argument_words(entry, arguments)
    kernels = np.array([backends.kernel_address(kernel_set, entry.name, dtype)], np.int64)
    starts, places = np.zeros(1, np.int64), np.zeros(0, np.int64)
    table = np.tile(np.array([0, 1], np.int64), (PASSES, 1))  # each pass: the calls [0, 1)
    pointer = ctypes.c_void_p
    loop = objects.function("loop", "int64", *[pointer] * 4, ctypes.c_int64, pointer, ctypes.c_int64)

    def run(count: int, kept: object = arguments) -> None:  # the default keeps the arena alive
        for done in range(0, count, PASSES):
            loop(
                words.ctypes.data, kernels.ctypes.data, starts.ctypes.data, places.ctypes.data, 0,
                table.ctypes.data, min(PASSES, count - done),
            )  # fmt: skip

    return run


def reference(entry: Operation, arguments: Arguments) -> Run:
    def run(count: int) -> None:
        with np.errstate(all="ignore"):
            for _ in range(count):
                entry.reference(**arguments)

    return run


def measure(kernel_set: str, entry: Operation, dtype: str, cache: str, budget: float, quick: bool) -> dict[str, Any]:
    """Check and time one row."""
    length = axis_length(entry, dtype, budget)
    arguments = cases.arguments(entry.name, dict.fromkeys(entry.sizes, length), dtype)
    judged, given = judge.outcome(entry, arguments), placed(entry, arguments)
    kernel = compiled(kernel_set, entry, dtype, given)
    kernel(1)
    written = [array.name for array in entry.arrays if array.access != "reads"]
    allowed = {name: tolerances.allowed(entry.name, name, judged) for name in written}
    errors = {name: tolerances.excess(given[name], judged.after[name], allowed[name]) for name in written}
    row: dict[str, Any] = {"name": entry.name, "dtype": dtype, "cache": cache, "length": length, "errors": errors}
    row["wrong"] = {name: error for name, error in errors.items() if not error <= 1}
    if row["wrong"]:
        return row
    rounds, stretch = (3, 0.01) if quick else (11, timing.STRETCH)
    found = timing.interleaved({"NumPy": reference(entry, arguments), "fastnn": kernel}, rounds, stretch=stretch)
    size = {array.name: bytes_of(array, length, dtype) for array in entry.arrays}
    moved = sum(size[array.name] * (1 + (array.access == "updates")) for array in entry.arrays)
    elements = max(arguments[name].size for name in written)
    row["bytes"], row["elements"] = sum(size.values()), elements
    row["nanoseconds"] = {name: result.median / elements * 1e9 for name, result in found.items()}
    row["disturbed"] = {name: result.disturbed for name, result in found.items()}
    row["gigabytes_per_second"] = moved / found["fastnn"].median * 1e-9
    row["numpy_ratio"] = found["NumPy"].median / found["fastnn"].median
    return row


HEADINGS = ("operation, dtype, axes, cache (ns per element)", "KiB", "NumPy", "fastnn", "GB/s", "NumPy/fastnn", "error")


def cells(row: dict[str, Any]) -> list[str]:
    label = f"{row['name']}, {row['dtype']}, {row['length']:,}, {row['cache']}"
    if row["wrong"]:
        what = ", ".join(f"{name} off by {error:.3g} tolerances" for name, error in row["wrong"].items())
        return [f"{label}  OUT OF TOLERANCE: {what}", *[""] * (len(HEADINGS) - 1)]
    times = [report.number(time) + timing.mark(row["disturbed"][name]) for name, time in row["nanoseconds"].items()]
    speed, ratio = report.number(row["gigabytes_per_second"]), f"{row['numpy_ratio']:.2f}"
    return [label, f"{row['bytes'] / 1024:,.0f}", *times, speed, ratio, f"{max(row['errors'].values()):.2f}"]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="3 short rounds instead of 11")
    parser.add_argument("-k", default="", metavar="TEXT", help="only operations whose name contains this")
    parser.add_argument("--backend", default="auto", help="the set of compiled kernels")
    parser.add_argument("--save", action="store_true", help="write the JSON also for --quick or -k")
    arguments = parser.parse_args()

    entries = [entry for name, entry in OPERATIONS.items() if arguments.k.lower() in name.lower()]
    if not entries:
        parser.error(f"-k {arguments.k!r}: no operation's name contains that: {', '.join(OPERATIONS)}")
    kernel_set = backends.resolve(arguments.backend)
    if kernel_set not in backends.COMPILED:
        parser.error(f"--backend {arguments.backend}: expected a compiled set: {', '.join(backends.COMPILED)}")
    header = environment.header()
    print(f"{environment.describe(header)}\nkernels: {kernel_set}")
    rows = []
    for number, entry in enumerate(entries, 1):
        print(f"[{number}/{len(entries)}] {entry.name}", file=sys.stderr, flush=True)
        for dtype in DTYPES:
            for cache, budget in budgets().items():
                rows.append(measure(kernel_set, entry, dtype, cache, budget, arguments.quick))
    print("\n" + report.table(HEADINGS, [cells(row) for row in rows]))
    print(f"\nerror: the largest one as a fraction of its tolerance; 0: exact\n{timing.LEGEND}")
    if arguments.save or not (arguments.quick or arguments.k):
        saved = report.save("kernels", header, {"kernels": kernel_set, "rows": rows})
        print(f"saved {saved.relative_to(environment.ROOT)}")
    return 1 if any(row["wrong"] for row in rows) else 0


if __name__ == "__main__":
    raise SystemExit(main())
