"""Learning rate schedules: the rate at a time, from the optimizer's rate lr0 and the time t.

Time counts finished epochs, so that the first epoch has t = 0, or, for a schedule that is made `per_step()`, finished
optimizer steps. `schedule(lr0, t)` is the rate; a plain function with these two arguments is a schedule per epoch, and
a list of rates is one, too.

    class                 rate                                            also known as
    Constant              lr0
    StepDecay             lr0 factor ** (t // every)                      torch StepLR
    MultiStepDecay        lr0 factor ** (milestones up to t)              torch MultiStepLR
    Exponential           lr0 factor ** t  or  lr0 exp(-k t)              torch ExponentialLR
    InverseTime           lr0 / (1 + decay t)                             Robbins and Monro 1951
    InverseSquareRoot     lr0 k / sqrt(t + 1)
    SearchThenConverge    lr0 tau / max(t, tau)                           Darken and Moody 1991, Bengio 2012
    Polynomial            lr0 (1 - t / length) ** power                   torch PolynomialLR
    Cosine                down a half wave                                torch CosineAnnealingLR
    CosineRestarts        the same again and again                        SGDR, Loshchilov and Hutter 2017
    OneCycle              up, then down to almost nothing                 Smith and Topin 2018, torch OneCycleLR
    ReduceOnPlateau       lower when the validation error stays           torch ReduceLROnPlateau
    ByHand                a function or a list

Every schedule has `at_least(minimum)`, `after_warmup(length)`, `per_step()`, `rates(lr0, count)` and `plot(path)`;
`a * b` applies b to the rate that a gives, and `InTurn` puts schedules one after the other.
"""

from .base import ByHand, Constant, Rates, Schedule, ScheduleLike, get_schedule
from .combined import AtLeast, InTurn, PerStep, Product, Warmup
from .formulas import (
    Cosine,
    CosineRestarts,
    Exponential,
    InverseSquareRoot,
    InverseTime,
    MultiStepDecay,
    OneCycle,
    Polynomial,
    SearchThenConverge,
    StepDecay,
)
from .plateau import ReduceOnPlateau

__all__ = [
    "AtLeast", "ByHand", "Constant", "Cosine", "CosineRestarts", "Exponential", "InTurn", "InverseSquareRoot",
    "InverseTime", "MultiStepDecay", "OneCycle", "PerStep", "Polynomial", "Product", "Rates", "ReduceOnPlateau",
    "Schedule", "ScheduleLike", "SearchThenConverge", "StepDecay", "Warmup", "get_schedule",
]  # fmt: skip
