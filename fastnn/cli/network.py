"""From the options of `train` to a network and the arguments of its fit: what `train` and `sweep` share."""

import argparse
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from fastnn.cli.errors import CommandError
from fastnn.data import Array
from fastnn.preprocessing import ClassTarget, NumberTarget

if TYPE_CHECKING:
    from fastnn.model import Sequential


def check(options: argparse.Namespace) -> None:
    """Makes the optimizer and every layer once, so that a wrong rate or name is known before a large file is read."""
    from fastnn.initializers import get_initializer
    from fastnn.kernels import backends

    _optimizer(options)
    _layers(options, outputs=1)
    get_initializer(options.init)
    if options.loss is not None:
        from fastnn.losses import get_loss

        get_loss(options.loss)
    try:
        kernel_set = backends.resolve(options.backend)
    except RuntimeError as error:
        raise CommandError(f"--backend {options.backend}: {error}") from error
    try:
        backends.check_precision(options.precision, options.dtype, kernel_set)
    except (RuntimeError, ValueError) as error:
        raise CommandError(f"--precision {options.precision}: {error}") from error
    try:
        backends.check_threads(options.threads, kernel_set)
    except (RuntimeError, ValueError) as error:
        raise CommandError(f"--threads {options.threads}: {error}") from error


def built(
    options: argparse.Namespace, target: ClassTarget | NumberTarget, rows: int, inputs: int
) -> tuple["Sequential", dict[str, Any]]:
    """The network for data of so many rows and inputs, and what its fit is given besides the data."""
    from fastnn.callbacks import EarlyStopping
    from fastnn.model import Sequential

    loss = loss_of(options, target)
    outputs = len(target.classes) if isinstance(target, ClassTarget) and loss.task == "classify" else 1
    model = Sequential(_layers(options, outputs), inputs=inputs, dtype=options.dtype, seed=options.seed)
    metrics: tuple[Any, ...] = ("accuracy",)
    if isinstance(target, NumberTarget):
        metrics = (_rmse_in_unit(target.scale), "r2")
    return model, {
        "loss": loss,
        "optimizer": _optimizer(options),
        "epochs": options.epochs,
        "batch_size": options.batch_size or _batch_size(rows),
        "metrics": metrics,
        "callbacks": [EarlyStopping(options.patience)] if options.patience else [],
        "threads": options.threads,
        "backend": options.backend,
        "precision": options.precision,
    }


def loss_of(options: argparse.Namespace, target: ClassTarget | NumberTarget) -> Any:
    """The loss for the task, or the one asked for when it fits."""
    from fastnn.losses import get_loss

    loss = get_loss(options.loss or ("cross_entropy" if isinstance(target, ClassTarget) else "mse"))
    if not loss.in_commands:
        raise CommandError(f"--loss {loss.name} is for Python: its outputs are neither logits nor the target itself")
    if (loss.task == "regress") != isinstance(target, NumberTarget):
        chosen = "classify" if isinstance(target, ClassTarget) else "regress"
        raise CommandError(f"--loss {loss.name} does not fit the task {chosen}; --task chooses another task")
    if loss.task == "binary" and isinstance(target, ClassTarget) and len(target.classes) != 2:
        raise CommandError(f"--loss {loss.name} takes two classes, {target.name!r} has {len(target.classes)}")
    return loss


def _optimizer(options: argparse.Namespace) -> Any:
    """The optimizer that the options name, with their hyper-parameters in it."""
    from fastnn.optimizers import get_optimizer

    optimizer: Any = get_optimizer(options.optimizer)
    changes = {name: value for name in ("lr", "momentum") if (value := getattr(options, name)) is not None}
    for name in changes:
        if name not in optimizer.__dataclass_fields__:
            raise CommandError(f"--{name}: the optimizer {options.optimizer!r} has none")
    return replace(optimizer, **changes)


def _layers(options: argparse.Namespace, outputs: int) -> list[Any]:
    from fastnn.layers import BatchNorm, Dense, Dropout

    layers: list[Any] = []
    for units in options.hidden:
        layers.append(Dense(units, activation=options.activation, weight_init=options.init))
        if options.batch_norm:
            layers.append(BatchNorm())
        if options.dropout:
            layers.append(Dropout(options.dropout))
    return [*layers, Dense(outputs)]


def _batch_size(rows: int) -> int:
    """A power of two from 8 to 128 that makes 32 to 64 steps of an epoch, where there are rows for that."""
    return int(min(128, max(8, 2 ** int(np.log2(max(rows / 32, 1))))))


def _rmse_in_unit(scale: float) -> Any:
    """The RMSE in the target's own unit: the network sees the target divided by `scale`."""
    from fastnn.metrics import rmse as standardised

    def rmse(outputs: Array, targets: Array) -> float:
        return scale * standardised(outputs, targets)

    return rmse
