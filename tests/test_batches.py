"""fit on batches from an iterator: the bits of arrays, and errors that say which batch was wrong."""

import functools
import io
import itertools
import threading

import numpy as np
import pytest

import fastnn as fnn
from fastnn import batches as batches_module
from fastnn import checkpoints, loop
from fastnn.callbacks import LambdaCallback, ProgressBar

rng = np.random.default_rng(8)
X = rng.standard_normal((101, 6)).astype(np.float32)
Y = np.abs(X[:, :3]).argmax(axis=1)
T = np.column_stack([np.sin(X[:, 0]), X[:, 1] * X[:, 2]])


def classifier(seed=0):
    layers = [fnn.Dense(16, activation="relu"), fnn.BatchNorm(), fnn.Dropout(0.2), fnn.Dense(3)]
    return fnn.Sequential(layers, inputs=6, seed=seed)


def fit(model, *data, **named):
    return model.fit(*data, **{"loss": "cross_entropy", "progress": False, "epochs": 3, **named})


def cut(size=16, X=X, y=Y):
    """A list of batches in the order of the rows."""
    return [(X[first : first + size], y[first : first + size]) for first in range(0, len(X), size)]


def bits(model):
    return [array.tobytes() for array in model.get_weights()]


def numbers(history):
    columns = {name: values for name, values in history.columns.items() if name != "seconds"}
    return columns, history.steps, history.rows, history.stopped


class Loader:
    """Begins anew each time it is iterated over; says nothing of its length."""

    def __init__(self, batches):
        self.batches = batches

    def __iter__(self):
        return iter(self.batches)


FORMS = {
    "a list": cut,
    "an object that begins anew": lambda: Loader(cut()),
    "a function": lambda: lambda: iter(cut()),
    "a function that returns a list": lambda: cut,
    "a generator function": lambda: lambda: (batch for batch in cut()),
    "a function of the epoch": lambda: lambda epoch: cut(),
    "an iterator that goes on": lambda: itertools.chain.from_iterable(itertools.repeat(cut())),
    "lists of numbers": lambda: [[X.tolist(), y.tolist()] for X, y in cut()],
    "other dtypes": lambda: [(x.astype(np.float64), y.astype(np.uint8)) for x, y in cut()],
}
ENDLESS = "an iterator that goes on"


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("gathered", [1, 2000, 2**22])
def test_batches_train_to_the_bits_of_arrays(form, gathered, monkeypatch):
    monkeypatch.setattr(batches_module, "GATHER_BYTES", gathered)
    model, twin = classifier(), classifier()
    history = fit(model, FORMS[form](), steps_per_epoch=7 if form == ENDLESS else None)
    other = fit(twin, X, Y, batch_size=16, shuffle=False)
    assert bits(model) == bits(twin)
    assert numbers(history) == numbers(other)


@pytest.mark.parametrize(
    "settings",
    [
        {"optimizer": fnn.SGD(0.05, momentum=0.9), "schedule": fnn.Exponential(0.95).per_step()},
        {"schedule": fnn.ReduceOnPlateau(0.5, patience=0, threshold=0.1), "validation_data": (X[:20], Y[:20])},
        {"initial_epoch": 2, "steps_per_epoch": 7, "schedule": fnn.Exponential(0.95).per_step()},
        {"schedule": fnn.InverseTime(0.3), "backend": "reference", "epochs": 2},
    ],
)
def test_schedules_and_optimizers_are_those_of_arrays(settings):
    model, twin = classifier(), classifier()
    history = fit(model, cut, **settings)
    other = fit(twin, X, Y, batch_size=16, shuffle=False, **{**settings, "steps_per_epoch": None})
    assert bits(model) == bits(twin)
    assert numbers(history) == numbers(other)


SIZES = (5, 16, 3, 40, 1, 16, 20)  # of 101 rows; the first says what a usual batch is


def uneven():
    ends = np.cumsum(SIZES)
    return [(X[end - size : end], Y[end - size : end]) for size, end in zip(SIZES, ends, strict=True)]


