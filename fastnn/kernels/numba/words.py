"""Products of matrices whose operands are rounded to bfloat16: what the two forms of them (pairs.py, amx.py) share.

The CPU takes two terms of a sum at once, as words of 32 bits with a bfloat16 of each. So blocks of both operands are
rounded and put into words first, on the stack: a word of A has two neighbours of a row, a word of B two of a column.

    M rows of C and A     N columns of C and B     K terms of each sum
"""

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

from .. import objects
from .simd import at, lanes_below, load, select, splat, store, transpose_block
from .vectors import Vector, call_llvm, vector_type

NUMBERS, WORDS = Vector(types.float32, 16), Vector(types.int32, 16)
_HALVES = ir.VectorType(ir.IntType(16), 32)


# LLVM's parser brings the intrinsics' types up to date: it had integers where it has bfloat now.


def _rounded(builder: Any, first: Any, second: Any) -> Any:
    """Two vectors of numbers as bfloat16, one behind the other."""
    return call_llvm(builder, "llvm.x86.avx512bf16.cvtne2ps2bf16.512", _HALVES, second, first)


@intrinsic
def words_of_two(typingctx, first, second):
    """Each word has a number of `first` below and one of `second` above."""

    def emit(context, builder, sig, args):
        halves = _rounded(builder, *args)
        order = [lane // 2 + lane % 2 * 16 for lane in range(32)]
        mixed = builder.shuffle_vector(halves, halves, ir.Constant(ir.VectorType(ir.IntType(32), 32), order))
        return builder.bitcast(mixed, vector_type(WORDS))

    return WORDS(NUMBERS, NUMBERS), emit


@intrinsic
def words_of_neighbours(typingctx, first, second):
    """Words of 32 numbers in a row, which are two vectors."""

    def emit(context, builder, sig, args):
        return builder.bitcast(_rounded(builder, *args), vector_type(WORDS))

    return WORDS(NUMBERS, NUMBERS), emit


@njit(error_model="numpy")
def words_of_row(x, count):
    """Those of 32 numbers in a row, of which `count` are there and the others count as zeros."""
    if count >= 32:
        return words_of_neighbours(load(x, 0), load(x, 16))
    if count > 16:
        return words_of_neighbours(load(x, 0), select(lanes_below(x, count - 16), load(x, 16), 0.0))
    if count > 0:
        return words_of_neighbours(select(lanes_below(x, count), load(x, 0), 0.0), splat(x, 0.0))
    return words_of_neighbours(splat(x, 0.0), splat(x, 0.0))


@njit(error_model="numpy")
def pack_across(out, vectors, x, x_row, terms):
    """out[pair, j] = word of x[2 pair, j] and x[2 pair + 1, j], `vectors` vectors of j; x_row from row to row of x."""
    place = 0
    for k in range(0, terms, 2):
        for j in range(0, 16 * vectors, 16):
            second = load(x, (k + 1) * x_row + j) if k + 1 < terms else splat(x, 0.0)
            store(out, place, words_of_two(load(x, k * x_row + j), second))
            place += 16


@njit(error_model="numpy")
def pack_along(out, out_row, x, x_row, rows, terms):
    """out[row, pair] = word of x[row, 2 pair] and x[row, 2 pair + 1]; 16 pairs at a time, zeros behind the last."""
    for row in range(rows):
        for k in range(0, terms, 32):
            store(out, row * out_row + k // 2, words_of_row(at(x, row * x_row + k), terms - k))


@njit(error_model="numpy")
def pack_turned(out, vectors, x, x_row, columns, terms, words, turned):
    """out[pair, j] = word of x[j, 2 pair] and x[j, 2 pair + 1], `vectors` vectors of them; zeros from `columns` on.

    words, turned   room for 16 vectors of words
    """
    for j in range(0, 16 * vectors, 16):
        for k in range(0, terms, 32):
            for row in range(16):
                if j + row < columns:
                    store(words, 16 * row, words_of_row(at(x, (j + row) * x_row + k), terms - k))
                else:
                    store(words, 16 * row, words_of_row(x, 0))
            transpose_block(turned, 16, words, 16, 16)
            for pair in range(min(16, (terms - k + 1) // 2)):
                store(out, (k // 2 + pair) * 16 * vectors + j, load(turned, 16 * pair))


def room(vectors: int) -> Callable[[], Any]:
    """A function that returns room for so many vectors of words, on the stack of the kernel that calls it."""

    @intrinsic
    def room(typingctx):
        def emit(context, builder, sig, args):
            with builder.goto_entry_block():  # Numba's own function would fill it with zeros
                memory = builder.alloca(ir.ArrayType(ir.IntType(32), vectors * 16))
            memory.align = 64
            return builder.bitcast(memory, ir.IntType(32).as_pointer())

        return types.CPointer(types.int32)(), emit

    return room  # type: ignore[no-any-return]


@njit(error_model="numpy")
def parts(length, size):
    """How many parts of at most that size a length has."""
    return (length + size - 1) // size


@njit(error_model="numpy")
def pack_columns(words, b, b_k, b_column, n, vectors, columns, k, terms, pairs, widest, square, turned):
    """Packs vectors [n, n + vectors) of the columns of B, the terms [k, k + terms), in strips of at most `widest`
    vectors of `pairs` words each, with zeros behind the last term."""
    count, place = parts(vectors, widest), 0
    for part in range(count):
        width = vectors // count + (1 if part < vectors % count else 0)
        corner = at(b, k * b_k + n * 16 * b_column)
        if b_column == 1:
            pack_across(at(words, place), width, corner, b_k, terms)
        else:
            pack_turned(at(words, place), width, corner, b_column, columns - n * 16, terms, square, turned)
        for i in range(parts(terms, 2) * 16 * width, pairs * 16 * width, 16):
            store(words, place + i, splat(words, 0))
        place += pairs * 16 * width
        n += width


def product_bf16_signature(dtype: Any) -> Any:
    """The Numba signature of `product_bf16`; the dtype is float32."""
    p, i = types.CPointer(dtype), types.int64
    return types.void(p, i, p, i, i, p, i, i, i, i, i, i, types.float64, p, i, i, *[types.float64] * 3)


@intrinsic
def call_product_bf16(
    typingctx, c, c_row, a, a_row, a_k, b, b_k, b_column, M, N, K, accumulate, floor, h, h_row, derivative, c0, c1, c2
):
    """`product_bf16`, compiled once into an object of its own and called through its symbol."""
    sig = product_bf16_signature(c.dtype)

    def emit(context, builder, sig, args):
        function_type = ir.FunctionType(ir.VoidType(), [context.get_value_type(t) for t in sig.args])
        symbol = objects.symbol("product_bf16", "float32")
        function = cgutils.get_or_insert_function(builder.module, function_type, symbol)
        builder.call(function, args)
        return context.get_dummy_value()

    return sig, emit
