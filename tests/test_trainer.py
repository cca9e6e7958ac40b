"""Trainer: runs over data, gradients for outside optimizers, and what it does with bad input and with Ctrl-C."""

import copy
import pickle
import signal
import subprocess
import sys
import textwrap
from types import SimpleNamespace

import networks
import numpy as np
import pytest

import fastnn as fnn
from fastnn import MSE, SGD, AdaGrad, Adam, Dense, Dropout, NonFiniteLoss, RMSProp, Sequential, Trainer
from fastnn import bound as bound_module
from fastnn.kernels import backends
from fastnn.plan.arena import Parameters

# Runs.


def a_trainer(loss="cross_entropy", backend="auto", mix="relu", dtype="float32", **options):
    return Trainer(networks.network(mix, 5, 7, 3, dtype), loss, backend=backend, **options)


def loss_now(trainer, X, y):
    """The loss of a model without batch norm and dropout, by the reference."""
    return trainer.loss.value(trainer.model.predict(X), y)


@pytest.mark.parametrize("backend", networks.BACKENDS)
@pytest.mark.parametrize("loss", networks.LOSSES)
def test_each_loss_is_the_mean_over_the_rows_of_its_step(loss, backend):
    trainer = a_trainer(loss, backend, dtype="float64", batch_size=8)
    trainer.lr = 0.0
    X, y = networks.data(loss, 21, 5, 3)
    order = np.random.default_rng(0).permutation(21)
    losses = trainer.run(X, y, order)
    expected = [loss_now(trainer, X[rows], y[rows]) for rows in (order[:8], order[8:16], order[16:])]
    assert losses.dtype == np.float64
    np.testing.assert_allclose(losses, expected, rtol=1e-12)


@pytest.mark.parametrize("backend", networks.BACKENDS)
def test_the_smaller_last_batch_is_trained_on(backend):
    one, two = (a_trainer(backend=backend, batch_size=8) for _ in range(2))
    X, y = networks.data("cross_entropy", 11, 5, 3, "float32")
    losses = one.run(X, y, np.arange(11))
    assert len(losses) == one.step_count == 2
    two.run(X, y, np.arange(8))
    assert networks.numbers(one.model).tobytes() != networks.numbers(two.model).tobytes()
    two.run(X, y, np.arange(8, 11))
    assert networks.numbers(one.model).tobytes() == networks.numbers(two.model).tobytes()


def test_orders_in_two_axes_are_steps_and_in_one_axis_are_cut_into_them():
    one, two = (a_trainer(batch_size=8) for _ in range(2))
    X, y = networks.data("cross_entropy", 32, 5, 3, "float32")
    order = np.random.default_rng(0).permutation(32)
    assert one.run(X, y, order).tobytes() == two.run(X, y, order.reshape(4, 8)).tobytes()
    assert networks.numbers(one.model).tobytes() == networks.numbers(two.model).tobytes()


def test_steps_in_two_axes_may_be_smaller_than_the_batch_size():
    one, two = a_trainer(batch_size=8), a_trainer(batch_size=3)
    X, y = networks.data("cross_entropy", 32, 5, 3, "float32")
    order = np.arange(30).reshape(10, 3)
    assert one.run(X, y, order).tobytes() == two.run(X, y, order).tobytes()


def test_rows_may_come_more_than_once_and_in_any_order():
    one, two = (a_trainer(batch_size=4, dtype="float64") for _ in range(2))
    X, y = networks.data("cross_entropy", 3, 5, 3)
    rows = [2, 2, 0, 2]
    assert one.run(X, y, rows).tobytes() == two.run(X[rows], y[rows], np.arange(4)).tobytes()


@pytest.mark.parametrize("backend", networks.BACKENDS)
@pytest.mark.parametrize("rows", [1, 9, 600])
def test_steps_on_all_rows_equal_batches_of_all_rows(rows, backend):
    """To rounding only where the full batch is cut into tiles."""
    full, batches = (a_trainer(backend=backend, batch_size=rows, dtype="float64") for _ in range(2))
    X, y = networks.data("cross_entropy", rows, 5, 3)
    losses = full.run(X, y, steps=5)
    np.testing.assert_allclose(losses, batches.run(X, y, np.tile(np.arange(rows), (5, 1))), rtol=1e-9)
    np.testing.assert_allclose(networks.numbers(full.model), networks.numbers(batches.model), rtol=1e-6, atol=1e-9)


