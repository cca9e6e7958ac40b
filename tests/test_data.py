"""Reading data sets: IDX, .npz, the sets bundled with scikit-learn; splitting rows."""

import gzip
import struct
import subprocess
import sys
import zipfile

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastnn import data
from fastnn.data import DataError


def idx_bytes(array, code):
    """The array as an IDX file: magic, sizes, big-endian elements."""
    sizes = struct.pack(f">{array.ndim}I", *array.shape)
    return bytes((0, 0, code, array.ndim)) + sizes + array.astype(array.dtype.newbyteorder(">")).tobytes()


@pytest.mark.parametrize(
    ("code", "dtype"), [(0x08, "u1"), (0x09, "i1"), (0x0B, "i2"), (0x0C, "i4"), (0x0D, "f4"), (0x0E, "f8")]
)
@pytest.mark.parametrize("shape", [(5,), (4, 3), (2, 3, 5)])
@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_idx_gives_back_every_element_type_and_rank(tmp_path, code, dtype, shape, pack):
    array = (np.arange(np.prod(shape)).reshape(shape) * 3 - 7).astype(dtype)
    path = tmp_path / "data"
    path.write_bytes(pack(idx_bytes(array, code)))
    result = data.read_idx(path)
    assert result.dtype == np.dtype(dtype)
    assert result.dtype.isnative
    np.testing.assert_array_equal(result, array)


def test_idx_result_is_writable(tmp_path):
    (tmp_path / "data").write_bytes(idx_bytes(np.arange(3, dtype="u1"), 0x08))
    result = data.read_idx(tmp_path / "data")
    result[0] = 9
    np.testing.assert_array_equal(result, [9, 1, 2])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda b: b[:-1], r"truncated: 4 x 3 uint8 take 24 bytes, it has 23"),
        (lambda b: b + b"\0", "damaged: 4 x 3 uint8 take 24 bytes, it has 25"),
        (lambda b: b[:7], "truncated: 7 bytes, its header alone takes 12"),
        (lambda b: b"\0\0\x07" + b[3:], "not an IDX file"),
        (lambda b: b"PNG", "not an IDX file"),
        (lambda b: b"", "is empty"),
        (lambda b: gzip.compress(b)[:-9], "truncated or damaged"),
        (lambda b: gzip.compress(b)[:10] + b"damage", "truncated or damaged"),
        (lambda b: gzip.compress(b""), "is empty"),
    ],
)
def test_damaged_idx_is_refused_with_its_name(tmp_path, change, message):
    path = tmp_path / "images"
    path.write_bytes(change(idx_bytes(np.zeros((4, 3), "u1"), 0x08)))
    with pytest.raises(DataError, match=message) as caught:
        data.read_idx(path)
    assert str(path) in str(caught.value)


def test_unreadable_paths_are_data_errors(tmp_path):
    with pytest.raises(DataError, match="no such file"):
        data.read_bytes(tmp_path / "none")
    with pytest.raises(DataError, match="is a folder"):
        data.read_bytes(tmp_path)


def test_npz_finds_the_usual_names(tmp_path):
    X, y = np.arange(6.0).reshape(3, 2), np.array([0, 1, 0])
    for names in (("X", "y"), ("x_train", "y_train"), ("data", "target"), ("images", "labels")):
        np.savez(tmp_path / "a.npz", **{"other": y, names[0]: X, names[1]: y})
        got_X, got_y = data.read_npz(tmp_path / "a.npz")
        np.testing.assert_array_equal(got_X, X)
        np.testing.assert_array_equal(got_y, y)


def test_npz_takes_named_arrays_and_knows_when_there_is_no_target(tmp_path):
    path = tmp_path / "a.npz"
    np.savez_compressed(path, inputs=np.eye(2), outputs=np.arange(2))
    X, y = data.read_npz(path, "inputs", "outputs")
    np.testing.assert_array_equal(X, np.eye(2))
    np.testing.assert_array_equal(y, [0, 1])
    assert data.read_npz(path, "inputs")[1] is None
    with pytest.raises(DataError, match="holds inputs, outputs: say which"):
        data.read_npz(path)
    with pytest.raises(DataError, match="'outputs'"):
        data.read_npz(path, "inputs", "output")


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"X": np.array([["a"]])}, "holds <U1, not numbers"),
        ({"X": np.array([1j])}, "not numbers"),
        ({"X": np.array([{"a": 1}, None], dtype=object)}, "holds Python objects"),
        ({"X": np.array(3.0)}, "single number"),
        ({}, "holds no arrays"),
    ],
)
def test_npz_that_holds_no_numbers_is_refused(tmp_path, arrays, message):
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises(DataError, match=message):
        data.read_npz(tmp_path / "a.npz")


