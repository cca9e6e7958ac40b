"""Nanoseconds per parameter of one optimizer step: every kernel set, NumPy in place, torch.

    python -m bench.optimizers             1e4, 1e6 and 1e7 parameters
    python -m bench.optimizers --quick     fewer rounds
    python -m bench.optimizers -k adam     only optimizers whose name contains the text

All start from the same parameters and see the same gradient; after three steps the parameters must agree with NumPy's
before anything is timed. The kernel sets run as in a training plan; "ops" is fastnn.ops with its checks at every call.
"possible" is what the bytes of an update (each array read, those that are updated written again) take a loop that does
no more than read and write as many streams of that length (bench/probes.py); it takes its turn like the others. NumPy
runs in place with one scratch vector, as in bench/baselines/numpy_mlp.py.
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
from fastnn import ops
from fastnn.optimizers import SGD, AdaGrad, Adam, Optimizer, RMSProp

SIZES = (10_000, 1_000_000, 10_000_000)
CHECKED_STEPS = 3
NUMPY_GOAL = {"RMSProp": 4.0}  # NumPy time / fastnn time at 1e7 parameters
TORCH_GOAL = 1.2  # fastnn time / fused torch time at 1e7 parameters, at most

Array = np.ndarray[Any, Any]
Step = Callable[[], object]


class Vectors:
    """Parameters, a gradient and states of one candidate, the same numbers for all."""

    def __init__(self, size: int) -> None:
        generator = np.random.default_rng(0)
        self.param = generator.standard_normal(size, dtype=np.float32)
        self.grad = generator.standard_normal(size, dtype=np.float32)
        self.first, self.second, self.scratch = (np.zeros(size, np.float32) for _ in range(3))
        self.step_count = 0


def numpy_sgd(v: Vectors) -> None:
    np.multiply(v.grad, 1e-2, out=v.scratch)
    v.param -= v.scratch


def numpy_momentum(v: Vectors) -> None:
    v.first *= 0.9
    v.first += v.grad
    np.multiply(v.first, 1e-2, out=v.scratch)
    v.param -= v.scratch


def numpy_adam(v: Vectors) -> None:
    v.step_count += 1
    correction1, correction2 = 1 - 0.9**v.step_count, math.sqrt(1 - 0.999**v.step_count)
    np.subtract(v.grad, v.first, out=v.scratch)
    v.scratch *= 1 - 0.9
    v.first += v.scratch
    np.multiply(v.grad, v.grad, out=v.scratch)
    v.scratch -= v.second
    v.scratch *= 1 - 0.999
    v.second += v.scratch
    np.sqrt(v.second, out=v.scratch)
    v.scratch += 1e-8 * correction2
    np.divide(v.first, v.scratch, out=v.scratch)
    v.scratch *= 1e-3 * correction2 / correction1
    v.param -= v.scratch


def numpy_rmsprop(v: Vectors) -> None:
    np.multiply(v.grad, v.grad, out=v.scratch)
    v.scratch -= v.first
    v.scratch *= 1 - 0.99
    v.first += v.scratch
    np.sqrt(v.first, out=v.scratch)
    v.scratch += 1e-8
    np.divide(v.grad, v.scratch, out=v.scratch)
    v.scratch *= 1e-2
    v.param -= v.scratch


def numpy_adagrad(v: Vectors) -> None:
    np.multiply(v.grad, v.grad, out=v.scratch)
    v.first += v.scratch
    np.sqrt(v.first, out=v.scratch)
    v.scratch += 1e-10
    np.divide(v.grad, v.scratch, out=v.scratch)
    v.scratch *= 1e-2
    v.param -= v.scratch


NUMPY: dict[str, Callable[[Vectors], None]] = {
    "SGD": numpy_sgd,
    "SGD momentum": numpy_momentum,
    "Adam": numpy_adam,
    "RMSProp": numpy_rmsprop,
    "AdaGrad": numpy_adagrad,
}


def optimizer_of(name: str) -> Optimizer:
    """fastnn's optimizer with the hyper-parameters of the others here."""
    makers: dict[str, Callable[[], Optimizer]] = {
        "SGD": SGD, "SGD momentum": lambda: SGD(momentum=0.9), "Adam": Adam, "RMSProp": RMSProp, "AdaGrad": AdaGrad
    }  # fmt: skip
    return makers[name]()


