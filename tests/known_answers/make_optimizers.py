"""Make the known answers for optimizers: PyTorch's, and optax's where PyTorch has none. See make.py.

python tests/known_answers/make_optimizers.py
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from make import Numbers, backward, run, save

STEPS = 100  # of each optimizer
PARAMETERS = 32  # a multiple of 16: torch rounds the remainder of a vector differently from whole vectors

# name -> (torch's class, its arguments, name of its state tensors). The first setting of each is torch's default.
OPTIMIZERS: dict[str, tuple[Callable[..., torch.optim.Optimizer], dict[str, Any], tuple[str, ...]]] = {
    "sgd_default": (torch.optim.SGD, {"lr": 1e-3}, ()),
    "sgd_second": (torch.optim.SGD, {"lr": 0.03}, ()),
    "sgd_decay": (torch.optim.SGD, {"lr": 0.03, "weight_decay": 0.1}, ()),
    "momentum_default": (torch.optim.SGD, {"lr": 1e-3, "momentum": 0.9}, ("momentum_buffer",)),
    "momentum_second": (torch.optim.SGD, {"lr": 0.03, "momentum": 0.55}, ("momentum_buffer",)),
    "nesterov_default": (torch.optim.SGD, {"lr": 1e-3, "momentum": 0.9, "nesterov": True}, ("momentum_buffer",)),
    "nesterov_second": (
        torch.optim.SGD,
        {"lr": 0.03, "momentum": 0.55, "nesterov": True, "weight_decay": 0.01},
        ("momentum_buffer",),
    ),
    "rprop_default": (torch.optim.Rprop, {}, ("prev", "step_size")),
    "rprop_second": (
        torch.optim.Rprop, {"lr": 0.1, "etas": (0.4, 1.3), "step_sizes": (1e-3, 0.2)}, ("prev", "step_size")
    ),
    "adam_default": (torch.optim.Adam, {"fused": True}, ("exp_avg", "exp_avg_sq")),
    "adam_second": (
        torch.optim.Adam,
        {"lr": 0.03, "betas": (0.8, 0.99), "eps": 1e-6, "fused": True},
        ("exp_avg", "exp_avg_sq"),
    ),
    "adam_decay": (torch.optim.Adam, {"weight_decay": 0.1, "fused": True}, ("exp_avg", "exp_avg_sq")),
    "adamw_default": (torch.optim.AdamW, {"fused": True}, ("exp_avg", "exp_avg_sq")),
    "adamw_second": (
        torch.optim.AdamW,
        {"lr": 0.03, "betas": (0.8, 0.99), "eps": 1e-6, "weight_decay": 0.3, "fused": True},
        ("exp_avg", "exp_avg_sq"),
    ),
    "nadam_default": (torch.optim.NAdam, {}, ("exp_avg", "exp_avg_sq")),
    "nadam_second": (
        torch.optim.NAdam,
        {"lr": 0.03, "betas": (0.8, 0.99), "eps": 1e-6, "momentum_decay": 0.02, "weight_decay": 0.1,
         "decoupled_weight_decay": True},
        ("exp_avg", "exp_avg_sq"),
    ),
    "radam_default": (torch.optim.RAdam, {}, ("exp_avg", "exp_avg_sq")),
    "radam_second": (
        torch.optim.RAdam, {"lr": 0.03, "betas": (0.8, 0.99), "eps": 1e-6, "weight_decay": 0.1},
        ("exp_avg", "exp_avg_sq"),
    ),
    "adagrad_default": (torch.optim.Adagrad, {"fused": True}, ("sum",)),
    "adagrad_second": (torch.optim.Adagrad, {"lr": 0.1, "eps": 1e-6, "fused": True}, ("sum",)),
    "adagrad_third": (
        torch.optim.Adagrad,
        {"lr": 0.1, "lr_decay": 0.05, "initial_accumulator_value": 0.1, "weight_decay": 0.01},
        ("sum",),
    ),
    "adadelta_default": (torch.optim.Adadelta, {}, ("square_avg", "acc_delta")),
    "adadelta_second": (torch.optim.Adadelta, {"lr": 0.3, "rho": 0.8, "eps": 1e-4}, ("square_avg", "acc_delta")),
    "rmsprop_default": (torch.optim.RMSprop, {}, ("square_avg",)),
    "rmsprop_second": (torch.optim.RMSprop, {"lr": 0.1, "alpha": 0.9, "eps": 1e-6}, ("square_avg",)),
    "rmsprop_momentum": (
        torch.optim.RMSprop, {"lr": 0.01, "alpha": 0.9, "momentum": 0.8}, ("square_avg", "momentum_buffer")
    ),
    "rmsprop_centered": (torch.optim.RMSprop, {"alpha": 0.9, "centered": True}, ("square_avg", "grad_avg")),
    "rmsprop_centered_momentum": (
        torch.optim.RMSprop, {"alpha": 0.9, "centered": True, "momentum": 0.8},
        ("square_avg", "grad_avg", "momentum_buffer"),
    ),
}  # fmt: skip
LION = {"lion_default": {"learning_rate": 1e-4}, "lion_second": {"learning_rate": 0.01, "b1": 0.7, "b2": 0.95}}


def optimizer_states(name: str, start: np.ndarray, grads: np.ndarray) -> Iterator[list[np.ndarray]]:
    """[param, *state tensors] after every step."""
    make, arguments, states = OPTIMIZERS[name]
    param = torch.tensor(start, requires_grad=True)
    optimizer = make([param], **arguments)
    for grad in grads:
        param.grad = torch.from_numpy(grad.copy())
        optimizer.step()
        state = [optimizer.state[param][what] for what in states]
        yield [tensor.detach().numpy().copy() for tensor in (param, *state)]


def lion_states(name: str, start: np.ndarray, grads: np.ndarray) -> Iterator[list[np.ndarray]]:
    """The same of optax's Lion, its weight decay at 0.1."""
    import jax
    import optax

    jax.config.update("jax_enable_x64", True)
    optimizer, param = optax.lion(**LION[name], weight_decay=0.1), jax.numpy.asarray(start)
    state = optimizer.init(param)
    for grad in grads:
        updates, state = optimizer.update(jax.numpy.asarray(grad), state, param)
        param = optax.apply_updates(param, updates)
        yield [np.asarray(param), np.asarray(state[0].mu)]


