"""Sequential: construction, starting values, weights, copies, prediction, files."""

import copy
import json
import pickle
from concurrent.futures import ThreadPoolExecutor

import cases
import numpy as np
import pytest

from fastnn import storage
from fastnn.initializers import he_normal, xavier_uniform
from fastnn.layers import Activation, BatchNorm, Dense, Dropout
from fastnn.model import Sequential, load
from fastnn.storage import ModelFileError

rng = np.random.default_rng(11)


def net(dtype="float32", seed=0, inputs=5, outputs=3):
    layers = [
        Dense(7, activation="relu"),
        BatchNorm(),
        Dropout(0.2),
        Dense(4, bias=False),
        Activation("tanh"),
        Dense(outputs),
    ]
    return Sequential(layers, inputs=inputs, dtype=dtype, seed=seed)


def scrambled(**arguments):
    """A model none of whose numbers is a round one."""
    model = net(**arguments)
    model.set_weights([np.abs(rng.standard_normal(w.shape)) for w in model.get_weights()])
    return model


def same_weights(a, b):
    return all(np.array_equal(u, v) for u, v in zip(a.get_weights(), b.get_weights(), strict=True))


def test_attributes():
    model = net(dtype=np.float64, seed=3)
    assert (model.inputs, model.outputs, model.seed, model.loss) == (5, 3, 3, None)
    assert model.dtype == np.float64
    assert isinstance(model.layers, tuple)
    assert model.count == (5 * 7 + 7) + (7 + 7) + 7 * 4 + (4 * 3 + 3)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"layers": []}, ValueError, "at least one layer"),
        ({"layers": "Dense"}, TypeError, "expected a list of layers"),
        ({"layers": Dense(3)}, TypeError, "expected a list of layers"),
        ({"layers": [Dense(3), Dense]}, TypeError, r"layers\[1\] is <class .*arguments in brackets"),
        ({"layers": [Dense(3), 4]}, TypeError, r"layers\[1\] is 4, expected one of .*Dense"),
        ({"inputs": 0}, ValueError, r"Sequential\(inputs=0\): inputs must be at least 1"),
        ({"inputs": 2.5}, TypeError, r"Sequential\(inputs=2.5\)"),
        ({"dtype": "float16"}, ValueError, r"Sequential\(dtype='float16'\): expected one of float32, float64"),
        ({"dtype": "floaty"}, ValueError, r"Sequential\(dtype='floaty'\)"),
        ({"dtype": None}, ValueError, r"Sequential\(dtype=None\)"),
        ({"seed": -1}, ValueError, r"Sequential\(seed=-1\): seed must be at least 0"),
        ({"seed": None}, TypeError, r"Sequential\(seed=None\)"),
    ],
)
def test_wrong_arguments_are_refused(arguments, error, message):
    with pytest.raises(error, match=message):
        Sequential(**{"layers": [Dense(3)], "inputs": 5, **arguments})


def test_weights_are_listed_in_layer_order():
    shapes = [w.shape for w in net().get_weights()]
    assert shapes == [(5, 7), (7,), (7,), (7,), (7,), (7,), (7, 4), (4, 3), (3,)]


def test_biases_start_at_zero_and_batch_norm_as_the_identity():
    _, bias, gamma, beta, mean, variance, _, _, last_bias = net().get_weights()
    for zero in (bias, beta, mean, last_bias):
        assert not zero.any()
    for one in (gamma, variance):
        assert (one == 1).all()


def test_float32_starts_as_float64_rounded():
    for single, double in zip(net("float32").get_weights(), net("float64").get_weights(), strict=True):
        assert (single.dtype, double.dtype) == (np.float32, np.float64)
        np.testing.assert_array_equal(single, double.astype(np.float32))


def test_a_layers_start_does_not_depend_on_the_layers_after_it():
    first = Sequential([Dense(7), Dense(2)], inputs=5).get_weights()[0]
    np.testing.assert_array_equal(first, Sequential([Dense(7), Dense(3), Dense(3)], inputs=5).get_weights()[0])


