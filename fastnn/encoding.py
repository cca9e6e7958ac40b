"""Tables with numbers, categories and missing cells to rows of numbers, the same way for later tables.

What is fitted, a `TableEncoder`, is plain numbers and text: it is stored with the model as JSON and needs no
scikit-learn, whose import takes longer than reading and training most tables. A test holds it against scikit-learn's
imputer, scaler and one-hot encoder.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from fastnn.data import Array, DataError
from fastnn.preprocessing import SCALINGS, Json, shift_and_scale
from fastnn.tables import is_number_column, numbers, refuse_numbers_with_texts, texts, written_numbers

if TYPE_CHECKING:
    import pandas as pd

_FEW = 10  # different texts that a column may have however few its rows are
_SHOWN = 5  # faults told at once


class UselessColumn(Exception):
    """A column of numbers that a network can learn nothing from; the message says why."""


@dataclass(frozen=True)
class NumberColumn:
    """A column of numbers: missing cells become `fill` (the median), then (x - mean) / scale."""

    name: str
    fill: float
    mean: float
    scale: float

    width = 1

    @classmethod
    def fit(cls, name: str, series: "pd.Series[Any]", scaling: str = "standard") -> "NumberColumn":
        """Median, and what `scaling` (see SCALINGS) shifts and divides by, of the training rows; UselessColumn where
        there are none, or no finite ones."""
        values = numbers(series, name)
        missing = np.isnan(values)
        if missing.all():
            raise UselessColumn("no values in the training rows")
        with np.errstate(over="ignore"):
            fill = float(np.median(values[~missing]))
            mean, scale = shift_and_scale(np.where(missing, fill, values)[:, None], scaling)
        if not np.isfinite([fill, mean[0], scale[0]]).all():
            largest = values[np.nanargmax(np.abs(values))]
            raise UselessColumn(f"numbers too large to be {SCALINGS[scaling]}, such as {largest:g}")
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
    def fit(
        cls, frame: "pd.DataFrame", max_categories: int = 100, scaling: str = "standard"
    ) -> tuple["TableEncoder", list[str]]:
        """An encoder of the training rows, and a line for every column that was shortened or left out.

        A text column of more than `max_categories` texts keeps the most frequent ones and calls the rest "other"; where
        it has more texts than half its rows, and more than ten (a name, an identifier, a date), it is left out. So is
        a column without values, or with numbers too large to be standardised. Texts among numbers are an error, which
        names all such columns. `scaling` is what is done to the columns of numbers, one of
        `fastnn.preprocessing.SCALINGS`.
        """
        if scaling not in SCALINGS:
            raise ValueError(f"TableEncoder.fit(scaling={scaling!r}): expected one of {', '.join(SCALINGS)}")
        columns: list[NumberColumn | CategoryColumn] = []
        notes: list[str] = []
        faults: list[str] = []
        for name, series in frame.items():
            try:
                column, note = _fit_column(str(name), series, max_categories, scaling)
            except DataError as error:
                faults.append(str(error))
                continue
            columns += [column] if column is not None else []
            notes += [note] if note else []
        if faults:
            more = len(faults) - _SHOWN
            raise DataError("; ".join(faults[:_SHOWN]) + (f"; {more} more columns like these" if more > 0 else ""))
        if not columns:
            why = "".join(f"; {note}" for note in notes[:_SHOWN])
            raise DataError(f"no column is left to train on{why}")
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


def _fit_column(
    name: str, series: "pd.Series[Any]", max_categories: int, scaling: str
) -> tuple[NumberColumn | CategoryColumn | None, str]:
    """A column fitted, None when it is left out, and a remark on it, "" when there is none."""
    if is_number_column(series):
        try:
            return NumberColumn.fit(name, series, scaling), ""
        except UselessColumn as reason:
            return None, f"left out {name!r}: {reason}"
    known = refuse_numbers_with_texts(name, series)
    written = written_numbers(known)
    hint = "" if written is None else "; they look like numbers: written as plain ones they would be used as such"
    example = series.dropna().iloc[0] if written is None else written
    if len(known) > max(_FEW, len(series) / 2):
        texts_ = f"{len(known)} different texts in {len(series)} rows, such as {str(example)[:40]!r}"
        return None, f"left out {name!r}: {texts_}{hint}"
    column = CategoryColumn.fit(name, series, max_categories)
    if column.other:
        return (
            column,
            f"{name!r}: the {max_categories} most frequent of its {len(known)} categories, the rest as one{hint}",
        )
    return column, f"{name!r}: texts such as {example!r} are taken as categories{hint}" if hint else ""