def test_no_steps_change_nothing():
    trainer = a_trainer()
    before = networks.numbers(trainer.model)
    assert trainer.run(*networks.data("cross_entropy", 9, 5, 3), steps=0).shape == (0,)
    assert networks.numbers(trainer.model).tobytes() == before.tobytes()


def test_batches_beyond_the_data_take_all_of_it():
    one, two = a_trainer(batch_size=1000), a_trainer(batch_size=9)
    X, y = networks.data("cross_entropy", 9, 5, 3, "float32")
    assert one.run(X, y, np.arange(9)).tobytes() == two.run(X, y, np.arange(9)).tobytes()


def test_a_data_set_is_bound_once_and_run_often():
    one, two = (a_trainer(batch_size=4) for _ in range(2))
    X, y = networks.data("cross_entropy", 9, 5, 3, "float32")
    data = one.bind(X, y)
    assert data.rows == 9
    for _ in range(3):
        assert data.run(np.arange(9)).tobytes() == two.run(X, y, np.arange(9)).tobytes()


def test_the_rate_that_is_set_is_that_of_the_steps_to_come():
    trainer = a_trainer("mse", mix="one layer", optimizer=SGD(lr=1.0), dtype="float64", batch_size=9)
    X, y = networks.data("mse", 9, 5, 3)
    for rate in (0.125, 0.5):
        trainer.lr = rate
        assert trainer.lr == rate
        before = trainer.model.get_weights()
        trainer.run(X, y, np.arange(9))
        for old, new, gradient in zip(before, trainer.model.get_weights(), trainer.gradients, strict=True):
            np.testing.assert_allclose(new, old - rate * gradient, rtol=1e-13, atol=1e-15)


@pytest.mark.parametrize("optimizer", [SGD(momentum=0.9), Adam(), RMSProp(), AdaGrad()])
def test_after_a_reset_a_trainer_is_like_a_new_one(optimizer):
    X, y = networks.data("mse", 20, 5, 3, "float32")
    used, fresh = (a_trainer("mse", optimizer=optimizer, batch_size=6, mix="all kinds") for _ in range(2))
    start = used.model.parameters.copy_state()
    used.run(X, y, np.arange(20))
    used.reset()
    assert used.step_count == 0
    used.model.parameters.restore_state(start)
    assert used.run(X, y, np.arange(20)).tobytes() == fresh.run(X, y, np.arange(20)).tobytes()
    assert networks.numbers(used.model).tobytes() == networks.numbers(fresh.model).tobytes()


def test_a_model_needs_no_more_than_the_protocol_says():
    theirs = networks.network("relu", 5, 7, 3, "float32")
    parameters = Parameters(theirs.layers, 5, np.float32)
    parameters.restore_state(theirs.parameters.copy_state())
    model = SimpleNamespace(
        layers=theirs.layers, inputs=5, outputs=3, dtype=np.dtype("float32"), parameters=parameters, seed=3
    )
    X, y = networks.data("mse", 20, 5, 3, "float32")
    assert Trainer(model, "mse").run(X, y, steps=3).tobytes() == Trainer(theirs, "mse").run(X, y, steps=3).tobytes()


# Gradients for others.


@pytest.mark.parametrize("backend", networks.BACKENDS)
@pytest.mark.parametrize("mix", ["relu", "all kinds"])
def test_value_and_grad_changes_the_weights_it_is_given_and_nothing_else(mix, backend):
    trainer = a_trainer("mse", backend, mix)
    X, y = networks.data("mse", 20, 5, 3)
    trainer.run(X, y, np.arange(20))
    state, steps = trainer.model.parameters.state.copy(), trainer.step_count
    theta = np.random.default_rng(0).standard_normal(trainer.model.count)
    value, gradient = trainer.value_and_grad(theta, X, y)
    assert isinstance(value, float)
    assert gradient.shape == theta.shape
    assert gradient.dtype == np.float64
    arena = trainer.model.parameters.arena
    np.testing.assert_array_equal(trainer.model.parameters.flatten(arena), theta.astype(np.float32))
    assert trainer.model.parameters.state.tobytes() == state.tobytes()
    assert trainer.step_count == steps


