"""Sequential.fit: what it trains on, in which order, what stops it and what it leaves behind."""

import os
import subprocess
import sys
import textwrap
import threading

import numpy as np
import pytest

import fastnn as fnn
from fastnn.callbacks import LambdaCallback, ProgressBar
from fastnn.data import split_rows
from fastnn.training import Order

rng = np.random.default_rng(3)
X = rng.standard_normal((101, 6))
Y = (np.abs(X[:, :3]).argmax(axis=1)).astype(np.int64)
T = np.column_stack([np.sin(X[:, 0]), X[:, 1] * X[:, 2]])


def classifier(seed=0, dtype="float64", inputs=6):
    return fnn.Sequential([fnn.Dense(16, activation="tanh"), fnn.Dense(3)], inputs=inputs, dtype=dtype, seed=seed)


def regressor(seed=0, dtype="float64"):
    layers = [fnn.Dense(16, activation="relu"), fnn.BatchNorm(), fnn.Dropout(0.1), fnn.Dense(2)]
    return fnn.Sequential(layers, inputs=6, dtype=dtype, seed=seed)


def fit(model, *arguments, **named):
    """fit, quietly, with the loss that the network is made for."""
    data = arguments or ((X, Y) if model.outputs == 3 else (X, T))
    named = {"loss": "cross_entropy" if model.outputs == 3 else "mse", "progress": False, "epochs": 3, **named}
    return model.fit(*data, **named)


def same_weights(a, b):
    return all(np.array_equal(u, v) for u, v in zip(a.get_weights(), b.get_weights(), strict=True))


def stand_still(lr0, epoch):
    """A schedule under which training only measures."""
    return 0.0


# What is trained on, and in which order.


