"""Data sets as NumPy arrays: the sets bundled with scikit-learn, NumPy's `.npz`, and IDX, the format of MNIST.

Nothing here imports pandas or scikit-learn. scikit-learn's data files are read straight from its package folder,
because importing the library takes longer than reading the file and training on it. Tables are in `tables.py`.
"""

import gzip
import importlib.util
import io
import math
import zipfile
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fastnn import randomness
from fastnn.checks import unknown_name

Array = np.ndarray[Any, np.dtype[Any]]

# The element types of an IDX file by the third byte of its magic number (Yann LeCun's MNIST page), big-endian.
_IDX_TYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}

# Names under which features and target are commonly stored in an .npz file, most specific first.
_NPZ_FEATURES = ("x_train", "X_train", "train_images", "X", "x", "data", "features", "images")
_NPZ_TARGETS = ("y_train", "train_labels", "y", "Y", "target", "targets", "labels")


class DataError(ValueError):
    """A file or array that cannot be used as data; the message names it and says what was expected."""


@dataclass(frozen=True, eq=False)
class Dataset:
    """Rows of numbers and what to predict from them.

    X         (rows, columns) numbers
    y         (rows,) class numbers when `classes` is given, else measured values
    names     the columns of X, () when they have none
    target    what y is called
    classes   the name of each class, None for a regression target
    white     for images: the number that stands for full intensity; None for other data
    """

    X: Array
    y: Array
    names: tuple[str, ...] = ()
    target: str = "y"
    classes: tuple[str, ...] | None = None
    white: int | None = None


def read_bytes(path: str | Path) -> bytes:
    """The contents of a file, decompressed when it is gzipped (told by its first bytes, not by its name)."""
    try:
        content = Path(path).read_bytes()
    except IsADirectoryError:
        raise DataError(f"{path} is a folder: give a file") from None
    except OSError as error:
        raise DataError(f"cannot read {path}: {(error.strerror or str(error)).lower()}") from None
    if content[:2] == b"\x1f\x8b":
        try:
            content = gzip.decompress(content)
        except (EOFError, zlib.error, OSError):
            raise DataError(f"{path} is truncated or damaged: it starts as a gzip file but does not unpack") from None
    if not content:
        raise DataError(f"{path} is empty")
    return content


def is_idx(content: bytes) -> bool:
    """Whether a file with these first bytes is an IDX file."""
    return len(content) >= 4 and content[:2] == b"\0\0" and content[2] in _IDX_TYPES and 1 <= content[3] <= 8


def is_zip(content: bytes) -> bool:
    """Whether a file with these first bytes is a zip archive, as .npz files are; a table may start with "PK" too."""
    return content[:4] in (b"PK\x03\x04", b"PK\x05\x06")


def read_idx(path: str | Path) -> Array:
    """The array in an IDX file (MNIST, Fashion-MNIST, EMNIST ...), gzipped or not, in the machine's byte order."""
    return parse_idx(read_bytes(path), path)


def parse_idx(content: bytes, path: str | Path) -> Array:
    """The array in the bytes of an IDX file; `path` is only for messages.

    Layout: two zero bytes, the element type, the rank, the sizes as big-endian 32-bit numbers, the elements in C order.
    """
    if not is_idx(content):
        raise DataError(f"{path} is not an IDX file: it starts with {content[:4].hex(' ') or 'nothing'}")
    dtype, rank = np.dtype(_IDX_TYPES[content[2]]), content[3]
    header = 4 + 4 * rank
    if len(content) < header:
        raise DataError(f"{path} is truncated: {len(content)} bytes, its header alone takes {header}")
    shape = tuple(int(size) for size in np.frombuffer(content, ">u4", count=rank, offset=4))
    expected = header + math.prod(shape) * dtype.itemsize
    if len(content) != expected:
        fault = "truncated" if len(content) < expected else "damaged"
        described = " x ".join(map(str, shape))
        raise DataError(f"{path} is {fault}: {described} {dtype.name} take {expected} bytes, it has {len(content)}")
    return np.frombuffer(content, dtype, offset=header).reshape(shape).astype(dtype.newbyteorder("="))


