"""Sweeps beyond threads: processes, executors, a Dask cluster; what is killed, interrupted, cannot be sent."""

import contextlib
import gc
import itertools
import json
import os
import pickle
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import tracemalloc
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import BrokenExecutor, Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import active_children, get_context
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sweeping
from sweeping import DATA, X, Y, build, curve_of, data_of, threads_of, value_of

import fastnn as fnn
from fastnn.sweeps import elsewhere, results, shared
from fastnn.sweeps.job import CANCELLED, Job, Outcome
from fastnn.sweeps.loop import _Sweep
from fastnn.sweeps.reports import HERE, Reports, asking, decide_by
from fastnn.sweeps.view import Progress
from fastnn.sweeps.workers import Pool, Task, WorkerDied

TESTS = Path(__file__).parent
ENVIRONMENT = {**os.environ, "PYTHONPATH": os.pathsep.join([str(TESTS.parent), str(TESTS)])}
"""For scripts by path: this fastnn, whatever is installed."""
FOUR = fnn.Space(value=[3.0, 1.0, 2.0, 4.0])


@pytest.fixture(autouse=True)
def own_temporary_folder(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """What other sweeps on this machine leave there is none of a test's business."""
    folder = str(tmp_path_factory.mktemp("tmp"))
    monkeypatch.setattr(tempfile, "tempdir", folder)
    monkeypatch.setitem(ENVIRONMENT, "TMPDIR", folder)


@pytest.fixture(scope="module")
def pool() -> Iterator[ProcessPoolExecutor]:
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as executor:
        yield executor


@pytest.fixture(scope="module")
def client() -> Iterator[Any]:
    """Of a Dask cluster of two worker processes."""
    distributed = pytest.importorskip("distributed")
    with (
        distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=":0") as cluster,
        distributed.Client(cluster) as found,
    ):
        yield found


@pytest.fixture(params=["threads", "processes", "pool", "dask"])
def executor(request: pytest.FixtureRequest) -> Any:
    """Each place where trials run."""
    if request.param == "pool":
        return request.getfixturevalue("pool")
    if request.param == "dask":
        return request.getfixturevalue("client").get_executor()
    return request.param


def one_process() -> ProcessPoolExecutor:
    """An executor of its own for each of a sweep's workers."""
    return ProcessPoolExecutor(1, mp_context=get_context("spawn"))


def of(result: fnn.SweepResult) -> dict[str, tuple[Any, ...]]:
    """What came of each trial, as bits."""
    return {trial.key: (trial.status, trial.value.hex(), *[v.hex() for v in trial.curve]) for trial in result.trials}


def runs(folder: Path) -> Counter[str]:
    """How often each value was run, by the files of sweeping.value_of."""
    return Counter(path.name.split()[0] for path in folder.iterdir())


def folders() -> set[str]:
    """What sweeps have put into the temporary folder."""
    return {name for name in os.listdir(tempfile.gettempdir()) if name.startswith("fastnn-sweep-")}


def own_threads() -> list[str]:
    """Threads of sweeps that are still there."""
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("fastnn sweep")]


def comes(condition: Any, seconds: float = 60.0) -> bool:
    """Whether something comes to be true."""
    until = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > until:
            return False
        time.sleep(0.02)
    return True


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    status = Path(f"/proc/{pid}/stat")
    return not (status.exists() and status.read_text().rsplit(")", 1)[1].split()[0] == "Z")


# The same answer.


def test_64_trials_are_the_same_bits_wherever_they_run(executor: Any) -> None:
    space = fnn.Space(lr=[0.05, 0.1, 0.2, 0.4], width=[4, 8], seed=range(8))
    here = fnn.sweep(build, space, **DATA, workers=1, progress=False)
    there = fnn.sweep(build, space, **DATA, executor=executor, workers=2, progress=False)
    assert len(of(here)) == 64
    assert of(there) == of(here)
    assert not own_threads()
    assert not folders()


def test_trials_that_raise_diverge_exit_or_talk_are_recorded_wherever_they_run(
    executor: Any, capfd: pytest.CaptureFixture[str]
) -> None:
    space = fnn.Space(value=[1.0], what=["raise", "diverge", "sys.exit", "talk", None])
    result = fnn.sweep(value_of, space, executor=executor, progress=False)
    found = {trial.config["what"]: trial for trial in result.trials}
    assert {what: trial.status for what, trial in found.items()} == {
        "raise": "failed", "diverge": "diverged", "sys.exit": "failed", "talk": "finished", None: "finished",
    }  # fmt: skip
    assert "sweeping.py" in (found["raise"].error or "")
    assert "SystemExit: 3" in (found["sys.exit"].error or "")


def test_a_keyboard_interrupt_within_a_trial_interrupts_the_sweep(tmp_path: Path, pool: ProcessPoolExecutor) -> None:
    for number, executor in enumerate(["threads", "processes", pool]):
        path = tmp_path / f"{number}.jsonl"
        space = fnn.Space(value=[1.0, 2.0], what=[None, "interrupt"])
        result = fnn.sweep(value_of, space, executor=executor, workers=1, results=path, progress=False)
        assert (result.stopped, result.counts) == ("interrupted", {"finished": 1})
        assert len(results.read(path)[1]) == 1


