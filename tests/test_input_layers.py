"""What stands in front: embeddings of categories, fixed standardisation, rows of any shape."""

import copy
import pickle

import networks
import numpy as np
import pytest

import fastnn as fnn
from fastnn import (
    Activation,
    Adam,
    Concatenate,
    Dense,
    Dropout,
    Embedding,
    Flatten,
    LayerNorm,
    Residual,
    Sequential,
    Standardize,
    Standardizer,
    Trainer,
    gradcheck,
)
from fastnn.kernels.backends import backends
from fastnn.plan.arena import Ref

BACKENDS = networks.BACKENDS
COLUMNS = {0: (7, 3), 3: (4, 2)}


def data(rows, loss="cross_entropy", dtype="float64"):
    """Columns 0 and 3 of five are codes."""
    X, y = networks.data(loss, rows, 5, 3, dtype)
    generator = np.random.default_rng(rows)
    X[:, 0], X[:, 3] = generator.integers(0, 6, rows), generator.integers(0, 4, rows)  # category 6 never occurs
    return X, y


# Starting numbers are those of the data whatever the number of rows.
FIXED = Standardize((0.0, 0.25, -0.5, 0.0, 1.0), (1.0, 2.0, 0.5, 1.0, 3.0))
MIXES = {
    "first": [Embedding(COLUMNS), Dense(7, "relu"), Dense(3)],
    "behind standardize": [FIXED, Embedding(COLUMNS), Dense(7, "tanh"), Dense(3)],
    "behind flatten": [Flatten(), FIXED, Embedding({3: (4, 20)}), Dropout(0.2), Dense(7), Dense(3)],
    "all columns": [Embedding({column: (7, 2) for column in (0, 3)}), LayerNorm(), Dense(3)],
    "in a branch": [Concatenate([[Embedding(COLUMNS), Dense(4, "relu")], [FIXED, Dense(3)]]), Dense(3)],
    "in a residual": [Residual([Embedding(COLUMNS), Dense(5)]), Activation("relu"), Dense(3)],
    "the only layer but one": [Embedding(COLUMNS), Dense(3)],
    "standardize first": [FIXED, Dense(7, "relu"), Dense(3)],
    "standardize before a residual": [FIXED, Residual([Dense(5, "tanh")]), Dense(3)],
}


def model(name, dtype="float64"):
    return Sequential(MIXES[name], inputs=5, dtype=dtype, seed=4)


# What is computed.


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("loss", networks.LOSSES)
@pytest.mark.parametrize("name", MIXES)
def test_gradients_agree_with_differences(name, loss, backend):
    own = model(name)
    report = gradcheck(own, loss, *data(19, loss), backend=backend)
    assert report.error < 1e-5, report
    assert report.checked == own.count


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_an_embedding_puts_vectors_in_the_place_of_codes_and_passes_other_columns(dtype):
    own = Sequential([Embedding(COLUMNS)], inputs=5, dtype=dtype)
    X = data(33)[0].astype(dtype)
    first, other = own.get_weights()
    assert (first.shape, other.shape) == ((7, 3), (4, 2))
    codes = X[:, [0, 3]].astype(int)
    expected = np.hstack([first[codes[:, 0]], X[:, 1:3], other[codes[:, 1]], X[:, 4:]])
    for backend in BACKENDS:
        assert own.predict(X, backend=backend).tobytes() == expected.tobytes()


def test_an_embedding_learns_what_one_hot_columns_learn():
    # A dense layer on one-hot columns is a table of its rows.
    X, y = data(64, "mse")
    hot = np.eye(7)[X[:, 0].astype(int)]
    table = Sequential([Embedding({0: (7, 3)})], inputs=1, dtype="float64")
    dense = Sequential([Dense(3, bias=False)], inputs=7, dtype="float64")
    dense.set_weights(table.get_weights())
    order = np.tile(np.arange(64), 5)
    losses = Trainer(table, "mse", batch_size=16).run(X[:, :1], y, order)
    np.testing.assert_allclose(losses, Trainer(dense, "mse", batch_size=16).run(hot, y, order), rtol=1e-12)
    np.testing.assert_allclose(table.get_weights()[0], dense.get_weights()[0], rtol=1e-9, atol=1e-12)


