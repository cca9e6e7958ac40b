"""Vectors that are looked up by category: a table with a column for each, so that lookups of one feature stay close.

R categories     F numbers of a vector     B rows of the batch
"""

from typing import Any

import numpy as np

from ..table import operation

Array = np.ndarray[Any, Any]


@operation(writes="codes[B]:int32", reads="x[B]", scalars="categories:int<2**24", splits="B")
def category_codes(codes: Array, x: Array, categories: int) -> None:
    """codes = x as an integer, rounded towards 0, where that lies in [0, categories), else 0.

    codes       (B,)  int32, written
    x           (B,)  read
    categories  at least 1; below 2**24, so that float32 holds every code

    Data are refused before, where a code is out of range; whatever is here, no lookup leaves its table.
    """
    inside = (x >= 0) & (x < categories)
    codes[...] = np.where(inside, x, 0)


@operation(writes="y[F,B]", reads="table[F,R] codes[B]:int32<R", splits="F B")
def embedding_forward(y: Array, table: Array, codes: Array) -> None:
    """y[:, b] = table[:, codes[b]].

    y      (F, B)  written
    table  (F, R)  read: a column for each category
    codes  (B,)    int32, read; every entry in [0, R)
    """
    y[...] = table[:, codes]


@operation(updates="dtable[F,R]", reads="dy[F,B] codes[B]:int32<R", scalars="accumulate:int<2", splits="F")
def embedding_backward(dtable: Array, dy: Array, codes: Array, accumulate: int) -> None:
    """dtable[:, c] = the sum of dy[:, b] over the rows b with code c, added in their order; += if `accumulate` is 1.

    dtable      (F, R)  written, with zeros for categories that do not occur; read only if accumulate is 1
    dy          (F, B)  read
    codes       (B,)    int32, read; every entry in [0, R)
    accumulate  0 or 1
    """
    if not accumulate:
        dtable[...] = 0
    for total, grad in zip(dtable, dy, strict=True):
        np.add.at(total, codes, grad)
