"""Say what fastnn runs on here: versions, CPU, kernel sets, threads, cache folder."""

import argparse
import os
import platform
import sys
from collections.abc import Iterator
from pathlib import Path

from fastnn.cli.errors import as_command_errors
from fastnn.cli.report import count, say

USAGE = "fastnn info"

# What the extras bring, and what it is for.
_OPTIONAL = {
    "pandas": "tables",
    "scikit-learn": "bundled data sets",
    "matplotlib": "plots",
    "scipy": "Sobol searches, L-BFGS, confidence intervals",
    "optuna": "sweeps that learn or prune",
    "rich": "live tables of sweeps",
    "threadpoolctl": "one thread for each worker of a sweep",
    "distributed": "sweeps on Dask clusters",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """`fastnn info` takes none."""


def run(options: argparse.Namespace) -> int:
    """`fastnn info`."""
    import fastnn
    from fastnn.kernels import cpu, native
    from fastnn.kernels.backends import backends

    del options
    say("fastnn", f"{fastnn.__version__}, {Path(fastnn.__file__).parent}")
    say("Python", f"{platform.python_version()} on {platform.platform()}, {sys.executable}")
    say("Packages", ", ".join(_packages()))
    with as_command_errors():
        isa, own = cpu.isa(), cpu.best_isa()
        lower = f" (the CPU has {own}; FASTNN_ISA asks for less)" if isa != own else ""
        bits = 8 * cpu.vector_bytes()
        say("CPU", f"{cpu.name()}, {count(_cores(), 'core')} for this process")
        say("Vectors", f"{isa}{lower}: {bits} bits, {bits // 32} float32 or {bits // 64} float64 numbers")
        say("bfloat16", _bfloat16())
        say("Kernels", *str(backends()).splitlines())
        say("C library", *_library())
    pool = "the C library shares work among them" if native.available() else "more need the C library"
    say("Threads", f"1 thread unless more are asked for; {pool}")
    say("Cache", _cache())
    return 0


def _bfloat16() -> str:
    """How precision="bf16" multiplies."""
    from fastnn.kernels import cpu

    if not cpu.has("avx512bf16"):
        return "no products of it: precision='bf16' is for the reference alone"
    return "products by the matrix unit (AMX)" if cpu.has("amx-bf16") else "products by vectors of pairs (AVX512_BF16)"


def _library() -> Iterator[str]:
    """What the library was built with, or the compiler's words where a build failed."""
    from fastnn.kernels import built, native

    if native.available():
        yield f"built by {native.compiler()}"
        if native.is_stale():
            yield "from other sources than those beside the package: python setup.py build_ext --inplace builds them"
        return
    words = built.reason()[1]
    if words:
        yield "not built; the compiler's words:"
        yield from words


def _version(package: str) -> str | None:
    from importlib import metadata  # 18 ms to import, which every other command would pay

    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _packages() -> Iterator[str]:
    """Versions without importing: what fastnn needs, then what it can use."""
    for package in ("numpy", "numba", "llvmlite", "cffi", "safetensors", "tqdm"):
        yield f"{package} {_version(package) or 'missing'}"
    for package, purpose in _OPTIONAL.items():
        version = _version(package)
        yield f"{package} {version}" if version else f"no {package} ({purpose})"


def _cores() -> int:
    """Cores that this process may use, which in a container can be fewer than the machine has."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _cache() -> str:
    """Where compiled kernels are kept, and how much is there."""
    from fastnn.kernels import objects

    folder = objects.cache_folder()
    if folder is None:
        return "none: no folder can be written, kernels are compiled anew in each process (FASTNN_CACHE_DIR names one)"
    files = [path for path in folder.rglob("*") if path.is_file()] if folder.is_dir() else []
    size = sum(path.stat().st_size for path in files)
    return f"{folder}: {count(len(files), 'compiled kernel')}, {size / 1e6:.1f} MB"
