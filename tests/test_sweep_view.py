"""What a sweep shows while it runs: the table on a terminal, the lines elsewhere."""

import io
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("rich")

from rich.console import Console

import fastnn as fnn
from fastnn.sweeps import live, view
from fastnn.sweeps.live import Held, Table
from fastnn.sweeps.trials import Trial

SPACE = fnn.Space(lr=fnn.log_uniform(1e-4, 1e-1), mark=["[red]", "b"], fixed=3, seed=range(2))


def console(width: int = 100, height: int = 30) -> Console:
    return Console(file=io.StringIO(), force_terminal=True, width=width, height=height, color_system=None)


@pytest.fixture
def table() -> Iterator[Table]:
    made = Table(SPACE, 8, "val_loss", False, console())
    yield made
    made.close()


def shown(table: Table) -> list[str]:
    """The table's lines."""
    with (other := console(table._console.width, table._console.height)).capture() as capture:
        other.print(table.drawn())
    return [line.rstrip() for line in capture.get().splitlines()]


def screen(text: str) -> list[str]:
    """What a terminal shows in the end: lines, the cursor's ways up, lines that are erased."""
    lines, row = [""], 0
    for part in re.findall(r"\x1b\[[?\d;]*[A-Za-z]|\r|\n|[^\x1b\r\n]+", text):
        if part == "\n":
            row += 1
            lines += [""] * (row == len(lines))
        elif part.endswith("A") and part.startswith("\x1b"):
            row -= int(part[2:-1] or 1)
        elif part == "\x1b[2K":
            lines[row] = ""
        elif not part.startswith(("\x1b", "\r")):
            lines[row] += part
    return [line.rstrip() for line in lines]


def config(lr: float, seed: int, mark: str = "[red]") -> dict[str, Any]:
    return {"lr": lr, "mark": mark, "fixed": 3, "seed": seed}


def test_the_table_has_what_is_done_what_runs_and_the_best(table: Table) -> None:
    for number, (lr, seed, status, value) in enumerate(
        [(0.1, 0, "finished", 0.5), (0.1, 1, "finished", 0.7), (0.01, 0, "finished", 0.1), (0.01, 1, "diverged", 0.0),
         (0.02, 0, "pruned", 0.1)]
    ):  # fmt: skip
        table.started(number, config(lr, seed))
        table.found(Trial(number, config(lr, seed), value=value, status=status))
    table.started(5, config(0.003, 0, "b"))
    table.started(6, config(0.003, 1, "b"))
    table.reported(5, 3, 0.25)
    lines = shown(table)
    expected = r"fastnn sweep: 5 of 8 trials done, 2 running, 1 diverged, 1 pruned, best 0\.6, 0:00 left, 0:00 passed"
    assert re.fullmatch(expected, lines[0])
    rows = [re.split(r" {2,}", line.strip()) for line in lines]
    assert ["best", "val_loss", "configuration"] in rows
    assert ["1", "0.6 ± 0.14", "lr 0.1, mark [red]"] in rows
    assert ["running", "time", "epoch", "val_loss", "configuration"] in rows
    assert ["#5", "0:00", "3", "0.25", "lr 0.003, mark b, seed 0"] in rows
    assert ["#6", "0:00", "lr 0.003, mark b, seed 1"] in rows
    assert len(lines) == 8, "a configuration that did not finish all of its repeats is not among the best"


def test_the_best_are_few_and_those_of_all_trials() -> None:
    values = [float(7 * number % 50) for number in range(50)]
    for larger in (False, True):
        seen = view.Progress(fnn.Space(a=fnn.integers(0, 49)), None, "loss", larger)
        for number, value in enumerate(values):
            seen.found(Trial(number, {"a": number}, value=value))
        assert [standing.mean for standing in seen.best] == sorted(values, reverse=larger)[:5]
        assert seen.best[0].config == {"a": values.index(seen.best[0].mean)}


def test_a_small_terminal_is_not_overrun() -> None:
    table = Table(SPACE, None, "loss", False, console(40, 12))
    for number in range(20):
        table.started(number, config(0.1, number))
        table.found(Trial(100 + 2 * number, config(number, 0), value=1.0))
        table.found(Trial(101 + 2 * number, config(number, 1), value=1.0))
    lines = shown(table)
    assert len(lines) < 12
    assert max(map(len, lines)) <= 40
    table.close()


def test_drawing_is_rare_however_many_trials_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    table = Table(SPACE, 1000, "loss", False, console())
    drawn, now = [], time.monotonic()
    monkeypatch.setattr(Table, "_draw", lambda table: drawn.append(now))
    monkeypatch.setattr(live.time, "monotonic", lambda: now)
    for number in range(1000):
        now += 0.001
        table.found(Trial(number, config(0.1, number), value=1.0))
    assert 3 <= len(drawn) <= 6
    monkeypatch.undo()
    table.close()


