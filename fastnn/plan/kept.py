"""Plans that are kept: an architecture is compiled once, however many models of it are trained."""

from collections.abc import Callable, Hashable
from types import FunctionType
from typing import Any

import numpy as np

from ..described import values
from ..kernels.table import float_word
from .plan import Plan

_PLANS: dict[Hashable, Plan] = {}
_MOST = 64


def kept(of: tuple[Any, ...], make: Callable[[], Plan]) -> Plan:
    """The plan that was made last for the same, or a new one.

    of   all that the plan follows from; where there is something of a user's in it, nothing is kept
    """
    try:
        key = _exactly(of)
    except TypeError:
        return make()
    found = _PLANS.get(key)
    if found is None:
        found = _PLANS[key] = make()
        for oldest in list(_PLANS)[:-_MOST]:
            _PLANS.pop(oldest, None)  # another thread may have been here
    return found


def _exactly(value: Any) -> Hashable:
    """What equals that of another value only if nothing differs: 0.0 and -0.0 do, True and 1.

    TypeError for what a user has made: an object may have more in it than the fields that it is compared by, and a
    function may hold anything alive.
    """
    kind = type(value)
    if kind is str or value is None:
        return value  # type: ignore[no-any-return]
    if kind is float:
        return kind, float_word(value)
    if kind is bool or kind is int:
        return kind, value
    if kind is tuple:
        return tuple(map(_exactly, value))
    if isinstance(value, np.dtype):
        return value
    of = value if isinstance(value, (type, FunctionType)) else kind
    if not of.__module__.startswith("fastnn.") or getattr(of, "__closure__", None):
        raise TypeError(f"{value!r} is a user's")
    return value if of is value else (kind, *map(_exactly, values(value)))
