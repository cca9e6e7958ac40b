"""Make the known answers of the losses: what PyTorch 2.13 computes on one thread, and, where it has no such loss, its
derivative of the paper's formula in float64.

    python tests/known_answers/make_losses.py

Helpers, and what is needed, are those of make.py.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from make import Numbers, backward, run, save
from torch import Tensor, nn

F = nn.functional
Terms = Callable[[Tensor, Tensor], Tensor]
"""Outputs (rows, outputs) and targets -> terms whose mean is the loss: (rows,) or (rows, columns)."""


def gaussian(z: Tensor, y: Tensor) -> Tensor:
    mean, log_var = z.chunk(2, dim=1)
    return F.gaussian_nll_loss(mean, y, log_var.exp(), eps=1e-6, reduction="none")


def ranking(z: Tensor, y: Tensor) -> Tensor:
    return F.margin_ranking_loss(z[:, 0], z[:, 1], y[:, 0], margin=1.0, reduction="none")


def focal(z: Tensor, y: Tensor, gamma: float = 2.0) -> Tensor:
    log_p = z.log_softmax(dim=1).gather(1, y[:, None])[:, 0]
    return -((1 - log_p.exp()) ** gamma) * log_p


def binary_focal(z: Tensor, y: Tensor, gamma: float = 2.0) -> Tensor:
    log_p = F.logsigmoid(torch.where(y > 0.5, z, -z))
    return -((1 - log_p.exp()) ** gamma) * log_p


def quantile(z: Tensor, y: Tensor) -> Tensor:
    u = y - z
    return torch.maximum(0.9 * u, (0.9 - 1) * u)


TORCHS: dict[str, tuple[str, Terms]] = {
    "cross_entropy": ("labels", lambda z, y: F.cross_entropy(z, y, reduction="none")),
    "cross_entropy smoothed": ("labels", lambda z, y: F.cross_entropy(z, y, reduction="none", label_smoothing=0.1)),
    "cross_entropy soft": ("shares", lambda z, y: F.cross_entropy(z, y, reduction="none")),
    "cross_entropy soft smoothed": (
        "shares", lambda z, y: F.cross_entropy(z, y, reduction="none", label_smoothing=0.1),
    ),
    "multi_class_hinge": ("labels", lambda z, y: F.multi_margin_loss(z, y, reduction="none")),
    "multi_class_hinge squared": (
        "labels", lambda z, y: F.multi_margin_loss(z, y, p=2, margin=0.5, reduction="none"),
    ),
    "mse": ("numbers", lambda z, y: F.mse_loss(z, y, reduction="none")),
    "mae": ("numbers", lambda z, y: F.l1_loss(z, y, reduction="none")),
    "huber": ("numbers", lambda z, y: F.huber_loss(z, y, reduction="none")),
    "huber narrow": ("numbers", lambda z, y: F.huber_loss(z, y, delta=0.25, reduction="none")),
    "poisson": ("counts", lambda z, y: F.poisson_nll_loss(z, y, reduction="none")),
    "gaussian": ("halves", gaussian),
    "bce": ("shares", lambda z, y: F.binary_cross_entropy_with_logits(z, y, reduction="none")),
    "hinge": ("signs", lambda z, y: F.margin_ranking_loss(z, 0 * z, y, margin=1.0, reduction="none")),
    "margin_ranking": ("pairs", ranking),
}  # fmt: skip
"""name -> kind of targets, PyTorch's loss: in float32 and float64."""

FORMULAS: dict[str, tuple[str, Terms]] = {
    "focal": ("labels", focal),
    "focal half": ("labels", lambda z, y: focal(z, y, 0.5)),
    "binary_focal": ("answers", binary_focal),
    "binary_focal half": ("answers", lambda z, y: binary_focal(z, y, 0.5)),
    "log_cosh": ("numbers", lambda z, y: torch.log(torch.cosh(z - y))),
    "quantile": ("numbers", quantile),
    "squared_hinge": ("signs", lambda z, y: (1 - y * z).clamp(min=0) ** 2),
}
"""The same for formulas: in float64, on ordinary outputs."""