@pytest.mark.parametrize("gathered", [1, 600, 2**22])
def test_batches_of_any_sizes_are_steps_of_their_own(gathered, monkeypatch):
    """Each has the loss and the gradient of its own mean, and counts in the epoch for the rows it has."""
    monkeypatch.setattr(batches_module, "GATHER_BYTES", gathered)
    layers = [fnn.Dense(8, activation="tanh"), fnn.Dense(3)]
    model, twin = (fnn.Sequential(layers, inputs=6, dtype="float64") for _ in range(2))
    rates = fnn.Exponential(0.9).per_step()
    history = fit(model, uneven(), optimizer=fnn.SGD(0.1), epochs=2, schedule=rates)
    step, means = 0, []
    for _ in range(2):
        losses = []
        for x, y in uneven():
            trainer = fnn.Trainer(twin, "cross_entropy", fnn.SGD(rates(0.1, step)), batch_size=len(x))
            losses.append(trainer.run(x, y, np.arange(len(x)))[0])
            step += 1
        means.append(np.average(losses, weights=SIZES))
    for one, other in zip(model.get_weights(), twin.get_weights(), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-13, atol=1e-15)
    np.testing.assert_allclose(history["loss"], means, rtol=1e-13)
    assert (history.steps, history.rows) == (14, 202)


def test_how_many_batches_are_gathered_changes_no_bit(monkeypatch):
    found = []
    for gathered in (1, 600, 2**22):
        monkeypatch.setattr(batches_module, "GATHER_BYTES", gathered)
        model = classifier()
        found.append((bits(model), numbers(fit(model, uneven()))[0]))
    assert found[0] == found[1] == found[2]


def test_slow_batches_are_trained_on_as_they_come(monkeypatch):
    """Each takes longer than the time that batches are gathered for."""
    monkeypatch.setattr(batches_module, "GATHER_SECONDS", -1.0)
    model, twin, made, seen = classifier(), classifier(), [], []

    def slow():
        for batch in cut():
            made.append(len(made))
            yield batch

    looks = LambdaCallback(on_progress=lambda context: seen.append((len(made), context.steps_done)))
    fit(model, slow, epochs=1, callbacks=looks)
    assert seen == [(step + 1, step) for step in range(1, 7)]
    fit(twin, cut, epochs=1)
    assert bits(model) == bits(twin)


# Epochs.


def test_a_function_is_told_the_epoch_if_it_wants_to_know():
    told = []

    def shuffled(epoch):
        told.append(epoch)
        order = np.random.default_rng(epoch).permutation(101)
        return cut(X=X[order], y=Y[order])

    fit(classifier(), shuffled, initial_epoch=4)
    assert told == [4, 5, 6]
    told.clear()
    fit(classifier(), functools.partial(shuffled, 3), epochs=2)
    assert told == [3, 3]


def test_an_iterator_serves_one_epoch():
    model, twin = classifier(), classifier()
    fit(model, iter(cut()), epochs=1)
    fit(twin, cut(), epochs=1)
    assert bits(model) == bits(twin)
    with pytest.raises(ValueError, match=r"fit\(epochs=2\): X is an iterator, which gives its batches once"):
        fit(model, iter(cut()), epochs=2)


def test_steps_per_epoch_cuts_what_begins_anew_and_goes_on_with_what_does_not():
    model, twin = classifier(), classifier()
    fit(model, cut, steps_per_epoch=3, epochs=2)
    fit(twin, [*cut()[:3]], epochs=2)
    assert bits(model) == bits(twin)
    model, twin = classifier(), classifier()
    stream = iter(cut())
    fit(model, stream, steps_per_epoch=3, epochs=2)
    fit(twin, [*cut()[:6]], epochs=1)
    assert bits(model) == bits(twin)
    assert len(list(stream)) == 1  # no more is taken than the steps need


def test_generators_are_closed_when_an_epoch_or_the_training_ends():
    closed = []

    def endless():
        try:
            while True:
                yield cut()[0]
        finally:
            closed.append(True)

    fit(classifier(), endless, steps_per_epoch=4, epochs=3)
    assert len(closed) == 3

    def stop(context):
        raise RuntimeError("mine")

    with pytest.raises(RuntimeError, match="mine"):
        fit(classifier(), endless, steps_per_epoch=4, callbacks=stop)
    assert len(closed) == 4


