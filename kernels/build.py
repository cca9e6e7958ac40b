"""How the C kernels are built, for setup.py: `python setup.py build_ext --inplace` puts the extension beside the sources of
the package, as `pip install -e .` does.

cffi reads the declarations between the markers of fastnn.h. The kernels themselves are found by their names and need no
declaration.
"""

from pathlib import Path

from cffi import FFI

HERE = Path(__file__).resolve().parent
MODULE = "fastnn.kernels._native"
# What is written is what is computed: no contraction (`fmadd` says where), no -ffast-math, no flags for this machine's CPU.
FLAGS = ["-std=c11", "-O3", "-ffp-contract=off", "-fno-math-errno", "-fno-trapping-math", "-g0", "-Wall", "-Wextra"]


def sources() -> list[str]:
    """All translation units, relative to the root of the project."""
    files = [*sorted(HERE.glob("isa/*.c")), HERE / "library.c", HERE / "run.c"]
    return [str(path.relative_to(HERE.parent)) for path in files]


def _declarations() -> str:
    text = (HERE / "fastnn.h").read_text()
    return text.split("/* cdef begins */")[1].split("/* cdef ends */")[0]


ffibuilder = FFI()
ffibuilder.cdef(_declarations())
ffibuilder.set_source(
    MODULE,
    '#include "fastnn.h"',
    sources=sources(),
    include_dirs=["kernels"],
    extra_compile_args=FLAGS,
    libraries=["pthread"],
    depends=[str(path.relative_to(HERE.parent)) for path in sorted(HERE.glob("**/*.h"))],
)