def test_lbfgs_of_scipy_converges_on_value_and_grad():
    optimize = pytest.importorskip("scipy.optimize")
    generator = np.random.default_rng(0)
    X = generator.standard_normal((200, 3))
    weight, bias = np.array([[1.0, -2.0], [0.5, 3.0], [-1.5, 0.25]]), np.array([0.75, -0.5])
    y = X @ weight + bias
    model = Sequential([Dense(2)], inputs=3, dtype="float64")
    trainer = Trainer(model, "mse")
    start = np.zeros(model.count)
    found = optimize.minimize(trainer.value_and_grad, start, (X, y), method="L-BFGS-B", jac=True)
    assert found.success
    trainer.value_and_grad(found.x, X, y)
    np.testing.assert_allclose(model.get_weights()[0], weight, atol=1e-4)
    np.testing.assert_allclose(model.get_weights()[1], bias, atol=1e-4)


def test_lbfgs_trains_a_network_with_dropout_because_its_mask_stays():
    optimize = pytest.importorskip("scipy.optimize")
    trainer = a_trainer("cross_entropy", mix="dropout after tanh", dtype="float64")
    X, y = networks.data("cross_entropy", 40, 5, 3)
    start = trainer.model.parameters.flatten(trainer.model.parameters.arena)
    before, _ = trainer.value_and_grad(start, X, y)
    found = optimize.minimize(trainer.value_and_grad, start, (X, y), method="L-BFGS-B", jac=True)
    assert found.fun < before / 2


# Losses that are not finite.


@pytest.mark.parametrize("backend", networks.BACKENDS)
@pytest.mark.parametrize("loss", networks.LOSSES)
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_loss_that_is_not_finite_raises_with_its_step(bad, loss, backend):
    trainer = a_trainer(loss, backend, batch_size=4)
    X, y = networks.data(loss, 40, 5, 3, "float32")
    X[22, 1] = bad
    with pytest.raises(NonFiniteLoss, match="at step 5") as caught:
        trainer.bind(X, y, allow_nonfinite=True).run(np.arange(40))
    error = caught.value
    assert error.step == 5
    assert np.isfinite(error.losses[:5]).all()
    assert not np.isfinite(error.losses[5])


@pytest.mark.parametrize("backend", networks.BACKENDS)
@pytest.mark.parametrize("label", [0, 1, 2])
def test_one_logit_that_is_not_a_number_is_enough(label, backend):
    model = Sequential([Dense(3)], inputs=2)
    model.parameters.entries[1].value[1] = np.nan
    trainer = Trainer(model, "cross_entropy", backend=backend)
    with pytest.raises(NonFiniteLoss):
        trainer.run(np.zeros((1, 2)), [label], steps=1)


@pytest.mark.parametrize("backend", networks.BACKENDS)
def test_a_full_batch_in_tiles_names_the_step_too(monkeypatch, backend):
    monkeypatch.setattr(bound_module, "CHUNK_SECONDS", 1e9)
    trainer = Trainer(Sequential([Dense(1)], inputs=1), "mse", SGD(lr=1e12), backend=backend)
    X, y = np.ones((1300, 1)), np.zeros(1300)
    with pytest.raises(NonFiniteLoss) as caught:
        trainer.run(X, y, steps=10)
    error = caught.value
    assert 0 < error.step < 5
    assert len(error.losses) == 10
    assert np.isfinite(error.losses[: error.step]).all()
    assert not np.isfinite(error.losses[error.step])
    assert f"the loss is {error.losses[error.step]} at step {error.step}" in str(error)


