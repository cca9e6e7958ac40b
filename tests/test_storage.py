"""Model files: atomic writing, suspicious reading."""

import json
import os
import signal
import struct
import subprocess
import sys
import textwrap

import numpy as np
import pytest

from fastnn import storage
from fastnn.layers import Dense, Dropout, Layer
from fastnn.storage import ModelFileError

posix = pytest.mark.skipif(os.name != "posix", reason="POSIX signals and links")

TENSORS = {"layers.0.weight": np.arange(6.0, dtype=np.float32).reshape(2, 3), "layers.0.bias": np.ones(3, np.float32)}
MODEL = {"layers": [{"type": "Dense", "units": 3}], "inputs": 2, "dtype": "float32", "seed": 0, "loss": None}


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "net.safetensors"
    storage.write(path, TENSORS, MODEL, extra={"task": "classify"})
    return path


def raw(header, data=b""):
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def test_what_is_written_is_read(path):
    contents = storage.read(path)
    assert contents.model == MODEL
    assert contents.extra == {"task": "classify"} == storage.read_extra(path)
    assert contents.tensors.keys() == TENSORS.keys()
    for name, tensor in TENSORS.items():
        np.testing.assert_array_equal(contents.tensors[name], tensor, strict=True)


def test_views_and_transposes_are_written_in_logical_order(tmp_path):
    wide = np.arange(24.0).reshape(4, 6)
    storage.write(tmp_path / "a", {"t": wide.T, "part": wide[1:3, ::2]}, MODEL)
    tensors = storage.read(tmp_path / "a").tensors
    np.testing.assert_array_equal(tensors["t"], wide.T)
    np.testing.assert_array_equal(tensors["part"], wide[1:3, ::2])


def test_without_extra_there_is_none(tmp_path):
    storage.write(tmp_path / "a", TENSORS, MODEL)
    assert storage.read_extra(tmp_path / "a") is None


def test_other_programs_can_read_the_file(path):
    from safetensors.numpy import load_file

    np.testing.assert_array_equal(load_file(path)["layers.0.weight"], TENSORS["layers.0.weight"])


@pytest.mark.parametrize("extra", [{"a": object()}, {"a": np.float32(1)}, {"a": float("nan")}, {1, 2}])
def test_extra_that_is_not_json_is_refused_and_nothing_written(path, extra):
    before = path.read_bytes()
    with pytest.raises(TypeError, match="extra: expected something that JSON can hold"):
        storage.write(path, TENSORS, MODEL, extra=extra)
    assert path.read_bytes() == before


def test_every_truncation_is_refused(path, tmp_path):
    data = path.read_bytes()
    cut = tmp_path / "cut"
    for length in range(len(data)):
        cut.write_bytes(data[:length])
        with pytest.raises(ModelFileError, match=r"empty|truncated") as caught:
            storage.read(cut)
        assert str(cut) in str(caught.value)


def test_every_changed_header_byte_is_refused_or_harmless(path, tmp_path):
    data = path.read_bytes()
    changed = tmp_path / "changed"
    for place in range(len(data) - 36):
        changed.write_bytes(data[:place] + bytes([data[place] ^ 0x15]) + data[place + 1 :])
        try:
            storage.read(changed)
        except ModelFileError as error:
            assert str(changed) in str(error)  # noqa: PT017


def test_trailing_bytes_are_refused(path):
    path.write_bytes(path.read_bytes() + b"x")
    with pytest.raises(ModelFileError, match="damaged"):
        storage.read(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "the file is empty"),
        (b"PK\x03\x04" + b"0" * 100, "not a fastnn model file"),
        (b"\x80\x05\x95" + b"pickle" * 20, "not a fastnn model file"),
        (b"a,b,c\n1,2,3\n" * 10, "not a fastnn model file"),
        (b"\x02\0\0\0\0\0\0\0{]" + b"0" * 20, "not a fastnn model file"),
        (raw([1, 2]), "not a fastnn model file"),
        (raw({}), "not one of fastnn's"),
        (raw({"__metadata__": {"format": "pt"}}), "not one of fastnn's"),
        (raw({"__metadata__": {"format": "fastnn"}}), "version"),
        (raw({"__metadata__": {"format": "fastnn", "version": "two"}}), "version 'two'"),
        (raw({"__metadata__": {"format": "fastnn", "version": "9" * 5000}}), "version"),
        (raw({"__metadata__": {"format": "fastnn", "version": "3"}}), "newer fastnn .file version 3"),
        (raw({"__metadata__": {"format": "fastnn", "version": "1"}}), "no description"),
        (raw({"__metadata__": {"format": "fastnn", "version": "1", "model": "{"}}), "not JSON"),
        (raw({"__metadata__": {"format": "fastnn", "version": "1", "model": "[" * 100_000}}), "not JSON"),
    ],
)
def test_foreign_damaged_and_newer_files_are_refused(tmp_path, content, message):
    path = tmp_path / "other"
    path.write_bytes(content)
    with pytest.raises(ModelFileError, match=message) as caught:
        storage.read(path)
    assert str(path) in str(caught.value)


