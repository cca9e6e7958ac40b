"""Checkpoints: a training that is resumed ends with the bits of one that never stopped."""

import json
import os
import shutil
import signal
import subprocess
import sys
import textwrap

import cases
import numpy as np
import pytest

import fastnn as fnn
from fastnn import checkpoints, loop, storage
from fastnn.callbacks import LambdaCallback
from fastnn.optimizers import OPTIMIZERS, SEARCHES
from fastnn.schedules import ByHand

rng = np.random.default_rng(11)
X = rng.standard_normal((90, 5))
Y = np.abs(X[:, :3]).argmax(axis=1)
T = np.column_stack([np.sin(X[:, 0]), X[:, 1] * X[:, 2]])

DEEP = [fnn.Dense(12, activation="relu"), fnn.BatchNorm(), fnn.Dropout(0.2), fnn.Dense(2)]
CLASSES = [fnn.Dense(9, activation="tanh"), fnn.Dropout(0.1), fnn.Dense(3)]


def a_model(layers=DEEP, seed=4, dtype="float32"):
    return fnn.Sequential(layers, inputs=5, dtype=dtype, seed=seed)


def fit(model, **named):
    data, loss = ((X, T), "mse") if model.outputs == 2 else ((X, Y), "cross_entropy")
    return model.fit(*data, **{"loss": loss, "progress": False, "batch_size": 16, **named})


def bits(model):
    return [array.tobytes() for array in model.get_weights()]


def numbers(history):
    """All that two histories must agree in."""
    columns = {name: values for name, values in history.columns.items() if name != "seconds"}
    return columns, history.steps, history.rows, history.stopped


class Stopped(Exception):
    """Stands for whatever ends a process."""


def stop_after(steps):
    """A callback that ends the training inside an epoch, when at least so many steps are done."""

    def stop(context):
        if context.steps_done >= steps:
            raise Stopped

    callback = LambdaCallback(on_progress=stop)
    callback.last = True
    return callback


def resumed(path, make=a_model, at=3, epochs=7, **settings):
    """A training stopped after an epoch, and another model that goes on with it."""
    settings = {"callbacks": [], **settings}
    callbacks = settings.pop("callbacks")
    fit(make(), epochs=at, callbacks=[fnn.Checkpoint(path, epochs=10), *callbacks], **settings)
    model = make()
    history = fit(model, epochs=epochs, callbacks=callbacks, resume=path, **settings)
    return model, history


# The same bits.

SCENARIOS = {
    "adam": {},
    "momentum": {"optimizer": fnn.SGD(0.01, momentum=0.9)},
    "average, groups, clipping": {
        "optimizer": fnn.AdamW(0.02, ema_decay=0.9, clip_global_norm=0.5, groups=fnn.Group.without_decay()),
        "validation_split": 0.2,
    },
    "rmsprop, full batch": {"optimizer": "rmsprop", "batch_size": 90},
    "adagrad, in order": {"optimizer": "adagrad", "shuffle": False},
    "a rate for each epoch": {"schedule": fnn.StepDecay(0.5, 2), "optimizer": fnn.SGD(0.05, momentum=0.5)},
    "a rate for each step, full batch": {"schedule": fnn.Exponential(0.8).per_step(), "batch_size": 100},
    "a rate for each step": {"schedule": fnn.Cosine(40).after_warmup(7).per_step()},
    "plateau": {
        "schedule": fnn.ReduceOnPlateau(0.5, patience=0, threshold=0.2, cooldown=1), "validation_split": 0.2,
    },
    "plateau in others": {
        "schedule": (fnn.ReduceOnPlateau(0.5, patience=0, threshold=0.3) * fnn.Exponential(0.9)).at_least(1e-5)
        .after_warmup(2), "validation_data": (X[:30], T[:30]),
    },
    "one step in an epoch, metrics": {"batch_size": 1000, "validation_split": 0.3, "metrics": ("r2",)},
    "a function": {"schedule": lambda lr0, epoch: lr0 / (1 + epoch)},
    "numbered from 3": {"initial_epoch": 3, "at": 2, "epochs": 4},
}  # fmt: skip