def test_the_error_of_a_worker_arrives_whole():
    error = pickle.loads(pickle.dumps(NonFiniteLoss(2, np.array([1.0, 2.0, np.nan]))))
    assert error.step == 2
    assert str(error) == str(NonFiniteLoss(2, np.array([1.0, 2.0, np.nan])))


# Arrays as they come.


def strided(array):
    return np.repeat(array, 2, axis=1)[:, ::2]


def read_only(array):
    array = array.copy()
    array.flags.writeable = False
    return array


@pytest.mark.parametrize(
    "form",
    [
        strided,
        read_only,
        np.asfortranarray,
        lambda array: array[::-1].copy()[::-1],
        lambda array: array.astype(array.dtype.newbyteorder()),
        lambda array: array.tolist(),
        lambda array: np.pad(array, ((1, 0), (0, 0)))[1:],
        lambda array: np.frombuffer(b"x" + array.tobytes(), np.uint8)[1:].view(array.dtype).reshape(array.shape),
    ],
    ids=["strided", "read-only", "Fortran", "reversed", "foreign-endian", "lists", "offset", "unaligned"],
)
@pytest.mark.parametrize("loss", networks.LOSSES)
def test_arrays_of_any_layout_give_the_same_bits(loss, form):
    X, y = networks.data(loss, 23, 5, 3, "float32")
    order = np.random.default_rng(0).permutation(23)

    def bits(X, y, order):
        trainer = a_trainer(loss, batch_size=5)
        return trainer.run(X, y, order).tobytes() + networks.numbers(trainer.model).tobytes()

    def in_form(array):
        if array.ndim == 2:
            return form(array)
        column = form(array[:, None])
        return [row[0] for row in column] if isinstance(column, list) else column[:, 0]

    assert bits(in_form(X), in_form(y), in_form(order)) == bits(X, y, order)


@pytest.mark.parametrize("dtype", ["int8", "int64", "uint16", "bool", "float16", "float32", "float64", "longdouble"])
def test_numbers_of_any_kind_give_the_same_bits(dtype):
    generator = np.random.default_rng(0)
    X, y = generator.integers(0, 2, (23, 5)), generator.integers(0, 2, 23)

    def bits(X, y):
        trainer = a_trainer(batch_size=5)
        return trainer.run(X, y, np.arange(23)).tobytes() + networks.numbers(trainer.model).tobytes()

    assert bits(X.astype(dtype), y.astype(dtype)) == bits(X.astype("float32"), y)


def test_data_of_the_right_kind_is_not_copied():
    X, y = networks.data("mse", 23, 5, 3, "float32")
    data = a_trainer("mse").bind(X, y)
    assert np.shares_memory(data._X, X)
    assert np.shares_memory(data._y, y)


# Bad input.

GOOD = {loss: networks.data(loss, 9, 5, 3, "float32") for loss in networks.LOSSES}


def with_entry(array, place, value):
    array = array.copy()
    array[place] = value
    return array


