"""Nanoseconds per parameter of one optimizer step: every kernel set, NumPy in place, torch.

    python -m bench.optimizers             1e4, 1e6 and 1e7 parameters
    python -m bench.optimizers --quick     fewer rounds
    python -m bench.optimizers -k adam     only optimizers whose name contains the text

All start from the same parameters and see the same gradient; after three steps the parameters must agree with NumPy's
before anything is timed. The kernel sets run as in a training plan; "ops" is fastnn.ops with its checks at every call.
"possible" is what the bytes of an update (each array read, those that are updated written again) take a loop that does
no more than read and write as many streams of that length (bench/probes.py); it takes its turn like the others. NumPy
runs in place with scratch vectors, each operation on the whole arrays (bench/baselines/numpy_operations; in pieces that
stay in the cache it is faster: python -m bench.kernels).
"""

from __future__ import annotations

import argparse
import importlib.util
import math
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from bench import environment

if __name__ == "__main__":
    environment.prepare()

import numpy as np

from bench import machine, native, output, timing
from bench.baselines.numpy_operations.making import MAKERS, Scratch
from fastnn import ops
from fastnn.optimizers import (
    SGD,
    Adadelta,
    AdaGrad,
    Adam,
    AdamW,
    Lion,
    NAdam,
    Optimizer,
    RAdam,
    RMSProp,
    Rprop,
)

SIZES = (10_000, 1_000_000, 10_000_000)
CHECKED_STEPS = 3
NUMPY_GOAL = 4.0  # NumPy time / fastnn time at 1e6 parameters, at least
TORCH_GOAL = 1.0  # fastnn time / time of torch's best form at 1e7 parameters, at most

Array = np.ndarray[Any, Any]
Step = Callable[[], object]

# name -> fastnn's optimizer, torch's class and its arguments (None: torch has no such optimizer).
OPTIMIZERS: dict[str, tuple[Optimizer, str | None, dict[str, Any]]] = {
    "SGD": (SGD(), "SGD", {"lr": 1e-2}),
    "SGD momentum": (SGD(momentum=0.9), "SGD", {"lr": 1e-2, "momentum": 0.9}),
    "SGD Nesterov": (SGD(momentum=0.9, nesterov=True), "SGD", {"lr": 1e-2, "momentum": 0.9, "nesterov": True}),
    "Adam": (Adam(), "Adam", {}),
    "AdamW": (AdamW(), "AdamW", {}),
    "NAdam": (NAdam(), "NAdam", {}),
    "RAdam": (RAdam(), "RAdam", {}),
    "Lion": (Lion(), None, {}),
    "Rprop": (Rprop(), "Rprop", {}),
    "AdaGrad": (AdaGrad(), "Adagrad", {}),
    "Adadelta": (Adadelta(), "Adadelta", {}),
    "RMSProp": (RMSProp(), "RMSprop", {}),
    "RMSProp momentum": (RMSProp(momentum=0.9), "RMSprop", {"momentum": 0.9}),
    "RMSProp centered": (RMSProp(centered=True), "RMSprop", {"centered": True}),
    "RMSProp centered momentum": (
        RMSProp(momentum=0.9, centered=True), "RMSprop", {"momentum": 0.9, "centered": True}
    ),
}  # fmt: skip
FUSED = {"SGD", "Adam", "AdamW", "Adagrad"}


class Vectors:
    """Parameters, a gradient and moments of one candidate, the same numbers for all."""

    def __init__(self, name: str, size: int, dtype: Any = np.float32) -> None:
        self.optimizer = OPTIMIZERS[name][0]
        generator = np.random.default_rng(0)
        self.param, self.grad = (generator.standard_normal(size, dtype=np.float32).astype(dtype) for _ in range(2))
        starts = self.optimizer.starts
        self.moments = {what: np.full(size, starts.get(what, 0.0), dtype) for what in self.optimizer.moments}
        self.step_count = 0

    def arguments(self) -> dict[str, Any]:
        """Of the next update."""
        self.step_count += 1
        scalars = self.optimizer.scalars(np.array([float(self.step_count)]), self.optimizer.lr)
        values = {what: float(np.reshape(value, -1)[0]) for what, value in scalars.items()}
        groups = {"rates": None, "decays": None, "grouped": 0}
        return {"param": self.param, "grad": self.grad, **self.moments, **groups, **values}


