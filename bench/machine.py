"""What this machine can do: FMA peak, bandwidth by footprint, the cost of a call; measured in the same run as what is
compared with it.

    python -m bench.machine             one core and two cores at once
    python -m bench.machine --quick     fewer repeats

The probes are in bench/probes.py. A peak is the best of a few short runs: nothing can be faster, and whatever else the
machine does only lowers it. Bandwidth counts each byte that is read once and each byte that is written once; what a
cache fetches to fill a line before it is written over is not counted. "update" is the pattern of an optimizer: Adam
reads four streams (parameter, gradient, two moments) and writes three.
"""

from __future__ import annotations

import argparse
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from bench import environment

if __name__ == "__main__":
    environment.prepare(threads=2)

import numpy as np

from bench import neighbours, output, probes
from fastnn.kernels import cpu

SECONDS = 0.002  # of one run of a probe
QUIET = 5.0  # that the first measurement of a peak waits for cores of its own
ADAM = (4, 3)  # streams that it reads, and how many of them it writes
USUAL = {"L1": "32K", "L2": "1024K", "L3": "16384K"}  # where the system does not tell
_UNITS = {"K": 1 << 10, "M": 1 << 20}

Probe = Callable[..., None]


def cache_bytes() -> dict[str, int]:
    """The size of each level of the data cache."""
    found = USUAL | environment.cpu()["caches"]
    return {level: int(found[level][:-1]) * _UNITS[found[level][-1]] for level in USUAL}


def footprints() -> dict[str, int]:
    """Bytes that stay in each level, and some that stay in none; of L3, which may be shared, clearly more than L2."""
    size = cache_bytes()
    return {
        "L1": size["L1"] // 2, "L2": size["L2"] // 2, "L3": min(size["L3"] // 2, 8 * size["L2"]),
        "memory": 8 * size["L3"],
    }  # fmt: skip


def level_of(size: float) -> str:
    """The level of the memory that holds that many bytes, some room for others left."""
    for level, capacity in cache_bytes().items():
        if size <= 0.9 * capacity:
            return level
    return "memory"


def _best(run: Callable[[int, int], None], repeats: int, threads: int) -> float:
    """Seconds of one unit of run(thread, units) with that many threads at once, each doing all units: the best run."""
    units = 1
    while True:
        started = time.perf_counter()
        run(0, units)
        seconds = time.perf_counter() - started
        if seconds > 0.3 * SECONDS:
            break
        units *= 4
    units = max(1, round(units * SECONDS / seconds))
    return min(_together(run, units, threads) for _ in range(repeats)) / units