BAD_DATA = {
    "rank of X": ("mse", lambda X, y: (X[0], y), r"X: has shape \(5,\), expected \(rows, 5\)"),
    "three axes": ("mse", lambda X, y: (X[None], y), r"X: has shape \(1, 9, 5\), expected \(rows, 5\)"),
    "width of X": ("mse", lambda X, y: (X[:, :4], y), r"X: has shape \(9, 4\), expected \(rows, 5\)"),
    "objects": ("mse", lambda X, y: (X.astype(object), y), "X: has dtype object, expected real numbers"),
    "strings": ("mse", lambda X, y: (X.astype(str), y), "X: has dtype <U32, expected real numbers; encode"),
    "complex": ("mse", lambda X, y: (X * 1j, y), "X: has dtype complex64, expected real numbers"),
    "dates": ("mse", lambda X, y: (X.astype("M8[s]"), y), "X: has dtype datetime64"),
    "ragged": ("mse", lambda X, y: ([[1.0], [1.0, 2.0]], y), "X: cannot be made an array"),
    "nothing": ("mse", lambda X, y: (None, y), "X: "),
    "no rows": ("mse", lambda X, y: (X[:0], y[:0]), "X: has no rows"),
    "no labels": ("cross_entropy", lambda X, y: (X, y[:0]), "y: has no rows"),
    "NaN in X": ("mse", lambda X, y: (with_entry(X, (4, 2), np.nan), y), "X: row 4, column 2 is nan, expected finite"),
    "infinity in X": ("mse", lambda X, y: (with_entry(X, (8, 0), -np.inf), y), "X: row 8, column 0 is -inf"),
    "both infinities": ("mse", lambda X, y: (with_entry(X, (slice(0, 2), 0), (-np.inf, np.inf)), y), "X: row 0"),
    "too large for float32": (
        "mse", lambda X, y: (with_entry(X.astype(float), (3, 1), 1e300), y),
        r"X: row 3, column 1 is 1e\+300, expected finite numbers within float32",
    ),
    "NaN in y": ("mse", lambda X, y: (X, with_entry(y, (2, 1), np.nan)), "y: row 2, column 1 is nan"),
    "rows of y": ("mse", lambda X, y: (X, y[:7]), "y: has 7 rows, expected 9 as in X"),
    "width of y": ("mse", lambda X, y: (X, y[:, :2]), r"y: has shape \(9, 2\), expected \(rows, 3\)"),
    "rank of y": ("mse", lambda X, y: (X, y[:, 0]), r"y: has shape \(9,\), expected \(rows, 3\)"),
    "strings as labels": ("cross_entropy", lambda X, y: (X, y.astype(str)), "y: has dtype <U11, expected real numbers"),
    "one-hot labels": ("cross_entropy", lambda X, y: (X, 2 * np.eye(3)[y]), "is 2.0, expected probabilities"),
    "two of three classes": (
        "cross_entropy", lambda X, y: (X, np.eye(3)[y][:, :2]), r"y: has shape \(9, 2\), expected \(rows,\)",
    ),
    "label too large": (
        "cross_entropy", lambda X, y: (X, with_entry(y, 6, 3)), "y: row 6 is 3, expected labels from 0 to 2",
    ),
    "label beyond int32": (
        "cross_entropy", lambda X, y: (X, with_entry(y.astype(np.int64), 6, 2**32)), "y: row 6 is 4294967296, expected",
    ),
    "label beyond int64": (
        "cross_entropy", lambda X, y: (X, with_entry(y.astype(np.uint64), 6, 2**64 - 1)), "y: row 6 is 184467440",
    ),
    "negative label": ("cross_entropy", lambda X, y: (X, with_entry(y, 1, -1)), "y: row 1 is -1, expected labels"),
    "fractional label": (
        "cross_entropy", lambda X, y: (X, with_entry(y.astype(float), 5, 0.5)), "y: row 5 is 0.5, expected whole",
    ),
    "NaN label": ("cross_entropy", lambda X, y: (X, with_entry(y.astype(float), 5, np.nan)), "y: row 5 is nan"),
    "infinite label": ("cross_entropy", lambda X, y: (X, with_entry(y.astype(float), 5, np.inf)), "y: row 5 is inf"),
    "probability above 1": (
        "bce", lambda X, y: (X, with_entry(y, (3, 2), 1.5)), r"y: row 3, column 2 is 1.5, expected targets in \[0, 1\]",
    ),
    "negative probability": ("bce", lambda X, y: (X, with_entry(y, (3, 2), -0.5)), "y: row 3, column 2 is -0.5"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD_DATA)
def test_bad_data_is_refused_and_the_model_left_as_it_was(name):
    loss, spoil, message = BAD_DATA[name]
    trainer = a_trainer(loss, batch_size=4)
    X, y = GOOD[loss]
    trainer.run(X, y, np.arange(9))
    before = networks.numbers(trainer.model).tobytes()
    gradients = [g.tobytes() for g in trainer.gradients]
    theta = np.zeros(trainer.model.count)
    bad_X, bad_y = spoil(X, y)
    for attempt in (
        lambda: trainer.bind(bad_X, bad_y),
        lambda: trainer.run(bad_X, bad_y, [0]),
        lambda: trainer.run(bad_X, bad_y, steps=1),
        lambda: trainer.value_and_grad(theta, bad_X, bad_y),
    ):
        with pytest.raises((ValueError, TypeError), match=message):
            attempt()
        assert networks.numbers(trainer.model).tobytes() == before
        assert [g.tobytes() for g in trainer.gradients] == gradients
    assert trainer.step_count == 3


def test_data_that_is_not_finite_is_taken_where_that_is_asked_for():
    X, y = GOOD["mse"]
    bound = a_trainer("mse", batch_size=4).bind(with_entry(X, (8, 0), np.nan), y, allow_nonfinite=True)
    assert np.isfinite(bound.run(np.arange(8))).all()


@pytest.mark.parametrize(
    ("order", "message"),
    [
        ([0, 9], "order: contains row 9, expected rows from 0 to 8"),
        ([[0, 1], [2, -1]], "order: contains row -1, expected rows from 0 to 8"),
        ([2**40], "order: contains row 1099511627776"),
        (np.array([2**63], np.uint64), "order: contains row 9223372036854775808"),
        ([0.0, 1.0], "order: has dtype float64, expected row numbers as integers"),
        ([True, False], "order: has dtype bool"),
        (["a"], "order: has dtype <U1"),
        (None, "either order"),
        (3, r"order: has shape \(\)"),
        (np.zeros((2, 2, 2), int), r"order: has shape \(2, 2, 2\)"),
        (np.zeros((0, 4), int), r"order: has shape \(0, 4\)"),
        (np.zeros((2, 0), int), r"order: has shape \(2, 0\)"),
        (np.zeros((1, 5), int), "order: has 5 rows a step, expected at most batch_size = 4"),
        ([[0], [0, 1]], "order: cannot be made an array"),
    ],
)
def test_orders_that_do_not_fit_are_refused(order, message):
    trainer = a_trainer(batch_size=4)
    before = networks.numbers(trainer.model).tobytes()
    with pytest.raises((ValueError, TypeError), match=message):
        trainer.run(*GOOD["cross_entropy"], order)
    assert networks.numbers(trainer.model).tobytes() == before
    assert trainer.step_count == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "either order"),
        ({"order": [0], "steps": 1}, "either order"),
        ({"steps": -1}, r"run\(steps=-1\): steps must be at least 0"),
        ({"steps": 1.5}, r"run\(steps=1.5\): steps must be an integer"),
    ],
)
def test_runs_need_an_order_or_a_number_of_steps(arguments, message):
    with pytest.raises((ValueError, TypeError), match=message):
        a_trainer().run(*GOOD["cross_entropy"], **arguments)