class NumPySteps:
    """The first steps with their own scalars, further ones with the last of those: what is timed prepares nothing."""

    def __init__(self, vectors: Vectors) -> None:
        self._vectors, self._work = vectors, None
        self._make = MAKERS[vectors.optimizer.operation]

    def __call__(self) -> None:
        if self._work is None or self._vectors.step_count < CHECKED_STEPS:
            self._work = self._make(Scratch(), **self._vectors.arguments())
        self._work()


def fastnn_kernels(vectors: Vectors, sets: list[str]) -> dict[str, tuple[native.Run, Array]]:
    """Each kernel set's update as a plan calls it, with the scalars of step 1 every time, and its parameters."""
    arguments = vectors.arguments()
    made = {}
    for kernel_set in sets:
        run, own = native.one_call(kernel_set, vectors.optimizer.entry, "float32", arguments)
        made[kernel_set] = run, own["param"]
    return made


def fastnn_step(vectors: Vectors) -> None:
    """The kernel as a library would call it that brings its own arrays: with all checks at every call."""
    getattr(ops, vectors.optimizer.operation)(**vectors.arguments())


def torch_optimizer(name: str, vectors: Vectors, fused: bool) -> Step | None:
    """torch's step over the same vectors; None where it has no such optimizer, or no fused form of it."""
    import torch

    _, kind, options = OPTIMIZERS[name]
    if kind is None or (fused and kind not in FUSED):
        return None
    torch.set_num_threads(1)
    param = torch.nn.Parameter(torch.from_numpy(vectors.param))
    param.grad = torch.from_numpy(vectors.grad)
    step: Step = getattr(torch.optim, kind)([param], **options, **({"fused": True} if fused else {})).step
    return step


def by_all(name: str, size: int, peers: bool) -> dict[str, tuple[Vectors, Step]]:
    """Those that keep their own vectors and go from step to step."""

    def with_own(make: Callable[[Vectors], Step | None]) -> tuple[Vectors, Step] | None:
        vectors = Vectors(name, size)
        step = make(vectors)
        return None if step is None else (vectors, step)

    found = {"NumPy": with_own(NumPySteps), "ops": with_own(lambda v: lambda: fastnn_step(v))}
    if peers and importlib.util.find_spec("torch"):
        found["torch"] = with_own(lambda v: torch_optimizer(name, v, fused=False))
        found["torch fused"] = with_own(lambda v: torch_optimizer(name, v, fused=True))
    return {column: made for column, made in found.items() if made is not None}


def errors_of(name: str, results: Mapping[str, Array]) -> dict[str, float]:
    """The largest errors of parameters after one step, in ulp of the larger one of before and after, beside the
    reference in float64."""
    judge = Vectors(name, len(results["NumPy"]), np.float64)
    before = judge.param.astype(np.float32)
    judge.optimizer.entry.reference(**judge.arguments())
    unit = np.spacing(np.maximum(np.abs(before), np.abs(judge.param.astype(np.float32))))
    return {column: float(np.max(np.abs(param - judge.param) / unit)) for column, param in results.items()}


def measure(name: str, size: int, sets: list[str], peers: bool, rounds: int) -> dict[str, Any]:
    """Check and time one row."""
    made = by_all(name, size, peers)
    kernels = fastnn_kernels(Vectors(name, size), sets)
    row: dict[str, Any] = {"name": name, "parameters": size, "wrong": {}}
    for count in range(CHECKED_STEPS):
        for _, step in made.values():
            step()
        # A few roundings of parameters of size 1 to 5; a wrong formula is off by 1e-4 and more.
        results = {column: vectors.param for column, (vectors, _) in made.items()}
        if count == 0:
            for column, (run, param) in kernels.items():
                run(1)
                results[column] = param
            row |= {"unit": "ulp", "errors": errors_of(name, results)}
        for column, param in results.items():
            difference = float(np.abs(param - made["NumPy"][0].param).max())
            if not difference <= 4e-6:
                row["wrong"][column] = difference
    if row["wrong"]:
        return row

    def repeated(step: Step) -> native.Run:
        def run(count: int) -> None:
            for _ in range(count):
                step()

        return run

    runs = {column: repeated(step) for column, (_, step) in made.items()}
    runs |= {column: run for column, (run, _) in kernels.items()}
    arrays = [array for array in OPTIMIZERS[name][0].entry.arrays if not array.optional]
    reads, writes = len(arrays), sum(array.access != "reads" for array in arrays)
    runs["possible"], moved = machine.passes_over_memory(4 * size * reads, reads, writes)
    found = timing.interleaved(runs, rounds)
    row |= {"bytes": 4 * (reads + writes), "level": machine.level_of(4 * size * reads)}
    row["bandwidth"] = moved / found["possible"].median * 1e-9
    row["nanoseconds"] = {column: result.median / size * 1e9 for column, result in found.items()}
    row["disturbed"] = {column: result.disturbed for column, result in found.items()}
    row["rounds"] = {column: result.rounds for column, result in found.items()}
    row["possible"] = row["nanoseconds"].pop("possible")
    row["gigabytes_per_second"] = {column: row["bytes"] / time for column, time in row["nanoseconds"].items()}
    row["fraction"] = {column: row["possible"] / row["nanoseconds"][column] for column in sets}
    return row | {"c/numba": native.ratio(row["nanoseconds"])}


