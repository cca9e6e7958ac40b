"""Checks at the boundary: every error names the argument, what it was and what was expected, before anything is
changed."""

import math
import operator
import sys
from collections.abc import Iterable
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]

_CLASS_NUMBERS = "for instance with np.unique(y, return_inverse=True)[1]"


def unknown_name(what: str, name: object, known: Iterable[str]) -> ValueError:
    """The error for a name that is none of the known ones; it says which known one is nearest."""
    import difflib

    names = sorted(known)
    near = difflib.get_close_matches(str(name).lower(), names, n=1, cutoff=0.5)
    hint = f" did you mean {near[0]!r}?" if near else ""
    return ValueError(f"unknown {what} {name!r}:{hint} Known: {', '.join(names)}")


def not_a_class(what: str, value: object, base: type) -> None:
    """Refuses a class derived from `base` where one of its instances is expected: `Adam` for `Adam()`."""
    if isinstance(value, type) and issubclass(value, base):
        raise TypeError(f"{what}={value.__name__}: is a class, expected an instance of it: write {value.__name__}()")


def integer(owner: str, argument: str, value: Any, minimum: int | None = None, maximum: int | None = None) -> int:
    """`value` as an int within the bounds; booleans and fractions are refused."""
    try:
        if isinstance(value, (bool, np.bool_)):
            raise TypeError
        number = operator.index(value)
    except TypeError:
        raise TypeError(f"{owner}({argument}={value!r}): {argument} must be an integer") from None
    if minimum is not None and number < minimum:
        raise ValueError(f"{owner}({argument}={value!r}): {argument} must be at least {minimum}")
    if maximum is not None and number > maximum:
        raise ValueError(f"{owner}({argument}={value!r}): {argument} must be at most {maximum}")
    return number


def number(
    owner: str, argument: str, value: Any, minimum: float | None = None, maximum: float | None = None,
    above: float | None = None, below: float | None = None,
) -> float:  # fmt: skip
    """`value` as a finite float within the bounds, of which `above` and `below` are exclusive."""
    return _number(f"{owner}({argument}={value!r}): {argument}", value, minimum, maximum, above, below)


def pair(
    owner: str, argument: str, values: Any, minimum: float | None = None, maximum: float | None = None,
    above: float | None = None, below: float | None = None,
) -> tuple[float, float]:  # fmt: skip
    """`values` as two numbers, each within the bounds of `number`; errors show both and say which one is wrong."""
    try:
        first, second = values
    except (TypeError, ValueError):
        raise TypeError(f"{owner}({argument}={values!r}): {argument} must be two numbers") from None
    name = f"{owner}({argument}={values!r}): {argument}"
    bounds = minimum, maximum, above, below
    return _number(f"{name}[0]", first, *bounds), _number(f"{name}[1]", second, *bounds)


def _number(
    name: str, value: Any, minimum: float | None, maximum: float | None, above: float | None, below: float | None
) -> float:
    try:
        if isinstance(value, (bool, np.bool_, str)):
            raise TypeError
        result = float(value)
    except (TypeError, ValueError, OverflowError):
        raise TypeError(f"{name} must be a number") from None
    bounds = [
        (minimum is None or result >= minimum, f"at least {minimum}"),
        (maximum is None or result <= maximum, f"at most {maximum}"),
        (above is None or result > above, f"above {above}"),
        (below is None or result < below, f"below {below}"),
        (math.isfinite(result), "finite"),
    ]
    for kept, rule in bounds:
        if not kept:
            raise ValueError(f"{name} must be {rule}")
    return result


def flag(owner: str, argument: str, value: Any) -> bool:
    """`value` as a bool; numbers and texts are refused, because "no" would count as true."""
    if not isinstance(value, (bool, np.bool_)):
        raise TypeError(f"{owner}({argument}={value!r}): {argument} must be True or False")
    return bool(value)