@pytest.mark.parametrize(
    ("theta", "message"),
    [
        (np.zeros(3), r"theta: has shape \(3,\), expected \("),
        (np.zeros((2, 2)), r"theta: has shape \(2, 2\)"),
        (["a"], "theta: has dtype"),
    ],
)
def test_a_theta_that_does_not_fit_is_refused(theta, message):
    trainer = a_trainer()
    before = networks.numbers(trainer.model).tobytes()
    with pytest.raises((ValueError, TypeError), match=message):
        trainer.value_and_grad(theta, *GOOD["cross_entropy"])
    assert networks.numbers(trainer.model).tobytes() == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"loss": "cross_entrpy"}, "unknown loss 'cross_entrpy': did you mean 'cross_entropy'"),
        ({"loss": ["mse"]}, "unknown loss"),
        ({"loss": MSE}, r"loss=MSE: is a class, expected an instance of it: write MSE\(\)"),
        ({"loss": int}, "unknown loss"),
        ({"optimizer": "adm"}, "unknown optimizer 'adm': did you mean 'adam'"),
        ({"optimizer": Adam}, r"optimizer=Adam: is a class, expected an instance of it: write Adam\(\)"),
        ({"optimizer": {}}, "unknown optimizer"),
        ({"backend": "nunba"}, "unknown backend 'nunba': did you mean 'numba'"),
        ({"backend": None}, "unknown backend None"),
        ({"batch_size": 0}, r"Trainer\(batch_size=0\): batch_size must be at least 1"),
        ({"batch_size": 2.5}, r"Trainer\(batch_size=2.5\): batch_size must be an integer"),
        ({"batch_size": True}, r"Trainer\(batch_size=True\)"),
        ({"threads": 0}, r"Trainer\(threads=0\): threads must be at least 1"),
    ],
)
def test_a_trainer_of_unknown_or_impossible_parts_is_refused(arguments, message):
    with pytest.raises((ValueError, TypeError), match=message):
        Trainer(networks.network("relu", 5, 7, 3), **{"loss": "mse", **arguments})


