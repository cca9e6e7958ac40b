"""What was fitted to the training rows: it goes into the model file and brings later files into the same form."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from fastnn import data, tables
from fastnn.cli import source as source_
from fastnn.cli.report import count
from fastnn.cli.source import Reading, Source
from fastnn.data import Array, DataError
from fastnn.encoding import TableEncoder
from fastnn.preprocessing import ArrayEncoder, ClassTarget, Json, NumberTarget, target_from_json

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, eq=False)
class Recipe:
    """What turns a file into the arrays of a trained network: fitted on the training rows, stored with the model.

    header, columns   of the table it was fitted to; None and the width for arrays
    missing           texts taken as missing, besides the usual ones
    features          the array that held the features, where the user named it
    """

    encoder: ArrayEncoder | TableEncoder
    target: ClassTarget | NumberTarget
    header: bool | None
    columns: int
    missing: tuple[str, ...]
    title: str
    features: str | None = None

    def to_json(self) -> Json:
        """Plain numbers and text."""
        return {
            "encoder": self.encoder.to_json(),
            "target": self.target.to_json(),
            "header": self.header,
            "columns": self.columns,
            "missing": list(self.missing),
            "title": self.title,
            "features": self.features,
        }

    @classmethod
    def from_json(cls, state: Mapping[str, Any]) -> "Recipe":
        """The recipe that `to_json` described."""
        kind = ArrayEncoder if state["encoder"]["kind"] == "array" else TableEncoder
        return cls(
            encoder=kind.from_json(state["encoder"]),
            target=target_from_json(state["target"]),
            header=state["header"],
            columns=int(state["columns"]),
            missing=tuple(state["missing"]),
            title=state["title"],
            features=state["features"],
        )

    def load(self, path: str, reading: Reading) -> Source:
        """Another file of the same form; its target is None when the file has none."""
        content = None if path in data.BUNDLED else source_.read(path)
        form = source_.form_of(content)
        source_.refuse_unused(path, form, reading)
        if content is None:
            source = source_.bundled(path)
        elif form == "IDX":
            source = source_.idx(content, path, reading.labels, required=False)
        elif form == ".npz":
            source = source_.npz(content, path, self.target.name, reading.features or self.features, required=False)
        else:
            source = self._load_table(content, path, reading)
        if isinstance(self.encoder, TableEncoder):
            if isinstance(source.features, np.ndarray):
                raise DataError(f"{path}: the model was trained on the table {self.title}, give it a table")
            lacking = self.encoder.missing_from(source.features)
            if lacking:
                raise DataError(_lacking(path, lacking, source))
        elif source.features.shape[1] != self.encoder.columns:
            raise DataError(
                f"{path} has {source.features.shape[1]} columns, the model takes {self.encoder.columns} ({self.title})"
            )
        return source

    def _load_table(self, content: bytes, path: str, reading: Reading) -> Source:
        """A table: by the header it was trained with, or by position for a model trained on arrays."""
        known = self.encoder
        text = known.text_columns if isinstance(known, TableEncoder) else ()
        header = self.header if reading.header is None else reading.header
        missing = (*self.missing, *reading.missing)
        table = tables.read_table(content, path, header, reading.delimiter, missing, text)
        frame, notes = table.frame, [source_.understood(table)]
        name = self.target.name
        if isinstance(known, ArrayEncoder):
            return self._as_array(frame, path, notes)
        if not table.header and name.isdecimal() and frame.shape[1] == self.columns - 1:
            place = int(name)
            frame.columns = [str(number + (number >= place)) for number in range(frame.shape[1])]
            notes.append(f"one column less than in training: taken as the same columns without the target {name}")
        target = source_.target_values(frame[name]) if name in frame.columns else None
        needed = {column.name for column in known.columns} | {name}
        extra = [repr(column) for column in frame.columns if column not in needed]
        if extra:
            notes.append(f"not used: {', '.join(extra[:8])}{' ...' if len(extra) > 8 else ''}")
        return Source(path, frame, target, name, header=table.header, columns=frame.shape[1], notes=notes)

    def _as_array(self, frame: "pd.DataFrame", path: str, notes: list[str]) -> Source:
        """A table for a model trained on plain arrays: columns by name where it has names, else by position."""
        assert isinstance(self.encoder, ArrayEncoder)
        names, name = self.encoder.names, self.target.name
        target = source_.target_values(frame[name]) if name in frame.columns else None
        if names and set(names) <= set(frame.columns):
            frame = frame[list(names)]
        else:
            frame = frame.drop(columns=[name], errors="ignore")
            notes.append("columns taken by position")
        X = np.empty(frame.shape)
        for place in range(frame.shape[1]):
            X[:, place] = tables.numbers(frame.iloc[:, place], str(frame.columns[place]))
        return Source(path, X, target, name, columns=X.shape[1], notes=notes)

    def transform(self, source: Source, rows: Array | None = None, dtype: Any = np.float32) -> tuple[Array, list[str]]:
        """The features (of some rows) as the network takes them, and a line for each column with unseen categories."""
        features = source.features if rows is None else source.take(rows)
        if isinstance(self.encoder, ArrayEncoder):
            return self.encoder.transform(np.asarray(features), dtype), []
        X, unseen = self.encoder.transform(features, dtype)  # type: ignore[arg-type]
        return X, [
            f"{name!r}: {count(number, 'cell')} of a category unseen in training" for name, number in unseen.items()
        ]

    def encode_target(self, source: Source) -> tuple[Array, Array, list[str]]:
        """The rows whose target is there and known, their targets (class numbers, or values as measured), notes."""
        assert source.target is not None
        name = self.target.name
        if isinstance(self.target, NumberTarget):
            series = tables.pandas().Series(source.target) if source.target.dtype == object else None
            values = tables.numbers(series, name) if series is not None else source.target.astype(np.float64)
            rows = np.flatnonzero(np.isfinite(values))
            return rows, values[rows], []
        notes = []
        if source.classes is not None:
            labels = [source.classes[number] for number in source.target]
        else:
            labels = [source_.class_text(value) for value in source.target.tolist()]
        numbers = self.target.encode(np.asarray(labels, object))
        if (numbers < 0).all():
            # UCI's Adult: the labels of the test file end in a full stop, those of the training file do not.
            numbers = self.target.encode(np.asarray([label.removesuffix(".") for label in labels], object))
            if (numbers >= 0).any():
                notes.append(f"labels of {name!r} taken without the full stop at their end")
        rows = np.flatnonzero(numbers >= 0)
        return rows, numbers[rows], notes


def _lacking(path: str, lacking: Sequence[str], source: Source) -> str:
    listed = ", ".join(map(repr, lacking[:8])) + (" ..." if len(lacking) > 8 else "")
    hint = "; does its first line hold names? (--header, --no-header)" if len(lacking) >= source.columns - 1 else ""
    return f"{path} lacks the column{'s' if len(lacking) > 1 else ''} {listed} that the model was trained on{hint}"
