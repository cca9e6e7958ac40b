"""Sums over parts that were computed apart from each other.

P parts     N numbers
"""

from typing import Any

import numpy as np

from ..table import operation

Array = np.ndarray[Any, Any]


@operation(writes="total[N]", reads="parts[P,N]", splits="N")
def add_parts(total: Array, parts: Array) -> None:
    """total = 0 + parts[0] + parts[1] + ..., added in this order.

    total  (N,)    written
    parts  (P, N)  read
    """
    total[...] = 0
    for part in parts:
        total += part
