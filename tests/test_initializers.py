"""Starting values: distribution, default by activation, and independence of everything but seed, layer and shape."""

import math

import numpy as np
import pytest

from fastnn import initializers, randomness
from fastnn.initializers import INITIALIZERS, VarianceScaling, default_initializer, draw, get_initializer


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
    ],
)
def test_mean_and_variance_are_those_of_the_paper(name, variance):
    values = get_initializer(name)(generator(), (300, 700))
    assert values.dtype == np.float64
    n = values.size
    # Five standard errors; the fourth moment of a normal is 3, of a uniform 1.8 variances squared.
    assert abs(values.mean()) < 5 * math.sqrt(variance / n)
    assert abs(values.var() / variance - 1) < 5 * math.sqrt(2 / n)
    if name.endswith("uniform"):
        limit = math.sqrt(3 * variance)
        assert 0.999 * limit < np.abs(values).max() <= limit
    else:
        # Not truncated: among 210,000 normal numbers some lie beyond four standard deviations.
        assert np.abs(values).max() > 4 * math.sqrt(variance)


def test_zeros_are_zero():
    assert not initializers.zeros(generator(), (3, 4)).any()


def test_default_is_he_for_relu_and_xavier_for_all_else():
    assert default_initializer("relu") == initializers.he_normal
    for activation in ("tanh", "sigmoid", "identity", None):
        assert default_initializer(activation) == initializers.xavier_uniform
    assert default_initializer("relu", "bias") == initializers.zeros


def test_draw_depends_on_seed_layer_and_kind():
    he = initializers.he_normal
    first = draw(he, 7, 1, "weight", (5, 6))
    np.testing.assert_array_equal(first, draw(he, 7, 1, "weight", (5, 6)))
    for other in (draw(he, 8, 1, "weight", (5, 6)), draw(he, 7, 2, "weight", (5, 6)), draw(he, 7, 1, "bias", (5, 6))):
        assert not np.isin(first, other).any()


def test_draw_is_pinned():
    """What a seed means must not change from version to version."""
    drawn = draw(initializers.xavier_uniform, 0, 0, "weight", (2, 2)).ravel()
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
    "arguments", [(0.0, "in", "normal"), (-1.0, "in", "normal"), (1.0, "out", "normal"), (1.0, "in", "cauchy")]
)
def test_variance_scaling_checks_its_fields(arguments):
    with pytest.raises(ValueError, match=r"scale|fan|distribution"):
        VarianceScaling(*arguments)


def test_wrong_results_of_own_functions_are_refused():
    with pytest.raises(ValueError, match=r"layer 3: weight initializer .* returned shape \(2,\), not \(2, 3\)"):
        draw(lambda generator, shape: np.ones(2), 0, 3, "weight", (2, 3))
    with pytest.raises(ValueError, match="NaN or infinity"):
        draw(lambda generator, shape: np.full(shape, np.nan), 0, 3, "weight", (2, 3))
