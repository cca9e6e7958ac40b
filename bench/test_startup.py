"""Starts of fresh processes under `pytest --benchmark`: see bench/startup.py and bench/suite.py."""

from typing import Any

import pytest

from bench import native, startup, suite

SETS = native.kernel_sets()
CANDIDATES = [
    *((startup.IMPORT, name) for name in startup.CODES),
    *((startup.WARM, name) for name in (*startup.CHILDREN, *SETS)),
    *((startup.COLD, name) for name in ("NumPy", *SETS)),
    *((startup.COMPILATION, name) for name in ("NumPy", "numba") if "numba" in SETS),
]


def measure(what: str, full: bool) -> suite.Row:
    if what == startup.COMPILATION:  # of what was measured; asked for again: of what is measured anew
        of = measure if startup.COMPILATION in _asked else MEASURED.row
        _asked.add(what)
        return startup.compilation(of(startup.WARM, full), of(startup.COLD, full))
    with startup.unpinned():
        return startup.measure(what, SETS, peers=full, rounds=9 if full else 3)


_asked: set[str] = set()


MEASURED = suite.Rows("starts of processes, seconds and memory", measure, startup.table)


@pytest.mark.benchmark(timer=suite.CLOCK)
@pytest.mark.parametrize(("what", "candidate"), CANDIDATES)
def test_start(what: str, candidate: str, report: suite.Report, request: Any) -> None:
    full = request.config.option.benchmark_full
    if not full and candidate in startup.CHILDREN and candidate != "NumPy":
        pytest.skip("with --benchmark-full")
    row = MEASURED.row(what, full)
    if not row["wrong"] and candidate not in row["rounds"]:
        pytest.skip(f"{candidate} is not installed")
    report(row, what, candidate)
