"""What is done to gradients before an update, and to weights after it.

N     numbers of a flat arena
O, I  rows and columns of one array of it
"""

from typing import Any

import numpy as np

from ..table import operation

Array = np.ndarray[Any, Any]


@operation(updates="total[1]:float64", reads="x[O,I]", scalars="accumulate:int<2", padding="none")
def sum_of_squares(total: Array, x: Array, accumulate: int = 0) -> None:
    """total = the sum of x**2, plus what total was if `accumulate` is 1.

    total  (1,)    read if `accumulate`, and written
    x      (O, I)  read
    """
    before = total[0] if accumulate else 0.0
    total[0] = before + np.sum(np.square(x), dtype=np.float64)


@operation(updates="grad[O,I]", reads="total[1]:float64", scalars="max_norm", padding="none")
def clip_to_norm(grad: Array, total: Array, max_norm: float) -> None:
    """grad *= min(1, max_norm / (sqrt(total) + 1e-6)): gradients whose norm is above max_norm are shortened to it.

    grad   (O, I)  read and written
    total  (1,)    read: the sum of squares that the norm is the root of

    Pascanu, Mikolov and Bengio 2013; 1e-6 as in PyTorch's clip_grad_norm_. A norm that is NaN changes nothing.
    """
    factor = max_norm / (np.sqrt(total[0]) + 1e-6)
    if factor < 1:
        grad *= grad.dtype.type(factor)


@operation(updates="grad[N]", scalars="max_value", splits="N")
def clip_to_value(grad: Array, max_value: float) -> None:
    """grad = grad within [-max_value, max_value], number by number; NaN stays.

    grad  (N,)  read and written
    """
    limit = grad.dtype.type(max_value)
    np.clip(grad, -limit, limit, out=grad)


@operation(updates="average[N]", reads="param[N]", scalars="decay", splits="N")
def average_update(average: Array, param: Array, decay: float) -> None:
    """average += (1 - decay) * (param - average): the exponential moving average of the weights.

    average  (N,)  read and written
    param    (N,)  read

    Polyak and Juditsky 1992 with forgetting; as PyTorch's `get_ema_multi_avg_fn`.
    """
    average += average.dtype.type(1 - decay) * (param - average)
