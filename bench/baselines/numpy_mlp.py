"""A training step in NumPy as fast as plain NumPy gets: flat parameters, every result written into its own buffer.

All products go through `matmul(out=)`, everything else works in place, Adam runs over one flat vector in the fewest
passes that its algebra allows. Nothing is allocated in a step except the few scalars that NumPy makes.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import pairwise

import numpy as np

from bench.networks import LEARNING_RATE, Network, Problem

BETA1, BETA2, EPS = 0.9, 0.999, 1e-8
BATCHNORM_EPS, BATCHNORM_MOMENTUM = 1e-5, 0.1


class Layer:
    """Dense, and what follows it in a hidden layer: batch normalisation, activation, dropout.

    The arrays of parameters and gradients are views of the network's flat vectors.
    """

    def __init__(self, network: Network, index: int, views: Iterator[tuple[np.ndarray, np.ndarray]]) -> None:
        fan_in, fan_out = network.widths[index : index + 2]
        rows, dtype = network.batch_rows, network.dtype
        self.hidden = index + 2 < len(network.widths)
        self.activation = network.activation
        self.batchnorm = network.batchnorm and self.hidden
        self.dropout = network.dropout if self.hidden else 0.0
        (self.weight, self.dweight), (self.bias, self.dbias) = next(views), next(views)
        self.y = np.empty((rows, fan_out), dtype)
        self.dx = np.empty((rows, fan_in), dtype) if index else None
        self.positive = np.empty((rows, fan_out), bool)
        self.scratch = np.empty((rows, fan_out), dtype)
        if self.batchnorm:
            (self.gamma, self.dgamma), (self.beta, self.dbeta) = next(views), next(views)
            self.gamma[:] = 1
            self.xhat = np.empty((rows, fan_out), dtype)
            self.mean, self.var, self.inverse = (np.empty(fan_out, dtype) for _ in range(3))
            self.running_mean, self.running_var = np.zeros(fan_out, dtype), np.ones(fan_out, dtype)
        if self.dropout:
            self.generator = np.random.Generator(np.random.SFC64(index))
            self.kept = np.empty((rows, fan_out), dtype)

    def forward(self, x: np.ndarray) -> np.ndarray:
        self.x, y = x, self.y
        np.matmul(x, self.weight, out=y)
        y += self.bias
        if not self.hidden:
            return y
        if self.batchnorm:
            self._normalize()
        if self.activation == "relu":
            np.maximum(y, 0, out=y)
        else:
            np.tanh(y, out=y)
        if self.dropout:
            self.generator.random(out=self.kept, dtype=self.kept.dtype)
            np.greater_equal(self.kept, self.dropout, out=self.positive)
            np.multiply(self.positive, 1 / (1 - self.dropout), out=self.kept, dtype=self.kept.dtype)
            y *= self.kept
        return y

    def _normalize(self) -> None:
        y, rows = self.y, self.y.shape[0]
        np.add.reduce(y, axis=0, out=self.mean)
        self.mean /= rows
        np.subtract(y, self.mean, out=self.xhat)
        np.multiply(self.xhat, self.xhat, out=self.scratch)
        np.add.reduce(self.scratch, axis=0, out=self.var)
        self.var /= rows
        np.add(self.var, BATCHNORM_EPS, out=self.inverse)
        np.sqrt(self.inverse, out=self.inverse)
        np.divide(1, self.inverse, out=self.inverse)
        self.xhat *= self.inverse
        np.multiply(self.xhat, self.gamma, out=y)
        y += self.beta
        self.mean -= self.running_mean
        self.mean *= BATCHNORM_MOMENTUM
        self.running_mean += self.mean
        self.var *= rows / (rows - 1)
        self.var -= self.running_var
        self.var *= BATCHNORM_MOMENTUM
        self.running_var += self.var

    def backward(self, dy: np.ndarray) -> np.ndarray | None:
        """Gradients of the parameters, and of the input unless this is the first layer; overwrites dy and y."""
        if self.hidden:
            self._backward_activation(dy)
        np.matmul(self.x.T, dy, out=self.dweight)
        np.add.reduce(dy, axis=0, out=self.dbias)
        if self.dx is None:
            return None
        return np.matmul(dy, self.weight.T, out=self.dx)

    def _backward_activation(self, dy: np.ndarray) -> None:
        y, rows = self.y, self.y.shape[0]
        if self.dropout:
            dy *= self.kept
        if self.activation == "relu":
            np.greater(y, 0, out=self.positive)
            dy *= self.positive
        else:
            np.multiply(y, y, out=y)
            np.subtract(1, y, out=y)
            dy *= y
        if not self.batchnorm:
            return
        np.multiply(dy, self.xhat, out=self.scratch)
        np.add.reduce(self.scratch, axis=0, out=self.dgamma)
        np.add.reduce(dy, axis=0, out=self.dbeta)
        # dx = gamma * inverse * (dy - dbeta / rows - xhat * dgamma / rows)
        np.divide(self.dgamma, rows, out=self.mean)
        self.xhat *= self.mean
        dy -= self.xhat
        np.divide(self.dbeta, rows, out=self.mean)
        dy -= self.mean
        np.multiply(self.gamma, self.inverse, out=self.mean)
        dy *= self.mean


class NumpyMLP:
    """A network with Adam, trained by `run(order)`."""

    chunk = 1

    def __init__(self, problem: Problem) -> None:
        network = problem.network
        self.network, self.X, self.y = network, problem.X, problem.y
        count, rows = network.parameters, network.batch_rows
        self.param, self.grad, self.exp_avg, self.exp_avg_sq, self.scratch = (
            np.zeros(count, network.dtype) for _ in range(5)
        )
        views = self._views()
        self.layers = [Layer(network, index, views) for index in range(len(network.widths) - 1)]
        for layer, weight, bias in zip(self.layers, problem.weights[::2], problem.weights[1::2], strict=True):
            layer.weight[...], layer.bias[...] = weight, bias
        outputs = network.widths[-1]
        self.xb = np.empty((rows, network.widths[0]), network.dtype)
        self.yb = np.empty((rows, *self.y.shape[1:]), self.y.dtype)
        self.dz = np.empty((rows, outputs), network.dtype)
        self.column = np.empty((rows, 1), network.dtype)
        self.picked = np.empty(rows, network.dtype)
        self.first = np.arange(rows) * outputs  # flat position of each row's first logit
        self.flat = np.empty(rows, np.int64)
        self.step_count = 0

    def _views(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Views of the flat parameters and gradients, in the order in which the layers ask for them."""
        offset = 0
        widths = self.network.widths
        for index, (fan_in, fan_out) in enumerate(pairwise(widths)):
            shapes: list[tuple[int, ...]] = [(fan_in, fan_out), (fan_out,)]
            if self.network.batchnorm and index + 2 < len(widths):
                shapes += [(fan_out,), (fan_out,)]
            for shape in shapes:
                size = math.prod(shape)
                cut = slice(offset, offset + size)
                yield self.param[cut].reshape(shape), self.grad[cut].reshape(shape)
                offset += size

    def run(self, order: np.ndarray) -> np.ndarray:
        losses = np.empty(len(order))
        full = self.network.batch == 0
        for step, rows in enumerate(order):
            if full:
                losses[step] = self._step(self.X, self.y)
            else:
                np.take(self.X, rows, axis=0, out=self.xb, mode="clip")  # "clip" writes straight into out
                np.take(self.y, rows, axis=0, out=self.yb, mode="clip")
                losses[step] = self._step(self.xb, self.yb)
        return losses

    def _step(self, x: np.ndarray, y: np.ndarray) -> float:
        for layer in self.layers:
            x = layer.forward(x)
        loss = self._cross_entropy(x, y) if self.network.loss == "cross_entropy" else self._mse(x, y)
        dy: np.ndarray | None = self.dz
        for layer in reversed(self.layers):
            assert dy is not None
            dy = layer.backward(dy)
        self._adam()
        return loss

    def _cross_entropy(self, z: np.ndarray, labels: np.ndarray) -> float:
        """Mean softmax cross-entropy; its gradient goes to dz."""
        p = self.dz
        np.maximum.reduce(z, axis=1, keepdims=True, out=self.column)
        np.subtract(z, self.column, out=p)
        np.add(self.first, labels, out=self.flat)
        np.take(p.reshape(-1), self.flat, out=self.picked, mode="clip")
        np.exp(p, out=p)
        np.add.reduce(p, axis=1, keepdims=True, out=self.column)
        p /= self.column
        p.reshape(-1)[self.flat] -= 1
        p *= 1 / len(p)
        np.log(self.column, out=self.column)
        return float(np.add.reduce(self.column, axis=None) - np.add.reduce(self.picked)) / len(p)

    def _mse(self, z: np.ndarray, targets: np.ndarray) -> float:
        """Mean squared error over all elements; its gradient goes to dz."""
        np.subtract(z, targets, out=self.dz)
        flat = self.dz.reshape(-1)
        loss = float(np.dot(flat, flat)) / flat.size
        self.dz *= 2 / flat.size
        return loss

    def _adam(self) -> None:
        """param -= step * m / (sqrt(v) + eps'), with the bias corrections folded into step and eps'."""
        self.step_count += 1
        correction1 = 1 - BETA1**self.step_count
        correction2 = math.sqrt(1 - BETA2**self.step_count)
        grad, m, v, scratch = self.grad, self.exp_avg, self.exp_avg_sq, self.scratch
        np.subtract(grad, m, out=scratch)
        scratch *= 1 - BETA1
        m += scratch
        np.multiply(grad, grad, out=scratch)
        scratch -= v
        scratch *= 1 - BETA2
        v += scratch
        np.sqrt(v, out=scratch)
        scratch += EPS * correction2
        np.divide(m, scratch, out=scratch)
        scratch *= LEARNING_RATE * correction2 / correction1
        self.param -= scratch
