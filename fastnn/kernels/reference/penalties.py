"""Penalties on weights: what they add to the loss and to the gradient of a step.

O, I   rows and columns of the weights as they lie in memory
"""

from typing import Any

import numpy as np

from ..table import operation

Array = np.ndarray[Any, Any]


@operation(updates="dweight[O,I] loss[1]:float64", reads="weight[O,I]", scalars="l1 l2")
def penalty(dweight: Array, loss: Array, weight: Array, l1: float, l2: float) -> None:
    """loss += l1 sum |w| + l2 sum w**2 and dweight += l1 sign(w) + 2 l2 w; the sign of zero is zero.

    dweight  (O, I)  read and written
    loss     (1,)    float64, read and written
    weight   (O, I)  read
    l1, l2   0 or more

    As Keras's L1L2. PyTorch's `weight_decay` of SGD is 2 l2.
    """
    real = weight.dtype.type
    size = np.abs(weight)
    loss[0] += np.sum(size * (size * real(l2) + real(l1)), dtype=np.float64)
    dweight += weight * real(2 * l2) + np.sign(weight) * real(l1)
