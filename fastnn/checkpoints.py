"""Checkpoints: a whole training in one file, from which `fit(resume=...)` goes on to the bits of an unbroken run.

What a step or an epoch finds is the model's numbers, what the optimizer keeps, step count and rate, the state of
schedule and callbacks, and the history. Epoch orders and dropout masks follow from seed, epoch and step
(randomness.py), so that nothing of them is kept. The file is a model file (storage.py), written atomically: a kill at
any moment leaves the checkpoint before or the new one. Beside the state it holds the settings of the training, which
must be the same when it goes on.
"""

from __future__ import annotations

import dataclasses
import json
import os
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fastnn import checks, storage
from fastnn.activations import ActivationFunction, difference, is_own, own_name
from fastnn.callbacks import Callback, Context
from fastnn.layers import Layer

if TYPE_CHECKING:
    from fastnn.model import Sequential
    from fastnn.storage import PathLike

VERSION = 1
"""Of the text "training"; a change that old readers cannot take raises it."""
_SAMPLE = 64  # rows of the data that a checkpoint remembers the hash of
_ARRAY = "$array"  # the one key of what stands in JSON for an array among the tensors


class Checkpoint(Callback):
    """Write the training to a file every n epochs or minutes, and at its end; `fit(resume=...)` goes on from there.

        fit(X, y, ..., epochs=100, callbacks=[fnn.Checkpoint("run.ckpt", minutes=10)], resume=True)

    started again after whatever ended it, this does the rest of the 100 epochs, and ends with the same bits.

    path      the file, replaced by each checkpoint; `fastnn.load` reads the model in it
    epochs    after each epoch whose number can be divided by this, at least 1
    minutes   when so many minutes have passed since the last one, above 0; inside long epochs too (those of more than a
              quarter of a second). Without both: epochs=1

    It is called after all other callbacks, and also writes when the last epoch is done or another callback stops the
    training, before any of them restores the weights of an earlier epoch. Ctrl-C and a loss that is not finite
    leave the last checkpoint as it is. Errors in writing (a full disk) end the training and leave the model whole.
    """

    last = True
    clock = staticmethod(time.monotonic)
    """Seconds, for `minutes`."""

    def __init__(self, path: PathLike, epochs: int | None = None, minutes: float | None = None) -> None:
        if not isinstance(path, (str, os.PathLike)):
            raise TypeError(f"Checkpoint(path={path!r}): expected the name of a file")
        self.path = os.fspath(path)
        if epochs is not None:
            epochs = checks.integer("Checkpoint", "epochs", epochs, minimum=1)
        if minutes is not None:
            minutes = checks.number("Checkpoint", "minutes", minutes, above=0.0)
        self.epochs = 1 if epochs is None and minutes is None else epochs
        self.minutes = minutes
        self._written = 0.0

    def __repr__(self) -> str:
        return f"Checkpoint({self.path!r}, epochs={self.epochs}, minutes={self.minutes})"

    def on_train_begin(self, context: Context) -> None:
        folder = Path(os.path.realpath(self.path)).parent
        if not folder.is_dir():
            raise FileNotFoundError(f"Checkpoint(path={self.path!r}): the folder {folder} does not exist")
        self._written = self.clock()

    def on_progress(self, context: Context) -> None:
        if self._time_is_up():
            self._write(context)

    def on_epoch_end(self, context: Context) -> None:
        at_the_end = context.reason is not None or context.epoch == context.epochs
        if at_the_end or (self.epochs is not None and context.epoch % self.epochs == 0) or self._time_is_up():
            self._write(context)

    def _time_is_up(self) -> bool:
        return self.minutes is not None and self.clock() - self._written >= 60.0 * self.minutes

    def _write(self, context: Context) -> None:
        context.checkpoint(self.path)
        self._written = self.clock()


@dataclasses.dataclass(frozen=True)
class Saved:
    """A checkpoint as it was read.

    settings   what must be the same when the training goes on, by name
    model      the model's arrays by name;  state   of the training, as `write` was given it
    """

    path: str
    settings: dict[str, Any]
    model: dict[str, np.ndarray]
    state: dict[str, Any]

    def check(self, settings: Mapping[str, Any], epochs: int) -> None:
        """ValueError that names the first of the settings that is another here than in the checkpoint, or where it is
        beyond the last of the epochs already."""
        now, then = (
            {**given, "layers": _with_all_fields(given.get("layers"))}
            for given in (json.loads(json.dumps(settings)), self.settings)
        )
        for name, here, there in _differences(now, then, ""):
            what = f"is {_in_short(here)!r} here, {_in_short(there)!r} in the checkpoint"
            if is_own(here) and is_own(there):
                what = f"computes something else, {own_name(here)} here, {own_name(there)} there: "
                what += difference(here, there)
            if name.endswith(".hash"):
                name, what = name.removesuffix(".hash"), "holds other numbers here"
            raise ValueError(
                f"fit(resume={self.path!r}): {name} {what}; only `epochs` and what changes no "
                "bit may differ. To train on in another way, fit the model of fastnn.load(path) without resume"
            )
        done = self.state["finished"] + (len(self.state["losses"]) > 0)
        if done > epochs:
            raise ValueError(
                f"fit(resume={self.path!r}): the checkpoint is of epoch {done}, the last one is to be {epochs}"
            )


def write(path: PathLike, model: Sequential, settings: Mapping[str, Any], state: Mapping[str, Any]) -> None:
    """Write a checkpoint in one go.

    settings   JSON
    state      dictionaries and lists of numbers, texts, None and arrays
    """
    tensors = model.parameters.by_name(model.parameters.copy_state())
    training = {"version": VERSION, "settings": settings, "state": _without_arrays(state, "training", tensors)}
    storage.write(path, tensors, model.description(), training=training)