def test_tables_start_as_normal_numbers_and_each_by_itself():
    first, other = Sequential([Embedding({0: (3000, 5), 1: (3000, 5)})], inputs=2).get_weights()
    for table in (first, other):
        assert abs(table.mean()) < 0.05
        assert abs(table.std() - 1) < 0.05
    assert not np.isclose(first, other).any()
    uniform = Sequential([Embedding({0: (3000, 5)}, weight_init="zeros")], inputs=2).get_weights()[0]
    assert not uniform.any()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_standardize_in_a_model_equals_standardised_data(dtype):
    X = (np.random.default_rng(0).standard_normal((200, 5)) * 30 + 400).astype(dtype)
    X[:, 2] = 3.5
    y = np.random.default_rng(1).integers(0, 3, 200)
    standardizer = Standardizer().fit(X.astype(np.float64))
    layers = [Dense(8, "relu"), Dense(3)]
    for layer in (Standardize.of(X), Standardize.of(standardizer)):
        with_layer = Sequential([layer, *layers], inputs=5, dtype=dtype)
        without = Sequential(layers, inputs=5, dtype=dtype)
        without.set_weights(with_layer.get_weights()[2:])
        Z = (X - standardizer.mean.astype(dtype)) / standardizer.scale.astype(dtype)
        np.testing.assert_allclose(Z, standardizer.transform(X), rtol=0, atol=30 * np.finfo(dtype).eps)
        assert with_layer.predict(X).tobytes() == without.predict(Z).tobytes()
        for own, inputs in ((with_layer, X), (without, Z)):
            own.fit(inputs, y, loss="cross_entropy", epochs=2, progress=False, validation_split=0.2)
        # The weight gradient of the first layer takes its inputs in another layout, and adds in another order.
        bound = 1e-3 if dtype == "float32" else 1e-10
        np.testing.assert_allclose(with_layer.predict(X), without.predict(Z), rtol=bound, atol=bound)
        mean, scale = with_layer.get_weights()[:2]
        assert (mean.tobytes(), scale.tobytes()) == tuple(
            value.astype(dtype).tobytes() for value in (standardizer.mean, standardizer.scale)
        )


def test_no_optimizer_moves_what_standardize_holds():
    own = model("standardize first")
    count = 5 * 7 + 7 + 7 * 3 + 3
    assert own.count == count
    value, gradient = Trainer(own, "cross_entropy").value_and_grad(np.zeros(count), *data(9))
    assert np.isfinite(value)
    assert gradient.shape == (count,)
    assert [e.kind for e in own.parameters.entries] == ["weight", "bias"] * 2


def test_standardize_of_some_columns_leaves_the_others():
    X = np.random.default_rng(0).standard_normal((50, 4)) + 7
    layer = Standardize.of(X, columns=[1, 3])
    assert [layer.keeps(column) for column in range(4)] == [True, False, True, False]
    out = Sequential([layer], inputs=4, dtype="float64").predict(X)
    np.testing.assert_array_equal(out[:, [0, 2]], X[:, [0, 2]])
    np.testing.assert_allclose(out[:, [1, 3]].mean(axis=0), 0, atol=1e-13)
    np.testing.assert_allclose(out[:, [1, 3]].std(axis=0), 1)


def test_standardize_of_a_standardizer_leaves_it_alone():
    standardizer = Standardizer().fit(np.random.default_rng(0).standard_normal((50, 4)))
    before = standardizer.to_json()
    Standardize.of(standardizer, columns=[0])
    assert standardizer.to_json() == before


# Memory, bits, threads.