@pytest.mark.parametrize("settings", SCENARIOS.values(), ids=SCENARIOS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_resumed_training_has_the_bits_of_an_unbroken_one(settings, dtype, tmp_path):
    settings = {"epochs": 7, **settings}
    unbroken = a_model(dtype=dtype)
    whole = fit(unbroken, **{name: value for name, value in settings.items() if name != "at"})
    model, history = resumed(tmp_path / "run.ckpt", lambda: a_model(dtype=dtype), **settings)
    assert bits(model) == bits(unbroken)
    assert numbers(history) == numbers(whole)


STEPPING = sorted({**OPTIMIZERS, **SEARCHES}.keys() - {"lbfgs"})


@pytest.mark.parametrize("optimizer", [*STEPPING, "lbfgs"])
def test_every_optimizer_goes_on(optimizer, tmp_path):
    layers = [fnn.Dense(9, "tanh"), fnn.BatchNorm(), fnn.Dense(3)] if optimizer == "lbfgs" else CLASSES
    unbroken = a_model(layers)
    whole = fit(unbroken, epochs=4, optimizer=optimizer)
    model, history = resumed(tmp_path / "run.ckpt", lambda: a_model(layers), at=2, epochs=4, optimizer=optimizer)
    assert bits(model) == bits(unbroken)
    assert numbers(history) == numbers(whole)


def test_lbfgs_goes_on_from_a_state_by_making_its_iterations_again():
    layers = [fnn.Dense(9, "tanh"), fnn.Dense(2)]
    one, other = a_model(layers), a_model(layers)
    first, second = (fnn.Trainer(model, "mse", fnn.LBFGS(), batch_size=90) for model in (one, other))
    bound = first.bind(X, T)
    bound.run_full(5)
    state, weights = first.state(), one.get_weights()
    expected = bound.run_full(3)
    other.set_weights(weights)
    second.restore(state)
    np.testing.assert_array_equal(second.bind(X, T).run_full(3), expected)
    assert bits(one) == bits(other)
    assert second.state()["walk"]["iterations"] == 8
    second.restore(state)
    other.set_weights([array + 1 for array in weights])  # the way does not lead there: from here anew
    assert second.bind(X, T).run_full(1)[0] != expected[0]
    assert second.state()["walk"]["iterations"] == 1


def test_blocks_of_layers_go_on(tmp_path):
    """Arrays have the names of their places: layers.1.layers.0.weight."""
    layers = [
        fnn.Dense(8), fnn.Residual([fnn.BatchNorm(), fnn.Dense(8, activation="relu"), fnn.Dropout(0.2)]),
        fnn.Concatenate([[fnn.Dense(3), fnn.BatchNorm()], [fnn.LayerNorm()]]), fnn.Dense(2),
    ]  # fmt: skip
    unbroken = a_model(layers)
    whole = fit(unbroken, epochs=7)
    model, history = resumed(tmp_path / "run.ckpt", lambda: a_model(layers))
    assert bits(model) == bits(unbroken)
    assert numbers(history) == numbers(whole)


@pytest.mark.parametrize("at", [2, 5, 8])
def test_early_stopping_goes_on_with_what_it_has_seen(at, tmp_path):
    """The best epoch may lie before the checkpoint: its weights are in the file."""
    settings = {"validation_data": (X[:30], T[:30]), "optimizer": fnn.Adam(0.05)}
    unbroken, stopping = a_model(), fnn.EarlyStopping(4)
    whole = fit(unbroken, epochs=60, callbacks=[stopping], **settings)
    assert at <= whole.epochs < 60
    other = fnn.EarlyStopping(4)
    model, history = resumed(tmp_path / "run.ckpt", at=at, epochs=60, callbacks=[other], **settings)
    assert bits(model) == bits(unbroken)
    assert numbers(history) == numbers(whole)
    assert (other.best, other.best_epoch) == (stopping.best, stopping.best_epoch)


def test_a_training_that_was_over_ends_as_it_did(tmp_path):
    """Stopped early, and resumed all the same: no step is made, and the best weights come back."""
    settings = {"validation_data": (X[:30], T[:30]), "optimizer": fnn.Adam(0.05), "epochs": 60, "resume": True}
    histories, models = [], [a_model(), a_model()]
    for model in models:
        callbacks = [fnn.Checkpoint(tmp_path / "run.ckpt", epochs=50), fnn.EarlyStopping(3)]
        histories.append(fit(model, callbacks=callbacks, **settings))
    assert histories[0].stopped.startswith("early stopping")
    assert numbers(histories[0]) == numbers(histories[1])
    assert bits(models[0]) == bits(models[1])


def test_the_same_script_starts_goes_on_and_has_nothing_left_to_do(tmp_path):
    path, models, steps = tmp_path / "run.ckpt", [], []
    for epochs in (2, 5, 5):
        models.append(a_model())
        begun = []
        fit(
            models[-1], epochs=epochs, resume=True,
            callbacks=[fnn.Checkpoint(path), LambdaCallback(on_epoch_end=lambda c, b=begun: b.append(c.epoch))],
        )  # fmt: skip
        steps.append(begun)
    assert steps == [[1, 2], [3, 4, 5], []]
    unbroken = a_model()
    fit(unbroken, epochs=5)
    assert bits(models[1]) == bits(models[2]) == bits(unbroken)


# Inside epochs.


@pytest.fixture
def short_pieces(monkeypatch):
    """Every step is a piece, as in epochs that last."""
    monkeypatch.setattr(loop, "PIECE_WORK", 0)
    monkeypatch.setattr(loop, "PIECE_SECONDS", 0)


def every_look(path):
    """A checkpoint at every opportunity: between two looks at its clock a minute passes."""
    checkpoint, seconds = fnn.Checkpoint(path, minutes=1), iter(range(0, 10**6, 60))
    checkpoint.clock = lambda: next(seconds)
    return checkpoint


@pytest.mark.parametrize("steps", [2, 8, 13])
@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"schedule": fnn.Exponential(0.95).per_step(), "optimizer": fnn.SGD(0.02, momentum=0.9)},
        {"optimizer": fnn.Adam(ema_decay=0.8), "validation_split": 0.2},
        {"schedule": fnn.ReduceOnPlateau(0.5, patience=0, threshold=0.5).per_step(), "validation_split": 0.2},
    ],
)
def test_a_checkpoint_inside_an_epoch_resumes_to_the_same_bits(steps, settings, tmp_path, short_pieces):
    unbroken = a_model()
    whole = fit(unbroken, epochs=4, **settings)
    path = tmp_path / "run.ckpt"
    with pytest.raises(Stopped):
        fit(a_model(), epochs=4, callbacks=[every_look(path), stop_after(steps)], **settings)
    assert len(checkpoints.read(path).state["losses"]) > 0
    model = a_model()
    history = fit(model, epochs=4, resume=path, **settings)
    assert bits(model) == bits(unbroken)
    assert numbers(history) == numbers(whole)


