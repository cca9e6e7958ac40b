"""Operations made of a user's own function of one number and its derivative. They are not in the table: each pair of
functions has its own, for which Numba makes kernels in memory when a plan asks for them.
"""

import functools
import itertools
from collections.abc import Callable
from importlib import util
from typing import Any

import numpy as np

from . import objects
from .table import Operation, declared

Array = np.ndarray[Any, Any]
Function = Callable[[float], float]

_numbers = itertools.count()


@functools.cache
def operations(forward: Function, derivative: Function) -> tuple[Operation, Operation]:
    """y = forward(x), and the same together with slope = derivative(x)."""

    def own_forward(y: Array, x: Array) -> None:
        y[...] = values(forward, x)

    def own_forward_with_slope(y: Array, slope: Array, x: Array) -> None:
        y[...], slope[...] = values(forward, x), values(derivative, x)

    made = (
        declared(own_forward, writes="y[F,B]", reads="x[F,B]", in_place="y=x", splits="F B"),  # type: ignore[arg-type]
        declared(
            own_forward_with_slope,  # type: ignore[arg-type]
            writes="y[F,B] slope[F,B]", reads="x[F,B]", in_place="slope=x", splits="F B",
        ),
    )  # fmt: skip
    value, both = (one._replace(address=functools.cache(_address_of(one, forward, derivative))) for one in made)
    return value, both


def _address_of(entry: Operation, forward: Function, derivative: Function) -> Callable[[str], int]:
    def address(dtype: str) -> int:
        if not has_numba():
            raise RuntimeError("an activation of your own needs Numba in compiled backends: pip install numba")
        from .numba import own

        symbol = objects.symbol(f"{entry.name}_{next(_numbers)}", dtype)
        return objects.load_code(own.object_code_of(entry, forward, derivative, dtype, symbol), symbol)

    return address


def has_numba() -> bool:
    """Whether Numba is installed."""
    return util.find_spec("numba") is not None


@functools.cache
def compiled(function: Function) -> Function:
    """A function of one number by Numba, for float64; Numba's own error if it cannot compile it."""
    from .numba import own

    return own.scalar(function)


def values(function: Function, x: Array) -> Array:
    """The function at each number, by Python. Where Python raises an error and Numba has a result (infinity for
    exp(1000) and 1 / 0), that is taken; without Numba NaN."""

    def one(value: float) -> float:
        try:
            return function(value)
        except (ArithmeticError, ValueError):
            return compiled(function)(value) if has_numba() else np.nan

    with np.errstate(all="ignore"):
        return np.asarray(np.frompyfunc(one, 1, 1)(x.astype(np.float64))).astype(np.float64)
