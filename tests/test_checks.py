"""Checks at the boundary: what they let through, in which form, and what their errors say."""

from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest

from fastnn import checks


def test_the_nearest_known_name_is_named():
    error = checks.unknown_name("loss", "mze", ["mse", "bce", "cross_entropy"])
    assert isinstance(error, ValueError)
    assert str(error) == "unknown loss 'mze': did you mean 'mse'? Known: bce, cross_entropy, mse"


def test_a_name_near_none_gets_no_suggestion():
    assert str(checks.unknown_name("loss", "zzzzzz", ["mse", "bce"])) == "unknown loss 'zzzzzz': Known: bce, mse"


def test_case_does_not_hide_the_nearest_name():
    assert "did you mean 'relu'?" in str(checks.unknown_name("activation", "RELU", ["relu", "tanh"]))


@pytest.mark.parametrize("value", [3, np.int8(3), np.uint64(3), np.array(3)])
def test_integers_of_any_type_become_int(value):
    result = checks.integer("Dense", "units", value, minimum=3, maximum=3)
    assert result == 3
    assert type(result) is int


@pytest.mark.parametrize("value", [True, np.True_, 3.0, np.float64(3), "3", None, [3], 3j])
def test_what_is_no_integer_is_refused_even_if_it_is_whole(value):
    with pytest.raises(TypeError, match=r"Dense\(units=.*\): units must be an integer"):
        checks.integer("Dense", "units", value)


@pytest.mark.parametrize(("value", "rule"), [(0, "at least 1"), (9, "at most 8"), (-(10**30), "at least 1")])
def test_integers_out_of_bounds_are_refused(value, rule):
    with pytest.raises(ValueError, match=rf"^Dense\(units={value}\): units must be {rule}$"):
        checks.integer("Dense", "units", value, minimum=1, maximum=8)


@pytest.mark.parametrize("value", [1, 0.5, np.float32(0.5), np.int64(1), Fraction(1, 2), Decimal("0.5")])
def test_numbers_of_any_type_become_float(value):
    result = checks.number("SGD", "lr", value, above=0, maximum=1)
    assert result == float(value)
    assert type(result) is float


@pytest.mark.parametrize("value", [True, np.False_, "0.5", None, 1j, [0.5], object(), 10**400])
def test_what_is_no_number_is_refused(value):
    with pytest.raises(TypeError, match=r"SGD\(lr=.*\): lr must be a number"):
        checks.number("SGD", "lr", value)


@pytest.mark.parametrize(
    ("bounds", "value", "rule"),
    [
        ({"minimum": 0.0}, -0.1, "at least 0.0"),
        ({"maximum": 1.0}, 1.1, "at most 1.0"),
        ({"above": 0.0}, 0.0, "above 0.0"),
        ({"below": 1.0}, 1.0, "below 1.0"),
        ({}, np.inf, "finite"),
        ({}, np.nan, "finite"),
        ({"above": 0.0}, np.nan, "above 0.0"),
        ({"maximum": 1.0}, -np.inf, "finite"),
    ],
)
def test_numbers_out_of_bounds_are_refused(bounds, value, rule):
    with pytest.raises(ValueError, match=f"lr must be {rule}$"):
        checks.number("SGD", "lr", value, **bounds)


@pytest.mark.parametrize("value", [True, False, np.True_, np.False_])
def test_flags_become_bool(value):
    result = checks.flag("fit", "shuffle", value)
    assert result == value
    assert type(result) is bool


@pytest.mark.parametrize("value", ["no", "", 0, 1, 1.0, None, [], np.ones(1, bool)])
def test_what_is_no_flag_is_refused_though_python_would_take_it(value):
    with pytest.raises(TypeError, match=r"^fit\(shuffle=.*\): shuffle must be True or False$"):
        checks.flag("fit", "shuffle", value)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_features_of_the_right_form_are_themselves(dtype):
    X = np.ones((3, 2), dtype)
    assert checks.features(X, 2, dtype) is X