def test_pruning_ends_the_same_trainings_wherever_they_run(executor: Any) -> None:
    pytest.importorskip("optuna")
    space = fnn.Space(value=[1.0, 2.0, 3.0, 4.0, 0.5, 5.0])
    # With one worker all runs see the same trials before them.
    result = fnn.sweep(curve_of, space, executor=executor, budget=9, prune="asha", workers=1, progress=False)
    found = {trial.config["value"]: (trial.status, len(trial.curve)) for trial in result.trials}
    here = fnn.sweep(curve_of, space, budget=9, prune="asha", workers=1, progress=False)
    assert found == {trial.config["value"]: (trial.status, len(trial.curve)) for trial in here.trials}
    assert found[1.0] == found[0.5] == ("finished", 9)
    assert [found[value][0] for value in (2.0, 3.0, 4.0, 5.0)] == ["pruned"] * 4
    assert comes(lambda: not own_threads())


def test_libraries_have_one_thread_within_a_trial_and_theirs_again_afterwards(executor: Any) -> None:
    threadpoolctl = pytest.importorskip("threadpoolctl")
    pytest.importorskip("sklearn.neural_network")
    with threadpoolctl.threadpool_limits(2):
        result = fnn.sweep(threads_of, FOUR, executor=executor, workers=2, progress=False)
        assert [trial.value for trial in result.trials] == [1.0] * 4
        assert {pool["num_threads"] for pool in threadpoolctl.threadpool_info()} == {2}


def test_two_sweeps_of_one_process_at_a_time_do_not_disturb_each_other() -> None:
    threadpoolctl = pytest.importorskip("threadpoolctl")
    pytest.importorskip("sklearn.neural_network")
    first, second = threading.Event(), threading.Event()
    found: dict[str, Any] = {}

    def overlap(config: dict[str, Any], budget: Any, report: Any) -> float:
        # The second begins while the first is at work, and goes on after it.
        if config["name"] == "first":
            first.set()
            assert second.wait(30)
        else:
            second.set()
            assert comes(lambda: "first" in found)
        return threads_of(config, budget, report)

    def run(name: str) -> None:
        found[name] = fnn.sweep(overlap, fnn.Space(name=name), progress=False)

    with threadpoolctl.threadpool_limits(2):
        threads = [threading.Thread(target=run, args=(name,)) for name in ("first", "second")]
        threads[0].start()
        assert first.wait(30)
        threads[1].start()
        for thread in threads:
            thread.join()
        assert [found[name].trials[0].value for name in ("first", "second")] == [1.0, 1.0]
        assert {pool["num_threads"] for pool in threadpoolctl.threadpool_info()} == {2}


def test_two_sweeps_with_processes_at_a_time_have_their_own_answers() -> None:
    found = {}

    def run(number: int) -> None:
        space = fnn.Space(value=[number + share / 8 for share in range(8)])
        found[number] = fnn.sweep(value_of, space, executor="processes", workers=2, progress=False)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for number in range(2):
        assert sorted(trial.value for trial in found[number].trials) == [number + share / 8 for share in range(8)]


# Workers that die.


@pytest.mark.parametrize("executor", ["processes", one_process])
def test_a_killed_process_costs_its_own_trial_which_is_tried_again(tmp_path: Path, executor: Any) -> None:
    before = set(active_children())
    folder = tmp_path / "runs"
    folder.mkdir()
    space = fnn.Space(value=[1.0, 2.0, 3.0], what=["slow", f"die once {tmp_path / 'mark'}"], runs=str(folder))
    result = fnn.sweep(value_of, space, executor=executor, workers=3, progress=False)
    assert result.counts == {"finished": 6}
    assert sorted(trial.attempts for trial in result.trials) == [1, 1, 1, 1, 1, 2]
    assert sum(runs(folder).values()) == 7
    assert comes(lambda: set(active_children()) <= before)


@pytest.mark.parametrize("executor", ["processes", one_process])
def test_what_kills_its_worker_three_times_failed_and_the_others_ran_once(tmp_path: Path, executor: Any) -> None:
    space = fnn.Space(value=[1.0, 2.0], what=["slow", "die", "os._exit"], runs=str(tmp_path))
    result = fnn.sweep(value_of, space, executor=executor, workers=3, progress=False)
    assert result.counts == {"finished": 2, "failed": 4}
    for trial in result.trials:
        how = {"die": "process was killed by SIGKILL", "os._exit": "process ended with exit code 7"}
        if executor is one_process:  # which does not say how
            how = dict.fromkeys(how, "died (A process in the process pool was terminated abruptly while the future was "
                                "running or pending.)")  # fmt: skip
        what = trial.config["what"]
        assert trial.attempts == (3 if what in how else 1)
        assert trial.error == (f"its worker {how[what]}, at attempt 3" if what in how else None)
    assert Counter(path.name.split()[1] for path in tmp_path.iterdir()) == {"slow": 2, "die": 6, "os._exit": 6}


