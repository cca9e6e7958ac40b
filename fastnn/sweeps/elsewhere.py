"""Trials in other processes: a process for each worker, or whatever stands behind a concurrent.futures.Executor.

The job is sent to a process once; its arrays lie in files that all processes of a machine map, or are scattered to the
workers of a Dask cluster, so that a trial sends no more than its configuration and a result comes back as numbers.
"""

from __future__ import annotations

import contextlib
import math
import multiprocessing
import pickle
import shutil
import signal
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import BrokenExecutor, CancelledError, Executor, Future
from contextlib import contextmanager
from dataclasses import replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np

from .job import Decide, Job, Outcome
from .reports import Address, Reports, decide_by
from .threads import one_thread_each
from .workers import Runner, Task, WorkerDied

_REPORTS_APART = 0.2  # seconds, where nothing is decided by them: they are looked at, no more


@contextmanager
def runners(executor: Any, job: Job, count: int | None, watched: bool) -> Iterator[list[Runner]]:
    """One for each worker; all that they started ends with the block.

    count     None: as many as the executor has workers
    watched   whether trainings have to ask after each epoch if they are to end
    """
    if executor == "processes":
        with mapped(job) as shared:
            found = [InProcess(_packed(shared), watched) for _ in range(count or 1)]
            try:
                yield [*found]
            finally:
                for runner in found:
                    runner.close()
        return
    if not isinstance(executor, Executor):
        raise TypeError(
            f"sweep(executor={executor!r}): expected 'threads', 'processes' or a concurrent.futures.Executor"
        )
    client = getattr(executor, "_client", None)  # a Dask client's executor
    host = _host_for(client)
    with contextlib.ExitStack() as stack:
        reports = stack.enter_context(Reports(host)) if watched else None
        if client is not None:
            _packed(replace(job, data=None))
            sent: Any = client.scatter(job, broadcast=True, hash=False)
        else:
            sent = _packed(stack.enter_context(mapped(job)))
        yield [OnExecutor(executor, sent, reports) for _ in range(count or _workers_of(executor, client))]


def _host_for(client: Any) -> str:
    """Where the workers of an executor reach this process."""
    if client is None:
        return "127.0.0.1"
    from distributed.utils import get_ip

    # The address of this machine on the way to the scheduler; for one that runs here, the machine itself.
    host = str(client.scheduler.address).split("://")[-1].rsplit(":", 1)[0]
    return "127.0.0.1" if host in ("127.0.0.1", "localhost") else str(get_ip(host))


def _workers_of(executor: Executor, client: Any) -> int:
    if client is not None:
        return max(1, sum(client.nthreads().values()))
    return int(getattr(executor, "_max_workers", 1))


def _packed(job: Job) -> bytes:
    """The job as other processes take it, or an error that says what cannot be sent to them."""
    try:
        return pickle.dumps(job)
    except Exception as error:
        raise TypeError(
            f"sweep(executor=...): {getattr(job.function, '__qualname__', job.function)!r} cannot be sent to another "
            f"process ({error}); define it at the top level of a module, without lambdas"
        ) from None


# Data in files.


class InFile:
    """An array in a file, which each process maps."""

    def __init__(self, path: str, dtype: Any, shape: tuple[int, ...], offset: int) -> None:
        self._given = path, np.dtype(dtype), shape, offset

    def array(self) -> np.ndarray:
        """The array, read-only."""
        path, dtype, shape, offset = self._given
        if 0 in shape:
            return np.empty(shape, dtype)
        return np.memmap(path, dtype, "r", offset, shape)


@contextmanager
def mapped(job: Job) -> Iterator[Job]:
    """The job with its arrays in files: those that are in one already stay there, others are written into a folder that
    is taken away in the end."""
    if job.data is None:
        yield job
        return
    folder = Path(tempfile.mkdtemp(prefix="fastnn-sweep-"))
    try:
        data = {
            name: tuple(_in_file(part, folder / f"{name}.{k}") for k, part in enumerate(value))
            if isinstance(value, tuple) else _in_file(value, folder / name)
            for name, value in job.data.items()
        }  # fmt: skip
        yield replace(job, data=data)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _in_file(array: Any, path: Path) -> Any:
    whole = isinstance(array, np.memmap) and type(array.base).__name__ == "mmap" and array.flags.c_contiguous
    if whole and array.filename is not None:
        return InFile(str(array.filename), array.dtype, array.shape, int(array.offset))
    if array.dtype.hasobject:
        return array
    np.ascontiguousarray(array).tofile(path)
    return InFile(str(path), array.dtype, array.shape, 0)


def _unpacked(packed: bytes) -> Job:
    job: Job = pickle.loads(packed)
    if job.data is None:
        return job

    def there(value: Any) -> Any:
        return value.array() if isinstance(value, InFile) else value

    data = {
        name: tuple(map(there, value)) if isinstance(value, tuple) else there(value)
        for name, value in job.data.items()
    }  # fmt: skip
    return replace(job, data=data)


