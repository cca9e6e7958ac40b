"""Nanoseconds per parameter of one optimizer step: fastnn, NumPy in place, torch with and without `fused=True`.

    python -m bench.optimizers             1e4, 1e6 and 1e7 parameters
    python -m bench.optimizers --quick     fewer rounds
    python -m bench.optimizers -k adam     only optimizers whose name contains the text

All start from the same parameters and see the same gradient; after three steps the parameters must agree with NumPy's
before anything is timed. "fastnn" is fastnn.ops with its checks at every call, "kernel" the same kernel as a training
plan calls it. NumPy runs in place with one scratch vector, as in bench/baselines/numpy_mlp.py.
"""

from __future__ import annotations

import argparse
import importlib.util
import math
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from bench import environment

if __name__ == "__main__":
    environment.prepare()

import numpy as np

from bench import report, timing
from fastnn.optimizers import SGD, AdaGrad, Adam, Optimizer, RMSProp

SIZES = (10_000, 1_000_000, 10_000_000)
CHECKED_STEPS = 3
NUMPY_GOAL = {"RMSProp": 4.0}  # NumPy time / fastnn time at 1e7 parameters
TORCH_GOAL = 1.2  # fastnn time / fused torch time at 1e7 parameters, at most

Step = Callable[[], object]


class Vectors:
    """Parameters, a gradient and states of one candidate, the same numbers for all."""

    def __init__(self, size: int) -> None:
        generator = np.random.default_rng(0)
        self.param = generator.standard_normal(size, dtype=np.float32)
        self.grad = generator.standard_normal(size, dtype=np.float32)
        self.first, self.second, self.scratch = (np.zeros(size, np.float32) for _ in range(3))
        self.step_count = 0


def numpy_sgd(v: Vectors) -> None:
    np.multiply(v.grad, 1e-2, out=v.scratch)
    v.param -= v.scratch


def numpy_momentum(v: Vectors) -> None:
    v.first *= 0.9
    v.first += v.grad
    np.multiply(v.first, 1e-2, out=v.scratch)
    v.param -= v.scratch


def numpy_adam(v: Vectors) -> None:
    v.step_count += 1
    correction1, correction2 = 1 - 0.9**v.step_count, math.sqrt(1 - 0.999**v.step_count)
    np.subtract(v.grad, v.first, out=v.scratch)
    v.scratch *= 1 - 0.9
    v.first += v.scratch
    np.multiply(v.grad, v.grad, out=v.scratch)
    v.scratch -= v.second
    v.scratch *= 1 - 0.999
    v.second += v.scratch
    np.sqrt(v.second, out=v.scratch)
    v.scratch += 1e-8 * correction2
    np.divide(v.first, v.scratch, out=v.scratch)
    v.scratch *= 1e-3 * correction2 / correction1
    v.param -= v.scratch


def numpy_rmsprop(v: Vectors) -> None:
    np.multiply(v.grad, v.grad, out=v.scratch)
    v.scratch -= v.first
    v.scratch *= 1 - 0.99
    v.first += v.scratch
    np.sqrt(v.first, out=v.scratch)
    v.scratch += 1e-8
    np.divide(v.grad, v.scratch, out=v.scratch)
    v.scratch *= 1e-2
    v.param -= v.scratch


def numpy_adagrad(v: Vectors) -> None:
    np.multiply(v.grad, v.grad, out=v.scratch)
    v.first += v.scratch
    np.sqrt(v.first, out=v.scratch)
    v.scratch += 1e-10
    np.divide(v.grad, v.scratch, out=v.scratch)
    v.scratch *= 1e-2
    v.param -= v.scratch


NUMPY: dict[str, Callable[[Vectors], None]] = {
    "SGD": numpy_sgd,
    "SGD momentum": numpy_momentum,
    "Adam": numpy_adam,
    "RMSProp": numpy_rmsprop,
    "AdaGrad": numpy_adagrad,
}


def fastnn_step(name: str, v: Vectors) -> None:
    """The kernels as a library would call them that brings its own arrays: with all checks at every call."""
    from fastnn import ops

    if name == "SGD":
        ops.sgd_update(v.param, v.grad, lr=1e-2)
    elif name == "SGD momentum":
        ops.momentum_update(v.param, v.first, v.grad, lr=1e-2, momentum=0.9)
    elif name == "RMSProp":
        ops.rmsprop_update(v.param, v.first, v.grad, lr=1e-2, alpha=0.99, eps=1e-8)
    elif name == "AdaGrad":
        ops.adagrad_update(v.param, v.first, v.grad, lr=1e-2, eps=1e-10)
    else:
        v.step_count += 1
        ops.adam_update(
            v.param,
            v.first,
            v.second,
            v.grad,
            step_size=1e-3 / (1 - 0.9**v.step_count),
            beta1=0.9,
            beta2=0.999,
            eps=1e-8,
            sqrt_bias_correction2=math.sqrt(1 - 0.999**v.step_count),
        )


def kernel_step(name: str, v: Vectors) -> Step | None:
    """The kernel as a plan calls it: its operands are looked up and checked once, the scalars stay those of step 1."""
    import ctypes

    from fastnn.kernels import OPERATIONS, backends, objects
    from fastnn.kernels.table import argument_words

    if backends.resolve("auto") == "reference":
        return None
    arrays = {"param": v.param, "grad": v.grad}
    optimizer: Optimizer = {
        "SGD": SGD(), "SGD momentum": SGD(momentum=0.9), "Adam": Adam(), "RMSProp": RMSProp(), "AdaGrad": AdaGrad()
    }[name]  # fmt: skip
    operation = OPERATIONS[optimizer.operation]
    arrays |= dict(zip(optimizer.moments, (v.first, v.second), strict=False))
    scalars = {what: np.reshape(value, -1)[0] for what, value in optimizer.scalars(np.ones(1), optimizer.lr).items()}
    words = argument_words(operation, {**arrays, **scalars})
    kernel = objects.function(operation.name, "float32", ctypes.c_void_p)
    address = words.ctypes.data

    def step(words: np.ndarray = words) -> None:  # the default keeps the words alive
        kernel(address)

    return step