def fastnn_kernels(name: str, v: Vectors, sets: list[str]) -> dict[str, tuple[native.Run, Array]]:
    """Each kernel set's update as a plan calls it, with the scalars of step 1 every time, and its parameters."""
    optimizer = optimizer_of(name)
    arrays = {"param": v.param, "grad": v.grad, **dict(zip(optimizer.moments, (v.first, v.second), strict=False))}
    scalars = optimizer.scalars(np.ones(1), optimizer.lr)
    arguments = arrays | {what: float(np.reshape(value, -1)[0]) for what, value in scalars.items()}
    made = {}
    for kernel_set in sets:
        run, own = native.one_call(kernel_set, optimizer.entry, "float32", arguments)
        made[kernel_set] = run, own["param"]
    return made


def fastnn_step(name: str, v: Vectors) -> None:
    """The kernel as a library would call it that brings its own arrays: with all checks at every call."""
    optimizer = optimizer_of(name)
    v.step_count += 1
    scalars = optimizer.scalars(np.array([float(v.step_count)]), optimizer.lr)
    arrays = {"param": v.param, "grad": v.grad, **dict(zip(optimizer.moments, (v.first, v.second), strict=False))}
    values = {what: float(np.reshape(value, -1)[0]) for what, value in scalars.items()}
    getattr(ops, optimizer.operation)(**arrays, **values)


def torch_optimizer(name: str, v: Vectors, fused: bool) -> Step | None:
    """torch's step over the same vectors; None where it has no fused form."""
    import torch

    torch.set_num_threads(1)
    if fused and name == "RMSProp":
        return None
    param = torch.nn.Parameter(torch.from_numpy(v.param))
    param.grad = torch.from_numpy(v.grad)
    options: dict[str, Any] = {"fused": True} if fused else {}
    makers: dict[str, Callable[[], torch.optim.Optimizer]] = {
        "SGD": lambda: torch.optim.SGD([param], lr=1e-2, **options),
        "SGD momentum": lambda: torch.optim.SGD([param], lr=1e-2, momentum=0.9, **options),
        "Adam": lambda: torch.optim.Adam([param], **options),
        "RMSProp": lambda: torch.optim.RMSprop([param], **options),
        "AdaGrad": lambda: torch.optim.Adagrad([param], **options),
    }
    return makers[name]().step


def by_all(name: str, size: int, peers: bool) -> dict[str, tuple[Vectors, Step]]:
    """Those that keep their own vectors and go from step to step."""

    def with_own(make: Callable[[Vectors], Step | None]) -> tuple[Vectors, Step] | None:
        vectors = Vectors(size)
        step = make(vectors)
        return None if step is None else (vectors, step)

    found = {
        "NumPy": with_own(lambda v: lambda: NUMPY[name](v)),
        "ops": with_own(lambda v: lambda: fastnn_step(name, v)),
    }
    if peers and importlib.util.find_spec("torch"):
        found["torch"] = with_own(lambda v: torch_optimizer(name, v, fused=False))
        found["torch fused"] = with_own(lambda v: torch_optimizer(name, v, fused=True))
    return {column: made for column, made in found.items() if made is not None}


def errors_of(name: str, results: Mapping[str, Array]) -> dict[str, float]:
    """The largest errors of parameters after one step, in ulp of the larger one of before and after, beside the step of
    NumPy in float64."""
    judge = Vectors(len(results["NumPy"]))
    before = judge.param
    for what, value in vars(judge).items():
        if isinstance(value, np.ndarray):
            setattr(judge, what, value.astype(np.float64))
    NUMPY[name](judge)
    unit = np.spacing(np.maximum(np.abs(before), np.abs(judge.param.astype(np.float32))))
    return {column: float(np.max(np.abs(param - judge.param) / unit)) for column, param in results.items()}


def measure(name: str, size: int, sets: list[str], peers: bool, rounds: int) -> dict[str, Any]:
    """Check and time one row."""
    made = by_all(name, size, peers)
    kernels = fastnn_kernels(name, Vectors(size), sets)
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
    arrays = optimizer_of(name).entry.arrays
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
    if row["parameters"] != SIZES[-1]:
        return []
    time = row["nanoseconds"]
    broken = []
    if time["NumPy"] / time[name] < NUMPY_GOAL.get(row["name"], 0):
        broken.append("NumPy")
    if "torch fused" in time and time[name] / time["torch fused"] > TORCH_GOAL:
        broken.append("torch fused")
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

    names = [name for name in NUMPY if arguments.k.lower() in name.lower()]
    if not names:
        parser.error(f"-k {arguments.k!r}: no optimizer's name contains that: {', '.join(NUMPY)}")
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
