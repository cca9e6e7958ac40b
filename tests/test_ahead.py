"""Epochs that are trained together: the bits, the history and the ends of a training are those of epochs one by one."""

import os
import signal
import sys
from collections.abc import Callable
from typing import Any

import cases
import networks
import numpy as np
import pytest

import fastnn as fnn
from fastnn import ahead, history, loop, sources
from fastnn.bound import Bound
from fastnn.callbacks import Callback, Context
from fastnn.loop import Loop

Array = np.ndarray[Any, Any]
ROWS = 43
X, Y = networks.data("cross_entropy", ROWS, 5, 3, "float32")


class Lagging(Callback):
    """Notes what it sees, and may be late."""

    may_lag = True

    def __init__(self, at: int = -1, act: Callable[[Context], object] | None = None) -> None:
        self.at, self.act = at, act
        self.seen: list[tuple[int, float, int]] = []

    def on_epoch_end(self, context: Context) -> None:
        self.seen.append((context.epoch, context.logs["loss"], context.steps_done))
        if context.epoch == self.at and self.act is not None:
            self.act(context)


class Punctual(Lagging):
    """The same, never late: epochs are trained one by one."""

    may_lag = False


def fit(callback: Any, layers: list[Any] | None = None, **settings: Any) -> tuple[fnn.Sequential, fnn.History]:
    layers = [fnn.Dense(6, "relu"), fnn.Dropout(0.2), fnn.Dense(3)] if layers is None else layers
    model = fnn.Sequential(layers, inputs=5, seed=4)
    settings = {"loss": "cross_entropy", "epochs": 23, "batch_size": 8, "progress": False, **settings}
    history = model.fit(X, Y, callbacks=callback if isinstance(callback, list) else [callback], **settings)
    return model, history


def facts(model: fnn.Sequential, history: fnn.History) -> list[Any]:
    """All that may not differ: all but times."""
    columns = {name: values for name, values in history.columns.items() if name != "seconds"}
    return [columns, history.steps, history.rows, history.stopped, [w.tobytes() for w in model.get_weights()]]


