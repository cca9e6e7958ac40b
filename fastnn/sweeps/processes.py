"""Trials in processes of our own: one for each worker, which is started again when it died."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from typing import Any

from .job import Decide, Job, Outcome
from .shared import opened, take_away
from .threads import one_thread_each
from .workers import Task, WorkerDied

_REPORTS_APART = 0.2  # seconds, where nothing is decided by them: they are looked at, no more
_CHILDREN = threading.Lock()
"""Held where processes are started and reaped: multiprocessing looks at all children of this process in both."""


class InProcess:
    """Runs trials in a process of its own, which is started for the first one, and again after it died.

    packed    the job, pickled
    watched   whether trainings have to ask after each epoch if they are to end, and not now and then
    began     set once a process of the sweep has begun: one that cannot begin later is a worker that died
    """

    def __init__(self, packed: bytes, watched: bool, began: threading.Event) -> None:
        self._packed, self._watched, self._began = packed, watched, began
        self._process: Any = None
        self._pipe: Connection | None = None
        self._closed = False

    def run(self, task: Task, decide: Decide) -> Outcome:
        """As `Runner.run`."""
        pipe = self._pipe or self._started()
        try:
            pipe.send((task.config, task.budget))
            while True:
                kind, said = pipe.recv()
                if kind == "done":
                    return Outcome(*said)
                if kind == "interrupted":
                    raise KeyboardInterrupt
                pipe.send(decide(*said))
        except (EOFError, OSError):
            raise WorkerDied(f"its worker process {self._ended()}") from None

    def close(self) -> None:
        """Kills the process."""
        with _CHILDREN:
            self._closed = True
            if self._process is not None:
                self._process.kill()
                self._process.join()

    def _started(self) -> Connection:
        context = multiprocessing.get_context("spawn")
        pipe, other = context.Pipe()
        with _CHILDREN, other:
            if self._closed:
                raise WorkerDied("the sweep is over")
            self._process = context.Process(target=_serve, args=(other, self._watched), daemon=True)
            with _deaf_to_ctrl_c():
                self._process.start()
        self._pipe = pipe
        try:
            pipe.send_bytes(self._packed)
            trouble = pipe.recv()
        except (EOFError, OSError):
            trouble = f"it {self._ended()}, see its own words above"
        if trouble is None:
            self._began.set()
            return pipe
        if self._closed or self._began.is_set():
            raise WorkerDied(f"its worker process could not begin: {trouble}")
        raise RuntimeError(
            f"sweep(executor='processes'): a worker process could not begin: {trouble}. A script that sweeps with "
            "processes has its own work below `if __name__ == '__main__':`, since each process imports it; functions "
            "from a notebook or a prompt cannot be imported, those from modules can"
        )

    def _ended(self) -> str:
        """Ends what is left of the process, and says how it ended."""
        process, pipe = self._process, self._pipe
        self._pipe = None
        if pipe is not None:
            pipe.close()
        wait([process.sentinel], 1.0)  # one that ends by itself is to say how
        with _CHILDREN:
            self._process = None
            process.kill()
            process.join()
        code = process.exitcode
        if code is None:
            return "ended"
        return f"was killed by {_signal_name(-code)}" if code < 0 else f"ended with exit code {code}"


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:  # real-time signals have none
        return f"signal {number}"


@contextmanager
def _deaf_to_ctrl_c() -> Iterator[None]:
    """Processes that are started within do not hear it, from their first instruction on: it is the parent's to hear."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    resource_tracker.ensure_running()  # else it is started within, and sets the mask back
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _serve(pipe: Connection, watched: bool) -> None:
    """What a worker process does until its pipe is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    sent: list[Job] = []
    threading.Thread(target=_end_with_parent, args=(sent,), daemon=True).start()
    with one_thread_each(), contextlib.suppress(EOFError, OSError):
        try:
            sent.append(pipe.recv())
            job = opened(sent[0])
        except Exception as error:
            pipe.send(f"{type(error).__name__}: {error}")
            return
        pipe.send(None)
        _serve_trials(pipe, job, watched)


def _serve_trials(pipe: Connection, job: Job, watched: bool) -> None:
    reported = 0.0

    def decide(step: int, value: float) -> str | None:
        nonlocal reported
        now = time.monotonic()
        if step == 0 or (not watched and now - reported < _REPORTS_APART):
            return None
        reported = now
        pipe.send(("report", (step, value)))
        answer: str | None = pipe.recv()
        return answer

    while True:
        config, budget = pipe.recv()
        try:
            pipe.send(("done", tuple(job.run(config, budget, decide))))
        except KeyboardInterrupt:
            pipe.send(("interrupted", None))


def _end_with_parent(sent: list[Job]) -> None:
    """No training goes on for a sweep that was killed, and its copy of the data does not stay."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        for job in sent:
            take_away(job)
        os._exit(1)
