"""Every operation of the kernel table, in every compiled set and in NumPy: nanoseconds per element, GB/s, exactness.

    python -m bench.kernels             every operation, float32 and float64, arrays that fill L1, L2 and part of L3
    python -m bench.kernels --quick     fewer and shorter rounds
    python -m bench.kernels -k dense    only operations whose name contains the text

Operations are found in the table, their arguments come from tests/cases.py. Before a kernel is timed, its answer is
compared with the judge of the tests (the reference in wider arithmetic, tests/tolerances.py); one that is out of
tolerance is not timed and makes the run fail. Kernels run as a training plan runs them: arrays in one padded arena,
arguments bound to words once, calls made by the native loop. "NumPy" is the reference kernel on contiguous arrays.
bench/functions.py has exp, tanh, sigmoid and softmax over their whole range.

All axes of an operation have the same length. An element is one of the largest array that is written. GB/s count each
array once, twice if it is updated; products read theirs more often than that.
"""

from __future__ import annotations

import argparse
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

from bench import machine, native, output, timing
from fastnn.kernels import OPERATIONS, Operation, backends
from fastnn.kernels.table import ArrayOperand

Array = np.ndarray[Any, Any]
Arguments = dict[str, Any]
Run = Callable[[int], None]


def budgets() -> dict[str, float]:
    """Bytes of a working set that stays in each cache; in L3, which others share, no more than is clearly beyond L2."""
    size = machine.cache_bytes()
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


def reference(entry: Operation, arguments: Arguments) -> Run:
    def run(count: int) -> None:
        with np.errstate(all="ignore"):
            for _ in range(count):
                entry.reference(**arguments)

    return run


def measure(sets: list[str], entry: Operation, dtype: str, cache: str, budget: float, quick: bool) -> dict[str, Any]:
    """Check and time one row."""
    length = axis_length(entry, dtype, budget)
    arguments = cases.arguments(entry.name, dict.fromkeys(entry.sizes, length), dtype)
    judged = judge.outcome(entry, arguments)
    written = [array.name for array in entry.arrays if array.access != "reads"]
    allowed = {name: tolerances.allowed(entry.name, name, judged) for name in written}
    candidates: dict[str, Run] = {"NumPy": reference(entry, arguments)}
    row: dict[str, Any] = {"name": entry.name, "dtype": dtype, "cache": cache, "length": length, "errors": {}}
    for kernel_set in sets:
        candidates[kernel_set], given = native.one_call(kernel_set, entry, dtype, arguments)
        candidates[kernel_set](1)
        errors = [tolerances.excess(given[name], judged.after[name], allowed[name]) for name in written]
        row["errors"][kernel_set] = max(errors)
    row["wrong"] = {name: error for name, error in row["errors"].items() if not error <= 1}
    if row["wrong"]:
        return row
    rounds, stretch = (3, 0.004) if quick else (9, 0.01)
    found = timing.interleaved(candidates, rounds, stretch=stretch)
    size = {array.name: bytes_of(array, length, dtype) for array in entry.arrays}
    moved = sum(size[array.name] * (1 + (array.access == "updates")) for array in entry.arrays)
    elements = max(arguments[name].size for name in written)
    row["bytes"], row["elements"] = sum(size.values()), elements
    row["nanoseconds"] = {name: result.median / elements * 1e9 for name, result in found.items()}
    row["disturbed"] = {name: result.disturbed for name, result in found.items()}
    row["rounds"] = {name: result.rounds for name, result in found.items()}
    row["gigabytes_per_second"] = {name: moved / found[name].median * 1e-9 for name in sets}
    row["numpy_ratio"] = {name: found["NumPy"].median / found[name].median for name in sets}
    row["c/numba"] = native.ratio(row["nanoseconds"])
    return row


def table(rows: list[dict[str, Any]], sets: list[str]) -> str:
    headings = ["operation, dtype, axes, cache (ns per element)", "KiB", "NumPy"]
    headings += [text for name in sets for text in (name, "GB/s", "NumPy/", "error")] + ["c/numba"]
    lines = []
    for row in rows:
        label = f"{row['name']}, {row['dtype']}, {row['length']:,}, {row['cache']}"
        if row["wrong"]:
            what = ", ".join(f"{name} off by {error:.3g} tolerances" for name, error in row["wrong"].items())
            lines.append([f"{label}  OUT OF TOLERANCE: {what}", *[""] * (len(headings) - 1)])
            continue
        times = {n: output.number(t) + timing.mark(row["disturbed"][n]) for n, t in row["nanoseconds"].items()}
        cells = [label, f"{row['bytes'] / 1024:,.0f}", times["NumPy"]]
        for name in sets:
            speed, numpy_ratio = row["gigabytes_per_second"][name], row["numpy_ratio"][name]
            cells += [times[name], output.number(speed), f"{numpy_ratio:.2f}", f"{row['errors'][name]:.2f}"]
        lines.append([*cells, output.number(row["c/numba"])])
    return output.table(headings, lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="3 short rounds instead of 9")
    parser.add_argument("-k", default="", metavar="TEXT", help="only operations whose name contains this")
    native.add_option(parser)
    parser.add_argument("--save", action="store_true", help="write the JSON also for --quick or -k")
    arguments = parser.parse_args()

    entries = [entry for name, entry in OPERATIONS.items() if arguments.k.lower() in name.lower()]
    if not entries:
        parser.error(f"-k {arguments.k!r}: no operation's name contains that: {', '.join(OPERATIONS)}")
    sets = native.kernel_sets(arguments.backend)
    entries = [entry for entry in entries if all(backends.can_run(name, entry) for name in sets)]
    header = environment.header()
    print(environment.describe(header))
    rows = []
    for number, entry in enumerate(entries, 1):
        print(f"[{number}/{len(entries)}] {entry.name}", file=sys.stderr, flush=True)
        for dtype in entry.dtypes:
            for cache, budget in budgets().items():
                rows.append(measure(sets, entry, dtype, cache, budget, arguments.quick))
    print("\n" + table(rows, sets))
    print(f"\nerror: the largest one as a fraction of its tolerance; 0: exact\n{timing.LEGEND}")
    if arguments.save or not (arguments.quick or arguments.k):
        saved = output.save("kernels", header, {"sets": sets, "rows": rows})
        print(f"saved {saved.relative_to(environment.ROOT)}")
    return 1 if any(row["wrong"] for row in rows) else 0


if __name__ == "__main__":
    raise SystemExit(main())