def test_seed_decides_the_start():
    assert same_weights(net(seed=4), net(seed=4))
    assert not np.isin(net(seed=4).get_weights()[0], net(seed=5).get_weights()[0]).any()


@pytest.mark.parametrize(
    ("layers", "expected"),
    [
        ([Dense(400, activation="relu")], he_normal),
        ([Dense(400), Activation("relu")], he_normal),
        ([Dense(400), BatchNorm(), Dropout(0.1), Activation("relu")], he_normal),
        ([Dense(400, activation="identity"), Activation("relu")], he_normal),
        ([Dense(400, activation="tanh"), Activation("relu")], xavier_uniform),
        ([Dense(400)], xavier_uniform),
        ([Dense(400), Dense(3, activation="relu")], xavier_uniform),
        ([Dense(400, weight_init="he_normal", activation="tanh")], he_normal),
    ],
)
def test_the_activation_behind_a_layer_chooses_its_start(layers, expected):
    from fastnn.initializers import draw, stream

    weight = Sequential(layers, inputs=100, dtype="float64").get_weights()[0]
    np.testing.assert_array_equal(weight, draw(expected, stream(0), 0, "weight", (100, 400), 100))


def test_one_layer_object_may_be_used_twice():
    layer = Dense(6)
    first, _, second, _ = Sequential([layer, layer, Activation("relu")], inputs=6, dtype="float64").get_weights()
    assert np.abs(first).max() <= np.sqrt(6 / 12)
    assert not np.array_equal(first, second)


def test_set_weights_replaces_all_numbers():
    model, other = net(), scrambled()
    model.set_weights(other.get_weights())
    assert same_weights(model, other)
    X = rng.standard_normal((9, 5))
    np.testing.assert_array_equal(model.predict(X), other.predict(X))


def test_get_weights_gives_copies():
    model = net()
    model.get_weights()[0][...] = 7
    assert not (model.get_weights()[0] == 7).any()


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (lambda w: w[:-1], ValueError, "8 arrays given, this model has 9"),
        (lambda w: [*w[:-1], w[-1][:-1]], ValueError, r"bias of layer 5: shape \(2,\), expected \(3,\)"),
        (lambda w: [w[0].T, *w[1:]], ValueError, r"weight of layer 0: shape \(7, 5\), expected \(5, 7\)"),
        (lambda w: [*w[:-1], w[-1] * np.nan], ValueError, "bias of layer 5: holds NaN"),
        (lambda w: [*w[:-1], np.full(3, 1e300)], ValueError, "beyond float32"),
        (lambda w: [*w[:-1], ["a", "b", "c"]], TypeError, "expected numbers"),
        (lambda w: [*w[:-1], w[-1] * 1j], TypeError, "expected numbers"),
        (lambda w: [*w[:5], -w[5], *w[6:]], ValueError, r"running_var of layer 1: holds -.*, expected at least 0"),
    ],
)
def test_wrong_weights_are_refused_and_nothing_is_changed(change, error, message):
    model = scrambled()
    before = model.get_weights()
    with pytest.raises(error, match=message):
        model.set_weights(change([w + 1 for w in before]))
    for now, then in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(now, then)


def test_a_layer_says_itself_what_its_numbers_start_at_and_how_low_they_may_be(monkeypatch):
    monkeypatch.setattr(BatchNorm, "initial", {"beta": 0.5, "running_mean": 3.0})
    monkeypatch.setattr(BatchNorm, "minimum", {"beta": 0.25})
    model = Sequential([BatchNorm()], inputs=2)
    gamma, beta, mean, variance = model.get_weights()
    for values, start in ((gamma, 0), (beta, 0.5), (mean, 3), (variance, 0)):
        np.testing.assert_array_equal(values, [start, start])
    model.set_weights([gamma, beta, mean, variance - 1])
    with pytest.raises(ValueError, match=r"beta of layer 0: holds 0.0, expected at least 0.25"):
        model.set_weights([gamma, beta - 0.5, mean, variance])


