"""Kernels of a user's own function of one number: scalar loops, which LLVM makes vectors of where it can."""

from collections.abc import Callable
from typing import Any

from numba import njit, types
from numba.core.dispatcher import Dispatcher

from ..table import Operation
from .entry import entry_code


def _jitted(function: Callable[..., Any]) -> Any:
    return function if isinstance(function, Dispatcher) else njit(error_model="numpy")(function)


def scalar(function: Callable[[float], float]) -> Callable[[float], float]:
    """The function compiled for a float64."""
    inner = _jitted(function)

    def value(x):  # type: ignore[no-untyped-def]
        return inner(x)

    compiled: Callable[[float], float] = njit(types.float64(types.float64), error_model="numpy")(value)
    return compiled


def object_code_of(
    entry: Operation, forward: Callable[[float], float], derivative: Callable[[float], float], dtype: str, symbol: str
) -> bytes:
    """Machine code of one of the operations of `fastnn.kernels.own`."""
    f, df = _jitted(forward), _jitted(derivative)

    @njit(error_model="numpy")
    def own_forward(y, x, F, B):  # type: ignore[no-untyped-def]
        for i in range(F):
            for b in range(B):
                y.data[i * y.stride0 + b] = f(x.data[i * x.stride0 + b])

    @njit(error_model="numpy")
    def own_forward_with_slope(y, slope, x, F, B):  # type: ignore[no-untyped-def]
        for i in range(F):
            for b in range(B):
                value = x.data[i * x.stride0 + b]
                y.data[i * y.stride0 + b] = f(value)
                slope.data[i * slope.stride0 + b] = df(value)

    kernel = own_forward if entry.name == "own_forward" else own_forward_with_slope
    return entry_code(entry, kernel, dtype, symbol)
