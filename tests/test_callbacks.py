"""Callbacks by themselves; tests/test_fit.py has them at work in trainings."""

import io
import math
from types import SimpleNamespace

import pytest

from fastnn.callbacks import Callback, Context, EarlyStopping, LambdaCallback, ProgressBar, get_hooks
from fastnn.history import History

NAN = math.nan


class Weights:
    """Stands for Parameters: one number that each epoch changes."""

    def __init__(self):
        self.state = 0

    def copy_state(self):
        return self.state

    def restore_state(self, state):
        self.state = state


def context(columns=("loss", "val_loss", "val_accuracy", "lr", "seconds"), epochs=10):
    model = SimpleNamespace(parameters=Weights())
    return Context(model, None, History(), columns=tuple(columns), epochs=epochs, steps_per_epoch=4)


def watch(stopping, values, name="val_loss"):
    """Show a callback one value per epoch until it stops; returns the context afterwards."""
    ctx = context((name, "loss"))
    stopping.on_train_begin(ctx)
    for epoch, value in enumerate(values, 1):
        ctx.model.parameters.state = ctx.epoch = epoch
        ctx.logs = {name: value}
        stopping.on_epoch_end(ctx)
        if ctx.reason:
            break
    stopping.on_train_end(ctx)
    return ctx


@pytest.mark.parametrize(
    ("values", "patience", "stopped_after", "best_epoch"),
    [
        ([3, 2, 1, 2, 3, 4], 2, 5, 3),
        ([3, 2, 1, 2, 3, 4], 1, 4, 3),
        ([3, 4, 2, 4, 1, 4], 2, None, 5),
        ([1, 1, 1, 1], 2, 3, 1),
        ([NAN, NAN, NAN], 2, 2, None),
        ([NAN, 2, NAN, 1], 3, None, 4),
        ([math.inf, 2, 3, 3], 2, 4, 2),
    ],
)
def test_early_stopping_stops_and_goes_back(values, patience, stopped_after, best_epoch):
    stopping = EarlyStopping(patience)
    ctx = watch(stopping, values)
    assert (ctx.epoch if ctx.reason else None) == stopped_after
    assert stopping.best_epoch == best_epoch
    assert ctx.model.parameters.state == (best_epoch or ctx.epoch)


def test_early_stopping_says_why():
    reason = watch(EarlyStopping(2), [0.5, 0.25, 0.3, 0.3]).reason
    assert reason == "early stopping: val_loss has not improved for 2 epochs (best 0.25 in epoch 2)"


def test_early_stopping_on_a_score_looks_for_the_largest():
    stopping = EarlyStopping(2, monitor="val_accuracy")
    assert watch(stopping, [0.5, 0.7, 0.6, 0.6], "val_accuracy").epoch == 4
    assert (stopping.best, stopping.best_epoch) == (0.7, 2)


def test_min_delta_is_exceeded_not_reached():
    stopping = EarlyStopping(2, min_delta=0.5)
    watch(stopping, [2.0, 1.5, 1.5])
    assert stopping.best_epoch == 1


def test_without_restoring_the_last_weights_stay():
    ctx = watch(EarlyStopping(2, restore_best=False), [1, 2, 3])
    assert ctx.model.parameters.state == 3


def test_one_object_serves_several_trainings():
    stopping = EarlyStopping(2)
    watch(stopping, [0.1, 0.2, 0.3])
    assert watch(stopping, [5, 4, 6, 7, 8]).epoch == 4
    assert stopping.best_epoch == 2


def test_unknown_column_is_refused_before_training():
    with pytest.raises(ValueError, match="unknown column 'val_acuracy': did you mean 'val_accuracy'"):
        EarlyStopping(2, monitor="val_acuracy").on_train_begin(context())
    with pytest.raises(ValueError, match="needs validation data"):
        EarlyStopping(2).on_train_begin(context(("loss", "lr")))


