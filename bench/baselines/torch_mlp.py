"""The training loop of a PyTorch user: eager mode, Adam as it comes or with `fused=True`."""

from __future__ import annotations

import os

import numpy as np
import torch
from torch import nn

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
