"""The data named on the command line, whatever their form: a bundled set, a table in text, an .npz file, IDX files.

All forms come out as a `Source`: features (a data frame, or an array of numbers) and the target as stored.
"""

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from fastnn import data, tables
from fastnn.checks import unknown_name
from fastnn.data import Array, DataError

if TYPE_CHECKING:
    import pandas as pd

Features: TypeAlias = "pd.DataFrame | Array"


@dataclass
class Reading:
    """How the user wants files to be read: the flags that `train` and `predict` share."""

    header: bool | None = None
    delimiter: str | None = None
    missing: Sequence[str] = ()
    features: str | None = None  # name of the array with the features, in an .npz file
    labels: str | None = None  # path of the IDX file with the labels


@dataclass(eq=False)
class Source:
    """Rows to learn from, or to predict.

    features   a data frame, or an array (rows, columns) of numbers
    target     (rows,) numbers or texts as stored; None when there is no target
    classes    the names of the classes, when the target is class numbers already
    labelled   the target is known to be labels, not amounts (IDX labels)
    white      what to divide the pixels of images by; None for other features
    columns    columns of the file, the target included
    notes      lines for the report
    dropped    rows left out because their target was missing
    """

    title: str
    features: Features
    target: Array | None
    target_name: str
    names: tuple[str, ...] = ()
    classes: tuple[str, ...] | None = None
    labelled: bool = False
    white: int | None = None
    header: bool | None = None
    columns: int = 0
    notes: list[str] = field(default_factory=list)
    dropped: int = 0

    @property
    def rows(self) -> int:
        """How many rows there are."""
        return len(self.features)

    def take(self, rows: Array) -> Features:
        """The features of some rows, as they are."""
        return self.features[rows] if isinstance(self.features, np.ndarray) else self.features.iloc[rows]

    def drop_rows_without_target(self) -> None:
        """Leaves out rows whose target is missing, with a note; infinite targets are an error."""
        assert self.target is not None
        missing = tables.pandas().isna(self.target) if self.target.dtype == object else np.zeros(self.rows, bool)
        if self.target.dtype.kind == "f":
            missing = np.isnan(self.target)
            if np.isinf(self.target).any():
                raise DataError(f"the target {self.target_name!r} holds an infinite value")
        count = int(missing.sum())
        if count:
            keep = np.flatnonzero(~missing)
            self.features, self.target = self.take(keep), self.target[keep]
            self.dropped += count
            self.notes.append(f"left out {count:,} row{'s' if count > 1 else ''} without a target")

    def dropped_rows(self) -> str:
        """The end of an error about the rows that are left: how many are not; "" when all are."""
        if not self.dropped:
            return ""
        cells = "row was" if self.dropped == 1 else "rows were"
        return f" ({self.dropped:,} {cells} left out: the target {self.target_name!r} is missing there)"


def load(path: str, target: str | None, drop: Iterable[str], reading: Reading) -> Source:
    """The data to train on; `target` is a column (its name or number) or, in an .npz file, an array."""
    content = None if path in data.BUNDLED else read(path)
    form = form_of(content)
    refuse_unused(path, form, reading, target=target, drop=tuple(drop))
    if content is None:
        return bundled(path)
    if form == "IDX":
        return idx(content, path, reading.labels, required=True)
    if form == ".npz":
        return npz(content, path, target, reading.features)
    return _table(content, path, target, drop, reading)


def form_of(content: bytes | None) -> str:
    """What kind of data this is: "bundled" (no file), "IDX", ".npz" or "table"."""
    if content is None:
        return "bundled"
    if data.is_idx(content):
        return "IDX"
    return ".npz" if data.is_zip(content) else "table"


# Which flags say something about which form of data; a flag that would be ignored is an error.
_FLAGS = {
    "header": ("table",),
    "delimiter": ("table",),
    "missing": ("table",),
    "drop": ("table",),
    "features": (".npz",),
    "labels": ("IDX",),
    "target": ("table", ".npz"),
}


