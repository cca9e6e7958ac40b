"""The build of the C kernels: all units compile without a warning; where there is no compiler, or it fails, everything
else is installed, the reason is kept and told, and no old library stays behind.
"""

import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from pathlib import Path
from types import ModuleType

import pytest

from fastnn.kernels import built, native

ROOT = Path(__file__).parents[1]
COMPILERS = [name for name in ("gcc", "clang") if shutil.which(name)]
STABLE = not hasattr(sys, "_is_gil_enabled") or sys._is_gil_enabled()

with_compiler = pytest.mark.skipif(not COMPILERS, reason="no C compiler")
installing = pytest.mark.skipif(os.name == "nt", reason="elsewhere without a compiler")
pytest.importorskip("setuptools")
pytest.importorskip("cffi")


def load_build() -> ModuleType:
    """kernels/build.py."""
    from importlib.util import module_from_spec, spec_from_file_location

    specification = spec_from_file_location("fastnn_build", ROOT / "kernels" / "build.py")
    assert specification is not None
    assert specification.loader is not None
    module = module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


BUILD = load_build()


@pytest.mark.parametrize("compiler", COMPILERS)
@pytest.mark.parametrize("unit", BUILD.units(), ids=lambda path: path.stem)
def test_unit_compiles_without_a_warning(unit: Path, compiler: str) -> None:
    command = [compiler, *BUILD.FLAGS, *BUILD.WARNINGS, "-Werror", "-fsyntax-only", "-I", ROOT / "kernels", unit]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_every_c_file_is_a_unit_or_part_of_one() -> None:
    files = set(ROOT.glob("kernels/**/*.[ch]"))
    assert files == {*BUILD.units(), *BUILD.headers()} - {ROOT / "kernels" / "build.py"}
    assert len(BUILD.units()) > 6


def test_hash_of_the_sources_follows_every_file(tmp_path: Path) -> None:
    kernels = tmp_path / "kernels"
    shutil.copytree(ROOT / "kernels", kernels)
    found = {built.source_hash(kernels)}
    for path in ("dense.c", "vector.h", "isa/avx2_float32.c", "build.py"):
        (kernels / path).write_text((kernels / path).read_text() + "\n")
        found.add(built.source_hash(kernels))
    assert len(found) == 5
    (kernels / "README.md").write_text("another text")
    (kernels / "dense.c").write_bytes((kernels / "dense.c").read_bytes().replace(b"\n", b"\r\n"))
    assert built.source_hash(kernels) in found


