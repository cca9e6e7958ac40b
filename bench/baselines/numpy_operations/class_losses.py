"""Losses of one class among several, with their gradients."""

from __future__ import annotations

from typing import Any

import numpy as np

from .making import Array, Scratch, Work, makes


class _Picked:
    """The entries of the labels in a (classes, rows) array, out of it and back, without arrays on the way."""

    def __init__(self, values: Array, labels: Array) -> None:
        self._labels, self._rows = labels, np.arange(len(labels))
        self._place, self._flat = np.empty(len(labels), np.intp), values.reshape(-1)
        self.values = np.empty(len(labels), values.dtype)

    def take(self) -> Array:
        np.multiply(self._labels, len(self._rows), out=self._place)
        np.add(self._place, self._rows, out=self._place)
        return np.take(self._flat, self._place, out=self.values, mode="clip")

    def put(self, values: Array | float) -> None:
        np.put(self._flat, self._place, values)


@makes("cross_entropy")
def _cross_entropy(
    scratch: Scratch, dz: Array, loss: Array, z: Array, labels: Array, weights: Array | None, scale: float,
    weighted: int, label_smoothing: float,
) -> Work:  # fmt: skip
    classes, rows = z.shape
    ones, even = np.ones(classes, z.dtype), label_smoothing / max(classes, 1)
    top, total, factor = (np.empty(rows, z.dtype) for _ in range(3))
    picked, given = _Picked(dz, labels), _given(weights, weighted, rows, z.dtype)
    spare = scratch(z) if label_smoothing else None

    def run() -> None:
        np.maximum.reduce(z, axis=0, out=top)
        np.subtract(z, top, out=dz)
        wanted = picked.take()
        if spare is not None:
            np.matmul(ones, dz, out=total)
            np.multiply(wanted, 1 - label_smoothing, out=wanted)
            np.multiply(total, even, out=total)
            np.add(wanted, total, out=wanted)
        np.exp(dz, out=dz)
        np.matmul(ones, dz, out=total)
        np.log(total, out=top)
        np.subtract(top, wanted, out=top)
        loss[0] = scale * float(np.dot(given, top))
        np.multiply(given, scale, out=factor)
        np.divide(factor, total, out=total)
        np.multiply(dz, total, out=dz)
        if spare is not None:
            np.multiply(factor, even, out=top)
            np.subtract(dz, top, out=dz)
        np.multiply(factor, 1 - label_smoothing, out=factor)
        np.subtract(picked.take(), factor, out=factor)
        picked.put(factor)

    return run


def _given(weights: Array | None, weighted: int, rows: int, dtype: Any) -> Array:
    """The weights of the rows: ones where there are none."""
    return weights if weighted and weights is not None else np.ones(rows, dtype)


@makes("soft_cross_entropy")
def _soft_cross_entropy(
    scratch: Scratch, dz: Array, loss: Array, z: Array, targets: Array, weights: Array | None, scale: float,
    weighted: int, label_smoothing: float,
) -> Work:  # fmt: skip
    classes, rows = z.shape
    ones = np.ones(classes, z.dtype)
    top, total, mass, dot = (np.empty(rows, z.dtype) for _ in range(4))
    given, t, product = _given(weights, weighted, rows, z.dtype), scratch(z), scratch(z)

    def run() -> None:
        np.multiply(targets, 1 - label_smoothing, out=t)
        np.add(t, label_smoothing / max(classes, 1), out=t)
        np.matmul(ones, t, out=mass)
        np.maximum.reduce(z, axis=0, out=top)
        np.subtract(z, top, out=dz)
        np.multiply(dz, t, out=product)
        np.matmul(ones, product, out=dot)
        np.exp(dz, out=dz)
        np.matmul(ones, dz, out=total)
        np.log(total, out=top)
        np.multiply(top, mass, out=top)
        np.subtract(top, dot, out=top)
        loss[0] = scale * float(np.dot(given, top))
        np.multiply(given, scale, out=top)
        np.multiply(t, top, out=t)
        np.multiply(mass, top, out=mass)
        np.divide(mass, total, out=mass)
        np.multiply(dz, mass, out=dz)
        np.subtract(dz, t, out=dz)

    return run