def test_what_is_printed_stands_whole_above_the_table(capsys: pytest.CaptureFixture[str]) -> None:
    table = Table(SPACE, 8, "loss", False, console())
    held = table._held["stderr"] = Held(io.StringIO())
    for number in range(3):
        table.started(number, config(0.1, number))
        held.write(f"[bold]line {number}\nand \x1b[31mhalf")
        table._draw()
        held.write(" of another\n")
    table.close()
    text = table._console.file.getvalue()
    lines = screen(text)
    assert lines[:6] == ["[bold]line 0", "and half of another", "[bold]line 1", "and half of another", "[bold]line 2",
                         "and half of another"]  # fmt: skip
    assert sum(line.startswith("fastnn sweep:") for line in lines) == 1
    assert text.count("\x1b[?25h") >= 1
    assert text.rindex("\x1b[?25h") > text.rindex("\x1b[?25l")
    assert capsys.readouterr() == ("", "")


def test_a_line_written_over_itself_is_what_it_says_last() -> None:
    held, stream = Held(out := io.StringIO()), out
    for part in ("1%\r", "\r2%", "\r3%\n", "done\r\n", "x\n\ny"):
        held.write(part)
    assert held.lines() == "3%\ndone\nx\n\n"
    assert held.lines() == ""
    assert not held.isatty()
    held.release()
    held.write("z")
    assert stream.getvalue() == "yz"


def test_streams_are_given_back_even_if_drawing_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    before = sys.stdout, sys.stderr
    table = Table(SPACE, 8, "loss", False, console())
    sys.stderr = Held(sys.stderr)

    def fails(table: Table) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Table, "_draw", fails)
    with pytest.raises(KeyboardInterrupt):
        table.close()
    assert (sys.stdout, sys.stderr) == before
    assert table._console.file.getvalue().rstrip().endswith("\x1b[?25h")


def test_without_rich_or_a_terminal_there_are_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    with view.view_of(True, SPACE, 8, "loss", False) as seen:
        assert type(seen) is view.Lines
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    monkeypatch.setenv("TERM", "dumb")
    assert live.kind_of_view() is view.Lines
    monkeypatch.setenv("TERM", "xterm")
    assert live.kind_of_view() is Table
    monkeypatch.setitem(sys.modules, "rich.console", None)
    assert live.kind_of_view() is view.Lines
    with view.view_of(True, SPACE, 8, "loss", False) as seen:
        assert type(seen) is view.Lines


def test_reports_of_trials_in_threads_and_in_processes_reach_the_view(monkeypatch: pytest.MonkeyPatch) -> None:
    import sweeping

    for executor in ("threads", "processes"):
        heard: list[tuple[int, int, float]] = []
        monkeypatch.setattr(view.View, "reported", lambda self, *given, heard=heard: heard.append(given))
        fnn.sweep(
            sweeping.curve_of, fnn.Space(value=[1.0]), budget=3, executor=executor, workers=1, progress=False
        )  # fmt: skip
        # A process whose reports decide nothing says them now and then.
        assert heard[0] == (0, 1, 1.0)
        assert len(heard) == 3 if executor == "threads" else len(heard) >= 1


SWEEP = """
import sys, time
import fastnn as fnn
def train(config, budget, report):
    for step in range(1000):
        report(1.0)
        time.sleep(0.01)
        if config["value"] < 2:
            break
    print("value", config["value"])
    print("to", "stderr", file=sys.stderr)
    return config["value"]
result = fnn.sweep(train, fnn.Space(value=[0.0, 1.0, 2.0]), workers=1)
print("result", result.stopped, len(result.trials))
"""


@pytest.mark.skipif(not hasattr(os, "openpty"), reason="takes a pseudo-terminal")
def test_a_terminal_is_left_clean_after_ctrl_c(tmp_path: Path) -> None:
    parent, child = os.openpty()
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "100", "LINES": "30", "NO_COLOR": "1"}
    process = subprocess.Popen(
        [sys.executable, "-c", SWEEP], stdin=child, stdout=child, stderr=child, env=environment, start_new_session=True
    )
    os.close(child)
    text = b""
    while True:
        try:
            part = os.read(parent, 65536)
        except OSError:  # the other end is closed
            break
        if not part:
            break
        if b"#2" in part and b"#2" not in text:
            process.send_signal(2)
        text += part
    os.close(parent)
    assert process.wait() == 0
    lines = screen(text.decode())
    assert [line for line in lines if line.startswith("value")] == ["value 0.0", "value 1.0"]
    assert lines.count("to stderr") == 2
    assert lines.count("fastnn: the sweep was interrupted; trials that are done are kept") == 1
    assert sum(line.startswith("fastnn sweep: 2 of 3 trials done, best 0") for line in lines) == 1
    assert "result interrupted 2" in lines
    assert text.rindex(b"\x1b[?25h") > text.rindex(b"\x1b[?25l")
