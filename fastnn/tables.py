"""Tables in text files, numbers and categories mixed, cells missing: reading them and encoding them for a network.

pandas reads the file and numbers the categories (the extra `tables`). What is fitted, a `TableEncoder`, is plain
numbers and text: it is stored with the model as JSON and needs no scikit-learn, whose import takes longer than reading
and training most tables. A test holds it against scikit-learn's imputer, scaler and one-hot encoder.
"""

import csv
import io
import itertools
import re
import shlex
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fastnn.data import Array, DataError
from fastnn.preprocessing import Json, mean_and_scale

if TYPE_CHECKING:
    import pandas as pd

MISSING = ("?",)  # besides what pandas takes as missing: "", NA, N/A, NaN, nan, null, None, #N/A ...
# The comma last: with ";" between cells it is the decimal sign of half the world, and so cuts all lines alike too.
_DELIMITERS = ("\t", ";", "|", ",")
_DECIMAL_COMMA = re.compile(r"[-+]?\d+,\d+")
_FEW = 10  # different texts that a column may have however few its rows are
_SAMPLE = 200  # lines looked at to tell the delimiter and the header


@dataclass(frozen=True, eq=False)
class Table:
    """A text file as read: the frame, and how its lines were understood."""

    frame: "pd.DataFrame"
    header: bool
    delimiter: str
    encoding: str


def pandas() -> Any:
    """The pandas module, or the error that says how to get it."""
    try:
        import pandas
    except ModuleNotFoundError as error:
        if error.name != "pandas":
            raise
        raise ModuleNotFoundError("tables are read with pandas: pip install 'fastnn[tables]'", name="pandas") from None
    return pandas


def read_table(
    content: bytes,
    path: str | Path,
    header: bool | None = None,
    delimiter: str | None = None,
    missing: Iterable[str] = (),
    text_columns: Iterable[str] = (),
) -> Table:
    """The table in the bytes of a text file; `path` is only for messages.

    header        whether the first line holds names; None: told from the lines. Without one, columns are "0", "1" ...
    delimiter     "," ";" tab, "|" or " ", which stands for any white space; None: told from the lines
    missing       texts that mean a missing cell, besides pandas' own and "?"
    text_columns  columns to be read as text even when they look like numbers
    """
    encoding, sample = _first_lines(content, path)
    delimiter = delimiter or _find_delimiter(sample)
    rows = _cells(sample, delimiter)
    if not rows:
        raise DataError(f"{path} holds nothing but empty lines")
    decimal = "," if delimiter != "," and any(_DECIMAL_COMMA.fullmatch(cell) for row in rows for cell in row) else "."
    if decimal == ",":
        rows = [[cell.replace(",", ".") for cell in row] for row in rows]
    empty = {"", *MISSING, *missing}
    header = _has_header(rows, empty) if header is None else header
    if header and len(rows) < 2:
        raise DataError(f"{path} has a header and no rows")
    widest = max(map(len, rows[1:]), default=0)
    if header and widest > len(rows[0]):
        raise DataError(f"{path}: the header has {len(rows[0])} cells, the rows {widest} (delimiter {delimiter!r})")
    options = {
        "sep": r"\s+" if delimiter == " " else delimiter,
        "header": 0 if header else None,
        "names": None if header else [str(column) for column in range(max(map(len, rows)))],
        "index_col": False,
        "dtype": dict.fromkeys(text_columns, str),
        "na_values": [*MISSING, *missing],
        "skipinitialspace": True,
        "low_memory": False,
        "encoding": encoding,
        "decimal": decimal,
    }
    frame = _parse(content, path, options)
    frame.columns = [str(name).strip() for name in frame.columns]
    return Table(frame, header, delimiter, encoding)


def _first_lines(content: bytes, path: str | Path) -> tuple[str, list[str]]:
    """The encoding of a text file and its first lines that are not empty."""
    if content[:2] in (b"\xff\xfe", b"\xfe\xff"):
        encoding = "utf-16"
    elif b"\0" in content[:4096]:
        raise DataError(f"{path} is neither a table in text, nor an .npz or IDX file")
    else:
        encoding = "utf-8-sig"
        try:
            content.decode(encoding)
        except UnicodeDecodeError:
            encoding = "latin-1"
    lines = io.TextIOWrapper(io.BytesIO(content), encoding, newline="")
    return encoding, list(itertools.islice((line for line in lines if line.strip()), _SAMPLE))