def test_a_training_that_is_to_stop_finishes_its_epoch_when_it_is_resumed(tmp_path, short_pieces):
    """Somebody asked inside the epoch, and the checkpoint was written there."""
    histories = []
    for resume in (False, tmp_path / "run.ckpt"):

        def ask(context):
            if context.steps_done == 8:
                context.stop("enough")
                context.checkpoint(tmp_path / "run.ckpt")

        histories.append(fit(a_model(), epochs=5, callbacks=LambdaCallback(on_progress=ask), resume=resume))
    assert histories[0].epochs == 2
    assert numbers(histories[0]) == numbers(histories[1])


def test_minutes_are_counted_from_the_last_checkpoint(tmp_path):
    written, now = [], [0.0]

    class Watched(fnn.Checkpoint):
        clock = staticmethod(lambda: now[0])

        def _write(self, context):
            super()._write(context)
            written.append(context.epoch)

    fit(
        a_model(), epochs=9,
        callbacks=[Watched(tmp_path / "a", minutes=2), lambda context: now.__setitem__(0, now[0] + 50.0)],
    )  # fmt: skip
    assert written == [3, 6, 9]
    written.clear()
    fit(a_model(), epochs=9, callbacks=[Watched(tmp_path / "a", epochs=4)])
    assert written == [4, 8, 9]


def test_a_checkpoint_is_made_when_another_callback_stops_the_training(tmp_path):
    fit(a_model(), epochs=9, callbacks=[fnn.Checkpoint(tmp_path / "a", epochs=7), lambda c: c.epoch == 2 and c.stop()])
    state = checkpoints.read(tmp_path / "a").state
    assert (state["finished"], state["reason"]) == (2, "stopped by a callback")


# Kills.

