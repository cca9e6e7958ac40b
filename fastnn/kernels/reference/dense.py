"""The three products of a dense layer. A bias is the last column of `weight`, met by a row of ones in `x`, so that no
kernel knows of it and the weight gradient yields its gradient too.

    B rows of the batch     I inputs     O outputs     K = I + 1 with a bias, I without

Kernels may choose the form of a product, and with it the order of its sums, by the number of rows of the batch: threads
do not share a product along them.
"""

from typing import Any

import numpy as np

from ..table import operation

Array = np.ndarray[Any, Any]

NOTHING, WHERE_POSITIVE, QUADRATIC, IN_TWO_PARTS = 0, 1, 2, 3
"""How the derivative of the activation that made x follows from x: `derivative` of `dense_backward_input`."""


@operation(writes="y[O,B]", reads="x[K,B] weight[O,K]", scalars="floor", splits="O")
def dense_forward(y: Array, x: Array, weight: Array, floor: float) -> None:
    """y = max(weight x, floor).

    y       (O, B)  written
    x       (K, B)  read
    weight  (O, K)  read
    floor   0 fuses the ReLU, -inf leaves the product as it is

    NaN stays NaN under any floor.
    """
    np.matmul(weight, x, out=y)
    np.maximum(y, y.dtype.type(floor), out=y)


@operation(
    writes="dx[I,B]",
    reads="dy[O,B] weight[O,I] x?derivative[I,B]",
    scalars="derivative:int<4 c0 c1 c2",
    in_place="dx=x",
    splits="I",
)
def dense_backward_input(
    dx: Array, dy: Array, weight: Array, x: Array | None, derivative: int, c0: float, c1: float, c2: float
) -> None:
    """dx = weight^T dy, times the derivative of the activation that made x.

    dx          (I, B)  written; may be x
    dy          (O, B)  read
    weight      (O, I)  read, without the bias column
    x           (I, B)  read: what that activation put out, or its derivative (2: 0, 1, 0); None if derivative is 0
    derivative  0: none;  1: 1 where x > 0, else 0 (ReLU);  2: c0 + c1 x + c2 x**2 (tanh: 1, 0, -1; sigmoid: 0, 1, -1);
                3: c2 where x > 0, else c0 + c1 x (leaky ReLU: its slope, 0, 1; ELU: alpha, 1, 1)
    """
    product = weight.T @ dy
    real = dx.dtype.type
    if derivative == WHERE_POSITIVE and x is not None:
        dx[...] = np.where(x > 0, product, 0)
    elif derivative == QUADRATIC and x is not None:
        dx[...] = product * ((real(c2) * x + real(c1)) * x + real(c0))
    elif derivative == IN_TWO_PARTS and x is not None:
        dx[...] = product * np.where(x > 0, real(c2), real(c1) * x + real(c0))
    else:
        dx[...] = product


@operation(updates="dweight[O,K]", reads="dy[O,B] x[K,B]^T", scalars="accumulate:int<2", splits="O K")
def dense_backward_weight(dweight: Array, dy: Array, x: Array, accumulate: int) -> None:
    """dweight = dy x^T, or dweight += dy x^T if `accumulate` is 1.

    dweight     (O, K)  written; read only if accumulate is 1
    dy          (O, B)  read
    x           (K, B)  read
    accumulate  0 or 1
    """
    if accumulate:
        dweight += dy @ x.T
    else:
        np.matmul(dy, x.T, out=dweight)
