"""Ctrl-C at a moment that suits: the weights of a training, its moments and its history are put back together; a
trial's line, its place in the result and in the study are written together or not at all, and no storage of Optuna's is
left in the midst of a transaction."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def unbroken() -> Iterator[None]:
    """Ctrl-C within is heard at the end of the block; a second one at once."""
    before: Any = signal.getsignal(signal.SIGINT)
    # Other threads do not hear it; it may be ignored, or nobody in Python listens.
    if threading.current_thread() is not threading.main_thread() or not callable(before):
        yield
        return
    heard: list[Any] = []

    def hear(*given: Any) -> None:
        if heard:
            before(*given)
        heard.append(given)

    signal.signal(signal.SIGINT, hear)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
        if len(heard) == 1:
            before(*heard[0])
