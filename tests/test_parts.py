"""The parts for those who bring their own loop or loss: forward of a batch, backward from a given gradient, a step."""

import networks
import numpy as np
import pytest

from fastnn import SGD, Adam, Trainer


def loss_gradient(loss, z, y):
    """The gradient of a mean loss with respect to the outputs z (rows, outputs), written by hand."""
    if loss == "mse":
        return 2 * (z - y) / z.size
    if loss == "bce":
        return (1 / (1 + np.exp(-z)) - y) / z.size
    e = np.exp(z - z.max(axis=1, keepdims=True))
    p = e / e.sum(axis=1, keepdims=True)
    p[np.arange(len(z)), y] -= 1
    return p / len(z)


def trainers(mix, loss, backend, dtype="float64", optimizer=None):
    """The same network twice: for the loop of the library, and for one's own."""
    whole, parts = (networks.network(mix, 5, 7, 3, dtype) for _ in range(2))
    optimizer = optimizer or Adam(lr=0.01)
    return (
        Trainer(whole, loss, optimizer, batch_size=8, backend=backend),
        Trainer(parts, optimizer=optimizer, batch_size=8, backend=backend),
    )


@pytest.mark.parametrize("backend", networks.BACKENDS)
@pytest.mark.parametrize("loss", networks.LOSSES)
@pytest.mark.parametrize("mix", networks.MIXES)
def test_gradients_of_a_loss_written_by_hand_are_those_of_the_built_in_one(mix, loss, backend):
    whole, parts = trainers(mix, loss, backend)
    X, y = networks.data(loss, 8, 5, 3)
    parts.backward(loss_gradient(loss, parts.forward(X), y))
    whole.run(X, y, np.arange(8))
    for mine, theirs in zip(parts.gradients, whole.gradients, strict=True):
        scale = max(np.abs(theirs).max(initial=0), 1e-3)
        np.testing.assert_allclose(mine, theirs, rtol=1e-12, atol=1e-12 * scale)


@pytest.mark.parametrize("backend", networks.BACKENDS)
@pytest.mark.parametrize("optimizer", [SGD(), SGD(momentum=0.9), Adam()])
@pytest.mark.parametrize("mix", ["relu", "batch norm last", "all kinds"])
def test_a_loop_of_ones_own_trains_as_run_does(mix, optimizer, backend):
    whole, parts = trainers(mix, "mse", backend, optimizer=optimizer)
    X, y = networks.data("mse", 29, 5, 3)
    order = np.random.default_rng(1).permutation(29)
    order = np.tile(order, 4)
    losses = whole.run(X, y, order)
    own, batches = [], [order[start : start + 8] for start in range(0, len(order), 8)]
    for rows in batches:
        z = parts.forward(X[rows])
        own.append(np.mean((z - y[rows]) ** 2))
        parts.backward(loss_gradient("mse", z, y[rows]))
        parts.step()
    np.testing.assert_allclose(own, losses, rtol=1e-9)
    np.testing.assert_allclose(networks.numbers(parts.model), networks.numbers(whole.model), rtol=1e-8, atol=1e-10)
    assert parts.step_count == whole.step_count == len(batches)


@pytest.mark.parametrize("backend", networks.BACKENDS)
def test_a_loop_that_computes_the_same_gradient_gives_the_bits_of_run(backend):
    """2 (z - t) / 16 is exact in steps of powers of two: the gradient by hand has the bits of the kernel's."""
    whole, parts = (
        Trainer(networks.network("all kinds", 5, 7, 2, "float32"), loss, SGD(lr=0.1), batch_size=8, backend=backend)
        for loss in ("mse", None)
    )
    X, y = networks.data("mse", 24, 5, 2, "float32")
    order = np.random.default_rng(1).permutation(24)
    whole.run(X, y, order)
    for rows in order.reshape(3, 8):
        parts.backward((parts.forward(X[rows]) - y[rows]) / 8)
        parts.step()
    assert networks.numbers(parts.model).tobytes() == networks.numbers(whole.model).tobytes()
    for mine, theirs in zip(parts.gradients, whole.gradients, strict=True):
        assert mine.tobytes() == theirs.tobytes()


