"""Data in files that may be larger than memory: the bits of arrays in memory, and no more memory than a part of it."""

import os
import subprocess
import sys
import textwrap

import numpy as np
import pytest

import fastnn as fnn
from fastnn import checks, scoring, sources
from fastnn.sources import BlockShuffle, Order

rng = np.random.default_rng(5)
X = rng.integers(0, 256, (230, 6)).astype(np.uint8)
Y = (X[:, :3].argmax(axis=1)).astype(np.int64)


def a_model(seed=1, dtype="float32"):
    return fnn.Sequential([fnn.Dense(8, activation="tanh"), fnn.Dropout(0.1), fnn.Dense(3)], inputs=6, seed=seed,
                          dtype=dtype)  # fmt: skip


def fit(model, *data, **named):
    named = {"loss": "cross_entropy", "progress": False, "epochs": 2, "batch_size": 16, **named}
    return model.fit(*data, **named)


def bits(model):
    return [array.tobytes() for array in model.get_weights()]


@pytest.fixture
def mapped(tmp_path):
    """Writes an array to a file and maps it to memory."""

    def map_(array, name="X.npy"):
        np.save(tmp_path / name, array)
        return np.load(tmp_path / name, mmap_mode="r")

    return map_


@pytest.fixture
def everything_is_large(monkeypatch):
    """Nothing in a file is converted, and nothing held out copied, as a whole; blocks are of a few rows."""
    monkeypatch.setattr(checks, "_WHOLE_BYTES", 0)
    monkeypatch.setattr(checks, "_BLOCK_BYTES", 1000)
    monkeypatch.setattr(scoring, "HELD_BYTES", 0)
    monkeypatch.setattr(sources, "_AT_ONCE_BYTES", 1000)


FORMS = {
    "as the model has them": np.float32,
    "wider": np.float64,
    "bytes": np.uint8,
    "big-endian": ">f4",
}


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
@pytest.mark.parametrize(
    "settings", [{}, {"validation_split": 0.25}, {"shuffle": False, "schedule": fnn.Exponential(0.9).per_step()}]
)
def test_files_train_to_the_bits_of_arrays_in_memory(form, settings, mapped, everything_is_large):
    model, twin = a_model(), a_model()
    history = fit(model, mapped(X.astype(form)), mapped(Y, "y.npy"), **settings)
    other = fit(twin, X.astype(np.float32), Y, **settings)
    assert bits(model) == bits(twin)
    for name in other.columns:
        assert name == "seconds" or history[name] == other[name]


@pytest.mark.parametrize("form", [np.float32, np.uint8])
def test_rows_of_any_shape_lie_in_files(form, mapped, everything_is_large):
    def pictures():
        return fnn.Sequential([fnn.Flatten(), fnn.Dense(3)], inputs=(2, 3))

    model, twin, data = pictures(), pictures(), X.reshape(230, 2, 3).astype(form)
    fit(model, mapped(data), Y, validation_split=0.2)
    fit(twin, data, Y, validation_split=0.2)
    assert bits(model) == bits(twin)
    np.testing.assert_array_equal(model.predict(mapped(data)), model.predict(data))


@pytest.mark.parametrize("form", [np.float32, np.float64])
@pytest.mark.parametrize("batch_size", [16, 1000])
def test_weights_go_with_their_rows(form, batch_size, mapped, everything_is_large, monkeypatch):
    """In stretches, in a full batch without the rows that are held out, and in the scores of these."""
    if batch_size == 1000:
        monkeypatch.undo()  # what has to be converted cannot be a full batch
        monkeypatch.setattr(scoring, "HELD_BYTES", 0)
    weights = np.abs(rng.standard_normal(230))
    settings = {"batch_size": batch_size, "class_weight": "balanced", "shuffle": False}
    model, twin = a_model(), a_model()
    history = fit(model, mapped(X.astype(form)), Y, validation_split=0.25, sample_weight=weights, **settings)
    train, held = fnn.data.split_rows(230, 0.25, seed=1)
    other = fit(
        twin, X[train], Y[train], sample_weight=weights[train], validation_data=(X[held], Y[held], weights[held]),
        **settings,
    )  # fmt: skip
    assert bits(model) == bits(twin)
    for name in ("loss", "val_loss", "val_accuracy"):
        assert history[name] == other[name]


def test_a_loss_of_ones_own_takes_files(mapped, everything_is_large):
    def halved(outputs, targets):
        return 0.5 * float(np.square(outputs - targets).sum()), outputs - targets

    T = rng.standard_normal((230, 3))
    model, twin = a_model(), a_model()
    fit(model, mapped(X), T, loss=halved, optimizer=fnn.SGD(1e-6))
    fit(twin, X, T, loss=halved, optimizer=fnn.SGD(1e-6))
    assert bits(model) == bits(twin)


