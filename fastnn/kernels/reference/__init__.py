"""The reference kernels: each operation in plain NumPy, written to be read. They define what the compiled kernels
compute.

Arrays come as views of their logical shape, without padding; a kernel writes into the arrays it is given, changes
nothing else and returns nothing.
"""

from . import (
    activations,
    adam,
    adaptive,
    blocks,
    data,
    dense,
    dropout,
    embedding,
    gradients,
    layer_norm,
    losses,
    low_precision,
    normalization,
    optimizers,
    reductions,
)

__all__ = [
    "activations", "adam", "adaptive", "blocks", "data", "dense", "dropout", "embedding", "gradients", "layer_norm",
    "losses", "low_precision", "normalization", "optimizers", "reductions",
]  # fmt: skip
