"""How exact an operation's answer is, beside the judge of the tests (its reference in wider arithmetic): in ulp, in
K eps or in tolerances, whichever fits the operation.

    ulp          operations that go number by number: of the result; of the larger one of before and after, where the
                 result is an update
    K eps        products: of the sum of the magnitudes of the K terms
    tolerances   of tests/tolerances.py: all others, whose sums are of many kinds or whose results may cancel
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))  # tolerances

import numpy as np
import tolerances

from fastnn.kernels import Operation

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Error:
    """The largest error of what an operation has written, and what it is in tolerances: wrong beyond 1."""

    value: float
    unit: str
    tolerances: float


def written(entry: Operation) -> list[str]:
    """The names of the arrays that an operation writes or updates."""
    return [array.name for array in entry.arrays if array.access != "reads"]


def is_product(entry: Operation) -> bool:
    """Whether an operation multiplies matrices: three sizes, one of which its result does not have."""
    return len(_sizes(entry)) == 3


def terms(entry: Operation, arguments: Mapping[str, Any]) -> int:
    """The length of the sums of a product."""
    result = next(array for array in entry.arrays if array.access != "reads")
    return int(entry.size_of(arguments)[next(size for size in _sizes(entry) if size not in result.axes)])


def flops(entry: Operation, arguments: Mapping[str, Any]) -> int:
    """The floating-point operations of a product; 0 of anything else, which waits for memory."""
    sizes = entry.size_of(arguments)
    return 2 * int(np.prod([sizes[size] for size in _sizes(entry)])) if is_product(entry) else 0


def error_of(entry: Operation, given: Mapping[str, Any], judged: tolerances.Outcome) -> Error:
    """The error of the arrays that an operation has written."""
    names = written(entry)
    excess = max(
        tolerances.excess(given[name], judged.after[name], tolerances.allowed(entry.name, name, judged))
        for name in names
    )
    if is_product(entry):
        count = terms(entry, given)  # a tolerance is (K + 2) eps / 2 of the same sum
        return Error(excess * (count + 2) / (2 * count), "K eps", excess)
    if not _goes_by_number(entry):
        return Error(excess, "tolerances", excess)
    sizes = {array.name: np.abs(judged.after[array.name]) for array in entry.arrays if array.access != "reads"}
    for array in entry.arrays:
        if array.access == "updates":
            sizes[array.name] = judged.largest(array.name)
    return Error(max(_ulps(given[name], judged.after[name], sizes[name]) for name in names), "ulp", excess)


def _goes_by_number(entry: Operation) -> bool:
    """Whether all arrays are of numbers along the same axes, and results are updates or keep within some ulp."""
    same = len({array.axes for array in entry.arrays}) == 1 and all(array.dtype is None for array in entry.arrays)
    updates = any(array.access == "updates" for array in entry.arrays)
    return same and (updates or not tolerances.has_bound(entry.name))


def _sizes(entry: Operation) -> list[str]:
    return [size for size in entry.sizes if size != "R"]


def _ulps(got: Array, expected: Array, size: Array) -> float:
    """The largest distance in units in the last place of numbers of that size; of numbers that are finite in both."""
    with np.errstate(all="ignore"):
        spacing = np.spacing(size.astype(got.dtype)).astype(expected.dtype)
        error = np.where(np.isfinite(got) & np.isfinite(spacing), np.abs(got - expected) / spacing, 0)
    return float(error.max(initial=0.0))