def test_a_process_that_is_killed_before_it_begins_is_started_again_while_others_work(tmp_path: Path) -> None:
    train = sweeping.DiesAtItsSecondStart(tmp_path)
    space = fnn.Space(value=[float(value) for value in range(20)])
    result = fnn.sweep(train, space, executor="processes", workers=2, progress=False)
    assert (tmp_path / "second").exists()
    assert result.counts == {"finished": 20}
    assert sorted(trial.attempts for trial in result.trials) == [1] * 19 + [2]


BEGUN_BY: list[str] = []


def begin_as(what: str) -> None:
    """An initializer; its word is found by trials of that process."""
    BEGUN_BY.append(what)


def begun_or_dies(config: dict[str, Any], budget: int | None, report: Any) -> float:
    """Dies for one value, after the others have begun; else says how its process was begun."""
    if config["value"] == 1.0:
        time.sleep(0.3)
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(0.6)
    return float(BEGUN_BY == ["mine"])


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_a_pool_that_breaks_is_replaced_and_costs_no_other_trial(method: str, tmp_path: Path) -> None:
    """The two that were beside the deadly one are tried again, by processes that are begun as those of the pool."""
    path, space = tmp_path / "sweep.jsonl", fnn.Space(value=[1.0, 2.0, 3.0, 4.0, 5.0])
    given = {"mp_context": get_context(method), "initializer": begin_as, "initargs": ("mine",)}
    with ProcessPoolExecutor(3, **given) as executor:  # type: ignore[arg-type]
        result = fnn.sweep(begun_or_dies, space, executor=executor, results=path, progress=False)
        with pytest.raises(BrokenExecutor):
            executor.submit(os.getpid)
    assert result.counts == {"finished": 4, "failed": 1}
    by_value = {trial.config["value"]: trial for trial in result.trials}
    assert (by_value[1.0].attempts, by_value[1.0].status) == (3, "failed")
    assert "its worker died" in (by_value[1.0].error or "")
    assert {trial.value for trial in result.trials if trial.status == "finished"} == {1.0}
    assert all(trial.attempts <= 2 for trial in result.trials if trial.status == "finished")
    assert len(results.read(path)[1]) == 5
    assert comes(lambda: not own_threads())


class BreaksForGood(ThreadPoolExecutor):
    """Of another kind than those that are known here."""

    def submit(self, *given: Any, **named: Any) -> Future[Any]:
        raise BrokenExecutor("gone")


def test_an_executor_of_another_kind_that_breaks_ends_the_sweep_and_keeps_what_is_done() -> None:
    with (
        BreaksForGood(1) as executor,
        pytest.raises(RuntimeError, match=r"took the executor with it .* a function that makes executors"),
    ):
        fnn.sweep(value_of, FOUR, executor=executor, progress=False)


def cannot_begin() -> None:
    raise LookupError("no licence")


def test_functions_that_make_no_executor_of_one_worker_are_refused_before_anything_runs(tmp_path: Path) -> None:
    def refused(error: type[Exception], match: str, executor: Any) -> None:
        with pytest.raises(error, match=match):
            fnn.sweep(value_of, space, executor=executor, workers=2, progress=False)
        assert not any(tmp_path.iterdir())
        assert comes(lambda: not own_threads())

    space = fnn.Space(value=[1.0, 2.0], what=None, runs=str(tmp_path))
    refused(TypeError, "it made 3, expected a concurrent.futures.Executor", lambda: 3)
    refused(ValueError, r"a ThreadPoolExecutor of 2 workers, expected one, such as", lambda: ThreadPoolExecutor(2))
    refused(
        RuntimeError, "the worker of a ProcessPoolExecutor could not begin",
        lambda: ProcessPoolExecutor(1, mp_context=get_context("spawn"), initializer=cannot_begin),
    )  # fmt: skip


def test_a_thread_of_an_executor_of_its_own_trains_as_well() -> None:
    result = fnn.sweep(
        lambda config, budget, report: config["value"], FOUR, executor=lambda: ThreadPoolExecutor(1), progress=False
    )
    assert result.counts == {"finished": 4}


class Breaks(Executor):
    """Runs two trials and then fails in its own way."""

    def __init__(self) -> None:
        self.count = 0

    def submit(self, function: Any, /, *given: Any, **named: Any) -> Future[Any]:
        self.count += 1
        found: Future[Any] = Future()
        if self.count <= 2:
            found.set_result(function(*given, **named))
        elif self.count == 3:
            found.set_exception(OSError("no route to host"))
        return found


def test_an_executor_that_fails_by_itself_ends_the_sweep_with_its_error(tmp_path: Path) -> None:
    path = tmp_path / "sweep.jsonl"
    with pytest.raises(RuntimeError, match=r"executor=Breaks\): the executor failed, not a trial \(OSError: no route"):
        fnn.sweep(value_of, FOUR, executor=Breaks(), results=path, progress=False)
    assert len(results.read(path)[1]) == 2
    pool = ThreadPoolExecutor(1)
    pool.shutdown()
    with pytest.raises(RuntimeError, match="cannot schedule new futures after shutdown"):
        fnn.sweep(value_of, FOUR, executor=pool, progress=False)
    assert not own_threads()


