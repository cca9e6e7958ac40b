"""Trials in other processes: a process for each worker, or whatever stands behind a concurrent.futures.Executor.

The job is sent to a process once; its arrays lie in files that all processes of a machine map, or are sent to the
workers of a Dask cluster beforehand, so that a trial sends no more than its configuration and a result comes back as
numbers.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import queue
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import (
    BrokenExecutor,
    CancelledError,
    Executor,
    Future,
    ProcessPoolExecutor,
    ThreadPoolExecutor,
)  # fmt: skip
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any

from .job import Decide, Job, Outcome
from .processes import InProcess
from .reports import BEGINS, HERE, Address, Reports, asking, decide_by
from .shared import mapped, opened
from .threads import one_thread_each
from .workers import ATTEMPTS, Runner, Task, WorkerDied, cores


@contextmanager
def runners(executor: Any, job: Job, count: int | None, watched: bool) -> Iterator[list[Runner]]:
    """One for each worker; all that they started ends with the block.

    count     None: as many as the executor has workers
    watched   whether trainings have to ask after each epoch if they are to end
    """
    with contextlib.ExitStack() as stack:
        found: list[Any]
        began = threading.Event()
        if executor == "processes":
            packed = _packed(stack.enter_context(mapped(job)), pickle.dumps)
            found = [InProcess(packed, watched, began) for _ in range(count or 1)]
        elif isinstance(executor, Executor):
            sent, host, most = _sent(executor, job, stack)
            reports = stack.enter_context(Reports(host, watched))
            found = [_on(executor, sent, reports) for _ in range(count or most)]
        elif callable(executor):
            first = _made_by(executor)
            stack.callback(first.shutdown, wait=False)
            sent, host, _ = _sent(first, job, stack)
            reports = stack.enter_context(Reports(host, watched))
            found = [OnOwnExecutor(executor, sent, reports, began) for _ in range(count or cores())]
        else:
            raise TypeError(
                f"sweep(executor={executor!r}): expected 'threads', 'processes' or a concurrent.futures.Executor, or a "
                "function that makes one"
            )
        for runner in found:
            stack.callback(runner.close)
        yield found


def _sent(executor: Executor, job: Job, stack: contextlib.ExitStack) -> tuple[Any, str, int]:
    """What an executor's workers know the job by, where they reach this process, and how many there are."""
    if _is_dask(executor):
        import cloudpickle  # as Dask does: functions of notebooks are sent as they are

        from . import cluster

        client = executor._client  # type: ignore[attr-defined]
        most = cluster.threads(client)
        _packed(replace(job, data=None), cloudpickle.dumps)
        return stack.enter_context(cluster.known(client, job)), cluster.host_for(client), most
    most = int(getattr(executor, "_max_workers", 1))
    if type(executor) is ThreadPoolExecutor:
        return job, HERE, most
    return _packed(stack.enter_context(mapped(job)), pickle.dumps), HERE, most


def _on(executor: Executor, sent: Any, reports: Reports) -> OnExecutor:
    """Who hands trials to a user's executor."""
    if type(executor) is ProcessPoolExecutor:
        return OnPool(executor, sent, reports)
    return (OnDask if _is_dask(executor) else OnExecutor)(executor, sent, reports)


def _made_by(make: Callable[[], Any]) -> Executor:
    """A worker's own executor."""
    executor = make()
    if not isinstance(executor, Executor):
        raise TypeError(f"sweep(executor={make!r}): it made {executor!r}, expected a concurrent.futures.Executor")
    if _is_dask(executor):
        raise TypeError("sweep(executor=function): give Dask's executor itself, whose cluster starts workers again")
    count = getattr(executor, "_max_workers", 1)
    if count != 1:
        executor.shutdown(wait=False)
        raise ValueError(
            f"sweep(executor=function): it made a {type(executor).__name__} of {count} workers, expected one, such as "
            "ProcessPoolExecutor(1): each of the sweep's workers has an executor of its own, so that one that breaks "
            "takes no other trial with it; workers=... says how many there are"
        )
    return executor