@pytest.fixture(autouse=True)
def stretches(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many epochs each stretch had. The clock decides nothing here: stretches are as long as they may be."""
    found: list[int] = []
    real = ahead.train

    def train(loop: Loop, epochs: int) -> None:
        found.append(epochs)
        real(loop, epochs)

    monkeypatch.setattr(ahead, "train", train)
    monkeypatch.setattr(ahead, "CHUNK_SECONDS", 1e6)
    return found


@pytest.mark.parametrize("backend", cases.BACKENDS)
@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"batch_size": ROWS},
        {"batch_size": 100, "schedule": None},
        {"shuffle": False},
        {"optimizer": fnn.SGD(0.05, momentum=0.9)},
        {"optimizer": fnn.AdamW(lr=0.01, clip_norm=0.5)},
        {"optimizer": fnn.Adam.keras()},
        {"schedule": fnn.Cosine(23)},
        {"schedule": fnn.Cosine(100, 1e-4).after_warmup(9).per_step()},
        {"schedule": [0.1, 0.05, 0.01], "optimizer": "sgd"},
        {"sample_weight": np.linspace(0.0, 2.0, ROWS)},
        {"class_weight": "balanced", "batch_size": ROWS},
        {"layers": [fnn.Dense(6), fnn.BatchNorm(), fnn.Activation("tanh"), fnn.Dense(3, l2=1e-3)]},
        {"initial_epoch": 3},
    ],
    ids=str,
)
def test_a_training_is_the_same_to_the_bit(settings: dict[str, Any], backend: str, stretches: list[int]) -> None:
    together, apart = Lagging(), Punctual()
    late = fit(together, backend=backend, **settings)
    assert stretches == [22], "the first epoch shows how long one takes"
    punctual = fit(apart, backend=backend, **settings)
    assert stretches == [22]
    assert facts(*late) == facts(*punctual)
    assert together.seen == apart.seen
    seconds = late[1]["seconds"]
    assert all(np.diff(seconds) > 0)
    assert seconds[-1] <= late[1].seconds


@pytest.mark.parametrize(
    "settings",
    [
        {"validation_split": 0.2},
        {"schedule": lambda lr0, t: lr0},
        {"schedule": fnn.ReduceOnPlateau(monitor="loss")},
        {"optimizer": fnn.Adam(ema_decay=0.9)},
        {"optimizer": fnn.LBFGS(), "layers": [fnn.Dense(3)]},
        {"callbacks": [Lagging(), lambda context: None]},
        {"callbacks": [fnn.EarlyStopping(3, monitor="loss")]},
        {"batch_size": ROWS, "schedule": fnn.Cosine(23)},
    ],
    ids=[
        "validation",
        "a function for a schedule",
        "a schedule that follows the loss",
        "an average",
        "L-BFGS",
        "a function for a callback",
        "early stopping",
        "full batches at rates that change",
    ],
)
def test_where_somebody_looks_between_epochs_none_is_trained_ahead(
    settings: dict[str, Any], stretches: list[int]
) -> None:
    if isinstance(settings.get("optimizer"), fnn.LBFGS):
        pytest.importorskip("scipy")
    settings = {"callbacks": [Lagging()], **settings}
    fit(settings.pop("callbacks"), **settings)
    assert not stretches


@pytest.mark.parametrize("at", [1, 2, 7, 22, 23])
def test_a_callback_that_stops_has_the_training_end_with_its_epoch(at: int) -> None:
    def stopped(kind: type[Lagging]) -> list[Any]:
        callback = kind(at, lambda context: context.stop("enough"))
        return [*facts(*fit(callback)), callback.seen]

    assert stopped(Lagging) == stopped(Punctual)
    assert stopped(Lagging)[3] == "enough"


@pytest.mark.parametrize("at", [2, 7, 23])
@pytest.mark.parametrize("act", ["an error", "Ctrl-C"])
def test_errors_and_ctrl_c_of_a_callback_leave_the_model_of_its_epoch(act: str, at: int) -> None:
    def raised(context: Context) -> None:
        if act == "an error":
            raise ZeroDivisionError
        os.kill(os.getpid(), signal.SIGINT)
        for _ in range(1000):
            pass  # where it is heard

    def ended(kind: type[Lagging]) -> list[Any]:
        callback, models = kind(at, raised), list[fnn.Sequential]()
        start = Callback()
        start.on_train_begin = lambda context: models.append(context.model)  # type: ignore[method-assign]
        if act == "Ctrl-C":
            model, history = fit([start, callback])
            return [*facts(model, history)[:1], history.stopped, callback.seen]
        with pytest.raises(ZeroDivisionError):
            fit([start, callback])
        return [[w.tobytes() for w in models[0].get_weights()], callback.seen]

    # Ctrl-C may come when further epochs have been trained: they are noted too.
    late, punctual = ended(Lagging), ended(Punctual)
    if act == "an error":
        assert late == punctual
    else:
        assert late[1] == punctual[1] == "interrupted"
        assert late[2][:at] == punctual[2]
        assert [epoch for epoch, _, _ in late[2]] == [*range(1, len(late[2]) + 1)]


@pytest.mark.parametrize("passes", [1, 5, 6, 7, 40])
def test_ctrl_c_within_a_stretch_notes_the_epochs_that_are_done(passes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Chunks of some passes, and Ctrl-C behind the second one."""
    fit(Lagging(), epochs=2)  # whatever is compiled
    monkeypatch.setattr(Bound, "_passes_at_once", lambda self, program: passes)
    real, chunks = Bound._run_chunk, [0]

    def run_chunk(self: Bound, *given: Any) -> None:
        real(self, *given)
        if given[2].start == passes:  # the second of a run
            chunks[0] += 1
            if chunks[0] == (2 if passes < 6 else 1):  # not in the first epoch
                raise KeyboardInterrupt

    monkeypatch.setattr(Bound, "_run_chunk", run_chunk)
    callback = Lagging()
    model, history = fit(callback)
    done = 1 + 2 * passes // 6
    assert (history.stopped, history.epochs, history.steps) == ("interrupted", done, 6 * done)
    monkeypatch.undo()
    whole, other = fit(Punctual(), epochs=done)
    assert facts(model, history)[0] == facts(whole, other)[0]
    assert facts(model, history)[4] == facts(whole, other)[4]
    assert [epoch for epoch, _, _ in callback.seen] == [*range(1, done + 1)]


@pytest.mark.parametrize("optimizer", [fnn.SGD(1e4), fnn.SGD(30.0, momentum=0.9)], ids=str)
def test_a_loss_that_is_not_finite_is_that_of_its_epoch_and_step(optimizer: Any) -> None:
    layers = [fnn.Dense(6), fnn.Dense(6), fnn.Dense(3)]

    def diverged(kind: type[Lagging]) -> list[Any]:
        callback, models = kind(), list[fnn.Sequential]()
        start = Callback()
        start.on_train_begin = lambda context: models.append(context.model)  # type: ignore[method-assign]
        schedule = [10.0**k for k in range(23)]  # so that it takes some epochs
        with pytest.raises(fnn.NonFiniteLoss) as raised:
            fit([start, callback], layers=layers, optimizer=optimizer, schedule=schedule)
        return [str(raised.value), callback.seen, [w.tobytes() for w in models[0].get_weights()]]

    late, punctual = diverged(Lagging), diverged(Punctual)
    assert late == punctual
    assert "epoch" in late[0]


def test_ctrl_c_at_any_line_leaves_weights_history_and_counts_of_the_same_epoch(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    settings: dict[str, Any] = {"epochs": 4, "layers": [fnn.Dense(3)]}
    after: dict[int, list[bytes]] = {}

    class Expected(Punctual):
        def on_epoch_end(self, context: Context) -> None:
            after[context.epoch] = [w.tobytes() for w in context.model.get_weights()]

    fit(Expected(), **settings)
    files = {module.__file__ for module in (ahead, history, loop, sources)}
    real, left = ahead.train, [0]

    def interrupted(frame: Any, event: str, argument: object) -> Any:
        if event == "line":
            left[0] -= 1
            if left[0] == 0:
                raise KeyboardInterrupt
        return interrupted if frame.f_code.co_filename in files else None

    def train(*given: Any) -> None:
        before = sys.gettrace()
        sys.settrace(interrupted)
        try:
            real(*given)
        finally:
            sys.settrace(before)

    monkeypatch.setattr(ahead, "train", train)
    for lines in range(1, 1000):
        left[0] = lines
        model, found = fit(Lagging(3, lambda context: context.stop("enough")), **settings)
        if left[0] > 0:  # it has ended before that line
            break
        epochs = found.epochs
        assert found["epoch"] == [*range(1, epochs + 1)], lines
        assert epochs <= 3
        assert [w.tobytes() for w in model.get_weights()] == after[epochs], lines
        assert (found.steps, found.rows) == (6 * epochs, ROWS * epochs), lines
    assert 100 < lines < 999


def test_a_second_ctrl_c_does_not_find_a_stretch_half_put_back(monkeypatch: pytest.MonkeyPatch) -> None:
    real = ahead._rates

    def rates(loop: Loop, first: int, epochs: int) -> Array | None:
        if loop.finished > 1:  # in the midst of putting back
            os.kill(os.getpid(), signal.SIGINT)
        return real(loop, first, epochs)

    def raised(context: Context) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(ahead, "_rates", rates)
    model, found = fit(Lagging(7, raised))
    monkeypatch.undo()
    assert (found.stopped, found.epochs, found.steps) == ("interrupted", 7, 42)
    assert facts(model, found)[4] == facts(*fit(Punctual(), epochs=7))[4]


def test_ctrl_c_in_a_callback_calls_none_again() -> None:
    def raised(context: Context) -> None:
        raise KeyboardInterrupt

    def ended(kind: type[Lagging]) -> list[Any]:
        callback = kind(7, raised)
        return [*facts(*fit(callback)), callback.seen]

    assert ended(Lagging) == ended(Punctual)


def test_a_class_that_overrides_a_hook_says_itself_whether_it_may_lag(stretches: list[int]) -> None:
    class Bar(fnn.ProgressBar):
        def on_epoch_end(self, context: Context) -> None:
            """It may look at the model."""

    class Late(Bar):
        may_lag = True

    class Later(Late):
        def on_train_begin(self, context: Context) -> None:
            """Not called between epochs."""

    fit(Bar())
    assert not stretches
    for callback in (fnn.ProgressBar(), Late(), Later()):
        fit(callback)
        assert stretches.pop() == 22
    one = Bar()
    one.may_lag = True
    fit(one)
    assert stretches
