"""Starting values: distribution, default by activation, and independence of everything but seed, layer and shape."""

import math

import numpy as np
import pytest

import fastnn as fnn
from fastnn import initializers, randomness
from fastnn.activations import ACTIVATIONS
from fastnn.initializers import INITIALIZERS, VarianceScaling, default_initializer, draw, get_initializer, stream
from fastnn.kernels import OPERATIONS


def generator(seed=0):
    return randomness.generator(randomness.key(seed, randomness.INITIALIZE), 0)


def test_a_stream_draws_as_its_generators_do():
    key = randomness.key(3, randomness.SHUFFLE)
    stream = randomness.Stream(key)
    for index in (0, 5, 1, 5, 2**64 - 1):
        # Odd numbers of 32-bit draws leave half a word behind, which the next index must not see.
        expected = randomness.generator(key, index)
        found = stream.at(index)
        for _ in range(3):
            assert found.integers(0, 2**31, dtype=np.int32) == expected.integers(0, 2**31, dtype=np.int32)
        np.testing.assert_array_equal(found.permutation(99), expected.permutation(99))


@pytest.mark.parametrize(
    ("name", "variance"),
    [
        ("he_normal", 2 / 300),
        ("he_uniform", 2 / 300),
        ("xavier_normal", 2 / (300 + 700)),
        ("xavier_uniform", 2 / (300 + 700)),
        ("lecun_normal", 1 / 300),
        ("lecun_uniform", 1 / 300),
        ("normal", 1.0),
        ("small_normal", 1e-4),
        ("torch_linear", 1 / (3 * 300)),
    ],
)
def test_mean_and_variance_are_those_of_the_paper(name, variance):
    values = get_initializer(name)(generator(), (300, 700))
    assert values.dtype == np.float64
    n = values.size
    # Five standard errors; the fourth moment of a normal is 3, of a uniform 1.8 variances squared.
    assert abs(values.mean()) < 5 * math.sqrt(variance / n)
    assert abs(values.var() / variance - 1) < 5 * math.sqrt(2 / n)
    if name.endswith("uniform") or name == "torch_linear":
        limit = math.sqrt(3 * variance)
        assert 0.999 * limit < np.abs(values).max() <= limit
    else:
        # Not truncated: among 210,000 normal numbers some lie beyond four standard deviations.
        assert np.abs(values).max() > 4 * math.sqrt(variance)


@pytest.mark.parametrize(("name", "value"), [("zeros", 0.0), ("ones", 1.0)])
def test_constants_are_the_same_everywhere(name, value):
    assert (get_initializer(name)(generator(), (3, 4)) == value).all()
    assert (initializers.Constant(-2.5)(generator(), (3,)) == -2.5).all()


def test_truncated_normal_numbers_stay_within_the_cut():
    values = initializers.TruncatedNormal(deviation=3.0, mean=1.0, cut=1.5)(generator(), (400, 500))
    assert 1.499 * 3 < np.abs(values - 1).max() <= 1.5 * 3
    # Variance of N(0, 1) within +-1.5: 1 - 2 c phi(c) / (2 Phi(c) - 1).
    variance = 9 * (1 - 3 * math.exp(-1.125) / math.sqrt(2 * math.pi) / math.erf(1.5 / math.sqrt(2)))
    assert abs(values.var() / variance - 1) < 5 * math.sqrt(2 / values.size)
    assert abs(values.mean() - 1) < 5 * math.sqrt(variance / values.size)


def test_truncated_variance_scaling_has_the_variance_asked_for():
    values = VarianceScaling(2.0, "out", "truncated_normal")(generator(), (700, 300))
    assert abs(values.var() / (2 / 300) - 1) < 5 * math.sqrt(2 / values.size)
    assert np.abs(values).max() <= 2 * math.sqrt(2 / 300) / 0.87962566


