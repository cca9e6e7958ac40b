"""`pytest --benchmark`: the benchmarks of this folder under pytest-benchmark, in place of the tests.

    pytest --benchmark                     each benchmark in short, a few minutes
    pytest --benchmark --benchmark-full    all rows, all rounds, beside the peers that are installed
    pytest --benchmark -k adam             rows whose name contains the text
    pytest --benchmark --benchmark-compare                 what changed since the last saved run that has the row
    pytest --benchmark --fail-slower 1.2 --fail-less-accurate 2     exit code 1 where it changed by more

A row (an operation in a cache, a network, an optimizer) is checked and measured once, its candidates in turns, by the
functions of the module that its command `python -m bench....` uses. Each candidate is then a test of its own, which
hands its rounds to pytest-benchmark: groups are rows, `extra_info` says how much faster than NumPy it is and how exact.
A row whose answers are out of tolerance is not timed, and its candidates fail.

Each run is saved as pytest-benchmark's JSON in .benchmarks/, by CPU, Python and commit; bench/tracking.py says how two
runs are compared.
"""

from __future__ import annotations

import importlib.util
import math
import re
from collections.abc import Callable, Generator, Hashable, Mapping, Sequence
from dataclasses import replace
from statistics import median
from typing import Any

import pytest

from bench import environment, timing, tracking

Row = dict[str, Any]

SHORT_PATIENCE = 1.0, 15.0  # seconds for a disturbed row, and for all of a short run
DEFAULT_STORAGE = "file://./.benchmarks"  # pytest-benchmark's


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("fastnn")
    group.addoption("--benchmark", action="store_true", help="run the benchmarks in bench/ instead of the tests")
    group.addoption("--benchmark-full", action="store_true", help="with --benchmark: all rows, all rounds, all peers")
    since = "more than FACTOR since the saved run (beside NumPy)"
    group.addoption(
        "--fail-slower", type=float, metavar="FACTOR", help=f"exit code 1 if a row became slower by {since}"
    )
    group.addoption("--fail-less-accurate", type=float, metavar="FACTOR", help=f"the same if an error grew by {since}")


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config: pytest.Config) -> None:
    """Before anything is collected: a clean environment, and other tests than usual."""
    check_options(config.option)
    if not config.option.benchmark:
        return
    environment.prepare()
    if not config.option.benchmark_full:
        timing.PATIENCE.each, timing.PATIENCE.left = SHORT_PATIENCE
    config.option.benchmark_skip = False
    config.option.benchmark_quiet = not config.option.benchmark_verbose  # the tables below say more
    keep_runs(config)
    if config.args_source is pytest.Config.ArgsSource.TESTPATHS:
        config.args = [str(environment.ROOT / "bench")]


def check_options(option: Any) -> None:
    """Refuses what would be ignored, or makes no sense."""
    for name in ("benchmark_full", "fail_slower", "fail_less_accurate"):
        shown, given = f"--{name.replace('_', '-')}", getattr(option, name)
        if given in (None, False):
            continue
        if not option.benchmark:
            raise pytest.UsageError(f"{shown} needs --benchmark")
        if given is not True and not given >= 1:
            raise pytest.UsageError(f"{shown} {given}: a factor must be at least 1")


COMPARED = pytest.StashKey[Any]()
"""What --benchmark-compare was given: True or which run; None where nothing is compared."""
CHANGES = pytest.StashKey[Any]()
LOOKS = 3  # at a row that seems too slow


def keep_runs(config: pytest.Config) -> None:
    """Every run is saved, by CPU; comparing is done here and not by pytest-benchmark, which compares times."""
    from pytest_benchmark.utils import get_tag

    option = config.option
    gated = option.fail_slower is not None or option.fail_less_accurate is not None
    config.stash[COMPARED] = option.benchmark_compare or (True if gated else None)
    option.benchmark_compare = []
    if not option.benchmark_save:
        option.benchmark_autosave = get_tag()
    if option.benchmark_storage == DEFAULT_STORAGE:
        cpu = re.sub(r"[^\w.]+", "-", environment.cpu()["model"]).strip("-")
        option.benchmark_storage = (config.rootpath / ".benchmarks" / cpu).as_uri()


