"""Plans that are kept: an architecture is compiled once, however many models of it are trained."""

from collections.abc import Callable, Hashable

from .plan import Plan

_PLANS: dict[Hashable, Plan] = {}
_MOST = 64


def kept(of: Hashable, make: Callable[[], Plan]) -> Plan:
    """The plan that was made last for the same, or a new one.

    of   all that the plan follows from; where it cannot be hashed, nothing is kept
    """
    try:
        found = _PLANS.get(of)
    except TypeError:
        return make()
    if found is None:
        found = make()
        # An operation that a user has made may hold anything alive.
        if all(call.operation.address is None for call in found.calls):
            _PLANS[of] = found
            for oldest in list(_PLANS)[:-_MOST]:
                _PLANS.pop(oldest, None)  # another thread may have been here
    return found
