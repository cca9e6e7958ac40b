"""Seconds of a sweep of many trainings: fastnn's, and the pools of processes in which its peers train the same models.

Losses are compared before anything is timed: the mean of the last epoch, of each model, with that of NumPy's by its
number, in float64 and in float32, within the tolerances of bench/agreement.py. scikit-learn takes weights and orders of
its own, so that its first steps are compared, through `partial_fit`.
"""

from __future__ import annotations

import importlib.util
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np

import fastnn as fnn
from bench import agreement, environment, machine, native, pools, timing
from bench.baselines.fastnn_mlp import build
from bench.networks import Network, Problem, problem
from bench.pools import Ran, Task
from fastnn import randomness

NETWORK = Network((64, 128, 64, 10), 128, rows=3200)
EPOCHS = 8  # of 25 steps
CHECKED = 4  # models of scikit-learn, whose steps are compared one by one

Sweep = Callable[[str], Ran]
"""Trains all models in a dtype, as many at once as there are workers."""


@dataclass(frozen=True)
class Given:
    """The models to train, by number, and a folder for files: the peers' weights and orders, fastnn's results."""

    folder: Path
    models: int
    epochs: int = EPOCHS

    def prepare(self) -> None:
        """Writes what the peers read."""
        for dtype in ("float64", NETWORK.dtype):
            pools.write(self.folder, dtype, [self.task(number, dtype) for number in range(self.models)])

    def task(self, number: int, dtype: str) -> Task:
        """The weights that fastnn draws for a model, and the orders of its epochs: those of its number as the seed."""
        data = _data(dtype)
        stream = randomness.Stream(randomness.key(number, randomness.SHUFFLE))
        order = [stream.at(epoch).permutation(np.arange(NETWORK.rows)) for epoch in range(self.epochs)]
        model, _ = build(NETWORK, {"number": number, "dtype": dtype, "backend": "auto"})
        return Task(replace(data, weights=model.get_weights()), np.concatenate(order).reshape(-1, NETWORK.batch))

    @property
    def steps(self) -> int:
        """Of each training."""
        return self.epochs * NETWORK.rows // NETWORK.batch


@cache
def _data(dtype: str) -> Problem:
    return problem(NETWORK).in_dtype(dtype)


def by_sweep(
    given: Given, workers: int, backend: str, dtype: str, executor: str = "threads", results: bool = False
) -> Ran:
    """All models by `fnn.sweep`."""
    data = _data(dtype)
    path = given.folder / "sweep.jsonl" if results else None
    started, before = time.time(), _cpu()
    found = fnn.sweep(
        partial(build, NETWORK),
        fnn.Space(number=range(given.models), dtype=dtype, backend=backend),
        data.X,
        data.y,
        budget=given.epochs,
        workers=workers,
        executor=executor,
        results=path,
        progress=False,
    )
    seconds, cpu = time.time() - started, _cpu() - before
    if path is not None:
        path.unlink()
    for trial in found.trials:
        if trial.status != "finished":
            raise RuntimeError(f"a training {trial.status}: {trial.error}")
    by_number = sorted(found.trials, key=lambda trial: trial.config["number"])
    losses = np.array([trial.value for trial in by_number])
    return Ran(losses, seconds, None, sum(trial.seconds for trial in found.trials), cpu)


def _cpu() -> float:
    """Seconds that this process and its children that have ended have computed."""
    try:
        import resource
    except ImportError:  # not on Windows
        return time.process_time()
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + used.ru_utime + used.ru_stime


PEERS = ("NumPy", "NumPy forked", "sklearn", "torch", "torch fused")
ONE, FILE, PROCESSES = ", one worker", ", results file", ", processes"
"""Forms of fastnn's sweep, behind the name of a kernel set; without: threads, all workers, results in memory."""


def candidates(given: Given, sets: Sequence[str], peers: bool, workers: int) -> dict[str, Sweep]:
    """What takes part, by column name."""

    def pool(library: str, method: str = "spawn") -> Sweep:
        return lambda dtype: pools.in_processes(library, given.folder, dtype, given.models, workers, method)

    found: dict[str, Sweep] = {"NumPy": pool("NumPy")}
    if peers:
        import multiprocessing

        if "fork" in multiprocessing.get_all_start_methods():
            found["NumPy forked"] = pool("NumPy", "fork")
        if importlib.util.find_spec("sklearn"):
            found["sklearn"] = lambda dtype: pools.with_joblib(given.folder, dtype, given.models, workers)
        if importlib.util.find_spec("torch"):
            found |= {"torch": pool("torch"), "torch fused": pool("torch fused")}
    for name in sets:
        found[name] = partial(by_sweep, given, workers, name)
        found[name + ONE] = partial(by_sweep, given, 1, name)
        found[name + FILE] = partial(by_sweep, given, workers, name, results=True)
        found[name + PROCESSES] = partial(by_sweep, given, workers, name, executor="processes")
    return found