@pytest.mark.parametrize("name", MIXES)
def test_operands_share_memory_only_where_the_table_allows_it(name):
    for loss in ("mse", None):
        plan = Trainer(model(name), loss, batch_size=4).program(4, with_loss=loss is not None).plan
        for call in plan.calls:
            refs = {a.name: call.arguments[a.name] for a in call.operation.arrays}
            places = {n: (r.arena, r.slot.offset) for n, r in refs.items() if isinstance(r, Ref)}
            written = [a.name for a in call.operation.arrays if a.access != "reads" and a.name in places]
            shared = {(n, o) for n in written for o in places if o != n and places[n] == places[o]}
            assert shared <= {call.operation.in_place}, call.formula


def trained(name, backend, dtype="float32", threads=1, fill=None, rows=1301, batch_size=32):
    own = model(name, dtype)
    trainer = Trainer(own, "cross_entropy", Adam(lr=0.01), batch_size=batch_size, backend=backend, threads=threads)
    bound, results = trainer.bind(*data(rows, dtype=dtype)), []
    for run in (lambda: bound.run(np.arange(200)), lambda: bound.run_full(2)):
        if fill is not None:
            trainer.program(batch_size)
            for program in trainer._programs.values():
                program.fill_workspace(fill)
        results += [run().tobytes(), networks.numbers(own).tobytes()]
    return results


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", MIXES)
def test_a_step_ignores_what_is_in_the_workspace(name, backend):
    fresh = trained(name, backend)
    assert trained(name, backend, fill=0x00) == fresh
    assert trained(name, backend, fill=0xFF) == fresh


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", MIXES)
def test_kernel_sets_and_threads_give_the_same_bits(name, dtype):
    if "c" not in backends().available:
        pytest.skip("threads come with the C library")
    expected = trained(name, "numba", dtype)
    assert trained(name, "c", dtype) == expected
    assert trained(name, "c", dtype, threads=2) == expected


@pytest.mark.parametrize("name", [name for name in MIXES if "flatten" not in name])  # its dropout draws by tiles
def test_a_full_batch_in_tiles_has_the_gradient_of_one_tile(name):
    def gradient(in_one):
        own = model(name)
        trainer = Trainer(own, "cross_entropy")
        if in_one:
            trainer.tile_rows = lambda rows: rows
        theta = own.parameters.flatten(own.parameters.arena)
        return trainer.value_and_grad(theta, *data(1301))[1]

    np.testing.assert_allclose(gradient(False), gradient(True), rtol=1e-9, atol=1e-13)


# Files and copies.


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", MIXES)
def test_such_models_survive_copies_pickles_and_files(name, dtype, tmp_path):
    own, (X, y) = model(name, dtype), data(40)
    own.fit(X, y, loss="cross_entropy", epochs=2, progress=False)
    own.save(tmp_path / "model")
    for twin in (own.copy(), copy.deepcopy(own), pickle.loads(pickle.dumps(own)), fnn.load(tmp_path / "model")):
        assert twin.layers == own.layers
        assert twin.predict(X).tobytes() == own.predict(X).tobytes()
        twin.set_weights(own.get_weights())
        assert networks.numbers(twin).tobytes() == networks.numbers(own).tobytes()


def test_the_summary_shows_the_first_of_many_numbers():
    text = Sequential([Standardize(np.arange(9), np.ones(9)), Dense(2)], inputs=9).summary()
    assert "Standardize([0, 1, 2, ... 9 numbers], [1, 1, 1, ... 9 numbers])" in text
    assert "Embedding([[0, 7, 3], [3, 4, 2]])" in model("first").summary()


# Rows of any shape.


def test_flatten_lets_rows_have_any_shape():
    X, y = np.random.default_rng(0).standard_normal((40, 4, 3, 2)), np.arange(40) % 3
    own = Sequential([Flatten(), Standardize.of(X), Dense(3)], inputs=(4, 3, 2))
    assert own.inputs == 24
    flat = X.reshape(40, 24)
    expected = own.predict(flat)
    for rows in (X, X.reshape(40, 12, 2), np.asfortranarray(X), X.tolist()):
        assert own.predict(rows).tobytes() == expected.tobytes()
    own.fit(X, y, loss="cross_entropy", epochs=1, validation_data=(X, y), progress=False)
    assert own.evaluate(X, y) == own.evaluate(flat, y)
    losses = [Trainer(own.copy(), "cross_entropy").run(rows, y, steps=2).tolist() for rows in (X, flat)]
    assert losses[0] == losses[1]
    assert fnn.Sequential([Flatten()], inputs=1).predict(np.ones(5)).shape == (5, 1)


