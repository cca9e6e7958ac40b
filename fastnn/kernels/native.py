"""The C kernels: the only file that touches cffi.

`kernels/` at the root of the project holds their sources; the extension `_native` is built from them when fastnn is
installed where a C compiler is. Without it everything works on the Numba kernels. FASTNN_NATIVE=0 hides a library that
is there.
"""

import functools
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from . import built

CONTRACT = 4
"""The number of the contract in kernels/fastnn.h that this package keeps."""

_AGAIN = "install fastnn again from its folder: pip install --no-deps --no-cache-dir --force-reinstall . (or -e .)"
HOW_TO_GET_IT = f"to get them, have a C compiler (gcc or clang) and {_AGAIN}"


@functools.cache
def _load() -> tuple[Any, Any, str]:
    """The library, its ffi and the path of its file; ImportError with the reason where there is none to be used."""
    if os.environ.get("FASTNN_NATIVE", "1") == "0":
        raise ImportError("the C kernels are hidden by FASTNN_NATIVE=0")
    try:
        from . import _native  # type: ignore[attr-defined]
    except ImportError as error:
        if any(Path(__file__).parent.glob("_native.*")):
            raise ImportError(f"the C kernels were built, but cannot be loaded ({error}); {_AGAIN}") from None
        reason = built.reason()[0] or "nothing has tried to build them here"
        raise ImportError(f"the C kernels were not built ({reason}); {HOW_TO_GET_IT}") from None
    found = getattr(_native.lib, "FASTNN_CONTRACT", 0)
    if found != CONTRACT:
        raise ImportError(
            f"the C kernels were built from other sources: their calling convention is number {found}, "
            f"this fastnn has {CONTRACT}; {_AGAIN}"
        )
    return _native.lib, _native.ffi, _native.__file__


@functools.cache
def why_not() -> str | None:
    """None if the C kernels can be used, else the reason why not and how to get them."""
    try:
        _load()
    except ImportError as error:
        return str(error)
    return None


def available() -> bool:
    """Whether the C kernels can be used."""
    return why_not() is None


def compiler() -> str:
    """The compiler that built the library, with its version."""
    lib, ffi, _ = _load()
    return ffi.string(lib.fastnn_compiler()).decode()


def is_stale() -> bool:
    """Whether the library was built from other sources than those that lie beside the package, if any do."""
    lib, ffi, _ = _load()
    folder = Path(__file__).parents[2] / "kernels"
    if not (folder / "fastnn.h").is_file():
        return False
    return ffi.string(lib.fastnn_sources()).decode() != built.source_hash(folder)


def best_isa() -> str:
    """The level of vector instructions that this CPU has: "avx512", "avx2" or "baseline"."""
    lib, ffi, _ = _load()
    return ffi.string(lib.fastnn_best_isa()).decode()


@functools.cache
def has(feature: str) -> bool:
    """Whether this CPU has a feature beyond its level, in LLVM's words, that some kernels need, and the library has
    them."""
    if feature == "amx-bf16" and not find("dense_forward_bf16", "float32", "amx"):
        return False
    return bool(_load()[0].fastnn_has(feature.encode()))


@functools.cache
def address(operation: str, dtype: str) -> int:
    """The address of an operation's kernel for "float32" or "float64" at the level in use; 0 if there is none."""
    from . import cpu

    # Asking for the matrix unit has effects on the process: only an operation that has a use for it does.
    with_matrix_unit = find(operation, dtype, "amx")
    return with_matrix_unit if with_matrix_unit and cpu.has("amx-bf16") else find(operation, dtype, cpu.isa())


def find(operation: str, dtype: str, isa: str) -> int:
    """The address of an operation's kernel at a level, which this CPU may not have; 0 if the library has none."""
    lib, _, path = _load()
    return int(lib.fastnn_address(path.encode(), f"fastnn_{operation}_{dtype}_{isa}".encode()))


class Loop(NamedTuple):
    """The native loop of a set of kernels: what binds its functions to the address of passes made ready.

    run    `fastnn_run_some` of fastnn.h
    next   `fastnn_next`
    """

    run: Callable[[int], Callable[[int, int], int]]
    next: Callable[[int], Callable[[], float]]


def loop() -> Loop:
    """The native loop in C."""
    lib, ffi, _ = _load()
    pointer = functools.partial(ffi.cast, "fastnn_passes *")
    return Loop(
        run=lambda passes: functools.partial(lib.fastnn_run_some, pointer(passes)),
        next=lambda passes: functools.partial(lib.fastnn_next, pointer(passes)),
    )


def team_loop(
    words: int, words_of_member: int, kernels: int, starts: int, places: int, columns: int, cuts: int, threads: int
) -> Callable[[int, int, int, int], None]:
    """The loop for several threads over a plan, `fastnn_run_threads` of fastnn.h: called with the addresses of a table
    and of the waves, their number and the address of the chains."""
    lib, ffi, _ = _load()
    cast = functools.partial(ffi.cast, "int64_t *")
    plan = ffi.new("fastnn_plan *")
    plan.words, plan.words_of_member = cast(words), words_of_member
    plan.kernels, plan.starts, plan.places, plan.columns = cast(kernels), cast(starts), cast(places), columns
    plan.cuts, plan.threads = ffi.cast("fastnn_cut *", cuts), threads

    def call(table: int, waves: int, count: int, chains: int) -> None:
        lib.fastnn_run_threads(plan, cast(table), cast(waves), count, cast(chains))

    return call


def stop_threads() -> None:
    """Ends the threads of the pool; the next model that wants some makes new ones."""
    _load()[0].fastnn_pool_stop()


def pool() -> tuple[int, int]:
    """How many threads the pool has, and how many threads compute at the moment, callers included."""
    lib = _load()[0]
    return int(lib.fastnn_pool_workers()), int(lib.fastnn_pool_busy())
