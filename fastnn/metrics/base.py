"""What metrics share: how they are described, and outputs and targets in the forms that they compare."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import ClassVar, TypeAlias, TypeVar

import numpy as np

from fastnn import checks

Metric: TypeAlias = Callable[[np.ndarray, np.ndarray], float]
# What may be given where metrics are asked for.
MetricsLike: TypeAlias = str | Metric | Iterable[str | Metric]
F = TypeVar("F", bound=Metric)

# What losses are for, as errors call it.
TASKS = {"classify": "classes", "binary": "yes-or-no outputs", "regress": "numbers"}
CLASSES = ("classify", "binary")


class Score:
    """A metric with parameters; called with outputs and targets it gives a number.

    tasks    of the losses that it fits
    larger   whether a larger value is better; None where that is not known
    """

    tasks: ClassVar[tuple[str, ...]] = CLASSES
    larger: ClassVar[bool | None] = True

    @property
    def name(self) -> str:
        """The metric's column in a history (there with "val_" before it) and its key in what evaluate gives."""
        raise NotImplementedError

    def __call__(self, outputs: np.ndarray, targets: np.ndarray) -> float:
        raise NotImplementedError


def fits(*tasks: str, larger: bool) -> Callable[[F], F]:
    """Says of a function what `Score` says of an instance."""

    def mark(metric: F) -> F:
        vars(metric).update(tasks=tasks, larger=larger)
        return metric

    return mark


def is_classes(outputs: np.ndarray, targets: np.ndarray) -> bool:
    """Whether rows have one label of several classes; else their outputs are judged one by one."""
    return outputs.ndim == 2 and outputs.shape[1] > 1 and targets.ndim == 1


def columns(name: str, outputs: np.ndarray, targets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both as float64 (rows, outputs) of the same shape, which stops (rows,) - (rows, 1) from making a square."""
    given = np.asarray(outputs), np.asarray(targets)
    outputs, targets = (a.astype(np.float64) for a in given)
    outputs, targets = (a[:, None] if a.ndim == 1 else a for a in (outputs, targets))
    if outputs.ndim != 2 or outputs.shape != targets.shape:
        raise ValueError(f"{name}: outputs {given[0].shape} and targets {given[1].shape} must have the same shape")
    same_rows(name, outputs, targets)
    return outputs, targets


def same_rows(name: str, outputs: np.ndarray, targets: np.ndarray) -> None:
    """Refuses different numbers of rows, and none."""
    if len(outputs) != len(targets):
        raise ValueError(f"{name}: outputs have {len(outputs)} rows, targets have {len(targets)}")
    if not len(outputs):
        raise ValueError(f"{name}: there are no rows")


def labelled(name: str, outputs: np.ndarray, targets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Outputs (rows, classes) in float64 and labels (rows,), each one of the classes."""
    same_rows(name, outputs, targets)
    return outputs.astype(np.float64), checks.labels(targets, outputs.shape[1], f"{name}: targets")


def decided(name: str, outputs: np.ndarray, targets: np.ndarray) -> tuple[np.ndarray, np.ndarray, int]:
    """Predicted and true class numbers (rows,), and how many classes there are, for several classes or one output.

    One output is two classes, 1 where the logit is above 0. A row that has NaN among its outputs gets the prediction
    -1, which is no class; among equal outputs the first one is taken.
    """
    outputs, targets = np.asarray(outputs), np.asarray(targets)
    if is_classes(outputs, targets):
        outputs, labels = labelled(name, outputs, targets)
        return np.where(np.isnan(outputs).any(axis=1), -1, outputs.argmax(axis=1)), labels, outputs.shape[1]
    outputs, targets = columns(name, outputs, targets)
    if outputs.shape[1] > 1:
        raise ValueError(
            f"{name}: {outputs.shape[1]} yes-or-no outputs, expected one, or classes; take column by column"
        )
    predicted = np.where(np.isnan(outputs[:, 0]), -1, outputs[:, 0] > 0)
    return predicted, (targets[:, 0] > 0.5).astype(np.int64), 2


def shares(name: str, outputs: np.ndarray, targets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """`columns`, with targets that are yes-or-no, or how much so: from 0 to 1."""
    outputs, targets = columns(name, outputs, targets)
    outside = (targets < 0) | (targets > 1)
    if outside.any():
        row, column = np.argwhere(outside)[0]
        raise ValueError(f"{name}: targets: row {row}, column {column} is {targets[row, column]}, expected 0 to 1")
    return outputs, targets


def softmax(outputs: np.ndarray) -> np.ndarray:
    """Probabilities (rows, classes) of logits, in float64."""
    with np.errstate(invalid="ignore", under="ignore"):
        terms = np.exp(outputs - outputs.max(axis=1, keepdims=True))
        return np.asarray(terms / terms.sum(axis=1, keepdims=True))


def sigmoid(outputs: np.ndarray) -> np.ndarray:
    """Probabilities of yes for logits of any shape, in float64."""
    with np.errstate(under="ignore"):
        small = np.exp(-np.abs(outputs))  # at most 1, so that nothing overflows
        return np.asarray(np.where(outputs < 0, small, 1.0) / (1.0 + small))