@pytest.hookimpl(wrapper=True, tryfirst=True)  # around pytest-benchmark's wrapper, which saves this run
def pytest_sessionfinish(session: pytest.Session) -> Generator[None]:
    asked = session.config.stash.get(COMPARED, None)
    if asked is not None:
        option = session.config.option
        found = compared(session.config, asked)
        for _ in range(LOOKS - 1):
            found = looked_at_again(found, option.fail_slower)
        session.config.stash[CHANGES] = found
        refused = tracking.too_slow(found, option.fail_slower)
        refused += tracking.too_inaccurate(found, option.fail_less_accurate)
        for change in refused:
            change.now["refused"] = True  # and saved so: no later run is compared with it
        gated = option.fail_slower is not None or option.fail_less_accurate is not None
        if refused or (gated and not found):
            session.exitstatus = pytest.ExitCode.TESTS_FAILED
    yield


def compared(config: pytest.Config, asked: bool | str) -> list[tracking.Change]:
    """This run's candidates beside those of all saved runs, or of those that are asked for."""
    benchmarks = config._benchmarksession  # type: ignore[attr-defined]
    now = {
        (found.group, found.extra_info["candidate"]): found.extra_info
        for found in benchmarks.benchmarks if "numpy_ratio" in found.extra_info
    }  # fmt: skip
    return tracking.changes(now, (run for _, run in benchmarks.storage.load(*([] if asked is True else [asked]))))


def looked_at_again(found: list[tracking.Change], factor: float | None) -> list[tracking.Change]:
    """The changes after rows that seem too slow were measured anew: on a machine that others use, too, some always do.
    The better of both measurements counts, and is what is saved."""
    slow = tracking.too_slow(found, factor)
    rows = {name: _measured_again(_SHOWN[name]) for name in {change.key[0] for change in slow}}
    for change in slow:
        row = rows[change.key[0]]
        if row is None:
            continue
        if row["wrong"]:
            change.now["error"] = math.inf  # right the first time, wrong the second
            continue
        second = replace(change, now={**change.now, **facts(row, change.key[1])})
        if second.slower < change.slower:
            change.now.update(second.now)
    return found


def _measured_again(row: Row) -> Row | None:
    return next((found for found in (rows.again(row) for rows in _BENCHMARKS) if found is not None), None)


def pytest_report_header(config: pytest.Config) -> list[str]:
    if not config.option.benchmark:
        return []
    lines = environment.describe(environment.header()).splitlines()
    missing = [name for name in ("torch", "jax", "sklearn") if importlib.util.find_spec(name) is None]
    return (
        [*lines, f"not installed, so no rows of theirs: {', '.join(missing)} (pip install -e '.[peers]')"]
        if missing
        else lines
    )


class Clock:
    """A timer that shows rounds which were measured before."""

    def __init__(self) -> None:
        self._now = 0.0

    def __call__(self) -> float:
        return self._now

    def pass_by(self, seconds: float) -> None:
        self._now += seconds


CLOCK = Clock()
_BENCHMARKS: list[Rows] = []
_SHOWN: dict[str, Row] = {}
"""By its name: every row that was handed over."""
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
        _BENCHMARKS.append(self)

    def row(self, *key: Hashable) -> Row:
        """The row, measured when it is asked for first."""
        if key not in self._rows:
            _TABLES[self._title] = self.table
            self._rows[key] = self._measure(*key)
        return self._rows[key]

    def table(self) -> str:
        """The rows as text, and how far their rounds lie apart."""
        rows = list(self._rows.values())
        spreads = [
            timing.Timing(tuple(rounds), 0.0).spread for row in rows for rounds in row.get("rounds", {}).values()
        ] or [0.0]
        text = f"spread of the rounds (half the range between quartiles): median {median(spreads):.1%}"
        return f"{self._table(rows)}\n\n{text}, at most {max(spreads):.0%}"

    def again(self, row: Row) -> Row | None:
        """A row of this benchmark measured anew; None if it is not one."""
        for key, known in self._rows.items():
            if known is row:
                return self._measure(*key)
        return None


