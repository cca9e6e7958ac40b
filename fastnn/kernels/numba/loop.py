"""The native loop: many passes over a plan in one call, no Python in between, the GIL released.

A pass runs the operations [first, last) of a plan. What differs from pass to pass (the rows of the batch, where the
loss goes, the step size) is a column of `table`: before a pass each of its numbers is copied into the words of the
operations.
"""

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

_P = types.CPointer(types.int64)
SIGNATURE = types.void(_P, _P, _P, _P, types.int64, _P, types.int64)


@intrinsic
def _call(typingctx, address, words, offset):
    """Calls the kernel at that address with the words from `offset` on."""

    def emit(context, builder, sig, args):
        address, words, offset = args
        kernel = builder.inttoptr(address, ir.FunctionType(ir.VoidType(), [words.type]).as_pointer())
        builder.call(kernel, [builder.gep(words, [offset])])
        return context.get_dummy_value()

    return types.void(types.int64, words, types.int64), emit


def run_passes(words, kernels, starts, places, columns, table, passes):
    """Runs `passes` passes.

    words    (W,)  int64, read and written: the arguments of all operations, one after the other
    kernels  (Q,)  int64: the address of each operation's kernel
    starts   (Q,)  int64: where its words begin
    places   (columns,)            int64: which word each column goes to
    table    (passes, 2 + columns) int64: first, last, then the columns
    """
    row = types.int64(0)
    for _ in range(passes):
        for column in range(columns):
            words[places[column]] = table[row + 2 + column]
        for q in range(table[row], table[row + 1]):
            _call(kernels[q], words, starts[q])
        row += 2 + columns