@pytest.mark.parametrize(
    "X",
    [
        [[1, 2], [3, 4]],
        ((1.0, 2.0), (3.0, 4.0)),
        np.array([[1, 2], [3, 4]], ">i2"),
        np.array([[1, 2], [3, 4]], ">f8"),
        np.asfortranarray([[1.0, 2.0], [3.0, 4.0]]),
        np.array([[9.0, 9.0], [3.0, 4.0], [1.0, 2.0]])[:0:-1],
        np.ma.masked_array([[1.0, 2.0], [3.0, 4.0]]),
        np.longdouble([[1, 2], [3, 4]]),
    ],
)
def test_features_become_contiguous_native_arrays(X):
    result = checks.features(X, 2, np.float32)
    assert result.dtype == np.float32
    assert result.dtype.isnative
    assert result.flags.c_contiguous
    np.testing.assert_array_equal(result, [[1, 2], [3, 4]])


def test_frames_become_arrays():
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"a": [1, 2], "b": [0.5, 1.5]})
    np.testing.assert_array_equal(checks.features(frame, 2, "float64"), [[1, 0.5], [2, 1.5]])
    with pytest.raises(TypeError, match="X: has dtype object, expected real numbers; encode categories first"):
        checks.features(frame.assign(c=["x", "y"]), 3, "float64")


def test_masked_entries_are_refused_rather_than_uncovered():
    with pytest.raises(ValueError, match="X: has masked entries"):
        checks.features(np.ma.masked_array([[1.0, -999.0]], mask=[[False, True]]), 2, "float64")


def test_sparse_matrices_are_refused_with_the_way_out():
    sparse = pytest.importorskip("scipy.sparse")
    with pytest.raises(TypeError, match=r"X: is a sparse matrix; give its \.toarray\(\)"):
        checks.features(sparse.eye(3), 3, "float64")


def test_finite_numbers_whose_sum_overflows_are_finite():
    X = np.full((4, 2), 3e38, np.float32)
    assert checks.features(X, 2, "float32") is X


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_the_first_number_that_is_not_finite_is_named(bad):
    X = np.ones((50, 3))
    X[41, 1], X[42, 0] = bad, np.nan
    with pytest.raises(ValueError, match=f"X: row 41, column 1 is {bad}, expected finite numbers within float32"):
        checks.features(X, 3, "float32")
    assert checks.features(X, 3, "float32", allow_nonfinite=True).shape == (50, 3)


def test_infinities_of_both_signs_do_not_cancel():
    with pytest.raises(ValueError, match="row 0, column 0 is inf"):
        checks.features([[np.inf, -np.inf]], 2, "float64")


def test_any_width_is_accepted_where_none_is_asked_for():
    assert checks.features(np.ones((2, 7)), None, "float64").shape == (2, 7)


def test_targets_of_one_output_may_have_one_axis():
    assert checks.targets([1, 2, 3], 1, "float32").shape == (3, 1)
    assert checks.targets([[1], [2]], 1, "float32").shape == (2, 1)
    with pytest.raises(ValueError, match=r"y: has shape \(3,\), expected \(rows, 2\) for a network with 2 outputs"):
        checks.targets([1, 2, 3], 2, "float32")
    with pytest.raises(ValueError, match=r"expected \(rows, 1\) or \(rows,\)"):
        checks.targets(np.ones((3, 2)), 1, "float32")


@pytest.mark.parametrize(
    "y",
    [
        [0, 2, 1],
        [0.0, 2.0, 1.0],
        np.array([[0], [2], [1]]),
        np.array([0, 2, 1], ">u8"),
        np.array([0, 9, 2, 9, 1, 9])[::2],
        np.float16([0, 2, 1]),
        np.array([0, 2, 1], np.int32),
    ],
)
def test_labels_become_int32(y):
    result = checks.labels(y, 3)
    assert result.dtype == np.int32
    assert result.dtype.isnative
    assert result.flags.c_contiguous
    np.testing.assert_array_equal(result, [0, 2, 1])