Report = Callable[[Row, str, str], None]


def facts(row: Row, candidate: str) -> dict[str, Any]:
    """What `extra_info` says of a candidate beside its times: its speed beside NumPy's, its error and the unit of that,
    the share of the machine that it reaches, where the row knows."""
    numpy, own = row["rounds"]["NumPy"], row["rounds"][candidate]
    found = {"numpy_ratio": median(numpy) / median(own), "numpy_ratio_of_best": min(numpy) / min(own)}
    found["disturbed"] = max(row["disturbed"][candidate], row["disturbed"]["NumPy"])  # a ratio is of both
    error = row.get("errors", {}).get(candidate)
    if isinstance(error, dict):  # of several kinds
        found |= {f"error of {kind}": value for kind, value in error.items()}
        error = max((value for kind, value in error.items() if kind != "special"), default=None)
    if error is not None:
        found |= {"error": error, "unit": row["unit"]}
    for what, name in KEPT.items():
        known = row.get(what)
        if isinstance(known, Mapping) and candidate in known:
            found[name] = known[candidate]
    return found


# What else is kept of a row, by candidate, and under which name. The fraction is that of the row's limit: the FMA peak
# for products and networks at inference, the floor of a step, a loop's bandwidth for all that waits for memory.
KEPT = {
    "gigaflops": "GFLOP/s", "gflops": "GFLOP/s", "gigabytes_per_second": "GB/s", "fraction": "fraction of the machine",
    "fraction_of_peak": "fraction of the machine", "resident": "resident_mib", "peak_memory": "peak_mib",
    "loss_after_300": "loss difference after 300 steps",
}  # fmt: skip


@pytest.fixture
def report(benchmark: Any) -> Report:
    """Hands the rounds of one candidate of a row to pytest-benchmark: report(row, name of the row, candidate)."""

    def hand_over(row: Row, name: str, candidate: str) -> None:
        benchmark.group = name
        _SHOWN[name] = row
        benchmark.extra_info["candidate"] = candidate
        if row["wrong"]:
            benchmark.extra_info["wrong"] = row["wrong"]
            pytest.fail(f"{name}: answers out of tolerance: {row['wrong']}")
        rounds = row["rounds"][candidate]
        benchmark.extra_info |= facts(row, candidate)
        left = iter(rounds)
        benchmark.pedantic(lambda: CLOCK.pass_by(next(left)), rounds=len(rounds))

    return hand_over


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    for title, table in _TABLES.items():
        terminalreporter.section(title)
        terminalreporter.write_line(table())
        terminalreporter.write_line(timing.LEGEND)
    if _TABLES:
        from bench import machine

        terminalreporter.section("what one core of this machine can do, now")
        terminalreporter.write_line(machine.summary())
    if CHANGES in config.stash:
        show_changes(terminalreporter, config)


def show_changes(terminalreporter: Any, config: pytest.Config) -> None:
    found = config.stash[CHANGES]
    terminalreporter.section("beside the last saved run")
    terminalreporter.write_line(tracking.table(found))
    option = config.option
    if not found:
        terminalreporter.write_line(
            "NOTHING TO COMPARE WITH: no saved run of this CPU and Python has one of these rows"
        )
    for change in tracking.too_slow(found, option.fail_slower):
        terminalreporter.write_line(f"TOO SLOW: {', '.join(change.key)}: by a factor of {change.slower:.2f}")
    for change in tracking.too_inaccurate(found, option.fail_less_accurate):
        text = f"{change.before['error']:.3g} -> {change.now['error']:.3g} {change.now['unit']}"
        terminalreporter.write_line(f"TOO INACCURATE: {', '.join(change.key)}: {text}")