def torch_optimizer(name: str, v: Vectors, fused: bool) -> Step | None:
    """torch's step over the same vectors; None where it has no fused form."""
    import torch

    torch.set_num_threads(1)
    if fused and name == "RMSProp":
        return None
    param = torch.nn.Parameter(torch.from_numpy(v.param))
    param.grad = torch.from_numpy(v.grad)
    options: dict[str, Any] = {"fused": True} if fused else {}
    makers: dict[str, Callable[[], torch.optim.Optimizer]] = {
        "SGD": lambda: torch.optim.SGD([param], lr=1e-2, **options),
        "SGD momentum": lambda: torch.optim.SGD([param], lr=1e-2, momentum=0.9, **options),
        "Adam": lambda: torch.optim.Adam([param], **options),
        "RMSProp": lambda: torch.optim.RMSprop([param], **options),
        "AdaGrad": lambda: torch.optim.Adagrad([param], **options),
    }
    return makers[name]().step


def candidates(name: str, size: int) -> dict[str, tuple[Vectors, Step]]:
    def with_own(make: Callable[[Vectors], Step | None]) -> tuple[Vectors, Step] | None:
        vectors = Vectors(size)
        step = make(vectors)
        return None if step is None else (vectors, step)

    found = {
        "NumPy": with_own(lambda v: lambda: NUMPY[name](v)),
        "fastnn": with_own(lambda v: lambda: fastnn_step(name, v)),
        "kernel": with_own(lambda v: kernel_step(name, v)),
    }
    if importlib.util.find_spec("torch"):
        found["torch"] = with_own(lambda v: torch_optimizer(name, v, fused=False))
        found["torch fused"] = with_own(lambda v: torch_optimizer(name, v, fused=True))
    return {column: made for column, made in found.items() if made is not None}


def measure(name: str, size: int, rounds: int) -> dict[str, Any]:
    made = candidates(name, size)
    for _, step in made.values():
        for _ in range(CHECKED_STEPS):
            step()
    expected = made["NumPy"][0].param
    row: dict[str, Any] = {"name": name, "parameters": size, "wrong": {}}
    for column, (vectors, _) in made.items():
        # A few roundings of parameters of size 1 to 5; a wrong formula is off by 1e-4 and more.
        difference = float(np.abs(vectors.param - expected).max())
        if column != "kernel" and not difference <= 4e-6:  # that one repeats the scalars of step 1
            row["wrong"][column] = difference
    if row["wrong"]:
        return row

    def timed(step: Step) -> Callable[[int], None]:
        def run(count: int) -> None:
            for _ in range(count):
                step()

        return run

    found = timing.interleaved({column: timed(step) for column, (_, step) in made.items()}, rounds)
    row["nanoseconds"] = {column: result.median / size * 1e9 for column, result in found.items()}
    row["disturbed"] = {column: result.disturbed for column, result in found.items()}
    return row


COLUMNS = ("NumPy", "torch", "torch fused", "fastnn", "kernel")


def missed(row: dict[str, Any]) -> str:
    if row["parameters"] != SIZES[-1]:
        return ""
    time = row["nanoseconds"]
    broken = []
    if time["NumPy"] / time["fastnn"] < NUMPY_GOAL.get(row["name"], 0):
        broken.append("NumPy")
    if "torch fused" in time and time["fastnn"] / time["torch fused"] > TORCH_GOAL:
        broken.append("torch fused")
    return f"missed: {', '.join(broken)}" if broken else ""


def cells(row: dict[str, Any]) -> list[str]:
    label = f"{row['name']}, {row['parameters']:,}"
    if row["wrong"]:
        return [f"{label}  ANSWERS DISAGREE: {row['wrong']}", *[""] * (len(COLUMNS) + 3)]
    time = row["nanoseconds"]
    times = [report.number(time.get(name)) + timing.mark(row["disturbed"].get(name, 0)) for name in COLUMNS]
    fused = f"{time['torch fused'] / time['fastnn']:.2f}" if "torch fused" in time else "-"
    return [label, *times, f"{time['NumPy'] / time['fastnn']:.2f}", fused, missed(row)]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="3 rounds instead of 11, no 1e7")
    parser.add_argument("-k", default="", metavar="TEXT", help="only optimizers whose name contains this")
    parser.add_argument("--save", action="store_true", help="write the JSON also for --quick or -k")
    arguments = parser.parse_args()

    names = [name for name in NUMPY if arguments.k.lower() in name.lower()]
    if not names:
        parser.error(f"-k {arguments.k!r}: no optimizer's name contains that: {', '.join(NUMPY)}")
    header = environment.header()
    print(environment.describe(header))
    sizes = SIZES[:2] if arguments.quick else SIZES
    rows = [measure(name, size, 3 if arguments.quick else 11) for name in names for size in sizes]
    headings = ["optimizer, parameters (ns each)", *COLUMNS, "NumPy/fastnn", "torch fused/fastnn", ""]
    print("\n" + report.table(headings, [cells(row) for row in rows]))
    print(f"\n{timing.LEGEND}")
    if arguments.save or not (arguments.quick or arguments.k):
        print(f"saved {report.save('optimizers', header, {'rows': rows}).relative_to(environment.ROOT)}")
    return 1 if any(row["wrong"] for row in rows) else 0


if __name__ == "__main__":
    raise SystemExit(main())
