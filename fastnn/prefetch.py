"""Batches made ahead by a thread of their own."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from typing import Any

from fastnn import checks
from fastnn.batches import are_batches, epochs_of


class Prefetch:
    """Batches that a second thread reads or computes while native code, which holds no GIL, trains on those before.

        model.fit(fnn.Prefetch(shards), loss="mse", epochs=10)

    batches   a function that returns an iterator, or an iterable that begins anew, as `fit` takes them
    ahead     how many batches may wait to be used, at least 1

    The batches are those of `batches`, in their order; so are errors. It pays where making them waits for a disk, or is
    done by NumPy functions that release the GIL. They are made in another thread, which must not matter to what makes
    them, and before the steps on those in front of them. When an epoch is left early, the batch that is being made is
    waited for, and what made it is closed.
    """

    def __init__(self, batches: Any, ahead: int = 16) -> None:
        if not are_batches(batches) or (not callable(batches) and iter(batches) is batches):
            raise TypeError(
                f"Prefetch(batches={type(batches).__name__}): expected a function that returns an iterator, or an "
                "iterable that begins anew"
            )
        self.ahead = checks.integer("Prefetch", "ahead", ahead, minimum=1)
        self._open = epochs_of(batches)

    def __call__(self, epoch: int) -> Iterator[Any]:
        """The batches of an epoch, counted from 0."""
        waiting: queue.Queue[tuple[Any, BaseException | None]] = queue.Queue(self.ahead)
        left = threading.Event()
        thread = threading.Thread(target=self._make, args=(epoch, waiting, left), name="fastnn.Prefetch", daemon=True)
        thread.start()
        try:
            while True:
                item, error = waiting.get()
                if isinstance(error, _End):
                    return
                if error is not None:
                    raise error
                yield item
        finally:
            left.set()
            while not waiting.empty():  # the thread may be waiting for a place
                waiting.get()
            thread.join()

    def _make(self, epoch: int, waiting: queue.Queue[Any], left: threading.Event) -> None:
        iterator = None
        try:
            iterator = self._open(epoch)
            for item in iterator:
                waiting.put((item, None))
                if left.is_set():
                    return
            end: BaseException = _End()
        except BaseException as error:  # raised again where the batches are used
            end = error
        finally:
            if hasattr(iterator, "close"):
                iterator.close()  # type: ignore[union-attr]
        waiting.put((None, end))


class _End(Exception):
    """Stands behind the last batch."""