PEERS = ("NumPy", "torch", "torch fused", "ops")


def missed(row: dict[str, Any], name: str) -> list[str]:
    """Which promises the kernel set breaks."""
    time, broken = row["nanoseconds"], []
    if row["parameters"] == SIZES[1] and time["NumPy"] / time[name] < NUMPY_GOAL:
        broken.append("NumPy")
    best = min((time[peer] for peer in ("torch", "torch fused") if peer in time), default=math.inf)
    if row["parameters"] == SIZES[-1] and time[name] / best > TORCH_GOAL:
        broken.append("torch")
    return broken


def table(rows: list[dict[str, Any]], sets: list[str]) -> str:
    columns = [name for name in PEERS if any(name in row.get("nanoseconds", {}) for row in rows)]
    headings = ["optimizer, parameters (ns each)", *columns, "in", "possible"]
    headings += [text for name in sets for text in (name, "of bandwidth", "NumPy/", "ulp")] + ["c/numba", ""]
    lines = []
    for row in rows:
        label = f"{row['name']}, {row['parameters']:,}"
        if row["wrong"]:
            lines.append([f"{label}  ANSWERS DISAGREE: {row['wrong']}", *[""] * (len(headings) - 1)])
            continue
        time = row["nanoseconds"]
        times = {n: output.number(time.get(n)) + timing.mark(row["disturbed"].get(n, 0)) for n in (*columns, *sets)}
        cells = [label, *(times[name] for name in columns), row["level"], output.number(row["possible"])]
        for name in sets:
            cells += [times[name], output.percent(row["fraction"][name]), f"{time['NumPy'] / time[name]:.2f}"]
            cells.append(output.number(row["errors"][name], 2))
        broken = [f"{name} {what}" for name in sets for what in missed(row, name)]
        lines.append([*cells, output.number(row["c/numba"]), f"missed: {', '.join(broken)}" if broken else ""])
    return output.table(headings, lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="3 rounds instead of 11")
    parser.add_argument("-k", default="", metavar="TEXT", help="only optimizers whose name contains this")
    native.add_option(parser)
    parser.add_argument("--sizes", type=float, nargs="+", metavar="N", help="parameters instead of 1e4, 1e6 and 1e7")
    parser.add_argument("--no-peers", action="store_true", help="only NumPy and fastnn")
    parser.add_argument("--save", action="store_true", help="write the JSON also for --quick or -k")
    arguments = parser.parse_args()

    names = [name for name in OPTIMIZERS if arguments.k.lower() in name.lower()]
    if not names:
        parser.error(f"-k {arguments.k!r}: no optimizer's name contains that: {', '.join(OPTIMIZERS)}")
    header = environment.header()
    print(environment.describe(header))
    sizes = tuple(map(int, arguments.sizes or SIZES))
    sets, rounds = native.kernel_sets(arguments.backend), 3 if arguments.quick else 11
    rows = [measure(name, size, sets, not arguments.no_peers, rounds) for name in names for size in sizes]
    print("\n" + table(rows, sets))
    print(f"\n{timing.LEGEND}")
    if arguments.save or not (arguments.quick or arguments.k):
        print(f"saved {output.save('optimizers', header, {'sets': sets, 'rows': rows}).relative_to(environment.ROOT)}")
    return 1 if any(row["wrong"] for row in rows) else 0


if __name__ == "__main__":
    raise SystemExit(main())
