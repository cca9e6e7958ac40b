"""What may happen between epochs: early stopping, a progress bar, functions of the user's.

A callback is an object with any of the methods of `Callback`, or a plain function, which is called at the end of each
epoch. All get the same `Context`. Weights may be changed from here (`context.model.set_weights`; where the optimizer
keeps an average of the weights, the model has that between epochs, and training goes on from the weights), the rate of
the next epoch is the schedule's.
"""

from __future__ import annotations

import math
import os
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TextIO, TypeAlias

from fastnn import checks, metrics
from fastnn.history import History

if TYPE_CHECKING:
    import numpy as np

    from fastnn.model import Sequential
    from fastnn.storage import PathLike
    from fastnn.trainer import Trainer


@dataclass
class Context:
    """What a callback sees.

    model, trainer    the objects at work
    history           the record so far; at the end of an epoch it holds that epoch
    columns           names of the numbers in `logs`, known before the first epoch
    epochs            number of the last epoch to come; `first_epoch` that of the first
    epoch             number of the epoch just finished or being trained, counted from 1; 0 before the first
    logs              numbers of the epoch just finished: loss, lr, seconds, val_loss, val_accuracy ...
    steps_per_epoch   optimizer steps in an epoch, None where batches do not say before the first one has ended;
                      `steps_done` counts those of all epochs so far
    """

    model: Sequential
    trainer: Trainer
    history: History
    columns: tuple[str, ...]
    epochs: int
    steps_per_epoch: int | None
    first_epoch: int = 1
    epoch: int = 0
    steps_done: int = 0
    logs: dict[str, float] = field(default_factory=dict)
    reason: str | None = None
    checkpointer: Callable[[PathLike], None] | None = field(default=None, repr=False)

    def stop(self, reason: str = "stopped by a callback") -> None:
        """Let this epoch be the last one; `history.stopped` will hold the first reason given."""
        self.reason = self.reason or str(reason)

    def checkpoint(self, path: PathLike) -> None:
        """Write a checkpoint of the training as it is now: from `on_epoch_end` or `on_progress`, by callbacks with a
        schedule of their own (others use `fastnn.Checkpoint`). Callbacks further back in the list have not seen the
        epoch that has just ended: put those with a state in front. Errors: see fastnn.storage.write.
        """
        if self.checkpointer is None:
            raise RuntimeError("checkpoint(): there is no training at work")
        self.checkpointer(path)


HOOKS = ("on_train_begin", "on_epoch_end", "on_progress", "on_train_end")


class Callback:
    """The base class: nothing happens anywhere. Override what is needed.

    last      whether it is called after all others, wherever in the list it stands
    may_lag   whether `on_epoch_end` looks at the epoch's number and `logs` alone: where all callbacks do, and there are
              no validation data, short epochs are trained some 50 ms ahead, at a fraction of the cost. The model is
              then further on than the callback knows; `stop` ends the training where it would have ended. A class that
              overrides `on_epoch_end` or `on_progress` says it again
    """

    last: ClassVar[bool] = False
    may_lag: bool = False

    def on_train_begin(self, context: Context) -> None:
        """Before the first step, after all checks. An error raised here leaves the model as it was."""

    def on_epoch_end(self, context: Context) -> None:
        """After each epoch and its validation."""

    def on_progress(self, context: Context) -> None:
        """Inside epochs of more than a quarter of a second, a few times a second."""

    def on_train_end(self, context: Context) -> None:
        """At the end, after Ctrl-C and after a non-finite loss too; not after an error in a callback."""

    def state(self, context: Context) -> Any:
        """What a checkpoint has to keep of this callback: None (nothing), or dictionaries and lists of numbers, texts
        and arrays."""
        return None

    def restore(self, context: Context, state: Any) -> None:
        """Puts back what `state` gave, when a training is resumed: after `on_train_begin`, before the first step.
        ValueError where it is that of a callback with other settings."""


class LambdaCallback(Callback):
    """A callback made of functions, each called with the context; the hooks are those of `Callback`."""

    def __init__(
        self,
        on_train_begin: Callable[[Context], object] | None = None,
        on_epoch_end: Callable[[Context], object] | None = None,
        on_progress: Callable[[Context], object] | None = None,
        on_train_end: Callable[[Context], object] | None = None,
    ) -> None:
        functions = (on_train_begin, on_epoch_end, on_progress, on_train_end)
        for hook, function in zip(HOOKS, functions, strict=True):
            if function is None:
                continue
            if not callable(function):
                raise TypeError(f"LambdaCallback({hook}={function!r}): expected a function of the context, or None")
            setattr(self, hook, function)


