"""From a kernel written in Python to machine code under the shared calling convention.

A kernel is a function of the operands that the table declares: an array with one axis as a pointer, one with two as a
`Matrix`, then sizes as integers and scalars as float64, which an operation on vectors rounds to their dtype (so `1 -
beta` is taken in double precision and rounded once). `compile_entry` puts in front of it the code that unpacks `const
int64_t *words` and hands both to Numba as one C function.
"""

import re
from collections.abc import Callable
from typing import Any, NamedTuple

import llvmlite.binding as llvm
import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

from .. import cpu, objects
from ..table import OPERATIONS, Operation
from . import amx, loop, pairs, product, words

KERNELS: dict[str, Any] = {}
ROUTINES = ("product", "product_bf16")
"""Code that several kernels call: an object of its own, compiled once per dtype and found through its symbol."""


class Matrix(NamedTuple):
    """A two-dimensional operand: a pointer to its first number and the strides of its axes, in numbers."""

    data: Any
    stride0: Any
    stride1: Any


def kernel(function: Callable[..., None]) -> Callable[..., None]:
    """Enters the Numba twin of the reference kernel of the same name."""
    entry = OPERATIONS[function.__name__]
    expected = (*(a.name for a in entry.arrays), *entry.sizes, *(s.name for s in entry.scalars))
    names = function.__code__.co_varnames[: function.__code__.co_argcount]
    if names != expected:
        raise TypeError(f"{function.__name__}{names}: the table asks for {expected}")
    KERNELS[entry.name] = njit(error_model="numpy")(function)
    return function


@intrinsic
def _pointer(typingctx, word, dtype):
    """An address as a pointer to numbers of that dtype."""
    pointer = types.CPointer(dtype.dtype)

    def emit(context, builder, sig, args):
        return builder.inttoptr(args[0], context.get_value_type(pointer))

    return pointer(word, dtype), emit


@intrinsic
def _float(typingctx, word):
    """The float64 with these bits."""
    return types.float64(word), lambda context, builder, sig, args: builder.bitcast(args[0], ir.DoubleType())


def _entry_source(entry: Operation) -> str:
    """The text of the C function's body: unpack every word, call the kernel."""
    places, arguments = entry.words, []
    for array in entry.arrays:
        at = places[array.name]
        pointer = f"_pointer(words[{at}], {array.dtype or 'real'})"
        arguments.append(pointer if len(array.axes) == 1 else f"Matrix({pointer}, words[{at + 1}], words[{at + 2}])")
    arguments += [f"words[{places[axis]}]" for axis in entry.sizes]
    for scalar in entry.scalars:
        word = f"words[{places[scalar.name]}]"
        arguments.append(word if scalar.integer else f"_float({word})")
    return f"def {entry.name}(words):\n    kernel({', '.join(arguments)})\n"


def entry_code(entry: Operation, kernel: Any, dtype: str, symbol: str) -> bytes:
    """Object code of one operation for "float32" or "float64", from its kernel."""
    scope: dict[str, Any] = {
        "kernel": kernel, "Matrix": Matrix, "_pointer": _pointer, "_float": _float, "real": np.dtype(dtype).type,
        "int32": np.int32, "int64": np.int64, "float32": np.float32, "float64": np.float64,
    }  # fmt: skip
    exec(_entry_source(entry), scope)
    return object_code(scope[entry.name], types.void(types.CPointer(types.int64)), symbol)


def compile_entry(name: str, dtype: str) -> tuple[bytes, tuple[str, ...]]:
    """Object code of an operation of the table, and the routines it needs."""
    needs = tuple(routine for routine in ROUTINES if f"call_{routine}" in KERNELS[name].py_func.__code__.co_names)
    for routine in needs:
        objects.address(routine, dtype)  # Numba links what it compiles: the symbol has to be there
    return entry_code(OPERATIONS[name], KERNELS[name], dtype, objects.symbol(name, dtype)), needs


def compile_routine(name: str, dtype: str) -> tuple[bytes, tuple[str, ...]]:
    """The same for a routine that kernels share, a product, or for one of the native loop."""
    real = getattr(types, dtype)
    if name == "product":
        return object_code(product.product, product.product_signature(real), objects.symbol(name, dtype)), ()
    if name == "product_bf16":
        form = amx if cpu.has("amx-bf16") else pairs
        return object_code(form.product_bf16, words.product_bf16_signature(real), objects.symbol(name, dtype)), ()
    routine, signature = loop.ROUTINES[name]
    return object_code(routine, signature, objects.symbol(name, dtype)), ()


def object_code(function: Callable[..., Any], signature: Any, symbol: str) -> bytes:
    """Machine code of a Python function as a C function of that name.

    Numba's own C callbacks carry a handler of Python exceptions, with references into the interpreter. Kernels raise
    nothing, so the function that Numba made is put into a bare one instead, and the object refers to nothing but
    routines.
    """
    dispatcher = njit(signature, error_model="numpy", no_cpython_wrapper=True, no_cfunc_wrapper=True)(function)
    (arguments,) = dispatcher.signatures
    inner = dispatcher.overloads[arguments].fndesc.llvm_func_name
    # Vectors that do not fit into registers should lie in one cache line each: LLVM aligns the stack only if told to.
    text = re.sub(r"(?m)^(define .*) \{$", r"\1 alignstack(64) {", dispatcher.inspect_llvm(arguments))
    module = llvm.parse_assembly(text + _bare_function(symbol, inner, signature))
    function_in_module = module.get_function(inner)
    function_in_module.linkage = "internal"
    function_in_module.add_function_attribute("alwaysinline")
    processor, features = cpu.target()
    machine = llvm.Target.from_default_triple().create_target_machine(
        cpu=processor, features=features, opt=3, codemodel="jitdefault", jit=True
    )
    passes = llvm.create_new_module_pass_manager()
    passes.add_always_inliner_pass()
    passes.add_sroa_pass()
    passes.add_simplify_cfg_pass()
    passes.run(module, llvm.create_pass_builder(machine, llvm.create_pipeline_tuning_options(speed_level=3)))
    return bytes(machine.emit_object(module))


def _bare_function(symbol: str, inner: str, signature: Any) -> str:
    """LLVM text of `result symbol(arguments)`, which calls Numba's function and drops its status."""
    kinds = [_llvm_name(t) for t in signature.args]
    parameters = ", ".join(f"{kind} %a{i}" for i, kind in enumerate(kinds))
    result = _llvm_name(signature.return_type)
    given = "ret void" if result == "void" else f"%value = load {result}, ptr %result\n  ret {result} %value"
    return f"""
define {result} @{symbol}({parameters}) {{
  %result = alloca {"ptr" if result == "void" else result}
  %exception = alloca ptr
  %status = call i32 @{inner}(ptr %result, ptr %exception, {parameters})
  {given}
}}
"""


def _llvm_name(numba_type: Any) -> str:
    if isinstance(numba_type, types.CPointer):
        return "ptr"
    return {types.int64: "i64", types.float64: "double", types.void: "void"}[numba_type]
