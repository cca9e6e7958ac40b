"""Optimizers: which update a step ends with, and its scalars, computed in double precision for many steps at once.

    class      update
    SGD        w -= lr g, or with momentum, in three forms, Nesterov's too       descent.py
    Lion       steps of equal size by the sign of a momentum
    Rprop      a step of its own for each number
    AdaGrad    g over the root of the sum of squares                             adaptive.py
    Adadelta   the same by moving averages, in the units of the parameters
    RMSProp    g over the root of a moving average of squares
    Adam, AdamW, NAdam, RAdam    moving averages of g and of its square          adam.py
    ARS, TwoPoint      no gradient: losses along random directions               search.py
    LBFGS              SciPy's

All but those of search.py take weight decay, clipped gradients, groups of parameters and an average of the weights:
see `Optimizer`.
"""

from .. import checks
from .adam import Adam, AdamW, NAdam, RAdam
from .adaptive import Adadelta, AdaGrad, RMSProp
from .base import Optimizer
from .descent import SGD, Lion, Rprop
from .groups import Group
from .search import ARS, LBFGS, TwoPoint

__all__ = [
    "ARS", "LBFGS", "OPTIMIZERS", "SEARCHES", "SGD", "AdaGrad", "Adadelta", "Adam", "AdamW", "Group", "Lion", "NAdam",
    "Optimizer", "RAdam", "RMSProp", "Rprop", "TwoPoint", "get_optimizer",
]  # fmt: skip

OPTIMIZERS: dict[str, type[Optimizer]] = {
    cls.__name__.lower(): cls for cls in (SGD, AdaGrad, RMSProp, Adam, AdamW, NAdam, RAdam, Adadelta, Rprop, Lion)
}

"""Those that a plan ends with, by name."""

SEARCHES: dict[str, type[Optimizer]] = {cls.__name__.lower(): cls for cls in (ARS, TwoPoint, LBFGS)}
"""Those that are run from outside of plans, by name."""


def get_optimizer(optimizer: "str | Optimizer") -> Optimizer:
    """The optimizer of that name with its defaults, or the optimizer itself."""
    if isinstance(optimizer, Optimizer):
        return optimizer
    checks.not_a_class("optimizer", optimizer, Optimizer)
    known = {**OPTIMIZERS, **SEARCHES}
    if not isinstance(optimizer, str) or optimizer not in known:
        raise checks.unknown_name("optimizer", optimizer, known)
    return known[optimizer]()  # type: ignore[call-arg]