def numeric(value: Any, name: str, advice: str = "") -> Array:
    """`value` as an array of real numbers; objects, strings and complex numbers are refused, the first two with advice
    on how to make them numbers."""
    if value is None or hasattr(value, "toarray"):
        what = "None" if value is None else "a sparse matrix; give its .toarray()"
        raise TypeError(f"{name}: is {what}, expected an array of real numbers")
    # Who has a masked array has imported numpy.ma, which takes 5 ms.
    if "numpy.ma" in sys.modules and isinstance(value, np.ma.MaskedArray) and np.ma.is_masked(value):
        raise ValueError(f"{name}: has masked entries; fill them first, for instance with .filled(0)")
    try:
        array = np.asarray(value)
    except ValueError as error:
        raise ValueError(f"{name}: cannot be made an array ({error})") from None
    if array.dtype.kind not in "fiub":
        hint = f"; {advice}" if advice and array.dtype.kind in "OUS" else ""
        raise TypeError(f"{name}: has dtype {array.dtype}, expected real numbers{hint}")
    return array


def features(
    X: Any, columns: int | None, dtype: Any, name: str = "X", allow_nonfinite: bool = False, whole: bool = True
) -> Array:
    """X as a C-contiguous native (rows, columns) array of `dtype`; itself where it is one already.

    whole   False: a memory-mapped array of another dtype, or not C-contiguous, that would take more than 256 MiB is
            checked and returned as it is; its rows are to be taken with `rows_of`
    TypeError for objects, strings and complex numbers; ValueError for a wrong rank or width, zero rows, and NaN or
    infinity unless `allow_nonfinite`.
    """
    array = numeric(X, name, "encode categories first, for instance with scikit-learn's OneHotEncoder")
    wanted = "(rows, columns)" if columns is None else f"(rows, {columns})"
    if array.ndim != 2 or (columns is not None and array.shape[1] != columns):
        raise ValueError(f"{name}: has shape {array.shape}, expected {wanted}")
    return _finished(array, dtype, name, allow_nonfinite, whole)


def rows_of(array: Array, index: slice | Array, dtype: Any) -> Array:
    """Rows of an array that `features` returned, C-contiguous and of `dtype`; a view where it can be one."""
    return np.require(array[index], dtype, ("C", "A"))


def is_ready(array: Array, dtype: Any) -> bool:
    """Whether an array can be used as it is, without a copy."""
    return bool(array.dtype == np.dtype(dtype) and array.flags.c_contiguous and array.flags.aligned)


def targets(
    y: Any, columns: int, dtype: Any, name: str = "y", allow_nonfinite: bool = False, outputs: int | None = None
) -> Array:  # fmt: skip
    """y as a C-contiguous (rows, columns) array of `dtype`; one axis is accepted where columns is 1.

    outputs   of the network, for the error; None: as many as columns
    """
    array = numeric(y, name, f"encode two classes as 0 and 1, {_CLASS_NUMBERS}" if columns == 1 else "")
    if array.ndim == 1 and columns == 1:
        array = array[:, None]
    if array.ndim != 2 or array.shape[1] != columns:
        wanted = f"(rows, {columns})" + (" or (rows,)" if columns == 1 else "")
        raise ValueError(
            f"{name}: has shape {array.shape}, expected {wanted} for a network with {outputs or columns} outputs"
        )
    return _finished(array, dtype, name, allow_nonfinite)


def entries(array: Array, wrong: Array, name: str, expected: str) -> None:
    """Refuses a matrix that has wrong entries, and names the first one."""
    if wrong.any():
        row, column = np.argwhere(wrong)[0]
        raise ValueError(f"{name}: row {row}, column {column} is {array[row, column]}, expected {expected}")


def labels(y: Any, classes: int, name: str = "y") -> Array:
    """y as int32 (rows,) with every entry in [0, classes); floats are accepted where they are whole numbers."""
    array = numeric(y, name, f"encode the classes as 0 to {classes - 1}, {_CLASS_NUMBERS}")
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if array.ndim != 1:
        raise ValueError(f"{name}: has shape {array.shape}, expected (rows,) integer class labels")
    if len(array) == 0:
        raise ValueError(f"{name}: has no rows")
    if array.dtype.kind == "f":
        wrong = ~(array == np.floor(array)) | np.isinf(array)
        if wrong.any():
            row = int(np.argmax(wrong))
            raise ValueError(f"{name}: row {row} is {array[row]}, expected whole numbers from 0 to {classes - 1}")
    low, high = array.min(), array.max()
    if low < 0 or high >= classes:
        row = int(np.argmax((array < 0) | (array >= classes)))
        raise ValueError(f"{name}: row {row} is {array[row]}, expected labels from 0 to {classes - 1}")
    return np.require(array, np.int32, ("C", "A"))


