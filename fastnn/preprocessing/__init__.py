"""From data as measured to the numbers a network trains on, and back again.

Everything here is fitted on training rows only, holds nothing but numbers and text, and is saved with a model. NumPy
only: the encoder of tables with categories and missing cells, which needs pandas, is in `fastnn/encoding.py`.
"""

from .arrays import ArrayEncoder
from .base import Array, Json, Transform
from .chain import Chain
from .scaling import SCALINGS, Centerer, MinMaxScaler, RobustScaler, Standardizer, mean_and_scale, shift_and_scale
from .stored import load_preprocessing, pack, unpack
from .targets import ClassTarget, NumberTarget, target_from_json
from .whitening import Whitener

__all__ = [
    "SCALINGS",
    "Array",
    "ArrayEncoder",
    "Centerer",
    "Chain",
    "ClassTarget",
    "Json",
    "MinMaxScaler",
    "NumberTarget",
    "RobustScaler",
    "Standardizer",
    "Transform",
    "Whitener",
    "load_preprocessing",
    "mean_and_scale",
    "pack",
    "shift_and_scale",
    "target_from_json",
    "unpack",
]