def read(path: PathLike) -> Saved:
    """Read a checkpoint; ModelFileError where the file is none or damaged, FileNotFoundError where there is none."""
    contents, name = storage.read(path), os.fspath(path)
    training = contents.training
    if training is None:
        raise storage.ModelFileError(f"{name}: a model without a training, written by model.save and not by Checkpoint")
    try:
        if training["version"] > VERSION:
            raise storage.ModelFileError(f"{name}: a checkpoint of a newer fastnn: pip install --upgrade fastnn")
        state = _with_arrays(training["state"], contents.tensors)
        model = {n: value for n, value in contents.tensors.items() if not n.startswith("training.")}
        return Saved(name, dict(training["settings"]), model, state)
    except (KeyError, TypeError) as error:
        raise storage.ModelFileError(f"{name}: damaged checkpoint: {error!r}") from None


def to_resume(resume: Any, callbacks: Iterable[Any]) -> Saved | None:
    """The checkpoint that `fit(resume=...)` asks for: that of a file, or, for True, that of the first Checkpoint among
    the callbacks, None where it has not written any yet."""
    if isinstance(resume, (bool, np.bool_)):
        if not resume:
            return None
        paths = [callback.path for callback in callbacks if isinstance(callback, Checkpoint)]
        if not paths:
            raise ValueError("fit(resume=True): goes on from the file of a Checkpoint, and none is among the callbacks")
        return read(paths[0]) if os.path.exists(paths[0]) else None
    if not isinstance(resume, (str, os.PathLike)):
        raise TypeError(f"fit(resume={resume!r}): expected True, False or the name of a file")
    return read(resume)


def describe(value: Any) -> Any:
    """Optimizers, schedules, losses and other things that users write down, as JSON that can be compared; of functions
    the name alone."""
    if isinstance(value, (str, bool, int, float)) or value is None:
        return value
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        return fingerprint(value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {field.name: describe(getattr(value, field.name)) for field in dataclasses.fields(value)}
        return {"type": type(value).__name__, **fields}
    if isinstance(value, Mapping):
        return {str(key): describe(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [describe(item) for item in value]
    return getattr(value, "__qualname__", type(value).__qualname__)


def fingerprint(array: np.ndarray) -> dict[str, Any]:
    """Shape, dtype and the hash of some rows: cheap for data of any size, and another for other data, almost always."""
    import hashlib

    rows = np.unique(np.linspace(0, len(array) - 1, min(len(array), _SAMPLE)).astype(np.int64))
    digest = hashlib.blake2b(np.ascontiguousarray(array[rows]).tobytes(), digest_size=16).hexdigest()
    return {"shape": list(array.shape), "dtype": array.dtype.name, "hash": digest}


def _with_all_fields(value: Any) -> Any:
    """Descriptions of layers with all fields: those that the fastnn that wrote them did not know are the defaults."""
    if isinstance(value, list):
        return [_with_all_fields(item) for item in value]
    if not isinstance(value, dict) or is_own(value):
        return value
    known = {**checks.subclasses(Layer), **checks.subclasses(ActivationFunction)}
    cls = known.get(str(value.get("type")))  # None of an unknown layer: that is a difference, and named as one
    fields = () if cls is None else dataclasses.fields(cls)
    defaults = {field.name: describe(field.default) for field in fields if field.default is not dataclasses.MISSING}
    return {**defaults, **{name: _with_all_fields(item) for name, item in value.items()}}


def _differences(now: Any, then: Any, name: str) -> Iterator[tuple[str, Any, Any]]:
    """Where two descriptions differ: name of the place, what is there now, what was there."""
    if is_own(now) and is_own(then):
        if difference(now, then):
            yield name, now, then
    elif isinstance(now, dict) and isinstance(then, dict) and now.keys() == then.keys():
        for key in now:
            yield from _differences(now[key], then[key], f"{name}.{key}" if name else key)
    elif isinstance(now, list) and isinstance(then, list) and len(now) == len(then):
        for place, (one, other) in enumerate(zip(now, then, strict=True)):
            yield from _differences(one, other, f"{name}[{place}]")
    elif now != then:
        yield name, now, then


def _in_short(value: Any) -> Any:
    """A description as errors show it: without the numbers that activations of one's own are compared by."""
    if is_own(value):
        return own_name(value)
    if isinstance(value, dict):
        return {key: _in_short(item) for key, item in value.items()}
    return [_in_short(item) for item in value] if isinstance(value, list) else value


def _without_arrays(value: Any, name: str, tensors: dict[str, np.ndarray]) -> Any:
    """A state as JSON; its arrays go into `tensors`."""
    if isinstance(value, np.ndarray):
        tensors[name] = value
        return {_ARRAY: name}
    if isinstance(value, Mapping):
        return {key: _without_arrays(item, f"{name}.{key}", tensors) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_without_arrays(item, f"{name}.{place}", tensors) for place, item in enumerate(value)]
    return value.item() if isinstance(value, np.generic) else value


def _with_arrays(value: Any, tensors: Mapping[str, np.ndarray]) -> Any:
    """The same with the arrays in their places."""
    if isinstance(value, dict):
        if value.keys() == {_ARRAY}:
            return tensors[value[_ARRAY]]
        return {key: _with_arrays(item, tensors) for key, item in value.items()}
    return [_with_arrays(item, tensors) for item in value] if isinstance(value, list) else value
