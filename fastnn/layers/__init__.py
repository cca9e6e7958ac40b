"""Layers: what a user writes down, and which operations each is made of.

A layer is a frozen description. It says how wide it is, which parameters it has, and, when a plan is compiled, writes
its forward and backward operations with the builder's help.
"""

from .activation import Activation
from .base import Layer
from .blocks import Concatenate, Residual
from .dense import Dense
from .dropout import Dropout
from .embedding import Embedding
from .inputs import Flatten, Standardize
from .normalization import BatchNorm, LayerNorm, RMSNorm

__all__ = [
    "Activation", "BatchNorm", "Concatenate", "Dense", "Dropout", "Embedding", "Flatten", "Layer", "LayerNorm",
    "RMSNorm", "Residual", "Standardize",
]  # fmt: skip