@pytest.mark.parametrize("rows", [1, 7, 100])
def test_the_loss_of_pieces_is_the_loss_of_all(rows, monkeypatch):
    model, weights = a_model(dtype="float64"), np.abs(rng.standard_normal(230))
    settings = {"loss": "cross_entropy"}
    found = [model.evaluate(X, Y, **settings), model.evaluate(X, Y, sample_weight=weights, **settings)]
    monkeypatch.setattr(scoring, "LOSS_ROWS", rows)
    again = [model.evaluate(X, Y, **settings), model.evaluate(X, Y, sample_weight=weights, **settings)]
    for one, other in zip(found, again, strict=True):
        assert one["loss"] == pytest.approx(other["loss"], rel=1e-14)
        assert one["accuracy"] == other["accuracy"]


def test_columns_in_a_file_are_taken_by_rows(mapped, everything_is_large):
    """np.save keeps the order of a Fortran array: a row is spread over the whole file."""
    model, twin = a_model(), a_model()
    data = mapped(np.asfortranarray(X.astype(np.float32)))
    assert not data.flags.c_contiguous
    fit(model, data, Y)
    fit(twin, X, Y)
    assert bits(model) == bits(twin)


@pytest.mark.parametrize("form", [np.float32, np.float64])
def test_a_full_batch_with_rows_held_out_is_that_of_the_other_rows(form, mapped, monkeypatch):
    model, twin = a_model(), a_model()
    monkeypatch.setattr(scoring, "HELD_BYTES", 0)
    history = fit(model, mapped(X.astype(form)), Y, validation_split=0.3, batch_size=10**6)
    train, held = fnn.data.split_rows(230, 0.3, seed=1)
    other = fit(twin, X[train], Y[train], validation_data=(X[held], Y[held]), batch_size=10**6)
    assert bits(model) == bits(twin)
    assert history["val_loss"] == other["val_loss"]


def test_predictions_and_scores_of_files_are_those_of_arrays(mapped, everything_is_large):
    """In pieces, of which the last is smaller."""
    model, data = a_model(), np.vstack([X] * 5)
    file = mapped(data.astype(np.float64))
    assert not checks.is_ready(checks.features(file, 6, "float32", whole=False), "float32")
    np.testing.assert_array_equal(model.predict(file), model.predict(data))
    y = np.tile(Y, 5)
    assert model.evaluate(file, y, loss="cross_entropy") == model.evaluate(data, y, loss="cross_entropy")


def test_small_files_are_converted_at_once(mapped):
    assert checks.is_ready(checks.features(mapped(X), 6, "float32", whole=False), "float32")


def test_arrays_in_memory_are_converted_at_once_whatever_their_size(everything_is_large):
    assert checks.is_ready(checks.features(X, 6, "float32", whole=False), "float32")


@pytest.mark.parametrize("form", [np.float32, np.float64])
@pytest.mark.parametrize("value", [np.nan, -np.inf, 1e39])
def test_a_number_that_is_not_finite_is_found_in_the_block_where_it_is(form, value, mapped, everything_is_large):
    data = X.astype(form)
    with np.errstate(over="ignore"):
        data[201, 4] = value
    model = a_model()
    before = bits(model)
    with pytest.raises(ValueError, match="X: row 201, column 4 is"):
        fit(model, mapped(data), Y)
    assert bits(model) == before


def test_a_full_batch_that_would_be_converted_in_each_step_is_refused(mapped, everything_is_large):
    with pytest.raises(ValueError, match=r"fit\(batch_size=230\): X, uint8 in a file, .* take smaller batches"):
        fit(a_model(), mapped(X), Y, batch_size=230)


def test_a_loss_that_is_not_finite_is_counted_over_the_stretches(mapped, everything_is_large):
    data = X.astype(np.float64)
    data[150] = np.nan
    with pytest.raises(fnn.NonFiniteLoss, match="the loss became nan in epoch 1, step 10 of 15"):
        fit(a_model(), mapped(data), Y, shuffle=False, allow_nonfinite=True)


def test_a_file_is_resumed_too(mapped, tmp_path, everything_is_large):
    file, path = mapped(X), tmp_path / "run.ckpt"
    model, twin = a_model(), a_model()
    fit(twin, file, Y, epochs=4, shuffle="blocks")
    fit(a_model(), file, Y, callbacks=fnn.Checkpoint(path), shuffle="blocks")
    fit(model, file, Y, epochs=4, resume=path, shuffle="blocks")
    assert bits(model) == bits(twin)
    with pytest.raises(ValueError, match=r"shuffle is .* here"):
        fit(model, file, Y, epochs=4, resume=path)


# Blocks.