def _is_dask(executor: Executor) -> bool:
    """By the name of its module: only those who use Dask have it to import."""
    return type(executor).__module__.split(".")[0] == "distributed"


def _packed(job: Job, dumps: Callable[[Any], bytes]) -> bytes:
    """The job as other processes take it, or an error that says what cannot be sent to them."""
    try:
        return dumps(job)
    except Exception as error:
        raise TypeError(
            f"sweep(executor=...): {getattr(job.function, '__qualname__', job.function)!r} cannot be sent to another "
            f"process ({error}); define it at the top level of a module, without lambdas"
        ) from None


class OnExecutor:
    """Hands trials to an executor, one at a time.

    sent   what its workers know the job by
    """

    def __init__(self, executor: Executor, sent: Any, reports: Reports) -> None:
        self._executor, self._sent, self._reports = executor, sent, reports
        self._future: Future[Any] | None = None
        self._ended: queue.SimpleQueue[Future[Any] | None] = queue.SimpleQueue()
        self._closed = False

    def run(self, task: Task, decide: Decide) -> Outcome:
        """As `Runner.run`."""
        try:
            with self._reports.of(decide) as address:
                outcome = self._result(task, address)
        except BrokenExecutor as error:
            raise self._broke(error) from None
        except CancelledError:
            raise WorkerDied("its trial was cancelled by the executor") from None
        except WorkerDied:
            raise
        except Exception as error:
            raise RuntimeError(
                f"sweep(executor={self._name}): the executor failed, not a trial ({type(error).__name__}: {error}); "
                "the trials that are done are kept"
            ) from error
        if outcome.status is None:  # it did not hear so from this sweep
            raise WorkerDied("its worker lost the sweep's port")
        return outcome

    def close(self) -> None:
        """Takes back what has not begun, and waits no longer for what has."""
        self._closed = True
        self._ended.put(None)
        if self._future is not None:
            self._future.cancel()

    @property
    def _name(self) -> str:
        return type(self._executor).__name__

    def _broke(self, error: BrokenExecutor) -> Exception:
        """What a broken executor means for the sweep."""
        return RuntimeError(
            f"sweep(executor={self._name}): a worker died and took the executor with it ({error}); the trials that "
            "are done are kept. executor='processes' starts dead workers again, and a function that makes executors, "
            "executor=lambda: ProcessPoolExecutor(1), is called again"
        )

    def _result(self, task: Task, address: Address) -> Outcome:
        return Outcome(*self._waited(run_there, self._sent, task.config, task.budget, address))

    def _waited(self, function: Callable[..., Any], *given: Any) -> Any:
        """What a function returns there."""
        self._future = future = self._submit(function, *given)
        future.add_done_callback(self._ended.put)
        try:
            # Not future.result(): nothing wakes that before the trial is done.
            while (ended := self._ended.get()) is not future:
                if ended is None or self._closed:
                    future.cancel()
                    raise WorkerDied("the sweep is over")
            return future.result()
        finally:
            self._future = None  # Dask computes again what is held and was lost with a worker

    def _submit(self, function: Callable[..., Any], *given: Any) -> Future[Any]:
        return self._executor.submit(function, *given)


class OnDask(OnExecutor):
    """Hands trials to a Dask cluster, which runs a trial again by itself when its worker died: each time it asks here
    whether it may begin."""

    def run(self, task: Task, decide: Decide) -> Outcome:
        """As `Runner.run`."""
        self._begun, self._most = 0, ATTEMPTS - task.attempts + 1

        def counted(step: int, value: float) -> str | None:
            if step != BEGINS:
                return decide(step, value)
            self._begun += 1
            return _ENOUGH if self._begun > self._most else None

        return super().run(task, counted)

    def _result(self, task: Task, address: Address) -> Outcome:
        try:
            found = self._waited(run_on_dask, self._sent, task.config, task.budget, address)
        except Exception as error:
            if type(error).__name__ != "KilledWorker":
                raise
            # Dask has had enough before, or no worker could ask.
            raise WorkerDied(f"its workers died ({error})", getattr(error, "allowed_failures", 2) + 1) from None
        if found == _ENOUGH:
            raise WorkerDied("its workers died, one after the other", self._most)
        return Outcome(*found)

    def _submit(self, function: Callable[..., Any], *given: Any) -> Future[Any]:
        # Dask gives tasks of the same arguments one result else.
        return self._executor.submit(function, *given, pure=False)


