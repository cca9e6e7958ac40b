"""What is to be learnt: classes or a number, told from the target and always stated."""

from typing import TYPE_CHECKING, Any

import numpy as np

from fastnn import tables
from fastnn.cli.errors import CommandError
from fastnn.cli.report import significant
from fastnn.cli.source import Source, class_text
from fastnn.data import Array, DataError
from fastnn.preprocessing import ClassTarget, NumberTarget

if TYPE_CHECKING:
    import pandas as pd

MOST_CLASSES = 20  # whole numbers of more different values are taken for amounts
ROWS_PER_CLASS = 5


def infer(source: Source) -> tuple[str, str]:
    """ "classify" or "regress", and the reason.

    Texts and truth values are classes. Whole numbers are classes when they take at most 20 different values, each in
    five rows on average; all other numbers are amounts.
    """
    values = source.target
    assert values is not None
    if source.classes is not None or source.labelled:
        return "classify", "the target is labels"
    if values.dtype.kind not in "iuf":
        return "classify", "the target is text" if values.dtype.kind != "b" else "the target is true or false"
    if not np.array_equal(values, np.floor(values)):
        return "regress", "the target has fractions"
    distinct = len(np.unique(values))
    if distinct <= MOST_CLASSES and distinct * ROWS_PER_CLASS <= len(values):
        return "classify", f"the target is whole numbers of {distinct} values"
    return "regress", f"the target is whole numbers of {distinct} values"


def refuse_numbers_with_texts(source: Source) -> None:
    """An error when the target is numbers with a few texts among them, which would each become a class."""
    if source.target is not None and source.target.dtype == object:
        try:
            tables.refuse_numbers_with_texts(source.target_name, _series(source))
        except DataError as error:
            raise DataError(f"{error}; --task classify takes all as classes") from None


def _series(source: Source) -> "pd.Series[Any]":
    """The target with the row numbers of the file."""
    rows = None if isinstance(source.features, np.ndarray) else source.features.index
    series: pd.Series[Any] = tables.pandas().Series(source.target, index=rows)
    return series


def classes(source: Source) -> tuple[ClassTarget, Array]:
    """The classes of the target in their natural order, and the class number (rows,) int32 of every row."""
    values, name = source.target, source.target_name
    assert values is not None
    numbers: Array
    if source.classes is not None:
        target, numbers = ClassTarget(name, source.classes), values.astype(np.int32)
    else:
        if values.dtype == object:
            values = values.astype(str)
        distinct, numbers = np.unique(values, return_inverse=True)
        target = ClassTarget(name, tuple(class_text(value) for value in distinct.tolist()))
        numbers = numbers.astype(np.int32)
    count = len(target.classes)
    if count < 2:
        raise CommandError(
            f"target {name!r} has one class, {target.classes[0]!r}, in all {len(numbers):,} rows{source.dropped_rows()}"
        )
    if count > max(2, len(numbers) / 2):
        remedy = "" if values.dtype.kind in "US" else "; --task regress?"
        written = tables.written_numbers(target.classes)
        if written is not None:
            remedy = f"; they look like numbers, such as {written!r}: written as plain ones they could be learnt"
        raise CommandError(f"target {name!r} has {count:,} classes in {len(numbers):,} rows: too many to learn{remedy}")
    return target, numbers


def amounts(source: Source) -> Array:
    """The target as float64 (rows,), for regression."""
    values, name = source.target, source.target_name
    assert values is not None
    if source.classes is not None or values.dtype.kind == "U":
        raise CommandError(f"target {name!r} is labels, not numbers: --task classify")
    if values.dtype == object:
        try:
            values = tables.numbers(_series(source), name)
        except DataError:
            known = sum(tables.is_number(str(value)) for value in values.tolist())
            if known > len(values) / 2:
                raise
            raise CommandError(
                f"target {name!r} is text, such as {values[0]!r}, not numbers: --task classify"
            ) from None
    values = values.astype(np.float64)
    if (values == values[0]).all():
        left = source.dropped_rows()
        raise CommandError(f"target {name!r} is {values[0]:g} in all {len(values):,} rows: nothing to learn{left}")
    return values


def describe(target: ClassTarget | NumberTarget) -> str:
    """The task in a line of the report: the classes, or the size of the values."""
    if isinstance(target, NumberTarget):
        return (
            f"regress {target.name!r}, mean {significant(target.mean)}, standard deviation {significant(target.scale)}"
        )
    shown = ", ".join(target.classes[:10]) + (" ..." if len(target.classes) > 10 else "")
    return f"classify {target.name!r}, {len(target.classes)} classes: {shown}"