def _together(run: Callable[[int, int], None], units: int, threads: int) -> float:
    """Seconds from the first start to the last end of the same work in each of the threads."""
    if threads == 1:
        started = time.perf_counter()
        run(0, units)
        return time.perf_counter() - started
    barrier, cores = threading.Barrier(threads, timeout=60), environment.cores()
    spans: list[tuple[float, float]] = []

    def work(thread: int) -> None:
        environment.keep_to({cores[thread % len(cores)]})  # new threads may begin on one core together
        barrier.wait()
        started = time.perf_counter()
        run(thread, units)
        spans.append((started, time.perf_counter()))

    workers = [threading.Thread(target=work, args=(thread,)) for thread in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return max(end for _, end in spans) - min(start for start, _ in spans)


def _zeros(size: int) -> tuple[np.ndarray[Any, Any], int]:
    """Memory that has been written to once, and the address of its first cache line."""
    memory = np.empty(size + 64, np.uint8)
    memory[...] = 0
    return memory, -(-memory.ctypes.data // 64) * 64


def fma_peak(dtype: str = "float32", repeats: int = 7, width: int | None = None, threads: int = 1) -> float:
    """FMA peak in GFLOP/s of one core, or of several at once, now; or, where neighbours are at work now, the best that
    was seen in this process.

    width   bytes of the vectors; None: those that fastnn's kernels use, which FASTNN_ISA may have narrowed
    """
    width = cpu.vector_bytes() if width is None else width
    probe, lanes = probes.fma(dtype, width), width // (4 if dtype == "float32" else 8)
    memory = [_zeros(width * probes.ACCUMULATORS) for _ in range(threads)]
    key, cores = (dtype, width, threads), environment.cores()[:threads]
    if key not in _peaks:
        neighbours.wait(cores, QUIET)
    alone = not neighbours.at_work(cores)
    seconds = _best(lambda thread, units: probe(1000 * units, memory[thread][1]), repeats, threads)
    found = threads * 2 * 1000 * probes.ACCUMULATORS * lanes / seconds * 1e-9
    _peaks[key] = max(found, _peaks.get(key, 0.0))
    return found if alone and not neighbours.at_work(cores) else _peaks[key]


_peaks: dict[tuple[str, int, int], float] = {}


def passes_over_memory(size: float, reads: int, writes: int) -> tuple[Callable[[int], None], int]:
    """Passes over `reads` streams that have that many bytes together, of which `writes` are updated in place: runs as
    many as asked for; and the bytes that one of them reads and writes."""
    width = probes.host_vector_bytes()
    turn = probes.UNROLLED if writes else probes.READ_AT_ONCE // reads
    vectors = max(turn, -(-int(size) // (reads * width * turn)) * turn)
    # Streams that lie a multiple of 4096 bytes apart would disturb each other's loads and stores.
    stride = -(-vectors * width // 4096) * (4096 // width) + 5 * 64 // width
    probe = probes.memory(width, reads, writes)
    memory, address = _zeros((stride * reads + probes.READ_AT_ONCE) * width)

    def run(count: int, kept: object = memory) -> None:  # the default keeps the memory alive
        probe(count, vectors, stride, address)

    return run, vectors * width * (reads + writes)


def bandwidth(size: float, reads: int = 1, writes: int = 0, repeats: int = 7, threads: int = 1) -> float:
    """GB/s, written bytes counted again, of such passes; several threads share the bytes out evenly."""
    made = [passes_over_memory(size / threads, reads, writes) for _ in range(threads)]
    seconds = _best(lambda thread, units: made[thread][0](units), repeats, threads)
    return sum(moved for _, moved in made) / seconds * 1e-9


def call_nanoseconds(repeats: int = 7) -> float:
    """Nanoseconds of a call from Python of a native function with one argument that does nothing, by ctypes."""
    probe, (memory, address) = probes.empty(), _zeros(64)

    def run(_: int, units: int, kept: object = memory) -> None:
        for _ in range(units):
            probe(address)

    return 1e9 * _best(run, repeats, 1)


def measure(repeats: int, threads: int = 1) -> dict[str, Any]:
    """All that bench.machine prints, for that many cores at once."""
    widths = sorted({32, probes.host_vector_bytes()} if probes.host_vector_bytes() > 16 else {16})
    peaks = {
        dtype: {str(width): fma_peak(dtype, repeats, width, threads) for width in widths}
        for dtype in ("float32", "float64")
    }
    found = footprints()
    return {
        "peaks": peaks,
        "read": {level: bandwidth(size, 1, 0, repeats, threads) for level, size in found.items()},
        "update": {level: bandwidth(size, *ADAM, repeats, threads) for level, size in found.items()},
    }


def table(cores: Mapping[int, Mapping[str, Any]], call: float) -> str:
    """What `measure` found for each number of cores, and the nanoseconds of a call, as text."""
    first, rows = next(iter(cores.values())), []
    for dtype, peaks in first["peaks"].items():
        for width in peaks:
            label = f"FMA peak, {dtype}, {width}-byte vectors, GFLOP/s"
            rows.append([label, *(output.number(found["peaks"][dtype][width]) for found in cores.values())])
    for what in ("read", "update"):
        for level, size in footprints().items():
            label = f"{what}, {level} ({size >> 10:,} KiB), GB/s"
            rows.append([label, *(output.number(found[what][level]) for found in cores.values())])
    headings = ["", *(f"{count} core{'s' if count > 1 else ''}" for count in cores)]
    return f"{output.table(headings, rows)}\n\nan empty native call from Python: {call:.0f} ns"


def summary() -> str:
    """The same of one core, measured in a few seconds."""
    return table({1: measure(3)}, call_nanoseconds(3))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="5 repeats instead of 25")
    parser.add_argument("--save", action="store_true", help="write the JSON also for --quick")
    arguments = parser.parse_args()
    header = environment.header(threads=2)
    print(environment.describe(header))
    repeats, usable = 5 if arguments.quick else 25, environment.cpu()["usable"]
    cores = {threads: measure(repeats, threads) for threads in (1, 2) if threads <= usable}
    call = call_nanoseconds(repeats)
    print("\n" + table(cores, call))
    if arguments.save or not arguments.quick:
        payload = {"footprints": footprints(), "cores": {str(n): found for n, found in cores.items()}, "call": call}
        print(f"saved {output.save('machine', header, payload).relative_to(environment.ROOT)}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