posix = pytest.mark.skipif(os.name != "posix", reason="POSIX signals")
SCRIPT = """
    import os, signal, sys
    import numpy as np
    import fastnn as fnn
    from fastnn import loop

    rng = np.random.default_rng(0)
    X, y = rng.standard_normal((300, 6)), rng.integers(0, 3, 300)
    {definition}
    layers = [fnn.Dense(16, activation), fnn.BatchNorm(), fnn.Dropout(0.3), fnn.Dense(3)]
    model = fnn.Sequential(layers, inputs=6, seed=2)
    loop.PIECE_WORK = loop.PIECE_SECONDS = 0  # a look around after each step
    seconds = iter(range(0, 10**6, 30))

    class Minutely(fnn.Checkpoint):
        clock = staticmethod(lambda: next(seconds))

    def die(*arguments):
        os.kill(os.getpid(), signal.SIGKILL)

    {preparation}
    history = model.fit(
        X, y, loss="cross_entropy", epochs=5, batch_size=16, progress=False, resume=True,
        callbacks=[Minutely({path!r}, minutes=2), {callback}],
    )
    model.save({path!r} + ".model", extra=[history["loss"], history.steps])
"""


def run(path, preparation="", callback="lambda context: None", definition="activation = 'relu'"):
    """The script in a process of its own; how it ended."""
    code = textwrap.dedent(SCRIPT).format(
        path=str(path), preparation=preparation, callback=callback, definition=definition
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    ended = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert ended.returncode in (0, -signal.SIGKILL), ended.stderr
    return ended.returncode


@posix
def test_a_killed_process_is_followed_by_one_that_ends_with_the_same_bits(tmp_path):
    assert run(tmp_path / "whole") == 0
    whole = storage.read(tmp_path / "whole.model")
    path = tmp_path / "run"
    # Killed inside an epoch, with steps made since the last checkpoint; then in the middle of writing one.
    at_a_step = "fnn.LambdaCallback(on_progress=lambda context: context.steps_done == 41 and die())"
    assert run(path, callback=at_a_step) == -signal.SIGKILL
    first = checkpoints.read(path)
    assert 0 < first.state["trainer"]["step_count"] < 41
    preparation = "replace, left = os.replace, [0, 0, 0, die]; os.replace = lambda *a: (left.pop(0) or replace)(*a)"
    assert run(path, preparation) == -signal.SIGKILL
    second = checkpoints.read(path)
    assert second.state["trainer"]["step_count"] > first.state["trainer"]["step_count"]
    assert run(path) == 0
    resumed = storage.read(tmp_path / "run.model")
    assert resumed.extra == whole.extra
    assert {n: a.tobytes() for n, a in resumed.tensors.items()} == {n: a.tobytes() for n, a in whole.tensors.items()}


@posix
@pytest.mark.parametrize("isa", ["avx2", "baseline"])
def test_a_machine_with_other_vectors_goes_on(isa, tmp_path, monkeypatch):
    """Bits may differ there; the padding of the arrays does, too."""
    assert run(tmp_path / "whole") == 0
    stop = "fnn.LambdaCallback(on_progress=lambda context: context.steps_done == 41 and die())"
    assert run(tmp_path / "run", callback=stop) == -signal.SIGKILL
    monkeypatch.setenv("FASTNN_ISA", isa)
    assert run(tmp_path / "run") == 0
    (whole, steps), (other, other_steps) = (storage.read_extra(tmp_path / f"{n}.model") for n in ("whole", "run"))
    assert other_steps == steps
    np.testing.assert_allclose(other, whole, rtol=1e-4)


def test_ctrl_c_leaves_the_last_checkpoint(tmp_path, capsys):
    def interrupt(context):
        if context.epoch == 3:
            raise KeyboardInterrupt

    unbroken, path = a_model(), tmp_path / "run.ckpt"
    fit(unbroken, epochs=5)
    checkpoint = fnn.Checkpoint(path)
    assert fit(a_model(), epochs=5, callbacks=[interrupt, checkpoint]).stopped == "interrupted"
    assert checkpoints.read(path).state["finished"] == 2
    model = a_model()
    fit(model, epochs=5, callbacks=[checkpoint], resume=True)
    assert bits(model) == bits(unbroken)


def test_a_loss_that_is_not_finite_leaves_the_last_checkpoint(tmp_path):
    with pytest.raises(fnn.NonFiniteLoss):
        fit(
            a_model(), epochs=5, callbacks=[fnn.Checkpoint(tmp_path / "a")], optimizer="sgd",
            schedule=[0.01, 0.01, 1e300],
        )  # fmt: skip
    assert checkpoints.read(tmp_path / "a").state["finished"] == 2


def test_an_error_in_writing_ends_the_training_and_leaves_the_model_whole(tmp_path, monkeypatch):
    def fail(*arguments):
        raise OSError("no space left on device")

    model, twin, path = a_model(), a_model(), tmp_path / "a"
    fit(a_model(), epochs=1, callbacks=[fnn.Checkpoint(path)])
    before = path.read_bytes()
    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="no space left"):
        fit(model, epochs=5, callbacks=[fnn.Checkpoint(path, epochs=2)])
    monkeypatch.undo()
    assert path.read_bytes() == before
    fit(twin, epochs=2)
    assert bits(model) == bits(twin)