def refuse_unused(path: str, form: str, reading: Reading, **others: object) -> None:
    """A DataError for a flag that was given and means nothing for this form of data."""
    for flag, value in (vars(reading) | others).items():
        given = value is not None and value != () and value != []
        if given and form not in _FLAGS[flag]:
            known = {"bundled": "a bundled data set", "table": "a table"}.get(form, f"an {form} file")
            flag = "no-header" if value is False else flag
            raise DataError(f"--{flag} means nothing here: {path} is {known}")


def read(path: str) -> bytes:
    """The bytes of a file, or an error that knows the bundled sets."""
    try:
        return data.read_bytes(path)
    except DataError as error:
        near = difflib.get_close_matches(path, data.BUNDLED, n=1)
        if near and not Path(path).exists():
            raise DataError(f"{error}; did you mean the bundled data set {near[0]!r}?") from None
        if not Path(path).exists() and not Path(path).suffix:
            raise DataError(f"{error}; bundled data sets are {', '.join(data.BUNDLED)}") from None
        raise


def bundled(name: str) -> Source:
    """A data set that scikit-learn ships."""
    found = data.load_bundled(name)
    return Source(
        title=f"{name} (bundled with scikit-learn)",
        features=found.X,
        target=found.y,
        target_name=found.target,
        names=found.names,
        classes=found.classes,
        white=found.white,
        columns=found.X.shape[1],
    )


def idx(content: bytes, path: str, labels: str | None, required: bool) -> Source:
    """IDX images with their labels: those of `labels`, or of the file named like this one (MNIST's names)."""
    X = data.parse_idx(content, path)
    pair = Path(path).name.replace("images", "labels").replace("idx3", "idx1")
    notes = []
    if labels is None and pair != Path(path).name and (Path(path).parent / pair).is_file():
        labels = str(Path(path).parent / pair)
        notes.append(f"labels from {labels}")
    if labels is None and required:
        shape = " x ".join(map(str, X.shape))
        raise DataError(f"{path} holds {shape} numbers and no labels: name their file with --labels")
    y = None if labels is None else data.read_idx(labels)
    if y is not None and (y.ndim != 1 or len(y) != len(X)):
        raise DataError(f"{labels} has shape {y.shape}: expected ({len(X)},), one label for each row of {path}")
    return _numbers(path, X, y, "label", labelled=True, notes=notes)


def npz(content: bytes, path: str, target: str | None, features: str | None, required: bool = True) -> Source:
    """Arrays X and y of an .npz file; unless `required`, the target may be missing."""
    names = data.npz_names(content, path)
    if not required and target not in names:
        target = None
    X, y = data.parse_npz(content, path, features, target)
    if y is None and required:
        raise DataError(f"{path} has no array named y or target: say which one to predict with --target")
    if y is not None:
        if y.dtype.kind not in "biufUS":
            raise DataError(f"{path}: the target holds {y.dtype}, not numbers or texts")
        if y.ndim == 2 and y.shape[1] == 1:
            y = y[:, 0]
        if y.shape != (len(X),):
            raise DataError(f"{path}: the target has shape {y.shape}: expected ({len(X)},), one for each row of X")
        if y.dtype.kind == "S":
            y = np.char.decode(y, "utf-8")
    return _numbers(path, X, y, target or "y", labelled=False, notes=[])


def _numbers(path: str, X: Array, y: Array | None, name: str, labelled: bool, notes: list[str]) -> Source:
    """Images are flattened; those of bytes are marked as such."""
    white = 255 if X.dtype == np.uint8 and X.ndim > 2 else None
    flat = X.reshape(len(X), -1)
    if not flat.size:
        raise DataError(f"{path}: the features have shape {X.shape}: there is nothing to learn from")
    if X.ndim > 2:
        notes.append(f"{' x '.join(map(str, X.shape[1:]))} images as rows of {flat.shape[1]} numbers")
    return Source(path, flat, y, name, labelled=labelled, white=white, columns=flat.shape[1], notes=notes)


