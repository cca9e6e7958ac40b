"""The cases that tests and benchmarks share: arguments for every operation of the kernel table, at given sizes.

Arrays are drawn at random; operands whose values mean something (labels, row numbers, variances, probabilities) are
drawn from what they may be. A new operation is covered as soon as it is in the table.
"""

from typing import Any

import numpy as np

from fastnn.kernels import OPERATIONS

Array = np.ndarray[Any, Any]

SIZES = [1, 2, 3, 5, 15, 16, 17, 33, 64, 100, 129]
"""Lengths of an axis: one, odd ones, one off a vector of 16, 8 or 4 on either side, several vectors."""

SCALARS: dict[str, float | int] = {
    "accumulate": 1, "alpha": 0.99, "beta1": 0.9, "beta2": 0.999, "c0": 1.0, "c1": 0.0, "c2": -1.0, "derivative": 2,
    "eps": 1e-5, "floor": 0.0, "key": 0x9E3779B9, "lr": 0.01, "momentum": 0.9, "scale": 0.125,
    "sqrt_bias_correction2": 0.3, "step_size": 0.02, "threshold": 0xC0000000,
}  # fmt: skip

_POSITIVE = {"running_var", "inv_std", "exp_avg_sq", "square_avg", "sum"}


def arguments(name: str, sizes: dict[str, int], dtype: Any, seed: int = 0) -> dict[str, Any]:
    """Arguments of an operation: C-contiguous arrays of these axis lengths, and the usual scalars."""
    generator = np.random.default_rng([seed, *name.encode()])
    entry = OPERATIONS[name]
    drawn: dict[str, Any] = {}
    for array in entry.arrays:
        shape = tuple(int(axis) if axis.isdigit() else sizes[axis] for axis in array.axes)
        kind = array.type(np.dtype(dtype))
        if array.name == "order":
            drawn[array.name] = generator.integers(0, sizes["R"], shape).astype(kind)
        elif kind.kind == "i":
            drawn[array.name] = generator.integers(0, sizes.get("C", 7), shape).astype(kind)
        elif array.name == "targets":
            drawn[array.name] = generator.random(shape).astype(kind)
        else:
            values = generator.standard_normal(shape)
            drawn[array.name] = (np.abs(values) + 0.1 if array.name in _POSITIVE else values).astype(kind)
    return {**drawn, **{scalar.name: SCALARS[scalar.name] for scalar in entry.scalars}}


def axes(name: str) -> tuple[str, ...]:
    """The axis letters of an operation."""
    return OPERATIONS[name].sizes


def copied(values: dict[str, Any], dtype: Any = None) -> dict[str, Any]:
    """Copies of all arrays; floating-point ones converted where a dtype is given."""

    def one(value: Any) -> Any:
        if not isinstance(value, np.ndarray):
            return value
        return value.astype(dtype) if dtype is not None and value.dtype.kind == "f" else value.copy()

    return {name: one(value) for name, value in values.items()}