def optimizers() -> None:
    """Parameters and states of each optimizer over 100 given gradients that span six decades.

    float32: after every step (a test can start from the other's own state and look at one step alone, or run all 100).
    float64: after every tenth step.
    """
    torch.set_default_dtype(torch.float64)  # of the numbers that optimizers keep for all parameters (NAdam's product)
    numbers = Numbers(1)
    start = numbers.uniform(-2, 2, PARAMETERS).astype(np.float32)
    decade = np.ldexp(1.0, numbers.integers(20, PARAMETERS) - 14)
    grads = (numbers.uniform(-1, 1, STEPS, PARAMETERS) * decade).astype(np.float32)
    arrays: dict[str, np.ndarray] = {"param": start, "grads": grads}
    made = {name: (optimizer_states, states) for name, (_, _, states) in OPTIMIZERS.items()}
    for name, (make, states) in {**made, **{name: (lion_states, ("exp_avg",)) for name in LION}}.items():
        for dtype, every in ((np.float32, 1), (np.float64, 10)):
            history = list(make(name, start.astype(dtype), grads.astype(dtype)))[every - 1 :: every]
            for what, steps in zip(("param", *states), zip(*history, strict=True), strict=True):
                arrays[f"{name}.{np.dtype(dtype).name}.{what}"] = np.stack(steps)
    save("optimizers", arrays)


# Trajectories: two functions of two variables, as fastnn/landscapes.py has them, and a small network.