class OnOwnExecutor(OnExecutor):
    """Hands trials to an executor that nobody else has, made when the first one comes and again after it broke: what
    breaks it is the one trial that it has.

    make    returns an executor of one worker
    began   set once a worker of the sweep has begun: one that cannot begin later is one that died
    """

    def __init__(self, make: Callable[[], Any], sent: Any, reports: Reports, began: threading.Event) -> None:
        super().__init__(_Nowhere(), sent, reports)
        self._make, self._began = make, began

    def close(self) -> None:
        """As `OnExecutor.close`; the executor ends when its trial has."""
        super().close()
        self._executor.shutdown(wait=False)

    def _result(self, task: Task, address: Address) -> Outcome:
        if isinstance(self._executor, _Nowhere):
            self._executor = _made_by(self._make)
            if self._closed:  # just before, so that nobody has ended the new one
                self._executor.shutdown(wait=False)
        if not self._began.is_set():
            self._waited(os.getpid)  # where no worker can begin, no trial is to blame
            self._began.set()
        return super()._result(task, address)

    def _broke(self, error: BrokenExecutor) -> Exception:
        name = self._name
        self._executor.shutdown(wait=False)
        self._executor = _Nowhere()
        if self._began.is_set() or self._closed:
            return WorkerDied(f"its worker died ({error})")
        return RuntimeError(f"sweep(executor=function): the worker of a {name} could not begin ({error})")


class OnPool(OnOwnExecutor):
    """Hands trials to a pool of processes that is the user's, for as long as it lasts: when one of its processes dies,
    it is broken, and all trials that were in it are tried again, from then on by a pool of one process for each worker,
    begun as those of the user's are."""

    def __init__(self, pool: ProcessPoolExecutor, sent: Any, reports: Reports) -> None:
        began = threading.Event()
        began.set()  # where it cannot begin, its own error says so
        super().__init__(partial(ProcessPoolExecutor, 1, **_ways_of(pool)), sent, reports, began)
        self._executor, self._pool = pool, pool

    def close(self) -> None:
        """As `OnExecutor.close`; the user's pool is left alone."""
        if self._executor is self._pool:
            OnExecutor.close(self)
        else:
            super().close()


def _ways_of(pool: ProcessPoolExecutor) -> dict[str, Any]:
    """How a pool begins its processes, which it does not say in public."""
    names = ("mp_context", "initializer", "initargs", "max_tasks_per_child")
    return {name: getattr(pool, f"_{name}") for name in names if hasattr(pool, f"_{name}")}


class _Nowhere(Executor):
    """No executor yet."""


_ENOUGH = "begun often enough"
_JOBS: dict[bytes, Job] = {}  # of this process, by what was sent: the last one


def run_there(sent: Job | bytes, config: Any, budget: int | None, address: Address | None) -> tuple[Any, ...]:
    """One trial, where the executor runs it."""
    if isinstance(sent, bytes):
        job = _JOBS.get(sent)
        if job is None:
            job = opened(pickle.loads(sent))
            _JOBS.clear()
            _JOBS[sent] = job
    else:
        job = sent
    with one_thread_each(), decide_by(address) as decide:
        return tuple(job.run(config, budget, decide))


def run_on_dask(sent: Any, config: Any, budget: int | None, address: Address) -> tuple[Any, ...] | str:
    """The same on a worker of Dask, unless the trial has been begun there too often."""
    with asking(address) as asked:
        if asked.begin() == _ENOUGH:
            return _ENOUGH
        with one_thread_each():
            return tuple(sent.job().run(config, budget, asked))