def test_the_steps_of_an_epoch_are_known_after_the_first_at_the_latest():
    seen = []
    begin = LambdaCallback(
        on_train_begin=lambda c: seen.append(c.steps_per_epoch), on_epoch_end=lambda c: seen.append(c.steps_per_epoch)
    )
    fit(classifier(), Loader(cut()), callbacks=begin, epochs=2)
    fit(classifier(), cut(), callbacks=begin, epochs=1)
    assert seen == [None, 7, 7, 7, 7]


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_the_bar_gets_along_without_a_total(monkeypatch):
    monkeypatch.setattr(loop, "PIECE_WORK", 0)
    monkeypatch.setattr(loop, "PIECE_SECONDS", 0)
    monkeypatch.setattr(ProgressBar, "INTERVAL", 0.0)
    screen = Terminal()
    fit(classifier(), Loader(cut()), progress=ProgressBar(lines=True, file=screen), epochs=2)
    assert "epoch 1/2" in screen.getvalue()
    assert "epoch 2/2  loss" in screen.getvalue()


# Validation.


@pytest.mark.parametrize("form", [list, lambda batches: lambda: iter(batches), Loader])
def test_validation_can_be_batches_too(form):
    model, twin = classifier(), classifier()
    history = fit(model, cut(), validation_data=form(cut(30)), metrics="accuracy")
    other = fit(twin, cut(), validation_data=(X, Y))
    assert numbers(history) == numbers(other)
    assert (
        fit(classifier(), X, Y, validation_data=form(cut(30)), batch_size=16, shuffle=False)["val_loss"]
        == (other["val_loss"])
    )


def test_two_batches_are_no_pair():
    history = fit(classifier(), X, Y, validation_data=cut(60))
    assert history["val_loss"] == fit(classifier(), X, Y, validation_data=(X, Y))["val_loss"]


# What goes wrong.


def spoilt(place, batch):
    batches = cut()
    batches[place] = batch
    return batches


NAN = np.where(np.arange(96).reshape(16, 6) == 13, np.nan, X[:16])


@pytest.mark.parametrize(
    ("item", "error", "message"),
    [
        (3, TypeError, r"is int, expected \(X, y\) or"),
        ((X[:3],), TypeError, r"is tuple, expected \(X, y\) or"),
        ((X[:3, :5], Y[:3]), ValueError, r"X: has shape \(3, 5\), expected \(rows, 6\)"),
        ((X[0], Y[:6]), ValueError, r"X: has shape \(6,\)"),
        ((1.0, Y[:6]), ValueError, r"X has shape \(\), expected at least one row"),
        ((X[:0], Y[:0]), ValueError, r"X has shape \(0, 6\), expected at least one row"),
        ((X[:3], Y[:2]), ValueError, r"y has shape \(2,\), expected 3 rows"),
        ((X[:3], 1), ValueError, r"y has shape \(\)"),
        ((X[:3], Y[:3] + 2), ValueError, "y: row . is ., expected labels from 0 to 2"),
        ((X[:3], Y[:3] + 0.5), ValueError, "y: row 0 is .*whole numbers"),
        ((NAN, Y[:16]), ValueError, "X: row 2, column 1 is nan"),
        ((X[:3].astype(str), Y[:3]), TypeError, "X: has dtype <U"),
        ((X[:3], [["a"]] * 3), TypeError, "y: has dtype"),
    ],
)
@pytest.mark.parametrize("place", [0, 3])
def test_a_wrong_batch_is_named_and_the_model_stays_whole(item, error, message, place):
    """In front nothing is changed; later, the batches before it have been trained on."""
    model, twin = classifier(), classifier()
    with pytest.raises(error, match=f"X: batch {place + 1} of epoch 1:? ?{message}"):
        fit(model, spoilt(place, item))
    if place:
        fit(twin, cut()[:place], epochs=1)
    assert bits(model) == bits(twin)
    assert (model.loss is None) == (place == 0)


def test_targets_of_several_forms_are_converted_one_by_one():
    model, twin = classifier(), classifier()
    mixed = [(x, y[:, None] if place % 2 else y) for place, (x, y) in enumerate(cut())]
    fit(model, mixed)
    fit(twin, cut())
    assert bits(model) == bits(twin)


def test_numbers_for_other_losses():
    model, twin = (fnn.Sequential([fnn.Dense(2)], inputs=6) for _ in range(2))
    model.fit(cut(y=T), loss="mse", epochs=2, progress=False)
    twin.fit(X, T, loss="mse", epochs=2, progress=False, batch_size=16, shuffle=False)
    assert bits(model) == bits(twin)


