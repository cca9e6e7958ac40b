"""Who trains: a daemon thread for each worker, which runs trials itself or has them run elsewhere.

Threads are the default: a compiled run holds no GIL, a new architecture compiles nothing, and all share one copy of the
data. A thread that waits for a process or for a future costs nothing, so that there is one loop over trials, whoever
does the work.
"""

from __future__ import annotations

import contextlib
import os
import queue
import threading
import time
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

from .job import CANCELLED, Decide, Job, Outcome
from .space import Config
from .threads import one_thread_here

ATTEMPTS = 3
"""How many times a configuration may kill its worker."""


class Task(NamedTuple):
    """A trial to run."""

    number: int
    config: Config
    budget: int | None
    token: Any
    attempts: int = 1


class WorkerDied(Exception):
    """The worker went away in the middle of a trial: killed, out of memory.

    times   how often: what runs trials may have tried again by itself
    """

    def __init__(self, reason: str, times: int = 1) -> None:
        super().__init__(reason)
        self.times = times


class Runner(Protocol):
    """What a worker's thread calls."""

    def run(self, task: Task, decide: Decide) -> Outcome:
        """The trial; WorkerDied where what ran it went away, after which the next one can be run all the same."""

    def close(self) -> None:
        """Ends what it started, at once, from any thread."""


class InThread:
    """Runs trials in the worker's own thread."""

    def __init__(self, job: Job) -> None:
        self._job, self._begun = job, False

    def run(self, task: Task, decide: Decide) -> Outcome:
        """As `Runner.run`."""
        if not self._begun:
            one_thread_here()
            self._begun = True
        return self._job.run(task.config, task.budget, decide)

    def close(self) -> None:
        """Trainings hear it by `decide`."""


class Done(NamedTuple):
    """What a worker's thread puts before the sweep: an outcome, or the error that ended the trial."""

    task: Task
    outcome: Outcome | None
    error: BaseException | None = None


class Pool:
    """Workers that take tasks from one queue and put what came of them into another.

    runners   one for each worker
    decide    (task, step, value) -> why its training is to end; called from the workers' threads
    """

    def __init__(
        self, runners: list[Runner], decide: Callable[[Task, int, float], str | None]
    ) -> None:  # fmt: skip
        self._runners, self._decide = runners, decide
        self._tasks: queue.SimpleQueue[Task | None] = queue.SimpleQueue()
        self.done: queue.SimpleQueue[Done] = queue.SimpleQueue()
        self._threads = [
            threading.Thread(target=self._work, args=(runner,), name=f"fastnn sweep {number}", daemon=True)
            for number, runner in enumerate(runners)
        ]
        try:
            for thread in self._threads:
                thread.start()
        except BaseException:  # such as Ctrl-C: nobody else knows those that have begun
            self._end_threads()
            raise

    def submit(self, task: Task) -> None:
        """Hands a task to the first worker that is free."""
        self._tasks.put(task)

    def close(self, wait: float | None = None) -> None:
        """Ends the workers: after the trials that they are at, or, where what they started is ended by it, at once.

        wait   seconds to wait for them at most, without the tasks that none has taken; None: until they have ended
        """
        if wait is not None:
            with contextlib.suppress(queue.Empty):
                while True:
                    self._tasks.get_nowait()
        self._end_threads()
        if wait is not None:
            self._end_runners()
            until = time.monotonic() + wait
        for thread in self._threads:
            thread.join(None if wait is None else max(0.0, until - time.monotonic()))
        self._end_runners()

    def _end_threads(self) -> None:
        for _ in self._threads:
            self._tasks.put(None)

    def _end_runners(self) -> None:
        for runner in self._runners:
            with contextlib.suppress(Exception):
                runner.close()

    def _work(self, runner: Runner) -> None:
        while (task := self._tasks.get()) is not None:
            asked = _Asked(self._decide, task)
            try:
                outcome = runner.run(task, asked)
                self.done.put(Done(task, outcome, asked.error))
            except BaseException as error:  # the sweep decides what it means
                self.done.put(Done(task, None, asked.error or error))


class _Asked:
    """Why a training is to end. An error of what decides, such as a pruner's, is not the trial's: it ends the training
    and is kept for the sweep."""

    def __init__(self, decide: Callable[[Task, int, float], str | None], task: Task) -> None:
        self._decide, self._task = decide, task
        self.error: Exception | None = None

    def __call__(self, step: int, value: float) -> str | None:
        try:
            return self._decide(self._task, step, value)
        except Exception as error:
            self.error = error
            return CANCELLED


def cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