class KilledWorker(Exception):
    """As that of Dask's."""

    def __init__(self, allowed_failures: int) -> None:
        super().__init__(allowed_failures)
        self.allowed_failures = allowed_failures


class Kills(Executor):
    """A cluster whose workers all die of their trials, each of which it tries again by itself."""

    def __init__(self, allowed_failures: int, deaf: bool) -> None:
        self.allowed_failures, self.deaf, self.deaths = allowed_failures, deaf, 0

    def submit(self, function: Any, /, *given: Any, **named: Any) -> Future[Any]:
        found: Future[Any] = Future()
        for _ in range(self.allowed_failures + 1):
            with asking(given[3]) as asked:
                answer = None if self.deaf else asked.begin()
            if answer is not None:
                found.set_result(answer)
                return found
            self.deaths += 1
        found.set_exception(KilledWorker(self.allowed_failures))
        return found


@pytest.mark.parametrize("deaf", [False, True], ids=["asked", "behind a firewall"])
@pytest.mark.parametrize("allowed_failures", [0, 1, 2, 3, 7])
def test_a_trial_kills_three_workers_of_dask_and_no_more(
    allowed_failures: int, deaf: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(elsewhere, "OnExecutor", elsewhere.OnDask)
    executor = Kills(allowed_failures, deaf)
    (trial,) = fnn.sweep(value_of, fnn.Space(value=[1.0]), executor=executor, progress=False).trials
    # Where nobody can ask, Dask's own count holds.
    deaths = {0: 3, 1: 4, 2: 3, 3: 4, 7: 8}[allowed_failures] if deaf else 3
    assert (trial.status, trial.attempts, executor.deaths) == ("failed", deaths, deaths)
    assert (trial.error or "").startswith("its workers died")
    assert (trial.error or "").endswith(f", at attempt {deaths}")


def test_an_error_of_a_pruner_ends_the_sweep_wherever_trials_run(executor: Any) -> None:
    optuna = pytest.importorskip("optuna")

    class Faulty(optuna.pruners.BasePruner):  # type: ignore[misc, name-defined]
        def prune(self, study: Any, trial: Any) -> bool:
            raise LookupError("a faulty pruner")

    with pytest.raises(LookupError, match="a faulty pruner"):
        fnn.sweep(curve_of, FOUR, executor=executor, budget=3, prune=Faulty(), workers=2, progress=False)
    assert comes(lambda: not own_threads())


@pytest.mark.slow
def test_a_sweep_on_dask_survives_its_workers(tmp_path: Path) -> None:
    distributed = pytest.importorskip("distributed")
    import dask

    settings = {"distributed.comm.timeouts.connect": "5s"}
    with (
        dask.config.set(settings),
        distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=":0") as cluster,
        distributed.Client(cluster) as client,
    ):
        killed = threading.Timer(0.5, _kill_a_worker, (client,))
        killed.start()
        space = fnn.Space(value=[*map(float, range(12))], what="slow")
        result = fnn.sweep(value_of, space, executor=client.get_executor(), progress=False)
        killed.join()
        assert sorted(trial.value for trial in result.trials) == [*map(float, range(12))]
        client.wait_for_workers(2, timeout=60)
        # A worker that is started again has the data again.
        space = fnn.Space(lr=[0.1, 0.2, 0.3, 0.4, 0.5, 0.6])
        result = fnn.sweep(sweeping.build_or_die, space, **DATA, executor=client.get_executor(), progress=False)
    assert len(result.trials) == 6
    for trial in result.trials:
        if trial.config["lr"] == 0.3:
            assert trial.status == "failed"
            assert trial.attempts == 3
            assert "its workers died" in (trial.error or "")
            assert "at attempt 3" in (trial.error or "")
        else:
            assert trial.status == "finished", trial.error


def _kill_a_worker(client: Any) -> None:
    pid = min(client.run(os.getpid).values())
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


# Ctrl-C, and a parent that is killed.

SCRIPT = """
import json, os, signal, sys, time
import fastnn as fnn
import sweeping

heard = []

def hear(number, frame):
    heard.append(time.monotonic())
    signal.default_int_handler(number, frame)

if __name__ == "__main__":
    signal.signal(signal.SIGINT, hear)
    kind, path, folder = sys.argv[1:]
    space = fnn.Space(value=[1.0, 2.0, 3.0], what=[None, "wait"], runs=folder)
    given = dict(workers=2, results=path, resume=os.path.exists(path), progress=False)
    if kind == "dask":
        from distributed import Client, LocalCluster
        two = dict(n_workers=2, threads_per_worker=1, dashboard_address=":0")
        with LocalCluster(**two) as cluster, Client(cluster) as client:
            result = fnn.sweep(sweeping.value_of, space, executor=client.get_executor(), **given)
            took = time.monotonic() - heard[0]
    else:
        result = fnn.sweep(sweeping.value_of, space, executor=kind, **given)
        took = time.monotonic() - heard[0]
    print(json.dumps([result.stopped, len(result.trials), took]))
"""