class EarlyStopping(Callback):
    """Stop when a number has not improved for some epochs, and go back to the weights of the best epoch.

    patience       so many epochs in a row without an improvement end the training, at least 1
    monitor        a column of the history; "val_loss" needs validation data
    min_delta      only a change by more than this is an improvement, at least 0
    restore_best   restore parameters and running statistics of the best epoch at the end of the training, however it
                   ends (all epochs done, Ctrl-C and a non-finite loss included)
    mode           "min", "max", or "auto": by the metric, which for functions of your own must be said

    A NaN is never an improvement. After training `best_epoch` (counted from 1, None when no epoch gave a number) and
    `best` tell what was found. The same object may serve several trainings one after the other. Checkpoints keep the
    best weights and how long there has been no improvement.
    """

    def __init__(
        self,
        patience: int,
        monitor: str = "val_loss",
        min_delta: float = 0.0,
        restore_best: bool = True,
        mode: Literal["auto", "min", "max"] = "auto",
    ) -> None:
        self.patience = checks.integer("EarlyStopping", "patience", patience, minimum=1)
        self.min_delta = checks.number("EarlyStopping", "min_delta", min_delta, minimum=0.0)
        if not isinstance(monitor, str):
            raise TypeError(f"EarlyStopping(monitor={monitor!r}): expected the name of a column, such as 'val_loss'")
        if mode not in ("auto", "min", "max"):
            raise checks.unknown_name("mode", mode, ("auto", "min", "max"))
        self.monitor = monitor
        self.restore_best = checks.flag("EarlyStopping", "restore_best", restore_best)
        self.mode = mode
        self._forget()

    def _forget(self) -> None:
        self.best = math.nan
        self.best_epoch: int | None = None
        self._waited = 0
        self._sign = 1.0
        self._state: np.ndarray | None = None

    def __repr__(self) -> str:
        return f"EarlyStopping(patience={self.patience}, monitor={self.monitor!r}, min_delta={self.min_delta})"

    def on_train_begin(self, context: Context) -> None:
        self._forget()
        if self.monitor not in context.columns:
            scored = any(column.startswith("val_") for column in context.columns)
            missing = "a metric of fit(metrics=...)" if scored else "validation data"
            hint = f" (needs {missing})" if self.monitor.startswith("val_") else ""
            error = checks.unknown_name("column", self.monitor, context.columns)
            raise ValueError(f"EarlyStopping(monitor={self.monitor!r}){hint}: {error}")
        larger = metrics.larger_is_better(self.monitor) if self.mode == "auto" else self.mode == "max"
        if larger is None:
            raise ValueError(
                f"EarlyStopping(monitor={self.monitor!r}, mode='auto'): say 'min' or 'max' for a metric of your own"
            )
        self._sign = -1.0 if larger else 1.0

    def on_epoch_end(self, context: Context) -> None:
        value = context.logs[self.monitor]
        first = self.best_epoch is None and not math.isnan(value)
        if first or self._sign * (self.best - value) > self.min_delta:
            self.best, self.best_epoch, self._waited = value, context.epoch, 0
            if self.restore_best:
                self._state = context.model.parameters.copy_state()
            return
        self._waited += 1
        if self._waited >= self.patience:
            best = (
                "no epoch gave a number"
                if self.best_epoch is None
                else f"best {self.best:.6g} in epoch {self.best_epoch}"
            )
            epochs = "epoch" if self.patience == 1 else f"{self.patience} epochs"
            context.stop(f"early stopping: {self.monitor} has not improved for {epochs} ({best})")

    def on_train_end(self, context: Context) -> None:
        if self._state is not None:
            context.model.parameters.restore_state(self._state)
            self._state = None

    def state(self, context: Context) -> dict[str, Any]:
        weights = None if self._state is None else context.model.parameters.by_name(self._state)
        return {"settings": self._settings(), "best": self.best, "best_epoch": self.best_epoch, "waited": self._waited,
                "weights": weights}  # fmt: skip

    def restore(self, context: Context, state: Any) -> None:
        for name, value in self._settings().items():
            if state["settings"][name] != value:
                raise ValueError(
                    f"EarlyStopping({name}={value!r}): the checkpoint's has {name}={state['settings'][name]!r}"
                )
        self.best, self.best_epoch, self._waited = state["best"], state["best_epoch"], state["waited"]
        weights = state["weights"]
        self._state = None if weights is None else context.model.parameters.snapshot(weights)

    def _settings(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in ("monitor", "patience", "min_delta", "restore_best", "mode")}