def test_rows_of_any_shape_and_categories():
    def pictures():
        return fnn.Sequential([fnn.Flatten(), fnn.Dense(3)], inputs=(2, 3))

    model, twin = pictures(), pictures()
    fit(model, cut(X=X.reshape(101, 2, 3)))
    fit(twin, X, Y, batch_size=16, shuffle=False)
    assert bits(model) == bits(twin)
    codes = rng.integers(0, 4, (101, 1)).astype(np.float32)
    model, twin = (fnn.Sequential([fnn.Embedding({0: (4, 2)}), fnn.Dense(3)], inputs=1) for _ in range(2))
    fit(model, cut(X=codes))
    fit(twin, codes, Y, batch_size=16, shuffle=False)
    assert bits(model) == bits(twin)
    with pytest.raises(ValueError, match="X: batch 1 of epoch 1: X: row 0, column 0 is 4"):
        fit(model, cut(X=codes * 0 + 4))


def test_optimizers_that_look_at_all_rows_are_refused():
    for optimizer in (fnn.LBFGS(), fnn.ARS(version=2)):
        with pytest.raises(ValueError, match="needs all rows as arrays"):
            fit(fnn.Sequential([fnn.Dense(3)], inputs=6), cut(), optimizer=optimizer)
    model, twin = (fnn.Sequential([fnn.Dense(3)], inputs=6) for _ in range(2))
    fit(model, cut(), optimizer=fnn.ARS())
    fit(twin, X, Y, optimizer=fnn.ARS(), batch_size=16, shuffle=False)
    assert bits(model) == bits(twin)


def test_an_error_of_the_iterator_comes_through_after_the_steps_before_it():
    def failing():
        yield from cut()[:4]
        raise OSError("the file is gone")

    model, twin, ended = classifier(), classifier(), []
    with pytest.raises(OSError, match="the file is gone"):
        fit(model, failing, callbacks=LambdaCallback(on_epoch_end=lambda c: ended.append(c.epoch)))
    fit(twin, cut()[:4], epochs=1)
    assert bits(model) == bits(twin)
    assert not ended


def test_ctrl_c_in_an_iterator_ends_the_training(capsys):
    def interrupted(epoch):
        yield from cut()
        if epoch == 1:
            raise KeyboardInterrupt

    model, twin = classifier(), classifier()
    history = fit(model, interrupted)
    assert (history.stopped, history.epochs) == ("interrupted", 1)
    assert "training interrupted in epoch 2" in capsys.readouterr().err
    fit(twin, cut, epochs=1)
    assert bits(model) == bits(twin)  # what was gathered for the second is not trained on


def test_a_loss_that_is_not_finite_names_its_step():
    bad = cut()
    bad[4] = (np.full((16, 6), 1e38, np.float32), bad[4][1])
    model = fnn.Sequential([fnn.Dense(3)], inputs=6)
    with pytest.raises(fnn.NonFiniteLoss, match=r"in epoch 1, step 5; .* before the training"):
        fit(model, Loader(bad))
    with pytest.raises(fnn.NonFiniteLoss, match=r"in epoch 1, step 5 of 7; "):
        fit(model, bad)


@pytest.mark.parametrize(
    ("data", "settings", "error", "message"),
    [
        (X, {}, TypeError, r"fit\(X=ndarray, y=None\): give the targets y"),
        (3, {}, TypeError, r"fit\(X=int, y=None\)"),
        (cut, {"validation_split": 0.1}, ValueError, r"fit\(validation_split=0.1\): needs arrays"),
        (cut, {"steps_per_epoch": 0}, ValueError, "steps_per_epoch must be at least 1"),
        (cut, {"validation_data": iter(cut())}, ValueError, "validation_data: is an iterator, which gives .* once"),
        (cut, {"validation_data": list}, ValueError, "validation_data: gave no batch"),
        (cut, {"validation_data": [(X, Y + 9)]}, ValueError, "validation_data: batch 1 of epoch 1: y: row 0"),
        (list, {}, ValueError, "X: gave no batch for epoch 1"),
        (
            Loader(cut()), {"initial_epoch": 2, "schedule": fnn.Constant().per_step()}, ValueError,
            r"fit\(initial_epoch=2\): give steps_per_epoch",
        ),
    ],
)  # fmt: skip
def test_bad_arguments_are_refused_and_nothing_is_changed(data, settings, error, message):
    model = classifier()
    before = bits(model)
    with pytest.raises(error, match=message):
        fit(model, data, **settings)
    assert bits(model) == before
    assert model.loss is None


