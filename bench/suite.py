"""`pytest --benchmark`: the benchmarks of this folder under pytest-benchmark, in place of the tests.

    pytest --benchmark                     each benchmark in short, a few minutes
    pytest --benchmark --benchmark-full    all rows, all rounds, beside the peers that are installed
    pytest --benchmark -k adam             rows whose name contains the text

A row (an operation in a cache, a network, an optimizer) is checked and measured once, its candidates in turns, by the
functions of the module that its command `python -m bench....` uses. Each candidate is then a test of its own, which
hands its rounds to pytest-benchmark: groups are rows, `extra_info` says how much faster than NumPy it is and how exact.
A row whose answers are out of tolerance is not timed, and its candidates fail.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from statistics import median
from typing import Any

import pytest

from bench import environment

Row = dict[str, Any]


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("fastnn")
    group.addoption("--benchmark", action="store_true", help="run the benchmarks in bench/ instead of the tests")
    group.addoption("--benchmark-full", action="store_true", help="with --benchmark: all rows, all rounds, all peers")


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config: pytest.Config) -> None:
    """Before anything is collected: a clean environment, and other tests than usual."""
    if not config.option.benchmark:
        return
    environment.prepare()
    config.option.benchmark_skip = False
    config.option.benchmark_quiet = not config.option.benchmark_verbose  # the tables below say more
    if config.args_source is pytest.Config.ArgsSource.TESTPATHS:
        config.args = [str(environment.ROOT / "bench")]


def pytest_report_header(config: pytest.Config) -> list[str]:
    return environment.describe(environment.header()).splitlines() if config.option.benchmark else []


class Clock:
    """A timer that shows rounds which were measured before."""

    def __init__(self) -> None:
        self._now = 0.0

    def __call__(self) -> float:
        return self._now

    def pass_by(self, seconds: float) -> None:
        self._now += seconds


CLOCK = Clock()
_TABLES: dict[str, Callable[[], str]] = {}
"""By the title: what is printed at the end, if a row was measured."""


class Rows:
    """The rows of one benchmark that were measured in this run.

    title     above the table
    measure   (*key) -> a row, whose "wrong" says which candidates are out of tolerance, and by how much
    table     rows -> text
    """

    def __init__(self, title: str, measure: Callable[..., Row], table: Callable[[Sequence[Row]], str]) -> None:
        self._title, self._measure, self._table = title, measure, table
        self._rows: dict[tuple[Hashable, ...], Row] = {}

    def row(self, *key: Hashable) -> Row:
        """The row, measured when it is asked for first."""
        if key not in self._rows:
            _TABLES[self._title] = lambda: self._table(list(self._rows.values()))
            self._rows[key] = self._measure(*key)
        return self._rows[key]


Report = Callable[[Row, str, str], None]


@pytest.fixture
def report(benchmark: Any) -> Report:
    """Hands the rounds of one candidate of a row to pytest-benchmark: report(row, name of the row, candidate)."""

    def hand_over(row: Row, name: str, candidate: str) -> None:
        benchmark.group = name
        benchmark.extra_info["candidate"] = candidate
        if row["wrong"]:
            benchmark.extra_info["wrong"] = row["wrong"]
            pytest.fail(f"{name}: answers out of tolerance: {row['wrong']}")
        rounds = row["rounds"][candidate]
        benchmark.extra_info["disturbed"] = row["disturbed"][candidate]
        benchmark.extra_info["numpy_ratio"] = median(row["rounds"]["NumPy"]) / median(rounds)
        if "errors" in row and candidate in row["errors"]:
            benchmark.extra_info["error"] = row["errors"][candidate]
        left = iter(rounds)
        benchmark.pedantic(lambda: CLOCK.pass_by(next(left)), rounds=len(rounds))

    return hand_over


def pytest_terminal_summary(terminalreporter: Any) -> None:
    from bench import timing

    for title, table in _TABLES.items():
        terminalreporter.section(title)
        terminalreporter.write_line(table())
        terminalreporter.write_line(timing.LEGEND)
