"""Reports from trainings in other processes, on this machine or another: a port of the sweep that answers each with why
the training is to end, or None.

Both sides prove that they know the sweep's key before anything else is read, by the protocol of multiprocessing. A
training asks after each epoch where the sweep prunes, else twice a second, so that it is seen and ends when the sweep
is stopped: one that is shorter than that never connects.
"""

from __future__ import annotations

import contextlib
import itertools
import math
import os
import secrets
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection, answer_challenge, deliver_challenge
from typing import NamedTuple

from .job import CANCELLED, Decide

HERE = "127.0.0.1"
BEGINS = -1  # the step that a training reports which must not be begun too often
_APART = 0.5  # seconds between two questions of a training whose epochs need not be reported
_PATIENCE = 10.0  # seconds to connect, and to prove that one knows the key


class Address(NamedTuple):
    """Where a trial reports, by which number it is known there, and whether it is to report every epoch."""

    host: str
    port: int
    key: bytes
    number: int
    watched: bool


class Reports:
    """The port, while the block lasts. Only those who were sent its key are heard.

    host      of this machine, as the workers reach it
    watched   whether trainings have to report every epoch
    """

    def __init__(self, host: str, watched: bool) -> None:
        self._host, self._watched, self._key = host, watched, secrets.token_bytes(32)
        self._decides: dict[int, Decide] = {}
        self._numbers = itertools.count()
        self._sockets: set[socket.socket] = set()
        self._lock, self._closed = threading.Lock(), False

    def __enter__(self) -> Reports:
        family = socket.AF_INET6 if ":" in self._host else socket.AF_INET
        self._listener = socket.create_server((self._host, 0), family=family, backlog=128)
        self._port = int(self._listener.getsockname()[1])
        _LISTENING.add(self._listener)
        self._thread = threading.Thread(target=self._accept, name="fastnn sweep reports", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        with self._lock:
            self._closed = True
            for connected in self._sockets:
                # Unlike closing, this wakes the thread that reads.
                with contextlib.suppress(OSError):
                    connected.shutdown(socket.SHUT_RDWR)
        with contextlib.suppress(OSError):  # `accept` is woken by a caller
            socket.create_connection((self._host, self._port), 1.0).close()
        self._thread.join(1.0)
        _LISTENING.discard(self._listener)
        self._listener.close()

    @contextmanager
    def of(self, decide: Decide) -> Iterator[Address]:
        """Where a trial reports, while it lasts."""
        number = next(self._numbers)
        self._decides[number] = decide
        try:
            yield Address(self._host, self._port, self._key, number, self._watched)
        finally:
            del self._decides[number]

    def _accept(self) -> None:
        while True:
            try:
                connected, _ = self._listener.accept()
            except OSError:
                if self._closed or self._listener.fileno() < 0:
                    return
                time.sleep(_APART)  # such as too many open files
                continue
            with self._lock:
                if self._closed:
                    connected.close()
                    return
                self._sockets.add(connected)
            # Each has its own thread from the start: one that says nothing keeps nobody else waiting.
            threading.Thread(target=self._serve, args=(connected,), name="fastnn sweep report", daemon=True).start()

    def _serve(self, connected: socket.socket) -> None:
        try:
            with _connection(connected) as connection:
                _prove(connection, self._key, first=True)
                while True:
                    number, step, value = connection.recv()
                    decide = self._decides.get(number)
                    connection.send(CANCELLED if decide is None else decide(step, value))
        except Exception:  # a caller who knows no key, or talks garbage, or went away
            return
        finally:
            with self._lock:
                self._sockets.discard(connected)
            connected.close()


_LISTENING: set[socket.socket] = set()


def _leave_to_parent() -> None:
    """A process that was forked has the port too, which would seem to be open when its sweep is over: a training that
    asks there would wait for an answer that nobody gives."""
    for listener in list(_LISTENING):
        listener.close()


if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(after_in_child=_leave_to_parent)


def _connection(connected: socket.socket) -> Connection:
    """A connection of its own over a socket."""
    connected.settimeout(None)
    return Connection(connected.dup().detach())


def _prove(connection: Connection, key: bytes, first: bool) -> None:
    """Both sides show that they know the key; the one that listens asks first."""
    for turn in (deliver_challenge, answer_challenge) if first else (answer_challenge, deliver_challenge):
        if turn is answer_challenge and not connection.poll(_PATIENCE):
            raise TimeoutError("no answer")
        turn(connection, key)


@contextmanager
def decide_by(address: Address | None) -> Iterator[Decide]:
    """What a training asks after each epoch: the sweep by its port, or nobody."""
    if address is None:
        yield lambda step, value: None
        return
    with asking(address) as asked:
        yield asked


@contextmanager
def asking(address: Address) -> Iterator[Asking]:
    """The sweep, to be asked by its port."""
    asked = Asking(address)
    try:
        yield asked
    finally:
        asked.close()


class Asking:
    """Asks the sweep, once there is something to ask."""

    def __init__(self, address: Address) -> None:
        self._address = address
        self._connection: Connection | None = None
        self._next = time.monotonic() + _APART

    def __call__(self, step: int, value: float) -> str | None:
        report = self._address.watched and step > 0
        now = time.monotonic()
        if not report and now < self._next:
            return None
        self._next = now + _APART
        if self._connection is None:
            try:
                self._connection = self._connect()
            except Exception as error:
                return self._unreachable(error, report)
        try:
            self._connection.send((self._address.number, step, value))
            answer: str | None = self._connection.recv()
        except (EOFError, OSError):  # who asked for this training is no longer there
            return CANCELLED
        return answer

    def begin(self) -> str | None:
        """Asks at once whether the training may begin."""
        self._next = 0.0
        return self(BEGINS, math.nan)

    def _connect(self) -> Connection:
        connected = socket.create_connection(self._address[:2], _PATIENCE)
        with connected:
            connection = _connection(connected)
        try:
            _prove(connection, self._address.key, first=False)
        except BaseException:
            connection.close()
            raise
        return connection

    def _unreachable(self, error: Exception, report: bool) -> str | None:
        if isinstance(error, (ConnectionRefusedError, ConnectionResetError)) and self._address.host == HERE:
            return CANCELLED  # on the same machine there is no other reason
        if report:
            raise ConnectionError(
                f"the sweep at {self._address.host}:{self._address.port} cannot be reached from this worker ({error}); "
                "pruning needs that"
            )
        self._next = math.inf  # behind a firewall, a training that need not report goes on by itself
        return None

    def close(self) -> None:
        """Hangs up."""
        if self._connection is not None:
            self._connection.close()
