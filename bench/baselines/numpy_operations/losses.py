"""Losses with their gradients."""

from __future__ import annotations

import numpy as np

from .making import Array, Scratch, Work, makes


@makes("cross_entropy")
def _cross_entropy(scratch: Scratch, dz: Array, loss: Array, z: Array, labels: Array, scale: float) -> Work:
    classes, rows = z.shape
    ones, column = np.ones(classes, z.dtype), np.arange(rows)
    top, total, picked = (np.empty(rows, z.dtype) for _ in range(3))
    place, flat = np.empty(rows, np.intp), dz.reshape(-1)

    def run() -> None:
        np.maximum.reduce(z, axis=0, out=top)
        np.subtract(z, top, out=dz)
        np.multiply(labels, rows, out=place)
        np.add(place, column, out=place)
        np.take(flat, place, out=picked, mode="clip")
        wanted = np.add.reduce(picked)
        np.exp(dz, out=dz)
        np.matmul(ones, dz, out=total)
        np.log(total, out=picked)
        loss[0] = scale * (float(np.add.reduce(picked)) - float(wanted))
        np.divide(scale, total, out=total)
        np.multiply(dz, total, out=dz)
        np.take(flat, place, out=picked, mode="clip")
        np.subtract(picked, scale, out=picked)
        np.put(flat, place, picked)

    return run


@makes("mse")
def _mse(scratch: Scratch, dz: Array, loss: Array, z: Array, targets: Array, scale: float) -> Work:
    flat = dz.reshape(-1)

    def run() -> None:
        np.subtract(z, targets, out=dz)
        loss[0] = scale * float(np.dot(flat, flat))
        np.multiply(dz, 2 * scale, out=dz)

    return run


@makes("bce")
def _bce(scratch: Scratch, dz: Array, loss: Array, z: Array, targets: Array, scale: float) -> Work:
    ones, column = np.ones(z.shape[1], z.dtype), np.empty(len(z), z.dtype)
    e, term, sigmoid, positive = scratch(z), scratch(z), scratch(z), scratch(z, bool)
    logits, wanted = z.reshape(-1), targets.reshape(-1)

    def total(values: Array) -> float:
        np.matmul(values, ones, out=column)
        return float(np.add.reduce(column))

    def run() -> None:
        np.abs(z, out=e)
        np.negative(e, out=e)
        np.exp(e, out=e)
        np.log1p(e, out=term)
        value = total(term)
        np.maximum(z, 0, out=term)
        loss[0] = scale * (value + total(term) - float(np.dot(logits, wanted)))
        np.greater_equal(z, 0, out=positive)
        np.maximum(e, positive, out=sigmoid)  # e where z < 0, else 1
        np.add(e, 1, out=e)
        np.divide(sigmoid, e, out=sigmoid)
        np.subtract(sigmoid, targets, out=dz)
        np.multiply(dz, scale, out=dz)

    return run