def test_batches_of_any_size_follow_each_other():
    _, parts = trainers("relu", "mse", "auto")
    for rows in (1, 33, 2, 8, 700, 3):
        X, y = networks.data("mse", rows, 5, 3)
        z = parts.forward(X)
        assert z.shape == (rows, 3)
        parts.backward(loss_gradient("mse", z, y))
        before = networks.numbers(parts.model)
        parts.step()
        assert (networks.numbers(parts.model) != before).any()


def test_outputs_are_a_copy_that_later_passes_leave_alone():
    _, parts = trainers("relu", "mse", "auto")
    X, _ = networks.data("mse", 8, 5, 3)
    first = parts.forward(X)
    kept = first.copy()
    parts.forward(-X)
    assert first.tobytes() == kept.tobytes()
    assert first.flags.c_contiguous


def test_gradients_are_copies_with_the_shapes_of_the_parameters():
    _, parts = trainers("all kinds", "mse", "auto")
    X, y = networks.data("mse", 8, 5, 3)
    parts.backward(loss_gradient("mse", parts.forward(X), y))
    assert [g.shape for g in parts.gradients] == [entry.shape for entry in parts.model.parameters.entries]
    parts.gradients[0][...] = 7
    assert not (parts.gradients[0] == 7).any()


def test_parts_out_of_order_are_refused():
    _, parts = trainers("relu", "mse", "auto")
    X, y = networks.data("mse", 8, 5, 3)
    before = networks.numbers(parts.model)
    with pytest.raises(RuntimeError, match=r"backward\(\): call forward\(\) first"):
        parts.backward(y)
    with pytest.raises(RuntimeError, match=r"step\(\): call backward\(\) first"):
        parts.step()
    parts.forward(X)
    with pytest.raises(RuntimeError, match=r"step\(\): call backward\(\) first"):
        parts.step()
    assert networks.numbers(parts.model).tobytes() == before.tobytes()
    parts.backward(y)
    with pytest.raises(RuntimeError, match="each forward"):
        parts.backward(y)
    parts.step()
    with pytest.raises(RuntimeError, match="each backward"):
        parts.step()
    assert parts.step_count == 1


def test_a_run_in_between_leaves_no_gradient_for_a_step():
    whole, _ = trainers("relu", "mse", "auto")
    X, y = networks.data("mse", 8, 5, 3)
    whole.forward(X)
    whole.run(X, y, steps=1)
    with pytest.raises(RuntimeError, match="forward"):
        whole.backward(y)
    whole.forward(X)
    whole.backward(y)
    whole.value_and_grad(whole.model.parameters.flatten(whole.model.parameters.arena), X, y)
    with pytest.raises(RuntimeError, match="backward"):
        whole.step()


@pytest.mark.parametrize(
    ("doutputs", "error"),
    [
        (np.zeros((7, 3)), r"doutputs: has 7 rows, expected 8"),
        (np.zeros((8, 2)), r"doutputs: has shape \(8, 2\), expected \(rows, 3\)"),
        (np.zeros(8), r"doutputs: has shape \(8,\)"),
        (np.full((8, 3), "a"), "doutputs: has dtype"),
    ],
)
def test_gradients_that_do_not_fit_are_refused_and_forward_need_not_be_repeated(doutputs, error):
    _, parts = trainers("relu", "mse", "auto")
    X, y = networks.data("mse", 8, 5, 3)
    parts.forward(X)
    with pytest.raises((ValueError, TypeError), match=error):
        parts.backward(doutputs)
    parts.backward(y)
    parts.step()


def test_a_step_without_a_loss_uses_the_learning_rate_in_force():
    _, parts = trainers("one layer", "mse", "auto", optimizer=SGD(lr=1.0))
    parts.lr = 0.25
    X, _ = networks.data("mse", 8, 5, 3)
    before = parts.model.get_weights()
    parts.forward(X)
    parts.backward(np.ones((8, 3)))
    parts.step()
    for old, new, gradient in zip(before, parts.model.get_weights(), parts.gradients, strict=True):
        np.testing.assert_allclose(new, old - 0.25 * gradient, rtol=1e-14, atol=1e-14)


def test_without_a_loss_there_is_nothing_to_run():
    _, parts = trainers("relu", "mse", "auto")
    with pytest.raises(ValueError, match=r"Trainer\(loss=None\).*forward\(\), backward\(\) and step\(\)"):
        parts.run(*networks.data("mse", 8, 5, 3), steps=1)