@pytest.mark.parametrize(
    "duplicate", [Sequential.copy, copy.copy, copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))]
)
def test_copies_are_equal_and_independent(duplicate):
    model = scrambled(dtype="float64", seed=9)
    twin = duplicate(model)
    assert (twin.layers, twin.inputs, twin.dtype, twin.seed) == (model.layers, model.inputs, model.dtype, model.seed)
    assert same_weights(model, twin)
    X = rng.standard_normal((4, 5))
    before = model.predict(X)
    np.testing.assert_array_equal(twin.predict(X), before)
    twin.set_weights([w * 0 + 1 for w in twin.get_weights()])
    assert not np.array_equal(twin.predict(X), before)
    np.testing.assert_array_equal(model.predict(X), before)


def test_summary_and_repr():
    model = net()
    lines = str(model).splitlines()
    assert lines[0] == "Sequential: 5 inputs, 3 outputs, float32, seed 0"
    assert lines[1].split() == ["layer", "outputs", "parameters"]
    assert "Dense(7, activation='relu')" in lines[2]
    assert lines[2].split()[-2:] == ["7", "42"]
    assert "Dense(4, bias=False)" in lines[5]
    assert lines[-1].split() == ["total", str(model.count)]
    assert len({len(line.rstrip()) for line in lines[1:]}) == 1
    names = {
        "Sequential": Sequential,
        "Dense": Dense,
        "BatchNorm": BatchNorm,
        "Dropout": Dropout,
        "Activation": Activation,
    }
    assert same_weights(eval(repr(model), names), model)


def expected_outputs(model, X):
    """The network above in NumPy, float64."""
    W0, b0, gamma, beta, mean, variance, W1, W2, b2 = (w.astype(np.float64) for w in model.get_weights())
    h = np.maximum(X @ W0 + b0, 0)
    h = gamma * (h - mean) / np.sqrt(variance + 1e-5) + beta
    return np.tanh(h @ W1) @ W2 + b2


@pytest.mark.parametrize("rows", [1, 2, 31, 33, 1000])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_predict_is_the_network_in_inference_mode(rows, dtype):
    model = scrambled(dtype=dtype)
    X = rng.standard_normal((rows, 5)).astype(dtype)
    outputs = model.predict(X)
    assert outputs.dtype == dtype
    tolerance = 200 * np.finfo(dtype).eps
    np.testing.assert_allclose(outputs, expected_outputs(model, X.astype(np.float64)), rtol=tolerance, atol=tolerance)


def test_predict_in_pieces_gives_the_same_bits(monkeypatch):
    from fastnn import scoring

    model = scrambled()
    X = rng.standard_normal((1500, 5))
    whole = model.predict(X)
    monkeypatch.setattr(scoring, "PIECE_WORK", 1)
    np.testing.assert_array_equal(model.predict(X), whole)


def test_predict_may_be_called_from_several_threads():
    model = scrambled()
    blocks = [rng.standard_normal((rows, 5)) for rows in (1, 700, 33, 64) * 8]
    expected = [model.predict(X) for X in blocks]
    with ThreadPoolExecutor(4) as pool:
        for found, wanted in zip(pool.map(model.predict, blocks), expected, strict=True):
            np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize(
    "form",
    [
        lambda X: X[:, ::-1][:, ::-1],
        np.asfortranarray,
        lambda X: X.astype(">f8"),
        lambda X: X.tolist(),
        lambda X: np.concatenate([X, X], axis=1)[:, :5],
    ],
)
def test_predict_takes_any_form_of_array(form):
    model = scrambled(dtype="float64")
    X = rng.standard_normal((6, 5))
    X.flags.writeable = False
    np.testing.assert_array_equal(model.predict(form(X)), model.predict(X))


def test_outputs_are_not_overwritten_by_the_next_call():
    model = scrambled()
    first = model.predict(np.ones((3, 5)))
    kept = first.copy()
    model.predict(np.zeros((3, 5)))
    np.testing.assert_array_equal(first, kept)


@pytest.mark.parametrize(
    ("X", "error"),
    [
        (np.ones((3, 4)), ValueError),
        (np.ones(5), ValueError),
        (np.ones((0, 5)), ValueError),
        (np.full((3, 5), np.nan), ValueError),
        (np.array([["a"] * 5]), TypeError),
        (np.ones((3, 5)) * 1j, TypeError),
    ],
)
def test_predict_refuses_bad_input(X, error):
    with pytest.raises(error, match=r"^X: "):
        net().predict(X)


