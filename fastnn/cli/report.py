"""The look of what the commands print: a label, then text, the following lines under the text."""

import contextlib
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from fastnn.cli.errors import CommandError

_WIDTH = 12
_CLOSED_PIPE = 141  # the exit code that shells give a program ended by SIGPIPE


def say(label: str, *lines: str) -> None:
    """One labelled paragraph on standard output; nothing without lines."""
    for line in lines:
        print(f"{label:<{_WIDTH}}{line}")
        label = ""


def note(lines: Iterable[str]) -> None:
    """Remarks on the data, under the label of the paragraph before."""
    say("", *(f"- {line}" for line in lines))


def count(number: int, thing: str) -> str:
    """ "1 row", "1,437 rows"."""
    return f"{number:,} {thing}{'' if number == 1 else 's'}"


def significant(value: float) -> str:
    """A measured value in at most six figures, thousands grouped."""
    return f"{value:,.0f}" if abs(value) >= 1e5 else f"{value:,.6g}"


class Steady:
    """A text stream that is only a report: once it cannot be written (a closed pipe, a full disk), nothing is.

    failure   the first error, None so far
    """

    def __init__(self, stream: Any) -> None:
        self.stream = stream
        self.failure: OSError | None = None

    def write(self, text: str) -> int:
        """Write, or note why not."""
        if self.failure is None:
            try:
                self.stream.write(text)
            except OSError as error:
                self._give_up(error)
        return len(text)

    def flush(self) -> None:
        """Flush, or note why not."""
        if self.failure is None:
            try:
                self.stream.flush()
            except OSError as error:
                self._give_up(error)

    def _give_up(self, error: OSError) -> None:
        self.failure = error
        discard(self.stream)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)


def discard(stream: Any) -> None:
    """Lets what is still in the buffer go nowhere, else Python would complain about it while it closes the stream."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)


@contextlib.contextmanager
def steady_output() -> Iterator[list[Steady]]:
    """Standard output and standard error that cannot stop the work; gives the streams, to ask for failures."""
    streams = [Steady(stream) for stream in (sys.stdout, sys.stderr) if stream is not None]
    old = sys.stdout, sys.stderr
    for name in ("stdout", "stderr"):
        for stream in streams:
            if stream.stream is getattr(sys, name):
                setattr(sys, name, stream)
    try:
        yield streams
    finally:
        for stream in streams:
            stream.flush()
        sys.stdout, sys.stderr = old


def carried_out(work: Callable[[], None]) -> int:
    """Does work whose output is only a report, to its end even where that cannot be printed; returns the exit code."""
    with steady_output() as streams:
        work()
    failure = next((stream.failure for stream in streams if stream.failure is not None), None)
    if isinstance(failure, BrokenPipeError):
        return _CLOSED_PIPE
    if failure is not None:
        raise CommandError(f"the report could not be printed: {(failure.strerror or str(failure)).lower()}", code=1)
    return 0
