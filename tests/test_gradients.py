"""Every gradient against central differences in float64, and the tool that compares them against wrong gradients."""

import networks
import numpy as np
import pytest

from fastnn import Activation, BatchNorm, Dense, Dropout, Sequential, gradcheck
from fastnn.activations import ACTIVATIONS
from fastnn.kernels import OPERATIONS
from fastnn.losses import LOSSES

# The quotient with h = 1e-5 is good to some 1e-10; where both derivatives are small the error is relative to 1e-3 of
# the largest, and a wrong gradient is wrong in its first digits.
TOLERANCE = 1e-5


@pytest.mark.parametrize("backend", networks.BACKENDS)
@pytest.mark.parametrize("loss", networks.LOSSES)
@pytest.mark.parametrize("mix", networks.MIXES)
def test_gradients_of_every_mix_of_layers_agree_with_differences(mix, loss, backend):
    model = networks.network(mix, inputs=5, width=7, outputs=3)
    report = gradcheck(model, loss, *networks.data(loss, 9, 5, 3), backend=backend)
    assert report.error < TOLERANCE, report
    assert report.checked == model.count


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("place", ["fused", "layer", "before batch norm", "before dropout"])
def test_gradients_of_every_layer_activation_and_loss_agree_with_differences(place, activation, loss):
    hidden = {
        "fused": [Dense(6, activation), Dense(5, activation)],
        "layer": [Dense(6), Activation(activation), Dense(5), Activation(activation)],
        "before batch norm": [Dense(6, activation), BatchNorm(), Dense(5, activation), BatchNorm()],
        "before dropout": [Dense(6, activation), Dropout(0.3), Dense(5, activation), Dropout(0.3)],
    }[place]
    outputs = networks.outputs_for(loss, 4)
    # Small outputs: the likelihood of a variance below its least has a kink there.
    last = Dense(outputs, weight_init="small_normal" if loss == "gaussian" else None)
    model = Sequential([*hidden, last], inputs=3, dtype="float64", seed=11)
    report = gradcheck(model, loss, *networks.data(loss, 11, 3, outputs))
    assert report.error < TOLERANCE, report


@pytest.mark.parametrize("loss", networks.LOSSES)
@pytest.mark.parametrize(("rows", "width"), [(1, 1), (1, 17), (16, 1), (33, 16), (2, 33)])
def test_gradients_at_the_edges_of_vectors_agree_with_differences(rows, width, loss):
    outputs = 2 if loss == "cross_entropy" else 1
    model = networks.network("tanh", inputs=1, width=width, outputs=outputs)
    report = gradcheck(model, loss, *networks.data(loss, rows, 1, outputs), samples=200)
    assert report.error < TOLERANCE, report


def test_gradients_of_a_batch_in_several_tiles_agree_with_differences():
    model = networks.network("dropout after tanh", inputs=4, width=5, outputs=3)
    report = gradcheck(model, "cross_entropy", *networks.data("cross_entropy", 1201, 4, 3))
    assert report.error < TOLERANCE, report


@pytest.mark.parametrize("activation", ["relu", "tanh", "sigmoid", "elu", "silu"])
def test_gradients_through_a_layer_of_more_than_1000_units_agree_with_differences(activation):
    # Sums of more than 1000 terms are taken in parts; the place of the first part once was that of the activations.
    model = Sequential([Dense(130, activation), Dense(1100, activation), Dense(3)], inputs=4, dtype="float64")
    X, y = networks.data("cross_entropy", 6, 4, 3)
    report = gradcheck(model, "cross_entropy", X, y, samples=150)
    assert report.error < TOLERANCE, report


@pytest.mark.parametrize(
    ("operation", "activation"),
    [("relu_backward", "relu"), ("tanh_backward", "tanh"), ("sigmoid_backward", "sigmoid")],
)
def test_gradcheck_notices_a_wrong_derivative_of_an_activation(monkeypatch, operation, activation):
    right = OPERATIONS[operation]

    def wrong(dx, dy, y):
        right.reference(dx, dy, y)
        dx *= 1.01

    monkeypatch.setitem(OPERATIONS, operation, right._replace(reference=wrong))
    model = Sequential([Dense(4, activation), BatchNorm(), Dense(2)], inputs=3, dtype="float64")
    X, y = networks.data("mse", 8, 3, 2)
    report = gradcheck(model, "mse", X, y, backend="reference")
    assert report.error > 100 * TOLERANCE
    assert report.parameter.startswith("layers.0.")


def test_gradcheck_notices_a_loss_whose_gradient_is_off_by_a_thousandth(monkeypatch):
    right = OPERATIONS["mse"]

    def wrong(dz, *others):
        right.reference(dz, *others)
        dz *= 1.001

    monkeypatch.setitem(OPERATIONS, "mse", right._replace(reference=wrong))
    model = Sequential([Dense(2)], inputs=3)
    report = gradcheck(model, "mse", *networks.data("mse", 8, 3, 2), backend="reference")
    assert 0.9e-3 < report.error < 1.1e-3


def test_gradcheck_leaves_the_model_as_it_was():
    model = networks.network("all kinds", inputs=3, width=4, outputs=2, dtype="float32")
    before = networks.numbers(model)
    gradcheck(model, "mse", *networks.data("mse", 8, 3, 2), samples=5)
    assert networks.numbers(model).tobytes() == before.tobytes()


def test_gradcheck_reports_what_it_compared():
    model = Sequential([Dense(4, "tanh"), Dense(2)], inputs=3)
    report = gradcheck(model, "mse", *networks.data("mse", 8, 3, 2), samples=7)
    assert report.checked == 7
    layer, kind = report.parameter.split(".")[1:]
    shape = next(e.shape for e in model.parameters.entries if (e.layer, e.kind) == (int(layer), kind))
    assert all(0 <= index < length for index, length in zip(report.place, shape, strict=True))
    assert np.isclose(report.analytic, report.numeric, rtol=1e-4)


@pytest.mark.parametrize(("argument", "value"), [("step", 0.0), ("step", np.nan), ("samples", 0), ("samples", 1.5)])
def test_gradcheck_refuses_arguments_out_of_range(argument, value):
    model = Sequential([Dense(2)], inputs=3)
    with pytest.raises((ValueError, TypeError), match=argument):
        gradcheck(model, "mse", *networks.data("mse", 8, 3, 2), **{argument: value})
