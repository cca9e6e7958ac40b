"""The training loop of a PyTorch user: eager mode, Adam as it comes or with `fused=True`; or the step compiled."""

from __future__ import annotations

import os
import shutil
import sysconfig
import warnings
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.optim.adam import adam

from bench.networks import LEARNING_RATE, Network, Problem


def network_of(network: Network) -> nn.Sequential:
    layers: list[nn.Module] = []
    for index, (fan_in, fan_out) in enumerate(zip(network.widths[:-1], network.widths[1:], strict=True)):
        layers.append(nn.Linear(fan_in, fan_out))
        if index + 2 == len(network.widths):
            break
        layers += [nn.BatchNorm1d(fan_out)] if network.batchnorm else []
        layers.append(nn.ReLU() if network.activation == "relu" else nn.Tanh())
        layers += [nn.Dropout(network.dropout)] if network.dropout else []
    return nn.Sequential(*layers)


class TorchMLP:
    """A network with Adam, trained by `run(order)`; fused: one kernel for the whole update."""

    chunk = 1

    def __init__(self, problem: Problem, fused: bool) -> None:
        torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
        network = problem.network
        self.full = network.batch == 0
        self.X = torch.from_numpy(problem.X)
        labels = problem.y.dtype == np.int32
        self.y = torch.from_numpy(problem.y.astype(np.int64) if labels else problem.y)
        self.model = network_of(network).to(self.X.dtype)
        dense = [layer for layer in self.model if isinstance(layer, nn.Linear)]
        with torch.no_grad():
            for layer, weight, bias in zip(dense, problem.weights[::2], problem.weights[1::2], strict=True):
                layer.weight.copy_(torch.from_numpy(np.ascontiguousarray(weight.T)))
                layer.bias.copy_(torch.from_numpy(bias))
        self.loss = nn.CrossEntropyLoss() if network.loss == "cross_entropy" else nn.MSELoss()
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=LEARNING_RATE, fused=fused or None)

    def predict(self, X: np.ndarray) -> np.ndarray:
        self.model.eval()
        with torch.no_grad():
            return np.asarray(self.model(torch.from_numpy(X)).numpy())

    def run(self, order: np.ndarray) -> np.ndarray:
        losses = []
        for rows in torch.from_numpy(order):
            x, y = (self.X, self.y) if self.full else (self.X[rows], self.y[rows])
            self.optimizer.zero_grad(set_to_none=True)
            loss = self.loss(self.model(x), y)
            loss.backward()
            self.optimizer.step()
            losses.append(loss.detach())
        return np.asarray(torch.stack(losses).numpy(), np.float64)


def can_compile() -> bool:
    """Whether torch.compile can make a whole step here: with a C++ compiler, Python's header, PyTorch 2.13 or so."""
    import torch._dynamo

    header = Path(sysconfig.get_paths()["include"]) / "Python.h"
    compiler = shutil.which(os.environ.get("CXX", "g++"))
    return compiler is not None and header.exists() and hasattr(torch._dynamo.config, "trace_autograd_ops")


class TorchCompiledMLP(TorchMLP):
    """The same with a compiled step: gather, forward, loss, backward and Adam in one graph, without a break.

    That is the fastest form on CPUs: small networks take less than half of what they take where only the loss is
    compiled, and backward and the optimizer are calls of their own. Adam is torch's own function, since a step of the
    optimizer object breaks the graph; its wrapper is C++ too. A network is compiled at its first step, in some seconds,
    or a fraction of one where Inductor has it in its cache.
    """

    def __init__(self, problem: Problem) -> None:
        import torch._dynamo
        import torch._inductor.config

        super().__init__(problem, fused=False)
        torch._dynamo.config.trace_autograd_ops = True  # torch.autograd.grad inside of what is compiled
        torch._inductor.config.compile_threads = 1  # no processes beside the timed one
        torch.compiler.reset()  # all models compile the same method: it would stop after a few of them
        self.parameters = list(self.model.parameters())
        self.exp_avg, self.exp_avg_sq = ([torch.zeros_like(p) for p in self.parameters] for _ in range(2))
        self.steps = [torch.zeros((), dtype=torch.float64) for _ in self.parameters]
        self.step = torch.compile(self._step, fullgraph=True, dynamic=False, options={"cpp_wrapper": True})
        self.compiled = False

    def _step(self, rows: torch.Tensor) -> torch.Tensor:
        x, y = (self.X, self.y) if self.full else (self.X[rows], self.y[rows])
        loss = self.loss(self.model(x), y)
        grads = torch.autograd.grad(loss, self.parameters)
        with torch.no_grad():
            adam(
                self.parameters, list(grads), self.exp_avg, self.exp_avg_sq, [], self.steps, foreach=False,
                amsgrad=False, beta1=0.9, beta2=0.999, lr=LEARNING_RATE, weight_decay=0.0, eps=1e-8, maximize=False,
            )  # fmt: skip
        return loss.detach()

    def run(self, order: np.ndarray) -> np.ndarray:
        rows = torch.from_numpy(order)
        if self.compiled:
            losses = [self.step(row) for row in rows]
        else:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # Inductor's own: tests make errors of warnings
                losses = [self.step(row) for row in rows]
            self.compiled = True
        return np.asarray(torch.stack(losses).numpy(), np.float64)
