"""The kernel sets: what is available, which one "auto" picks, and why."""

import ctypes
import functools
from collections.abc import Callable
from importlib import util
from typing import Any, NamedTuple

from .. import checks
from . import cpu, native, objects
from .table import OPERATIONS, Operation

NAMES = ("reference", "numba", "c")


# The compiled sets: how each finds the address of an operation's kernel for a dtype. All share one calling convention.
COMPILED: dict[str, Callable[[str, str], int]] = {"c": native.address, "numba": objects.address}


def kernel_address(kernel_set: str, operation: str | Operation, dtype: str) -> int:
    """The address of an operation's kernel in a compiled set, for "float32" or "float64".

    An operation that has no C kernel is its Numba twin in the C set too: both have one calling convention and write the
    same bits. RuntimeError where the CPU lacks what the operation needs: no code is made that it could not run.
    """
    entry = OPERATIONS[operation] if isinstance(operation, str) else operation
    if entry.address is not None:
        return entry.address(dtype)
    if not can_run(kernel_set, entry):
        raise _needs_more(entry, kernel_set)
    return COMPILED[kernel_set](entry.name, dtype) or objects.address(entry.name, dtype)


def check_precision(precision: str | None, dtype: str, kernel_set: str) -> str:
    """The precision of products in a model of that dtype: its own, for None too, or "bf16" where there are such
    kernels; an error that says why not."""
    if precision is None or precision == dtype:
        return dtype
    if precision != "bf16":
        raise checks.unknown_name("precision", precision, (dtype, "bf16"))
    if dtype != "float32":
        raise ValueError(f"precision='bf16': the model has dtype {dtype}, expected float32")
    if kernel_set != "reference" and not cpu.has("avx512bf16"):
        raise RuntimeError(
            f"precision='bf16': not available: it needs a CPU that multiplies bfloat16 (AVX512_BF16), and the level in "
            f"use here is {cpu.isa()}; leave precision out, or use backend='reference', which is slow"
        )
    return precision


def can_run(kernel_set: str, operation: Operation) -> bool:
    """Whether a set has a kernel of an operation for this CPU and the level in use; the reference always has."""
    return kernel_set == "reference" or not operation.needs or cpu.has(operation.needs)


def resolve_for(operation: Operation, backend: str) -> str:
    """The name of the set to use for one operation; "auto" is the reference where only that can run it."""
    kernel_set = resolve(backend)
    if can_run(kernel_set, operation):
        return kernel_set
    if backend == "auto":
        return "reference"
    raise _needs_more(operation, backend)


def _needs_more(operation: Operation, backend: str) -> RuntimeError:
    return RuntimeError(
        f"{operation.name}(backend={backend!r}): not available: it needs a CPU with {operation.needs}, and the level "
        f"in use here is {cpu.isa()}"
    )


def native_loop(kernel_set: str) -> native.Loop:
    """The loop that runs a plan, of a compiled set."""
    if kernel_set == "c":
        return native.loop()
    pointer, size = ctypes.c_void_p, ctypes.c_int64

    def bound(name: str, result: Any, *arguments: Any) -> Callable[[int], Callable[..., Any]]:
        # ctypes releases the GIL during a call.
        kind = ctypes.CFUNCTYPE(result, *arguments)
        return lambda passes: functools.partial(
            kind(objects.address(name, "int64")), ctypes.byref(size.from_address(passes))
        )

    # An argument that is not declared is not converted: a pointer made by byref needs no conversion.
    return native.Loop(run=bound("run_some", size, pointer, size, size), next=bound("next_step", ctypes.c_double))


def check_threads(threads: int, kernel_set: str) -> None:
    """Refuses several threads where there are none to be had."""
    if threads > 1 and kernel_set == "reference":
        raise ValueError(f"threads={threads}: the reference backend runs on one thread")
    if threads > 1 and not native.available():
        raise RuntimeError(
            f"threads={threads}: more than one thread needs the pool of the C library, but {native.why_not()}"
        )


class Backends(NamedTuple):
    """The answer of `fastnn.backends()`.

    available   name -> what it is, for those that can be asked for
    missing     name -> why not, and how to get it
    auto        what backend="auto" picks;  why: the reason
    """

    available: dict[str, str]
    missing: dict[str, str]
    auto: str
    why: str

    def __repr__(self) -> str:
        width = max(len(name) for name in NAMES)
        lines = [f"{name:<{width}}  available      {text}" for name, text in self.available.items()]
        lines += [f"{name:<{width}}  not available  {text}" for name, text in self.missing.items()]
        return "\n".join([*lines, f"auto picks {self.auto}: {self.why}"])


@functools.cache
def backends() -> Backends:
    """What is available on this machine, what backend="auto" picks, and why."""
    available = {"reference": "NumPy, written to be read: the definition of every operation"}
    missing = {}
    if util.find_spec("numba") is None:
        missing["numba"] = "numba is not installed: pip install numba"
    else:
        available["numba"] = "every operation JIT-compiled with explicit SIMD, kept as object files between runs"
    reason = native.why_not()
    if reason is None:
        available["c"] = "every operation in C, built when fastnn was installed; nothing is compiled at run time"
    else:
        missing["c"] = reason
    why = {
        "c": "it starts fastest and is as fast as any",
        "numba": "it is the fastest one available",
        "reference": "it is the only one available",
    }
    auto = next(name for name in why if name in available)
    return Backends(available, missing, auto, why[auto])


def resolve(backend: str) -> str:
    """The name of the set to use; an error that says how to get it if it is not there."""
    if backend == "auto":
        return backends().auto
    if backend not in NAMES:
        raise checks.unknown_name("backend", backend, (*NAMES, "auto"))
    if backend not in backends().available:
        raise RuntimeError(f"backend={backend!r}: not available: {backends().missing[backend]}")
    return backend
