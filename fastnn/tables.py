"""Tables in text files, read by pandas (the extra `tables`): delimiter, header and encoding are told from the lines.

Beside reading there are the two ways to take a column: as numbers and as texts, missing cells marked in both.
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

if TYPE_CHECKING:
    import pandas as pd

MISSING = ("?", "-")  # besides what pandas takes as missing: "", NA, N/A, NaN, nan, null, None, #N/A ...
# The comma last: with ";" between cells it is the decimal sign of half the world, and so cuts all lines alike too.
_DELIMITERS = ("\t", ";", "|", ",")
_DECIMAL_COMMA = re.compile(r"[-+]?\d+,\d+")
# A sign of a currency, digits (in groups, or with a decimal comma), a unit.
_WRITTEN_NUMBER = re.compile(
    r"[-+]?(?P<before>[$€£¥]?) ?[-+]?"
    r"(?:\d{1,3}(?:[,' \u00a0\u202f]\d{3})+(?:\.\d+)?|\d{1,3}(?:\.\d{3})+,\d+|\d+(?:[.,]\d+)?)"
    r"(?:[ \u00a0\u202f]*(?P<after>[^\d\s.,:;/-][^\d\s]{0,7}))?"
)
_SAMPLE = 200  # lines looked at to tell the delimiter and the header


@dataclass(frozen=True, eq=False)
class Table:
    """A text file as read: the frame, and how its lines were understood.

    named   the column asked for, where it alone showed that the first line holds names; else ""
    """

    frame: "pd.DataFrame"
    header: bool
    delimiter: str
    encoding: str
    named: str = ""


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
    name: str | None = None,
) -> Table:
    """The table in the bytes of a text file; `path` is only for messages.

    header        whether the first line holds names; None: told from the lines. Without one, columns are "0", "1" ...
    delimiter     "," ";" tab, "|" or " ", which stands for any white space; None: told from the lines
    missing       texts that mean a missing cell, besides pandas' own, "?" and "-"
    text_columns  columns to be read as text even when they look like numbers
    name          a column that the table should have: a first line with it is a header, but see `_stands_first`
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
    named = ""
    if header is None:
        header = _has_header(rows, empty)
        if not header and name is not None and _stands_first(name, rows):
            header, named = True, name
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
    return Table(frame, header, delimiter, encoding, named)


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


def is_number(cell: str) -> bool:
    """Whether a cell's text reads as a number."""
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
    if any(is_number(cell) for cell in first):
        return False
    columns: list[list[str]] = [[] for _ in first]
    for row in rest:
        for cells, cell in zip(columns, row, strict=False):
            if cell not in empty:
                cells.append(cell)
    if any(cells and all(map(is_number, cells)) for cells in columns):
        return True
    return not any(name in cells for name, cells in zip(first, columns, strict=True))


def _stands_first(name: str, rows: Sequence[Sequence[str]]) -> bool:
    """Whether a text stands in the first row, and not again further down in its column, as a value would."""
    if is_number(name) or name not in rows[0]:
        return False
    place = rows[0].index(name)
    return not any(row[place : place + 1] == [name] for row in rows[1:])


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
    return all(isinstance(value, bool) or is_number(str(value)) for value in distinct)


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
                raise not_a_number(name, series.index[np.argmax(codes == place)], value) from None
        values = converted[codes]
    infinite = np.isinf(values)
    if infinite.any():
        raise not_a_number(name, series.index[np.argmax(infinite)], "inf")
    return values


def not_a_number(name: str, row: Any, value: object) -> DataError:
    """The error for a cell that is text in a column of numbers; `row` counts from 0."""
    return DataError(
        f"column {name!r} holds numbers, but {str(value)!r} in row {int(row) + 1}: correct it, or take it as missing "
        f"with --missing {shlex.quote(str(value))}"
    )


def refuse_numbers_with_texts(name: str, series: "pd.Series[Any]") -> list[str]:
    """The different texts of a column; an error when it is one of numbers with a few other texts among them."""
    codes, known = texts(series)
    numeric = np.asarray([is_number(text) for text in known], bool)
    rows = np.bincount(codes[codes >= 0], minlength=len(known))
    if not numeric.all() and numeric.sum() > 10 and rows[numeric].sum() >= 0.9 * rows.sum():
        place = int(np.argmin(numeric))
        raise not_a_number(name, series.index[np.argmax(codes == place)], known[place])
    return known


def written_numbers(known: Sequence[str]) -> str | None:
    """Whether texts are numbers with something beside or in them ("1,000", "5%", "12 kg"): an example, else None.

    What is beside the digits must be the same in nine of ten texts; plain numbers may be among them.
    """
    found: dict[tuple[str, str], list[str]] = {}
    plain = 0
    for text in known:
        match = _WRITTEN_NUMBER.fullmatch(text)
        if is_number(text):
            plain += 1
        elif match is not None:
            found.setdefault((match["before"], match["after"]), []).append(text)
    alike = max(found.values(), key=len, default=[])
    return alike[0] if len(alike) > 1 and len(alike) + plain >= 0.9 * len(known) else None


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