# What must be the same.


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """A checkpoint after two epochs."""
    path = tmp_path_factory.mktemp("checkpoints") / "run.ckpt"
    settings = {"validation_data": (X[:9], T[:9]), "schedule": fnn.StepDecay(0.5, 2)}
    fit(a_model(), epochs=2, callbacks=[fnn.Checkpoint(path), fnn.EarlyStopping(3)], **settings)
    return path


@pytest.mark.parametrize("own", [False, True])
def test_a_checkpoint_of_layers_that_had_fewer_fields_is_resumed(own, tmp_path, monkeypatch):
    """Those of an older fastnn: what it did not know has its default, beside functions of one's own too."""
    activation = softened() if own else "relu"
    layers = [
        fnn.Dense(12, activation), fnn.Residual([fnn.LayerNorm(), fnn.Dense(12, fnn.ELU(0.5))]), fnn.BatchNorm(),
        fnn.Dense(2),
    ]  # fmt: skip
    unbroken = a_model(layers)
    fit(unbroken, epochs=4)

    def with_fewer_fields(layer, describe=storage.describe):
        return {name: value for name, value in describe(layer).items() if name not in ("l1", "l2", "shortcut")}

    path = tmp_path / "run.ckpt"
    with monkeypatch.context() as patch:
        patch.setattr(storage, "describe", with_fewer_fields)
        fit(a_model(layers), epochs=2, callbacks=[fnn.Checkpoint(path)])
    assert '"l1"' not in json.dumps(storage.read(path).model)
    model = a_model(layers)
    fit(model, epochs=4, resume=path)
    assert bits(model) == bits(unbroken)
    with pytest.raises(ValueError, match=r"layers\[2\].l1 is 0.1 here, 0.0 in the checkpoint"):
        fit(a_model([*layers[:2], fnn.BatchNorm(l1=0.1), layers[3]]), epochs=4, resume=path)


def other(array, place, value):
    copy = array.copy()
    copy[place] = value
    return copy


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"make": lambda: a_model(seed=5)}, "seed is 5 here, 4 in the checkpoint"),
        ({"make": lambda: a_model(dtype="float64")}, "dtype is 'float64' here, 'float32'"),
        ({"make": lambda: a_model([fnn.Dense(13, activation="relu"), *DEEP[1:]])}, r"layers\[0\].units is 13 here, 12"),
        ({"make": lambda: a_model([DEEP[0], DEEP[3]])}, "layers is"),
        ({"loss": "bce", "y": 0 * T, "validation_data": (X[:9], 0 * T[:9])}, "loss.type is 'BCE' here, 'MSE'"),
        ({"optimizer": fnn.Adam(0.01)}, "optimizer.lr is 0.01 here, 0.001"),
        ({"optimizer": "sgd"}, "optimizer is .*'SGD'"),
        ({"schedule": None}, "schedule is .*Constant"),
        ({"schedule": fnn.StepDecay(0.25, 2)}, "schedule.factor is 0.25 here, 0.5"),
        ({"schedule": ByHand(abs)}, "schedule is .*abs"),
        ({"batch_size": 17}, "batch_size is 17 here, 16"),
        ({"shuffle": False}, "shuffle is False here, True"),
        ({"initial_epoch": 1}, "initial_epoch is 1 here, 0"),
        ({"backend": "reference"}, "kernels is 'reference' here, 'compiled'"),
        ({"X": X[:-1], "y": T[:-1]}, r"X.shape\[0\] is 89 here, 90"),
        ({"X": other(X, (0, 0), 9.0)}, "X holds other numbers here"),
        ({"y": other(T, (-1, 1), 9.0)}, "y holds other numbers here"),
        ({"validation_data": (X[:8], T[:8])}, r"validation\[0\].shape\[0\] is 8 here, 9"),
        ({"validation_data": None, "validation_split": 0.1}, "validation_split is 0.1 here, 0.0"),
        ({"metrics": ("r2",)}, "metrics is"),
        ({"class_weight": None, "sample_weight": np.ones(90)}, "is {"),
        ({"callbacks": []}, "callbacks is"),
        ({"callbacks": [fnn.EarlyStopping(4)]}, r"EarlyStopping\(patience=4\): the checkpoint's has patience=3"),
        ({"epochs": 1}, "the checkpoint is of epoch 2, the last one is to be 1"),
    ],
)
def test_what_would_change_the_result_is_refused_and_named(written, changed, message):
    settings = {
        "make": a_model, "X": X, "y": T, "loss": "mse", "batch_size": 16, "validation_data": (X[:9], T[:9]),
        "schedule": fnn.StepDecay(0.5, 2), "callbacks": [fnn.EarlyStopping(3)], "epochs": 4, "progress": False,
        **changed,
    }  # fmt: skip
    model = settings.pop("make")()
    before = bits(model)
    with pytest.raises(ValueError, match=message):
        model.fit(**settings, resume=written)
    assert bits(model) == before
    assert model.loss is None


