"""Reports from trainings in other processes, on this machine or another: a port of the sweep that answers each with why
the training is to end, or None."""

from __future__ import annotations

import contextlib
import itertools
import math
import secrets
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Client, Connection, Listener
from typing import Any, NamedTuple

from .job import Decide


class Address(NamedTuple):
    """Where a trial reports, and by which number it is known there."""

    host: str
    port: int
    key: bytes
    number: int


class Reports:
    """The port, while the block lasts. Only those who were sent its key are heard."""

    def __init__(self, host: str) -> None:
        self._host, self._key = host, secrets.token_bytes(16)
        self._decides: dict[int, Decide] = {}
        self._numbers = itertools.count()

    def __enter__(self) -> Reports:
        self._listener = Listener((self._host, 0), authkey=self._key)
        threading.Thread(target=self._accept, name="fastnn sweep reports", daemon=True).start()
        return self

    def __exit__(self, *error: object) -> None:
        self._listener.close()

    @contextmanager
    def of(self, decide: Decide) -> Iterator[Address]:
        """Where a trial reports, while it lasts."""
        number, (host, port) = next(self._numbers), self._listener.address
        self._decides[number] = decide
        try:
            yield Address(str(host), int(port), self._key, number)
        finally:
            del self._decides[number]

    def _accept(self) -> None:
        while True:
            try:
                connection = self._listener.accept()
            except (OSError, EOFError):
                if self._is_closed():
                    return
                continue
            except Exception:  # a wrong key
                continue
            threading.Thread(target=self._answer, args=(connection,), daemon=True).start()

    def _is_closed(self) -> bool:
        try:
            return self._listener.address is None
        except (OSError, AttributeError):
            return True

    def _answer(self, connection: Connection) -> None:
        with contextlib.suppress(EOFError, OSError), connection:
            while True:
                number, step, value = connection.recv()
                decide = self._decides.get(number)
                connection.send("the sweep was stopped" if decide is None else decide(step, value))


@contextmanager
def decide_by(address: Address | None) -> Iterator[Decide]:
    """What a training asks after each epoch: the sweep by its port, or nobody."""
    if address is None:
        yield lambda step, value: None
        return
    connection: Any = None

    def decide(step: int, value: float) -> str | None:
        nonlocal connection
        if step == 0 or math.isnan(value):
            return None
        if connection is None:
            connection = Client((address.host, address.port), authkey=address.key)
        connection.send((address.number, step, value))
        answer: str | None = connection.recv()
        return answer

    try:
        yield decide
    finally:
        if connection is not None:
            connection.close()