def test_predict_accepts_nan_where_told():
    assert np.isnan(net().predict(np.full((1, 5), np.nan), allow_nonfinite=True)).all()


def test_evaluate_gives_loss_and_metrics():
    model = scrambled(dtype="float64")
    X, y = rng.standard_normal((50, 5)), rng.integers(0, 3, 50)
    z = expected_outputs(model, X)
    p = np.exp(z - z.max(axis=1, keepdims=True))
    p /= p.sum(axis=1, keepdims=True)
    scores = model.evaluate(X, y, loss="cross_entropy")
    assert scores.keys() == {"loss", "accuracy"}
    assert scores["loss"] == pytest.approx(-np.log(p[np.arange(50), y]).mean(), rel=1e-12)
    assert scores["accuracy"] == np.mean(z.argmax(axis=1) == y)
    T = rng.standard_normal((50, 3))
    scores = model.evaluate(X, T, metrics=("r2", "rmse", worst), loss="mse")
    assert scores.keys() == {"loss", "r2", "rmse", "worst"}
    assert scores["loss"] == pytest.approx(np.mean((z - T) ** 2), rel=1e-12)
    assert scores["worst"] == pytest.approx(np.abs(z - T).max(), rel=1e-12)


def worst(outputs, targets):
    return np.abs(outputs - targets).max()


@pytest.mark.parametrize("loss", ["cross_entropy", "mse", "bce"])
def test_outputs_that_overflow_are_scored_without_a_warning(loss):
    model = net()
    model.set_weights([np.full_like(w, 3e38) for w in model.get_weights()])
    y = np.ones(4, int) if loss == "cross_entropy" else np.ones((4, 3))
    assert not np.isfinite(model.evaluate(np.ones((4, 5)), y, loss=loss)["loss"])


def test_evaluate_needs_a_loss():
    with pytest.raises(ValueError, match=r"evaluate\(loss=None\): this model was not fitted yet, say one of .*mse"):
        net().evaluate(np.ones((2, 5)), [0, 1])


def test_evaluate_names_the_argument():
    with pytest.raises(ValueError, match=r"^y: row 1 is 3, expected labels from 0 to 2"):
        net().evaluate(np.ones((2, 5)), [0, 3], loss="cross_entropy")
    with pytest.raises(ValueError, match=r"^y: has 3 rows, expected 2"):
        net().evaluate(np.ones((2, 5)), [0, 1, 2], loss="cross_entropy")


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_saved_model_comes_back_whole(tmp_path, dtype):
    model = scrambled(dtype=dtype, seed=12)
    model.fit(np.ones((4, 5)), [0, 1, 2, 0], loss="cross_entropy", epochs=1, progress=False)
    model.save(tmp_path / "net.safetensors", extra={"columns": ["a", "b"]})
    other = load(tmp_path / "net.safetensors")
    assert same_weights(model, other)
    assert (other.layers, other.inputs, other.dtype, other.seed) == (model.layers, 5, model.dtype, 12)
    assert other.loss == model.loss
    assert storage.read_extra(tmp_path / "net.safetensors") == {"columns": ["a", "b"]}
    X = rng.standard_normal((20, 5))
    np.testing.assert_array_equal(model.predict(X), other.predict(X))
    assert model.evaluate(X, np.zeros(20, int)) == other.evaluate(X, np.zeros(20, int))


def test_a_model_can_be_saved_before_training(tmp_path):
    net().save(str(tmp_path / "net"))
    assert load(str(tmp_path / "net")).loss is None


def test_tensors_have_the_names_of_their_layers(tmp_path):
    model = net()
    model.save(tmp_path / "net")
    tensors = storage.read(tmp_path / "net").tensors
    assert sorted(tensors) == [
        "layers.0.bias",
        "layers.0.weight",
        "layers.1.beta",
        "layers.1.gamma",
        "layers.1.running_mean",
        "layers.1.running_var",
        "layers.3.weight",
        "layers.5.bias",
        "layers.5.weight",
    ]
    np.testing.assert_array_equal(tensors["layers.0.weight"], model.get_weights()[0])