@pytest.mark.parametrize(("rows", "together"), [(1, 1), (7, 4), (8, 1000), (1000, 3), (5, 2)])
def test_a_shuffle_by_blocks_has_every_row_once(rows, together):
    taken = np.sort(rng.permutation(500)[:333])
    order = Order(taken, BlockShuffle(rows, together), 3)
    first, second = order(0), order(1)
    assert sorted(first) == sorted(second) == list(taken)
    assert rows > 333 or not np.array_equal(first, second)
    np.testing.assert_array_equal(order(0), first)
    assert not np.array_equal(Order(taken, BlockShuffle(rows, together), 4)(0), first)


def test_a_shuffle_by_blocks_stays_within_its_blocks():
    """50 blocks of 8 rows, 5 of them together: each 40 rows of the order come from 5 blocks, and are mixed."""
    order = Order(np.arange(400), BlockShuffle(8, 5), 0)(2)
    for group in order.reshape(10, 40):
        assert len(set(group // 8)) == 5
        assert (np.diff(group) == 1).sum() < 10
    assert len({tuple(sorted(set(group // 8))) for group in order.reshape(10, 40)}) == 10


def test_blocks_take_a_megabyte_as_it_stands():
    assert BlockShuffle().for_rows_of(2**10) == BlockShuffle(1024, 256)
    assert BlockShuffle().for_rows_of(2**30) == BlockShuffle(1, 256)
    assert BlockShuffle(9).for_rows_of(1) == BlockShuffle(9)


def test_fit_trains_in_the_order_of_blocks():
    model, twin = a_model(), a_model()
    fit(model, X, Y, shuffle=BlockShuffle(10, 4), optimizer=fnn.SGD(0.1))
    trainer = fnn.Trainer(twin, "cross_entropy", fnn.SGD(0.1), batch_size=16)
    order = Order(np.arange(230), BlockShuffle(10, 4), 1)
    for epoch in range(2):
        trainer.run(X, Y, order(epoch))
    assert bits(model) == bits(twin)


@pytest.mark.parametrize(
    ("shuffle", "error", "message"),
    [
        ("block", TypeError, r'shuffle must be True or False, "blocks" or a BlockShuffle'),
        (BlockShuffle, TypeError, r"is a class, expected an instance of it: write BlockShuffle\(\)"),
    ],
)
def test_unknown_shuffles_are_refused(shuffle, error, message):
    with pytest.raises(error, match=message):
        fit(a_model(), X, Y, shuffle=shuffle)


@pytest.mark.parametrize("arguments", [{"rows": 0}, {"together": 0}, {"rows": 1.5}, {"together": None}])
def test_block_shuffles_refuse_bad_arguments(arguments):
    with pytest.raises((ValueError, TypeError), match="BlockShuffle"):
        BlockShuffle(**arguments)


# Larger than memory.


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
@pytest.mark.parametrize("form", ["float32", "float64", "uint8"])
def test_a_file_larger_than_the_memory_that_is_allowed_trains(form, tmp_path):
    """A sparse file of some 0.6 GB, float32 numbers of 0.6, 0.3 and 1.4 GB, in a process that may use little more."""
    rows = {"float32": 600_000, "float64": 300_000, "uint8": 1_400_000}[form]
    code = f"""
        import resource
        import numpy as np
        import fastnn as fnn

        model = fnn.Sequential([fnn.Dense(4, activation="relu"), fnn.Dense(2)], inputs=250)
        small = np.ones((600, 250), np.float32)
        settings = {{"loss": "cross_entropy", "epochs": 1, "batch_size": 8192, "progress": False}}
        model.fit(small, np.zeros(600, int), **settings)  # all code is loaded

        def own():
            lines = open("/proc/self/status").read().splitlines()
            return next(int(line.split()[1]) for line in lines if line.startswith("RssAnon")) / 1024

        before, seen = own(), []
        limit = int(open("/proc/self/statm").read().split()[5]) * resource.getpagesize() + {LIMIT} * 2**20
        resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
        X = np.memmap({str(tmp_path / "X")!r}, {form!r}, "w+", shape=({rows}, 250))
        X = np.memmap({str(tmp_path / "X")!r}, {form!r}, "r", shape=({rows}, 250))
        y = np.zeros({rows}, np.int32)
        settings["callbacks"] = fnn.LambdaCallback(
            on_progress=lambda context: seen.append(own()), on_epoch_end=lambda context: seen.append(own())
        )
        history = model.fit(X, y, validation_split=0.5, shuffle="blocks", **settings)
        assert history.rows == {rows} // 2, history
        seen.append(own())
        model.predict(X)
        seen.append(own())
        assert max(seen) - before < {LIMIT}, (before, seen)
        try:
            np.ones(({LIMIT} * 2**20,), np.uint8)
        except MemoryError:
            print("whole")  # the limit is one
    """
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    ended = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], env=environment, capture_output=True, text=True, check=False
    )
    assert (ended.returncode, ended.stdout) == (0, "whole\n"), ended.stderr


LIMIT = 120  # MiB