@pytest.mark.parametrize("shape", [(30, 50), (50, 30), (40, 40), (7, 1), (1, 7), (9,)])
def test_orthogonal_rows_or_columns_are_orthonormal(shape):
    values = initializers.Orthogonal(gain=3.0)(generator(), shape) / 3.0
    assert values.shape == shape
    matrix = values.reshape(shape[0], -1)
    if shape[0] < matrix.shape[1]:
        matrix = matrix.T
    np.testing.assert_allclose(matrix.T @ matrix, np.eye(matrix.shape[1]), atol=1e-14)


def test_orthogonal_matrices_are_all_equally_likely():
    """The trace of such a matrix has mean 0 and variance 1; it has not where the signs of R stay with R."""
    traces = [np.trace(initializers.orthogonal(generator(seed), (4, 4))) for seed in range(2000)]
    assert abs(np.mean(traces)) < 5 / math.sqrt(2000)
    assert abs(np.var(traces) - 1) < 5 * math.sqrt(2 / 2000)


def test_gains_are_those_of_pytorch():
    """torch.nn.init.calculate_gain of torch 2.13.0, with 0.2 as the slope of the second leaky ReLU."""
    known = {"identity": 1, "sigmoid": 1, "tanh": 5 / 3, "relu": 1.4142135623730951, "selu": 0.75}
    assert {name: initializers.gain(name) for name in known} == known
    assert initializers.gain("leaky_relu") == 1.4141428569978354
    assert initializers.gain("leaky_relu", 0.2) == 1.3867504905630728
    with pytest.raises(ValueError, match=r"unknown activation 'tahn': did you mean 'tanh'\?"):
        initializers.gain("tahn")


def test_gains_that_pytorch_has_not_keep_the_second_moment_of_normal_numbers():
    """E[f(x)**2] by the trapezoidal rule, which is exact for functions as smooth as these; their kinks cost digits."""
    x = np.linspace(-12, 12, 2**17 + 1)
    density = np.exp(-x * x / 2) / math.sqrt(2 * math.pi)
    outputs = {"identity", "softmax", "log_softmax"}
    for name in ACTIVATIONS.keys() - {"identity", "sigmoid", "tanh", "relu", "leaky_relu", "selu"} - outputs:
        spec = ACTIVATIONS[name]
        y = np.empty((1, len(x)))
        OPERATIONS[spec.forward].reference(y, x[None], *spec.scalars.values())
        moment = (y[0] ** 2 * density).sum() * (x[1] - x[0])
        assert abs(initializers.gain(name) * math.sqrt(moment) - 1) < 1e-8, name
    assert {name: initializers.gain(name) for name in outputs} == dict.fromkeys(outputs, 1.0)


def test_a_gain_makes_numbers_larger_by_that_factor():
    for initializer in (initializers.xavier_normal, initializers.he_uniform, initializers.orthogonal):
        plain = initializer(generator(), (5, 6))
        np.testing.assert_allclose(initializer.with_gain("tanh")(generator(), (5, 6)), plain * (5 / 3), rtol=1e-14)
        np.testing.assert_allclose(initializer.with_gain(0.5)(generator(), (5, 6)), plain * 0.5, rtol=1e-14)
        with pytest.raises(ValueError, match="gain"):
            initializer.with_gain(0.0)


def test_biases_of_torch_linear_follow_from_the_inputs_of_the_layer():
    """torch.nn.Linear(400, 1000) draws both within 1 / sqrt(400) = 0.05."""
    layer = fnn.Dense(1000, weight_init="torch_linear", bias_init="torch_linear")
    weight, bias = fnn.Sequential([layer], inputs=400, seed=1).get_weights()
    assert 0.0499 < np.abs(weight).max() <= 0.05
    assert 0.0499 < np.abs(bias).max() <= 0.05


