"""The C kernels, an optional part of the package: built where a compiler is; everything else is in pyproject.toml.

    python setup.py build_ext --inplace -j 2

puts the library beside the package's sources, as `pip install -e .` does. Where it cannot be built the installation
goes on without it, and the reason is kept in the package, for `fastnn info` to tell; only the command above then fails.
"""

import importlib.util
import os
import shlex
import shutil
import subprocess
import sys
import sysconfig
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType
from typing import Any

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext
from setuptools.errors import BaseError, CCompilerError

ROOT = Path(__file__).resolve().parent
STABLE_ABI = not sysconfig.get_config_var("Py_GIL_DISABLED")
"""One library for all versions of CPython from 3.11 on; a Python without the GIL has no such ABI before 3.15."""


def load_build() -> ModuleType:
    """kernels/build.py, under a name that no installed package has."""
    specification = importlib.util.spec_from_file_location("fastnn_build", ROOT / "kernels" / "build.py")
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


build = load_build()


class NotBuiltError(Exception):
    """Why the library could not be built, in one line, and the compiler's words in the lines after it."""


class BuildKernels(build_ext):
    """Builds the library, all units side by side, or leaves the reason why there is none, and never an old library."""

    failure = ""

    def run(self) -> None:
        """Builds; a failure is an error only for who asked for this build itself."""
        _choose_compiler()
        self.beside_sources = bool(self.inplace)
        super().run()
        if self.failure and "build_ext" in self.distribution.commands:
            raise SystemExit("the C kernels were not built")

    def build_extension(self, ext: Extension) -> None:
        """Builds and removes an earlier reason why not; or leaves the reason and removes an earlier library."""
        places = [Path(self.get_ext_fullpath(ext.name))]  # where what goes into a wheel is collected
        if self.beside_sources:
            places.append(ROOT / "fastnn" / "kernels" / places[0].name)
        try:
            self._build(ext)
        except (NotBuiltError, BaseError, CCompilerError, ImportError, OSError) as error:
            self.failure = str(error)
            for library in places:
                library.unlink(missing_ok=True)
            places[-1].parent.mkdir(parents=True, exist_ok=True)
            places[-1].with_name(build.built().REASON).write_text(self.failure + "\n", encoding="utf-8")
            print(f"fastnn: installed without the C kernels: {self.failure}", file=sys.stderr)
        else:
            for library in places:
                library.with_name(build.built().REASON).unlink(missing_ok=True)

    def _build(self, ext: Extension) -> None:
        if self.compiler.compiler_type == "msvc":
            raise NotBuiltError("they need gcc or clang: Microsoft's compiler has no vector extensions")
        module = Path(self.build_temp) / "_native.c"
        build.write_module(module)
        sources, compile_unit = ext.sources, self.compiler.compile

        def compile_one(files: list[str], *args: Any, extra_postargs: list[str], **options: Any) -> list[str]:
            try:
                return list(compile_unit(files, *args, **options, extra_postargs=extra_postargs))
            except (NotBuiltError, CCompilerError):
                if Path(files[0]).name not in build.MAY_BE_EMPTY:
                    raise
                without = [*extra_postargs, *build.MAY_BE_EMPTY[Path(files[0]).name]]
                return list(compile_unit(files, *args, **options, extra_postargs=without))

        def compile_all(files: list[str], *args: Any, **options: Any) -> list[str]:
            workers = ThreadPoolExecutor(self.parallel if isinstance(self.parallel, int) else _cores())
            usual = options.pop("extra_postargs", None) or []
            try:
                results = [
                    # cffi's own code has warnings of its own.
                    workers.submit(compile_one, [f], *args, **options, extra_postargs=usual + _warnings(f, module))
                    for f in files
                ]
                return [made for result in results for made in result.result()]
            finally:
                workers.shutdown(cancel_futures=True)

        # Which of the two methods runs the compiler depends on the version of setuptools.
        self.compiler.spawn = self.compiler.call = _run_compiler
        self.compiler.compile = compile_all
        ext.sources = [*sources, str(module)]
        try:
            super().build_extension(ext)
        finally:
            ext.sources = sources  # what a source distribution takes along


def _warnings(file: str, module: Path) -> list[str]:
    return [] if Path(file) == module else build.WARNINGS


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _choose_compiler() -> None:
    """Another compiler of this machine where the one that Python itself was built with is not there."""
    usual = shlex.split(sysconfig.get_config_var("CC") or "")
    if os.name == "posix" and "CC" not in os.environ and usual and not shutil.which(usual[0]):
        found = next(filter(shutil.which, ("cc", "gcc", "clang")), None)
        if found:
            os.environ["CC"] = found


def _run_compiler(command: list[str], **options: Any) -> None:
    """Runs the compiler; its words go to standard error, and into the error if it fails."""
    name = Path(command[0]).name
    try:
        done = subprocess.run(
            command, env={**os.environ, **(options.get("env") or {}), "LC_ALL": "C"}, check=False,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace",
        )  # fmt: skip
    except FileNotFoundError:
        raise NotBuiltError(f"no C compiler found: {command[0]}: command not found") from None
    except OSError as error:
        raise NotBuiltError(f"the C compiler {command[0]} cannot be run: {error.strerror}") from None
    if done.stdout:
        print(done.stdout, end="", file=sys.stderr)
    if done.returncode:
        lines = done.stdout.splitlines() or [f"it ended with code {done.returncode} and said nothing"]
        telling = next((line for line in lines if "error" in line), lines[-1])
        raise NotBuiltError("\n".join([f"{name} failed: {telling.strip()}", *lines[:20]]))


setup(
    ext_modules=[
        Extension(
            build.MODULE,
            sources=[str(path.relative_to(ROOT)) for path in build.units()],
            depends=[str(path.relative_to(ROOT)) for path in build.headers()],
            include_dirs=["kernels"],
            define_macros=[("Py_LIMITED_API", "0x030B0000") if STABLE_ABI else ("_CFFI_NO_LIMITED_API", None)],
            extra_compile_args=build.FLAGS,
            libraries=["pthread"],
            py_limited_api=STABLE_ABI,
            optional=True,
        )
    ],
    cmdclass={"build_ext": BuildKernels},
    options={"bdist_wheel": {"py_limited_api": "cp311"}} if STABLE_ABI else {},
)