def test_steps_per_epoch_is_for_batches():
    with pytest.raises(ValueError, match=r"fit\(steps_per_epoch=3\): for batches only"):
        fit(classifier(), X, Y, steps_per_epoch=3)


def test_too_few_batches_are_an_error_in_their_epoch():
    with pytest.raises(ValueError, match="X: epoch 1 ended after 7 batches, expected steps_per_epoch=8"):
        fit(classifier(), cut, steps_per_epoch=8)
    with pytest.raises(ValueError, match="X: epoch 2 ended after 3 batches, expected steps_per_epoch=4"):
        fit(classifier(), iter(cut()), steps_per_epoch=4)
    with pytest.raises(ValueError, match="X: gave no batch for epoch 2"):
        fit(classifier(), lambda epoch: cut()[7 * epoch :])


# Weights, and losses of one's own.

W = np.abs(rng.standard_normal(101))
W[rng.integers(0, 101, 20)] = 0.0


def weighted(size=16):
    return [(x, y, w) for (x, y), (w, _) in zip(cut(size), cut(size, W, W), strict=True)]


@pytest.mark.parametrize("class_weight", [None, {0: 2.0, 2: 0.5}, [1.0, 3.0, 0.0]])
@pytest.mark.parametrize("gathered", [1, 2000, 2**22])
def test_weights_come_with_their_batches(class_weight, gathered, monkeypatch):
    monkeypatch.setattr(batches_module, "GATHER_BYTES", gathered)
    model, twin = classifier(), classifier()
    history = fit(model, weighted(), class_weight=class_weight, validation_data=weighted(30))
    other = fit(
        twin, X, Y, sample_weight=W, class_weight=class_weight, validation_data=(X, Y, W), batch_size=16,
        shuffle=False,
    )  # fmt: skip
    assert bits(model) == bits(twin)
    np.testing.assert_allclose(history["loss"], other["loss"], rtol=1e-15)
    assert numbers(history)[0]["val_loss"] == numbers(other)[0]["val_loss"]


def test_rows_of_batches_without_weights_weigh_one():
    model, twin = classifier(), classifier()
    mixed = [batch if place % 2 else (*batch[:2], None) for place, batch in enumerate(weighted())]
    same = [
        batch if len(batch) == 3 and batch[2] is not None else (*batch[:2], np.ones(len(batch[0]))) for batch in mixed
    ]
    fit(model, mixed)
    fit(twin, same)
    assert bits(model) == bits(twin)


@pytest.mark.parametrize(
    ("data", "settings", "message"),
    [
        (cut, {"class_weight": "balanced"}, "class_weight='balanced'.* needs all targets"),
        (cut, {"sample_weight": W}, "give batches"),
        (lambda: [(X, Y, -W)], {}, "X: batch 1 of epoch 1: sample_weight: row . is -"),
        (lambda: [(X, Y, W[:3])], {}, r"X: batch 1 of epoch 1: sample_weight: has shape \(3,\)"),
    ],
)
def test_weights_that_do_not_fit_are_named(data, settings, message):
    model = classifier()
    before = bits(model)
    with pytest.raises(ValueError, match=message):
        fit(model, data, **settings)
    assert bits(model) == before


def halved(outputs, targets):
    """Half the squared error, a mean over the rows."""
    difference = outputs - targets
    return 0.5 * float(np.square(difference).sum()) / len(outputs), difference / len(outputs)


def test_losses_of_ones_own_take_batches():
    model, twin = (fnn.Sequential([fnn.Dense(8, activation="tanh"), fnn.Dense(2)], inputs=6) for _ in range(2))
    settings = {"loss": halved, "epochs": 2, "progress": False}
    rates = fnn.Exponential(0.9).per_step()
    history = model.fit(cut(y=T), **settings, schedule=rates, validation_data=cut(30, y=T))
    other = twin.fit(X, T, **settings, schedule=rates, batch_size=16, shuffle=False, validation_data=(X, T))
    assert bits(model) == bits(twin)
    assert numbers(history) == numbers(other)