def differences(found: Mapping[str, Sweep], given: Given, dtype: str) -> dict[str, float]:
    """Largest relative difference of a model's loss from NumPy's, by candidate."""
    losses = {name: sweep(dtype).losses for name, sweep in found.items() if name != "sklearn"}
    off = {name: float(np.abs(own / losses["NumPy"] - 1).max()) for name, own in losses.items()}
    if "sklearn" in found:
        off["sklearn"] = max(_sklearn_difference(given, number, dtype) for number in range(min(CHECKED, given.models)))
    return {name: off[name] for name in found}


def _sklearn_difference(given: Given, number: int, dtype: str) -> float:
    task = pools.task(given.folder, dtype, number)
    numpy, own = (
        agreement.losses_of(pools.maker(library)(task.data), task.order) for library in ("NumPy", "sklearn")
    )  # fmt: skip
    return float(np.abs(own / numpy - 1).max())


def timed(found: Mapping[str, Sweep], rounds: int) -> tuple[dict[str, timing.Timing], dict[str, float]]:
    """Seconds of each sweep, in turns; and the least that passed before its first training, where that is known."""
    work = timing.whole_runs({name: partial(sweep, NETWORK.dtype) for name, sweep in found.items()}, rounds)
    starts = {name: [ran.start for ran in runs.found if ran.start is not None] for name, runs in work.items()}
    return (
        {name: runs.timing(rounds) for name, runs in work.items()},
        {name: min(own) for name, own in starts.items() if own},
    )


def measure(
    models: int, rounds: int, sets: Sequence[str], peers: bool, folder: Path | None = None, epochs: int = EPOCHS
) -> dict[str, Any]:
    """Check and time the row of so many models, with all cores that this process may use."""
    workers = len(environment.cores())
    # In the checkout, since a folder for temporary files may be one in memory, where a results file costs nothing.
    with tempfile.TemporaryDirectory(prefix=".sweep-", dir=folder or environment.ROOT) as own:
        given = Given(Path(own), models, epochs)
        given.prepare()
        found = candidates(given, sets, peers, workers)
        row: dict[str, Any] = {"name": f"{models} trainings of {NETWORK.name}", "models": models, "workers": workers}
        row |= {"steps": given.steps, "flops": models * given.steps * NETWORK.flops, "wrong": {}}
        for dtype in ("float64", NETWORK.dtype):
            row["differences"] = differences(found, given, dtype)
            for name, difference in row["differences"].items():
                bounds = agreement.SKLEARN_TOLERANCE if name == "sklearn" else agreement.TOLERANCE
                if not difference <= bounds[dtype]:  # also true for NaN
                    row["wrong"][f"{name} {dtype}"] = difference
        if row["wrong"]:
            return row
        row["peak"] = machine.fma_peak(NETWORK.dtype, threads=workers)
        return row | _figures(row, *timed(found, rounds))


def _figures(row: Mapping[str, Any], results: Mapping[str, timing.Timing], starts: dict[str, float]) -> dict[str, Any]:
    """What follows from the times."""
    seconds = {name: result.median for name, result in results.items()}
    of_one = [name.removesuffix(ONE) for name in results if name.endswith(ONE)]
    return {
        "seconds": seconds,
        "rounds": {name: result.rounds for name, result in results.items()},
        "disturbed": {name: result.disturbed for name, result in results.items()},
        "start": starts,
        "workers_of": {name: 1 if name.endswith(ONE) else row["workers"] for name in results},
        "models_per_second": {name: row["models"] / own for name, own in seconds.items()},
        "gigaflops": {name: row["flops"] / own * 1e-9 for name, own in seconds.items()},
        "fraction_of_peak": {name: row["flops"] / own * 1e-9 / row["peak"] for name, own in seconds.items()},
        "numpy_ratio": {name: seconds["NumPy"] / own for name, own in seconds.items()},
        "over_one_worker": {name: seconds[name + ONE] / seconds[name] for name in of_one},
        "c/numba": native.ratio(seconds),
    }