def _table(content: bytes, path: str, target: str | None, drop: Iterable[str], reading: Reading) -> Source:
    table = tables.read_table(content, path, reading.header, reading.delimiter, reading.missing, name=target)
    frame = table.frame
    listed = ", ".join(frame.columns[:12]) + (", ..." if frame.shape[1] > 12 else "")
    if frame.shape[1] < 2:
        raise DataError(f"{path} has one column ({listed}): a target and at least one other are needed; --delimiter?")
    if target is None:
        raise DataError(f"say which column of {path} to predict with --target; its columns: {listed}")
    unnamed = None if table.header else "no header was found in the file"
    if unnamed and reading.header is False:
        unnamed = "--no-header says that the first line holds no names"
    name = column(target, frame.columns, "--target", unnamed)
    left_out = [column(text, frame.columns, "--drop", unnamed) for text in drop]
    features = frame.drop(columns=[name, *left_out])
    notes = [understood(table)]
    if table.header:
        features, remarks = _without_unnamed(features)
        notes += remarks
    source = Source(
        title=path,
        features=features,
        target=target_values(frame[name]),
        target_name=name,
        names=tuple(features.columns),
        header=table.header,
        columns=frame.shape[1],
        notes=notes,
    )
    if not features.shape[1]:
        raise DataError(f"{path}: no column is left beside the target {name!r}")
    return source


def understood(table: tables.Table) -> str:
    """How the lines of a text file were read."""
    header = "first line is the header" if table.header else "no header: columns are numbered from 0"
    if table.named:
        header += f", since {table.named!r} stands in it (--no-header if it is not)"
    delimiter = {",": "", "\t": ", delimiter tab", " ": ", delimiter white space"}.get(
        table.delimiter, f", delimiter {table.delimiter!r}"
    )
    encoding = ", not UTF-8: read as Latin-1" if table.encoding == "latin-1" else ""
    return f"{header}{delimiter}{encoding}"


def _without_unnamed(frame: "pd.DataFrame") -> tuple["pd.DataFrame", list[str]]:
    """Leaves out columns without a name that say nothing, a line for each: an index of pandas, trailing delimiters."""
    notes = []
    for place, name in enumerate(frame.columns):
        if not str(name).startswith("Unnamed:"):
            continue
        values = frame[name].to_numpy()
        if place == 0 and values.dtype.kind == "i" and np.array_equal(values - values[0], np.arange(len(values))):
            notes.append("left out the first column: row numbers without a name")
            frame = frame.drop(columns=name)
        elif frame[name].isna().all():
            notes.append(f"left out column {place}: it has neither a name nor values")
            frame = frame.drop(columns=name)
    return frame, notes


def column(text: str, names: Iterable[str], flag: str, unnamed: str | None = None) -> str:
    """A column by its name or, when none is called so, by its number, counted from 0 and from the end below 0.

    unnamed   why the columns have numbers in the place of names; None where they have names
    """
    names = [str(name) for name in names]
    if text in names:
        return text
    last = len(names) - 1
    try:
        place = int(text)
    except ValueError:
        if unnamed is None:
            raise unknown_name(f"{flag} column", text, names) from None
        remedy = "; --header takes the first line as names" if not unnamed.startswith("--") else ""
        raise DataError(
            f"unknown {flag} column {text!r}: {unnamed} (columns are numbered from 0 to {last}){remedy}"
        ) from None
    if not -len(names) <= place < len(names):
        raise DataError(f"{flag} {text}: there are {len(names)} columns, numbered 0 to {last}")
    return names[place]


def target_values(series: "pd.Series[Any]") -> Array:
    """A target column: numbers, NaN where missing, or stripped texts as objects, None where missing."""
    if series.dtype.kind in "iuf":
        return np.asarray(series.to_numpy())
    codes, known = tables.texts(series)
    return np.asarray([*known, None], dtype=object)[codes]


def class_text(value: object) -> str:
    """The name of a class: whole numbers without a fraction, all else as text."""
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return "" if value is None else str(value)