@makes("focal")
def _focal(
    scratch: Scratch, dz: Array, loss: Array, z: Array, labels: Array, weights: Array | None, scale: float,
    weighted: int, gamma: float,
) -> Work:  # fmt: skip
    classes, rows = z.shape
    ones, tiny = np.ones(classes, z.dtype), np.finfo(z.dtype).tiny
    top, rest, total, q, surprise, near, power, wanted = (np.empty(rows, z.dtype) for _ in range(8))
    hard, nothing = np.empty(rows, bool), np.empty(rows, bool)
    picked, given = _Picked(dz, labels), _given(weights, weighted, rows, z.dtype)

    def run() -> None:
        np.maximum.reduce(z, axis=0, out=top)
        np.subtract(z, top, out=dz)
        np.copyto(wanted, picked.take())
        np.exp(dz, out=dz)
        own = picked.take()
        picked.put(0.0)
        np.matmul(ones, dz, out=rest)
        np.add(rest, own, out=total)
        np.divide(rest, total, out=q)
        np.greater_equal(q, 0.5, out=hard)
        np.less(q, tiny, out=nothing)
        np.log(total, out=surprise)
        np.subtract(surprise, wanted, out=surprise)
        np.divide(rest, own, out=near)
        np.log1p(near, out=near)
        np.copyto(near, surprise, where=hard)  # -log p
        np.copyto(q, 1.0, where=nothing)
        np.log(q, out=power)
        np.multiply(power, gamma, out=power)
        np.exp(power, out=power)
        np.copyto(power, 0.0, where=nothing)
        np.multiply(power, near, out=surprise)
        loss[0] = scale * float(np.dot(given, surprise))
        np.divide(near, q, out=near)
        np.copyto(near, 1.0, where=nothing)
        np.divide(own, total, out=surprise)
        np.multiply(surprise, gamma, out=surprise)
        np.multiply(surprise, near, out=surprise)
        np.add(surprise, 1.0, out=surprise)
        np.multiply(surprise, power, out=surprise)
        np.multiply(surprise, given, out=surprise)
        np.multiply(surprise, scale, out=surprise)
        np.divide(surprise, total, out=surprise)
        np.multiply(dz, surprise, out=dz)
        np.multiply(rest, surprise, out=rest)
        np.negative(rest, out=rest)
        picked.put(rest)

    return run


@makes("multi_class_hinge")
def _multi_class_hinge(
    scratch: Scratch, dz: Array, loss: Array, z: Array, labels: Array, weights: Array | None, scale: float,
    weighted: int, margin: float, squared: int,
) -> Work:  # fmt: skip
    classes, rows = z.shape
    ones = np.ones(classes, z.dtype)
    wanted, total = np.empty(rows, z.dtype), np.empty(rows, z.dtype)
    short, given = scratch(z), _given(weights, weighted, rows, z.dtype)
    scores, gradients = _Picked(z, labels), _Picked(dz, labels)
    picked = _Picked(short, labels)

    def run() -> None:
        np.subtract(margin, scores.take(), out=wanted)
        np.add(z, wanted, out=short)
        np.maximum(short, 0.0, out=short)
        picked.take()
        picked.put(0.0)
        if squared:
            np.multiply(short, 2.0, out=dz)
            np.multiply(short, short, out=short)
        else:
            np.sign(short, out=dz)
        np.matmul(ones, short, out=total)
        loss[0] = scale * float(np.dot(given, total))
        np.matmul(ones, dz, out=total)
        np.multiply(given, scale, out=wanted)
        np.multiply(dz, wanted, out=dz)
        np.multiply(total, wanted, out=total)
        np.negative(total, out=total)
        gradients.take()
        gradients.put(total)

    return run
