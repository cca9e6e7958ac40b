"""Many models on all cores under `pytest --benchmark`: see bench/sweep.py and bench/suite.py."""

from typing import Any

import pytest

from bench import native, startup, suite, sweep, trainings

FORMS = ("", trainings.ONE, trainings.FILE, trainings.PROCESSES)
FASTNN = [name + form for name in native.kernel_sets() for form in FORMS]


def measure(full: bool) -> suite.Row:
    with startup.unpinned():
        return sweep.in_a_process(quick=not full)


MEASURED = suite.Rows("many models", measure, lambda rows: f"{sweep.table(rows)}\n\n{sweep.LEGEND}")


@pytest.mark.benchmark(timer=suite.CLOCK)
@pytest.mark.parametrize("candidate", [*trainings.PEERS, *FASTNN])
def test_sweep(candidate: str, report: suite.Report, request: Any) -> None:
    full = request.config.option.benchmark_full
    if not full and candidate in trainings.PEERS[1:]:
        pytest.skip("with --benchmark-full")
    row = MEASURED.row(full)
    if not row["wrong"] and candidate not in row["rounds"]:
        pytest.skip(f"{candidate} is not installed")
    report(row, row["name"], candidate)