# Builds of a copy, with the kernels of one dtype at one level: that is enough to see them succeed and fail.


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A copy of what an installation needs."""
    folder = tmp_path / "project"
    leave = shutil.ignore_patterns("__pycache__", "*.so", "*.pyd", built.REASON)
    for name in ("fastnn", "kernels"):
        shutil.copytree(ROOT / name, folder / name, ignore=leave)
    for name in ("setup.py", "pyproject.toml", "MANIFEST.in", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, folder)
    for unit in folder.glob("kernels/isa/*.c"):
        if unit.name != "baseline_float32.c":
            unit.unlink()
    return folder


def python(project: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("FASTNN_")}
    environment |= {"PYTHONPATH": str(project), "PYTHONDONTWRITEBYTECODE": "1", **variables}
    if not environment.get("CC"):
        environment.pop("CC", None)
    return subprocess.run(
        [sys.executable, *arguments], cwd=project, env=environment, capture_output=True, text=True, check=False
    )


def build(project: Path, *options: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return python(project, "setup.py", "-q", "build_ext", "--inplace", *options, **variables)


def said(project: Path, expression: str) -> str:
    """An expression about the copied package, printed by a process of its own."""
    script = f"import fastnn; from fastnn.kernels import built, native; print({expression})"
    done = python(project, "-c", script)
    assert done.returncode == 0, done.stderr
    return done.stdout.rstrip("\n")


@installing
def test_without_a_compiler_the_reason_is_kept_and_told(project: Path) -> None:
    assert "nothing has tried to build them here" in said(project, "native.why_not()")
    library = project / "fastnn" / "kernels" / "_native.abi3.so"
    library.write_bytes(b"of an earlier build")
    assert "built, but cannot be loaded" in said(project, "native.why_not()")
    done = build(project, CC="/nonexistent/cc")
    assert done.returncode != 0  # it was asked for the library and nothing else
    reason = "no C compiler found: /nonexistent/cc: command not found"
    assert f"fastnn: installed without the C kernels: {reason}\n" in done.stderr
    assert not library.exists()
    assert said(project, "built.reason()") == f"('{reason}', [])"
    missing = said(project, "fastnn.backends().missing['c']")
    assert missing.startswith(f"the C kernels were not built ({reason}); to get them, have a C compiler")
    assert missing in python(project, "-m", "fastnn", "info").stdout
    asked = python(project, "-c", "import fastnn as f; f.Trainer(f.Sequential([f.Dense(1)], 1), 'mse', backend='c')")
    assert f"RuntimeError: backend='c': not available: {missing}" in asked.stderr


@installing
def test_a_path_without_a_compiler_is_the_same(project: Path) -> None:
    assert build(project, CC="", PATH=str(project)).returncode != 0
    assert "(no C compiler found: " in said(project, "native.why_not()")


@installing
@with_compiler
def test_another_compiler_is_taken_where_pythons_own_is_not_there(project: Path) -> None:
    usual = sysconfig.get_config_var("CC").split()[0]
    tools = project / "tools"
    tools.mkdir()
    (tools / "cc").write_text(f'#!/bin/sh\nPATH={os.environ["PATH"]} exec {COMPILERS[-1]} "$@"\n')
    (tools / "cc").chmod(0o755)
    if usual == "cc":
        pytest.skip("this Python was built with cc")
    done = build(project, CC="", PATH=str(tools))
    assert done.returncode == 0, done.stderr
    assert said(project, "native.why_not()") == "None"


@installing
def test_microsofts_compiler_is_not_even_tried(project: Path) -> None:
    build(project, "--compiler=msvc")
    assert "Microsoft's compiler has no vector extensions" in said(project, "native.why_not()")


@installing
@with_compiler
def test_builds_that_succeed_and_fail_leave_what_belongs_to_them(project: Path) -> None:
    kernels = project / "fastnn" / "kernels"
    header = project / "kernels" / "vector.h"
    whole = header.read_text()

    header.write_text(f"{whole}\nthis is no C;\n")
    done = build(project)
    assert done.returncode != 0
    assert "error: unknown type name" in done.stderr
    assert "failed: " in said(project, "native.why_not()")
    words = python(project, "-m", "fastnn", "info").stdout
    assert "not built; the compiler's words:" in words
    assert "this is no C;" in words
    assert not list(kernels.glob("*.so"))

    header.write_text(whole)
    done = build(project)
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    assert not (kernels / built.REASON).exists()
    assert said(project, "native.why_not(), native.is_stale()") == "None False"
    assert len(list(kernels.glob("*.so"))) == 1

    header.write_text(f"{whole}\n/* edited */\n")
    assert said(project, "native.why_not(), native.is_stale()") == "None True"
    assert build(project).returncode == 0
    assert said(project, "native.is_stale()") == "False"

    contract = f"#define FASTNN_CONTRACT {native.CONTRACT}"
    text = (project / "kernels" / "fastnn.h").read_text()
    assert contract in text
    (project / "kernels" / "fastnn.h").write_text(text.replace(contract, "#define FASTNN_CONTRACT 999"))
    assert build(project).returncode == 0
    assert "number 999, this fastnn has" in said(project, "native.why_not()")

    header.write_text(f"{whole}\nthis is no C;\n")
    assert build(project).returncode != 0
    assert not list(kernels.glob("*.so"))
    assert (kernels / built.REASON).is_file()


@installing
def test_a_wheel_is_made_without_a_compiler_and_carries_the_reason(project: Path) -> None:
    stale = project / "fastnn" / "kernels" / "_native.abi3.so"
    stale.write_bytes(b"of an earlier build in place")
    done = python(project, "setup.py", "-q", "bdist_wheel", "--dist-dir", "dist", CC="/nonexistent/cc")
    assert done.returncode == 0, done.stderr
    (wheel,) = (project / "dist").glob("*.whl")
    with zipfile.ZipFile(wheel) as content:
        names = content.namelist()
    assert f"fastnn/kernels/{built.REASON}" in names
    assert not any(name.endswith(".so") or name.startswith("kernels") for name in names)


@installing
@with_compiler
def test_a_wheel_carries_the_library_for_every_later_python(project: Path) -> None:
    (project / "fastnn" / "kernels" / built.REASON).write_text("of an earlier build in place\n")
    done = python(project, "setup.py", "-q", "bdist_wheel", "--dist-dir", "dist")
    assert done.returncode == 0, done.stderr
    (wheel,) = (project / "dist").glob("*.whl")
    with zipfile.ZipFile(wheel) as content:
        names = [Path(name).name for name in content.namelist()]
    assert built.REASON not in names
    (library,) = (name for name in names if name.endswith(".so"))
    if STABLE:
        assert "-cp311-abi3-" in wheel.name
        assert library == "_native.abi3.so"


def test_a_source_distribution_has_what_a_build_needs(project: Path) -> None:
    done = python(project, "setup.py", "-q", "sdist", "--dist-dir", "dist")
    assert done.returncode == 0, done.stderr
    (archive,) = (project / "dist").glob("*.tar.gz")
    with tarfile.open(archive) as content:
        names = {name.partition("/")[2] for name in content.getnames()}
    for path in project.glob("kernels/**/*.*"):
        assert path.relative_to(project).as_posix() in names
    assert {"setup.py", "pyproject.toml", "fastnn/kernels/built.py", "LICENSE"} <= names
    assert not any(name.endswith(".so") for name in names)
