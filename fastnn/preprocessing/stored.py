"""Transforms in model files: what describes them as JSON, their numbers as float64 tensors, so that every bit returns.

`model.save(path, preprocessing=...)` packs, `load_preprocessing(path)` unpacks. The tensors are called
"preprocessing.mean" ..., in a chain "preprocessing.0.mean" ..., and where several transforms were saved by name
"preprocessing.inputs.mean" ...
"""

import os
from collections.abc import Mapping
from typing import Any

from fastnn import storage

from .base import Array, Json, Transform, transform_class

PREFIX = storage.PREPROCESSING


def pack(preprocessing: Transform | Mapping[str, Transform], inputs: int) -> tuple[Json, dict[str, Array]]:
    """The description and the tensors of one transform, or of several by name.

    inputs    of the network: a single transform must give as many columns. TypeError for what is no transform,
              ValueError for one that is not fitted or does not fit the network
    """
    if isinstance(preprocessing, Transform):
        tensors = _tensors(preprocessing, PREFIX)
        if preprocessing.width != inputs:
            raise ValueError(
                f"save(preprocessing={preprocessing!r}): it gives {preprocessing.width} columns, the network has "
                f"{inputs} inputs; others go by name, such as {{'targets': ...}}"
            )
        return _description(preprocessing), tensors
    if not isinstance(preprocessing, Mapping) or not preprocessing:
        raise TypeError(f"save(preprocessing={preprocessing!r}): expected a transform, or transforms by name")
    parts: Json = {}
    tensors = {}
    for name, transform in preprocessing.items():
        if not isinstance(name, str) or not isinstance(transform, Transform):
            raise TypeError(f"save(preprocessing): {name!r} is {transform!r}, expected transforms by name")
        parts[name] = _description(transform)
        tensors |= _tensors(transform, f"{PREFIX}{name}.")
    return {"parts": parts}, tensors


def unpack(description: Any, tensors: Mapping[str, Array]) -> Transform | dict[str, Transform]:
    """What was packed; ValueError, TypeError or KeyError where it is damaged."""
    if "parts" not in description:
        return _restored(description, tensors, PREFIX)
    return {name: _restored(part, tensors, f"{PREFIX}{name}.") for name, part in description["parts"].items()}


def load_preprocessing(path: str | os.PathLike[str]) -> Any:
    """The preprocessing that `model.save(path, preprocessing=...)` wrote: a transform, or a dict of them by name.

    None where the model was saved without. Errors: as `fastnn.load`.
    """
    contents = storage.read(path)
    if contents.preprocessing is None:
        return None
    try:
        return unpack(contents.preprocessing, contents.preprocessing_tensors)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        text = f"no {error} in its description" if isinstance(error, KeyError) else str(error)
        raise storage.ModelFileError(f"{os.fspath(path)}: the stored preprocessing is damaged: {text}") from None


def _description(transform: Transform) -> Json:
    return {"type": type(transform).__name__, **transform.settings()}


def _tensors(transform: Transform, prefix: str) -> dict[str, Array]:
    return {prefix + name: array for name, array in transform.arrays().items()}


def _restored(description: Any, tensors: Mapping[str, Array], prefix: str) -> Transform:
    own = {name.removeprefix(prefix): array for name, array in tensors.items() if name.startswith(prefix)}
    return transform_class(description["type"]).restored(description, own)
