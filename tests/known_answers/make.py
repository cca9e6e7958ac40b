"""Make the known answers: what PyTorch 2.13 computes on one thread, stored in small arrays.

    python tests/known_answers/make.py
    python tests/known_answers/make_optimizers.py
    python tests/known_answers/make_losses.py

need torch 2.13 and a CPU with FMA, and write the .npz files beside them. Every file holds its inputs as well
as its answers, so that a test needs the file alone. The inputs come from the raw 64-bit stream of Philox, which NumPy
promises never to change, through arithmetic that is exact; the same torch on the same kind of CPU therefore makes the
same bytes again. Nothing here imports fastnn: the judge must not know the accused.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

HERE = Path(__file__).resolve().parent
TRAINING_STEPS = 300


class Numbers:
    """Reproducible numbers: exact functions of the raw stream of Philox."""

    def __init__(self, seed: int) -> None:
        self._stream = np.random.Philox(key=seed)

    def raw(self, *shape: int) -> np.ndarray:
        """uint64 numbers."""
        return np.asarray(self._stream.random_raw(int(np.prod(shape)))).reshape(shape)

    def uniform(self, low: float, high: float, *shape: int) -> np.ndarray:
        """float64 in [low, high), from a grid of 2**-20: few bits, so that the arithmetic rounds at most once."""
        return low + (high - low) * ((self.raw(*shape) >> np.uint64(44)).astype(np.float64) * 2.0**-20)

    def integers(self, below: int, *shape: int) -> np.ndarray:
        return (self.raw(*shape) % np.uint64(below)).astype(np.int64)

    def permutation(self, count: int) -> np.ndarray:
        return np.argsort(self.raw(count), kind="stable")


def backward(value: torch.Tensor) -> None:
    value.backward()  # type: ignore[no-untyped-call]


def save(name: str, arrays: dict[str, np.ndarray]) -> None:
    made_by = f"torch {torch.__version__}, {torch.backends.cpu.get_cpu_capability()}, one thread"
    path = HERE / f"{name}.npz"
    np.savez_compressed(path, allow_pickle=False, made_by=np.array(made_by), **arrays)
    print(f"{path.name}: {len(arrays)} arrays, {path.stat().st_size / 1024:.0f} KiB")


# Batch normalisation.


def batchnorm() -> None:
    """Outputs, gradients and running statistics over four batches, then the inference output; two settings.

    The last batch is smaller; one feature is shifted far from zero, where a one-pass variance would lose its digits.
    """
    numbers = Numbers(3)
    features, sizes = 6, (17, 17, 17, 5)
    shift = np.array([0.0, 1.0, -3.0, 100.0, 0.0, 0.5])
    scale = np.array([1.0, 0.25, 2.0, 1.0, 8.0, 0.0625])
    arrays: dict[str, np.ndarray] = {
        "gamma": numbers.uniform(0.5, 1.5, features).astype(np.float32),
        "beta": numbers.uniform(-1, 1, features).astype(np.float32),
    }
    for index, rows in enumerate(sizes):
        arrays[f"x{index}"] = (shift + scale * numbers.uniform(-1, 1, rows, features)).astype(np.float32)
        arrays[f"dy{index}"] = numbers.uniform(-1, 1, rows, features).astype(np.float32)
    arrays["x_inference"] = (shift + scale * numbers.uniform(-1, 1, 7, features)).astype(np.float32)
    for setting, (momentum, eps) in {"default": (0.1, 1e-5), "second": (0.3, 1e-3)}.items():
        arrays[f"{setting}.momentum_eps"] = np.array([momentum, eps])
        for dtype, torch_dtype in ((np.float32, torch.float32), (np.float64, torch.float64)):
            layer = nn.BatchNorm1d(features, eps=eps, momentum=momentum, dtype=torch_dtype)
            with torch.no_grad():
                layer.weight.copy_(torch.from_numpy(arrays["gamma"]))
                layer.bias.copy_(torch.from_numpy(arrays["beta"]))
            prefix = f"{setting}.{np.dtype(dtype).name}"
            for index in range(len(sizes)):
                x = torch.tensor(arrays[f"x{index}"].astype(dtype), requires_grad=True)
                layer.zero_grad()
                y = layer(x)
                y.backward(torch.from_numpy(arrays[f"dy{index}"].astype(dtype)))
                results = {"y": y, "dx": x.grad, "dgamma": layer.weight.grad, "dbeta": layer.bias.grad}
                results |= {"running_mean": layer.running_mean, "running_var": layer.running_var}
                for what, tensor in results.items():
                    assert tensor is not None
                    arrays[f"{prefix}.{what}{index}"] = tensor.detach().numpy().copy()
            layer.eval()
            x = torch.from_numpy(arrays["x_inference"].astype(dtype))
            arrays[f"{prefix}.y_inference"] = layer(x).detach().numpy()
    save("batchnorm", arrays)


# Whole trainings.


def train(
    name: str,
    numbers: Numbers,
    layers: list[nn.Module],
    data: tuple[int, int, Callable[[np.ndarray], np.ndarray]],
    batch_size: int,
    loss: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],
    optimizer: Callable[[Any], torch.optim.Optimizer],
) -> None:
    """One training in float64 over 300 steps: inputs, initial weights, row order and the loss of every step.

    data: number of rows, number of columns, function from the inputs to the targets.
    Epochs are permutations of all rows, cut into batches; the last batch of an epoch is smaller and trained on.
    """
    rows, inputs, targets = data
    network = nn.Sequential(*layers).double()
    arrays: dict[str, np.ndarray] = {"x": numbers.uniform(-1, 1, rows, inputs), "batch_size": np.array(batch_size)}
    arrays["y"] = targets(arrays["x"])
    with torch.no_grad():
        dense = [layer for layer in layers if isinstance(layer, nn.Linear)]
        for index, parameter in enumerate(parameter for layer in dense for parameter in layer.parameters()):
            bound = np.sqrt(6.0 / sum(parameter.shape)) if parameter.ndim == 2 else 0.125
            start = numbers.uniform(-bound, bound, *parameter.shape[::-1])  # (fan_in, fan_out); torch keeps (out, in)
            parameter.copy_(torch.from_numpy(start.T.copy()))
            arrays[f"weight{index}"] = start
    steps_per_epoch = -(-rows // batch_size)
    epochs = TRAINING_STEPS // steps_per_epoch
    assert epochs * steps_per_epoch == TRAINING_STEPS
    order = np.stack([numbers.permutation(rows) for _ in range(epochs)])
    arrays["order"] = order.astype(np.uint8)
    x, y = torch.from_numpy(arrays["x"]), torch.from_numpy(arrays["y"])
    y = y.long() if y.dtype == torch.int32 else y
    method = optimizer(network.parameters())
    history = []
    for epoch in order:
        for first in range(0, rows, batch_size):
            batch = torch.from_numpy(epoch[first : first + batch_size])
            method.zero_grad()
            value = loss(network(x[batch]), y[batch])
            backward(value)
            method.step()
            history.append(value.item())
    arrays["losses"] = np.array(history)
    network.eval()
    arrays["outputs"] = network(x).detach().numpy()
    for index, buffer in enumerate(b for b in network.buffers() if b.ndim == 1):
        arrays[f"running{index}"] = buffer.numpy().copy()
    save(f"training_{name}", arrays)


def three_classes(x: np.ndarray) -> np.ndarray:
    return np.asarray(np.digitize(x[:, 0] * x[:, 1] + x[:, 2], (-0.3, 0.3)), np.int32)


def saddle(x: np.ndarray) -> np.ndarray:
    return np.asarray(x[:, :1] ** 2 - x[:, :1] * x[:, 1:])


def two_questions(x: np.ndarray) -> np.ndarray:
    return np.asarray(np.stack([x[:, 0] > x[:, 1], x[:, 2] + x[:, 3] > x[:, 4]], axis=1), np.float64)


def trainings() -> None:
    numbers = Numbers(4)
    train(
        "relu_adam",
        numbers,
        [nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 3)],
        data=(150, 4, three_classes),
        batch_size=32,
        loss=nn.functional.cross_entropy,
        optimizer=lambda parameters: torch.optim.Adam(parameters, lr=1e-2, fused=True),
    )
    train(
        "tanh_momentum",
        numbers,
        [nn.Linear(2, 64), nn.Tanh(), nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, 1)],
        data=(200, 2, saddle),
        batch_size=64,
        loss=nn.functional.mse_loss,
        optimizer=lambda parameters: torch.optim.SGD(parameters, lr=0.02, momentum=0.9),
    )
    train(
        "sigmoid_batchnorm_rmsprop",
        numbers,
        [nn.Linear(10, 20, bias=False), nn.BatchNorm1d(20), nn.Sigmoid(), nn.Linear(20, 2)],
        data=(180, 10, two_questions),
        batch_size=50,
        loss=nn.functional.binary_cross_entropy_with_logits,
        optimizer=lambda parameters: torch.optim.RMSprop(parameters, lr=2e-3),
    )


def run(*makers: Callable[[], None]) -> int:
    """Makes files, unless they would not be those of the stored ones' makers."""
    if not torch.__version__.startswith("2.13."):
        print(f"{sys.argv[0]}: torch {torch.__version__} found, the known answers are torch 2.13's", file=sys.stderr)
        return 1
    if torch.backends.cpu.get_cpu_capability() == "DEFAULT":
        print(f"{sys.argv[0]}: torch runs without FMA here and would round differently", file=sys.stderr)
        return 1
    torch.set_num_threads(1)
    for make in makers:
        make()
    return 0


if __name__ == "__main__":
    raise SystemExit(run(batchnorm, trainings))