def test_what_changes_no_bit_may_differ(written):
    unbroken, model = a_model(), a_model()
    settings = {"validation_data": (X[:9], T[:9]), "schedule": fnn.StepDecay(0.5, 2)}
    fit(unbroken, epochs=5, callbacks=fnn.EarlyStopping(3), **settings)
    model.set_weights([0 * w for w in model.get_weights()])
    seen = []
    fit(
        model, epochs=5, resume=str(written), callbacks=[fnn.EarlyStopping(3), lambda context: seen.append(context)],
        allow_nonfinite=True, **settings,
    )  # fmt: skip
    assert bits(model) == bits(unbroken)
    assert (len(seen), seen[0].first_epoch, seen[0].steps_done) == (3, 1, 30)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"resume": "nowhere.ckpt"}, FileNotFoundError, "nowhere.ckpt"),
        ({"resume": True}, ValueError, "none is among the callbacks"),
        ({"resume": 3}, TypeError, r"fit\(resume=3\): expected True, False or the name of a file"),
        ({"callbacks": fnn.Checkpoint("nowhere/run.ckpt")}, FileNotFoundError, "the folder .*nowhere does not exist"),
    ],
)
def test_bad_arguments_are_refused_before_the_training(arguments, error, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    model = a_model()
    before = bits(model)
    with pytest.raises(error, match=message):
        fit(model, epochs=2, **arguments)
    assert bits(model) == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"path": None}, "expected the name of a file"),
        ({"path": "a", "epochs": 0}, "epochs must be at least 1"),
        ({"path": "a", "epochs": 0.5}, "epochs must be an integer"),
        ({"path": "a", "minutes": 0}, "minutes must be above 0"),
    ],
)
def test_checkpoints_refuse_bad_arguments(arguments, message):
    with pytest.raises((ValueError, TypeError), match=message):
        fnn.Checkpoint(**arguments)


# Files.


def test_the_model_of_a_checkpoint_can_be_loaded(written):
    twin = a_model()
    fit(twin, epochs=2, schedule=fnn.StepDecay(0.5, 2), validation_data=(X[:9], T[:9]))
    model = fnn.load(written)
    assert bits(model) == bits(twin)
    assert model.loss == fnn.MSE()


def test_a_model_file_is_no_checkpoint(tmp_path):
    a_model().save(tmp_path / "net")
    with pytest.raises(fnn.ModelFileError, match="a model without a training, written by"):
        fit(a_model(), resume=tmp_path / "net")


def test_damaged_and_newer_checkpoints_are_named(written, tmp_path):
    path = tmp_path / "cut"
    path.write_bytes(written.read_bytes()[:-7])
    with pytest.raises(fnn.ModelFileError, match="cut: truncated"):
        checkpoints.read(path)
    contents = storage.read(written)
    for training_, message in (({**contents.training, "version": 2}, "newer fastnn"), ({"version": 1}, "damaged")):
        storage.write(path, contents.tensors, contents.model, training=training_)
        with pytest.raises(fnn.ModelFileError, match=f"cut: .*{message}"):
            checkpoints.read(path)