def test_missing_file_and_folder_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere"):
        storage.read(tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError, match=r"the folder .* does not exist"):
        storage.write(tmp_path / "nowhere" / "net", TENSORS, MODEL)


def test_only_regular_files_are_replaced(tmp_path):
    with pytest.raises(OSError, match="not a regular file"):
        storage.write(tmp_path, TENSORS, MODEL)


@pytest.mark.parametrize("function", ["fsync", "replace"])
def test_a_failure_while_saving_leaves_the_old_file_and_no_other(path, monkeypatch, function):
    before = path.read_bytes()

    def fail(*arguments):
        raise OSError("no space left on device")

    monkeypatch.setattr(os, function, fail)
    with pytest.raises(OSError, match="no space left"):
        storage.write(path, {"layers.0.bias": np.zeros(9)}, MODEL)
    assert path.read_bytes() == before
    assert os.listdir(path.parent) == [path.name]


def save_in_a_process(path, preparation):
    """Start a process that overwrites `path` with 8 MB after some preparation; returns how it ended."""
    code = f"""
        import os, resource, signal, sys
        import numpy as np
        from fastnn import storage

        def die(*arguments):
            os.kill(os.getpid(), signal.SIGKILL)

        {preparation}
        storage.write({str(path)!r}, {{"layers.0.bias": np.zeros(1_000_000)}}, {{}})
    """
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], env=environment, capture_output=True, check=False
    )


@posix
@pytest.mark.parametrize("moment", ["fsync", "replace"])
def test_a_kill_while_saving_leaves_the_old_file(path, moment):
    before = path.read_bytes()
    assert save_in_a_process(path, f"os.{moment} = die").returncode == -signal.SIGKILL
    assert path.read_bytes() == before
    # The process could not clean up: the unfinished file is hidden, and the next save is not disturbed by it.
    assert {name for name in os.listdir(path.parent) if not name.startswith(".")} == {path.name}
    storage.write(path, TENSORS, MODEL)
    assert storage.read(path).extra is None


@posix
def test_a_full_disk_in_the_middle_of_a_write_leaves_the_old_file(path):
    before = path.read_bytes()
    ended = save_in_a_process(path, "resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))")
    assert b"OSError" in ended.stderr
    assert path.read_bytes() == before
    assert os.listdir(path.parent) == [path.name]


@posix
def test_permissions_and_links_survive(path, tmp_path):
    path.chmod(0o640)
    link = tmp_path / "link"
    link.symlink_to(path)
    storage.write(link, {"layers.0.bias": np.zeros(2)}, MODEL)
    assert link.is_symlink()
    assert path.stat().st_mode & 0o777 == 0o640
    assert storage.read(path).tensors.keys() == {"layers.0.bias"}


@posix
def test_a_new_file_has_the_usual_permissions(tmp_path):
    plain = tmp_path / "plain"
    plain.write_text("")
    storage.write(tmp_path / "new", TENSORS, MODEL)
    assert (tmp_path / "new").stat().st_mode == plain.stat().st_mode


def test_layers_survive_the_way_through_json():
    for layer in (Dense(7, activation="relu", bias=False, weight_init="he_uniform"), Dropout(0.25)):
        assert storage.restore(json.loads(json.dumps(storage.describe(layer))), Layer, "layer") == layer


def test_initializers_are_written_by_name_and_own_ones_left_out():
    from fastnn.initializers import he_uniform

    assert storage.describe(Dense(7, weight_init=he_uniform))["weight_init"] == "he_uniform"
    assert "weight_init" not in storage.describe(Dense(7, weight_init=lambda generator, shape: np.ones(shape)))


@pytest.mark.parametrize(
    ("description", "message"),
    [
        ("Dense", "expected an object with a type"),
        ({"units": 3}, "expected an object with a type"),
        ({"type": "Dens", "units": 3}, "unknown layer 'Dens': did you mean 'Dense'"),
        ({"type": "Dense", "unit": 3}, "layer Dense: unknown field 'unit': did you mean 'units'"),
        ({"type": "Dense", "units": 0}, "units must be at least 1"),
        ({"type": "Dense"}, "units"),
        ({"type": "Dense", "units": 3, "activation": "rela"}, "activation"),
    ],
)
def test_unknown_or_wrong_layers_are_refused(description, message):
    with pytest.raises(ModelFileError, match=message):
        storage.restore(description, Layer, "layer")
