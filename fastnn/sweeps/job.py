"""What a worker does: one training by the user's function, whatever comes of it put into an `Outcome`.

A job is what all trials of a sweep share. It is sent to a worker once, a trial sends no more than its configuration.
"""

from __future__ import annotations

import hashlib
import inspect
import math
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import Any, NamedTuple

import numpy as np

from fastnn import checks
from fastnn.bound import NonFiniteLoss
from fastnn.callbacks import Callback, Context, EarlyStopping
from fastnn.history import History
from fastnn.model import Sequential

from .space import Config
from .trials import Status

Decide = Callable[[int, float], str | None]
"""(step, value) -> why the training is to end, or None."""


class TrialStopped(Exception):
    """Raised by `report` where a trial is to end: pruned, or the whole sweep was stopped. Let it pass, or clean up and
    raise it again."""


class Outcome(NamedTuple):
    """What came of a trial; the fields of `Trial`. Stopped with the sweep: status is None."""

    status: Status | None
    value: float = math.nan
    scores: dict[str, float] = {}  # noqa: RUF012 - never written into
    curve: tuple[float, ...] = ()
    seconds: float = 0.0
    error: str | None = None


class Report:
    """What a user-written `train` calls as `report(value)`, or `report(value, step)`, after each of its epochs."""

    def __init__(self, decide: Decide) -> None:
        self.curve: list[float] = []
        self._decide = decide
        self.reason: str | None = None

    def __call__(self, value: float, step: int | None = None) -> None:
        """Tells the sweep how far training has come; raises TrialStopped where it is to end.

        step   counted from 1; None: one more than at the last call
        """
        step = len(self.curve) + 1 if step is None else checks.integer("report", "step", step, minimum=1)
        self.curve.append(float(value))
        self.reason = self._decide(step, float(value))
        if self.reason is not None:
            raise TrialStopped(self.reason)


class _Watch(Callback):
    """Tells the sweep the objective after each epoch, and ends the training when it is to end."""

    def __init__(self, metric: str, decide: Decide, may_lag: bool) -> None:
        self.may_lag, self.metric, self.curve, self._decide = may_lag, metric, list[float](), decide

    def on_train_begin(self, context: Context) -> None:
        if self.metric not in context.columns:
            raise ValueError(
                f"the objective {self.metric!r} is no column of the history, which has {', '.join(context.columns)}"
            )

    def on_epoch_end(self, context: Context) -> None:
        self.curve.append(context.logs[self.metric])
        reason = self._decide(context.epoch, self.curve[-1])
        if reason is not None:
            context.stop(reason)

    def on_progress(self, context: Context) -> None:
        reason = self._decide(0, math.nan)
        if reason is not None:
            context.stop(reason)


@dataclass
class Job:
    """What all trials share.

    function   `build(config)` or `train(config, budget, report)`
    metric     the name of the objective among the history's columns
    data       what `fit` is given besides: X, y and validation_data; None for `train`
    watched    whether every epoch may end a training
    """

    function: Callable[..., Any]
    metric: str
    data: Mapping[str, Any] | None
    watched: bool = False
    own_loop: bool = field(init=False)

    def __post_init__(self) -> None:
        self.own_loop = takes_report(self.function)

    def run(self, config: Config, budget: int | None, decide: Decide) -> Outcome:
        """One trial; nothing that the user's function raises leaves it, not even sys.exit(). KeyboardInterrupt does: it
        is the whole sweep that is interrupted."""
        start = time.perf_counter()
        curve: list[float] = []
        try:
            run = self._loop if self.own_loop else self._fit
            found = run(dict(config), budget, decide, curve)
        except NonFiniteLoss as error:
            found = Outcome("diverged", error=str(error))
        except KeyboardInterrupt:
            raise
        except BaseException:
            found = Outcome("failed", error=traceback.format_exc())
        return found._replace(curve=tuple(curve), seconds=time.perf_counter() - start)

    def _fit(self, config: Config, budget: int | None, decide: Decide, curve: list[float]) -> Outcome:
        built = self.function(config)
        model, given = built if isinstance(built, tuple) and len(built) == 2 else (built, {})
        if not isinstance(model, Sequential) or not isinstance(given, Mapping):
            raise TypeError(
                f"build returned {type(built).__name__}: expected a Sequential, or (Sequential, arguments of fit)"
            )
        if budget is not None:
            given = {**given, "epochs": budget}
        watch = _Watch(self.metric, decide, may_lag=not self.watched)
        watch.curve = curve
        arguments = {"progress": False, **(self.data or {}), **given}
        arguments["callbacks"] = [*_as_list(given.get("callbacks", ())), watch]
        history = model.fit(**arguments)
        if history.stopped == "interrupted":
            raise KeyboardInterrupt
        last = _kept(arguments["callbacks"], history)
        scores = {name: float(values[last]) for name, values in history.columns.items() if values}
        return _judged(history.stopped, scores[self.metric], scores)

    def _loop(self, config: Config, budget: int | None, decide: Decide, curve: list[float]) -> Outcome:
        report = Report(decide)
        report.curve = curve
        try:
            found = self.function(config, budget, report)
        except TrialStopped:
            if report.reason is None:  # nobody but the function itself has raised it
                raise
            return _judged(report.reason, curve[-1] if curve else math.nan, {})
        scores = {name: float(value) for name, value in found.items()} if isinstance(found, Mapping) else {}
        if isinstance(found, Mapping) and self.metric not in scores:
            raise ValueError(f"train returned {', '.join(scores)}: the objective {self.metric!r} is not among them")
        return _judged("", scores[self.metric] if scores else float(found), scores)


