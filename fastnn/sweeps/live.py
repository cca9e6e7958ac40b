"""The table that shows a sweep on a terminal while it runs, by rich (the extra `sweeps`)."""

from __future__ import annotations

import contextlib
import math
import sys
import time
from collections import deque
from typing import Any, TextIO

from .space import Space
from .view import Lines, Progress, duration

_APART = 0.2  # seconds between two drawings, at least
_SHARE = 50  # and so many times what the last one took: 2% of one core at most


def kind_of_view() -> type[Progress]:
    """`Table` where rich is installed and the terminal can be drawn on, else `Lines`."""
    try:
        from rich.console import Console
    except ImportError:
        return Lines
    console = Console(file=sys.stderr)
    return Table if console.is_terminal and not console.is_dumb_terminal else Lines


class Table(Progress):
    """Trials done and running, the best configurations and the time left, drawn a few times a second.

    It is drawn from the sweep's own thread alone. What the user's functions print meanwhile is held until the next
    drawing and stands above the table.

    console   of rich; None: standard error
    """

    def __init__(
        self, space: Space, total: int | None, metric: str, larger_is_better: bool, console: Any = None
    ) -> None:
        from rich.console import Console
        from rich.live import Live

        super().__init__(space, total, metric, larger_is_better)
        self._next = 0.0
        self._console = console or Console(file=sys.stderr)
        self._live = Live(
            console=self._console, auto_refresh=False, redirect_stdout=False, redirect_stderr=False,
            vertical_overflow="crop",
        )  # fmt: skip
        self._streams = sys.stdout, sys.stderr
        # A file that standard output goes to gets what is printed as ever.
        watched = [name for name in ("stdout", "stderr") if _is_terminal(getattr(sys, name))]
        self._held = {name: Held(getattr(sys, name)) for name in watched}
        self._live.start()
        self._console.show_cursor(True)  # a sweep that is killed leaves no terminal without one
        for name, held in self._held.items():
            setattr(sys, name, held)

    def tick(self) -> None:
        """As `View.tick`."""
        now = time.monotonic()
        if now >= self._next:
            self._draw()
            self._next = now + max(_APART, _SHARE * (time.monotonic() - now))

    def close(self) -> None:
        """As `View.close`; the terminal is as it was, with the last table on it."""
        try:
            self.running.clear()
            self._draw()
        finally:
            sys.stdout, sys.stderr = self._streams
            try:
                self._live.stop()
            finally:
                for held in self._held.values():
                    held.release()

    def _draw(self) -> None:
        from rich.text import Text

        printed = "".join(held.lines() for held in self._held.values())
        if printed:
            self._console.print(Text.from_ansi(printed.removesuffix("\n")), soft_wrap=True)
        self._live.update(self.drawn(), refresh=True)

    def drawn(self) -> Any:
        """The table, as rich shows it."""
        from rich.console import Group
        from rich.progress_bar import ProgressBar
        from rich.text import Text

        passed = duration(time.monotonic() - self.begin)
        parts: list[Any] = [Text(f"fastnn sweep: {self.text()}, {passed} passed", style="bold", no_wrap=True)]
        parts[0].overflow = "ellipsis"
        if self.total:
            parts.append(ProgressBar(self.total, min(self.done, self.total), width=min(60, self._console.width)))
        # Rows that are left beside titles and what was said so far, on a terminal that may be a small one.
        room = max(2, self._console.height - 9)
        best, running = self.best[: max(1, room // 2)], [*self.running.items()]
        if best:
            parts += [Text(), self._best_table(best)]
        if running:
            parts += [Text(), self._running_table(running[: max(1, room - len(best))])]
        return Group(*parts)

    def _best_table(self, best: list[Any]) -> Any:
        table = _table("best", self.metric, "configuration")
        for rank, standing in enumerate(best, start=1):
            spread = "" if math.isnan(standing.std) else f" ± {standing.std:.2g}"
            style = "green" if rank == 1 else None
            table.add_row(*_cells(str(rank), f"{standing.mean:.6g}{spread}", self.said(standing.config)), style=style)
        return table

    def _running_table(self, running: list[Any]) -> Any:
        table, now = _table("running", "time", "epoch", self.metric, "configuration"), time.monotonic()
        for number, trial in running:
            step, value = (str(trial.step), f"{trial.value:.6g}") if trial.step else ("", "")
            table.add_row(*_cells(f"#{number}", duration(now - trial.begin), step, value, self.said(trial.config)))
        return table


def _table(*titles: str) -> Any:
    """An empty table without lines whose last column takes what is left of the width."""
    from rich.table import Table as Rows
    from rich.text import Text

    rows = Rows(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for title in titles:
        last = title is titles[-1]
        rows.add_column(Text(title), justify="left" if last else "right", no_wrap=True, overflow="ellipsis")
    return rows


def _cells(*texts: str) -> list[Any]:
    """Texts as they are: rich would take [...] for markup."""
    from rich.text import Text

    return [Text(text) for text in texts]


def _is_terminal(stream: Any) -> bool:
    return stream is not None and stream.isatty()


class Held:
    """Stands for a stream to a terminal; what is written is kept until it is asked for. From any thread.

    It calls itself no terminal, so that nothing else is drawn on it, such as the table of a sweep within a trial.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream: TextIO = stream
        self._parts: deque[str] = deque()
        self._rest = ""
        self._is_released = False

    def write(self, text: str) -> int:
        """Keeps a text."""
        if self._is_released:  # somebody has kept the stream longer than the sweep lasted
            return self._stream.write(text)
        self._parts.append(text)
        return len(text)

    def writelines(self, lines: Any) -> None:
        """Keeps texts."""
        self.write("".join(lines))

    def flush(self) -> None:
        """Nothing: what is held is shown soon."""

    def isatty(self) -> bool:
        """No."""
        return False

    def lines(self) -> str:
        """The whole lines that were written since the last time; of a line written over itself, what it says now."""
        parts = [self._rest]
        with contextlib.suppress(IndexError):
            while True:
                parts.append(self._parts.popleft())
        whole, newline, rest = "".join(parts).rpartition("\n")
        self._rest = _last_said(rest) + "\r" * rest.endswith("\r")
        return "".join(f"{_last_said(line)}\n" for line in whole.split("\n")) if newline else ""

    def release(self) -> None:
        """Hands on the rest, and from now on everything."""
        self._is_released = True
        left = self.lines() + self._rest
        if left:
            self._stream.write(left)
            self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def _last_said(line: str) -> str:
    """What is left to see of a line that was written over itself."""
    return next((part for part in reversed(line.split("\r")) if part), "")
