"""Machine code kept between processes: never stale, never torn, never needed; and what is imported when."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import fastnn
from fastnn.kernels import objects

PACKAGE = Path(fastnn.__file__).parent

UPDATE = """
import sys
import numpy as np
from fastnn import ops
from fastnn.kernels import objects
param = np.full(16, 2.0, "float32")
ops.sgd_update(param, param.copy(), lr=0.25, backend="numba")
print(param[0], len(objects.compiled), "numba" in sys.modules)
"""

TRAINING = """
import sys
import numpy as np, fastnn
from fastnn.kernels import objects
model = fastnn.Sequential([fastnn.Dense(8, "relu"), fastnn.Dense(3)], inputs=4)
losses = fastnn.Trainer(model, "cross_entropy").run(np.ones((9, 4)), np.arange(9) % 3, steps=5)
print(losses[-1], len(objects.compiled), "numba" in sys.modules)
"""


def environment(cache, package=PACKAGE):
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("FASTNN_", "XDG_", "PYTHONPATH"))}
    own = {"FASTNN_CACHE_DIR": str(cache), "FASTNN_NATIVE": "0"}  # "auto" is Numba
    return {**kept, **own, "PYTHONPATH": str(package.parent), "PYTHONDONTWRITEBYTECODE": "1"}


def start(script, cache, package=PACKAGE, folder=None):
    return subprocess.Popen(
        [sys.executable, "-c", script], env=environment(cache, package), cwd=folder or cache.parent,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def ended(process):
    """What a script printed: (words, standard error)."""
    output, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    return output.split(), errors


def run(script, cache, package=PACKAGE):
    return ended(start(script, cache, package))


def test_a_second_process_compiles_nothing_and_never_imports_numba(tmp_path):
    cache = tmp_path / "cache"
    cold, said = run(TRAINING, cache)
    assert int(cold[1]) > 5
    assert cold[2] == "True"
    assert "compiling kernels for the first time" in said
    warm, said = run(TRAINING, cache)
    assert warm == [cold[0], "0", "False"]
    assert said == ""


def test_an_edited_kernel_is_never_served_from_the_cache(tmp_path):
    cache, package = tmp_path / "cache", tmp_path / "copy" / "fastnn"
    shutil.copytree(PACKAGE, package, ignore=shutil.ignore_patterns("__pycache__"))
    assert run(UPDATE, cache, package)[0] == ["1.5", "1", "True"]
    assert run(UPDATE, cache, package)[0] == ["1.5", "0", "False"]

    def edit(name, old, new):
        file = package / "kernels" / "numba" / name
        text = file.read_text()
        assert text.count(old) == 1
        file.write_text(text.replace(old, new))

    edit("optimizers.py", "fma(g, -rate, w)", "fma(g, -2.0 * rate, w)")
    assert run(UPDATE, cache, package)[0] == ["1.0", "1", "True"]
    # Code that the kernel's file imports, and which a cache by file would miss: g * p - 2 lr, not p - 2 lr g.
    edit("simd.py", "(builder, *values)", "(builder, values[0], values[2], values[1])")
    assert run(UPDATE, cache, package)[0] == ["3.5", "1", "True"]
    edit("simd.py", "(builder, values[0], values[2], values[1])", "(builder, *values)")
    edit("optimizers.py", "-2.0 * rate", "-rate")
    assert run(UPDATE, cache, package)[0] == ["1.5", "0", "False"]  # what was there before is found again


def test_a_kernel_edited_while_a_process_runs_is_not_kept_under_the_name_of_the_old_one(tmp_path):
    cache, package = tmp_path / "cache", tmp_path / "copy" / "fastnn"
    shutil.copytree(PACKAGE, package, ignore=shutil.ignore_patterns("__pycache__"))
    run(UPDATE, cache, package)
    edited = package / "kernels" / "numba" / "optimizers.py"
    script = f"""
{UPDATE}
from pathlib import Path
edited = Path({str(edited)!r})
text = edited.read_text()
edited.write_text(text + "# edited")
ops.momentum_update(param, param.copy(), param.copy(), lr=0.25, momentum=0.5, backend="numba")
edited.write_text(text)
print(*objects.compiled)
"""
    assert run(script, cache, package)[0][3:] == ["momentum_update", "float32"]
    assert [file.name.split("-")[0] for file in cache.iterdir()] == ["sgd_update"]


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: b"",
        lambda content: content[: len(content) // 2],
        lambda content: content[:-1],
        lambda content: content[:100] + bytes([content[100] ^ 1]) + content[101:],
        lambda content: b"\n\n" + content,
        lambda content: os.urandom(1000),
    ],
    ids=["empty", "half", "last byte", "one bit", "shifted", "foreign"],
)
def test_a_torn_or_damaged_object_file_is_compiled_anew(tmp_path, damage):
    cache = tmp_path / "cache"
    run(UPDATE, cache)
    (file,) = cache.glob("sgd_update-float32-*")
    whole = file.read_bytes()
    file.write_bytes(damage(whole))
    assert run(UPDATE, cache)[0] == ["1.5", "1", "True"]
    assert objects._checksum(file.read_bytes().partition(b"\n")[2]) == file.read_bytes().partition(b"\n")[0]
    assert run(UPDATE, cache)[0] == ["1.5", "0", "False"]


def test_an_object_file_that_is_a_folder_is_no_error(tmp_path):
    cache = tmp_path / "cache"
    run(UPDATE, cache)
    (file,) = cache.glob("sgd_update-float32-*")
    file.unlink()
    file.mkdir()
    assert run(UPDATE, cache)[0] == ["1.5", "1", "True"]
    assert [path.name for path in cache.iterdir()] == [file.name]  # nothing half-written stays behind


def test_a_cache_folder_that_cannot_be_made_is_no_error(tmp_path):
    blocker = tmp_path / "file"
    blocker.write_text("")
    for cache in (blocker, blocker / "below"):
        words, _ = ended(start(UPDATE, cache, folder=tmp_path))
        assert words == ["1.5", "1", "True"]
    assert blocker.read_text() == ""


def test_a_cache_folder_that_cannot_be_written_is_no_error(tmp_path):
    cache = tmp_path / "cache"
    cache.mkdir()
    cache.chmod(0o500)
    try:
        if os.access(cache, os.W_OK):
            pytest.skip("this user may write everywhere")
        assert run(UPDATE, cache)[0] == ["1.5", "1", "True"]
    finally:
        cache.chmod(0o700)


@pytest.fixture
def forgotten():
    """The cache folder is looked for anew, in the test and after it."""
    objects.cache_folder.cache_clear()
    yield
    objects.cache_folder.cache_clear()


@pytest.mark.usefixtures("forgotten")
def test_a_user_without_a_home_has_no_cache_folder(monkeypatch):
    def no_home():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("FASTNN_CACHE_DIR", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(Path, "home", no_home)
    assert objects.cache_folder() is None


@pytest.mark.usefixtures("forgotten")
def test_the_cache_folder_is_the_one_asked_for_or_the_users(monkeypatch, tmp_path):
    monkeypatch.setenv("FASTNN_CACHE_DIR", str(tmp_path / "asked"))
    assert objects.cache_folder() == tmp_path / "asked"
    objects.cache_folder.cache_clear()
    monkeypatch.delenv("FASTNN_CACHE_DIR")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert objects.cache_folder() == tmp_path / "xdg" / "fastnn"
    objects.cache_folder.cache_clear()
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert objects.cache_folder() == tmp_path / "home" / ".cache" / "fastnn"


def test_processes_that_compile_at_once_all_end_well(tmp_path):
    cache = tmp_path / "cache"
    results = [ended(process)[0] for process in [start(TRAINING, cache) for _ in range(3)]]
    assert len({words[0] for words in results}) == 1
    assert run(TRAINING, cache)[0] == [results[0][0], "0", "False"]
    assert all(path.suffix == ".o" for path in cache.iterdir())


def test_importing_fastnn_imports_neither_numba_nor_llvmlite_nor_any_module_of_its_own(tmp_path):
    script = """
import sys
import fastnn
dir(fastnn)
print(*sorted(name for name in sys.modules if name.split(".")[0] in ("numba", "llvmlite", "numpy", "fastnn")))
"""
    assert run(script, tmp_path / "cache")[0] == ["fastnn"]


def test_building_a_model_and_asking_for_backends_does_not_import_numba(tmp_path):
    script = """
import sys
import fastnn
fastnn.backends()
fastnn.Sequential([fastnn.Dense(3, "relu"), fastnn.BatchNorm(), fastnn.Dropout(0.1), fastnn.Dense(2)], inputs=4)
print("numba" in sys.modules)
"""
    assert run(script, tmp_path / "cache")[0] == ["False"]


def test_the_reference_backend_needs_no_compiled_kernel(tmp_path):
    script = TRAINING.replace('"cross_entropy")', '"cross_entropy", backend="reference")')
    words, said = run(script, tmp_path / "cache")
    assert words[1:] == ["0", "False"]
    assert said == ""
