"""What every optimizer answers, and what all of them can do beside their update: weight decay, clipped gradients,
groups of parameters, an average of the weights."""

from collections.abc import Mapping, Sequence
from dataclasses import field
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import checks
from ..described import description
from ..kernels.table import OPERATIONS, Operation
from ..plan.arena import Ref
from ..plan.plan import Given, Operand
from .groups import Group, checked_groups, factors

if TYPE_CHECKING:
    from ..plan.arena import Parameters
    from ..plan.compiler import Builder

Array = np.ndarray[Any, Any]


@description
class Optimizer:
    """Base of all optimizers; what they have in common is given by name.

    weight_decay      0: none. Otherwise weight_decay * w is added to each gradient, as an L2 penalty would (PyTorch's
                      `weight_decay`; half the factor of an L2 penalty `l2 * w**2`)
    decoupled         True: instead, w shrinks by lr * weight_decay * w in each step, beside the update (AdamW:
                      Loshchilov and Hutter 2019). Biases and normalisation are decayed too, as in PyTorch, unless a
                      group says otherwise: `groups=Group.without_decay()`
    clip_value        each number of the gradient is cut to [-clip_value, clip_value]
    clip_norm         the gradient of each array (a weight, a bias) is shortened to this norm if it is longer
    clip_global_norm  the whole gradient is (PyTorch's `clip_grad_norm_`); at most one of the three
    groups            a Group, or several, whose factors apply to some of the parameters
    ema_decay         None, or the decay, in [0, 1), of an exponential moving average of the weights, made after each
                      step: average = ema_decay * average + (1 - ema_decay) * w, beginning with the weights after the
                      first step. `fit` scores, hands to callbacks and leaves the averaged weights in the model;
                      `Trainer.swap_average` exchanges the two. Running statistics of BatchNorm are not averaged (as
                      PyTorch's default, `use_buffers=False`)
    """

    weight_decay: float = field(default=0.0, kw_only=True)
    decoupled: bool = field(default=False, kw_only=True)
    clip_value: float | None = field(default=None, kw_only=True)
    clip_norm: float | None = field(default=None, kw_only=True)
    clip_global_norm: float | None = field(default=None, kw_only=True)
    groups: Group | Sequence[Group] = field(default=(), kw_only=True)
    ema_decay: float | None = field(default=None, kw_only=True)

    if TYPE_CHECKING:
        lr: float  # a field of each optimizer, with a default of its own

    def __post_init__(self) -> None:
        owner = type(self).__name__
        self._check(lr={"above": 0.0}, weight_decay={"minimum": 0.0})
        object.__setattr__(self, "decoupled", checks.flag(owner, "decoupled", self.decoupled))
        object.__setattr__(self, "groups", checked_groups(owner, self.groups))
        clips = [name for name in ("clip_value", "clip_norm", "clip_global_norm") if getattr(self, name) is not None]
        if len(clips) > 1:
            raise ValueError(f"{owner}: give {clips[0]} or {clips[1]}, not both")
        self._check(**{name: {"above": 0.0} for name in clips})
        if self.ema_decay is not None:
            self._check(ema_decay={"minimum": 0.0, "below": 1.0})

    # What an optimizer says of itself.

    @property
    def operation(self) -> str:
        """The operation of the kernel table that makes one update."""
        raise NotImplementedError

    @property
    def starts(self) -> Mapping[str, float]:
        """What moments start at: zero for those not named here."""
        return {}

    def own_scalars(self, steps: Array, lr: float | Array) -> Mapping[str, float | Array]:
        """The operation's scalars, without those that all updates have, at these step numbers, counted from 1, for the
        rate of all or of each: constants, or float64 arrays as long as `steps`."""
        raise NotImplementedError

    # What follows for all of them.

    @property
    def entry(self) -> Operation:
        return OPERATIONS[self.operation]

    @property
    def moments(self) -> tuple[str, ...]:
        """Names of the flat arrays that its operation keeps between steps."""
        return tuple(a.name for a in self.entry.arrays if a.access == "updates" and a.name != "param")

    @property
    def kept(self) -> tuple[str, ...]:
        """Names of all flat arrays that are kept between steps."""
        return (*self.moments, *(("average",) if self.ema_decay is not None else ()))

    def scalars(self, steps: Array, lr: float | Array) -> dict[str, float | Array]:
        """All scalars of an update, and of the average, at these steps: see `own_scalars`."""
        decay, average = self.weight_decay, {}
        if self.ema_decay is not None:
            average = {"ema_decay": np.where(steps > 1, self.ema_decay, 0.0)}
        coupled, shrink = (0.0, lr * decay) if self.decoupled else (decay, 0.0)
        return {**self.own_scalars(steps, lr), "weight_decay": coupled, "shrink": shrink, **average}

    def update(self, builder: "Builder") -> None:
        """Writes the operations of a step: gradients clipped, one pass over all parameters, their average."""
        flat = {name: builder.flat(name) for name in ("parameters", "gradients", *self.kept)}
        self._clip(builder, flat["gradients"])
        grouped = {name: builder.flat(name) if self.groups else None for name in ("rates", "decays")}
        arguments: dict[str, Operand] = {"param": flat["parameters"], "grad": flat["gradients"], **grouped}
        arguments |= {moment: flat[moment] for moment in self.moments}
        arguments |= {scalar.name: Given(scalar.name) for scalar in self.entry.scalars}
        arguments["grouped"] = int(bool(self.groups))
        builder.call(self.operation, f"{', '.join(('W', *self.moments))} <- dW", **arguments)
        if self.ema_decay is not None:
            average, param = flat["average"], flat["parameters"]
            builder.call("average_update", "average <- W", average=average, param=param, decay=Given("ema_decay"))

    def _clip(self, builder: "Builder", gradients: Ref) -> None:
        if self.clip_value is not None:
            text = f"dW within {self.clip_value:g}"
            builder.call("clip_to_value", text, grad=gradients, max_value=self.clip_value)
        if self.clip_norm is not None:
            for grad in self._gradients(builder):
                _shorten(builder, [grad], self.clip_norm)
        if self.clip_global_norm is not None:
            _shorten(builder, self._gradients(builder), self.clip_global_norm)

    def _gradients(self, builder: "Builder") -> list[Ref]:
        return [ref.within("gradients") for ref in builder.parameters.matrices()]

    def factors(self, parameters: "Parameters") -> dict[str, Array]:
        """What groups make of the rate ("rates") and of the decay ("decays") of each number: flat arrays with the
        layout of the parameters, as bytes; {} without groups."""
        return factors(type(self).__name__, checked_groups("", self.groups), parameters)

    def _check(self, **bounds: dict[str, float]) -> None:
        for argument, limits in bounds.items():
            value = checks.number(type(self).__name__, argument, getattr(self, argument), **limits)
            object.__setattr__(self, argument, value)


def _shorten(builder: "Builder", arrays: Sequence[Ref], limit: float) -> None:
    """Shortens gradients to a norm, that of all of them together, if it is larger."""
    total = Ref("workspace", builder.plan.workspace.vector("norm", 1, np.float64))
    names = [f"d{array.slot.name}" for array in arrays]
    for place, array in enumerate(arrays):
        text = f"norm^2 {'+' if place else ''}= |{names[place]}|^2"
        builder.call("sum_of_squares", text, total=total, x=array, accumulate=int(place > 0))
    for name, array in zip(names, arrays, strict=True):
        text = f"{name} *= min(1, {limit:g} / norm)"
        builder.call("clip_to_norm", text, grad=array, total=total, max_norm=limit)
