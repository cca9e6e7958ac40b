"""What the forms share: their scratch, and how one is entered under the name of its operation."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]
Work = Callable[[], object]
Make = Callable[..., Work]

PIECE = 1 << 20
"""Bytes of all operands of a piece: with the scratch they stay in L2."""

MAKERS: dict[str, Make] = {}
IN_PIECES: set[str] = set()


class Scratch:
    """Room for what an operation makes on its way; its pieces, the largest first, share it."""

    def __init__(self) -> None:
        self._arrays: list[Array] = []
        self._given = 0

    def __call__(self, like: Array, dtype: Any = None) -> Array:
        """An array of that shape, and of that dtype unless another one is asked for."""
        if self._given == len(self._arrays):
            self._arrays.append(np.empty(like.size, dtype or like.dtype))
        self._given += 1
        return self._arrays[self._given - 1][: like.size].reshape(like.shape)

    def restart(self) -> Scratch:
        """The same room for the next piece."""
        self._given = 0
        return self


def makes(*names: str, in_pieces: bool = False) -> Callable[[Make], Make]:
    """Enters the form of some operations."""

    def enter(function: Make) -> Make:
        MAKERS.update(dict.fromkeys(names, function))
        IN_PIECES.update(names if in_pieces else ())
        return function

    return enter


def bits(x: Array) -> Array:
    """The same memory as integers: times a mask of 0 and 1 they are what `where` gives, for inf and NaN too."""
    return x.view(np.int32 if x.itemsize == 4 else np.int64)


def apart(scratch: Scratch, written: Array, *read: Array) -> Array:
    """Where to form an intermediate result: in the array that is written, unless it is one that is still read."""
    return scratch(written) if any(np.may_share_memory(written, other) for other in read) else written
