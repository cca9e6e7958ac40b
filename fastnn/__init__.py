"""fastnn: training neural networks on a CPU as fast as the CPU allows.

Names are imported when they are first used: `import fastnn` alone loads neither NumPy nor Numba, and a process that
finds its kernels compiled never loads Numba.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_HOME = {
    "ARS": "optimizers",
    "AUC": "metrics",
    "AbsoluteError": "losses",
    "Activation": "layers",
    "AdaGrad": "optimizers",
    "Adadelta": "optimizers",
    "Adam": "optimizers",
    "AdamW": "optimizers",
    "BCE": "losses",
    "BatchNorm": "layers",
    "BinaryFocal": "losses",
    "BlockShuffle": "sources",
    "Callback": "callbacks",
    "Centerer": "preprocessing",
    "Chain": "preprocessing",
    "Checkpoint": "checkpoints",
    "Concatenate": "layers",
    "Constant": "schedules",
    "Cosine": "schedules",
    "CosineRestarts": "schedules",
    "CrossEntropy": "losses",
    "CustomLoss": "losses",
    "Dense": "layers",
    "Dropout": "layers",
    "ECE": "metrics",
    "ELU": "activations",
    "EarlyStopping": "callbacks",
    "Embedding": "layers",
    "Exponential": "schedules",
    "F1": "metrics",
    "Flatten": "layers",
    "Focal": "losses",
    "GaussianLikelihood": "losses",
    "Group": "optimizers",
    "HardTanh": "activations",
    "Hinge": "losses",
    "History": "history",
    "Huber": "losses",
    "InverseSquareRoot": "schedules",
    "InverseTime": "schedules",
    "LBFGS": "optimizers",
    "LambdaCallback": "callbacks",
    "LayerNorm": "layers",
    "LeakyReLU": "activations",
    "Lion": "optimizers",
    "LogCosh": "losses",
    "MSE": "losses",
    "MarginRanking": "losses",
    "MinMaxScaler": "preprocessing",
    "ModelFileError": "storage",
    "MultiClassHinge": "losses",
    "MultiStepDecay": "schedules",
    "NAdam": "optimizers",
    "NonFiniteLoss": "bound",
    "OneCycle": "schedules",
    "Poisson": "losses",
    "Polynomial": "schedules",
    "Precision": "metrics",
    "Predictor": "predictor",
    "Prefetch": "prefetch",
    "ProgressBar": "callbacks",
    "Quantile": "losses",
    "RAdam": "optimizers",
    "RMSNorm": "layers",
    "RMSProp": "optimizers",
    "Recall": "metrics",
    "ReduceOnPlateau": "schedules",
    "Residual": "layers",
    "RobustScaler": "preprocessing",
    "Rprop": "optimizers",
    "SGD": "optimizers",
    "SearchThenConverge": "schedules",
    "Sequential": "model",
    "Space": "sweeps",
    "SquaredHinge": "losses",
    "Standardize": "layers",
    "Standardizer": "preprocessing",
    "StepDecay": "schedules",
    "SweepResult": "sweeps",
    "TopK": "metrics",
    "Trainer": "trainer",
    "TrialStopped": "sweeps",
    "TwoPoint": "optimizers",
    "Whitener": "preprocessing",
    "backends": "kernels.backends",
    "calibration_curve": "metrics",
    "confusion_matrix": "metrics",
    "gradcheck": "gradcheck",
    "integers": "sweeps",
    "load": "model",
    "load_preprocessing": "preprocessing",
    "log_uniform": "sweeps",
    "lr_range_test": "range_test",
    "ranking_of_pairs": "losses",
    "sweep": "sweeps",
    "uniform": "sweeps",
}

_MODULES = (
    "activations", "callbacks", "data", "encoding", "initializers", "losses", "metrics", "ops", "optimizers",
    "preprocessing", "schedules", "storage", "sweeps",
)  # fmt: skip
"""Modules that users call by name, which are imported when they are."""

__all__ = ["__version__", "ops", *_HOME]

if TYPE_CHECKING:
    from . import ops
    from .activations import ELU, HardTanh, LeakyReLU
    from .bound import NonFiniteLoss
    from .callbacks import Callback, EarlyStopping, LambdaCallback, ProgressBar
    from .checkpoints import Checkpoint
    from .gradcheck import gradcheck
    from .history import History
    from .kernels.backends import backends
    from .layers import (
        Activation,
        BatchNorm,
        Concatenate,
        Dense,
        Dropout,
        Embedding,
        Flatten,
        LayerNorm,
        Residual,
        RMSNorm,
        Standardize,
    )
    from .losses import (
        BCE,
        MSE,
        AbsoluteError,
        BinaryFocal,
        CrossEntropy,
        CustomLoss,
        Focal,
        GaussianLikelihood,
        Hinge,
        Huber,
        LogCosh,
        MarginRanking,
        MultiClassHinge,
        Poisson,
        Quantile,
        SquaredHinge,
        ranking_of_pairs,
    )
    from .metrics import AUC, ECE, F1, Precision, Recall, TopK, calibration_curve, confusion_matrix
    from .model import Sequential, load
    from .optimizers import (
        ARS,
        LBFGS,
        SGD,
        Adadelta,
        AdaGrad,
        Adam,
        AdamW,
        Group,
        Lion,
        NAdam,
        RAdam,
        RMSProp,
        Rprop,
        TwoPoint,
    )
    from .predictor import Predictor
    from .prefetch import Prefetch
    from .preprocessing import Centerer, Chain, MinMaxScaler, RobustScaler, Standardizer, Whitener, load_preprocessing
    from .range_test import lr_range_test
    from .schedules import (
        Constant,
        Cosine,
        CosineRestarts,
        Exponential,
        InverseSquareRoot,
        InverseTime,
        MultiStepDecay,
        OneCycle,
        Polynomial,
        ReduceOnPlateau,
        SearchThenConverge,
        StepDecay,
    )
    from .sources import BlockShuffle
    from .storage import ModelFileError
    from .sweeps import Space, SweepResult, TrialStopped, integers, log_uniform, sweep, uniform
    from .trainer import Trainer


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return import_module(f".{name}", __name__)
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f".{_HOME[name]}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
