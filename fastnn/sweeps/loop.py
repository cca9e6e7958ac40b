"""The sweep: asks a strategy for configurations, has workers train them, writes down what came of each."""

from __future__ import annotations

import math
import queue
import threading
import time
import warnings
from collections import Counter, deque
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from itertools import chain
from os import PathLike
from pathlib import Path
from typing import Any

from fastnn import checks
from fastnn.interrupts import unbroken

from .arguments import not_in_a_worker, objective, strategy_for
from .job import CANCELLED, PRUNED, UNKNOWN, Job, Outcome, checked_data, version_of
from .results import ResultsFile
from .space import Space
from .strategies import Strategy
from .summary import SweepResult
from .threads import one_thread_each
from .trials import Trial, key_of
from .view import View, view_of
from .workers import ATTEMPTS, Done, InThread, Pool, Runner, Task, WorkerDied, cores

_LOOKS = 0.1  # seconds between two looks at Ctrl-C and the view
_PATIENCE = 0.8  # seconds that trainings have to end after Ctrl-C


def sweep(
    build: Callable[..., Any],
    space: Space,
    X: Any = None,
    y: Any = None,
    *,
    validation_data: Any = None,
    search: Any = "grid",
    trials: int | None = None,
    prune: Any = None,
    metric: str | None = None,
    mode: str = "auto",
    budget: int | None = None,
    seed: int = 0,
    workers: int | None = None,
    executor: Any = None,
    results: str | PathLike[str] | None = None,
    resume: bool = False,
    progress: bool = True,
) -> SweepResult:
    """Train a model for each configuration of a space, and return what came of all of them.

        def build(config):
            model = fnn.Sequential([fnn.Dense(config["width"], "relu"), fnn.Dense(10)], inputs=64, seed=config["seed"])
            return model, {"loss": "cross_entropy", "optimizer": fnn.Adam(config["lr"]), "epochs": 20}

        space = fnn.Space(lr=fnn.log_uniform(1e-4, 1e-1), width=[32, 64, 128], seed=range(5))
        result = fnn.sweep(build, space, X, y, validation_data=(Xv, yv), search="random", trials=200)

    build            `build(config)` returns a model, or a model and the arguments of its `fit` (the data and `progress`
                     are given to it). Or `train(config, budget, report)`: a whole training of your own, which returns
                     the objective, a number or a dict with it, and may call `report(value)` after each of its epochs;
                     `report` raises TrialStopped where the trial is to end. A result may depend on the configuration
                     alone, so take seeds from it
    X, y, validation_data   as for `fit`; all trials share one copy. None for `train`, which has its own
    search           "grid", all of a space of lists; "random"; "sobol" (SciPy); "tpe", an Optuna sampler or an Optuna
                     study, which may lie in any of its storages (Optuna)
    trials           how many trainings at most, repeats included; None: all of the grid
    prune            "asha", asynchronous successive halving (Li et al. 2020), "median", or an Optuna pruner: trainings
                     that lag behind others at the same epoch are ended early, a configuration with all of its repeats
                     or with none: its first seed decides; None: none is, but by the pruner of a study that is given
                     (Optuna gives a study a MedianPruner unless it is told otherwise)
    metric           the objective: a column of the history, at its last epoch (with EarlyStopping: at the one whose
                     weights were kept), or what `train` returns; None: "val_loss", or "loss" without validation data
    mode             "min", "max", or "auto": by the metric
    budget           given to `train`; to `build`, the epochs of every training; None: those that `build` says
    seed             of the search: the same seed proposes the same configurations ("tpe": with one worker)
    workers          how many trainings at once; None: one for each core. Each is trained by one thread
    executor         None or "threads": threads of this process; "processes"; a concurrent.futures.Executor, such as
                     that of a Dask client (`client.get_executor()`); or a function without arguments that makes an
                     executor of one worker, `lambda: ProcessPoolExecutor(1)`: each worker has its own, which is made
                     again when it breaks
    results          a file that gets a line of JSON for each trial as it ends
    resume           go on with the results file if there is one: trials in it are not trained again
    progress         show how it goes: a table where standard error is a terminal, else a line now and then

    A trial that raises, diverges or kills its worker is recorded as such, and the sweep goes on. Ctrl-C ends the sweep,
    without those trials that are not done, and returns what there is (`result.stopped` is "interrupted").

    TypeError and ValueError for arguments that do not fit, before anything is trained.
    """
    not_in_a_worker()
    started = _Sweep.of(
        build, space, X, y, validation_data, search, trials, prune, metric, mode, budget, seed
    )  # fmt: skip
    workers = None if workers is None else checks.integer("sweep", "workers", workers, minimum=1)
    resume, progress = checks.flag("sweep", "resume", resume), checks.flag("sweep", "progress", progress)
    if resume and results is None:
        raise ValueError("sweep(resume=True): give the results file to go on with: results=...")
    with ExitStack() as open_things:
        open_things.enter_context(one_thread_each())
        runners = open_things.enter_context(_runners(executor, started.job, workers, started.strategy.prunes))
        if results is not None:
            file = ResultsFile(results, started.header(), resume)
            open_things.callback(file.close)
            started.use(file)
        view = open_things.enter_context(
            view_of(progress, space, started.total, started.job.metric, started.larger_is_better)
        )
        return started.run(runners, view)