def row_numbers(order: Any, rows: int, batch_size: int, name: str = "order") -> Array:
    """order as int64, (rows,) or (steps, batch), every entry in [0, rows)."""
    try:
        array = np.asarray(order)
    except ValueError as error:
        raise ValueError(f"{name}: cannot be made an array ({error})") from None
    if array.ndim not in (1, 2) or array.size == 0:
        raise ValueError(f"{name}: has shape {array.shape}, expected (steps, batch_size) or (rows,), not empty")
    if array.dtype.kind not in "iu":
        raise TypeError(f"{name}: has dtype {array.dtype}, expected row numbers as integers")
    if array.ndim == 2 and array.shape[1] > batch_size:
        raise ValueError(f"{name}: has {array.shape[1]} rows a step, expected at most batch_size = {batch_size}")
    numbers = np.require(array, np.int64, ("C", "A"))
    if numbers.view(np.uint64).max() >= rows:  # which negative ones are too
        bad = array.ravel()[int(np.argmax((array.ravel() < 0) | (array.ravel() >= rows)))]
        raise ValueError(f"{name}: contains row {bad}, expected rows from 0 to {rows - 1}")
    return numbers


def same_rows(X: Array, y: Array, names: tuple[str, str] = ("X", "y")) -> None:
    """Refuses arrays of different lengths."""
    if len(X) != len(y):
        raise ValueError(f"{names[1]}: has {len(y)} rows, expected {len(X)} as in {names[0]}")


_WHOLE_BYTES = 2**28  # what a memory-mapped array may take when it is converted at once
_BLOCK_BYTES = 2**24  # of numbers that are looked at, or converted, at once


def _finished(array: Array, dtype: Any, name: str, allow_nonfinite: bool, whole: bool = True) -> Array:
    if len(array) == 0:
        raise ValueError(f"{name}: has no rows")
    in_parts = not whole and array.size * np.dtype(dtype).itemsize > _WHOLE_BYTES and _is_mapped(array)
    with np.errstate(over="ignore"):  # what overflows is found and named below
        converted = array if in_parts else np.require(array, dtype, ("C", "A"))
    if not allow_nonfinite and array.dtype.kind == "f":
        place = _nonfinite(converted, dtype)
        if place is not None:
            raise ValueError(
                f"{name}: row {place[0]}, column {place[1]} is {array[place]}, expected finite numbers within "
                f"{np.dtype(dtype)} (allow_nonfinite=True takes the data as it is)"
            )
    return converted


def _nonfinite(array: Array, dtype: Any) -> tuple[int, int] | None:
    """Row and column of the first number that is not finite in that dtype. Large arrays are looked at in blocks, which
    bounds the memory it takes, and between which Ctrl-C arrives."""
    rows = block_rows(array.shape[1], dtype)
    for start in range(0, len(array), rows):
        with np.errstate(over="ignore", invalid="ignore"):
            block = rows_of(array, slice(start, start + rows), dtype)
            # A sum is not finite if any term is not; only then is it worth looking where (or whether terms overflowed).
            suspicious = not np.isfinite(block.sum())
        if suspicious and not (finite := np.isfinite(block)).all():
            row, column = np.argwhere(~finite)[0]
            return start + int(row), int(column)
    return None


def block_rows(columns: int, dtype: Any) -> int:
    """So many rows are converted, or gathered, at once where all of them may not fit into memory."""
    return max(1, _BLOCK_BYTES // max(1, columns * np.dtype(dtype).itemsize))


def _is_mapped(array: Any) -> bool:
    """Whether an array's numbers lie in a file: np.memmap, np.load(mmap_mode=...) and views of such."""
    while isinstance(array, np.ndarray):
        if isinstance(array, np.memmap):
            return True
        array = array.base
    return False


def subclasses(base: type) -> dict[str, Any]:
    """All public classes below a base by name, so that a new layer or loss need not be entered anywhere."""
    found: dict[str, Any] = {}
    cls: type
    for cls in base.__subclasses__():
        found.update({cls.__name__: cls, **subclasses(cls)})
    return {name: cls for name, cls in found.items() if not name.startswith("_")}
