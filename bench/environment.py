"""Put the process in order before NumPy loads, and say what was found.

`OPENBLAS_CORETYPE` (and `OPENBLAS_L2_SIZE`) in the environment can halve the speed of NumPy and scikit-learn; thread
pools of different sizes compare nothing; torch with activations above about 1 MB varies 1.8-fold with the history of
the heap unless glibc keeps the memory that it has; an installed package has its byte code, while a checkout whose byte
code Python must not write is compiled anew in each process (fastnn's takes 45 ms). All of these are read when a process
or a library starts, so `prepare` sets them and, where they differ from what the process was started with, executes the
same command again.
"""

from __future__ import annotations

import datetime
import importlib.metadata
import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
REMOVED = ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE", "PYTHONDONTWRITEBYTECODE")
_CORES = "FASTNN_BENCH_CORES"  # those that the process was started with, before `prepare` kept it to some of them
_NOTE = "FASTNN_BENCH_REMOVED"  # tells the executed-again process what its parent removed
_THREADS = (
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OMP_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
)
_PEERS = ("numpy", "numba", "llvmlite", "scipy", "scikit-learn", "torch", "jax")


def wanted(threads: int = 1) -> dict[str, str]:
    """The variables that a measured process is started with."""
    values = {name: str(threads) for name in _THREADS}
    values["OPENBLAS_THREAD_TIMEOUT"] = "22"  # its threads spin for 2**22 cycles, not 2**28, on the next one's cores
    eigen = str(threads > 1).lower()
    values["XLA_FLAGS"] = f"--xla_cpu_multi_thread_eigen={eigen} intra_op_parallelism_threads={threads}"
    values["JAX_PLATFORMS"] = "cpu"
    values["MALLOC_TRIM_THRESHOLD_"] = values["MALLOC_MMAP_THRESHOLD_"] = "1000000000"
    return values


def clean(threads: int = 1) -> dict[str, str]:
    """This process's environment as a measured process should see it."""
    environment = {name: value for name, value in os.environ.items() if name not in REMOVED}
    return environment | wanted(threads)


def prepare(threads: int = 1, pin: bool = True) -> None:
    """Execute the command again in a clean environment, unless this process was started in one.

    pin   keep the process on as many cores as it has threads. XLA runs independent operations side by side whatever its
          flags say: without this, JAX's step of 784-1024-1024-10 takes 4.3 ms instead of 7.6, on two cores.
    """
    started_with = all_cores()
    if pin:
        keep_to(set(cores()[-threads:]))
    found = [f"{name}={os.environ[name]}" for name in REMOVED if name in os.environ]
    target = clean(threads) | {_CORES: ",".join(map(str, started_with))}
    if found:
        target[_NOTE] = ", ".join(found)
    if target != dict(os.environ):
        sys.stdout.flush()
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], target)


def cores() -> list[int]:
    """The cores that the calling thread may use, as far as the system tells."""
    return sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else list(range(os.cpu_count() or 1))


def all_cores() -> list[int]:
    """The cores that the process could use when it was started."""
    noted = os.environ.get(_CORES)
    return [int(core) for core in noted.split(",")] if noted else cores()


def keep_to(some: set[int]) -> None:
    """Keeps the calling thread, and those that it starts, to these cores, where the system lets it."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, some)


def asked_threads() -> int:
    """What the option --threads of this process's command says; it is needed before NumPy loads."""
    for index, argument in enumerate(sys.argv):
        value = argument.removeprefix("--threads=")
        if argument == "--threads" and index + 1 < len(sys.argv):
            value = sys.argv[index + 1]
        if value != argument and value.isdigit():
            return max(1, int(value))
    return 1


def commit() -> str:
    """The commit under measurement, with "+" when the tree has uncommitted changes."""
    try:
        run = {"cwd": ROOT, "capture_output": True, "text": True, "check": True}
        name = subprocess.run(["git", "rev-parse", "--short=10", "HEAD"], **run).stdout.strip()  # type: ignore[call-overload]
        changed = subprocess.run(["git", "status", "--porcelain", "-uno"], **run).stdout.strip()  # type: ignore[call-overload]
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return f"{name}{'+' if changed else ''}"


def cpu() -> dict[str, Any]:
    """Model, number of cores, how many of them this process may use, and cache sizes, as Linux reports them."""
    model = platform.processor() or platform.machine()
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                model = line.split(":", 1)[1].strip()
                break
    except OSError:
        pass
    caches: dict[str, str] = {}
    for folder in sorted(Path("/sys/devices/system/cpu/cpu0/cache").glob("index*")):
        try:
            level, kind, size = ((folder / name).read_text().strip() for name in ("level", "type", "size"))
        except OSError:
            continue
        if kind != "Instruction":
            caches[f"L{level}"] = size
    return {"model": model, "cores": os.cpu_count(), "usable": len(cores()), "caches": caches}


def versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for name in _PEERS:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def header(threads: int = 1) -> dict[str, Any]:
    """What a reader needs to know about a run; goes on top of every table and into every result file."""
    return {
        "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "commit": commit(),
        "cpu": cpu(),
        "versions": versions(),
        "threads": threads,
        "command": " ".join(sys.orig_argv[1:]),
        "isa": os.environ.get("FASTNN_ISA", ""),
        "removed": os.environ.get(_NOTE, ""),
    }


def describe(head: dict[str, Any]) -> str:
    """The header as lines of text."""
    cpu_, versions_ = head["cpu"], head["versions"]
    caches = ", ".join(f"{level} {size}" for level, size in cpu_["caches"].items())
    removed = f"removed from the environment: {head['removed'] or 'nothing'}"
    removed += f"; FASTNN_ISA={head['isa']}" if head.get("isa") else ""
    return "\n".join(
        [
            f"fastnn {head['commit']}, {head['date']}",
            f"{cpu_['model']}, {cpu_['cores']} cores ({cpu_['usable']} used), {caches}; threads: {head['threads']}",
            ", ".join(f"{name} {version}" for name, version in versions_.items()),
            removed,
        ]
    )
