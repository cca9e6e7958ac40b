"""The Numba kernels: every operation of the table, JIT-compiled with explicit SIMD. Importing this package imports
numba; `fastnn.kernels.objects` does so only when something has to be compiled.
"""

from . import (
    activations,
    adam,
    adaptive,
    binary_losses,
    blocks,
    class_losses,
    data,
    dense,
    dropout,
    embedding,
    gradients,
    layer_norm,
    low_precision,
    normalization,
    optimizers,
    penalties,
    reductions,
    regression_losses,
    smooth,
    softmax,
)
from .entry import KERNELS, compile_entry, compile_routine

__all__ = [
    "KERNELS", "activations", "adam", "adaptive", "binary_losses", "blocks", "class_losses", "compile_kernel",
    "data", "dense", "dropout", "embedding", "gradients", "layer_norm", "low_precision", "normalization",
    "optimizers", "penalties", "reductions", "regression_losses", "smooth", "softmax",
]  # fmt: skip


def compile_kernel(name: str, dtype: str) -> tuple[bytes, tuple[str, ...]]:
    """Object code of an operation, or of a routine that is not one, and the routines it needs."""
    return compile_entry(name, dtype) if name in KERNELS else compile_routine(name, dtype)