def parse_npz(
    content: bytes, path: str | Path, features: str | None = None, target: str | None = None
) -> tuple[Array, Array | None]:
    """The arrays X and y of an .npz file; y is None when no array looks like a target and none was asked for.

    features, target   names of the arrays; None looks for the usual ones (X, x_train, data ...; y, y_train, target ...)

    X keeps its rank (images stay images) and its dtype. Arrays of objects are refused: reading them would run pickle.
    """
    archive = _npz_archive(content, path)
    names = list(archive.files)
    listed = ", ".join(names)
    if features is None:
        features = next((name for name in _NPZ_FEATURES if name in names), None)
        if features is None:
            raise DataError(f"{path} holds {listed}: say which array has the features (X)")
    if target is None:
        target = next((name for name in _NPZ_TARGETS if name in names and name != features), None)
    for name in (features, target):
        if name is not None and name not in names:
            raise DataError(f"{path}: {unknown_name('array', name, names)}")
    X = _npz_array(archive, features, path)
    y = None if target is None else _npz_array(archive, target, path)
    if X.dtype.kind not in "biuf":
        raise DataError(f"{path}: array {features!r} holds {X.dtype}, not numbers")
    if X.ndim == 0:
        raise DataError(f"{path}: array {features!r} is a single number, not rows of them")
    return X, y


def npz_names(content: bytes, path: str | Path) -> list[str]:
    """The names of the arrays of an .npz file."""
    return list(_npz_archive(content, path).files)


def _npz_archive(content: bytes, path: str | Path) -> Any:
    """The opened .npz file, which holds at least one array."""
    try:
        if not is_zip(content):
            raise ValueError
        archive = np.load(io.BytesIO(content), allow_pickle=False)
        names = archive.zip.namelist()
    except (ValueError, OSError, EOFError, zipfile.BadZipFile, AttributeError):
        raise DataError(f"{path} is truncated or not an .npz file") from None
    if not names:
        raise DataError(f"{path} holds no arrays")
    if not all(name.endswith(".npy") for name in names):
        raise DataError(f"{path} is a zip archive of other files than arrays, such as {names[0]!r}; save tables as CSV")
    return archive


def _npz_array(archive: Any, name: str, path: str | Path) -> Array:
    try:
        return np.asarray(archive[name])
    except ValueError:
        raise DataError(f"{path}: array {name!r} holds Python objects, not numbers") from None
    except (OSError, EOFError, zipfile.BadZipFile, zlib.error):
        raise DataError(f"{path}: array {name!r} is truncated or damaged") from None


def read_npz(path: str | Path, features: str | None = None, target: str | None = None) -> tuple[Array, Array | None]:
    """The arrays X and y of an .npz file: see `parse_npz`."""
    return parse_npz(read_bytes(path), path, features, target)


def split_rows(rows: int, fraction: float, seed: int, labels: Array | None = None) -> tuple[Array, Array]:
    """Row numbers for training and for validation, drawn by `seed`: two sorted int64 arrays without a common row.

    fraction   share of the rows that go to validation, above 0 and below 1, rounded; at least one row on each side
    labels     (rows,) whole numbers: each class is then split in the same proportion (largest remainders), and keeps at
               least one row for training; a class of a single row is never validated

    With labels the rule is that of scikit-learn's `train_test_split(stratify=labels)`, except that a class of one row
    is allowed. `Sequential.fit(validation_split=...)` holds out the rows that this draws without labels.
    """
    if rows < 2:
        raise DataError(f"{rows} rows cannot be split: at least 2 are needed")
    if not 0 < fraction < 1:
        raise DataError(f"validation fraction {fraction}: must be above 0 and below 1")
    wanted = min(max(1, round(rows * fraction)), rows - 1)
    order = randomness.generator(randomness.key(seed, randomness.SPLIT), 0).permutation(rows)
    if labels is None:
        return np.sort(order[wanted:]), np.sort(order[:wanted])
    _, classes, counts = np.unique(labels, return_inverse=True, return_counts=True)
    share = np.minimum(counts * (wanted / rows), counts - 1)
    taken = np.floor(share).astype(np.int64)
    by_remainder = np.argsort(taken - share, kind="stable")
    for index in [index for index in by_remainder if taken[index] < counts[index] - 1][: wanted - int(taken.sum())]:
        taken[index] += 1
    if not taken.any():
        raise DataError(f"{rows} rows in {len(counts)} classes cannot be split: no class has two rows")
    # Rows in drawn order, class by class; the first taken[c] of class c are for validation.
    grouped = order[np.argsort(classes[order], kind="stable")]
    starts = np.concatenate(([0], np.cumsum(counts)[:-1]))
    place_in_class = np.arange(rows) - np.repeat(starts, counts)
    chosen = place_in_class < np.repeat(taken, counts)
    return np.sort(grouped[~chosen]), np.sort(grouped[chosen])