def test_zip_of_other_files_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.xlsx", "w") as archive:
        archive.writestr("xl/workbook.xml", "<workbook/>")
    with pytest.raises(DataError, match=r"such as 'xl/workbook\.xml'; save tables as CSV"):
        data.read_npz(tmp_path / "a.xlsx")
    np.save(tmp_path / "a.npy", np.zeros(3))
    with pytest.raises(DataError, match=r"not an \.npz file"):
        data.read_npz(tmp_path / "a.npy")


def test_truncated_npz_is_refused(tmp_path):
    path = tmp_path / "a.npz"
    np.savez(path, X=np.zeros((100, 3)), y=np.zeros(100))
    whole = path.read_bytes()
    for length in (4, 50, len(whole) // 2, len(whole) - 3):
        path.write_bytes(whole[:length])
        with pytest.raises(DataError, match=r"truncated or not an \.npz file"):
            data.read_npz(path)
    damaged = bytearray(whole)
    damaged[300] ^= 255
    path.write_bytes(damaged)
    with pytest.raises(DataError, match="'X' is truncated or damaged"):
        data.read_npz(path)


@settings(deadline=None)
@given(
    labels=st.lists(st.integers(0, 4), min_size=4, max_size=200),
    fraction=st.floats(0.05, 0.95),
    seed=st.integers(0, 2**32),
)
def test_stratified_split_is_a_partition_in_proportion(labels, fraction, seed):
    labels = np.asarray(labels)
    counts = np.bincount(labels)
    if counts.max() < 2:
        return
    train, validation = data.split_rows(len(labels), fraction, seed, labels)
    np.testing.assert_array_equal(np.sort(np.concatenate((train, validation))), np.arange(len(labels)))
    assert len(validation)
    share = len(labels) * fraction
    for label, count in enumerate(counts):
        held = int((labels[validation] == label).sum())
        assert held <= max(count - 1, 0)
        # Within one row of its proportion of what is held (which itself is rounded), unless it would lose its last row.
        assert abs(held - count * max(1, round(share)) / len(labels)) <= 1 or held >= count - 1


def test_split_is_drawn_by_the_seed():
    labels = np.arange(100) % 3
    for given_labels in (None, labels):
        first = data.split_rows(100, 0.2, 7, given_labels)
        again = data.split_rows(100, 0.2, 7, given_labels)
        other = data.split_rows(100, 0.2, 8, given_labels)
        np.testing.assert_array_equal(first[1], again[1])
        assert len(first[1]) == 20
        assert not np.array_equal(first[1], other[1])


def test_split_takes_as_many_of_each_class_as_scikit_learn():
    selection = pytest.importorskip("sklearn.model_selection")
    labels = np.repeat([0, 1, 2, 3], [503, 211, 57, 10])
    _, validation = data.split_rows(len(labels), 0.25, 0, labels)
    _, judge = selection.train_test_split(
        np.arange(len(labels)), test_size=len(validation), stratify=labels, random_state=0
    )
    assert np.abs(np.bincount(labels[validation]) - np.bincount(labels[judge])).max() <= 1


def test_class_of_one_row_is_trained_on():
    labels = np.array([0] * 10 + [1])
    for seed in range(20):
        assert 10 in data.split_rows(11, 0.5, seed, labels)[0]


def test_split_that_is_impossible_says_why():
    with pytest.raises(DataError, match="1 rows cannot be split"):
        data.split_rows(1, 0.5, 0)
    with pytest.raises(DataError, match="no class has two rows"):
        data.split_rows(3, 0.5, 0, np.arange(3))
    with pytest.raises(DataError, match=r"1\.0: must be above 0"):
        data.split_rows(3, 1.0, 0)


@pytest.mark.parametrize("name", data.BUNDLED)
def test_bundled_sets_equal_those_of_scikit_learns_loaders(name):
    pytest.importorskip("sklearn")
    found, judge = data.load_bundled(name), data._by_loader(name)
    np.testing.assert_array_equal(found.X, judge.X)
    np.testing.assert_array_equal(found.y, judge.y)
    assert found.y.dtype == judge.y.dtype
    assert found.classes == judge.classes
    assert found.white == judge.white
    if name != "digits":
        assert found.names == judge.names
    assert len(found.names) == found.X.shape[1]
    assert found.target == judge.target


def test_bundled_sets_are_read_without_importing_scikit_learn():
    pytest.importorskip("sklearn")
    program = (
        "import sys; from fastnn import data; data.load_bundled('digits'); "
        "assert not {'sklearn', 'pandas', 'scipy', 'numba'} & set(sys.modules), 'heavy import'"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_bundled_set_without_scikit_learn_says_how_to_get_it(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'fastnn\[tables\]'"):
        data.load_bundled("digits")


def test_unknown_bundled_set_names_the_nearest():
    with pytest.raises(ValueError, match="'digits'"):
        data.load_bundled("digit")