# Processes of our own.


class InProcess:
    """Runs trials in a process of its own, which is started for the first one, and again after it died."""

    def __init__(self, packed: bytes, watched: bool) -> None:
        self._packed, self._watched = packed, watched
        self._process: Any = None
        self._pipe: Connection | None = None
        self._closed = False

    def run(self, task: Task, decide: Decide) -> Outcome:
        """As `Runner.run`."""
        if self._process is None:
            self._start()
        assert self._pipe is not None
        try:
            self._pipe.send((task.config, task.budget))
            while True:
                kind, said = self._pipe.recv()
                if kind == "done":
                    return Outcome(*said)
                self._pipe.send(decide(*said))
        except (EOFError, OSError):
            raise WorkerDied(f"its worker process {self._ended()}") from None

    def close(self) -> None:
        """Kills the process."""
        self._closed = True
        process = self._process
        if process is not None:
            process.kill()  # it waits for a trial and would not end by itself
        self._ended()

    def _start(self) -> None:
        if self._closed:
            raise WorkerDied("the sweep is over")
        context = multiprocessing.get_context("spawn")
        self._pipe, other = context.Pipe()
        self._process = context.Process(target=_serve, args=(other, self._packed, self._watched), daemon=True)
        self._process.start()
        other.close()
        try:
            trouble = self._pipe.recv()
        except (EOFError, OSError):
            trouble = f"it {self._ended()}, see its own words above"
        if trouble is not None and not self._closed:
            raise RuntimeError(
                f"sweep(executor='processes'): a worker process could not begin: {trouble}. A script that sweeps with "
                "processes has its own work below `if __name__ == '__main__':`, since each process imports it"
            )

    def _ended(self) -> str:
        """Ends what is left of the process, and says how it ended."""
        process, self._process = self._process, None
        if process is None:
            return "was ended"
        process.join(0.2)
        if process.is_alive():
            process.kill()
            process.join()
        if self._pipe is not None:
            self._pipe.close()
        code = process.exitcode
        if code is not None and code < 0:
            return f"was killed by {signal.Signals(-code).name}"
        return f"ended with exit code {code}"


def _serve(pipe: Connection, packed: bytes, watched: bool) -> None:
    """What a worker process does until its pipe is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to hear
    try:
        job = _unpacked(packed)
    except Exception as error:
        pipe.send(f"{type(error).__name__}: {error}")
        return
    pipe.send(None)
    reported = 0.0

    def decide(step: int, value: float) -> str | None:
        nonlocal reported
        if step == 0 or math.isnan(value):
            return None
        now = time.monotonic()
        if not watched and now - reported < _REPORTS_APART:
            return None
        reported = now
        pipe.send(("report", (step, value)))
        answer: str | None = pipe.recv()
        return answer

    with one_thread_each(), contextlib.suppress(EOFError, BrokenPipeError):
        while True:
            config, budget = pipe.recv()
            pipe.send(("done", tuple(job.run(config, budget, decide))))


# Executors.


class OnExecutor:
    """Hands trials to an executor, one at a time."""

    def __init__(self, executor: Executor, shared: Any, reports: Reports | None) -> None:
        self._executor, self._shared, self._reports = executor, shared, reports
        self._future: Future[Any] | None = None

    def run(self, task: Task, decide: Decide) -> Outcome:
        """As `Runner.run`."""
        with contextlib.ExitStack() as stack:
            address = stack.enter_context(self._reports.of(decide)) if self._reports is not None else None
            future = self._executor.submit(run_there, self._shared, task.config, task.budget, address)
            self._future = future
            try:
                return Outcome(*future.result())
            except BrokenExecutor as error:
                raise RuntimeError(
                    f"sweep(executor={type(self._executor).__name__}): a worker died and took the executor with it "
                    f"({error}); the trials that are done are kept. executor='processes' starts dead workers again"
                ) from None
            except CancelledError:
                raise WorkerDied("its trial was cancelled") from None
            except Exception as error:
                if type(error).__name__ == "KilledWorker":  # Dask has tried again by itself
                    raise WorkerDied(f"its workers died ({error})", True) from None
                raise

    def close(self) -> None:
        """Takes back what has not begun."""
        if self._future is not None:
            self._future.cancel()


_JOBS: dict[bytes, Job] = {}  # of this process, by what was sent: the last one


def run_there(shared: Any, config: Any, budget: int | None, address: Address | None) -> tuple[Any, ...]:
    """One trial, where the executor runs it."""
    job: Job = shared
    if isinstance(shared, bytes):
        if shared not in _JOBS:
            _JOBS.clear()
            _JOBS[shared] = _unpacked(shared)
        job = _JOBS[shared]
    with one_thread_each(), decide_by(address) as decide:
        return tuple(job.run(config, budget, decide))
