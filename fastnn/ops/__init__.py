"""Every kernel on plain NumPy arrays, with checks: `fastnn.ops.<name>(..., backend="auto")`.

The names, the order of the arguments and what is written where are those of the reference kernels;
`help(fastnn.ops.adam_update)` shows them. Arrays may have any strides and byte order; those that are written are
written in place, and nothing is returned:

    ops.sgd_update(param, grad, lr=0.01)

What does not fit is refused before anything is changed: TypeError for a wrong kind of argument, ValueError for a wrong
value or shape. An array that is read may overlap one that is written and counts as it was before the call.

Compiled kernels work directly on arrays whose contiguous axis is the last one and a whole number of vectors long (16
float32 at AVX-512); others are copied to padded memory and back.

`bind` takes the same arguments, checks them once and returns a `BoundCall`, which runs the operation on the same arrays
again and again, for a fraction of a microsecond over the kernel's own time:

    call = ops.sgd_update.bind(param, grad, lr=0.01)
    call()
    call(lr=0.005)
"""

import functools
import inspect
from collections.abc import Mapping
from typing import Any, Protocol, cast

from .. import checks
from ..kernels import OPERATIONS, backends
from ..kernels.table import REQUIRED
from .arguments import check
from .calls import BoundCall
from .direct import Direct


class Function(Protocol):
    """What `fastnn.ops.<name>` is."""

    def __call__(self, *args: Any, backend: str = "auto", **kwargs: Any) -> None:
        """Runs the operation once."""

    def bind(self, *args: Any, backend: str = "auto", **kwargs: Any) -> BoundCall:
        """Checks the arguments of a call and prepares it, to be run many times."""


def __getattr__(name: str) -> Function:
    if name not in OPERATIONS:
        raise AttributeError(f"fastnn.ops: {checks.unknown_name('operation', name, OPERATIONS)}")
    return _function(name)


def __dir__() -> list[str]:
    return sorted(OPERATIONS)


@functools.cache
def _function(name: str) -> Function:
    entry = OPERATIONS[name]
    operands, signature = entry.operands, inspect.signature(entry.reference)
    names = {*operands}
    usual = {
        p.name: p.default
        for p in signature.parameters.values()
        if p.default is not p.empty and p.default is not REQUIRED
    }
    direct = Direct(entry)

    def bind(*args: Any, backend: str = "auto", **kwargs: Any) -> BoundCall:
        arguments: Mapping[str, Any] = {**dict(zip(operands, args, strict=False)), **kwargs}
        if len(args) + len(kwargs) != len(operands) or arguments.keys() != names:
            try:
                given = signature.bind(*args, **kwargs)
                given.apply_defaults()
                arguments = given.arguments
                missing = [operand for operand in operands if arguments[operand] is REQUIRED]
                if missing:
                    raise TypeError(f"missing a required argument: {missing[0]!r}")
            except TypeError as error:
                raise TypeError(f"{name}: {error}; expected {name}({', '.join(operands)})") from None
        return BoundCall(backends.resolve_for(entry, backend), entry, arguments, check(entry, arguments))

    @functools.wraps(entry.reference)
    def run(*args: Any, backend: str = "auto", **kwargs: Any) -> None:
        all_given = kwargs if len(args) + len(kwargs) == len(operands) else {**usual, **kwargs}
        try:
            values = (*args, *[all_given[operand] for operand in operands[len(args) :]])
        except KeyError:
            pass  # bind() says what is wrong
        else:
            known = len(kwargs) == sum(operand in kwargs for operand in operands[len(args) :])
            if known and len(values) == len(operands) and direct.run(backends.resolve_for(entry, backend), values):
                return
        bind(*args, backend=backend, **kwargs)()

    last = inspect.Parameter("backend", inspect.Parameter.KEYWORD_ONLY, default="auto")
    whole = signature.replace(parameters=[*signature.parameters.values(), last])
    bind.__doc__ = f"Checks the arguments of {name} once; the call that is returned runs it on the same arrays."
    bind.__signature__ = run.__signature__ = whole  # type: ignore[attr-defined]
    run.bind = bind  # type: ignore[attr-defined]
    return cast(Function, run)
