"""What the CPU offers: the instruction set level and the width of its vectors.

FASTNN_ISA=avx512 | avx2 | baseline makes kernels and memory layouts for a lower level than the CPU's own, FASTNN_AMX=0
leaves its matrix unit aside; they are there to test all kernels on one machine. Both are read once, when the first plan
or kernel needs to know.
"""

import functools
import os
import sys

from . import native

_VECTOR_BYTES = {"avx512": 64, "avx2": 32, "baseline": 16}
_BEYOND = {"avx512bf16": "avx512", "amx-bf16": "avx512"}
"""Features that some kernels need, in LLVM's words, and the level beyond which they are."""


@functools.cache
def features() -> frozenset[str]:
    """The names of the CPU features that LLVM finds on this machine."""
    import llvmlite.binding as llvm

    return frozenset(name for name, present in llvm.get_host_cpu_features().items() if present)


def name() -> str:
    """LLVM's name of the CPU, such as "znver4"."""
    import llvmlite.binding as llvm

    return str(llvm.get_host_cpu_name())


def target() -> tuple[str, str]:
    """The CPU and the features, in LLVM's words, that code is made for: this machine's, or those of a lower level."""
    import llvmlite.binding as llvm

    if isa() == best_isa():
        return name(), str(llvm.get_host_cpu_features().flatten())
    return {"avx2": "x86-64-v3", "baseline": "x86-64"}[isa()], ""


def best_isa() -> str:
    """The highest level that this CPU has; all kernel sets, and the layout of memory, agree on it."""
    if native.available():
        return native.best_isa()  # without llvmlite, which takes 0.1 s to import
    found = features()
    if {"avx512f", "avx512vl", "avx512dq", "avx512bw"} <= found:
        return "avx512"
    return "avx2" if {"avx2", "fma"} <= found else "baseline"


@functools.cache
def isa() -> str:
    """The level in use: the CPU's own, or the lower one that FASTNN_ISA asks for."""
    asked = os.environ.get("FASTNN_ISA", "").lower()
    best = best_isa()
    if not asked:
        return best
    order = list(_VECTOR_BYTES)
    if asked not in order:
        raise ValueError(f"FASTNN_ISA={asked!r}: must be one of {', '.join(order)}")
    if order.index(asked) < order.index(best):
        raise ValueError(f"FASTNN_ISA={asked!r}: this CPU only has {best}")
    return asked


@functools.cache
def has(feature: str) -> bool:
    """Whether kernels that need a feature beyond the levels, in LLVM's words, can be used here: "avx512bf16", pairs of
    bfloat16 as vectors, or "amx-bf16", as matrices."""
    if isa() != best_isa() or isa() != _BEYOND[feature]:
        return False
    if feature == "amx-bf16" and os.environ.get("FASTNN_AMX") == "0":
        return False
    if native.available():
        return native.has(feature)
    return feature in features() and (feature != "amx-bf16" or _may_use_amx())


def _may_use_amx() -> bool:
    """Asks Linux for the registers of the matrix unit, as kernels/library.c does.

    From then on the process needs larger stacks for its signal handlers (`sigaltstack`), and Linux refuses where it has
    set up a smaller one before.
    """
    import ctypes

    if not sys.platform.startswith("linux"):
        return False
    arch_prctl, request_permission, tile_data = 158, 0x1023, 18
    return ctypes.CDLL(None).syscall(arch_prctl, request_permission, tile_data) == 0


def has_fma() -> bool:
    """Whether kernels at the level in use have fused multiply-adds: `fma` rounds twice where they have not."""
    import platform

    return isa() != "baseline" or platform.machine() not in ("x86_64", "AMD64")


def vector_bytes() -> int:
    """Bytes of one vector register at the level in use: 64, 32 or 16."""
    return _VECTOR_BYTES[isa()]


def vector_registers() -> int:
    """How many vector registers the level has."""
    return 32 if isa() == "avx512" else 16