def _cells(lines: Sequence[str], delimiter: str) -> list[list[str]]:
    if delimiter == " ":
        return [line.split() for line in lines]
    reader = csv.reader(lines, delimiter=delimiter, skipinitialspace=True)
    try:
        return [[cell.strip() for cell in row] for row in reader if row]
    except csv.Error as error:
        raise DataError(f"cannot split the first lines into cells: {error}") from None


def _find_delimiter(lines: Sequence[str]) -> str:
    """The first delimiter that cuts all lines into the same number of cells, more than one; else the most frequent."""
    for delimiter in (*_DELIMITERS, " "):
        try:
            widths = {len(row) for row in _cells(lines, delimiter)}
        except DataError:
            continue
        if len(widths) == 1 and widths != {1}:
            return delimiter
    found = max(_DELIMITERS, key=lines[0].count) if lines else ","
    return found if lines and found in lines[0] else ","


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _has_header(rows: Sequence[Sequence[str]], empty: set[str]) -> bool:
    """Whether the first row holds names.

    A row with a number in it is data. A row of texts above a column of numbers is a header. Where all columns are text,
    it is a header when none of its cells comes again further down in its column: categories come again, names do not.
    """
    first, rest = rows[0], rows[1:]
    if any(_is_number(cell) for cell in first):
        return False
    columns: list[list[str]] = [[] for _ in first]
    for row in rest:
        for cells, cell in zip(columns, row, strict=False):
            if cell not in empty:
                cells.append(cell)
    if any(cells and all(map(_is_number, cells)) for cells in columns):
        return True
    return not any(name in cells for name, cells in zip(first, columns, strict=True))


def _parse(content: bytes, path: str | Path, options: Mapping[str, Any]) -> "pd.DataFrame":
    """The file by pandas, its errors in one line."""
    pd = pandas()
    try:
        with warnings.catch_warnings():
            # A row longer than the header would otherwise be cut with no more than a warning.
            warnings.simplefilter("error", pd.errors.ParserWarning)
            return pd.read_csv(io.BytesIO(content), **options)
    except (pd.errors.ParserError, pd.errors.ParserWarning, pd.errors.EmptyDataError, UnicodeError) as error:
        reason = " ".join(str(error).removeprefix("Error tokenizing data. C error: ").split())
        raise DataError(f"{path} cannot be read as a table (delimiter {options['sep']!r}): {reason}") from None


def is_number_column(series: "pd.Series[Any]") -> bool:
    """Whether the cells that are not missing are all numbers, or all truth values."""
    if series.dtype.kind in "biuf":
        return True
    distinct = pandas().unique(series.dropna())
    return all(isinstance(value, bool) or _is_number(str(value)) for value in distinct)


def numbers(series: "pd.Series[Any]", name: str) -> Array:
    """A column as float64, NaN where a cell is missing; a text that is no number, or an infinite one, is an error."""
    if series.dtype.kind in "biuf":
        values: Array = series.to_numpy(np.float64)
    else:
        codes, distinct = pandas().factorize(series)
        converted = np.append(np.zeros(len(distinct)), np.nan)  # the last place serves code -1, a missing cell
        for place, value in enumerate(distinct):
            try:
                converted[place] = float(value)
            except ValueError:
                raise _not_a_number(name, series.index[np.argmax(codes == place)], value) from None
        values = converted[codes]
    infinite = np.isinf(values)
    if infinite.any():
        raise _not_a_number(name, series.index[np.argmax(infinite)], "inf")
    return values


def _not_a_number(name: str, row: Any, value: object) -> DataError:
    return DataError(
        f"column {name!r} holds numbers, but {str(value)!r} in row {int(row) + 1}: correct it, or take it as missing "
        f"with --missing {shlex.quote(str(value))}"
    )


