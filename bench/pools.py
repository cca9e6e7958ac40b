"""What the processes of a sweep's peers run: one model at a time, by its number.

The models' starting weights and orders lie in files that every process maps, so that none is sent, and nobody but
fastnn draws them while the clock runs. Processes that are spawned import this module, which imports no more than the
library that they train with.
"""

from __future__ import annotations

import json
import multiprocessing
import time
import warnings
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, replace
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from bench.networks import Network, Problem

if TYPE_CHECKING:
    from bench.agreement import Maker


DISTURBED = 1.1  # as in bench/timing.py, which these processes have no use for


@dataclass(frozen=True)
class Task:
    """A model to train: data and starting weights, and the rows of each step."""

    data: Problem
    order: np.ndarray


@dataclass(frozen=True)
class Trained:
    """Mean loss of a model's last epoch, the seconds that its thread took and computed, and when it began, by
    `time.time`."""

    loss: float
    wall: float
    cpu: float
    begun: float


def write(folder: Path, dtype: str, tasks: list[Task]) -> None:
    """The models of a dtype, which share their data, as files."""
    shared = tasks[0].data
    arrays = {"X": shared.X, "y": shared.y, "order": np.stack([task.order for task in tasks])}
    arrays["weights"] = np.stack([np.concatenate([w.ravel() for w in task.data.weights]) for task in tasks])
    for name, array in arrays.items():
        np.save(folder / f"{dtype}-{name}.npy", array)
    network = replace(shared.network, neighbour=None)
    (folder / f"{dtype}.json").write_text(json.dumps(asdict(network)), encoding="utf-8")


@cache
def _files(folder: Path, dtype: str) -> tuple[Network, dict[str, np.ndarray]]:
    """What `write` wrote, mapped: a change stays in this process."""
    given = json.loads((folder / f"{dtype}.json").read_text(encoding="utf-8"))
    network = Network(**given | {"widths": tuple(given["widths"])})
    names = ("X", "y", "order", "weights")
    return network, {name: np.asarray(np.load(folder / f"{dtype}-{name}.npy", mmap_mode="c")) for name in names}


def task(folder: Path, dtype: str, number: int) -> Task:
    """A model by its number."""
    network, found = _files(folder, dtype)
    weights, offset = [], 0
    for fan_in, fan_out in zip(network.widths[:-1], network.widths[1:], strict=True):
        for shape in ((fan_in, fan_out), (fan_out,)):
            size = int(np.prod(shape))
            weights.append(found["weights"][number, offset : offset + size].reshape(shape))
            offset += size
    return Task(Problem(network, found["X"], found["y"], weights), found["order"][number])


def maker(library: str) -> Maker:
    """What makes a network of a peer."""
    if library.startswith("NumPy"):
        from bench.baselines.numpy_mlp import NumpyMLP

        return NumpyMLP
    if library == "sklearn":
        from bench.baselines.sklearn_mlp import SklearnMLP

        return SklearnMLP
    from bench.baselines.torch_mlp import TorchMLP

    return partial(TorchMLP, fused=library == "torch fused")


def train(library: str, folder: Path, dtype: str, number: int) -> Trained:
    """One model, from its making to its last loss."""
    make = maker(library)  # imports the library, before the first training begins
    begun, wall, cpu = time.time(), time.perf_counter(), time.thread_time()
    given = task(folder, dtype, number)
    losses = make(given.data).run(given.order)
    per_epoch = given.data.network.rows // given.data.network.batch
    loss = float(np.mean(losses[-per_epoch:]))
    return Trained(loss, time.perf_counter() - wall, time.thread_time() - cpu, begun)


@dataclass(frozen=True)
class Ran:
    """A sweep, its loss for each model.

    seconds   from its start to its last result
    start     seconds from there to the beginning of the first training; None where that is not known
    wall, cpu   seconds that its trainings took and computed, together
    """

    losses: np.ndarray
    seconds: float
    start: float | None
    wall: float
    cpu: float

    @property
    def waited(self) -> bool:
        """Whether the threads that trained had to wait for a CPU."""
        return self.wall > DISTURBED * self.cpu

    @staticmethod
    def of(found: list[Trained], started: float) -> Ran:
        """What came of it up to now."""
        now = time.time()
        wall, cpu = sum(one.wall for one in found), sum(one.cpu for one in found)
        losses = np.array([one.loss for one in found])
        return Ran(losses, now - started, min(one.begun for one in found) - started, wall, cpu)


def in_processes(library: str, folder: Path, dtype: str, count: int, workers: int, method: str = "spawn") -> Ran:
    """All models in a pool of processes, to which only numbers are sent."""
    started = time.time()
    with warnings.catch_warnings(), ProcessPoolExecutor(workers, multiprocessing.get_context(method)) as pool:
        warnings.simplefilter("ignore", DeprecationWarning)  # of forking where threads are, which wait, of Python 3.12
        return Ran.of(list(pool.map(partial(train, library, folder, dtype), range(count))), started)


def with_joblib(folder: Path, dtype: str, count: int, workers: int) -> Ran:
    """All models of scikit-learn by joblib, whose processes end afterwards: it would keep them for the next call."""
    from joblib import Parallel, delayed
    from joblib.externals.loky import get_reusable_executor

    started = time.time()
    found = list(Parallel(workers)(delayed(train)("sklearn", folder, dtype, number) for number in range(count)))
    ran = Ran.of(found, started)
    get_reusable_executor().shutdown(wait=True)
    return ran
