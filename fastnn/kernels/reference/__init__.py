"""The reference kernels: each operation in plain NumPy, written to be read. They define what the compiled kernels
compute.

Arrays come as views of their logical shape, without padding; a kernel writes into the arrays it is given, changes
nothing else and returns nothing.
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

__all__ = [
    "activations", "adam", "adaptive", "binary_losses", "blocks", "class_losses", "data", "dense", "dropout",
    "embedding", "gradients", "layer_norm", "low_precision", "normalization", "optimizers", "penalties",
    "reductions", "regression_losses", "smooth", "softmax",
]  # fmt: skip
