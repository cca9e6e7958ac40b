"""The floating-point mode of the calling thread: twins of the functions in kernels/floating.h."""

import platform
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from .vectors import call_llvm

_MACHINE = {"amd64": "x86_64", "arm64": "aarch64"}.get(platform.machine().lower(), platform.machine().lower())
# Subnormal operands and results taken as zeros: FTZ and DAZ of x86, FZ of ARM.
_FLUSHING = {"x86_64": 0x8040, "aarch64": 1 << 24}.get(_MACHINE, 0)
_I32, _I64, _VOID = ir.IntType(32), ir.IntType(64), ir.VoidType()


def _control(builder: Any) -> Any:
    """x86's register MXCSR: mode and flags."""
    place = cgutils.alloca_once(builder, _I32)
    call_llvm(builder, "llvm.x86.sse.stmxcsr", _VOID, builder.bitcast(place, cgutils.voidptr_t))
    return builder.load(place)


@intrinsic
def floating_mode(typingctx):
    """Rounding, subnormal numbers and traps, without the flags of what has happened: those are left alone."""

    def emit(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        if _MACHINE == "x86_64":
            return builder.zext(builder.and_(_control(builder), ir.Constant(_I32, 0xFFC0)), _I64)
        if _MACHINE == "aarch64":
            return call_llvm(builder, "llvm.aarch64.get.fpcr", _I64)
        return ir.Constant(_I64, 0)

    return types.int64(), emit


@intrinsic
def set_floating_mode(typingctx, mode):
    """Puts such a mode in force."""

    def emit(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        if _MACHINE == "x86_64":
            flags = builder.and_(_control(builder), ir.Constant(_I32, 0x3F))
            place = cgutils.alloca_once_value(builder, builder.or_(builder.trunc(args[0], _I32), flags))
            call_llvm(builder, "llvm.x86.sse.ldmxcsr", _VOID, builder.bitcast(place, cgutils.voidptr_t))
        elif _MACHINE == "aarch64":
            call_llvm(builder, "llvm.aarch64.set.fpcr", _VOID, args[0])
        return context.get_dummy_value()

    return types.void(types.int64), emit


@intrinsic
def flushing(typingctx, mode):
    """That mode with subnormal operands and results taken as zeros."""

    def emit(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.or_(args[0], ir.Constant(_I64, _FLUSHING))

    return types.int64(types.int64), emit