@pytest.mark.parametrize("batch_size", [1, 7, 32, 100, 101, 102, 10**9])
@pytest.mark.parametrize("make", [classifier, lambda: fnn.Sequential([fnn.Dense(2)], inputs=6, dtype="float64")])
def test_the_loss_of_an_epoch_is_the_mean_over_all_rows(make, batch_size):
    model = make()
    before = model.get_weights()
    history = fit(model, batch_size=batch_size, schedule=stand_still)
    data = (X, Y) if model.outputs == 3 else (X, T)
    assert history["loss"] == pytest.approx([model.evaluate(*data)["loss"]] * 3, rel=1e-13)
    assert history.steps == 3 * -(-101 // batch_size)
    assert history.rows == 303
    for now, then in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(now, then)


# No batches of one row for the batch normalisation; the last batch of 101 rows, 100 at a time, is one all the same.
@pytest.mark.parametrize(
    ("make", "batch_size"), [*((classifier, n) for n in (1, 7, 100, 1000)), *((regressor, n) for n in (7, 100, 1000))]
)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_training_lowers_the_loss(make, dtype, batch_size):
    model = make(dtype=dtype)
    history = fit(model, batch_size=batch_size, epochs=30, optimizer=fnn.Adam(lr=0.01))
    assert history["loss"][-1] < 0.9 * history["loss"][0]
    assert all(np.isfinite(w).all() for w in model.get_weights())


def test_the_order_depends_on_seed_and_epoch_alone():
    order = Order(np.arange(50), True, 0)
    first = order(3)
    order(4)
    np.testing.assert_array_equal(order(3), first)
    assert sorted(first) == list(range(50))
    assert not np.array_equal(order(4), first)
    assert not np.array_equal(Order(np.arange(50), True, 1)(3), first)


def test_the_order_is_the_one_that_is_trained_on():
    model, twin = classifier(seed=5), classifier(seed=5)
    fit(model, epochs=3, batch_size=10, optimizer=fnn.SGD(lr=0.1))
    trainer = fnn.Trainer(twin, "cross_entropy", fnn.SGD(lr=0.1), batch_size=10)
    order = Order(np.arange(101), True, 5)
    for epoch in range(3):
        trainer.run(X, Y, order(epoch))
    assert same_weights(model, twin)


def test_without_shuffling_rows_are_taken_as_they_come():
    model, twin = classifier(), classifier()
    fit(model, epochs=2, batch_size=10, shuffle=False)
    trainer = fnn.Trainer(twin, "cross_entropy", "adam", batch_size=10)
    for _ in range(2):
        trainer.run(X, Y, np.arange(101))
    assert same_weights(model, twin)


def test_a_full_batch_is_the_trainers_full_batch():
    model, twin = regressor(), regressor()
    history = fit(model, epochs=5, batch_size=101)
    losses = fnn.Trainer(twin, "mse", "adam", batch_size=101).run(X, T, steps=5)
    assert same_weights(model, twin)
    assert history["loss"] == list(losses)


def test_the_same_seed_gives_the_same_bits():
    a, b, other = (
        regressor(seed=2, dtype="float32"),
        regressor(seed=2, dtype="float32"),
        regressor(seed=3, dtype="float32"),
    )
    histories = [fit(model, batch_size=20) for model in (a, b, other)]
    assert same_weights(a, b)
    assert histories[0]["loss"] == histories[1]["loss"] != histories[2]["loss"]


def test_initial_epoch_continues_shuffling_schedule_and_history():
    unbroken, resumed = classifier(), classifier()
    settings = {"batch_size": 10, "optimizer": fnn.SGD(lr=0.1), "schedule": fnn.InverseTime(0.5)}
    whole = fit(unbroken, epochs=5, **settings)
    fit(resumed, epochs=2, **settings)
    rest = fit(resumed, epochs=3, initial_epoch=2, **settings)
    assert same_weights(unbroken, resumed)
    assert rest["epoch"] == [3, 4, 5]
    for name in ("loss", "lr"):
        assert rest[name] == whole[name][2:]


def test_short_pieces_change_no_bit(monkeypatch):
    """Long epochs are cut into pieces by time; here every step is a piece."""
    from fastnn import loop

    whole, cut = regressor(), regressor()
    calls = []
    fit(whole, batch_size=10)
    monkeypatch.setattr(loop, "PIECE_WORK", 0)
    monkeypatch.setattr(loop, "PIECE_SECONDS", 0)
    monkeypatch.setattr(loop, "KEEP_EVERY", 4)
    history = fit(
        cut, batch_size=10, callbacks=LambdaCallback(on_progress=lambda context: calls.append(context.steps_done))
    )
    assert same_weights(whole, cut)
    assert calls == [step for step in range(1, 33) if step % 11]
    assert history.steps == 33


def test_models_trained_in_threads_equal_those_trained_in_turn():
    serial, parallel = ([regressor(seed=s, dtype="float32") for s in range(2)] for _ in range(2))
    for model in serial:
        fit(model, epochs=20, batch_size=9)
    threads = [threading.Thread(target=fit, args=(m,), kwargs={"epochs": 20, "batch_size": 9}) for m in parallel]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(same_weights(a, b) for a, b in zip(serial, parallel, strict=True))


@pytest.mark.parametrize(
    "form",
    [
        np.asfortranarray,
        lambda a: np.repeat(a, 2, axis=0)[::2],
        lambda a: a.astype(a.dtype.newbyteorder()),
        lambda a: a.tolist(),
    ],
)
def test_any_form_of_array_trains_the_same(form):
    model, twin = classifier(), classifier()
    fit(model)
    fit(twin, form(X), form(Y))
    assert same_weights(model, twin)


def test_frames_train_the_same():
    pandas = pytest.importorskip("pandas")
    model, twin = regressor(), regressor()
    fit(model)
    fit(twin, pandas.DataFrame(X), pandas.DataFrame(T))
    assert same_weights(model, twin)


def test_read_only_data_is_enough_and_stays_as_it_is():
    data = X.copy(), Y.copy()
    for array in data:
        array.flags.writeable = False
    fit(classifier(), *data)
    np.testing.assert_array_equal(data[0], X)


# Validation.


def test_split_is_disjoint_complete_and_by_seed():
    train, held = split_rows(101, 0.25, seed=1)
    assert len(held) == 25
    assert sorted([*train, *held]) == list(range(101))
    np.testing.assert_array_equal(held, split_rows(101, 0.25, seed=1)[1])
    assert not np.array_equal(held, split_rows(101, 0.25, seed=2)[1])
    assert len(split_rows(3, 0.01, seed=0)[1]) == 1
    assert len(split_rows(3, 0.99, seed=0)[0]) == 1


@pytest.mark.parametrize("batch_size", [10, 1000])
def test_held_rows_are_scored_and_not_trained_on(batch_size):
    model, twin = classifier(seed=4), classifier(seed=4)
    train, held = split_rows(101, 0.2, seed=4)
    history = fit(model, validation_split=0.2, batch_size=batch_size, shuffle=False)
    other = fit(twin, X[train], Y[train], validation_data=(X[held], Y[held]), batch_size=batch_size, shuffle=False)
    assert same_weights(model, twin)
    for name in ("loss", "val_loss", "val_accuracy"):
        assert history[name] == other[name]
    scores = model.evaluate(X[held], Y[held])
    assert (history["val_loss"][-1], history["val_accuracy"][-1]) == (scores["loss"], scores["accuracy"])


def test_metrics_of_the_validation_can_be_chosen():
    def worst(outputs, targets):
        return np.abs(outputs - targets).max()

    history = fit(regressor(), validation_split=0.2, metrics=("r2", worst))
    assert list(history.columns) == ["epoch", "loss", "val_loss", "val_r2", "val_worst", "lr", "seconds"]
    assert list(fit(regressor()).columns) == ["epoch", "loss", "lr", "seconds"]


def test_validation_does_not_change_the_training():
    model, twin = regressor(), regressor()
    fit(model, batch_size=13)
    fit(twin, batch_size=13, validation_data=(X, T))
    assert same_weights(model, twin)


# Schedules, history, callbacks.


def test_the_schedule_sets_the_rate_of_each_epoch():
    history = fit(classifier(), epochs=4, optimizer=fnn.SGD(lr=0.4), schedule=fnn.StepDecay(0.5, 2))
    assert history["lr"] == [0.4, 0.4, 0.2, 0.2]
    assert fit(classifier(), epochs=2, optimizer=fnn.SGD(lr=0.4))["lr"] == [0.4, 0.4]
    assert fit(classifier(), epochs=2, schedule=lambda lr0, epoch: 0.25 * epoch)["lr"] == [0.0, 0.25]


def test_history_counts_and_names():
    history = fit(classifier(), epochs=2, batch_size=25)
    assert history["epoch"] == [1, 2]
    assert (history.epochs, history.steps, history.rows, history.stopped) == (2, 10, 202, "finished")
    assert history.backend in fnn.backends().available
    assert 0 < history.train_seconds < history.seconds
    assert history.samples_per_second > 0
    assert history["seconds"] == sorted(history["seconds"])


def test_hooks_are_called_in_order_and_see_the_numbers():
    seen = []
    callback = LambdaCallback(
        on_train_begin=lambda c: seen.append(("begin", c.epoch, c.columns)),
        on_epoch_end=lambda c: seen.append((c.epoch, c.logs["loss"] == c.history["loss"][-1], c.steps_done)),
        on_train_end=lambda c: seen.append(("end", c.history.stopped)),
    )
    fit(classifier(), epochs=2, batch_size=60, callbacks=[callback])
    assert seen == [("begin", 0, ("loss", "lr", "seconds")), (1, True, 2), (2, True, 4), ("end", "finished")]


def test_a_function_can_stop_the_training():
    history = fit(classifier(), epochs=9, callbacks=lambda c: c.stop("enough") if c.epoch == 2 else None)
    assert (history.epochs, history.stopped) == (2, "enough")


def test_early_stopping_leaves_the_best_weights_and_running_statistics():
    model = regressor(dtype="float32")
    stopping = fnn.EarlyStopping(patience=3)
    settings = {"validation_data": (X[:40], T[:40]), "epochs": 500, "batch_size": 20, "optimizer": fnn.Adam(lr=0.05)}
    history = fit(model, X[40:], T[40:], callbacks=[stopping], **settings)
    assert history.stopped.startswith("early stopping: val_loss")
    assert history.epochs == stopping.best_epoch + 3
    best = min(history["val_loss"])
    assert model.evaluate(X[:40], T[:40])["loss"] == best == stopping.best
    twin = regressor(dtype="float32")
    fit(twin, X[40:], T[40:], **{**settings, "epochs": stopping.best_epoch})
    assert same_weights(model, twin)


def test_an_error_in_a_callback_comes_through_and_leaves_the_weights_of_that_epoch():
    def fail(context):
        if context.epoch == 2:
            raise RuntimeError("mine")

    model, twin = classifier(), classifier()
    bar = ProgressBar()
    with pytest.raises(RuntimeError, match="mine"):
        fit(model, epochs=5, callbacks=[fail], progress=bar)
    fit(twin, epochs=2)
    assert same_weights(model, twin)


def test_weights_set_by_a_callback_are_trained_on():
    start = classifier().get_weights()
    model, twin = classifier(), classifier()
    fit(
        model, epochs=2, batch_size=10, optimizer="sgd", callbacks=lambda c: c.epoch == 1 and c.model.set_weights(start)
    )
    fit(twin, epochs=1, batch_size=10, optimizer="sgd", initial_epoch=1)
    assert same_weights(model, twin)


def test_nothing_is_printed_where_there_is_no_terminal(capfd):
    fit(classifier(), progress=True)
    # The line about compiling kernels for the first time belongs to the kernels.
    out, err = capfd.readouterr()
    assert out == ""
    assert "epoch" not in err


def test_the_loss_is_remembered():
    model = classifier()
    with pytest.raises(ValueError, match=r"fit\(loss=None\): this model was not fitted yet"):
        model.fit(X, Y)
    fit(model)
    assert model.loss == fnn.CrossEntropy()
    model.fit(X, Y, epochs=1, progress=False)


# Optimizers that look at all rows.


@pytest.mark.parametrize("optimizer", [fnn.LBFGS(), fnn.ARS(version=2)])
def test_rows_held_out_are_not_looked_at(optimizer):
    """Nor by the mean and deviation of all rows."""
    pytest.importorskip("scipy")
    train, _ = split_rows(101, 0.2, seed=0)
    model, twin = classifier(), classifier()
    fit(model, validation_split=0.2, batch_size=1000, optimizer=optimizer)
    fit(twin, X[train], Y[train], batch_size=1000, optimizer=optimizer)
    assert same_weights(model, twin)


# The average of the weights.


@pytest.mark.parametrize("batch_size", [16, 101])
def test_the_average_of_the_weights_is_scored_and_left_in_the_model(batch_size):
    model, twin = classifier(), classifier()
    optimizer = fnn.Adam(0.01, ema_decay=0.9)
    seen = []
    history = fit(
        model, epochs=3, batch_size=batch_size, optimizer=optimizer, validation_data=(X, Y), shuffle=False,
        callbacks=lambda context: seen.append(context.model.get_weights()),
    )  # fmt: skip
    trainer = fnn.Trainer(twin, "cross_entropy", optimizer, batch_size=batch_size)
    for epoch in range(3):
        if batch_size == 101:
            trainer.run(X, Y, steps=1)
        else:
            trainer.run(X, Y, np.arange(101))
        trainer.swap_average()
        for one, other in zip(seen[epoch], twin.get_weights(), strict=True):
            np.testing.assert_array_equal(one, other)
        assert history["val_loss"][epoch] == twin.evaluate(X, Y, loss="cross_entropy")["loss"]
        if epoch < 2:
            trainer.swap_average()
    assert same_weights(model, twin)


def test_ctrl_c_leaves_the_average_too(monkeypatch, capsys):
    from fastnn import loop

    monkeypatch.setattr(loop, "PIECE_WORK", 0)
    monkeypatch.setattr(loop, "PIECE_SECONDS", 0)

    def interrupt(context):
        if context.steps_done == 5:
            raise KeyboardInterrupt

    model, twin = classifier(), classifier()
    optimizer = fnn.SGD(0.1, ema_decay=0.5)
    fit(model, optimizer=optimizer, batch_size=16, shuffle=False, callbacks=LambdaCallback(on_progress=interrupt))
    trainer = fnn.Trainer(twin, "cross_entropy", optimizer, batch_size=16)
    trainer.run(X, Y, np.arange(80))
    trainer.swap_average()
    assert same_weights(model, twin)


def test_a_diverging_training_goes_back_to_the_average():
    def explode(lr0, epoch):
        return 0.01 if epoch < 2 else 1e200

    model, twin = regressor(), regressor()
    optimizer = fnn.SGD(ema_decay=0.5)
    with pytest.raises(fnn.NonFiniteLoss, match="the end of epoch 2"):
        fit(model, epochs=5, batch_size=10, optimizer=optimizer, schedule=explode)
    fit(twin, epochs=2, batch_size=10, optimizer=optimizer)
    assert same_weights(model, twin)


# Losses that are not finite.


def test_a_diverging_training_names_epoch_and_step_and_goes_back():
    def explode(lr0, epoch):
        return 0.01 if epoch < 2 else 1e200

    model, twin = regressor(), regressor()
    stopped = []
    with pytest.raises(
        fnn.NonFiniteLoss, match=r"the loss became (nan|inf) in epoch 3, step \d+ of 11; .* the end of epoch 2"
    ):
        fit(
            model,
            epochs=5,
            batch_size=10,
            optimizer="sgd",
            schedule=explode,
            callbacks=LambdaCallback(on_train_end=lambda c: stopped.append(c.history.stopped)),
        )
    fit(twin, epochs=2, batch_size=10, optimizer=fnn.SGD(lr=0.01))
    assert same_weights(model, twin)
    assert stopped == ["non-finite loss"]


def test_diverging_in_the_first_epoch_leaves_the_weights_as_they_were():
    model = regressor(dtype="float32")
    before = model.get_weights()
    with pytest.raises(fnn.NonFiniteLoss, match=r"epoch 1, step \d+ of 11; .* before the training"):
        fit(model, batch_size=10, optimizer=fnn.SGD(lr=1e30))
    for now, then in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(now, then)


def test_weights_that_overflow_in_the_last_step_are_found():
    """The loss of a step is that of the weights before it: a full batch with one step sees nothing itself."""
    model = fnn.Sequential([fnn.Dense(2)], inputs=6)
    before = model.get_weights()
    with pytest.raises(fnn.NonFiniteLoss, match="the weights became non-finite in epoch 1, step 1 of 1"):
        fit(model, X, T * 1e5, epochs=1, batch_size=101, optimizer=fnn.SGD(lr=1e38))
    for now, then in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(now, then)


def test_weights_are_set_aside_inside_long_epochs(monkeypatch):
    from fastnn import loop

    monkeypatch.setattr(loop, "PIECE_WORK", 0)
    monkeypatch.setattr(loop, "KEEP_EVERY", 4)
    data, targets = X.copy(), T.copy()
    targets[75] = 1e200
    model = fnn.Sequential([fnn.Dense(2)], inputs=6, dtype="float64")
    with pytest.raises(fnn.NonFiniteLoss, match=r"epoch 1, step 8 of 11; .* those of step 4 of epoch 1"):
        fit(model, data, targets, batch_size=10, shuffle=False)
    twin = fnn.Sequential([fnn.Dense(2)], inputs=6, dtype="float64")
    fnn.Trainer(twin, "mse", "adam", batch_size=10).run(data, targets, np.arange(40))
    assert same_weights(model, twin)


def test_early_stopping_puts_back_its_best_after_divergence():
    model = regressor()
    stopping = fnn.EarlyStopping(5, monitor="loss")
    with pytest.raises(fnn.NonFiniteLoss):
        fit(model, epochs=9, optimizer="sgd", schedule=lambda lr0, e: (0.01, 0.01, 1e200)[e], callbacks=[stopping])
    assert stopping.best_epoch == 2


# Ctrl-C.


def test_ctrl_c_ends_the_training_and_says_so(capsys):
    def interrupt(context):
        if context.epoch == 2:
            raise KeyboardInterrupt

    model, twin = classifier(), classifier()
    history = fit(model, epochs=9, callbacks=[interrupt])
    assert (history.stopped, history.epochs) == ("interrupted", 2)
    assert "training interrupted in epoch 2" in capsys.readouterr().err
    fit(twin, epochs=2)
    assert same_weights(model, twin)
    assert fit(model).stopped == "finished"


@pytest.mark.skipif(os.name != "posix", reason="POSIX signals")
def test_a_real_signal_stops_a_long_training(tmp_path):
    """The signal arrives in the middle of a training that would take an hour."""
    code = f"""
        import os, signal, threading, time
        import numpy as np
        import fastnn as fnn

        signal.signal(signal.SIGINT, signal.default_int_handler)
        rng = np.random.default_rng(0)
        X, y = rng.standard_normal((50_000, 40)), rng.integers(0, 5, 50_000)
        model = fnn.Sequential([fnn.Dense(256, activation="relu"), fnn.BatchNorm(), fnn.Dense(5)], inputs=40)
        sent = []

        def interrupt():
            while not model.loss:
                time.sleep(0.01)
            time.sleep(0.3)
            sent.append(time.perf_counter())
            os.kill(os.getpid(), signal.SIGINT)

        threading.Thread(target=interrupt).start()
        history = model.fit(X, y, loss="cross_entropy", epochs=100_000, batch_size=64)
        print("seconds", time.perf_counter() - sent[0])
        assert history.stopped == "interrupted", history
        assert history.steps > 0
        assert all(np.isfinite(w).all() for w in model.get_weights())
        model.save({str(tmp_path / "net")!r})
        more = model.fit(X[:100], y[:100], epochs=1)
        assert more.stopped == "finished", more
    """
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    ended = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    assert "fastnn: training interrupted in epoch" in ended.stderr
    assert "Traceback" not in ended.stderr
    assert fnn.load(tmp_path / "net").outputs == 5


# Bad arguments.


def nothing(outputs, targets):
    return None


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"X": X[:, :5]}, ValueError, r"X: has shape \(101, 5\), expected \(rows, 6\)"),
        ({"X": X[0]}, ValueError, "X: has shape"),
        ({"X": X[:0], "y": Y[:0]}, ValueError, "X: has no rows"),
        ({"X": np.where(X > 2, np.nan, X)}, ValueError, "X: row .* is nan"),
        ({"X": X.astype(str)}, TypeError, "X: has dtype"),
        ({"X": X.astype(object)}, TypeError, "X: has dtype object"),
        ({"y": Y[:-1]}, ValueError, "y: has 100 rows, expected 101"),
        ({"y": Y + 1}, ValueError, "y: row .* is 3, expected labels from 0 to 2"),
        ({"y": Y - 1}, ValueError, "y: row .* is -1"),
        ({"y": Y + 0.5}, ValueError, "y: row 0 is"),
        ({"y": T}, ValueError, r"y: has shape \(101, 2\)"),
        ({"y": T, "loss": "mse"}, ValueError, "y: has shape .* 3 outputs"),
        ({"loss": "cross_entrpy"}, ValueError, "unknown loss 'cross_entrpy': did you mean 'cross_entropy'"),
        ({"optimizer": "adan"}, ValueError, "unknown optimizer 'adan': did you mean 'adam'"),
        ({"backend": "numb"}, ValueError, "numb"),
        ({"epochs": 0}, ValueError, r"fit\(epochs=0\): epochs must be at least 1"),
        ({"epochs": 1.5}, TypeError, r"fit\(epochs=1.5\)"),
        ({"batch_size": 0}, ValueError, r"fit\(batch_size=0\): batch_size must be at least 1"),
        ({"threads": 0}, ValueError, "threads must be at least 1"),
        ({"initial_epoch": -1}, ValueError, "initial_epoch must be at least 0"),
        ({"validation_split": 1.0}, ValueError, "validation_split must be below 1"),
        ({"shuffle": "no"}, TypeError, r"fit\(shuffle='no'\): shuffle must be True or False"),
        ({"allow_nonfinite": "yes"}, TypeError, r"fit\(allow_nonfinite='yes'\): allow_nonfinite must be True or False"),
        ({"progress": "x"}, TypeError, r"fit\(progress='x'\): progress must be True, False or a ProgressBar"),
        ({"progress": ProgressBar}, TypeError, "progress must be True, False or a ProgressBar"),
        (
            {"X": X[:1], "y": Y[:1], "validation_split": 0.5},
            ValueError,
            r"fit\(validation_split=0.5\): 1 rows cannot be split: at least 2 are needed",
        ),
        ({"validation_split": 0.2, "validation_data": (X, Y)}, ValueError, "not both"),
        ({"validation_data": X}, TypeError, "expected a pair"),
        ({"validation_data": (X, Y, Y, Y)}, TypeError, "expected a pair"),
        ({"validation_data": (X[:, :2], Y)}, ValueError, r"validation_data\[0\]: has shape \(101, 2\)"),
        ({"validation_data": (X, Y + 9)}, ValueError, r"validation_data\[1\]: row 0"),
        ({"validation_data": (X, Y[:5])}, ValueError, r"validation_data\[1\]: has 5 rows"),
        ({"metrics": "acuracy", "validation_split": 0.2}, ValueError, "unknown metric 'acuracy'"),
        ({"metrics": "acuracy"}, ValueError, "unknown metric 'acuracy'"),
        ({"metrics": "r2", "validation_split": 0.2}, ValueError, "metric 'r2': is for numbers, loss 'cross_entropy'"),
        ({"metrics": fnn.TopK(3), "validation_split": 0.2}, ValueError, r"TopK\(k=3\): of 3 classes, expected more"),
        ({"metrics": nothing, "validation_split": 0.2}, TypeError, "metric 'nothing' returned None: expected a number"),
        ({"schedule": "step"}, TypeError, "schedule='step'"),
        ({"callbacks": [3]}, TypeError, "callbacks: 3"),
        ({"callbacks": [fnn.EarlyStopping(3)]}, ValueError, "needs validation data"),
    ],
)
def test_bad_arguments_are_refused_and_nothing_is_changed(arguments, error, message):
    model = classifier()
    before = model.get_weights()
    arguments = {"X": X, "y": Y, "loss": "cross_entropy", "progress": False, **arguments}
    with pytest.raises(error, match=message):
        model.fit(**arguments)
    assert model.loss is None
    for now, then in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(now, then)