def load_bundled(name: str) -> Dataset:
    """One of the data sets that scikit-learn ships: "digits", "iris", "wine", "breast_cancer" or "diabetes".

    The numbers are those of `sklearn.datasets.load_<name>()` (diabetes with `scaled=False`), X float64, y int64 class
    numbers or float64. The files inside the installed package are read without importing it. Raises ModuleNotFoundError
    when scikit-learn is not installed.
    """
    if name not in BUNDLED:
        raise unknown_name("data set", name, BUNDLED)
    spec = importlib.util.find_spec("sklearn")
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError(f"the data set {name!r} comes with scikit-learn: pip install 'fastnn[tables]'")
    folder = Path(spec.origin).parent / "datasets" / "data"
    try:
        return BUNDLED[name](folder)
    except (OSError, DataError):
        # Another layout of the package: its own loader knows.
        return _by_loader(name)


def _by_loader(name: str) -> Dataset:
    """The same data set by scikit-learn's own function."""
    from sklearn import datasets

    loader = getattr(datasets, f"load_{name}")
    found = loader(scaled=False) if name == "diabetes" else loader()
    classes = tuple(map(str, found.target_names)) if name != "diabetes" else None
    y = found.target.astype(np.float64 if classes is None else np.int64)
    return Dataset(found.data, y, tuple(map(str, found.feature_names)), _TARGETS[name], classes, _WHITE.get(name))


_TARGETS = {
    "digits": "digit",
    "iris": "species",
    "wine": "cultivar",
    "breast_cancer": "tumour",
    "diabetes": "progression",
}
_WHITE = {"digits": 16}
_IRIS_NAMES = ("sepal length (cm)", "sepal width (cm)", "petal length (cm)", "petal width (cm)")
_WINE_NAMES = (
    *("alcohol", "malic_acid", "ash", "alcalinity_of_ash", "magnesium", "total_phenols", "flavanoids"),
    *("nonflavanoid_phenols", "proanthocyanins", "color_intensity", "hue", "od280/od315_of_diluted_wines", "proline"),
)
_CELL_NAMES = (
    *("radius", "texture", "perimeter", "area", "smoothness", "compactness", "concavity", "concave points"),
    *("symmetry", "fractal dimension"),
)
_CANCER_NAMES = (
    *(f"mean {name}" for name in _CELL_NAMES),
    *(f"{name} error" for name in _CELL_NAMES),
    *(f"worst {name}" for name in _CELL_NAMES),
)
_DIABETES_NAMES = ("age", "sex", "bmi", "bp", "s1", "s2", "s3", "s4", "s5", "s6")


def _digits(folder: Path) -> Dataset:
    table = np.loadtxt(io.BytesIO(read_bytes(folder / "digits.csv.gz")), delimiter=",")
    names = tuple(f"pixel_{row}_{column}" for row in range(8) for column in range(8))
    y = table[:, -1].astype(np.int64)
    return Dataset(table[:, :-1], y, names, _TARGETS["digits"], tuple("0123456789"), _WHITE["digits"])


def _labelled(folder: Path, file: str, names: Sequence[str], target: str) -> Dataset:
    """A file whose first line is: rows, columns, names of the classes."""
    content = read_bytes(folder / file)
    table = np.loadtxt(io.BytesIO(content), delimiter=",", skiprows=1)
    classes = tuple(content.split(b"\n", 1)[0].decode().strip().split(",")[2:])
    return Dataset(table[:, :-1], table[:, -1].astype(np.int64), tuple(names), target, classes)


def _diabetes(folder: Path) -> Dataset:
    X = np.loadtxt(io.BytesIO(read_bytes(folder / "diabetes_data_raw.csv.gz")))
    y = np.loadtxt(io.BytesIO(read_bytes(folder / "diabetes_target.csv.gz")))
    return Dataset(X, y, _DIABETES_NAMES, _TARGETS["diabetes"])


BUNDLED: dict[str, Callable[[Path], Dataset]] = {
    "digits": _digits,
    "iris": lambda folder: _labelled(folder, "iris.csv", _IRIS_NAMES, _TARGETS["iris"]),
    "wine": lambda folder: _labelled(folder, "wine_data.csv", _WINE_NAMES, _TARGETS["wine"]),
    "breast_cancer": lambda folder: _labelled(folder, "breast_cancer.csv", _CANCER_NAMES, _TARGETS["breast_cancer"]),
    "diabetes": _diabetes,
}