def _kept(callbacks: list[Any], history: History) -> int:
    """Which epoch of the history has the scores of the model: the last one, unless weights of another were put back."""
    for callback in callbacks:
        if isinstance(callback, EarlyStopping) and callback.restore_best and callback.best_epoch is not None:
            return history["epoch"].index(callback.best_epoch)
    return -1


PRUNED, CANCELLED = "pruned", "the sweep was stopped"


def _judged(stopped: str, value: float, scores: dict[str, float]) -> Outcome:
    if stopped == CANCELLED:
        return Outcome(None)
    status: Status = "pruned" if stopped == PRUNED else "finished"
    return Outcome(status if math.isfinite(value) else "diverged", value, scores)


def _as_list(callbacks: Any) -> list[Any]:
    return list(callbacks) if isinstance(callbacks, (list, tuple)) else [callbacks]


def takes_report(function: Callable[..., Any]) -> bool:
    """Whether a function is `train(config, budget, report)` rather than `build(config)`."""
    if not callable(function):
        raise TypeError(f"sweep(build={function!r}): expected build(config) or train(config, budget, report)")
    try:
        parameters = inspect.signature(function).parameters.values()
    except ValueError:  # some functions written in C do not say
        return False
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    needed = [p for p in parameters if p.kind in kinds and p.default is inspect.Parameter.empty]
    if len(needed) not in (1, 3):
        raise TypeError(
            f"sweep(build={_name(function)}): takes {len(needed)} arguments, expected build(config) or "
            "train(config, budget, report)"
        )
    return len(needed) == 3


def _name(function: Any) -> str:
    return str(getattr(function, "__qualname__", type(function).__qualname__))


UNKNOWN = "unknown"


def version_of(function: Callable[..., Any]) -> str:
    """Of fastnn, and a hash of the function's source, where it has one."""
    while hasattr(function, "func"):  # functools.partial
        function = function.func
    try:
        text = inspect.getsource(function)
    except (OSError, TypeError):
        text = ""
    digest = hashlib.sha256(text.encode()).hexdigest()[:12] if text else UNKNOWN
    return f"fastnn {version('fastnn')}, {_name(function)} {digest}"


def checked_data(X: Any, y: Any, validation_data: Any) -> dict[str, Any]:
    """The data of all trials as arrays, so that none of them converts lists again. What is more to be said against them
    depends on the model."""
    for name, given in (("X", X), ("y", y)):
        if given is None:
            raise TypeError(
                f"sweep({name}=None): give X and y, or a function train(config, budget, report) that has its own data"
            )
    data: dict[str, Any] = {"X": np.asanyarray(X), "y": np.asanyarray(y)}
    _check_rows(data["X"], data["y"], ("X", "y"))
    if validation_data is not None:
        if not isinstance(validation_data, (tuple, list)) or len(validation_data) not in (2, 3):
            raise TypeError(
                f"sweep(validation_data={type(validation_data).__name__}): expected (X, y), or (X, y, sample_weight)"
            )
        parts = tuple(np.asanyarray(part) for part in validation_data)
        _check_rows(parts[0], parts[1], ("validation_data[0]", "validation_data[1]"))
        data["validation_data"] = parts
    return data


def _check_rows(X: np.ndarray, y: np.ndarray, names: tuple[str, str]) -> None:
    if X.ndim and y.ndim:
        checks.same_rows(X, y, names)