def texts(series: "pd.Series[Any]") -> tuple[Array, list[str]]:
    """A column as category numbers (rows,), -1 where a cell is missing, and the text of each number, in no order.

    Texts differ when they differ without the white space around them.
    """
    codes, distinct = pandas().factorize(series)
    stripped = [str(value).strip() for value in distinct]
    known = list(dict.fromkeys(stripped))
    if len(known) < len(stripped):
        place = {text: index for index, text in enumerate(known)}
        codes = np.append([place[text] for text in stripped], -1)[codes]
    return np.asarray(codes, np.int64), known


@dataclass(frozen=True)
class NumberColumn:
    """A column of numbers: missing cells become `fill` (the median), then (x - mean) / scale."""

    name: str
    fill: float
    mean: float
    scale: float

    width = 1

    @classmethod
    def fit(cls, name: str, series: "pd.Series[Any]") -> "NumberColumn":
        """Median, mean and deviation of the training rows."""
        values = numbers(series, name)
        missing = np.isnan(values)
        if missing.all():
            raise DataError(
                f"column {name!r} has no values in the training rows: leave it out with --drop {shlex.quote(name)}"
            )
        fill = float(np.median(values[~missing]))
        mean, scale = mean_and_scale(np.where(missing, fill, values)[:, None])
        if not np.isfinite(scale).all():
            raise DataError(f"column {name!r} holds numbers too large to be standardised, such as {values.max():g}")
        return cls(name, fill, float(mean[0]), float(scale[0]))

    def encode(self, series: "pd.Series[Any]", out: Array) -> int:
        """Writes the column to out (rows, 1); returns 0: no cell can be unknown."""
        values = numbers(series, self.name)
        with np.errstate(over="ignore"):
            out[:, 0] = (np.where(np.isnan(values), self.fill, values) - self.mean) / self.scale
        if not np.isfinite(out).all():
            value = values[np.argmin(np.isfinite(out[:, 0]))]
            raise DataError(f"column {self.name!r} holds {value:g}, too large beside the training rows' numbers")
        return 0

    def to_json(self) -> Json:
        """Plain numbers."""
        return {"kind": "number", "name": self.name, "fill": self.fill, "mean": self.mean, "scale": self.scale}


@dataclass(frozen=True)
class CategoryColumn:
    """A column of texts, one-hot: a place per category, then one for missing cells and one for all other texts, if any.

    missing   whether missing cells have a place: cells were missing among the training rows
    other     whether rare categories share a place, which texts unseen in training then take too

    A text, or a missing cell, that has no place becomes a row of zeros (scikit-learn's handle_unknown="ignore").
    """

    name: str
    categories: tuple[str, ...]
    missing: bool = False
    other: bool = False

    @property
    def width(self) -> int:
        """Places of the one-hot row."""
        return len(self.categories) + self.missing + self.other

    @classmethod
    def fit(cls, name: str, series: "pd.Series[Any]", at_most: int) -> "CategoryColumn":
        """The categories of the training rows in alphabetical order, the `at_most` most frequent ones."""
        codes, known = texts(series)
        counts = np.bincount(codes[codes >= 0], minlength=len(known))
        kept = sorted(range(len(known)), key=lambda place: (-counts[place], known[place]))[:at_most]
        return cls(name, tuple(sorted(known[place] for place in kept)), bool((codes < 0).any()), len(known) > at_most)

    def encode(self, series: "pd.Series[Any]", out: Array) -> int:
        """Writes the one-hot rows to out (rows, width), zero so far; returns how many cells are unseen in training."""
        codes, known = texts(series)
        place = {text: index for index, text in enumerate(self.categories)}
        seen = len(self.categories)
        unseen = seen + self.missing if self.other else -1
        table = np.asarray([*(place.get(text, unseen) for text in known), seen if self.missing else -1], np.int64)
        places = table[codes]
        rows = np.flatnonzero(places >= 0)
        out[rows, places[rows]] = 1
        new = np.asarray([*(text not in place for text in known), False])
        return 0 if self.other else int(new[codes].sum())

    def to_json(self) -> Json:
        """Plain text."""
        flags = {"missing": self.missing, "other": self.other}
        return {"kind": "category", "name": self.name, "categories": list(self.categories), **flags}