@pytest.mark.parametrize(
    ("layers", "inputs", "message"),
    [
        ([Dense(3)], (4, 4), r"inputs=\(4, 4\)\): a shape needs an axis, and Flatten\(\) as the first layer"),
        ([Dense(3), Flatten()], (4, 4), "Flatten"),
        ([Flatten()], (), "needs an axis"),
        ([Flatten()], (4, 0), "at least 1"),
    ],
)
def test_a_shape_of_inputs_needs_flatten(layers, inputs, message):
    with pytest.raises(ValueError, match=message):
        Sequential(layers, inputs=inputs)


@pytest.mark.parametrize("shape", [(10, 28, 27), (10,), (), (0, 28, 28), (10, 783)])
def test_rows_of_another_size_are_refused(shape):
    own = Sequential([Flatten(), Dense(2)], inputs=(28, 28))
    with pytest.raises(ValueError, match=r"X: has (shape|no rows)"):
        own.predict(np.zeros(shape))


def test_without_flatten_rows_are_vectors():
    with pytest.raises(ValueError, match=r"has shape \(3, 2, 2\), expected \(rows, 4\)"):
        Sequential([Dense(2)], inputs=4).predict(np.zeros((3, 2, 2)))


# Mistakes.


@pytest.mark.parametrize("code", [-1, 7, 2.5, np.nan, np.inf, 1e30])
def test_codes_that_are_none_are_refused_before_anything_is_changed(code):
    own, (X, y) = model("behind standardize", "float32"), data(20)
    trainer, before = Trainer(own, "cross_entropy"), networks.numbers(own).tobytes()
    X[11, 0] = code
    uses = {
        "predict": lambda: own.predict(X, allow_nonfinite=True),
        "evaluate": lambda: own.evaluate(X, y, loss="cross_entropy", allow_nonfinite=True),
        "fit": lambda: own.fit(X, y, loss="cross_entropy", epochs=1, progress=False, allow_nonfinite=True),
        "bind": lambda: trainer.bind(X, y, allow_nonfinite=True),
    }
    if np.isfinite(code):
        uses["forward"] = lambda: trainer.forward(X)
        uses["run"] = lambda: trainer.run(X, y, steps=1)
    for use in uses.values():
        with pytest.raises(ValueError, match=r"X: row 11, column 0 is .*, expected a whole number from 0 to 6"):
            use()
    assert networks.numbers(own).tobytes() == before
    with pytest.raises(ValueError, match=r"validation_data\[0\]: row 11, column 0"):
        own.fit(*data(20), loss="cross_entropy", epochs=1, validation_data=(X, y), allow_nonfinite=True)


def test_codes_in_batches_are_checked_batch_by_batch():
    own, (X, y), (wrong, _) = model("first", "float32"), data(20), data(20)
    wrong[7, 3] = 4
    with pytest.raises(ValueError, match="row 7, column 3 is 4, expected a whole number from 0 to 3"):
        own.fit(iter([(X, y), (wrong, y)]), loss="cross_entropy", steps_per_epoch=2, epochs=1, progress=False)


@pytest.mark.parametrize("name", MIXES)
def test_a_training_that_is_resumed_ends_with_the_bits_of_an_unbroken_one(name, tmp_path):
    X, y = data(40)
    options = {"loss": "cross_entropy", "batch_size": 16, "progress": False}
    whole, begun, resumed = (model(name, "float32") for _ in range(3))
    whole.fit(X, y, epochs=4, **options)
    begun.fit(X, y, epochs=2, callbacks=fnn.Checkpoint(tmp_path / "saved"), **options)
    resumed.fit(X, y, epochs=4, resume=tmp_path / "saved", **options)
    assert networks.numbers(resumed).tobytes() == networks.numbers(whole).tobytes()