# name -> (torch's class, its arguments but the rate, rates on the bowl, the ravine and the network).
WALKERS: dict[str, tuple[Callable[..., torch.optim.Optimizer] | None, dict[str, Any], tuple[float, float, float]]] = {
    "sgd": (torch.optim.SGD, {}, (0.09, 0.0015, 0.1)),
    "momentum": (torch.optim.SGD, {"momentum": 0.9}, (0.02, 0.0008, 0.05)),
    "nesterov": (torch.optim.SGD, {"momentum": 0.9, "nesterov": True}, (0.02, 0.0008, 0.05)),
    "lion": (None, {}, (0.03, 0.01, 1e-3)),
    "rprop": (torch.optim.Rprop, {}, (0.1, 0.01, 0.01)),
    "adagrad": (torch.optim.Adagrad, {}, (1.0, 0.6, 0.05)),
    "adadelta": (torch.optim.Adadelta, {}, (20.0, 30.0, 1.0)),
    "rmsprop": (torch.optim.RMSprop, {}, (0.05, 0.02, 0.01)),
    "adam": (torch.optim.Adam, {}, (0.2, 0.1, 0.01)),
    "adamw": (torch.optim.AdamW, {}, (0.2, 0.1, 0.01)),
    "nadam": (torch.optim.NAdam, {}, (0.1, 0.1, 0.01)),
    "radam": (torch.optim.RAdam, {}, (0.04, 0.0015, 0.01)),
}
WALK, EVERY = 100, 10


class Lion(torch.optim.Optimizer):
    """The paper's Algorithm 1, for whole networks; optax's numbers stand above."""

    def __init__(self, params: Any, lr: float) -> None:
        super().__init__(params, {"lr": lr})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:
        for group in self.param_groups:
            for param in group["params"]:
                m = self.state[param].setdefault("m", torch.zeros_like(param))
                param -= group["lr"] * torch.sign(0.9 * m + 0.1 * param.grad)
                m.mul_(0.99).add_(param.grad, alpha=1 - 0.99)


def bowl(p: torch.Tensor) -> torch.Tensor:
    return 0.5 * (p[0] ** 2 + 20 * p[1] ** 2)


def ravine(p: torch.Tensor) -> torch.Tensor:
    return (1 - p[0]) ** 2 + 100 * (p[1] - p[0] ** 2) ** 2


def walk(
    name: str, function: Callable[[torch.Tensor], torch.Tensor], start: tuple[float, float], lr: float
) -> np.ndarray:
    make, options, _ = WALKERS[name]
    point = torch.tensor(start, requires_grad=True)
    optimizer = (make or Lion)([point], lr=lr, **options)
    points = []
    for _ in range(WALK):
        optimizer.zero_grad()
        backward(function(point))
        optimizer.step()
        points.append(point.detach().numpy().copy())
    return np.stack(points[EVERY - 1 :: EVERY])


def trajectories() -> None:
    """Where each optimizer is after every tenth of 100 steps, and the losses of 60 steps of a 4-8-3 network."""
    torch.set_default_dtype(torch.float64)
    numbers = Numbers(11)
    arrays = {"x": numbers.uniform(-1, 1, 30, 4), "y": numbers.uniform(-1, 1, 30, 3)}
    arrays["weight0"], arrays["bias0"] = numbers.uniform(-0.7, 0.7, 4, 8), numbers.uniform(-0.1, 0.1, 8)
    arrays["weight1"], arrays["bias1"] = numbers.uniform(-0.7, 0.7, 8, 3), numbers.uniform(-0.1, 0.1, 3)
    x, y = torch.from_numpy(arrays["x"]), torch.from_numpy(arrays["y"])
    for name, (make, options, rates) in WALKERS.items():
        arrays[f"{name}.bowl"] = walk(name, bowl, (-4.0, 1.5), rates[0])
        arrays[f"{name}.ravine"] = walk(name, ravine, (-1.2, 1.0), rates[1])
        network = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.Tanh(), torch.nn.Linear(8, 3))
        with torch.no_grad():
            for place, layer in enumerate((network[0], network[2])):
                layer.weight.copy_(torch.from_numpy(arrays[f"weight{place}"].T.copy()))
                layer.bias.copy_(torch.from_numpy(arrays[f"bias{place}"]))
        optimizer, losses = (make or Lion)(network.parameters(), lr=rates[2], **options), []
        for _ in range(60):
            optimizer.zero_grad()
            value = torch.nn.functional.mse_loss(network(x), y)
            backward(value)
            optimizer.step()
            losses.append(value.item())
        arrays[f"{name}.network"], arrays[f"{name}.rates"] = np.array(losses), np.array(rates)
    save("trajectories", arrays)


if __name__ == "__main__":
    raise SystemExit(run(optimizers, trajectories))
