"""The native loop: many passes over a plan in one call, no Python in between, the GIL released; and one pass after the
other, for loops of one's own.

A pass runs the operations [first, last) of a plan. What differs from pass to pass (the rows of the batch, where the
loss goes, the step size) is a column of `table`: before a pass each of its numbers is copied into the words of the
operations.

Passes made ready are the `fastnn_passes` of kernels/fastnn.h: the functions here are the twins of `fastnn_run_some` and
`fastnn_next` in kernels/run.c. As there, subnormal numbers count as zeros while passes run.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

from .floating import floating_mode, flushing, set_floating_mode

_P = types.CPointer(types.int64)

# Members of fastnn_passes, in their order.
(
    _WORDS, _KERNELS, _STARTS, _PLACES, _COLUMNS, _TABLE, _BUSY, _TRAINER, _LOSSES, _NEXT, _END,
    _GENERATION, _STEP_COUNT, _LR,
) = range(14)  # fmt: skip


@intrinsic
def _call(typingctx, address, words, offset):
    """Calls the kernel at that address with the words from `offset` on."""

    def emit(context, builder, sig, args):
        address, words, offset = args
        kernel = builder.inttoptr(address, ir.FunctionType(ir.VoidType(), [words.type]).as_pointer())
        builder.call(kernel, [builder.gep(words, [offset])])
        return context.get_dummy_value()

    return types.void(types.int64, words, types.int64), emit


@intrinsic
def _integers(typingctx, address):
    """The int64 numbers at that address."""
    return _P(types.int64), lambda context, builder, sig, args: builder.inttoptr(args[0], context.get_value_type(_P))


@intrinsic
def _floats(typingctx, address):
    """The float64 numbers at that address."""
    pointer = types.CPointer(types.float64)
    return pointer(types.int64), lambda context, builder, sig, args: builder.inttoptr(
        args[0], context.get_value_type(pointer)
    )


@intrinsic
def _acquire(typingctx, busy):
    """Whether the workspace was free; it is ours then."""

    def emit(context, builder, sig, args):
        before = builder.atomic_rmw("xchg", args[0], ir.Constant(ir.IntType(64), 1), "acquire")
        return builder.icmp_signed("==", before, ir.Constant(ir.IntType(64), 0))

    return types.boolean(_P), emit


@intrinsic
def _release(typingctx, busy):
    """The workspace is free again."""

    def emit(context, builder, sig, args):
        builder.store_atomic(ir.Constant(ir.IntType(64), 0), args[0], "release", 8)
        return context.get_dummy_value()

    return types.void(_P), emit


@njit(error_model="numpy")
def _run_passes(passes, first, count):
    words, kernels, starts = _integers(passes[_WORDS]), _integers(passes[_KERNELS]), _integers(passes[_STARTS])
    places, columns, table = _integers(passes[_PLACES]), passes[_COLUMNS], _integers(passes[_TABLE])
    mode = floating_mode()
    set_floating_mode(flushing(mode))
    row = first * (2 + columns)
    for _ in range(count):
        for column in range(columns):
            words[places[column]] = table[row + 2 + column]
        for q in range(table[row], table[row + 1]):
            _call(kernels[q], words, starts[q])
        row += 2 + columns
    set_floating_mode(mode)


def run_some(passes, first, count):
    """Runs passes first .. first + count - 1: 1; 0 if another thread is at work in the workspace."""
    busy = _integers(passes[_BUSY])
    if not _acquire(busy):
        return 0
    _run_passes(passes, first, count)
    _release(busy)
    return 1


def next_step(passes):
    """Runs the next pass, a training step, counts it in the trainer and returns its loss; +infinity: look."""
    busy, trainer = _integers(passes[_BUSY]), _integers(passes[_TRAINER])
    if not _acquire(busy):
        return np.inf
    loss, place = np.inf, passes[_NEXT]
    as_expected = trainer[0] == passes[_GENERATION] and trainer[1] == passes[_STEP_COUNT] and trainer[2] == passes[_LR]
    if place < passes[_END] and as_expected:
        _run_passes(passes, place, 1)
        loss = _floats(passes[_LOSSES])[place]
        passes[_NEXT] += 1
        passes[_STEP_COUNT] += 1
        trainer[1] += 1
    _release(busy)
    return loss if -np.inf < loss < np.inf else np.inf


ROUTINES: dict[str, tuple[Callable[..., Any], Any]] = {
    "run_some": (run_some, types.int64(_P, types.int64, types.int64)),
    "next_step": (next_step, types.float64(_P)),
}
"""By the name of their object: the function and its signature."""