def damage(description, tensors, what):
    """The parts of a model file with one thing wrong."""
    description, tensors = json.loads(json.dumps(description)), dict(tensors)
    if what == "layer":
        description["layers"][0]["type"] = "Conv"
    elif what == "field":
        description["layers"][0]["groups"] = 2
    elif what == "value":
        description["layers"][2]["rate"] = 1.5
    elif what == "layers":
        description["layers"] = 3
    elif what == "no inputs":
        del description["inputs"]
    elif what == "inputs":
        description["inputs"] = "many"
    elif what == "dtype":
        description["dtype"] = "float64"
    elif what == "loss":
        description["loss"] = {"type": "Hinges"}
    elif what == "missing":
        del tensors["layers.0.bias"]
    elif what == "surplus":
        tensors["layers.9.weight"] = np.zeros(3)
    elif what == "shape":
        tensors["layers.0.bias"] = np.zeros(8, np.float32)
    return description, tensors


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("layer", "unknown layer 'Conv'"),
        ("field", "layer Dense: unknown field 'groups'"),
        ("value", "Dropout.rate=1.5.: rate must be below 1"),
        ("layers", "not an object with layers"),
        ("no inputs", "no 'inputs' in the description"),
        ("inputs", "inputs must be an integer"),
        ("dtype", "tensor 'layers.0.weight' is float32"),
        ("loss", "unknown loss 'Hinges'"),
        ("missing", "tensor 'layers.0.bias' is missing"),
        ("surplus", "tensor 'layers.9.weight' belongs to none of the layers"),
        ("shape", r"tensor 'layers.0.bias' is float32 \(8,\), expected float32 \(7,\)"),
    ],
)
def test_files_that_do_not_fit_are_refused(tmp_path, what, message):
    path = tmp_path / "net"
    net().save(path)
    contents = storage.read(path)
    description, tensors = damage(contents.model, contents.tensors, what)
    storage.write(path, tensors, description)
    with pytest.raises(ModelFileError, match=message) as caught:
        load(path)
    assert str(caught.value).startswith(f"{path}: ")


@pytest.mark.parametrize("backend", ["reference", *cases.COMPILED])
def test_small_predictions_are_right_however_many_rows_come_in_turn(backend: str) -> None:
    model = Sequential([Dense(5), Dense(3)], inputs=4, seed=0)
    X = np.random.default_rng(0).standard_normal((5000, 4)).astype(np.float32)
    whole = model.predict(X, backend=backend)  # too large to be copied to a pass that is ready
    first = model.predict(X[:7], backend=backend)
    kept = first.copy()
    for rows in (1, 16, 17, 7, 64, 65, 2, 3, 4, 5, 6, 8, 9, 10, 512, 7, 1):  # more than are kept, and some again
        found = model.predict(X[100 : 100 + rows], backend=backend)
        np.testing.assert_allclose(found, whole[100 : 100 + rows], rtol=2e-5, atol=1e-6)
    np.testing.assert_array_equal(first, kept)  # what was given away is not written to
    np.testing.assert_array_equal(model.predict(X[:7], backend=backend), kept)


def test_one_predictor_serves_several_threads() -> None:
    model = Sequential([Dense(64), Dense(3)], inputs=4, seed=0)
    predictor = model.predictor()
    inputs = [np.full((9, 4), value, np.float32) for value in range(4)]
    expected = [predictor.run(X) for X in inputs]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda index: predictor.run(inputs[index % 4]), range(2000)))
    assert all(np.array_equal(result, expected[index % 4]) for index, result in enumerate(found))


def test_small_predictions_follow_the_weights() -> None:
    model = Sequential([Dense(3)], inputs=2, seed=0)
    X = np.ones((1, 2), np.float32)
    before = model.predict(X)
    model.set_weights([2 * weight for weight in model.get_weights()])
    np.testing.assert_array_equal(model.predict(X), 2 * before)