def test_every_initializer_can_be_named_in_a_layer_and_survives_saving(tmp_path):
    for name in INITIALIZERS:
        model = fnn.Sequential([fnn.Dense(3, weight_init=name, bias_init=name)], inputs=2)
        model.save(tmp_path / "model.safetensors")
        assert fnn.load(tmp_path / "model.safetensors").layers == model.layers


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: initializers.Normal(-1.0), "deviation"),
        (lambda: initializers.Uniform(1.0, 1.0), "high"),
        (lambda: initializers.TruncatedNormal(cut=0.0), "cut"),
        (lambda: initializers.Orthogonal(math.nan), "gain"),
        (lambda: initializers.Constant(math.inf), "value"),
        (lambda: VarianceScaling(1.0, "fan_in", "normal"), "unknown fan 'fan_in'"),
        (lambda: VarianceScaling(1.0, "in", "trunc"), "unknown distribution 'trunc'"),
    ],
)
def test_parameters_out_of_range_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_default_is_he_for_what_is_like_relu_lecun_for_selu_and_xavier_for_all_else():
    for activation in ("relu", "leaky_relu", "elu", "gelu", "gelu_tanh", "silu", "mish"):
        assert default_initializer(activation) == initializers.he_normal
    assert default_initializer("selu") == initializers.lecun_normal
    for activation in ("tanh", "sigmoid", "hard_tanh", "softsign", "softplus", "softmax", "identity", None):
        assert default_initializer(activation) == initializers.xavier_uniform
    assert default_initializer("relu", "bias") == initializers.zeros


def test_draw_depends_on_seed_layer_and_kind():
    he = initializers.he_normal
    first = draw(he, stream(7), 1, "weight", (5, 6), 5)
    np.testing.assert_array_equal(first, draw(he, stream(7), 1, "weight", (5, 6), 5))
    for seed, layer, kind in ((8, 1, "weight"), (7, 2, "weight"), (7, 1, "bias")):
        other = draw(he, stream(seed), layer, kind, (5, 6), 5)
        assert not np.isin(first, other).any()


def test_draw_is_pinned():
    """What a seed means must not change from version to version."""
    drawn = draw(initializers.xavier_uniform, stream(0), 0, "weight", (2, 2), 2).ravel()
    known = [0.5418191764850946, -1.1587916884861469, -0.23873163911167528, 0.7861467123534529]
    np.testing.assert_allclose(drawn, known, rtol=1e-15)


def test_instances_and_functions_pass_through():
    mine = VarianceScaling(0.1, "average", "normal")
    assert get_initializer(mine) is mine

    def ones(generator, shape):
        return np.ones(shape)

    assert get_initializer(ones) is ones
    assert get_initializer("he_uniform") is INITIALIZERS["he_uniform"]


def test_unknown_name_says_the_nearest():
    with pytest.raises(ValueError, match="unknown initializer 'he_norml': did you mean 'he_normal'"):
        get_initializer("he_norml")


@pytest.mark.parametrize("wrong", [3, None, VarianceScaling])
def test_what_is_no_initializer_is_refused(wrong):
    with pytest.raises(TypeError, match="initializer"):
        get_initializer(wrong)


@pytest.mark.parametrize(
    "arguments", [(0.0, "in", "normal"), (-1.0, "in", "normal"), (1.0, "on", "normal"), (1.0, "in", "cauchy")]
)
def test_variance_scaling_checks_its_fields(arguments):
    with pytest.raises(ValueError, match=r"scale|fan|distribution"):
        VarianceScaling(*arguments)


def test_wrong_results_of_own_functions_are_refused():
    with pytest.raises(ValueError, match=r"layer 3: weight initializer .* returned shape \(2,\), not \(2, 3\)"):
        draw(lambda generator, shape: np.ones(2), stream(0), 3, "weight", (2, 3), 2)
    with pytest.raises(ValueError, match="NaN or infinity"):
        draw(lambda generator, shape: np.full(shape, np.nan), stream(0), 3, "weight", (2, 3), 2)
