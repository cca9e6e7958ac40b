"""Make the known answers of activations: what PyTorch 2.13 computes in float64 on one thread, stored in small arrays.

    python tests/known_answers/make_activations.py

needs torch 2.13. Inputs are numbers of float32, so that one answer judges both dtypes: ordinary ones, both sides of
every kink and the kinks themselves, far tails, and what is not finite.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from make import Numbers, backward, save
from torch.nn import functional

ACTIVATIONS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "relu": functional.relu,
    "leaky_relu": functional.leaky_relu,
    "leaky_relu.0.2": lambda x: functional.leaky_relu(x, 0.2),
    "elu": functional.elu,
    "elu.0.5": lambda x: functional.elu(x, 0.5),
    "selu": functional.selu,
    "tanh": torch.tanh,
    "hard_tanh": functional.hardtanh,
    "hard_tanh.0.6": lambda x: functional.hardtanh(x, 0.0, 6.0),
    "softsign": functional.softsign,
    "sigmoid": torch.sigmoid,
    "softplus": functional.softplus,
    "silu": functional.silu,
    "mish": functional.mish,
    "gelu": functional.gelu,
    "gelu_tanh": lambda x: functional.gelu(x, approximate="tanh"),
}
KINKS = [-1.0, 0.0, -0.0, 1.0, 6.0]
TAILS = [-1e4, -40.0, -20.0, -10.0, -1e-3, 1e-3, 10.0, 20.0, 40.0, 1e4]
NOT_FINITE = [np.inf, -np.inf, np.nan]


def main() -> None:
    torch.set_num_threads(1)
    numbers = Numbers(11)
    near = [np.nextafter(np.float32(kink), np.float32(side)) for kink in KINKS for side in (-9, 9)]
    x = np.concatenate([numbers.uniform(-6, 6, 96), KINKS, near, TAILS, NOT_FINITE]).astype(np.float32)
    arrays: dict[str, np.ndarray] = {"x": x, "dy": numbers.uniform(-2, 2, len(x)).astype(np.float32)}
    for name, function in ACTIVATIONS.items():
        given = torch.tensor(x.astype(np.float64), requires_grad=True)
        y = function(given)
        y.backward(torch.from_numpy(arrays["dy"].astype(np.float64)))  # type: ignore[no-untyped-call]
        assert given.grad is not None
        arrays[f"{name}.y"], arrays[f"{name}.dx"] = y.detach().numpy(), given.grad.numpy()
    rows = np.concatenate([numbers.uniform(-8, 8, 24, 7), 1e4 * (numbers.integers(2, 4, 7) * 2.0 - 1.0)])
    rows[3, 2], rows[5] = -np.inf, 3.0
    arrays["rows"] = rows.astype(np.float32)
    arrays["drows"] = numbers.uniform(-2, 2, *rows.shape).astype(np.float32)
    for name, over_rows in {"softmax": functional.softmax, "log_softmax": functional.log_softmax}.items():
        given = torch.tensor(arrays["rows"].astype(np.float64), requires_grad=True)
        y = over_rows(given, dim=1)
        backward((y * torch.from_numpy(arrays["drows"].astype(np.float64))).nan_to_num(neginf=0.0).sum())
        assert given.grad is not None
        arrays[f"{name}.y"], arrays[f"{name}.dx"] = y.detach().numpy(), given.grad.numpy()
    save("activations", arrays)


if __name__ == "__main__":
    main()