def test_a_backend_that_is_not_there_says_how_to_get_it(monkeypatch):
    without = backends.Backends({"reference": "NumPy"}, {"c": "there is none; install one"}, "reference", "no other")
    monkeypatch.setattr(backends, "backends", lambda: without)
    with pytest.raises(RuntimeError, match="backend='c': not available: there is none; install one"):
        Trainer(networks.network("relu", 5, 7, 3), "mse", backend="c")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: SGD(lr=0), r"SGD\(lr=0\): lr must be above 0"),
        (lambda: SGD(lr=np.nan), r"SGD\(lr=nan\)"),
        (lambda: SGD(momentum=1.0), r"SGD\(momentum=1.0\): momentum must be below 1"),
        (lambda: Adam(lr=np.inf), r"Adam\(lr=inf\): lr must be finite"),
        (lambda: Adam(lr=10**400), r"Adam\(lr=1000"),
        (lambda: Adam(betas=(0.9, 1.0)), r"Adam\(betas=\(0.9, 1.0\)\): betas\[1\] must be below 1"),
        (lambda: Adam(betas=("a", 0.9)), r"Adam\(betas=\('a', 0.9\)\): betas\[0\] must be a number"),
        (lambda: Adam(betas=(0.9,)), r"Adam\(betas=\(0.9,\)\): betas must be two numbers"),
        (lambda: Adam(betas=0.9), r"Adam\(betas=0.9\): betas must be two numbers"),
        (lambda: Adam(eps=-1e-8), r"Adam\(eps=-1e-08\): eps must be at least 0"),
        (lambda: RMSProp(alpha=-0.1), r"RMSProp\(alpha=-0.1\): alpha must be at least 0"),
        (lambda: AdaGrad(lr="fast"), r"AdaGrad\(lr='fast'\): lr must be a number"),
        (lambda: Dense(0), r"Dense\(units=0\): units must be at least 1"),
        (lambda: Dense(2.0), r"Dense\(units=2.0\): units must be an integer"),
        (lambda: Dense(2, "rleu"), "unknown activation 'rleu': did you mean 'relu'"),
        (lambda: Dense(2, ""), "unknown activation ''"),
        (lambda: Dense(2, []), r"unknown activation \[\]"),
        (lambda: Dense(2, bias=1), r"Dense\(bias=1\): bias must be True or False"),
        (lambda: Dropout(1.0), r"Dropout\(rate=1.0\): rate must be below 1"),
        (lambda: Dropout(-0.1), r"Dropout\(rate=-0.1\): rate must be at least 0"),
    ],
)
def test_hyper_parameters_out_of_range_are_refused(make, message):
    with pytest.raises((ValueError, TypeError), match=message):
        make()


@pytest.mark.parametrize("rate", [-0.1, np.nan, np.inf, "0.1", None])
def test_a_rate_out_of_range_is_refused_and_the_old_one_stays(rate):
    trainer = a_trainer(optimizer=SGD(lr=0.5))
    with pytest.raises((ValueError, TypeError), match=r"Trainer\(lr="):
        trainer.lr = rate
    assert trainer.lr == 0.5


def test_each_layer_that_draws_gets_a_key_for_each_pass():
    trainer = Trainer(Sequential([Dense(4), Dropout(0.5), Dense(3), Dropout(0.2)], inputs=5), "mse")
    keys = trainer.dropout_keys(np.arange(6), np.zeros(6, np.int64))
    assert list(keys) == ["dropout_key1", "dropout_key3"]


