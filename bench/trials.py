"""What a sweep costs over its trainings: microseconds a trial that returns at once, and the memory of 10,000 trials.

python -m bench.trials --memory 10000     the process whose memory bench.sweep measures
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from bench import environment, startup, timing

TRIALS, QUICK_TRIALS = 10_000, 1000
MEMORY, FILE, PROCESSES = "in memory", "results file", "processes"


def at_once(config: dict[str, Any], budget: int | None, report: Any) -> float:
    """A training of nothing."""
    return 0.0


class Ran(NamedTuple):
    """Seconds of a sweep."""

    seconds: float
    waited: bool = False  # its threads wait for each other


def sweep_of_nothing(count: int, workers: int, executor: str, path: Path | None) -> Ran:
    """A sweep of so many trials that return at once."""
    import fastnn as fnn

    space = fnn.Space(number=range(count))
    started = time.perf_counter()
    found = fnn.sweep(at_once, space, workers=workers, executor=executor, results=path, progress=False)
    seconds = time.perf_counter() - started
    if path is not None:
        path.unlink()
    if found.counts != {"finished": count}:
        raise RuntimeError(f"{count} trials that do nothing: {found.counts}")
    return Ran(seconds)


def overhead(count: int, rounds: int, folder: Path | None = None) -> dict[str, Any]:
    """The row: microseconds a trial, by where trials run and what is kept of them."""
    workers = len(environment.cores())
    # In the checkout, since a folder for temporary files may be one in memory, where nothing is written to a disk.
    with tempfile.TemporaryDirectory(prefix=".sweep-", dir=folder or environment.ROOT) as own:
        path = Path(own) / "sweep.jsonl"
        candidates: dict[str, Callable[[], Ran]] = {
            MEMORY: partial(sweep_of_nothing, count, workers, "threads", None),
            FILE: partial(sweep_of_nothing, count, workers, "threads", path),
            f"{MEMORY}, one worker": partial(sweep_of_nothing, count, 1, "threads", None),
            f"{MEMORY}, {PROCESSES}": partial(sweep_of_nothing, count, workers, "processes", None),
        }
        work = timing.whole_runs(candidates, rounds)
    results = {name: runs.timing(rounds) for name, runs in work.items()}
    return {
        "name": f"{count:,} trials that return at once", "trials": count, "workers": workers,
        "rounds": {name: result.rounds for name, result in results.items()},
        "disturbed": {name: result.disturbed for name, result in results.items()},
        "microseconds": {name: result.median / count * 1e6 for name, result in results.items()},
    }  # fmt: skip


def memory(count: int, backend: str) -> dict[str, Any]:
    """The row: the most memory that a process has which sweeps so many trainings of some 5 ms."""
    command = [sys.executable, "-m", "bench.trials", "--memory", str(count), backend]
    done = subprocess.run(command, cwd=environment.ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} failed:\n{done.stderr}")
    row: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return row


def build(config: dict[str, Any]) -> Any:
    """A training of some 5 ms."""
    import fastnn as fnn

    model = fnn.Sequential([fnn.Dense(64, activation="relu"), fnn.Dense(10)], inputs=64, seed=config["number"])
    return model, {"loss": "cross_entropy", "epochs": 6, "batch_size": 32, "backend": config["backend"]}


def trained(count: int, backend: str) -> dict[str, Any]:
    """In a process of its own: sweeps, and says what memory that took."""
    import fastnn as fnn
    from bench.networks import Network, problem

    data = problem(Network((64, 64, 10), 32, rows=2048))
    before = startup.resident_mib()
    space = fnn.Space(number=range(count), backend=backend)
    found = fnn.sweep(build, space, data.X, data.y, progress=False)
    if found.counts != {"finished": count}:
        raise RuntimeError(f"{found.counts}: {next(trial.error for trial in found.trials if trial.error)}")
    milliseconds = 1e3 * sum(trial.seconds for trial in found.trials) / count
    return {
        "name": f"{count:,} trials", "trials": count, "backend": backend, "milliseconds": milliseconds,
        "before": before, "peak": startup.peak_mib(),
    }  # fmt: skip


if __name__ == "__main__":
    if sys.argv[1:2] != ["--memory"] or len(sys.argv) != 4:
        raise SystemExit(__doc__)
    print(json.dumps(trained(int(sys.argv[2]), sys.argv[3])))
