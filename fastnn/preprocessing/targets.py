"""What a network is to learn, in the form it learns it in, and back: classes, or a number in its own unit."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from fastnn.data import DataError

from .base import Array, Json
from .scaling import mean_and_scale


@dataclass(frozen=True)
class ClassTarget:
    """Labels to class numbers and back: classes[i] is the text of class i."""

    name: str
    classes: tuple[str, ...]

    def encode(self, labels: Array) -> Array:
        """Text labels (rows,) -> int32 class numbers, -1 for a label that is none of the classes."""
        number = {text: index for index, text in enumerate(self.classes)}
        return np.fromiter((number.get(str(label), -1) for label in labels), np.int32, len(labels))

    def decode(self, numbers: Array) -> Array:
        """Class numbers (rows,) -> their texts."""
        return np.asarray(self.classes, dtype=object)[numbers]

    def to_json(self) -> Json:
        """Plain text."""
        return {"kind": "classify", "name": self.name, "classes": list(self.classes)}


@dataclass(frozen=True)
class NumberTarget:
    """A measured value, standardised for training and given back in its own unit."""

    name: str
    mean: float
    scale: float

    @classmethod
    def fit(cls, name: str, values: Array) -> "NumberTarget":
        """Mean and deviation of the training rows' values (rows,)."""
        mean, scale = mean_and_scale(np.asarray(values, np.float64)[:, None])
        if not np.isfinite(scale).all():
            raise DataError(f"target {name!r} holds numbers too large to be standardised, such as {np.max(values):g}")
        return cls(name, float(mean[0]), float(scale[0]))

    def encode(self, values: Array, dtype: Any = np.float32) -> Array:
        """Values (rows,) in their unit -> (rows,) standardised, of `dtype`."""
        return ((np.asarray(values, np.float64) - self.mean) / self.scale).astype(dtype)

    def decode(self, outputs: Array) -> Array:
        """Outputs of the network (rows,) -> float64 values in the target's unit."""
        return np.asarray(outputs, np.float64) * self.scale + self.mean

    def to_json(self) -> Json:
        """Plain numbers."""
        return {"kind": "regress", "name": self.name, "mean": self.mean, "scale": self.scale}


def target_from_json(state: Mapping[str, Any]) -> ClassTarget | NumberTarget:
    """The target that `to_json` described."""
    if state["kind"] == "classify":
        return ClassTarget(state["name"], tuple(state["classes"]))
    return NumberTarget(state["name"], float(state["mean"]), float(state["scale"]))
