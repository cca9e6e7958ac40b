"""Model files: safetensors, written atomically, read with suspicion. No pickle: reading a file runs no code of it.

A model file is a safetensors file (https://github.com/huggingface/safetensors) of the tensors "layers.0.weight"
(fan_in, fan_out), "layers.0.bias", "layers.1.gamma", "layers.1.running_mean" ..., in blocks of layers
"layers.2.layers.0.weight", those of preprocessing, "preprocessing.mean" ..., and of up to six texts:

    format          "fastnn"
    version         "1", or "2" with preprocessing; a change that old readers cannot take raises it
    model           JSON: layers (class name and fields; of functions that are an activation of one's own their names
                    and what they compute at some points), inputs, dtype, seed, loss
    preprocessing   JSON: types and settings of the transforms saved with the model, where there are any
    extra           JSON of the caller's, where given (the command line keeps its own preprocessing and the task there)
    training        JSON: the state of a training, where the file is a checkpoint; its arrays are tensors whose names
                    begin with "training." (checkpoints.py), and `fastnn.load` reads the model in it
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import stat
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from fastnn import checks
from fastnn.activations import ActivationFunction, Custom, difference, is_own, own_name
from fastnn.initializers import initializer_name

FORMAT = "fastnn"
VERSION = 2
# How the names of tensors begin that belong to the preprocessing.
PREPROCESSING = "preprocessing."

PathLike = str | os.PathLike[str]


class ModelFileError(ValueError):
    """A file that is no model file, or one that cannot be used; the message starts with its path."""


@dataclasses.dataclass(frozen=True)
class Contents:
    """What a model file holds: arrays by name, the description of the model, the caller's extra (None without), the
    description of the preprocessing (None without) and its arrays, and the training of a checkpoint (None without)."""

    tensors: dict[str, np.ndarray]
    model: dict[str, Any]
    extra: Any
    preprocessing: Any = None
    preprocessing_tensors: dict[str, np.ndarray] = dataclasses.field(default_factory=dict)
    training: Any = None


def write(
    path: PathLike,
    tensors: Mapping[str, np.ndarray],
    model: dict[str, Any],
    extra: Any = None,
    preprocessing: tuple[Any, Mapping[str, np.ndarray]] | None = None,
    training: Any = None,
) -> None:
    """Write a model file in one go: at every moment `path` is the old file or the new one, whole.

    extra           anything that JSON can hold
    preprocessing   what `fastnn.preprocessing.pack` gave: a description, and tensors named "preprocessing. ..."
    training        the state of a training, anything that JSON can hold
    The bytes go to a new file in the same folder, are flushed to the disk, and take the place of the old file by a
    rename; a link is followed, the permissions of an existing file are kept. A process that is killed may leave
    a file `.<name>.<digits>.tmp` behind, nothing else. Raises TypeError for what should be JSON and is not,
    FileNotFoundError or another OSError where the file cannot be written.
    """
    from safetensors.numpy import save

    metadata = {"format": FORMAT, "version": "1", "model": json.dumps(model)}
    if preprocessing is not None:
        metadata |= {"version": "2", "preprocessing": json.dumps(preprocessing[0])}
        tensors = {**tensors, **preprocessing[1]}
    for name, value, allow_nan in (("extra", extra, False), ("training", training, True)):
        if value is not None:
            try:
                metadata[name] = json.dumps(value, allow_nan=allow_nan)
            except (TypeError, ValueError) as error:
                raise TypeError(f"{name}: expected something that JSON can hold: {error}") from None
    _replace(path, save({name: np.ascontiguousarray(a) for name, a in tensors.items()}, metadata))


def _replace(path: PathLike, data: bytes) -> None:
    """Put `data` in the place of the file `path`, atomically and durably (POSIX; on Windows without the folder)."""
    target = Path(os.path.realpath(path))
    if not target.parent.is_dir():
        raise FileNotFoundError(f"{os.fspath(path)}: the folder {target.parent} does not exist")
    mode = None
    if target.exists():
        if not target.is_file():
            raise OSError(f"{os.fspath(path)}: exists and is not a regular file")
        mode = stat.S_IMODE(target.stat().st_mode)
    temporary = target.with_name(f".{target.name}.{os.urandom(6).hex()}.tmp")
    try:
        with open(temporary, "xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        if mode is not None:
            temporary.chmod(mode)
        os.replace(temporary, target)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            temporary.unlink()
        raise
    sync_folder(target.parent)


def sync_folder(path: Path) -> None:
    """A new name in a folder, or a rename, is on the disk only when the folder is."""
    if os.name == "posix":
        folder = os.open(path, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def read(path: PathLike) -> Contents:
    """Read a model file whole.

    Raises FileNotFoundError or another OSError where it cannot be read, ModelFileError where it is empty, truncated,
    another kind of file, of a newer version or damaged.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load

    data = Path(path).read_bytes()
    name = os.fspath(path)
    metadata = _metadata(name, data)
    try:
        tensors = load(data)
    except (SafetensorError, ValueError, KeyError, TypeError) as error:
        raise ModelFileError(f"{name}: damaged model file: {error}") from None
    prepared = {key: tensors.pop(key) for key in list(tensors) if key.startswith(PREPROCESSING)}
    texts = (_json(name, key, metadata) for key in ("model", "extra", "preprocessing", "training"))
    model, extra, description, training = texts
    return Contents(tensors, model, extra, description, prepared, training)


