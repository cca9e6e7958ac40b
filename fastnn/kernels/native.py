"""The C kernels: the only file that touches cffi.

`kernels/` at the root of the project holds their sources; the extension `_native` is built from them when fastnn is
installed where a C compiler is. Without it everything works on the Numba kernels. FASTNN_NATIVE=0 hides a library that
is there.
"""

import functools
import os
from pathlib import Path
from typing import Any

from . import built

CONTRACT = 1
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
            f"this fastnn has number {CONTRACT}; {_AGAIN}"
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
def address(operation: str, dtype: str) -> int:
    """The address of an operation's kernel for "float32" or "float64" at the level in use; 0 if there is none."""
    from . import cpu

    lib, _, path = _load()
    return int(lib.fastnn_address(path.encode(), f"fastnn_{operation}_{dtype}_{cpu.isa()}".encode()))


def loop() -> Any:
    """The native loop, called with addresses and sizes as integers."""
    lib, ffi, _ = _load()
    run, cast = lib.fastnn_run, functools.partial(ffi.cast, "int64_t *")

    def call(words: int, kernels: int, starts: int, places: int, columns: int, table: int, passes: int) -> None:
        run(cast(words), cast(kernels), cast(starts), cast(places), columns, cast(table), passes)

    return call
