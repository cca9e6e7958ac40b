"""One thread for each trial, those of libraries included."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

_LOCK = threading.Lock()
_HOLDERS = 0
_BEFORE: tuple[Any, dict[str, str | None]]
_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


@contextmanager
def one_thread_each() -> Iterator[None]:
    """Keeps the pools of BLAS and OpenMP in this process, such as those below SciPy and scikit-learn, at one thread,
    where threadpoolctl is installed; libraries that are loaded meanwhile begin with one, by the environment. fastnn's
    own models have the threads that `fit` says, by default one.

    Most pools and the environment are the whole process's: where several sweeps or trials overlap, the first to come
    limits them and the last to leave sets them back. OpenMP's count is that of each thread which calls it.
    """
    global _HOLDERS, _BEFORE
    with _LOCK:
        if _HOLDERS == 0:
            _take_control()
            _BEFORE = _limited(), {name: os.environ.get(name) for name in _VARIABLES}
            os.environ.update(dict.fromkeys(_VARIABLES, "1"))
        _HOLDERS += 1
    own = _limited()
    try:
        yield
    finally:
        if own is not None:
            own.restore_original_limits()
        with _LOCK:
            _HOLDERS -= 1
            if _HOLDERS == 0:
                _set_back(*_BEFORE)


def one_thread_here() -> None:
    """The same for a thread of ours that does nothing else until it ends, within `one_thread_each` of another."""
    _limited()


def _limited() -> Any:
    """The pools that there are, as they were; None without threadpoolctl."""
    try:
        from threadpoolctl import threadpool_limits
    except ImportError:
        return None
    return threadpool_limits(1)


def _set_back(limits: Any, variables: dict[str, str | None]) -> None:
    if limits is not None:
        _take_control()
        limits.restore_original_limits()
    for name, value in variables.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value


def _take_control() -> None:
    """threadpoolctl (since 3.8) lets the first thread that limits OpenBLAS do so alone, and says nothing to others.
    Here the thread that comes first need not be the one that leaves last."""
    try:
        from threadpoolctl import OpenBLASController
    except ImportError:
        return
    if hasattr(OpenBLASController, "clear_controlling_thread"):
        OpenBLASController.clear_controlling_thread(force=True)