@pytest.mark.parametrize("backend", BACKENDS)
def test_codes_that_changed_after_they_were_checked_leave_no_table(backend):
    own, (X, y) = model("first", "float32"), data(20, dtype="float32")
    bound = Trainer(own, "cross_entropy", backend=backend, batch_size=20).bind(X, y)
    right = bound.run(np.arange(20))
    X[:, 0] = [np.nan, np.inf, -np.inf, -1, 7, 1e30, -1e30, 2.0**31, 6.5, -0.5] * 2
    assert np.isfinite(bound.run(np.arange(20))).all()
    assert np.isfinite(right).all()


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        ([Dense(5), Embedding(COLUMNS)], r"layers\.1: Embedding: column 0 does not hold the inputs"),
        ([Dropout(0.1), Embedding(COLUMNS)], "does not hold the inputs"),
        ([Standardize([0, 0, 0, 1, 0], [1] * 5), Embedding(COLUMNS)], "column 3 does not hold the inputs"),
        ([Residual([Dense(5), Embedding(COLUMNS), Dense(5)])], r"layers\.0\.layers\.1: Embedding: column 0"),
        ([Embedding({5: (3, 2)})], r"column 5 is not there, the inputs are columns 0 to 4"),
        ([Standardize([0] * 4, [1] * 4)], r"layers\.0: Standardize: has 4 numbers in mean and scale for 5 features"),
    ],
)
def test_a_layer_in_a_place_where_it_cannot_stand_is_refused(layers, message):
    with pytest.raises(ValueError, match=message):
        Sequential(layers, inputs=5)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: Embedding({}), ValueError, "at least one column"),
        (lambda: Embedding({0: 3}), TypeError, "expected columns with categories and width"),
        (lambda: Embedding(3), TypeError, "expected columns with categories and width"),
        (lambda: Embedding({0: (0, 3)}), ValueError, "categories must be at least 1"),
        (lambda: Embedding({0: (2**24, 3)}), ValueError, "categories must be at most"),
        (lambda: Embedding({-1: (4, 3)}), ValueError, "column must be at least 0"),
        (lambda: Embedding({0: (4, 0)}), ValueError, "width must be at least 1"),
        (lambda: Embedding(((0, 4, 1), (0, 4, 1))), ValueError, "each once"),
        (lambda: Embedding({0: (4, 2)}, weight_init="nromal"), ValueError, "did you mean 'normal'"),
        (lambda: Standardize([1.0], [0.0]), ValueError, r"scale\[0\] is 0, expected at least 1e-30"),
        (lambda: Standardize([1.0, 2.0], [1.0]), ValueError, "2 numbers in mean and 1 in scale"),
        (lambda: Standardize([], []), ValueError, "a number for each feature"),
        (lambda: Standardize([np.nan], [1.0]), ValueError, r"mean\[0\] is nan, expected finite"),
        (lambda: Standardize(["a"], [1.0]), TypeError, "expected real numbers"),
        (lambda: Standardize.of(Standardizer()), ValueError, "not fitted yet"),
        (lambda: Standardize.of(np.zeros((3, 2)), columns=[2]), ValueError, "columns must be at most 1"),
        (lambda: Standardize.of([[1.0, np.inf]]), ValueError, "row 0, column 1 is inf"),
        (lambda: Sequential([Standardize([1e300], [1.0])], inputs=1), ValueError, "mean of layer 0 .* beyond float32"),
    ],
)
def test_a_description_that_makes_no_sense_is_refused(make, error, message):
    with pytest.raises(error, match=message):
        make()


def test_a_scale_of_zero_cannot_be_set():
    own = model("standardize first")
    weights = own.get_weights()
    weights[1] = np.zeros(5)
    with pytest.raises(ValueError, match=r"scale of layer 0: holds 0\.0, expected at least 1e-30"):
        own.set_weights(weights)
