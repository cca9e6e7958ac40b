"""Ctrl-C during a training: the first one ends it, further ones do not take away what it has reached."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from fastnn.callbacks import Callback, Context


class Patience(Callback):
    """Hears one Ctrl-C, as a KeyboardInterrupt, and only until the training ends; later ones are ignored.

    As the first callback of a training it stops hearing before the best weights are put back.
    """

    def __init__(self) -> None:
        self.hears = True

    def on_train_end(self, context: Context) -> None:
        """From here on there is something to save."""
        del context
        self.hears = False

    def handle(self, number: int, frame: FrameType | None) -> None:
        """The signal's handler."""
        if self.hears:
            self.hears = False
            signal.default_int_handler(number, frame)


@contextmanager
def one_interrupt() -> Iterator[Patience]:
    """Python's own handling of Ctrl-C until the first one, or until the training is over, then none inside the block.

    Where Ctrl-C is handled otherwise already (ignored in the background of a shell; other threads), it stays so.
    """
    patience = Patience()
    before: Any = signal.getsignal(signal.SIGINT)
    ours = before is signal.default_int_handler and threading.current_thread() is threading.main_thread()
    if ours:
        signal.signal(signal.SIGINT, patience.handle)
    try:
        yield patience
    finally:
        if ours:
            signal.signal(signal.SIGINT, before)