@contextmanager
def _runners(executor: Any, job: Job, workers: int | None, watched: bool) -> Iterator[list[Runner]]:
    """One for each worker."""
    if executor is None or executor == "threads":
        yield [InThread(job) for _ in range(workers or cores())]
        return
    # Few sweeps need more than threads.
    from . import elsewhere

    if executor == "processes":
        workers = workers or cores()
    with elsewhere.runners(executor, job, workers, watched) as found:
        yield found


@dataclass
class _Sweep:
    """A sweep at work."""

    job: Job
    space: Space
    strategy: Strategy
    larger_is_better: bool
    budget: int | None
    version: str
    data: Any
    trials: list[Trial] = field(default_factory=list)
    _file: ResultsFile | None = None
    _number: int = 0  # of the next trial
    _known: dict[str, Trial] = field(default_factory=dict)
    _running: dict[str, Task] = field(default_factory=dict)  # handed to the workers
    _next: deque[Task] = field(default_factory=deque)  # of these, those that no worker has begun, as far as is known
    _waiting: dict[str, list[Any]] = field(default_factory=dict)  # for a trial at work that was asked for again
    _cancelled: threading.Event = field(default_factory=threading.Event)
    _view: View = field(default_factory=View)

    @classmethod
    def of(
        cls, build: Any, space: Any, X: Any, y: Any, validation_data: Any, search: Any, trials: Any, prune: Any,
        metric: Any, mode: str, budget: Any, seed: Any,
    ) -> _Sweep:  # fmt: skip
        """Checked arguments."""
        if not isinstance(space, Space):
            raise TypeError(f"sweep(space={type(space).__name__}): expected a Space, fnn.Space(name=values, ...)")
        name, larger = objective(metric, mode, validation_data is not None)
        job = Job(build, name, None)
        if not job.own_loop:
            job.data = checked_data(X, y, validation_data)
        elif X is not None or y is not None or validation_data is not None:
            raise TypeError("sweep(X=...): a function train(config, budget, report) has its own data")
        budget = None if budget is None else checks.integer("sweep", "budget", budget, minimum=1)
        strategy = strategy_for(space, search, trials, prune, larger, budget, seed)
        job.watched = strategy.prunes
        return cls(job, space, strategy, larger, budget, version_of(build), job.data)

    @property
    def total(self) -> int | None:
        """How many trials there will be, if that is known."""
        return self.strategy.total

    def header(self) -> dict[str, Any]:
        """What a results file says of the sweep, and must say when it is resumed."""
        from fastnn.checkpoints import describe

        return {**self.said(), "budget": self.budget, "data": describe(self.data)}

    def said(self) -> dict[str, Any]:
        """What its result is to know of it."""
        mode = "max" if self.larger_is_better else "min"
        return {"space": self.space.describe(), "metric": self.job.metric, "mode": mode}

    def use(self, file: ResultsFile) -> None:
        """Writes trials into a file from now on, and passes by those that it has."""
        self._file = file
        self._known = {trial.key: trial for trial in file.trials}
        self.trials = list(self._known.values())
        self._number = max((trial.number + 1 for trial in self.trials), default=0)
        _warn_of_other_code(file.path, self.trials, self.version)
        self.strategy.restore(self.trials, str(file.path.resolve()))

    def run(self, runners: list[Runner], view: View) -> SweepResult:
        """Trains until the strategy has no more to ask for."""
        self._view = view
        pool, begin = Pool(runners, self._decide), time.perf_counter()
        stopped, interrupted = "interrupted", False
        for trial in self.trials:
            view.found(trial)
        try:
            self._train(pool, len(runners), view)
            stopped = "finished"
            pool.close()
        except KeyboardInterrupt:
            interrupted = True
            view.interrupted()
        finally:
            if stopped != "finished":
                self._cancelled.set()
                pool.close(_PATIENCE)
                with unbroken():
                    if interrupted:
                        self._hear_the_rest(pool, view)
                    for token in chain((task.token for task in self._running.values()), *self._waiting.values()):
                        self.strategy.drop(token)
        return SweepResult.of(self.said(), self.trials, time.perf_counter() - begin, stopped)

    def _train(self, pool: Pool, workers: int, view: View) -> None:
        # Where results decide nothing, a worker finds its next trial waiting for it, and need not wait for this thread.
        most, asked = 2 * workers if self.strategy.ahead else workers, True
        while asked or self._running:
            while asked and len(self._running) < most:
                with unbroken():
                    asked = self._ask(pool)
            while self._next and len(self._running) - len(self._next) < workers:
                self._say_begun(view)
            if self._running:
                try:
                    done = pool.done.get(timeout=_LOOKS)
                except queue.Empty:
                    view.tick()
                    continue
                # Before a trial that is tried again a worker takes those that were waiting.
                while self._next and self._next[0].number <= done.task.number:
                    self._say_begun(view)
                with unbroken():
                    trial = self._heard(done, pool)
                if trial is not None:
                    view.found(trial)

    def _say_begun(self, view: View) -> None:
        task = self._next.popleft()
        view.started(task.number, task.config)

    def _ask(self, pool: Pool) -> bool:
        """Hands the next configuration to the workers, if it is neither done nor at work; False: there is none."""
        found = self.strategy.ask()
        if found is None:
            return False
        config, token = found
        key = key_of(config, self.budget)
        if key in self._known:
            self.strategy.tell(token, self._known[key])
        elif key in self._running:
            self._waiting.setdefault(key, []).append(token)
        else:
            task = Task(self._number, config, self.budget, token)
            self._number += 1
            self._running[key] = task
            self._next.append(task)
            pool.submit(task)
        return True

    def _heard(self, done: Done, pool: Pool) -> Trial | None:
        """A worker has done with a task: the trial, unless it is tried again."""
        if isinstance(done.error, WorkerDied):
            task = done.task._replace(attempts=done.task.attempts + done.error.times - 1)
            if task.attempts < ATTEMPTS:
                pool.submit(task._replace(attempts=task.attempts + 1))
                return None
            done = done._replace(task=task)
        elif done.error is not None:
            raise done.error
        trial = self._trial(done)
        if self._file is not None:
            self._file.append(trial)
        self.trials.append(trial)
        self._known[trial.key] = trial
        for token in [done.task.token, *self._waiting.pop(trial.key, [])]:
            self.strategy.tell(token, trial)
        del self._running[trial.key]
        return trial

    def _hear_the_rest(self, pool: Pool, view: View) -> None:
        """Trials that had come to their end when the sweep was stopped."""
        while not pool.done.empty():
            done = pool.done.get()
            if done.error is None and done.outcome is not None and done.outcome.status is not None:
                trial = self._heard(done, pool)
                if trial is not None:
                    view.found(trial)

    def _trial(self, done: Done) -> Trial:
        task = done.task
        outcome = done.outcome or Outcome("failed", error=f"{done.error}, at attempt {task.attempts}")
        assert outcome.status is not None  # no trial ends with the sweep while that is at work
        fields = outcome._asdict()
        if not math.isfinite(outcome.value):
            fields["value"] = math.nan
        return Trial(
            number=task.number, config=task.config, budget=task.budget, attempts=task.attempts, version=self.version,
            **fields,
        )  # fmt: skip

    def _decide(self, task: Task, step: int, value: float) -> str | None:
        """Why a training is to end. Called by the workers' threads."""
        if self._cancelled.is_set():
            return CANCELLED
        if step > 0:
            self._view.reported(task.number, step, value)
            if self.strategy.prunes and self.strategy.stops(task.token, step, value):
                return PRUNED
        return None


def _warn_of_other_code(path: Path, trials: list[Trial], version: str) -> None:
    known = [trial.version for trial in trials if not trial.version.endswith(UNKNOWN)]
    other = Counter(found for found in known if found != version)
    if other and not version.endswith(UNKNOWN):
        warnings.warn(
            f"{path}: {sum(other.values())} of its {len(trials)} trials were trained by other code "
            f"({', '.join(other)}; now it is {version}) and are not trained again; another results file begins anew",
            stacklevel=4,
        )
