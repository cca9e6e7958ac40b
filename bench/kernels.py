"""Every operation of the kernel table, in every compiled set and in NumPy: nanoseconds per element, GB/s, exactness.

    python -m bench.kernels             every operation, float32 and float64, arrays in L1, L2, L3 and in none of them
    python -m bench.kernels --quick     fewer and shorter rounds, nothing beyond L3
    python -m bench.kernels -k dense    only operations whose name contains the text
    python -m bench.kernels --caches L1 L2 L3     without arrays beyond all caches, which take a quarter of an hour

Operations are found in the table, their arguments come from tests/cases.py. Before a kernel is timed, its answer is
compared with the judge of the tests (the reference in wider arithmetic, tests/tolerances.py); one that is out of
tolerance is not timed and makes the run fail. Kernels run as a training plan runs them: arrays in one padded arena,
arguments bound to words once, calls made by the native loop. "NumPy" is the reference kernel on contiguous arrays,
"NumPy by hand" the same without temporary arrays (bench/baselines/numpy_operations.py).
bench/functions.py has exp, tanh, sigmoid and softmax over their whole range.

All axes of an operation have the same length. An element is one of the largest array that is written. GB/s count each
array once, twice if it is updated; products read theirs more often than that.
"""

from __future__ import annotations

import argparse
import bisect
import math
import sys
from collections.abc import Callable, Mapping
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

from bench import exactness, machine, native, output, timing
from bench.baselines import numpy_operations
from fastnn.kernels import OPERATIONS, Operation, backends
from fastnn.kernels.table import ArrayOperand

Array = np.ndarray[Any, Any]
Arguments = dict[str, Any]
Run = Callable[[int], None]

BY_HAND = "NumPy by hand"
LEGEND = """reached: of the FMA peak by products, of a loop's speed that only reads and writes as much by all others
error: the largest one, 0: exact, in the unit of its column (bench/exactness.py)
spread: half the range between the quartiles of the rounds, the largest"""


def budgets() -> dict[str, float]:
    """Bytes of a working set that stays in each cache, and of one that stays in none; in L3, which others share, no
    more than is clearly beyond L2."""
    size = machine.cache_bytes()
    caches = {"L1": 0.75 * size["L1"], "L2": 0.75 * size["L2"], "L3": min(0.5 * size["L3"], 4 * size["L2"])}
    return caches | {"memory": 1.25 * size["L3"]}


def rows_of(entry: Operation) -> list[tuple[str, str]]:
    """The dtypes and caches of an operation's rows. Products of arrays beyond all caches take seconds, and wait for
    arithmetic as those in L3 do (bench/products.py has 4096 x 4096)."""
    caches = [cache for cache in budgets() if cache != "memory" or not exactness.is_product(entry)]
    return [(dtype, cache) for dtype in entry.dtypes for cache in caches]


def judgement(entry: Operation, arguments: Arguments, cache: str) -> tuple[tolerances.Outcome, float]:
    """What the operation should have made of the arguments, and how many tolerances a candidate may be off it: of
    arrays beyond all caches, for which wider arithmetic would take minutes, what the reference makes of them, and
    two."""
    if cache != "memory":
        return judge.outcome(entry, arguments), 1.0
    before, after = cases.copied(arguments), cases.copied(arguments)
    with np.errstate(all="ignore"):
        entry.reference(**after)
    return tolerances.Outcome(before, after, judge.dtype_of(entry, arguments)), 2.0


def bytes_of(array: ArrayOperand, arguments: Arguments, dtype: str) -> int:
    """Bytes of an operand; 0 of one that is absent."""
    value = arguments[array.name]
    return 0 if value is None else value.size * array.type(np.dtype(dtype)).itemsize


def bytes_at(array: ArrayOperand, length: int, dtype: str) -> int:
    """Bytes of an operand all of whose axes have that length."""
    numbers = math.prod(int(axis) if axis.isdigit() else length for axis in array.axes)
    return numbers * array.type(np.dtype(dtype)).itemsize


def axis_length(entry: Operation, dtype: str, budget: float) -> int:
    """The length of every axis with which an operation's arrays just fit: whole vectors, but no multiple of 128, whose
    rows would fall into few sets of the caches where nobody pads them, as in the arrays that NumPy gets."""

    def bytes_of_all(vectors: int) -> int:
        return sum(bytes_at(array, 16 * vectors, dtype) for array in entry.arrays)

    length = 16 * max(1, bisect.bisect_right(range(1, 2**40), budget, key=bytes_of_all))
    return length if length % 128 else length - 16


def reference(entry: Operation, arguments: Arguments) -> Run:
    def run(count: int) -> None:
        with np.errstate(all="ignore"):
            for _ in range(count):
                entry.reference(**arguments)

    return run


def by_hand(name: str, arguments: Arguments) -> Run | None:
    """The operation in plain NumPy without temporary arrays, if somebody has written it."""
    once = numpy_operations.prepared(name, arguments)
    if once is None:
        return None

    def run(count: int) -> None:
        with np.errstate(all="ignore"):
            for _ in range(count):
                once()

    return run


def candidates_of(
    sets: list[str], entry: Operation, dtype: str, arguments: Arguments
) -> dict[str, tuple[Run, Mapping[str, Any]]]:
    """What takes part in a row: how each runs, and the arguments that it has written to after its first run."""
    found: dict[str, tuple[Run, Mapping[str, Any]]] = {}
    for name in ("NumPy", BY_HAND):
        own = cases.copied(arguments)
        run = reference(entry, own) if name == "NumPy" else by_hand(entry.name, own)
        if run is not None:
            found[name] = run, own
    for kernel_set in sets:
        found[kernel_set] = native.one_call(kernel_set, entry, dtype, arguments)
    return found