class ProgressBar(Callback):
    """A bar on standard error, refreshed at most ten times a second, so that epochs of microseconds do not wait for it.

    Where standard error is no terminal (a log file, a pipe) there is no bar and nothing is printed, unless
    lines=True: then each epoch prints one line, above the bar where there is one.

    lines   print a line for each epoch
    file    where to write; standard error unless given
    """

    may_lag = True
    INTERVAL = 0.1  # seconds; one refresh takes about 0.1 ms

    def __init__(self, lines: bool = False, file: TextIO | None = None) -> None:
        self.lines = checks.flag("ProgressBar", "lines", lines)
        self.file = file
        self._bar: Any = None
        self._next = 0.0

    def on_train_begin(self, context: Context) -> None:
        self.close()
        file = self.file if self.file is not None else sys.stderr
        if file is None or not file.isatty():
            return
        # tqdm takes 35 ms to import: only where a bar will be seen.
        from tqdm.std import tqdm

        class Bar(tqdm):  # type: ignore[misc, type-arg]
            monitor_interval = 0  # no watching thread beside the training

        self._bar = Bar(
            total=_all_steps(context),
            desc=f"epoch {context.first_epoch}/{context.epochs}",
            bar_format="{desc} |{bar:10}| {remaining}{postfix}",
            file=file,
            ncols=_columns(file),
            nrows=24,  # asked of the terminal otherwise; some say 0, and then there is no bar
        )
        self._next = time.perf_counter() + self.INTERVAL

    def on_progress(self, context: Context) -> None:
        self._refresh(context)

    def on_epoch_end(self, context: Context) -> None:
        if self.lines:
            self._line(context)
        self._refresh(context)

    def on_train_end(self, context: Context) -> None:
        self._next = 0.0
        self._refresh(context)

    def close(self) -> None:
        """Leave the bar as it stands. `fit` calls this at its end, errors included."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def _refresh(self, context: Context) -> None:
        if self._bar is None or (now := time.perf_counter()) < self._next:
            return
        self._next = now + self.INTERVAL
        bar = self._bar
        bar.n, bar.total, bar.ncols = context.steps_done, _all_steps(context), _columns(bar.fp)
        bar.set_description_str(f"epoch {context.epoch}/{context.epochs}", refresh=False)
        bar.set_postfix_str(_numbers(context.logs, ", ", digits=3), refresh=False)
        bar.refresh()

    def _line(self, context: Context) -> None:
        width = len(str(context.epochs))
        text = f"epoch {context.epoch:{width}d}/{context.epochs}  {_numbers(context.logs, '  ', digits=4)}"
        file = self.file if self.file is not None else sys.stderr
        if self._bar is not None:
            self._bar.write(text, file=file)
        elif file is not None:
            print(text, file=file, flush=True)


def _all_steps(context: Context) -> int | None:
    """Of the whole training, as far as it is known."""
    steps = context.steps_per_epoch
    return None if steps is None else (context.epochs - context.first_epoch + 1) * steps


def _columns(file: TextIO) -> int:
    """Width of the terminal, 80 where it is not known (some have a width of 0)."""
    try:
        return os.get_terminal_size(file.fileno()).columns or 80
    except (OSError, ValueError, AttributeError):
        return 80


def _numbers(logs: dict[str, float], separator: str, digits: int) -> str:
    """Losses and metrics as text."""
    return separator.join(f"{name} {value:.{digits}f}" for name, value in logs.items() if name not in ("lr", "seconds"))


# What fit accepts.
CallbackLike: TypeAlias = Callback | Callable[[Context], object]
CallbacksLike: TypeAlias = CallbackLike | Iterable[CallbackLike]


def in_order(callbacks: CallbacksLike) -> tuple[CallbackLike, ...]:
    """One callback or several as a tuple, those that want to be the last behind the others."""
    if callable(callbacks) or any(hasattr(callbacks, hook) for hook in HOOKS):
        callbacks = (callbacks,)  # type: ignore[assignment]
    return tuple(sorted(callbacks, key=lambda callback: getattr(callback, "last", False) is True))  # type: ignore[arg-type]


def with_state(callbacks: Iterable[Any]) -> list[Callback]:
    """Those that have methods `state` and `restore` of their own."""
    return [callback for callback in callbacks if all(_own(callback, name) for name in ("state", "restore"))]


def _own(callback: Any, name: str) -> bool:
    """Whether it has that method, and not the empty one of the base class."""
    method = getattr(callback, name, None)
    return callable(method) and getattr(method, "__func__", None) is not getattr(Callback, name)


def get_hooks(callbacks: CallbacksLike) -> dict[str, list[Callable[[Context], object]]]:
    """The methods to call, by hook name, in the order of the callbacks.

    A callback is an object with at least one of the methods of `Callback` or a plain function, taken as on_epoch_end.
    TypeError for anything else, and for a class in the place of its instance.
    """
    hooks: dict[str, list[Callable[[Context], object]]] = {hook: [] for hook in HOOKS}
    for callback in in_order(callbacks):
        present = [hook for hook in HOOKS if callable(getattr(callback, hook, None))]
        if isinstance(callback, type) or not (present or callable(callback)):
            raise TypeError(
                f"callbacks: {callback!r} is neither a function of the context nor an object "
                f"with one of the methods {', '.join(HOOKS)}"
            )
        if not present:
            hooks["on_epoch_end"].append(callback)  # type: ignore[arg-type]
        for hook in present:
            if _own(callback, hook):  # what the base class leaves empty need not be called in every epoch
                hooks[hook].append(getattr(callback, hook))
    return hooks