def test_a_copied_checkpoint_goes_on_elsewhere(tmp_path):
    settings = {"optimizer": fnn.SGD(0.02, momentum=0.9)}
    path = tmp_path / "run.ckpt"
    fit(a_model(), epochs=2, callbacks=[fnn.Checkpoint(path)], **settings)
    shutil.copy(path, tmp_path / "copy")
    path.unlink()
    unbroken, model = a_model(), a_model()
    fit(unbroken, epochs=4, **settings)
    fit(model, epochs=4, resume=tmp_path / "copy", **settings)
    assert bits(model) == bits(unbroken)


# Callbacks with a state, and the trainer's.


class Average(fnn.Callback):
    """Keeps the mean of the first weights over the epochs."""

    def on_train_begin(self, context):
        self.sum, self.count = np.zeros((5, 12)), 0

    def on_epoch_end(self, context):
        self.sum += context.model.get_weights()[0]
        self.count += 1

    def state(self, context):
        return {"sum": self.sum, "count": self.count}

    def restore(self, context, state):
        self.sum, self.count = state["sum"].copy(), state["count"]


def test_a_callback_of_ones_own_goes_on(tmp_path):
    whole, other = Average(), Average()
    fit(a_model(), epochs=7, callbacks=whole)
    resumed(tmp_path / "run.ckpt", callbacks=[other])
    assert other.count == 7
    np.testing.assert_array_equal(other.sum, whole.sum)


def test_a_state_that_no_file_can_hold_is_an_error(tmp_path):
    class Wrong(Average):
        def state(self, context):
            return {"set": {1, 2}}

    with pytest.raises(TypeError, match="training: expected something that JSON can hold"):
        fit(a_model(), callbacks=[fnn.Checkpoint(tmp_path / "a"), Wrong()])


def test_checkpoints_belong_into_a_training():
    context = fnn.callbacks.Context(None, None, fnn.History(), (), 1, 1)
    with pytest.raises(RuntimeError, match="no training at work"):
        context.checkpoint("a")


@pytest.mark.parametrize("optimizer", STEPPING)
def test_a_trainer_goes_on_from_its_state(optimizer):
    one, other = a_model(), a_model()
    first, second = (fnn.Trainer(model, "mse", optimizer, batch_size=16) for model in (one, other))
    first.run(X, T, np.arange(90))
    state = first.state()
    other.set_weights(one.get_weights())
    second.restore(state)
    losses = [trainer.run(X, T, np.arange(90)[::-1]) for trainer in (first, second)]
    np.testing.assert_array_equal(*losses)
    assert bits(one) == bits(other)
    assert state["step_count"] == 6  # a copy


def test_the_state_of_another_optimizer_or_model_is_refused():
    state = fnn.Trainer(a_model(), "mse", "adam").state()
    with pytest.raises(ValueError, match=r"state: holds exp_avg, exp_avg_sq, SGD.* keeps none"):
        fnn.Trainer(a_model(), "mse", "sgd").restore(state)
    with pytest.raises(ValueError, match=r"array 'layers.0.weight' is float32 \(5, 12\), expected float64"):
        fnn.Trainer(a_model(dtype="float64"), "mse", "adam").restore(state)
    with pytest.raises(ValueError, match=r"arrays .*: expected layers.0.bias, layers.0.weight, layers.2"):
        fnn.Trainer(a_model(CLASSES), "mse", "adam").restore(state)


# Activations of one's own.


def softened(slope=0.25, at_zero=1.0):
    """An activation whose functions are defined anew with each call, as in another process."""

    def forward(x):
        return x if x >= 0 else slope * x

    def backward(x):
        return (1.0 if x > 0 else at_zero) if x >= 0 else slope

    return fnn.Activation(forward=forward, backward=backward)


def own_layers(activation):
    return [fnn.Dense(7, activation), fnn.Residual([fnn.BatchNorm(), activation, fnn.Dropout(0.2)]), fnn.Dense(2)]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("backend", cases.BACKENDS)
def test_a_training_with_an_activation_of_ones_own_goes_on(backend, dtype, tmp_path):
    def make():
        return a_model(own_layers(softened()), dtype=dtype)

    unbroken, settings = make(), {"backend": backend, "validation_split": 0.2, "optimizer": fnn.Adam(ema_decay=0.9)}
    whole = fit(unbroken, epochs=5, **settings)
    model, history = resumed(tmp_path / "run.ckpt", make, at=2, epochs=5, **settings)
    assert bits(model) == bits(unbroken)
    assert numbers(history) == numbers(whole)


