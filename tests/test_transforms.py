"""Scalers, whitening, chains: their promises, undone and stored. Known answers: test_known_answers_data.py."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import fastnn as fnn
from fastnn import storage
from fastnn.preprocessing import base
from fastnn.storage import ModelFileError

EPS = np.finfo(np.float64).eps
MAKERS = {
    "centerer": fnn.Centerer,
    "standardizer": fnn.Standardizer,
    "minmax": lambda: fnn.MinMaxScaler((-1.0, 2.0)),
    "robust": lambda: fnn.RobustScaler((10.0, 90.0), unit_variance=True),
    "pca": fnn.Whitener,
    "zca": lambda: fnn.Whitener("zca", epsilon=0.1),
    "chain": lambda: fnn.Chain([fnn.RobustScaler(), fnn.Whitener("zca")]),
}
SCALERS = ("centerer", "standardizer", "minmax", "robust")


def rows(count=200, columns=4, seed=0, dtype=np.float64):
    """Correlated rows, of unequal scales and off zero."""
    rng = np.random.default_rng(seed)
    mixed = rng.standard_normal((count, columns)) @ rng.standard_normal((columns, columns))
    return (mixed * 10.0 ** np.arange(-1, columns - 1) + 3).astype(dtype)


every = pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)
dtypes = pytest.mark.parametrize("dtype", [np.float32, np.float64])


@every
@dtypes
def test_inverse_undoes_transform_for_rows_seen_and_not_seen(make, dtype):
    transform = make().fit(rows(dtype=dtype))
    for X in (rows(dtype=dtype), rows(50, seed=1, dtype=dtype)):
        result = transform.transform(X)
        back = transform.inverse(result)
        assert result.dtype == back.dtype == dtype
        # Rows are mixed by whitening, so that what is lost is measured against the largest column.
        np.testing.assert_allclose(back, X, atol=60 * np.finfo(dtype).eps * np.abs(X).max())


@pytest.mark.parametrize("name", SCALERS)
@settings(deadline=None, max_examples=50)
@given(hnp.arrays(np.int64, st.tuples(st.integers(1, 20), st.integers(1, 4)), elements=st.integers(-(10**9), 10**9)))
def test_scalers_are_undone_whatever_the_numbers(name, whole):
    X = whole / 1000
    scaler = MAKERS[name]().fit(X)
    back = scaler.inverse(scaler.transform(X))
    np.testing.assert_allclose(back, X, atol=32 * EPS * max(1.0, np.abs(X).max()))


@pytest.mark.parametrize("name", [name for name in MAKERS if name != "chain"])  # of which every transform rounds
def test_float32_is_float64_rounded_once(name):
    X = rows(dtype=np.float32)
    transform = MAKERS[name]().fit(X)
    np.testing.assert_array_equal(transform.transform(X), transform.transform(X.astype(np.float64)).astype(np.float32))


@every
def test_pieces_of_rows_change_nothing(make, monkeypatch):
    whole = make().fit(rows())
    monkeypatch.setattr(base, "_PIECE", 64)
    parts = make().fit(rows())
    for name, array in whole.arrays().items():
        np.testing.assert_allclose(parts.arrays()[name], array, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(parts.transform(rows()), whole.transform(rows()), rtol=1e-9, atol=1e-9)


@every
def test_the_input_is_left_alone(make):
    X = rows()
    X.flags.writeable = False
    transform = make().fit(X)
    transform.inverse(transform.transform(X))
    np.testing.assert_array_equal(X, rows())


@every
def test_vectors_lists_and_integers_are_taken(make):
    vector = np.arange(7.0)
    result = make().fit_transform(vector)
    assert result.shape == (7,)
    np.testing.assert_array_equal(make().fit_transform(list(range(7))), result)
    np.testing.assert_array_equal(make().fit_transform(vector[:, None])[:, 0], result)
    np.testing.assert_allclose(make().fit(vector).inverse(result), vector, atol=32 * EPS)


@every
def test_json_gives_back_every_bit(make):
    transform = make().fit(rows())
    state = json.loads(json.dumps(transform.to_json(), allow_nan=False))
    copy = type(transform).from_json(state)
    assert repr(copy) == repr(transform)
    assert copy.transform(rows()).tobytes() == transform.transform(rows()).tobytes()
    with pytest.raises(ValueError, match="the state is that of a"):
        (fnn.Chain if not isinstance(transform, fnn.Chain) else fnn.Centerer).from_json(state)


@every
def test_misuse_is_named(make):
    transform = make()
    assert "not fitted" in repr(transform)
    for use in (transform.transform, transform.inverse):
        with pytest.raises(ValueError, match="not fitted yet"):
            use(rows())
    with pytest.raises(ValueError, match="not fitted yet"):
        transform.to_json()
    transform.fit(rows())
    before = transform.to_json()
    for wrong, message in (
        (rows()[:, :3], r"X: has shape \(200, 3\), expected \(rows, 4\)"),
        ([[1.0, 2.0, np.nan, 4.0]], "X: row 0, column 2 is nan"),
        (rows()[:0], "X: has no rows"),
        (rows()[None], "X: has shape"),
    ):
        for use in (transform.transform, transform.inverse):
            with pytest.raises(ValueError, match=message):
                use(wrong)
    for wrong, error, message in (
        ([[1.0, np.nan], [2.0, 3.0]], ValueError, "X: row 0, column 1 is nan"),
        ([[1.0, np.inf], [2.0, 3.0]], ValueError, "X: row 0, column 1 is inf"),
        ([[-1.7e308], [1.7e308], [1.7e308], [1.7e308]], ValueError, "too large"),
        (np.zeros((0, 2)), ValueError, "X: has no rows"),
        ([["a"], ["b"]], TypeError, "X: has dtype"),
        (None, TypeError, "X: is None"),
    ):
        with pytest.raises(error, match=message):
            transform.fit(wrong)
    assert transform.to_json() == before


@pytest.mark.parametrize("name", SCALERS)
def test_constant_columns_are_shifted_and_not_scaled(name):
    X = np.column_stack([np.full(9, 0.1), np.full(9, -3e300), np.arange(9.0)])[
        :, [0, 2] if name == "centerer" else [0, 1, 2]
    ]
    scaler = MAKERS[name]().fit(X)
    result = scaler.transform(X)
    expected = -1.0 if name == "minmax" else 0.0
    np.testing.assert_allclose(result[:, 0], expected, atol=EPS)
    moved = X[:1].copy()
    moved[:, 0] += 0.5
    step = float(scaler.transform(moved)[0, 0] - result[0, 0])
    assert step == pytest.approx({"minmax": 1.5, "robust": 0.5 * 2.5631031310892007}.get(name, 0.5))


def test_one_row_is_enough_for_a_scaler():
    for name in SCALERS:
        scaler = MAKERS[name]().fit([[1.0, -2.0]])
        np.testing.assert_array_equal(scaler.inverse(scaler.transform([[4.0, 4.0]])), [[4.0, 4.0]])


def test_minmax_reaches_both_ends_exactly():
    scaled = fnn.MinMaxScaler((-1.0, 1.0)).fit_transform(rows(1000, 5))
    np.testing.assert_array_equal(scaled.min(axis=0), -1.0)
    np.testing.assert_array_equal(scaled.max(axis=0), 1.0)


def test_robust_scaling_hardly_sees_an_outlier():
    X = np.arange(101.0)[:, None]
    wild = X.copy()
    wild[-1] = 1e12
    calm, shaken = fnn.RobustScaler().fit(X), fnn.RobustScaler().fit(wild)
    np.testing.assert_array_equal(calm.arrays()["median"], shaken.arrays()["median"])
    np.testing.assert_array_equal(calm.arrays()["scale"], shaken.arrays()["scale"])
    assert fnn.Standardizer().fit(wild).scale[0] > 1e10


def test_normal_columns_get_variance_one_by_quartiles():
    X = np.random.default_rng(3).normal(5, 40, (100_000, 1))
    assert fnn.RobustScaler(unit_variance=True).fit_transform(X).std() == pytest.approx(1, rel=0.02)


# Whitening.


def covariance(Z):
    return np.cov(np.asarray(Z, np.float64).T, bias=True)


kinds = pytest.mark.parametrize("kind", ["pca", "zca"])


@kinds
@dtypes
@pytest.mark.parametrize("shape", [(2000, 6), (13, 6), (7, 6)])
def test_whitened_rows_have_the_identity_for_covariance(kind, dtype, shape):
    X = rows(*shape, dtype=dtype)
    white = fnn.Whitener(kind).fit_transform(X)
    np.testing.assert_allclose(white.mean(axis=0), 0, atol=2e-2 if dtype == np.float32 else 1e-8)
    np.testing.assert_allclose(covariance(white), np.eye(6), atol=2e-2 if dtype == np.float32 else 1e-8)


def test_one_column_is_whitened_as_it_is_standardised():
    X = rows(50, 1)
    np.testing.assert_allclose(fnn.Whitener().fit_transform(X), fnn.Standardizer().fit_transform(X), rtol=1e-12)


def linear_part(whitener, columns):
    """The matrix W of transform(x) = (x - mean) W."""
    return whitener.transform(np.eye(columns)) - whitener.transform(np.zeros((1, columns)))


def test_zca_is_symmetric_and_nearest_to_the_standardised_data():
    X = fnn.Standardizer().fit_transform(rows(500, 5))
    whitener = fnn.Whitener("zca").fit(X)
    W = linear_part(whitener, 5)
    np.testing.assert_allclose(W, W.T, atol=1e-10 * np.abs(W).max())
    white = whitener.transform(X)
    distance = np.square(white - X).sum()
    rng = np.random.default_rng(1)
    others = [np.linalg.qr(np.eye(5) + 0.1 * rng.standard_normal((5, 5)))[0] for _ in range(20)]
    others = [Q * np.sign(np.diag(Q)) for Q in others]  # small turns, not reflections
    assert all(np.square(white @ Q - X).sum() > distance for Q in [*others, fnn.Whitener().fit(X).directions.T])


def test_pca_columns_fall_in_variance_and_ignore_the_sign_of_the_decomposition():
    whitener = fnn.Whitener().fit(rows())
    assert (np.diff(whitener.deviation) <= 0).all()
    np.testing.assert_allclose(whitener.directions @ whitener.directions.T, np.eye(4), atol=1e-12)
    largest = np.abs(whitener.directions).argmax(axis=1)
    assert (whitener.directions[np.arange(4), largest] > 0).all()


def test_small_directions_keep_their_digits():
    """The eigenvalues of a covariance of condition 1e16 would have lost the smallest direction."""
    rng = np.random.default_rng(4)
    U = rng.standard_normal((300, 3))
    U = np.linalg.qr(U - U.mean(axis=0))[0]
    V = np.linalg.qr(rng.standard_normal((3, 3)))[0]
    deviation = np.array([1.0, 1e-3, 1e-8])
    X = np.sqrt(300) * (U * deviation) @ V.T
    np.testing.assert_allclose(fnn.Whitener().fit(X).deviation, deviation, rtol=1e-6)
    eigenvalues = np.linalg.eigvalsh(X.T @ X / 300)
    assert abs(eigenvalues[0] / 1e-16 - 1) > 1e-2


def deficient(case):
    X = rows(40, 3)
    if case == "copies":
        return np.hstack((X, X[:, :1], 2 * X[:, 1:2] - X[:, 2:])), 3
    if case == "constant":
        return np.hstack((X, np.full((40, 1), 1e9 + 0.1), np.zeros((40, 1)))), 3
    if case == "shifted copies":
        return np.hstack((X, X[:, :1] + 1e6)), 3
    if case == "few rows":
        return rows(5, 12), 4
    return rows(2, 3), 1


CASES = pytest.mark.parametrize("case", ["copies", "constant", "shifted copies", "few rows", "two rows"])


@CASES
def test_pca_leaves_out_directions_that_the_rows_do_not_have_and_gives_the_rows_back(case):
    X, rank = deficient(case)
    whitener = fnn.Whitener().fit(X)
    assert (whitener.columns, whitener.width) == (X.shape[1], rank)
    white = whitener.transform(X)
    np.testing.assert_allclose(covariance(white).reshape(rank, rank), np.eye(rank), atol=1e-8)
    np.testing.assert_allclose(whitener.inverse(white), X, atol=1e3 * EPS * np.abs(X).max())


@CASES
def test_zca_does_not_amplify_them_and_is_undone_for_all_rows(case):
    X, rank = deficient(case)
    whitener = fnn.Whitener("zca").fit(X)
    assert whitener.width == X.shape[1]
    white = whitener.transform(X)
    variances = np.sort(np.linalg.eigvalsh(covariance(white)))[::-1]
    np.testing.assert_allclose(variances[:rank], 1, atol=1e-8)
    np.testing.assert_allclose(variances[rank:], 0, atol=1e-8)
    gains = np.linalg.svd(linear_part(whitener, X.shape[1]), compute_uv=False)
    assert gains.min() == pytest.approx(1 / whitener.deviation[0], rel=1e-6)
    new = X[:2] + np.random.default_rng(5).standard_normal((2, X.shape[1]))
    lost = 1e3 * EPS * np.abs(X).max() * whitener.deviation[0] / whitener.deviation[-1]
    np.testing.assert_allclose(whitener.inverse(whitener.transform(new)), new, atol=lost)


def test_rows_decomposed_in_pieces_have_the_same_deviations(monkeypatch):
    X = np.random.default_rng(6).standard_normal((400, 20)) * np.linspace(1, 1e3, 20) + 5
    whole = np.linalg.svd(X - X.mean(axis=0), full_matrices=False)[1] / np.sqrt(400)
    monkeypatch.setattr(base, "_PIECE", 1)
    np.testing.assert_allclose(fnn.Whitener().fit(X).deviation, whole, rtol=1e-12)


@dtypes
def test_columns_of_small_numbers_are_not_taken_for_the_rounding_of_large_ones(dtype):
    X = np.random.default_rng(8).standard_normal((100, 3)) * [1e6, 1.0, 1e-3] + [1e6, 0.0, 0.0]
    assert fnn.Whitener().fit(X.astype(dtype)).width == 3
    copied = np.hstack((X, X[:, 1:2] + X[:, :1])).astype(dtype)  # in float32 all digits of the smaller one are lost
    assert fnn.Whitener().fit(copied).width == 3


@kinds
def test_epsilon_dampens_small_directions(kind):
    X = rows(500, 3)
    whitener = fnn.Whitener(kind, epsilon=0.5).fit(X)
    variances = np.linalg.eigvalsh(covariance(whitener.transform(X)))
    square = whitener.deviation**2
    np.testing.assert_allclose(np.sort(variances), np.sort(square / (square + 0.5)), atol=1e-9)


def test_components_are_a_number_or_a_share_of_the_variance():
    X = rows(300, 5)
    full = fnn.Whitener().fit(X)
    explained = np.cumsum(full.deviation**2) / (full.deviation**2).sum()
    assert fnn.Whitener(components=2).fit(X).width == 2
    for share in (0.5, explained[1] - 1e-9, explained[1] + 1e-9, 1 - 1e-15):
        width = fnn.Whitener(components=float(share)).fit(X).width
        assert width == min(5, int(np.sum(explained <= share)) + 1)
    two = fnn.Whitener(components=2).fit(X)
    np.testing.assert_allclose(two.transform(X), full.transform(X)[:, :2], rtol=1e-9, atol=1e-9)
    # What comes back are the nearest rows that two directions reach.
    rest = np.square(two.inverse(two.transform(X)) - X).sum() / 300
    assert rest == pytest.approx((full.deviation[2:] ** 2).sum(), rel=1e-6)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"kind": "cholesky"}, ValueError, "unknown kind of whitening 'cholesky'"),
        ({"components": 0}, ValueError, "components must be at least 1"),
        ({"components": 1.5}, ValueError, "components must be below 1"),
        ({"components": "all"}, TypeError, "components must be an integer"),
        ({"kind": "zca", "components": 2}, ValueError, "only 'pca' can leave directions out"),
        ({"epsilon": -1}, ValueError, "epsilon must be at least 0"),
    ],
)
def test_whitening_that_makes_no_sense_is_refused(arguments, error, message):
    with pytest.raises(error, match=message):
        fnn.Whitener(**arguments)


@pytest.mark.parametrize("X", [[[1.0, 2.0]], np.full((30, 3), 0.1), np.full((5, 1), 1e9, np.float32)])
def test_equal_rows_cannot_be_whitened(X):
    with pytest.raises(ValueError, match=r"the rows \(\d+\) are all equal"):
        fnn.Whitener().fit(X)


def test_more_components_than_directions_are_refused():
    X, _ = deficient("copies")
    with pytest.raises(ValueError, match=r"Whitener\(components=4\): the rows of X span 3 directions"):
        fnn.Whitener(components=4).fit(X)


def test_tiny_and_huge_units_do_not_matter():
    X = rows(100, 3)
    white = fnn.Whitener().fit_transform(X)
    for unit in (2.0**-900, 2.0**400):
        np.testing.assert_allclose(fnn.Whitener().fit_transform(X * unit), white, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: fnn.MinMaxScaler((1.0, 1.0)), "the first must be below the second"),
        (lambda: fnn.MinMaxScaler((-1.7e308, 1.7e308)), "the first must be below the second"),
        (lambda: fnn.RobustScaler((75.0, 25.0)), "the first must be below the second"),
        (lambda: fnn.RobustScaler((-1.0, 25.0)), r"quantile_range\[0\] must be at least 0"),
        (lambda: fnn.RobustScaler((0.0, 50.0), unit_variance=True), "no finite percentiles"),
        (lambda: fnn.Chain([]), "at least one transform"),
        (lambda: fnn.Chain([scaler := fnn.Centerer(), scaler]), "stands twice"),
    ],
)
def test_settings_that_make_no_sense_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_a_chain_takes_transforms_only():
    for wrong in (fnn.Centerer(), "standard", 3):
        with pytest.raises(TypeError, match="expected a list of transforms"):
            fnn.Chain(wrong)
    with pytest.raises(TypeError, match=r"transforms\[1\] is 3"):
        fnn.Chain([fnn.Centerer(), 3])
    with pytest.raises(TypeError, match="write Centerer"):
        fnn.Chain([fnn.Centerer])


def test_a_chain_is_its_transforms_one_after_the_other():
    X = rows()
    first, second = fnn.Standardizer(), fnn.Whitener(components=2)
    chain = fnn.Chain([first, second]).fit(X)
    by_hand = fnn.Whitener(components=2).fit(fnn.Standardizer().fit_transform(X))
    np.testing.assert_array_equal(chain.transform(X), by_hand.transform(first.transform(X)))
    assert (chain.columns, chain.width, len(chain)) == (4, 2, 2)
    assert list(chain) == [first, second] == [chain[0], chain[1]]
    assert len(fnn.Chain([fnn.Chain([fnn.Centerer(), fnn.RobustScaler()]), fnn.Whitener()])) == 3


# Saved with a model.


def net(inputs=4):
    return fnn.Sequential([fnn.Dense(2)], inputs=inputs)


@every
def test_a_model_carries_its_preprocessing_bit_for_bit(make, tmp_path):
    path = tmp_path / "net.safetensors"
    transform, model = make().fit(rows()), net()
    model.save(path, extra={"a": 1}, preprocessing=transform)
    copy = fnn.load_preprocessing(path)
    assert repr(copy) == repr(transform)
    for name, array in transform.arrays().items():
        assert copy.arrays()[name].tobytes() == array.tobytes()
    X = rows(5, seed=2)
    np.testing.assert_array_equal(fnn.load(path).predict(copy.transform(X)), model.predict(transform.transform(X)))
    assert storage.read_extra(path) == {"a": 1}


def test_several_transforms_are_saved_by_name(tmp_path):
    path = tmp_path / "net"
    targets = fnn.Standardizer().fit([1.0, 2.0, 4.0])
    net().save(path, preprocessing={"inputs": fnn.Whitener("zca").fit(rows()), "targets": targets})
    both = fnn.load_preprocessing(path)
    assert list(both) == ["inputs", "targets"]
    np.testing.assert_array_equal(both["targets"].inverse(targets.transform([3.0])), [3.0])
    assert storage.read(path).tensors.keys() == {"layers.0.weight", "layers.0.bias"}


def test_a_model_without_preprocessing_is_the_file_it_was(tmp_path):
    net().save(tmp_path / "net")
    assert fnn.load_preprocessing(tmp_path / "net") is None
    assert b'"version":"1"' in (tmp_path / "net").read_bytes()
    net().save(tmp_path / "net", preprocessing=fnn.Centerer().fit(rows()))
    assert b'"version":"2"' in (tmp_path / "net").read_bytes()  # which older readers refuse


@pytest.mark.parametrize(
    ("preprocessing", "error", "message"),
    [
        (fnn.Centerer(), ValueError, "not fitted yet"),
        (fnn.Whitener(components=3).fit(rows()), ValueError, "gives 3 columns, the network has 4 inputs"),
        ([fnn.Centerer()], TypeError, "expected a transform, or transforms by name"),
        ({}, TypeError, "expected a transform, or transforms by name"),
        ({"inputs": 3}, TypeError, "'inputs' is 3"),
        ({1: fnn.Centerer().fit(rows())}, TypeError, "expected transforms by name"),
    ],
)
def test_preprocessing_that_cannot_be_saved_is_refused(tmp_path, preprocessing, error, message):
    with pytest.raises(error, match=message):
        net().save(tmp_path / "net", preprocessing=preprocessing)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("description", "tensors", "message"),
    [
        ({"type": "Bleacher"}, {}, "unknown transform 'Bleacher'"),
        ({"type": "Standardizer"}, {"mean": np.zeros(2)}, "Standardizer: 'scale' is missing"),
        ({"type": "Standardizer"}, {"mean": np.zeros(2), "scale": np.ones(3)}, "must be equal vectors"),
        ({"type": "Centerer"}, {"mean": np.array([np.nan])}, "mean holds NaN"),
        ({"type": "MinMaxScaler"}, {"minimum": np.zeros(2), "scale": np.ones(2)}, "'feature_range' is missing"),
        ({"kind": "Centerer"}, {}, "no 'type' in its description"),
        ([], {}, "damaged"),
        (
            {"type": "Whitener", "kind": "pca", "components": None, "epsilon": 0.0},
            {"mean": np.zeros(2), "deviation": np.ones(1), "directions": np.ones((2, 2))},
            r"directions \(2, 2\): expected",
        ),
        (
            {"type": "Whitener", "kind": "pca", "components": None, "epsilon": 0.0},
            {"mean": np.zeros(2), "deviation": np.zeros(1), "directions": np.ones((1, 2))},
            "not positive",
        ),
    ],
)
def test_damaged_preprocessing_is_named(tmp_path, description, tensors, message):
    path = tmp_path / "net"
    storage.write(path, {}, {}, None, (description, {f"preprocessing.{name}": a for name, a in tensors.items()}))
    with pytest.raises(ModelFileError, match=message) as caught:
        fnn.load_preprocessing(path)
    assert str(path) in str(caught.value)