def test_direction_of_own_metrics_must_be_said():
    with pytest.raises(ValueError, match="say 'min' or 'max'"):
        watch(EarlyStopping(2, monitor="val_profit"), [1, 2], "val_profit")
    stopping = EarlyStopping(2, monitor="val_profit", mode="max")
    watch(stopping, [1, 2, 1, 1], "val_profit")
    assert stopping.best == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"patience": 0}, "patience must be at least 1"),
        ({"patience": 1.5}, "patience must be an integer"),
        ({"patience": 1, "min_delta": -1}, "min_delta must be at least 0"),
        ({"patience": 1, "mode": "mix"}, "unknown mode 'mix': did you mean 'min|max'"),
        ({"patience": 1, "restore_best": "no"}, r"EarlyStopping\(restore_best='no'\): restore_best must be True or"),
        ({"patience": 1, "monitor": 3}, "expected the name of a column"),
    ],
)
def test_early_stopping_checks_its_arguments(arguments, message):
    with pytest.raises((ValueError, TypeError), match=message.replace("'min|max'", "'m(in|ax)'")):
        EarlyStopping(**arguments)


def test_functions_are_called_at_the_end_of_epochs():
    def after(context):
        pass

    assert get_hooks(after)["on_epoch_end"] == [after]
    hooks = get_hooks((after, LambdaCallback(on_train_end=after)))
    assert (hooks["on_epoch_end"], hooks["on_train_end"]) == ([after], [after])


def test_only_overridden_methods_are_called():
    class Mine(Callback):
        def on_epoch_end(self, context):
            pass

    mine = Mine()
    hooks = get_hooks([mine])
    assert hooks.pop("on_epoch_end") == [mine.on_epoch_end]
    assert not any(hooks.values())


def test_any_object_with_a_hook_is_a_callback():
    duck = SimpleNamespace(on_train_begin=print)
    assert get_hooks([duck])["on_train_begin"] == [print]
    assert get_hooks(duck)["on_train_begin"] == [print]


@pytest.mark.parametrize("wrong", [3, "early_stopping", SimpleNamespace(on_epoch=print), EarlyStopping])
def test_what_is_no_callback_is_refused(wrong):
    with pytest.raises(TypeError, match=r"callbacks: .* is neither a function of the context nor an object"):
        get_hooks([wrong])


def test_lambda_callback_wants_functions():
    with pytest.raises(TypeError, match=r"LambdaCallback.on_epoch_end=3.: expected a function"):
        LambdaCallback(on_epoch_end=3)


def test_the_first_reason_to_stop_is_kept():
    ctx = context()
    ctx.stop("first")
    ctx.stop("second")
    assert ctx.reason == "first"


class Terminal(io.StringIO):
    def isatty(self):
        return True


def run_bar(bar, epochs=10):
    ctx = context(epochs=epochs)
    bar.on_train_begin(ctx)
    for epoch in range(1, epochs + 1):
        ctx.epoch, ctx.steps_done = epoch, epoch * ctx.steps_per_epoch
        ctx.logs = {"loss": 1 / epoch, "val_accuracy": 0.5, "lr": 0.1, "seconds": 1.0}
        bar.on_epoch_end(ctx)
    bar.on_train_end(ctx)
    bar.close()


def test_bar_shows_its_end_on_a_terminal():
    file = Terminal()
    run_bar(ProgressBar(file=file))
    assert "epoch 10/10 |##########|" in file.getvalue().replace("\u2588", "#")
    assert "loss 0.100, val_accuracy 0.500" in file.getvalue()


def test_bar_is_not_drawn_for_every_epoch():
    file = Terminal()
    run_bar(ProgressBar(file=file), epochs=2000)
    assert file.getvalue().count("\r") < 100


def test_bar_is_silent_where_there_is_no_terminal(monkeypatch):
    file = io.StringIO()
    run_bar(ProgressBar(file=file))
    assert file.getvalue() == ""
    monkeypatch.setattr("sys.stderr", None)
    run_bar(ProgressBar())


def test_lines_are_printed_for_each_epoch():
    file = io.StringIO()
    run_bar(ProgressBar(lines=True, file=file), epochs=3)
    assert file.getvalue().splitlines() == [
        "epoch 1/3  loss 1.0000  val_accuracy 0.5000",
        "epoch 2/3  loss 0.5000  val_accuracy 0.5000",
        "epoch 3/3  loss 0.3333  val_accuracy 0.5000",
    ]


def test_lines_stand_above_the_bar():
    file = Terminal()
    run_bar(ProgressBar(lines=True, file=file), epochs=2)
    assert "epoch 2/2  loss 0.5000  val_accuracy 0.5000\n" in file.getvalue()
