"""The C kernels: the only file that touches cffi.

`kernels/` at the root of the project holds their sources; the extension `_native` is built from them when fastnn is
installed where a C compiler is. Without it everything works on the Numba kernels. FASTNN_NATIVE=0 hides a library that
is there.
"""

import functools
import os
from typing import Any

HOW_TO_GET_IT = "install a C compiler (gcc or clang), then: pip install --force-reinstall --no-deps fastnn"


@functools.cache
def _load() -> tuple[Any, Any, str]:
    """The library, its ffi and the path of its file; ImportError where there is none."""
    if os.environ.get("FASTNN_NATIVE", "1") == "0":
        raise ImportError("hidden by FASTNN_NATIVE=0")
    from . import _native  # type: ignore[attr-defined]

    return _native.lib, _native.ffi, _native.__file__


@functools.cache
def why_not() -> str | None:
    """None if the C kernels can be used, else the reason why not and how to get them."""
    try:
        _load()
    except ImportError as error:
        if "FASTNN_NATIVE" in str(error):
            return "the C kernels are hidden by FASTNN_NATIVE=0"
        return f"the C kernels were not built ({error}); {HOW_TO_GET_IT}"
    return None


def available() -> bool:
    return why_not() is None


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
