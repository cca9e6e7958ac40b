"""Seconds to train many small models on all cores, one model a core: 64 of 64-128-64-10, batch 128, 200 steps each.

    python -m bench.sweep                 64 models, 7 rounds
    python -m bench.sweep --quick         16 models, 3 rounds, no peers
    python -m bench.sweep --no-peers      only NumPy and fastnn

Each model has starting weights and an order of rows of its own, by its number as the seed; the data are the same.
fastnn trains them in a pool of as many threads as there are cores, since a run releases the GIL; NumPy and torch, whose
steps are mostly Python, in a pool of as many processes. Every model is trained by one thread. The pools stand, and have
the data, starting weights and orders, before the clock starts; making a model, binding the data and training count.

Before anything is timed, the last loss of each model must be that of NumPy in float64 and in float32, within the
tolerances of bench/agreement.py. A candidate whose losses are not makes the run fail, and nothing is timed.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import multiprocessing
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from bench import environment

if __name__ == "__main__":
    environment.prepare(pin=False)

import numpy as np

from bench import agreement, machine, native, output, timing
from bench.agreement import Maker
from bench.networks import Network, Problem, problem

NETWORK = Network((64, 128, 64, 10), 128)
STEPS = 200
MODELS, QUICK_MODELS = 64, 16
PEERS = ("NumPy", "torch fused")


@dataclass(frozen=True)
class Task:
    """A model to train: data and starting weights, and the rows of each step."""

    data: Problem
    order: np.ndarray


@dataclass(frozen=True)
class Trained:
    """The last loss of a model, and the seconds that its thread took and computed."""

    loss: float
    wall: float
    cpu: float


Sweep = Callable[[str], list[Trained]]
"""Trains all models in a dtype, as many at once as there are workers."""


def tasks(count: int, length: int = STEPS) -> list[Task]:
    """Models that share the data and differ in starting weights and order."""
    shared = problem(NETWORK)
    data = [replace(shared, weights=problem(NETWORK, seed).weights) for seed in range(count)]
    return [Task(own, own.order(length, seed)) for seed, own in enumerate(data)]


def trained(make: Maker, task: Task, dtype: str) -> Trained:
    """One model, from its making to its last loss."""
    data = task.data if dtype == NETWORK.dtype else task.data.in_dtype(dtype)
    wall, cpu = time.perf_counter(), time.thread_time()
    loss = float(make(data).run(task.order)[-1])
    return Trained(loss, time.perf_counter() - wall, time.thread_time() - cpu)


@contextmanager
def in_threads(make: Maker, given: Sequence[Task], workers: int) -> Iterator[Sweep]:
    """A pool of threads of this process."""
    with ThreadPoolExecutor(workers) as pool:
        yield lambda dtype: list(pool.map(partial(trained, make, dtype=dtype), given))


_RECEIVED: list[Task] = []
"""In a process of a pool: what it was sent when it started."""


def _receive(given: Sequence[Task]) -> None:
    _RECEIVED.extend(given)


def _trained_here(library: str, number: int, dtype: str) -> Trained:
    return trained(_maker(library), _RECEIVED[number], dtype)


def _maker(library: str) -> Maker:
    if library == "NumPy":
        from bench.baselines.numpy_mlp import NumpyMLP

        return NumpyMLP
    from bench.baselines.torch_mlp import TorchMLP

    return partial(TorchMLP, fused=True)


@contextmanager
def in_processes(library: str, given: Sequence[Task], workers: int) -> Iterator[Sweep]:
    """A pool of processes, each of which gets all tasks once, when it starts; later only their numbers."""
    context = multiprocessing.get_context("spawn")  # a fork would copy the threads' locks, but not the threads
    pool: Executor
    with ProcessPoolExecutor(workers, context, _receive, (list(given),)) as pool:
        numbers = range(len(given))
        yield lambda dtype: list(pool.map(partial(_trained_here, library, dtype=dtype), numbers))


def sweeps(given: Sequence[Task], sets: list[str], peers: bool, workers: int, stack: ExitStack) -> dict[str, Sweep]:
    """What takes part, by column name; the pools live as long as the stack."""
    from bench.baselines.fastnn_mlp import FastnnMLP

    found = {"NumPy": stack.enter_context(in_processes("NumPy", given, workers))}
    if peers and importlib.util.find_spec("torch"):
        found["torch fused"] = stack.enter_context(in_processes("torch fused", given, workers))
    for name in sets:
        found[name] = stack.enter_context(in_threads(partial(FastnnMLP, backend=name), given, workers))
    return found


def differences(found: Mapping[str, Sweep], dtype: str) -> dict[str, float]:
    """Largest relative difference of a model's last loss from NumPy's, by candidate."""
    losses = {name: np.array([model.loss for model in sweep(dtype)]) for name, sweep in found.items()}
    return {name: float(np.abs(own / losses["NumPy"] - 1).max()) for name, own in losses.items()}


def timed(found: Mapping[str, Sweep], rounds: int) -> dict[str, timing.Timing]:
    """Seconds of each sweep, in turns. A round was disturbed if the threads that trained had to wait for a CPU."""
    walls: dict[str, list[float]] = {name: [] for name in found}
    disturbed = dict.fromkeys(found, 0)
    for _ in range(rounds):
        for name, sweep in found.items():
            started = time.perf_counter()
            models = sweep(NETWORK.dtype)
            walls[name].append(time.perf_counter() - started)
            disturbed[name] += sum(m.wall for m in models) > timing.DISTURBED * sum(m.cpu for m in models)
    return {name: timing.Timing(tuple(walls[name]), disturbed[name] / rounds) for name in found}


def measure(given: Sequence[Task], rounds: int, sets: list[str], peers: bool) -> dict[str, Any]:
    """Check and time the row of these models, with all cores that this process may use."""
    workers, length = len(environment.cores()), len(given[0].order)
    row: dict[str, Any] = {"name": f"{len(given)} models of {NETWORK.name}", "models": len(given), "workers": workers}
    row |= {"steps": length, "flops": len(given) * length * NETWORK.flops, "wrong": {}}
    with ExitStack() as stack:
        found = sweeps(given, sets, peers, workers, stack)
        for dtype in ("float64", NETWORK.dtype):
            row["differences"] = differences(found, dtype)
            for name, difference in row["differences"].items():
                if not difference <= agreement.TOLERANCE[dtype]:  # also true for NaN
                    row["wrong"][f"{name} {dtype}"] = difference
        if row["wrong"]:
            return row
        row["peak"] = machine.fma_peak(NETWORK.dtype, threads=workers)
        results = timed(found, rounds)
    row["seconds"] = {name: result.median for name, result in results.items()}
    row["rounds"] = {name: result.rounds for name, result in results.items()}
    row["disturbed"] = {name: result.disturbed for name, result in results.items()}
    row["models_per_second"] = {name: len(given) / seconds for name, seconds in row["seconds"].items()}
    row["gigaflops"] = {name: row["flops"] / seconds * 1e-9 for name, seconds in row["seconds"].items()}
    row["fraction_of_peak"] = {n: row["flops"] / seconds * 1e-9 / row["peak"] for n, seconds in row["seconds"].items()}
    row["numpy_ratio"] = {name: row["seconds"]["NumPy"] / seconds for name, seconds in row["seconds"].items()}
    return row | {"c/numba": native.ratio(row["seconds"])}


def in_a_process(quick: bool) -> dict[str, Any]:
    """The row, measured by a process of its own, on the cores that the calling thread may use."""
    command = [sys.executable, "-m", "bench.sweep", "--json", *(["--quick"] if quick else [])]
    done = subprocess.run(command, cwd=environment.ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} failed:\n{done.stderr}")
    row: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return row


LEGEND = "off: largest relative difference of a last loss from NumPy's; NumPy/: NumPy's time over that of the line"


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """The rows as text, a line for each candidate."""
    headings = ["models, by", "workers", "s", "models/s", "of peak", "NumPy/", "off"]
    lines = []
    for row in rows:
        if row["wrong"]:
            what = ", ".join(f"{name} off by {difference:.1e}" for name, difference in row["wrong"].items())
            lines.append([f"{row['name']}  LOSSES DISAGREE: {what}", *[""] * (len(headings) - 1)])
            continue
        for name, seconds in row["seconds"].items():
            kind = "processes" if name in PEERS else "threads"
            cells = [f"{row['name']}, by {name}", f"{row['workers']} {kind}"]
            cells += [output.number(seconds) + timing.mark(row["disturbed"][name])]
            cells += [output.number(row["models_per_second"][name]), output.percent(row["fraction_of_peak"][name])]
            lines.append([*cells, f"{row['numpy_ratio'][name]:.2f}", f"{row['differences'][name]:.1e}"])
    return output.table(headings, lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="16 models and 3 rounds instead of 64 and 7, no peers")
    native.add_option(parser)
    parser.add_argument("--no-peers", action="store_true", help="only NumPy and fastnn")
    parser.add_argument("--save", action="store_true", help="write the JSON also for --quick")
    parser.add_argument("--json", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    sets, peers = native.kernel_sets(arguments.backend), not (arguments.quick or arguments.no_peers)
    count, rounds = (QUICK_MODELS, 3) if arguments.quick else (MODELS, 7)
    if arguments.json:
        print(json.dumps(measure(tasks(count), rounds, sets, peers)))
        return 0
    header = environment.header(threads=len(environment.cores()))
    print(environment.describe(header))
    row = measure(tasks(count), rounds, sets, peers)
    print(f"\n{table([row])}\n\n{LEGEND}\n{timing.LEGEND}")
    if arguments.save or not arguments.quick:
        print(f"saved {output.save('sweep', header, {'sets': sets, 'rows': [row]}).relative_to(environment.ROOT)}")
    return 1 if row["wrong"] else 0


if __name__ == "__main__":
    raise SystemExit(main())
