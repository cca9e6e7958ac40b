"""The three products of a dense layer with operands rounded to bfloat16, sums and results in float32: several times
the speed on CPUs with a matrix unit for bfloat16.

Arrays are float32, before and after; what is rounded lives within a call. The letters are those of `dense`.
"""

from typing import Any

import numpy as np

from ..table import operation
from . import dense

Array = np.ndarray[Any, Any]


def bf16(x: Array) -> Array:
    """Numbers rounded to the nearest bfloat16 (8 bits of precision, float32's exponents), ties to even, in x's dtype.

    x   float32, or float64 that float32 holds exactly
    """
    numbers = x.astype(np.float32)
    bits = numbers.view(np.uint32)
    rounded = (bits + (((bits >> np.uint32(16)) & np.uint32(1)) + np.uint32(0x7FFF))) & np.uint32(0xFFFF0000)
    return np.where(np.isnan(numbers), numbers, rounded.view(np.float32)).astype(x.dtype)


@operation(
    writes="y[O,B]:float32", reads="x[K,B]:float32 weight[O,K]:float32", scalars="floor", splits="O B",
    needs="avx512bf16",
)  # fmt: skip
def dense_forward_bf16(y: Array, x: Array, weight: Array, floor: float) -> None:
    """y = max(bf16(weight) bf16(x), floor).

    y       (O, B)  written
    x       (K, B)  read
    weight  (O, K)  read
    floor   0 fuses the ReLU, -inf leaves the product as it is

    NaN stays NaN under any floor. Compiled kernels take subnormal numbers as zeros, here and in the other two.
    """
    dense.dense_forward(y, bf16(x), bf16(weight), floor)


@operation(
    writes="dx[I,B]:float32",
    reads="dy[O,B]:float32 weight[O,I]:float32 x?derivative[I,B]:float32",
    scalars="derivative:int<4 c0 c1 c2",
    splits="I B",
    needs="avx512bf16",
)
def dense_backward_input_bf16(
    dx: Array, dy: Array, weight: Array, x: Array | None, derivative: int, c0: float, c1: float, c2: float
) -> None:
    """dx = bf16(weight)^T bf16(dy), times the derivative of the activation that made x, which is not rounded.

    dx          (I, B)  written; not x's place, unlike in `dense_backward_input`: it holds partial sums
    dy          (O, B)  read
    weight      (O, I)  read, without the bias column
    x           (I, B)  read; None if derivative is 0
    derivative  0: none;  1: 1 where x > 0, else 0 (ReLU);  2: c0 + c1 x + c2 x**2 (tanh: 1, 0, -1; sigmoid: 0, 1, -1);
                3: c2 where x > 0, else c0 + c1 x (leaky ReLU: its slope, 0, 1; ELU: alpha, 1, 1)
    """
    dense.dense_backward_input(dx, bf16(dy), bf16(weight), x, derivative, c0, c1, c2)


@operation(
    updates="dweight[O,K]:float32", reads="dy[O,B]:float32 x[K,B]:float32", scalars="accumulate:int<2", splits="O K",
    needs="avx512bf16",
)  # fmt: skip
def dense_backward_weight_bf16(dweight: Array, dy: Array, x: Array, accumulate: int) -> None:
    """dweight = bf16(dy) bf16(x)^T, or dweight += bf16(dy) bf16(x)^T if `accumulate` is 1.

    dweight     (O, K)  written; read only if accumulate is 1
    dy          (O, B)  read
    x           (K, B)  read
    accumulate  0 or 1
    """
    dense.dense_backward_weight(dweight, bf16(dy), bf16(x), accumulate)
