"""One thread for each trial, those of libraries included."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def one_thread_each() -> Iterator[None]:
    """Keeps the pools of BLAS and OpenMP in this process, such as those below SciPy and scikit-learn, at one thread,
    where threadpoolctl is installed. fastnn's own models have the threads that `fit` says, by default one."""
    try:
        from threadpoolctl import threadpool_limits
    except ImportError:
        yield
        return
    with threadpool_limits(1):
        yield