def begun(tmp_path: Path, kind: str) -> tuple[subprocess.Popen[str], Path, Path, list[int]]:
    """A sweep of two workers that both wait: the process, results file, folder of runs, and pids of the workers."""
    script, path, folder = tmp_path / "script.py", tmp_path / "sweep.jsonl", tmp_path / "runs"
    script.write_text(SCRIPT)
    folder.mkdir()
    process = subprocess.Popen(
        [sys.executable, script, kind, path, folder], env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        text=True, start_new_session=True,
    )  # fmt: skip
    assert comes(lambda: sum("wait" in name for name in os.listdir(folder)) == 2 or process.poll() is not None)
    assert process.poll() is None, process.communicate()
    pids = {int(name.split()[2]) for name in os.listdir(folder)}
    return process, path, folder, sorted(pids - {process.pid})


@pytest.mark.parametrize("kind", ["threads", "processes", pytest.param("dask", marks=pytest.mark.slow)])
def test_ctrl_c_ends_a_sweep_at_once_without_a_rest(tmp_path: Path, kind: str) -> None:
    before = folders()
    process, path, folder, pids = begun(tmp_path, kind)
    for pid in pids if kind == "processes" else []:  # a terminal sends it to all: it is the sweep's to hear
        os.kill(pid, signal.SIGINT)
    time.sleep(0.3)
    assert process.poll() is None
    os.killpg(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=60)
    stopped, count, took = json.loads(out)
    assert (stopped, count) == ("interrupted", 2)
    assert took < 3  # a second, and what a machine with other work takes for it; the trials wait for 100
    assert kind == "dask" or not err
    assert len(pids) == (0 if kind == "threads" else 2)
    assert not any(map(is_alive, pids))
    assert folders() == before
    space = fnn.Space(value=[1.0, 2.0, 3.0], what=[None, "wait"], runs=str(folder))
    with pytest.warns(UserWarning, match="2 of its 2 trials were trained by other code"):
        rest = fnn.sweep(
            lambda config, budget, report: config["value"], space, results=path, resume=True, progress=False
        )
    assert rest.counts == {"finished": 6}


def test_worker_processes_end_with_a_parent_that_is_killed(tmp_path: Path) -> None:
    process, path, _, pids = begun(tmp_path, "processes")
    process.kill()
    process.communicate()
    assert len(pids) == 2
    assert comes(lambda: not any(map(is_alive, pids)))
    assert len(results.read(path)[1]) == 2


WITH_DATA = """
import os, sys, time
import numpy as np
import fastnn as fnn

def build(config):
    open(os.path.join(sys.argv[1], str(os.getpid())), "w").close()
    time.sleep(100)

if __name__ == "__main__":
    X = np.zeros((100, 3))
    fnn.sweep(build, fnn.Space(lr=[0.1, 0.2]), X, X, executor="processes", workers=2, progress=False)
"""


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM], ids=["kill -9", "SIGTERM"])
def test_the_data_of_a_sweep_that_is_killed_do_not_stay(how: int, tmp_path: Path) -> None:
    script, begun = tmp_path / "script.py", tmp_path / "begun"
    script.write_text(WITH_DATA)
    begun.mkdir()
    process = subprocess.Popen([sys.executable, script, begun], env=ENVIRONMENT)
    assert comes(lambda: len(os.listdir(begun)) == 2)
    assert len(folders()) == 1
    process.send_signal(how)
    process.wait()
    assert comes(lambda: not folders())
    assert comes(lambda: not any(is_alive(int(pid)) for pid in os.listdir(begun)))


def test_trials_of_an_executor_end_with_the_sweep_that_was_interrupted(tmp_path: Path) -> None:
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as executor:
        timer = threading.Thread(target=_interrupt_when, args=(tmp_path,))
        timer.start()
        space = fnn.Space(value=[1.0, 2.0], what="wait", runs=str(tmp_path))
        result = fnn.sweep(value_of, space, executor=executor, progress=False)
        timer.join()
        assert result.stopped == "interrupted"
        assert executor.submit(os.getpid).result(30) > 0


def _interrupt_when(folder: Path) -> None:
    comes(lambda: len(os.listdir(folder)) == 2)
    time.sleep(0.7)
    os.kill(os.getpid(), signal.SIGINT)


# What can be sent.


def test_functions_that_cannot_be_sent_are_refused_before_anything_runs(tmp_path: Path, pool: Executor) -> None:
    for executor in ("processes", pool):
        with pytest.raises(TypeError, match=r"cannot be sent to another process .* at the top level of a module"):
            fnn.sweep(
                lambda config, budget, report: 1.0, FOUR, executor=executor, results=tmp_path / "x", progress=False
            )
        assert not (tmp_path / "x").exists()
    assert not folders()
    with ThreadPoolExecutor(2) as threads:  # nothing is sent anywhere
        result = fnn.sweep(lambda config, budget, report: config["value"], FOUR, executor=threads, progress=False)
    assert result.best.mean == 1.0