@pytest.fixture(scope="module")
def written_with_own(tmp_path_factory):
    """A checkpoint after two epochs of a model with an activation of one's own."""
    path = tmp_path_factory.mktemp("checkpoints") / "run.ckpt"
    fit(a_model(own_layers(softened())), epochs=2, callbacks=[fnn.Checkpoint(path)], backend=cases.COMPILED[0])
    return path


def test_an_activation_of_ones_own_goes_on_by_another_set_of_kernels_and_other_names(written_with_own):
    def identity_above_zero(x):
        return x if x >= 0 else 0.25 * x

    activation = fnn.Activation(forward=identity_above_zero, backward=lambda x: 1.0 if x >= 0 else 0.25)
    unbroken, model = (a_model(own_layers(one)) for one in (softened(), activation))
    fit(unbroken, epochs=4)
    fit(model, epochs=4, resume=written_with_own, backend=cases.COMPILED[-1])
    assert bits(model) == bits(unbroken)


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        (
            own_layers(softened(0.3)),
            r"layers\[0\].activation computes something else, Custom\(forward, backward\) here, Custom\(forward, "
            r"backward\) there: forward\(-25\) is -7.5 here, -6.25 in the file; only",
        ),
        (own_layers(softened(0.25 + 1e-9)), r"forward\(-25\) is -6.250000025 here, -6.25 in the file"),
        (own_layers(softened(at_zero=0.25)), r"layers\[0\].activation .*backward\(0\) is 0.25 here, 1 in the file"),
        (
            [*own_layers(softened())[:1], *own_layers(softened(0.3))[1:]],
            r"layers\[1\].layers\[1\].name computes something else",
        ),
        (own_layers(fnn.Activation("relu")), r"is 'relu' here, 'Custom\(forward, backward\)' in the checkpoint; only"),
        (
            own_layers(softened())[1:],
            r"layers is .*'name': 'Custom\(forward, backward\)'.* here, .*'Custom\(forward, backward\)'",
        ),
    ],
)
def test_another_activation_of_ones_own_is_refused_before_anything_is_changed(written_with_own, layers, message):
    model = a_model(layers)
    before, file = bits(model), written_with_own.read_bytes()
    with pytest.raises(ValueError, match=message) as caught:
        fit(model, epochs=4, resume=written_with_own)
    assert "values" not in str(caught.value)
    assert bits(model) == before
    assert model.loss is None
    assert written_with_own.read_bytes() == file


def test_the_model_of_a_checkpoint_is_loaded_with_its_activation(written_with_own):
    twin = a_model(own_layers(softened()))
    fit(twin, epochs=2)
    model = fnn.load(written_with_own, activations=[softened()])
    assert bits(model) == bits(twin)
    assert model.predict(X).tobytes() == twin.predict(X).tobytes()
    with pytest.raises(
        fnn.ModelFileError, match=r"run.ckpt: layers\[0\].activation is Custom\(forward, backward\), funct"
    ):
        fnn.load(written_with_own)


OWN = """
    def swish(x):
        return x / (1.0 + np.exp(-x))

    def swish_prime(x):
        s = 1.0 / (1.0 + np.exp(-x))
        return s + x * s * (1.0 - s)

    activation = fnn.Activation(forward=swish, backward=swish_prime)
"""


@posix
def test_a_process_that_defines_the_functions_again_ends_with_the_bits_of_one_never_killed(tmp_path):
    definition = textwrap.dedent(OWN)
    assert run(tmp_path / "whole", definition=definition) == 0
    stop = "fnn.LambdaCallback(on_progress=lambda context: context.steps_done == 41 and die())"
    assert run(tmp_path / "run", callback=stop, definition=definition) == -signal.SIGKILL
    assert 0 < checkpoints.read(tmp_path / "run").state["trainer"]["step_count"] < 41
    assert run(tmp_path / "run", definition=definition) == 0
    whole, other = (storage.read(tmp_path / f"{name}.model") for name in ("whole", "run"))
    assert other.extra == whole.extra
    assert {n: a.tobytes() for n, a in other.tensors.items()} == {n: a.tobytes() for n, a in whole.tensors.items()}
