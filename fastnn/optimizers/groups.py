"""Groups of parameters: factors of the learning rate and of the weight decay for some of them."""

import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import checks
from ..described import description
from ..plan.arena import aligned_zeros

if TYPE_CHECKING:
    from ..plan.arena import Entry, Parameters

Array = np.ndarray[Any, Any]


@description
class Group:
    """Factors for the parameters of some layers, or of some kinds; where several groups have a parameter, all apply.

    layers        indices in the model's list, -1 for the last; that of a block stands for all in it. None: all
    kinds         "weight" (tables of an Embedding too), "bias", "gamma", "beta" ...; None: all
    lr            factor of the learning rate, 0 or more; 0 freezes
    weight_decay  factor of the weight decay, 0 or more
    by_fan_in     divides the rate by sqrt(fan_in), that of the layer's weight; parameters of layers without one, and
                  tables, keep theirs (Collobert's form; Plaut and Hinton 1987 divide by fan_in itself)

    Factors rather than rates, so that one schedule moves all of them; PyTorch's groups have a rate of their own each.
    """

    layers: int | Sequence[int] | None = None
    kinds: str | Sequence[str] | None = None
    lr: float = 1.0
    weight_decay: float = 1.0
    by_fan_in: bool = False

    def __post_init__(self) -> None:
        if self.layers is not None:
            given = self.layers if isinstance(self.layers, Iterable) else (self.layers,)
            layers = tuple(checks.integer("Group", "layers", layer) for layer in given)
            object.__setattr__(self, "layers", layers)
        if self.kinds is not None:
            kinds = (self.kinds,) if isinstance(self.kinds, str) else tuple(self.kinds)
            if not all(isinstance(kind, str) for kind in kinds):
                raise TypeError(f"Group(kinds={self.kinds!r}): expected names such as 'weight' or 'bias'")
            object.__setattr__(self, "kinds", kinds)
        for name in ("lr", "weight_decay"):
            object.__setattr__(self, name, checks.number("Group", name, getattr(self, name), minimum=0.0))
        object.__setattr__(self, "by_fan_in", checks.flag("Group", "by_fan_in", self.by_fan_in))

    @classmethod
    def without_decay(cls) -> "Group":
        """No decay of biases, nor of what normalisation learns: of all but weights."""
        return cls(kinds=("bias", "gamma", "beta"), weight_decay=0.0)

    def has(self, entry: "Entry", layers: int) -> bool:
        """Whether a parameter of a model of so many layers belongs to it."""
        own: Any = self.layers
        there = own is None or entry.place in {number % layers for number in own if -layers <= number < layers}
        # An Embedding has a "weight" for each column: weight0, weight3.
        return there and (
            self.kinds is None or entry.kind in self.kinds or entry.kind.rstrip("0123456789") in self.kinds
        )


def checked_groups(owner: str, groups: Any) -> tuple[Group, ...]:
    """One group or several as a tuple."""
    found = (groups,) if isinstance(groups, Group) or not isinstance(groups, Iterable) else tuple(groups)
    if not all(isinstance(group, Group) for group in found):
        raise TypeError(f"{owner}(groups={groups!r}): expected a Group such as Group(kinds='bias', lr=2), or several")
    return found


def factors(owner: str, groups: Sequence[Group], parameters: "Parameters") -> dict[str, Array]:
    """The factors of the rate and of the decay of each number, with the layout of the parameters, as bytes; {} where
    there are no groups. A group without parameters is an error."""
    if not groups:
        return {}
    layers = parameters.nodes[-1].place + 1
    for group in groups:
        _check(owner, group, parameters, layers)
    fan_in = {entry.layer: entry.shape[0] for entry in parameters.entries if entry.kind == "weight"}
    rates, decays = (aligned_zeros(len(parameters.arena)) for _ in range(2))
    for rate, decay in zip(parameters.views(rates), parameters.views(decays), strict=True):
        own = [group for group in groups if group.has(rate, layers)]
        fans = [math.sqrt(fan_in.get(rate.layer, 1)) for group in own if group.by_fan_in]
        rate.value[...] = math.prod(group.lr for group in own) / math.prod(fans)
        decay.value[...] = math.prod(group.weight_decay for group in own)
    return {"rates": rates, "decays": decays}


def _check(owner: str, group: Group, parameters: "Parameters", layers: int) -> None:
    """Refuses a group that names a layer or a kind that there is not, or has no parameters, unless it only exempts from
    decay: then there is nothing to exempt."""
    names: Any = group.layers or (), group.kinds or ()
    kinds = {"weight", "bias", "gamma", "beta", *(entry.kind for entry in parameters.entries)}
    wrong = [number for number in names[0] if not -layers <= number < layers]
    wrong += [kind for kind in names[1] if kind not in kinds]
    nothing = not any(group.has(entry, layers) for entry in parameters.entries)
    if wrong or (nothing and (group.lr != 1 or group.weight_decay != 0)):
        what = f"{wrong[0]!r} of {group}" if wrong else group
        known = ", ".join(f"{entry.place}: {entry.kind}" for entry in parameters.entries)
        raise ValueError(f"{owner}(groups): the model has no parameters for {what}; it has {known}")