def read_extra(path: PathLike) -> Any:
    """The `extra` that was saved with a model, None when there was none; errors as `read`."""
    return read(path).extra


def _metadata(name: str, data: bytes) -> dict[str, str]:
    """The texts of a safetensors file, after checks of size, format and version.

    Layout: 8 bytes, the header's length n (little-endian); n bytes of JSON, {tensor: {dtype, shape, data_offsets}};
    the numbers. safetensors checks all this again; what is found here has a better message.
    """
    if not data:
        raise ModelFileError(f"{name}: the file is empty")
    foreign = ModelFileError(f"{name}: not a fastnn model file (expected safetensors, as written by model.save)")
    length = int.from_bytes(data[:8], "little")
    if len(data) < 9:
        raise ModelFileError(f"{name}: truncated or not a fastnn model file: it has {len(data)} bytes")
    if data[8:9] != b"{":
        raise foreign
    if length > len(data) - 8:
        # safetensors allows headers up to 100 MB; a larger number is no length.
        raise _truncated(name, 8 + length, len(data)) if length <= 100_000_000 else foreign
    try:
        header = json.loads(data[8 : 8 + length])
        metadata = header.pop("__metadata__", {})
        end = 8 + length + max((entry["data_offsets"][1] for entry in header.values()), default=0)
    except (ValueError, AttributeError, KeyError, IndexError, TypeError, RecursionError):
        raise foreign from None
    if not isinstance(metadata, dict) or metadata.get("format") != FORMAT:
        raise ModelFileError(f"{name}: a safetensors file, but not one of fastnn's (written by model.save)")
    version = metadata.get("version", "")
    if not (isinstance(version, str) and version.isascii() and version.isdigit() and len(version) < 10):
        raise ModelFileError(f"{name}: damaged model file: version {version!r}")
    if int(version) > VERSION:
        raise ModelFileError(
            f"{name}: written by a newer fastnn (file version {version}, this one reads up to {VERSION}): "
            "pip install --upgrade fastnn"
        )
    if end > len(data):
        raise _truncated(name, end, len(data))
    return metadata


def _truncated(name: str, expected: int, found: int) -> ModelFileError:
    return ModelFileError(f"{name}: truncated: {expected} bytes expected, the file has {found}")


def _json(name: str, key: str, metadata: dict[str, str]) -> Any:
    if key not in metadata:
        if key == "model":
            raise ModelFileError(f"{name}: damaged model file: no description of the model")
        return None
    try:
        return json.loads(metadata[key])
    except (ValueError, TypeError, RecursionError) as error:
        raise ModelFileError(f"{name}: damaged model file: {key} is not JSON: {error}") from None


