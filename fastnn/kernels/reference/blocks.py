"""What blocks of layers do with whole values: add two, and put one beside others.

F features     B rows of the batch
"""

from typing import Any

import numpy as np

from ..table import operation

Array = np.ndarray[Any, Any]


@operation(writes="out[F,B]", reads="a[F,B] b[F,B]", in_place="out=a", splits="F B")
def add(out: Array, a: Array, b: Array) -> None:
    """out = a + b.

    out  (F, B)  written; may be a
    a    (F, B)  read
    b    (F, B)  read
    """
    np.add(a, b, out=out)


@operation(writes="out[F,B]", reads="x[F,B]", splits="F B")
def copy_features(out: Array, x: Array) -> None:
    """out = x, where both may be some of the features of a wider array.

    out  (F, B)  written
    x    (F, B)  read
    """
    out[...] = x
