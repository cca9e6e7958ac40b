"""Every operation of the kernel table under `pytest --benchmark`: see bench/kernels.py and bench/suite.py."""

from typing import Any

import pytest

from bench import kernels, native, suite
from fastnn.kernels import OPERATIONS, backends

SETS = native.kernel_sets()
SHORT_CACHES = ("L1", "L3")
ROWS = [
    (entry.name, dtype, cache)
    for entry in OPERATIONS.values() if all(backends.can_run(name, entry) for name in SETS)
    for dtype, cache in kernels.rows_of(entry)
]  # fmt: skip


def measure(name: str, dtype: str, cache: str, full: bool) -> suite.Row:
    return kernels.measure(SETS, OPERATIONS[name], dtype, cache, kernels.budgets()[cache], not full)


MEASURED = suite.Rows("operations", measure, lambda rows: f"{kernels.table(list(rows), SETS)}\n\n{kernels.LEGEND}")


@pytest.mark.benchmark(timer=suite.CLOCK)
@pytest.mark.parametrize("candidate", ["NumPy", kernels.BY_HAND, *SETS])
@pytest.mark.parametrize(("name", "dtype", "cache"), ROWS)
def test_operation(name: str, dtype: str, cache: str, candidate: str, report: suite.Report, request: Any) -> None:
    full = request.config.option.benchmark_full
    if cache not in SHORT_CACHES and not full:
        pytest.skip("with --benchmark-full")
    row = MEASURED.row(name, dtype, cache, full)
    if not row["wrong"] and candidate not in row["rounds"]:
        pytest.skip(f"{name} has no form in {candidate}")
    report(row, f"{name}, {dtype}, {cache}", candidate)