# Made ahead.


def threads_of_ours():
    return [thread for thread in threading.enumerate() if thread.name == "fastnn.Prefetch"]


@pytest.mark.parametrize("form", [name for name in FORMS if name != ENDLESS])
@pytest.mark.parametrize("ahead", [1, 16])
def test_batches_made_ahead_train_to_the_same_bits(form, ahead):
    model, twin = classifier(), classifier()
    history = fit(model, fnn.Prefetch(FORMS[form](), ahead), validation_data=fnn.Prefetch(cut(30)))
    other = fit(twin, FORMS[form](), validation_data=cut(30))
    assert bits(model) == bits(twin)
    assert numbers(history) == numbers(other)
    assert not threads_of_ours()


def test_no_more_batches_are_made_ahead_than_may_wait():
    made, makers = [], set()

    def counted():
        for batch in cut(2):
            made.append(None)
            makers.add(threading.get_ident())
            yield batch

    for taken, _ in enumerate(fnn.Prefetch(counted, ahead=3)(0)):
        assert len(made) - taken <= 3 + 2  # those that wait, the one in hand, the one that waits for a place
    assert len(made) == 51
    assert makers
    assert threading.get_ident() not in makers


def test_batches_made_ahead_are_told_the_epoch_and_closed_when_left():
    told, closed = [], []

    def endless(epoch):
        told.append(epoch)
        try:
            while True:
                yield cut()[0]
        finally:
            closed.append(epoch)

    model, twin = classifier(), classifier()
    fit(model, fnn.Prefetch(endless, ahead=2), steps_per_epoch=4, initial_epoch=5)
    fit(twin, endless, steps_per_epoch=4, initial_epoch=5)
    assert bits(model) == bits(twin)
    assert told == closed == [5, 6, 7] * 2
    assert not threads_of_ours()


def test_errors_in_the_thread_come_through_after_the_steps_before_them():
    def failing():
        yield from cut()[:4]
        raise OSError("the file is gone")

    model, twin = classifier(), classifier()
    with pytest.raises(OSError, match="the file is gone"):
        fit(model, fnn.Prefetch(failing))
    fit(twin, cut()[:4], epochs=1)
    assert bits(model) == bits(twin)

    def never():
        raise OSError("no such folder")

    with pytest.raises(OSError, match="no such folder"):
        fit(model, fnn.Prefetch(never))
    assert not threads_of_ours()


@pytest.mark.parametrize(("batches", "ahead"), [(X, 1), (iter(cut()), 1), (3, 1), (cut, 0), (cut, 1.5)])
def test_only_what_begins_anew_is_made_ahead(batches, ahead):
    with pytest.raises((ValueError, TypeError), match="Prefetch"):
        fnn.Prefetch(batches, ahead)


# Checkpoints.


class Stopped(Exception):
    """Stands for whatever ends a process."""


@pytest.mark.parametrize("form", ["a list", "a function of the epoch", ENDLESS, "an object that begins anew"])
@pytest.mark.parametrize("steps", [7, 10])
def test_batches_are_resumed_between_epochs_and_inside(form, steps, tmp_path, monkeypatch):
    monkeypatch.setattr(loop, "PIECE_WORK", 0)
    monkeypatch.setattr(loop, "PIECE_SECONDS", 0)
    settings = {
        "steps_per_epoch": 7 if form == ENDLESS else None, "schedule": fnn.Exponential(0.97).per_step(),
        "optimizer": fnn.SGD(0.05, momentum=0.9), "validation_data": (X[:9], Y[:9]),
    }  # fmt: skip
    whole, model, path = classifier(), classifier(), tmp_path / "run.ckpt"
    history = fit(whole, FORMS[form](), **settings)

    def look(context):
        if context.steps_done == steps:
            context.checkpoint(path)
            raise Stopped

    with pytest.raises(Stopped):
        fit(classifier(), FORMS[form](), **settings, callbacks=LambdaCallback(on_progress=look, on_epoch_end=look))
    assert len(checkpoints.read(path).state["losses"]) == steps % 7
    other = fit(model, FORMS[form](), **settings, resume=path)
    assert bits(model) == bits(whole)
    assert numbers(other) == numbers(history)