def test_nonfinite_data_can_be_allowed():
    """It passes the checks then, and is found again when a loss shows it."""
    data = X.copy()
    data[35, 0] = np.nan
    model = classifier()
    with pytest.raises(ValueError, match="X: row 35, column 0 is nan"):
        model.evaluate(data, Y, loss="cross_entropy")
    assert np.isnan(model.evaluate(data, Y, loss="cross_entropy", allow_nonfinite=True)["loss"])
    with pytest.raises(fnn.NonFiniteLoss, match="the loss became nan in epoch 1, step 4 of 11"):
        fit(model, data, Y, batch_size=10, shuffle=False, allow_nonfinite=True)


def test_predict_evaluate_and_bind_take_only_flags_for_allow_nonfinite():
    model = classifier()
    for function, arguments in (
        (model.predict, (X,)),
        (lambda *a, **named: model.evaluate(*a, loss="cross_entropy", **named), (X, Y)),
        (fnn.Trainer(model, "cross_entropy").bind, (X, Y)),
    ):
        with pytest.raises(TypeError, match=r"\(allow_nonfinite=1\): allow_nonfinite must be True or False"):
            function(*arguments, allow_nonfinite=1)


def test_a_schedule_that_returns_nonsense_stops_with_its_epoch():
    with pytest.raises(ValueError, match="returned -1 for epoch 1"):
        fit(classifier(), schedule=lambda lr0, epoch: 0.1 if epoch == 0 else -1)


def test_batch_norm_refuses_batches_of_one_row():
    model = fnn.Sequential([fnn.Dense(4), fnn.BatchNorm(), fnn.Dense(2)], inputs=3)
    before = model.parameters.copy_state()
    X, y = np.zeros((6, 3)), np.zeros(6, int)
    with pytest.raises(ValueError, match=r"fit\(batch_size=1\).*at least 2 rows"):
        model.fit(X, y, loss="cross_entropy", batch_size=1, progress=False)
    assert np.array_equal(model.parameters.copy_state(), before)
