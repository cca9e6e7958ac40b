"""Make the known answers of layers: what PyTorch 2.13 computes on one thread, stored in small arrays.

    python tests/known_answers/make_layers.py

The numbers and rules are those of make.py beside it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from make import Numbers, backward, save, three_classes
from torch import nn

FEATURES, ROWS = 7, 21
STEPS = 100

NORMS: dict[str, Any] = {
    "layer_norm": lambda dtype: nn.LayerNorm(FEATURES, dtype=dtype),
    "layer_norm_eps": lambda dtype: nn.LayerNorm(FEATURES, eps=1e-2, dtype=dtype),
    "layer_norm_no_bias": lambda dtype: nn.LayerNorm(FEATURES, bias=False, dtype=dtype),
    "layer_norm_plain": lambda dtype: nn.LayerNorm(FEATURES, elementwise_affine=False, dtype=dtype),
    "rms_norm": lambda dtype: nn.RMSNorm(FEATURES, dtype=dtype),
    "rms_norm_eps": lambda dtype: nn.RMSNorm(FEATURES, eps=1e-2, dtype=dtype),
    "rms_norm_plain": lambda dtype: nn.RMSNorm(FEATURES, elementwise_affine=False, dtype=dtype),
    "batch_norm_plain": lambda dtype: nn.BatchNorm1d(FEATURES, affine=False, dtype=dtype),
}


def norms() -> None:
    """Outputs and gradients of each normalisation of the same rows, some far from zero, one constant."""
    numbers = Numbers(11)
    x = numbers.uniform(-2, 2, ROWS, FEATURES) + 50.0 * numbers.integers(2, ROWS, 1)
    x[3] = 1.5
    arrays = {
        "x": x.astype(np.float32),
        "dy": numbers.uniform(-1, 1, ROWS, FEATURES).astype(np.float32),
        "gamma": numbers.uniform(0.5, 1.5, FEATURES).astype(np.float32),
        "beta": numbers.uniform(-1, 1, FEATURES).astype(np.float32),
    }
    for name, make in NORMS.items():
        for dtype in (torch.float32, torch.float64):
            layer = make(dtype)
            with torch.no_grad():
                for parameter, start in zip(layer.parameters(), ("gamma", "beta"), strict=False):
                    parameter.copy_(torch.from_numpy(arrays[start]))
            inputs = torch.from_numpy(arrays["x"]).to(dtype).requires_grad_()
            y = layer(inputs)
            y.backward(torch.from_numpy(arrays["dy"]).to(dtype))
            assert inputs.grad is not None
            key = f"{name}.{str(dtype).removeprefix('torch.')}"
            arrays[f"{key}.y"], arrays[f"{key}.dx"] = y.detach().numpy(), inputs.grad.numpy()
            for parameter, what in zip(layer.parameters(), ("dgamma", "dbeta"), strict=False):
                arrays[f"{key}.{what}"] = parameter.grad.numpy()
    save("norms", arrays)


def embedding() -> None:
    """Two tables looked up side by side, and the gradients of both; one category never occurs."""
    numbers = Numbers(12)
    codes = np.stack([numbers.integers(5, ROWS), 2 * numbers.integers(3, ROWS)], axis=1)
    arrays = {"codes": codes, "dy": numbers.uniform(-1, 1, ROWS, 3 + 4).astype(np.float32)}
    tables = {"table0": numbers.uniform(-1, 1, 5, 3), "table1": numbers.uniform(-1, 1, 6, 4)}
    tables = {name: table.astype(np.float32) for name, table in tables.items()}
    for dtype in (np.float32, np.float64):
        layers = [
            nn.Embedding.from_pretrained(torch.from_numpy(t.astype(dtype)), freeze=False) for t in tables.values()
        ]
        y = torch.cat([layer(torch.from_numpy(codes[:, n])) for n, layer in enumerate(layers)], dim=1)
        y.backward(torch.from_numpy(arrays["dy"].astype(dtype)))
        for n, layer in enumerate(layers):
            assert layer.weight.grad is not None
            arrays[f"{np.dtype(dtype).name}.dtable{n}"] = layer.weight.grad.numpy()
        arrays[f"{np.dtype(dtype).name}.y"] = y.detach().numpy()
    save("embedding", arrays | tables)


class Network(nn.Module):
    """Every kind of layer and block, with the parameters in the order of fastnn's layers."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(4, 3)
        self.inputs = nn.Linear(7, 12)
        self.inner = nn.Sequential(nn.Linear(12, 12), nn.ReLU(), nn.Linear(12, 12))
        self.branch = nn.Sequential(nn.LayerNorm(12), nn.Linear(12, 6), nn.Tanh())
        self.batch_norm = nn.BatchNorm1d(18, affine=False)
        self.last_block = nn.Sequential(nn.RMSNorm(18), nn.Linear(18, 10))
        self.shortcut = nn.Linear(18, 10, bias=False)
        self.outputs = nn.Linear(10, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.cat([self.embedding(x[:, 0].long()), x[:, 1:]], dim=1)
        x = torch.relu(self.inputs(x))
        x = torch.relu(x + self.inner(x))
        x = self.batch_norm(torch.cat([x, self.branch(x)], dim=1))
        x = self.last_block(x) + self.shortcut(x)
        return self.outputs(x)


def training() -> None:
    """100 steps of such a network in float64: inputs, initial numbers, row order and the loss of every step."""
    numbers = Numbers(13)
    rows, batch_size, epochs = 150, 32, STEPS // 5
    x = np.hstack([numbers.integers(4, rows, 1), numbers.uniform(-1, 1, rows, 4)])
    arrays: dict[str, np.ndarray] = {"x": x, "y": three_classes(x[:, 1:] * (1.5 - 0.5 * x[:, :1]))}
    network = Network().double()
    with torch.no_grad():
        for index, parameter in enumerate(network.parameters()):
            bound = np.sqrt(6.0 / sum(parameter.shape)) if parameter.ndim == 2 else 0.125
            start = numbers.uniform(-bound, bound, *parameter.shape)
            parameter.copy_(torch.from_numpy(start))
            arrays[f"start{index}"] = start
    order = np.stack([numbers.permutation(rows) for _ in range(epochs)])
    data, labels = torch.from_numpy(x), torch.from_numpy(arrays["y"]).long()
    method = torch.optim.Adam(network.parameters(), lr=1e-2, fused=True)
    history = []
    for epoch in order:
        for first in range(0, rows, batch_size):
            batch = torch.from_numpy(epoch[first : first + batch_size])
            method.zero_grad()
            value = nn.functional.cross_entropy(network(data[batch]), labels[batch])
            backward(value)
            method.step()
            history.append(value.item())
    network.eval()
    arrays |= {"order": order.astype(np.uint8), "losses": np.array(history), "outputs": network(data).detach().numpy()}
    save("training_blocks", arrays)


if __name__ == "__main__":
    assert torch.__version__.startswith("2.13."), "the known answers are those of torch 2.13"
    torch.set_num_threads(1)
    for make in (norms, embedding, training):
        make()