@dataclass(frozen=True)
class TableEncoder:
    """A table to rows of numbers: what every column was fitted to, in the order of the network's inputs."""

    columns: tuple[NumberColumn | CategoryColumn, ...]

    @classmethod
    def fit(cls, frame: "pd.DataFrame", max_categories: int = 100) -> tuple["TableEncoder", list[str]]:
        """An encoder of the training rows, and a line for every column that was shortened or left out.

        A text column of more than `max_categories` texts keeps the most frequent ones and calls the rest "other"; where
        it has more texts than half its rows, and more than ten (a name, an identifier, a date), it is left out.
        """
        columns: list[NumberColumn | CategoryColumn] = []
        notes = []
        for name, series in frame.items():
            name = str(name)
            if is_number_column(series):
                columns.append(NumberColumn.fit(name, series))
                continue
            distinct = _check_texts(name, series)
            if distinct > max(_FEW, len(frame) / 2):
                example = str(series.dropna().iloc[0])[:40]
                notes.append(f"left out {name!r}: {distinct} different texts in {len(frame)} rows, such as {example!r}")
                continue
            column = CategoryColumn.fit(name, series, max_categories)
            if column.other:
                kept = f"the {max_categories} most frequent of its {distinct} categories"
                notes.append(f"{name!r}: {kept}, the rest as one")
            columns.append(column)
        if not columns:
            raise DataError("no column is left to train on")
        return cls(tuple(columns)), notes

    @property
    def width(self) -> int:
        """Columns of what it gives: the inputs of the network."""
        return sum(column.width for column in self.columns)

    @property
    def text_columns(self) -> tuple[str, ...]:
        """The columns to be read as text (`read_table`): their categories may look like numbers."""
        return tuple(column.name for column in self.columns if isinstance(column, CategoryColumn))

    def missing_from(self, frame: "pd.DataFrame") -> list[str]:
        """The columns it needs that the frame does not have."""
        present = set(frame.columns)
        return [column.name for column in self.columns if column.name not in present]

    def transform(self, frame: "pd.DataFrame", dtype: Any = np.float32) -> tuple[Array, dict[str, int]]:
        """The frame's rows -> (rows, width) of `dtype`, and how many cells of which column hold an unseen category."""
        lacking = self.missing_from(frame)
        if lacking:
            plural = "s" if len(lacking) > 1 else ""
            raise DataError(f"column{plural} {', '.join(map(repr, lacking))} missing: the model was trained on them")
        result = np.zeros((len(frame), self.width), dtype)
        unseen, start = {}, 0
        for column in self.columns:
            new = column.encode(frame[column.name], result[:, start : start + column.width])
            start += column.width
            if new:
                unseen[column.name] = new
        return result, unseen

    def describe(self) -> str:
        """One line for the report of a training."""
        count = sum(isinstance(column, NumberColumn) for column in self.columns)
        categories = len(self.columns) - count
        parts = [f"{number} {kind}" for number, kind in ((count, "number"), (categories, "category")) if number]
        plural = "s" if len(self.columns) > 1 else ""
        return f"{' and '.join(parts)} column{plural} as {self.width} input{'s' if self.width > 1 else ''}"

    def to_json(self) -> Json:
        """Plain numbers and text."""
        return {"kind": "table", "columns": [column.to_json() for column in self.columns]}

    @classmethod
    def from_json(cls, state: Mapping[str, Any]) -> "TableEncoder":
        """The encoder that `to_json` described."""
        columns: list[NumberColumn | CategoryColumn] = []
        for column in state["columns"]:
            fields = {key: value for key, value in column.items() if key != "kind"}
            if column["kind"] == "number":
                columns.append(NumberColumn(**fields))
            else:
                columns.append(CategoryColumn(**fields | {"categories": tuple(fields["categories"])}))
        return cls(tuple(columns))


def _check_texts(name: str, series: "pd.Series[Any]") -> int:
    """How many different texts the column holds; an error when it is one of numbers with a few texts among them."""
    codes, known = texts(series)
    is_number = np.asarray([_is_number(text) for text in known])
    rows = np.bincount(codes[codes >= 0], minlength=len(known))
    if is_number.sum() > 10 and rows[is_number].sum() >= 0.9 * rows.sum():
        place = int(np.argmin(is_number))
        raise _not_a_number(name, series.index[np.argmax(codes == place)], known[place])
    return len(known)
