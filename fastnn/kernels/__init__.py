"""Operations and the sets of kernels that implement them."""

from . import reference
from .table import OPERATIONS, Operation

__all__ = ["OPERATIONS", "Operation", "reference"]
