"""Penalties on weights."""

from __future__ import annotations

import numpy as np

from .making import Array, Scratch, Work, makes


@makes("penalty")
def _penalty(scratch: Scratch, dweight: Array, loss: Array, weight: Array, l1: float, l2: float) -> Work:
    size, flat = scratch(weight), weight.reshape(-1)

    def run() -> None:
        np.abs(weight, out=size)
        loss[0] += l1 * float(np.add.reduce(size, axis=None)) + l2 * float(np.dot(flat, flat))
        np.sign(weight, out=size)
        np.multiply(size, l1, out=size)
        np.add(dweight, size, out=dweight)
        np.multiply(weight, 2 * l2, out=size)
        np.add(dweight, size, out=dweight)

    return run