def answers(
    terms: Terms, outputs: np.ndarray, targets: np.ndarray, weights: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
    """Value and gradient of the mean, weighted by row where there are weights."""
    z = torch.tensor(outputs, requires_grad=True)
    each = terms(z, torch.from_numpy(targets.copy()))
    if weights is None:
        value = each.mean()
    else:
        w = torch.from_numpy(weights.astype(outputs.dtype))
        value = (each.reshape(len(w), -1).mean(dim=1) * w).sum() / w.sum()
    backward(value)
    assert z.grad is not None
    return value.detach().numpy(), z.grad.numpy()


def losses() -> None:
    """Value and gradient of each, on ordinary outputs and on some of +-1e4, with weights of rows and without."""
    numbers = Numbers(12)
    rows, columns = 9, 6
    signs = numbers.integers(2, rows, columns) * 2.0 - 1.0
    outputs = {"ordinary": numbers.uniform(-4, 4, rows, columns)}
    outputs["extreme"] = 1e4 * signs + numbers.uniform(-8, 8, rows, columns)
    shares = numbers.uniform(0, 1, rows, columns).round(3) + 0.001
    targets: dict[str, np.ndarray] = {
        "labels": numbers.integers(columns, rows),
        "shares": shares / shares.sum(axis=1, keepdims=True),
        "numbers": numbers.uniform(-3, 3, rows, columns),
        "counts": numbers.integers(6, rows, columns).astype(float),
        "halves": numbers.uniform(-3, 3, rows, columns // 2),
        "answers": numbers.integers(2, rows, columns).astype(float),
        "signs": numbers.integers(2, rows, columns) * 2.0 - 1.0,
        "pairs": numbers.integers(2, rows, 1) * 2.0 - 1.0,
    }
    targets = {kind: value if kind == "labels" else value.astype(np.float32) for kind, value in targets.items()}
    weights = numbers.uniform(0, 3, rows).astype(np.float32)
    weights[2] = 0
    class_weights = numbers.uniform(0.25, 2, columns).astype(np.float32)
    arrays = {f"targets.{kind}": value for kind, value in targets.items()}
    arrays |= {"weights": weights, "class_weights": class_weights}
    for kind, values in outputs.items():
        single = values.astype(np.float32)  # float64 gets the same, exactly representable numbers
        arrays[f"outputs.{kind}"] = single
        for known, dtypes in ((TORCHS, (np.float32, np.float64)), (FORMULAS, (np.float64,))):
            if known is FORMULAS and kind == "extreme":
                continue
            for name, (wanted, terms) in known.items():
                if kind == "extreme" and name == "gaussian":
                    continue  # variances of exp(1e4) are infinite to PyTorch
                for dtype in dtypes:
                    z = single[:, :2] if wanted == "pairs" else single
                    y = targets[wanted] if wanted == "labels" else targets[wanted].astype(dtype)
                    for weighting, given in (("even", None), ("weighted", weights)):
                        key = f"{name}.{kind}.{np.dtype(dtype).name}.{weighting}"
                        value, grad = answers(terms, z.astype(dtype), y, given)
                        arrays[f"{key}.value"], arrays[f"{key}.grad"] = value, grad
    z = torch.tensor(outputs["ordinary"].astype(np.float32).astype(np.float64), requires_grad=True)
    by_class = torch.from_numpy(class_weights.astype(np.float64))
    value = F.cross_entropy(z, torch.from_numpy(targets["labels"]), weight=by_class)
    backward(value)
    assert z.grad is not None
    arrays |= {"by_class.value": value.detach().numpy(), "by_class.grad": z.grad.numpy()}
    save("losses", arrays)


if __name__ == "__main__":
    raise SystemExit(run(losses))