def test_dask_takes_functions_of_notebooks_and_refuses_what_it_cannot_send(client: Any) -> None:
    executor = client.get_executor()
    result = fnn.sweep(lambda config, budget, report: config["value"], FOUR, executor=executor, progress=False)
    assert result.best.mean == 1.0
    lock = threading.Lock()
    with pytest.raises(TypeError, match="cannot be sent to another process"):
        fnn.sweep(lambda config, budget, report: float(lock.locked()), FOUR, executor=executor, progress=False)


GUARDED = """
import sys
import fastnn as fnn

def train(config, budget, report):
    return config["value"] + HALF

HALF = 0.5

def main():
    given = dict(executor="processes", workers=2, results=sys.argv[1], progress=False)
    print(fnn.sweep(train, fnn.Space(value=[1.0, 2.0]), **given).best.mean)

"""


def test_scripts_need_their_guard_and_are_told_so(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(GUARDED + 'if __name__ == "__main__":\n    main()\n')
    for arguments in ([script], ["-c", GUARDED + "main()"]):
        script.write_text(GUARDED + "main()\n")
        done = subprocess.run(
            [sys.executable, *arguments, tmp_path / "sweep.jsonl"], env=ENVIRONMENT, capture_output=True, text=True,
            check=False,
        )  # fmt: skip
        assert done.returncode == 1
        assert done.stdout == ""
        assert "below `if __name__ == '__main__':`" in done.stderr
        assert "another sweep is writing it" not in done.stderr
        assert "exists" not in done.stderr
    script.write_text(GUARDED + 'if __name__ == "__main__":\n    main()\n')
    done = subprocess.run(
        [sys.executable, script, tmp_path / "sweep.jsonl"], env=ENVIRONMENT, capture_output=True, text=True, check=True
    )
    assert done.stdout == "1.5\n"  # what the others have left of a results file is not in its way


# Data.


def maps(data: dict[str, Any]) -> dict[str, Any]:
    """What goes to worker processes for arrays, and what they see of it."""
    given = Job(build, "loss", data)
    with shared.mapped(given) as job:
        found = shared.opened(pickle.loads(pickle.dumps(job))).data
        assert found is not None
        for name, value in data.items():
            assert np.array_equal(found[name], value)
            assert found[name].dtype == value.dtype
        assert job.data is not None
        (folder,) = folders()
        return {
            name: value._path if isinstance(value, shared.InFile) and folder not in value._path else None
            for name, value in job.data.items()
        }


def test_memory_mapped_arrays_and_rows_of_them_go_by_path(tmp_path: Path) -> None:
    path = tmp_path / "X.npy"
    np.save(path, X)
    mapped = np.load(path, mmap_mode="r")
    by_path = {"whole": mapped, "rows": mapped[5:50], "rows of rows": mapped[5:50][7:20], "one": mapped[95:]}
    assert maps(by_path) == dict.fromkeys(by_path, str(path))
    changed = np.load(path, mmap_mode="c")
    changed[:] = 0
    copied = {
        "columns": mapped[:, 2:4], "every other": mapped[::2], "changed": changed, "sums": mapped + 1, "plain": X,
        "none": mapped[:0], "texts": np.array(["a", "bcd"]), "objects": np.array(["a", None], object),
    }  # fmt: skip
    assert maps(copied) == dict.fromkeys(copied)
    assert not folders()


def test_a_mapped_file_that_is_gone_is_copied_from_memory(tmp_path: Path) -> None:
    path = tmp_path / "X.npy"
    np.save(path, X)
    mapped = np.load(path, mmap_mode="r")
    path.unlink()
    assert maps({"X": mapped}) == {"X": None}


def test_sweeps_on_mapped_data_are_the_same_bits(tmp_path: Path, executor: Any) -> None:
    np.save(tmp_path / "X.npy", X)
    mapped = np.load(tmp_path / "X.npy", mmap_mode="r")
    data = {"X": mapped[32:], "y": Y[32:], "validation_data": (mapped[:32], Y[:32])}
    plain = {"X": X[32:], "y": Y[32:], "validation_data": (X[:32], Y[:32])}
    space = fnn.Space(lr=[0.1, 0.2])
    there = fnn.sweep(build, space, **data, executor=executor, workers=2, progress=False)
    assert of(there) == of(fnn.sweep(build, space, **plain, progress=False))


def test_arrays_of_objects_fare_as_in_threads() -> None:
    targets = Y.astype(object)
    space = fnn.Space(lr=[0.1])
    here, there = (
        fnn.sweep(build, space, X, targets, executor=executor, workers=1, progress=False).trials[0]
        for executor in ("threads", "processes")
    )
    assert here.status == there.status
    assert (here.error or "").splitlines()[-1:] == (there.error or "").splitlines()[-1:]


def test_the_folder_of_data_is_gone_after_an_error() -> None:
    with pytest.raises(RuntimeError, match="the executor failed"):
        fnn.sweep(data_of, FOUR, X, X[:, 0], executor=Breaks(), progress=False)
    assert not folders()


def test_dask_is_sent_the_data_once_and_trials_none(client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    import cloudpickle

    executor, sizes, sent = client.get_executor(), [], []
    submit, register = client.submit, client.register_plugin

    def measured(function: Any, *given: Any, **named: Any) -> Any:
        sizes.append(len(cloudpickle.dumps((function, given))))
        return submit(function, *given, **named)

    def counted(plugin: Any, **named: Any) -> Any:
        sent.append(len(cloudpickle.dumps(plugin)))
        return register(plugin, **named)

    monkeypatch.setattr(client, "submit", measured)
    monkeypatch.setattr(client, "register_plugin", counted)
    big = np.zeros((10_000, 8), np.float32)
    result = fnn.sweep(data_of, FOUR, big, big[:, :1], executor=executor, progress=False)
    assert result.counts == {"finished": 4}
    assert len(sent) == 1
    assert sent[0] > big.nbytes
    assert len(sizes) == 4
    assert max(sizes) < 4096
    assert not any(client.run(lambda dask_worker: [n for n in dask_worker.plugins if "fastnn" in n]).values())


def test_a_cluster_without_workers_is_refused() -> None:
    distributed = pytest.importorskip("distributed")
    with (
        distributed.LocalCluster(n_workers=0, processes=False, dashboard_address=":0") as cluster,
        distributed.Client(cluster) as client,
        pytest.raises(ValueError, match=r"has no workers yet: client.wait_for_workers"),
    ):
        fnn.sweep(value_of, FOUR, executor=client.get_executor(), progress=False)


@pytest.mark.slow
@pytest.mark.parametrize("page", ["README.md", "docs/sweeps.md"])
def test_the_examples_on_a_local_cluster_run(page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("distributed")
    monkeypatch.chdir(tmp_path)
    text = (TESTS.parent / page).read_text(encoding="utf-8")
    blocks = re.findall(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    (example,) = [block for block in blocks if "LocalCluster" in block]
    data = {"X": X, "y": Y, "Xv": X, "yv": Y, "X_train": X, "y_train": Y, "X_test": X, "y_test": Y}
    names = {"__name__": "__main__", "fnn": fnn, "build": build, "space": fnn.Space(lr=[0.1, 0.2]), **data}
    free_port = 'threads_per_worker=1, dashboard_address=":0"'
    exec(compile(example.replace("threads_per_worker=1", free_port), page, "exec"), names)  # the examples are ours
    assert names["result"].best.config in ({"lr": 0.1}, {"lr": 0.2})


# Reports.


def test_only_callers_with_the_key_are_heard_and_others_do_no_harm() -> None:
    heard: list[tuple[int, float]] = []

    def decide(step: int, value: float) -> str | None:
        heard.append((step, value))
        return "pruned" if step == 2 else None

    silent = socket.socket()
    with Reports(HERE, watched=True) as reports, reports.of(decide) as address:
        silent.connect((address.host, address.port))
        for garbage in (b"", b"GET / HTTP/1.1\r\n\r\n", b"\xff" * 4096):
            with socket.create_connection((address.host, address.port)) as caller:
                caller.sendall(garbage)
        with decide_by(address._replace(key=b"wrong" * 8)) as wrong, pytest.raises(ConnectionError, match="cannot be"):
            wrong(1, 0.0)
        assert heard == []
        with decide_by(address) as right:
            assert [right(step, 0.5) for step in (1, 2)] == [None, "pruned"]
        with decide_by(address._replace(number=99)) as unknown:
            assert unknown(1, 0.5) == CANCELLED
        assert heard == [(1, 0.5), (2, 0.5)]
        with decide_by(address) as later:
            assert later(1, 0.5) is None
            reports.__exit__()
            assert later(2, 0.5) == CANCELLED
    with decide_by(address) as after:
        assert after(1, 0.5) == CANCELLED
    assert comes(lambda: not own_threads())
    silent.close()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no processes are forked")
def test_the_port_of_a_sweep_that_is_over_is_closed_though_processes_were_forked_from_it() -> None:
    """Else a training in a forked worker asks, nobody answers, and it goes on for a sweep that was stopped."""
    until, end = os.pipe()
    with Reports(HERE, watched=True) as reports, reports.of(lambda step, value: None) as address:
        child = os.fork()
        if child == 0:
            os.close(end)
            os.read(until, 1)
            os._exit(0)
    try:
        begin = time.monotonic()
        with decide_by(address) as decide:
            assert decide(1, 0.5) == CANCELLED
        assert time.monotonic() - begin < 5
    finally:
        os.close(until)
        os.close(end)
        os.waitpid(child, 0)


def test_trainings_that_need_not_report_ask_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fastnn.sweeps.reports._APART", 0.05)
    heard = []
    with Reports(HERE, watched=False) as reports:
        with reports.of(lambda step, value: heard.append(step)) as address, decide_by(address) as decide:
            assert [decide(step, 0.5) for step in range(1, 1000)] == [None] * 999
            time.sleep(0.1)
            assert decide(1000, 0.5) is None
        assert 1 <= len(heard) < 100
        with decide_by(address) as stopped:
            time.sleep(0.1)
            assert stopped(1, 0.5) == CANCELLED


def test_a_training_that_cannot_reach_the_sweep_goes_on_unless_it_is_to_be_pruned() -> None:
    with socket.create_server((HERE, 0)) as other:  # takes the call and says nothing of the kind
        port = other.getsockname()[1]
        with Reports(HERE, watched=True) as reports, reports.of(lambda step, value: None) as address:
            elsewhere = address._replace(host="localhost", port=port)
        thread = threading.Thread(target=lambda: [other.accept()[0].close() for _ in range(2)])
        thread.start()
        with decide_by(elsewhere) as watched, pytest.raises(ConnectionError, match="pruning needs that"):
            watched(1, 0.5)
        with decide_by(elsewhere._replace(watched=False)) as free:
            time.sleep(0.6)
            assert [free(1, 0.5), free(2, 0.5)] == [None, None]
        thread.join()


# Closing.


class Stuck:
    """A runner that nothing ends."""

    def __init__(self, go_on: threading.Event) -> None:
        self._go_on = go_on

    def run(self, task: Task, decide: Any) -> Any:
        self._go_on.wait(60)

    def close(self) -> None:
        """In vain."""


def test_closing_waits_once_for_all_workers_and_not_for_each() -> None:
    go_on = threading.Event()
    pool = Pool([Stuck(go_on) for _ in range(20)], lambda task, step, value: None)
    for number in range(20):
        pool.submit(Task(number, {}, None, None))
    start = time.monotonic()
    pool.close(0.5)
    assert time.monotonic() - start < 5
    go_on.set()
    assert comes(lambda: not own_threads())


def test_an_interrupt_while_workers_begin_leaves_none(monkeypatch: pytest.MonkeyPatch) -> None:
    start, count = threading.Thread.start, itertools.count()

    def interrupted(thread: threading.Thread) -> None:
        start(thread)
        if thread.name.startswith("fastnn sweep") and next(count) == 1:
            raise KeyboardInterrupt

    monkeypatch.setattr(threading.Thread, "start", interrupted)
    with pytest.raises(KeyboardInterrupt):
        fnn.sweep(value_of, FOUR, workers=3, progress=False)
    assert comes(lambda: not own_threads(), 5)


@pytest.mark.parametrize("seconds", [0.0, 0.01, 0.05, 0.2, 0.6])
def test_closing_while_processes_start_leaves_none(seconds: float) -> None:
    import multiprocessing

    from fastnn.sweeps.elsewhere import runners

    job, before = Job(value_of, "loss", None), set(multiprocessing.active_children())
    with runners("processes", job, 3, False) as found:
        pool = Pool(found, lambda task, step, value: None)
        for number in range(3):
            pool.submit(Task(number, {"value": 1.0, "what": "wait"}, None, None))
        time.sleep(seconds)
        pool.close(5)
    assert not own_threads()
    assert set(multiprocessing.active_children()) == before


# Memory.


def nothing(config: dict[str, Any], budget: int | None, report: Any) -> float:
    return float(config["value"])


def test_what_a_trial_takes_does_not_grow_with_their_number() -> None:
    def taken(trials: int) -> tuple[float, float]:
        """Bytes kept and calls made for each trial."""
        calls = 0

        def count(frame: Any, event: str, argument: Any) -> None:
            nonlocal calls
            calls += 1

        gc.collect()
        tracemalloc.start()
        sys.setprofile(count)
        try:
            space = fnn.Space(value=fnn.uniform(0, 1))
            result = fnn.sweep(nothing, space, search="random", trials=trials, workers=1, progress=False)
        finally:
            sys.setprofile(None)
            size = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
        assert len(result.trials) == trials
        return size / trials, calls / trials

    taken(10)
    few, many = taken(300), taken(1200)
    assert many[0] < 1.2 * few[0]
    assert many[0] < 8192
    assert many[1] < 1.2 * few[1]


RSS = """
import re
from pathlib import Path
import fastnn as fnn
from sweeping import value_of
result = fnn.sweep(value_of, fnn.Space(value=fnn.uniform(0, 1)), search="random", trials=10_000, results={path!r})
assert len(result.trials) == 10_000 and result.best
print(int(re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1]) // 1024)
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="ru_maxrss begins with that of the parent")
def test_ten_thousand_trials_take_less_than_300_mib(tmp_path: Path) -> None:
    script = RSS.format(path=str(tmp_path / "sweep.jsonl"))
    done = subprocess.run([sys.executable, "-c", script], env=ENVIRONMENT, capture_output=True, text=True, check=True)
    assert int(done.stdout) < 300


def test_trials_that_overtake_one_that_is_tried_again_are_not_running_for_ever() -> None:
    """A worker that dies finds the next trial waiting, and the one that it died of behind that."""

    class DiesOnce:
        def run(self, task: Task, decide: Any) -> Outcome:
            if (task.number, task.attempts) == (0, 1):
                raise WorkerDied("as the test says")
            return Outcome("finished", task.config["value"])

        def close(self) -> None:
            """Nothing was started."""

    sweep = _Sweep.of(value_of, FOUR, None, None, None, "grid", None, None, None, "min", None, 0)
    view = Progress(FOUR, 4, "loss", larger_is_better=False)
    result = sweep.run([DiesOnce()], view)
    assert len(result.trials) == 4
    assert (view.done, view.running) == (4, {})
