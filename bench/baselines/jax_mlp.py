"""The training loop of a JAX user: a jitted step called for every batch, or `lax.scan` over many steps in one call."""

from __future__ import annotations

import functools
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from bench.networks import LEARNING_RATE, Network, Problem

BETA1, BETA2, EPS = 0.9, 0.999, 1e-8
BATCHNORM_EPS = 1e-5

Tree = Any  # a pytree of arrays


def forward(network: Network, params: Tree, x: jax.Array, key: jax.Array) -> jax.Array:
    """Outputs of the last layer in training mode (running statistics are not needed to train and left out)."""
    last = len(params) - 1
    for index, layer in enumerate(params):
        x = x @ layer["weight"] + layer["bias"]
        if index == last:
            break
        if network.batchnorm:
            mean, var = x.mean(axis=0), x.var(axis=0)
            x = layer["gamma"] * (x - mean) * jax.lax.rsqrt(var + BATCHNORM_EPS) + layer["beta"]
        x = jax.nn.relu(x) if network.activation == "relu" else jnp.tanh(x)
        if network.dropout:
            key, mine = jax.random.split(key)
            kept = jax.random.bernoulli(mine, 1 - network.dropout, x.shape)
            x = jnp.where(kept, x / (1 - network.dropout), 0)
    return x


def loss_of(network: Network, params: Tree, x: jax.Array, y: jax.Array, key: jax.Array) -> jax.Array:
    z = forward(network, params, x, key)
    if network.loss == "mse":
        return jnp.mean((z - y) ** 2)
    picked = jnp.take_along_axis(z, y[:, None], axis=1)[:, 0]
    return jnp.mean(jax.nn.logsumexp(z, axis=1) - picked)


def adam(params: Tree, grads: Tree, m: Tree, v: Tree, step: jax.Array) -> tuple[Tree, Tree, Tree]:
    """torch's Adam on pytrees; step counts from 1."""
    dtype = jax.tree.leaves(params)[0].dtype
    t = step.astype(dtype)
    correction1, correction2 = 1 - BETA1**t, jnp.sqrt(1 - BETA2**t)
    m = jax.tree.map(lambda m, g: m + (1 - BETA1) * (g - m), m, grads)
    v = jax.tree.map(lambda v, g: BETA2 * v + (1 - BETA2) * g * g, v, grads)
    scale = LEARNING_RATE / correction1
    params = jax.tree.map(lambda p, m, v: p - scale * m / (jnp.sqrt(v) / correction2 + EPS), params, m, v)
    return params, m, v


def train_step(network: Network, state: Tree, x: jax.Array, y: jax.Array) -> tuple[Tree, jax.Array]:
    params, m, v, step, key = state
    key, mine = jax.random.split(key) if network.dropout else (key, key)
    loss, grads = jax.value_and_grad(partial(loss_of, network))(params, x, y, mine)
    step = step + 1
    params, m, v = adam(params, grads, m, v, step)
    return (params, m, v, step, key), loss


@functools.cache
def compiled(network: Network, scan: bool) -> Callable[..., tuple[Tree, jax.Array]]:
    """The jitted step, or scan over steps, of a network: one function, so that its next model compiles nothing."""

    def step(state: Tree, X: jax.Array, y: jax.Array, rows: jax.Array) -> tuple[Tree, jax.Array]:
        return train_step(network, state, X[rows], y[rows]) if network.batch else train_step(network, state, X, y)

    def steps(state: Tree, X: jax.Array, y: jax.Array, order: jax.Array) -> tuple[Tree, jax.Array]:
        return jax.lax.scan(lambda state, rows: step(state, X, y, rows), state, order)

    return jax.jit(steps if scan else step, donate_argnums=0)


predict = jax.jit(forward, static_argnums=0)


class JaxMLP:
    """A network with Adam, trained by `run(order)`.

    scan=False   one call a step
    scan=True    one call for `chunk` steps; a remainder, or another batch size, is compiled anew once
    """

    def __init__(self, problem: Problem, scan: bool) -> None:
        self.network = network = problem.network
        jax.config.update("jax_enable_x64", network.dtype == "float64")  # type: ignore[no-untyped-call]
        self.X, self.y = jnp.asarray(problem.X), jnp.asarray(problem.y)
        params: Tree = []
        for weight, bias in zip(problem.weights[::2], problem.weights[1::2], strict=True):
            params.append({"weight": jnp.asarray(weight), "bias": jnp.asarray(bias)})
        if network.batchnorm:
            for layer in params[:-1]:
                layer["gamma"], layer["beta"] = jnp.ones_like(layer["bias"]), jnp.zeros_like(layer["bias"])
        zeros = jax.tree.map(jnp.zeros_like, params)
        self.state = (params, zeros, jax.tree.map(jnp.copy, zeros), jnp.zeros((), jnp.int32), jax.random.key(0))
        self.scan = scan
        # Long enough to drown the cost of a call, short enough for the turns of bench.timing.
        self.chunk = int(np.clip(2_000_000_000 // network.flops, 1, 512)) if scan else 1

    def predict(self, X: np.ndarray) -> np.ndarray:
        """Outputs in training mode: for networks without batch normalisation and dropout."""
        return np.asarray(predict(self.network, self.state[0], jnp.asarray(X), jax.random.key(0)))

    def run(self, order: np.ndarray) -> np.ndarray:
        order = order.astype(np.int32) if self.network.batch else np.zeros((len(order), 1), np.int32)
        pieces = (
            [order[first : first + self.chunk] for first in range(0, len(order), self.chunk)] if self.scan else order
        )
        call = compiled(self.network, self.scan)
        losses = []
        for piece in pieces:
            self.state, loss = call(self.state, self.X, self.y, piece)
            losses.append(loss)
        return np.concatenate([np.atleast_1d(np.asarray(loss, np.float64)) for loss in losses])
