"""Dropout with a counter-based generator: whether an element is kept depends on its place and the step's key alone, so
the backward pass needs no stored mask and a resumed run equals an unbroken one.
"""

from typing import Any

import numpy as np

from ..table import operation

Array = np.ndarray[Any, Any]


def hash32(x: Array) -> Array:
    """A bijective mixing of 32-bit integers in which each input bit flips each output bit with probability 0.5.

    `triple32` of Chris Wellons' hash-prospector (public domain), exact bias 0.021.
    """
    x = x.astype(np.uint32)
    x = (x ^ (x >> np.uint32(17))) * np.uint32(0xED5AD4BB)
    x = (x ^ (x >> np.uint32(11))) * np.uint32(0xAC4C1B51)
    x = (x ^ (x >> np.uint32(15))) * np.uint32(0x31848BAB)
    return x ^ (x >> np.uint32(14))


def kept(shape: tuple[int, ...], key: int, threshold: int, first: int) -> Array:
    """(F, B) bool: hash32(hash32((first + f) ^ key) + b) < threshold, in unsigned 32-bit arithmetic."""
    features, rows = shape
    feature = hash32((np.uint32(first) + np.arange(features, dtype=np.uint32)) ^ np.uint32(key & 0xFFFFFFFF))
    return hash32(feature[:, None] + np.arange(rows, dtype=np.uint32)) < np.uint32(threshold)


@operation(
    writes="y[F,B]", reads="x[F,B]", scalars="key:int<2**32 threshold:int<2**32 scale first:int<2**32",
    in_place="y=x", splits="F", counts="first",
)  # fmt: skip
def dropout_forward(y: Array, x: Array, key: int, threshold: int, scale: float, first: int) -> None:
    """y = scale * x where the element is kept, else 0.

    y          (F, B)  written; may be x
    x          (F, B)  read
    key        32 bits: differs by step and by layer
    threshold  keep probability * 2**32, below 2**32
    scale      1 / keep probability
    first      the number of the first feature, where the arrays hold some of a layer's

    Srivastava et al. 2014, in the inverted form (PyTorch, Keras): inference does nothing.
    """
    y[...] = np.where(kept(x.shape, key, threshold, first), x * x.dtype.type(scale), 0)


@operation(
    writes="dx[F,B]", reads="dy[F,B]", scalars="key:int<2**32 threshold:int<2**32 scale first:int<2**32",
    in_place="dx=dy", splits="F", counts="first",
)  # fmt: skip
def dropout_backward(dx: Array, dy: Array, key: int, threshold: int, scale: float, first: int) -> None:
    """dx = scale * dy where the element was kept, else 0; the same mask as in the forward pass, computed again.

    dx         (F, B)  written; may be dy
    dy         (F, B)  read
    key, threshold, scale, first   as in `dropout_forward`
    """
    dx[...] = np.where(kept(dy.shape, key, threshold, first), dy * dy.dtype.type(scale), 0)