@pytest.mark.parametrize("y", [["cat", "dog"], np.array(["cat", "dog"], object), np.array([b"cat", b"dog"])])
def test_classes_by_name_are_refused_with_the_way_to_number_them(y):
    with pytest.raises(TypeError, match=r"encode the classes as 0 to 2, for instance with np.unique"):
        checks.labels(y, 3)
    with pytest.raises(TypeError, match=r"encode two classes as 0 and 1, for instance with np.unique"):
        checks.targets(y, 1, "float32")
    np.testing.assert_array_equal(checks.labels(np.unique(y, return_inverse=True)[1], 3), [0, 1])


def test_booleans_are_labels_of_two_classes():
    np.testing.assert_array_equal(checks.labels([False, True], 2), [0, 1])
    with pytest.raises(ValueError, match="row 1 is True"):
        checks.labels([False, True], 1)


@pytest.mark.parametrize("bad", [3, -1, 2**31, 2**32, 2**63 - 1, -(2**63)])
def test_labels_out_of_range_do_not_wrap_round(bad):
    with pytest.raises(ValueError, match=f"y: row 2 is {bad}, expected labels from 0 to 2"):
        checks.labels(np.array([0, 1, bad]), 3)


@pytest.mark.parametrize("bad", [0.5, np.nan, np.inf, -np.inf, -0.25, 1e30, -1.0])
def test_labels_that_are_no_class_are_refused(bad):
    with pytest.raises(ValueError, match="y: row 1 is"):
        checks.labels(np.array([0.0, bad, 1.0]), 3)


@pytest.mark.parametrize(("order", "shape"), [([3, 0, 3], (3,)), ([[0, 1], [2, 3]], (2, 2)), (np.uint8([1]), (1,))])
def test_row_numbers_become_int64(order, shape):
    result = checks.row_numbers(order, 4, 2)
    assert result.dtype == np.int64
    assert result.shape == shape
    assert result.flags.c_contiguous


@pytest.mark.parametrize("bad", [-1, 4, 2**62, -(2**63)])
@pytest.mark.parametrize("place", [0, 1, 5])
def test_row_numbers_out_of_range_are_refused_wherever_they_stand(place, bad):
    order = np.zeros(6, np.int64)
    order[place] = bad
    for shaped in (order, order.reshape(3, 2), order.astype(">i8")):
        with pytest.raises(ValueError, match=f"order: contains row {bad}, expected rows from 0 to 3"):
            checks.row_numbers(shaped, 4, 2)


@pytest.mark.parametrize("order", [[], np.zeros((0, 2), np.int64), 3, [[[0]]]])
def test_orders_without_rows_or_of_another_rank_are_refused_by_their_shape(order):
    with pytest.raises(ValueError, match=r"order: has shape .*not empty"):
        checks.row_numbers(order, 4, 2)


def test_arrays_of_different_lengths_are_named():
    with pytest.raises(ValueError, match="targets: has 2 rows, expected 3 as in inputs"):
        checks.same_rows(np.ones(3), np.ones(2), ("inputs", "targets"))


def test_checks_leave_what_they_are_given_as_it_was():
    X, y = np.arange(6.0).reshape(2, 3)[:, ::2], np.array([0.0, 1.0])
    before = X.copy(), y.copy()
    for array in (X, y):
        array.flags.writeable = False  # writing would be an error
    checks.features(X, 2, "float32")
    checks.labels(y, 2)
    checks.targets(y, 1, "float32")
    assert np.array_equal(X, before[0])
    assert np.array_equal(y, before[1])


def test_unaligned_arrays_become_aligned_ones():
    memory = bytearray(8 * 6 + 1)
    unaligned = np.frombuffer(memory, np.int64, count=6, offset=1)
    assert not unaligned.flags.aligned
    assert checks.row_numbers(unaligned, 1, 2).flags.aligned
    data = np.frombuffer(memory, np.float64, count=6, offset=1).reshape(3, 2)
    assert checks.features(data, 2, np.dtype(np.float64)).flags.aligned
