"""The cases that tests and benchmarks share: arguments for every operation of the kernel table, at given sizes.

Arrays are drawn at random; operands whose values mean something (labels, row numbers, variances, probabilities) are
drawn from what they may be. A new operation is covered as soon as it is in the table.
"""

import os
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from fastnn.kernels import OPERATIONS, cpu
from fastnn.kernels.backends import backends

Array = np.ndarray[Any, Any]

BACKENDS = tuple(backends().available)
"""The kernel sets of this machine, "reference" first. Without a C library, or with FASTNN_NATIVE=0, "c" is not among
them; .ci/run demands one, and runs everything in both ways."""

COMPILED = tuple(name for name in BACKENDS if name != "reference")
"""Those whose kernels are called by address."""

SIZES = [1, 2, 3, 5, 15, 16, 17, 33, 64, 100, 129]
"""Lengths of an axis: one, odd ones, one off a vector of 16, 8 or 4 on either side, several vectors."""

LONG = 70_001
"""Beyond 65,536 and odd: for what works number by number."""

SCALARS: dict[str, float | int] = {
    "accumulate": 1, "alpha": 0.99, "avg_step": 0.02, "beta1": 0.9, "beta2": 0.999, "c0": 1.0, "c1": 0.0, "c2": -1.0,
    "categories": 5, "centred": 1,
    "decay": 0.99, "delta": 1.0, "derivative": 2, "eps": 1e-5, "eta_minus": 0.5, "eta_plus": 1.2, "first": 0,
    "floor": 0.0, "gamma": 2.0, "grad_step": 0.01, "grouped": 0, "inner_eps": 0.0, "key": 0x9E3779B9, "l1": 0.01,
    "l2": 0.1, "label_smoothing": 0.0, "log_eps": -13.8, "lr": 0.01, "margin": 1.0, "max_norm": 0.5, "max_step": 2.0,
    "max_val": 1.0, "max_value": 0.7, "min_step": 0.2, "min_val": -1.0, "momentum": 0.9, "negative_slope": 0.01,
    "plain_step": 0.0, "rate_scale": 0.125, "rectified_step": 0.02,
    "rho": 0.9, "scale": 0.125, "shrink": 0.0, "sqrt_bias_correction2": 0.3, "squared": 0, "step_size": 0.02,
    "tau": 0.5, "threshold": 0xC0000000, "weight": 1.0, "weight_decay": 0.0, "weighted": 0,
}  # fmt: skip
"""The usual value of each scalar."""

OTHER_SCALARS: dict[str, tuple[float | int, ...]] = {
    "accumulate": (0,), "alpha": (0.5,), "avg_step": (1.0,), "beta1": (0.5, 0.3), "beta2": (0.9,), "c0": (0.0,),
    "c1": (1.0,), "c2": (0.7,), "categories": (1, 2**24 - 1), "centred": (0,),
    "decay": (0.0, 0.5), "delta": (0.3,), "derivative": (0, 1, 3), "eps": (1e-8, 0.1),
    "first": (1, 1000, 2**32 - 1), "floor": (-np.inf, -0.5), "gamma": (0.0, 0.7, 5.0), "grad_step": (0.0, 1.0),
    "grouped": (1,), "inner_eps": (1e-3,), "key": (0, 2**32 - 1), "l1": (0.0,), "l2": (0.0,),
    "label_smoothing": (0.1, 1.0), "log_eps": (-0.5,), "lr": (1.0,), "margin": (0.3,), "max_norm": (1e6,),
    "max_val": (0.5, 6.0), "max_value": (1e6,), "min_val": (-2.0, 0.0), "momentum": (0.1,),
    "negative_slope": (0.0, 0.3, 1.5), "plain_step": (0.01,), "rate_scale": (1.0,), "rectified_step": (0.0, 1.0),
    "rho": (0.5,), "scale": (1 / 3,), "shrink": (0.001, 0.5), "sqrt_bias_correction2": (1.0,), "squared": (1,),
    "step_size": (1.0,), "tau": (0.1, 0.95), "threshold": (1, 0x80000000, 2**32 - 1), "weight": (0.1,),
    "weight_decay": (0.03, 2.0), "weighted": (1,),
}  # fmt: skip
"""What else it may be, each value in a branch or a magnitude of its own."""

_POSITIVE = {
    "running_var", "inv_std", "exp_avg_sq", "square_avg", "sum", "acc_delta", "step_size", "rates", "decays", "total",
    "weights",
}  # fmt: skip
_TARGETS: dict[str, Callable[[Array], Array]] = {
    **dict.fromkeys(("hinge", "squared_hinge", "margin_ranking"), lambda t: np.where(t < 0.5, -1, 1)),
    "binary_focal": lambda t: t < 0.5,
    "soft_cross_entropy": lambda t: t / t.sum(axis=0),
}
"""What targets mean for a loss that does not take any number from 0 to 1."""