def test_cross_entropy_of_one_output_points_to_bce():
    trainer = Trainer(Sequential([Dense(1)], inputs=5), "cross_entropy")
    with pytest.raises(ValueError, match=r"needs at least 2 outputs.*'bce'"):
        trainer.run(GOOD["mse"][0], np.zeros(9, int), steps=1)


# Ctrl-C.

INTERRUPTED = """
    import numpy as np, fastnn
    {setup}
    model = fastnn.Sequential([fastnn.Dense(200, "relu"), fastnn.Dense(200, "relu"), fastnn.Dense(4)], inputs=20)
    trainer = fastnn.Trainer(model, "cross_entropy", batch_size=64)
    generator = np.random.default_rng(0)
    X, y = generator.standard_normal((rows, 20)).astype("f"), generator.integers(0, 4, rows)
    data = trainer.bind(X, y)
    data.run(np.arange(64))
    start = trainer.step_count
    print("ready", flush=True)
    try:
        {run}
    except KeyboardInterrupt:
        finite = all(np.isfinite(weight).all() for weight in model.get_weights())
        print("interrupted", trainer.step_count - start, finite, flush=True)
"""


@pytest.mark.parametrize(
    ("setup", "run", "all_steps"),
    [
        ("rows = 64", "data.run_full(2_000_000)", 2_000_000),
        ("rows = 640", "data.run(np.resize(np.arange(640), 64 * 200_000))", 200_000),
        # One step of some thousand tiles, which ends in the middle of them.
        ("rows = 1_500_000", "data.run_full(200)", 200),
    ],
    ids=["full batch", "mini-batches", "tiles"],
)
def test_ctrl_c_stops_a_run_and_leaves_whole_parameters(setup, run, all_steps):
    script = textwrap.dedent(INTERRUPTED).format(setup=setup, run=run)
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", script], stdout=pipe, stderr=pipe, text=True) as process:
        assert process.stdout.readline() == "ready\n"
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(0.5)
        process.send_signal(signal.SIGINT)
        output, errors = process.communicate(timeout=60)
    assert "Traceback" not in errors
    word, steps, finite = output.split()
    assert (word, finite) == ("interrupted", "True")
    assert int(steps) < all_steps / 2


# Copies.


@pytest.mark.parametrize("steps_before", [0, 20])
@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda trainer: pickle.loads(pickle.dumps(trainer))])
def test_a_copied_trainer_trains_its_own_model_on_as_the_original_would(duplicate, steps_before):
    model = fnn.Sequential([fnn.Dense(8, activation="relu"), fnn.Dropout(0.2), fnn.Dense(3)], inputs=4)
    generator = np.random.default_rng(0)
    X, y, order = generator.standard_normal((64, 4)), generator.integers(0, 3, 64), generator.integers(0, 64, (20, 16))
    trainer = fnn.Trainer(model, "cross_entropy", "adam", batch_size=16)
    trainer.run(X, y, order[:steps_before]) if steps_before else None
    twin = duplicate(trainer)
    before = model.get_weights()
    losses = twin.run(X, y, order)
    assert all(np.array_equal(a, b) for a, b in zip(model.get_weights(), before, strict=True))
    assert np.array_equal(trainer.run(X, y, order), losses)
    assert all(np.array_equal(a, b) for a, b in zip(model.get_weights(), twin.model.get_weights(), strict=True))


def test_a_diverging_run_leaves_the_weights_from_before_it():
    model = fnn.Sequential([fnn.Dense(8, activation="relu"), fnn.Dense(1)], inputs=4)
    before = model.parameters.copy_state()
    trainer = fnn.Trainer(model, "mse", fnn.SGD(lr=1e6, momentum=0.9), batch_size=16)
    generator = np.random.default_rng(0)
    with pytest.raises(fnn.NonFiniteLoss):
        trainer.run(generator.standard_normal((64, 4)), generator.standard_normal(64), np.arange(64).repeat(50))
    assert np.array_equal(model.parameters.copy_state(), before)
    assert trainer.step_count == 0
