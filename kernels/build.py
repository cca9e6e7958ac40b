"""How the C kernels are built: what is compiled with which flags, and the module that makes a Python extension of it.

setup.py builds with this. cffi reads the declarations between the markers of fastnn.h; the kernels themselves are found
by their names and need no declaration. The sources' hash and the compiler's name are compiled in: `fastnn info` shows
them, and tells when a library is older than the sources beside it.
"""

import importlib.util
from pathlib import Path
from types import ModuleType

HERE = Path(__file__).resolve().parent
MODULE = "fastnn.kernels._native"
# What is written is what is computed: no contraction (`fmadd` says where), no -ffast-math even where CFLAGS asks for
# it, no flags for this machine's CPU.
FLAGS = ["-std=c11", "-O3", "-fno-fast-math", "-ffp-contract=off", "-fno-math-errno", "-fno-trapping-math", "-g0"]
# Units that a compiler may fail at because its assembler is too old, and what leaves them empty.
MAY_BE_EMPTY = {"amx_float32.c": ["-DFASTNN_WITHOUT_AMX"]}
WARNINGS = ["-Wall", "-Wextra", "-Wconversion"]

_ABOUT = """
/* What the library was built from and with. */
const char *fastnn_sources(void);
const char *fastnn_compiler(void);
"""
_MODULE_SOURCE = """
#include "fastnn.h"
static const char *fastnn_sources(void) { return "%s"; }
static const char *fastnn_compiler(void)
{
#ifdef __clang__
    return __VERSION__;
#else
    return "gcc " __VERSION__;
#endif
}
"""


def units() -> list[Path]:
    """All translation units: one for each level and dtype, which include the kernels, and what no level changes."""
    return [*sorted(HERE.glob("isa/*.c")), *(HERE / name for name in ("library.c", "pool.c", "run.c"))]


def headers() -> list[Path]:
    """What the units include, and this file: a library older than one of them is built anew."""
    return [path for path in sorted(HERE.glob("**/*.[ch]")) if path not in units()] + [HERE / "build.py"]


def built() -> ModuleType:
    """The module fastnn/kernels/built.py, without importing the package, which needs NumPy."""
    path = HERE.parent / "fastnn" / "kernels" / "built.py"
    specification = importlib.util.spec_from_file_location("fastnn_built", path)
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


def write_module(path: Path) -> None:
    """Writes the C source of the extension module; ImportError without cffi."""
    from cffi import FFI

    text = (HERE / "fastnn.h").read_text(encoding="utf-8")
    ffi = FFI()
    ffi.cdef(text.split("/* cdef begins */")[1].split("/* cdef ends */")[0] + _ABOUT)
    ffi.set_source(MODULE, _MODULE_SOURCE % built().source_hash(HERE))
    path.parent.mkdir(parents=True, exist_ok=True)
    ffi.emit_c_code(str(path))