def measure(sets: list[str], entry: Operation, dtype: str, cache: str, budget: float, quick: bool) -> dict[str, Any]:
    """Check and time one row."""
    length = axis_length(entry, dtype, budget)
    arguments = cases.absent(entry.name, cases.arguments(entry.name, dict.fromkeys(entry.sizes, length), dtype))
    row: dict[str, Any] = {"name": entry.name, "dtype": dtype, "cache": cache, "length": length}
    candidates = candidates_of(sets, entry, dtype, arguments)
    judged, most = judgement(entry, arguments, cache)
    errors = {}
    for name, (run, given) in candidates.items():
        run(1)
        errors[name] = exactness.error_of(entry, given, judged)
    row["unit"] = errors["NumPy"].unit
    row["errors"] = {name: error.value for name, error in errors.items()}
    row["wrong"] = {name: error.tolerances for name, error in errors.items() if not error.tolerances <= most}
    if row["wrong"]:
        return row
    rounds, stretch = (3, 0.004) if quick or cache == "memory" else (9, 0.01)
    runs = {name: run for name, (run, _) in candidates.items()}
    found = timing.interleaved(runs, rounds, stretch=stretch)
    row["elements"] = max(arguments[name].size for name in exactness.written(entry))
    row["nanoseconds"] = {name: result.median / row["elements"] * 1e9 for name, result in found.items()}
    row["disturbed"] = {name: result.disturbed for name, result in found.items()}
    row["rounds"] = {name: result.rounds for name, result in found.items()}
    row["spread"] = max(result.spread for result in found.values())
    row["numpy_ratio"] = {name: found["NumPy"].median / found[name].median for name in sets}
    row["c/numba"] = native.ratio(row["nanoseconds"])
    return row | reached(entry, dtype, arguments, {name: found[name].median for name in sets})


def reached(entry: Operation, dtype: str, arguments: Arguments, seconds: Mapping[str, float]) -> dict[str, Any]:
    """How much of the machine the kernel sets use: GFLOP/s of a product beside the FMA peak; GB/s of anything else
    beside a loop that does no more than read and update as many long arrays of as many bytes (bench/probes.py)."""
    size = {array.name: bytes_of(array, arguments, dtype) for array in entry.arrays}
    moved = sum(size[array.name] * (1 + (array.access == "updates")) for array in entry.arrays)
    found: dict[str, Any] = {"bytes": sum(size.values())}
    found["gigabytes_per_second"] = {name: moved / second * 1e-9 for name, second in seconds.items()}
    flops = exactness.flops(entry, arguments)
    if flops:
        peak = machine.fma_peak(dtype)
        found["gigaflops"] = {name: flops / second * 1e-9 for name, second in seconds.items()}
        found["fraction"] = {name: speed / peak for name, speed in found["gigaflops"].items()}
        return found
    long = [array for array in entry.arrays if 2 * size[array.name] >= max(size.values())]
    updated = sum(array.access != "reads" for array in long)
    total = sum(size[array.name] for array in long)
    streamed = total * (len(long) + updated) / len(long)
    possible = streamed / machine.bandwidth(total, len(long), updated, repeats=3) * 1e-9
    found["fraction"] = {name: possible / second for name, second in seconds.items()}
    return found


def table(rows: list[dict[str, Any]], sets: list[str]) -> str:
    headings = ["operation, dtype, axes, cache (ns per element)", "KiB", "NumPy", BY_HAND]
    headings += [text for name in sets for text in (name, "GB/s", "GFLOP/s", "reached", "NumPy/", "error")]
    headings += ["error of", "spread", "c/numba"]
    lines = []
    for row in rows:
        label = f"{row['name']}, {row['dtype']}, {row['length']:,}, {row['cache']}"
        if row["wrong"]:
            what = ", ".join(f"{name} off by {error:.3g} tolerances" for name, error in row["wrong"].items())
            lines.append([f"{label}  OUT OF TOLERANCE: {what}", *[""] * (len(headings) - 1)])
            continue
        times = {n: output.number(t) + timing.mark(row["disturbed"][n]) for n, t in row["nanoseconds"].items()}
        cells = [label, f"{row['bytes'] / 1024:,.0f}", times["NumPy"], times.get(BY_HAND, "-")]
        for name in sets:
            cells += [times[name], output.number(row["gigabytes_per_second"][name])]
            cells += [output.number(row.get("gigaflops", {}).get(name)), output.percent(row["fraction"][name])]
            cells += [f"{row['numpy_ratio'][name]:.2f}", f"{row['errors'][name]:.2f}"]
        lines.append([*cells, row["unit"], output.percent(row["spread"]), output.number(row["c/numba"])])
    return output.table(headings, lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="3 short rounds instead of 9")
    parser.add_argument("-k", default="", metavar="TEXT", help="only operations whose name contains this")
    parser.add_argument(
        "--caches", nargs="+", metavar="CACHE", choices=list(budgets()), help="only arrays of that size"
    )
    native.add_option(parser)
    parser.add_argument("--save", action="store_true", help="write the JSON also for a selection")
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
        for dtype, cache in rows_of(entry):
            if cache in (arguments.caches or [name for name in budgets() if name != "memory" or not arguments.quick]):
                rows.append(measure(sets, entry, dtype, cache, budgets()[cache], arguments.quick))
    print("\n" + table(rows, sets))
    print(f"\n{LEGEND}\n{timing.LEGEND}")
    if arguments.save or not (arguments.quick or arguments.k or arguments.caches):
        saved = output.save("kernels", header, {"sets": sets, "rows": rows})
        print(f"saved {saved.relative_to(environment.ROOT)}")
    return 1 if any(row["wrong"] for row in rows) else 0


if __name__ == "__main__":
    raise SystemExit(main())