@pytest.mark.parametrize("steps", [7, 10])
def test_weighted_batches_are_resumed(steps, tmp_path, monkeypatch):
    monkeypatch.setattr(loop, "PIECE_WORK", 0)
    monkeypatch.setattr(loop, "PIECE_SECONDS", 0)
    settings = {"class_weight": {1: 2.0}, "validation_data": (X[:9], Y[:9])}
    whole, model, path = classifier(), classifier(), tmp_path / "run.ckpt"
    history = fit(whole, weighted, **settings)

    def look(context):
        if context.steps_done == steps:
            context.checkpoint(path)
            raise Stopped

    with pytest.raises(Stopped):
        fit(classifier(), weighted, **settings, callbacks=LambdaCallback(on_progress=look, on_epoch_end=look))
    other = fit(model, weighted, **settings, resume=path)
    assert bits(model) == bits(whole)
    assert numbers(other) == numbers(history)
    with pytest.raises(ValueError, match=r"class_weight.1 is 3.0 here, 2.0"):
        fit(model, weighted, **{**settings, "class_weight": {1: 3.0}}, resume=path)


def test_an_epoch_of_batches_without_weights_does_not_depend_on_epochs_with_some(tmp_path):
    """In the last bit of its loss, where it is resumed behind them."""
    sizes, path = [3, 7, 11, 13, 15], tmp_path / "run.ckpt"

    def given(epoch):
        ends = np.cumsum(sizes)
        parts = [(X[end - size : end], Y[end - size : end]) for end, size in zip(ends, sizes, strict=True)]
        return [(*part, np.ones(len(part[0]))) for part in parts] if epoch == 0 else parts

    whole = fit(classifier(), given, epochs=9)
    fit(classifier(), given, epochs=1, callbacks=[fnn.Checkpoint(path)])
    assert numbers(fit(classifier(), given, epochs=9, resume=path)) == numbers(whole)


def test_a_checkpoint_beyond_what_an_epoch_gives_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(loop, "PIECE_WORK", 0)
    monkeypatch.setattr(loop, "PIECE_SECONDS", 0)
    path = tmp_path / "run.ckpt"
    look = LambdaCallback(on_progress=lambda context: context.steps_done == 5 and context.checkpoint(path))
    fit(classifier(), cut, callbacks=look, epochs=1)
    with pytest.raises(ValueError, match="X: gave 3 batches in epoch 1, where the checkpoint has made 5 steps"):
        fit(classifier(), lambda: cut()[:3], resume=path, epochs=1)


# The trainer's part.


@pytest.mark.parametrize("sizes", [[], [0, 3], [60, 60], [1.5], [[3]], [-1, 4]])
def test_sizes_that_do_not_fit_are_refused(sizes):
    bound = fnn.Trainer(classifier(), "cross_entropy").bind(X, Y)
    with pytest.raises(ValueError, match="run_batches"):
        bound.run_batches(sizes)


@pytest.mark.parametrize("backend", fnn.backends().available)
def test_sizes_of_a_run_are_those_of_an_order(backend):
    one, other = classifier(), classifier()
    losses = fnn.Trainer(one, "cross_entropy", batch_size=16, backend=backend).bind(X, Y).run_batches([16] * 6 + [5])
    others = fnn.Trainer(other, "cross_entropy", batch_size=16, backend=backend).bind(X, Y).run(np.arange(101))
    np.testing.assert_array_equal(losses, others)
    assert bits(one) == bits(other)


def test_a_run_of_batches_counts_its_steps_over_plans():
    data = X.copy()
    data[70] = np.nan
    bound = fnn.Trainer(classifier(), "cross_entropy", batch_size=8).bind(data, Y, allow_nonfinite=True)
    with pytest.raises(fnn.NonFiniteLoss) as caught:
        bound.run_batches(np.array([8, 40, 8, 8, 20, 8]))
    assert caught.value.step == 4
    assert len(caught.value.losses) >= 5


def test_batches_whose_targets_have_another_form_are_named():
    onehot = np.eye(3)[Y[32:64]]
    expected = r"batch 2 of epoch 1: y has shape \(32, 3\), expected \(32,\) as in X: batch 1"
    with pytest.raises(ValueError, match=expected):
        fit(fnn.Sequential([fnn.Dense(3)], inputs=6), [(X[:32], Y[:32]), (X[32:64], onehot)])