def describe(item: Any) -> dict[str, Any]:
    """A layer or a loss (a frozen dataclass) as JSON: its class name under "type", and its fields.

    Initializers become their names; one of the user's own is left out, since the weights themselves are in the file.
    Activations become their names, or the same kind of object; of functions of the user's own there is what
    `Custom.described` gives, which `with_own_activations` puts the functions in the place of.
    """
    if isinstance(item, Custom):
        return item.described()
    fields = {}
    for field in dataclasses.fields(item):
        value = getattr(item, field.name)
        if field.name.endswith("_init"):
            value = initializer_name(value)
            if value is None:
                continue
        fields[field.name] = _described(value)
    return {"type": type(item).__name__, **fields}


def _described(value: Any) -> Any:
    """The value of a field as JSON; the layers of a block are described like itself."""
    if isinstance(value, tuple):
        return [_described(item) for item in value]
    return describe(value) if dataclasses.is_dataclass(value) else value


def with_own_activations(description: Any, given: Iterable[Custom], place: str) -> Any:
    """Descriptions of layers, with the activations of the user's own in their places, found among those given by what
    they compute.

    place   of the description in its file, for people. ModelFileError (without path) where none computes the same.
    """
    if isinstance(description, list):
        return [with_own_activations(item, given, f"{place}[{number}]") for number, item in enumerate(description)]
    if not isinstance(description, dict):
        return description
    if not is_own(description):
        return {name: with_own_activations(item, given, f"{place}.{name}") for name, item in description.items()}
    differences = {activation: difference(activation.described(), description) for activation in given}
    for activation, text in differences.items():
        if not text:
            return activation
    name = own_name(description)
    if differences:
        found = "; ".join(f"of {activation} {text}" for activation, text in differences.items())
        raise ModelFileError(f"{place} is {name}, and none of the activations given computes the same: {found}")
    raise ModelFileError(
        f"{place} is {name}, functions of your own, which no file holds: give them, "
        "fastnn.load(path, activations=[Activation(forward=f, backward=df)])"
    )


def restore(description: Any, base: type, what: str) -> Any:
    """The layer or loss of a description: an instance of one of the classes below `base`.

    ModelFileError (without path) for an unknown type, field or value.
    """
    if not isinstance(description, dict) or not isinstance(description.get("type"), str):
        raise ModelFileError(f"{what} {description!r}: expected an object with a type")
    fields = {name: _restored(v, base, what) for name, v in description.items() if name != "type"}
    known = checks.subclasses(base)
    if description["type"] not in known:
        raise ModelFileError(str(checks.unknown_name(what, description["type"], known)))
    cls = known[description["type"]]
    names = [field.name for field in dataclasses.fields(cls)]
    for name in fields:
        if name not in names:
            raise ModelFileError(f"{what} {cls.__name__}: {checks.unknown_name('field', name, names)}")
    try:
        return cls(**fields)
    except (TypeError, ValueError) as error:
        raise ModelFileError(f"{what}: {error}") from None


def _restored(value: Any, base: type, what: str) -> Any:
    """The value of a field: lists become tuples, descriptions what they describe."""
    if isinstance(value, list):
        return tuple(_restored(item, base, what) for item in value)
    if not isinstance(value, dict):
        return value
    if value.get("type") in checks.subclasses(ActivationFunction):
        return restore(value, ActivationFunction, "activation")
    return restore(value, base, what)


def fill(places: Mapping[str, np.ndarray], tensors: Mapping[str, np.ndarray]) -> None:
    """Copy tensors into the arrays of the same names; ModelFileError (without path) where they do not fit."""
    for name in tensors:
        if name not in places:
            raise ModelFileError(f"tensor {name!r} belongs to none of the layers")
    for name, place in places.items():
        if name not in tensors:
            raise ModelFileError(f"tensor {name!r} is missing")
        value = tensors[name]
        if value.shape != place.shape or value.dtype != place.dtype:
            raise ModelFileError(
                f"tensor {name!r} is {value.dtype} {value.shape}, expected {place.dtype} {place.shape}"
            )
        place[...] = value