def skip_unless_there(name: str, backend: str = "", dtype: str = "float32", isa: str = "") -> None:
    """Skips a test of a kernel that there cannot be: the declaration knows another dtype only, or needs more than this
    CPU, or the level, has."""
    entry = OPERATIONS[name]
    if dtype not in entry.dtypes:
        pytest.skip(f"{name} is for {', '.join(entry.dtypes)}")
    if backend != "reference" and entry.needs and not (entry.needs.startswith(isa) and cpu.has(entry.needs)):
        pytest.skip(f"{name} needs {entry.needs}")


def arguments(name: str, sizes: dict[str, int], dtype: Any, seed: int = 0) -> dict[str, Any]:
    """Arguments of an operation: C-contiguous arrays of these axis lengths, and the usual scalars."""
    generator = np.random.default_rng([seed, *name.encode()])
    entry = OPERATIONS[name]
    drawn: dict[str, Any] = {}
    for array in entry.arrays:
        shape = tuple(int(axis) if axis.isdigit() else sizes[axis] for axis in array.axes)
        kind = array.type(np.dtype(dtype))
        if array.below:
            drawn[array.name] = generator.integers(0, sizes[array.below], shape).astype(kind)
        elif kind.kind == "i":
            drawn[array.name] = generator.integers(0, sizes.get("C", 7), shape).astype(kind)
        elif array.name == "targets":
            drawn[array.name] = _TARGETS.get(name, np.asarray)(generator.random(shape)).astype(kind)
        else:
            values = generator.standard_normal(shape)
            drawn[array.name] = (np.abs(values) + 0.1 if array.name in _POSITIVE else values).astype(kind)
    return {**drawn, **{scalar.name: SCALARS[scalar.name] for scalar in entry.scalars}}


def scalars(name: str, generator: np.random.Generator) -> dict[str, float | int]:
    """The scalars of an operation, each one drawn from the usual value and the others."""
    names = [scalar.name for scalar in OPERATIONS[name].scalars]
    choices = [(SCALARS[scalar], *OTHER_SCALARS.get(scalar, ())) for scalar in names]
    return {scalar: choice[generator.integers(len(choice))] for scalar, choice in zip(names, choices, strict=True)}


UPDATES = [name for name, entry in OPERATIONS.items() if "shrink" in entry.operands]
"""The updates of optimizers."""

ALL_OPTIONS = {"weight_decay": 0.03, "shrink": 0.001, "grouped": 1}
"""Scalars with which an update decays weights in both ways, and has groups."""


def absent(name: str, arguments: dict[str, Any]) -> dict[str, Any]:
    """The same without the arrays that a scalar says are not there."""
    gone = [array.name for array in OPERATIONS[name].arrays if array.optional and not arguments[array.optional]]
    return arguments | dict.fromkeys(gone)


def first_step(name: str, arguments: dict[str, Any]) -> dict[str, Any]:
    """The same with the moments of an optimizer at zero, which shows the factor of the gradient alone."""
    moments = {array.name for array in OPERATIONS[name].arrays if array.access == "updates"} - {"param", "step_size"}
    return arguments | {moment: np.zeros_like(arguments[moment]) for moment in moments}


def shapes(name: str, generator: np.random.Generator, count: int = 14) -> Iterator[dict[str, int]]:
    """Axis lengths: each drawn from SIZES, `count` times; then zeros, a long axis, long sums, where they make sense.

    FASTNN_TEST_SHAPES, a number, overrides `count` and leaves the others out: for runs on another instruction set.
    """
    letters = axes(name)
    asked = os.environ.get("FASTNN_TEST_SHAPES")
    for _ in range(int(asked or count)):
        yield {axis: int(generator.choice(SIZES)) for axis in letters}
    if asked:
        return
    small = dict.fromkeys(letters, 5)
    for axis in letters:
        needed = axis in "RC" or axis in OPERATIONS[name].nonempty
        if not needed:
            yield small | {axis: 0}
    if set(letters) <= {"N", "F", "B", "R"}:
        for axis in letters:
            yield dict.fromkeys(letters, 3) | {axis: LONG}
    else:
        for axis in letters:  # beyond 1000 terms, products cut their sums into blocks
            yield {letter: int(generator.choice(SIZES[:8])) for letter in letters} | {axis: 1030}


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
