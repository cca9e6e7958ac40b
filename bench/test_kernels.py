"""Every operation of the kernel table under `pytest --benchmark`: see bench/kernels.py and bench/suite.py."""

from typing import Any

import pytest

from bench import kernels, native, suite
from fastnn.kernels import OPERATIONS, backends

SETS = native.kernel_sets()
CACHES = tuple(kernels.budgets())
ROWS = [
    (entry.name, dtype, cache)
    for entry in OPERATIONS.values() if all(backends.can_run(name, entry) for name in SETS)
    for dtype in entry.dtypes for cache in CACHES
]  # fmt: skip


def measure(name: str, dtype: str, cache: str, full: bool) -> suite.Row:
    return kernels.measure(SETS, OPERATIONS[name], dtype, cache, kernels.budgets()[cache], not full)


MEASURED = suite.Rows("operations", measure, lambda rows: kernels.table(list(rows), SETS))


@pytest.mark.benchmark(timer=suite.CLOCK)
@pytest.mark.parametrize("candidate", ["NumPy", *SETS])
@pytest.mark.parametrize(("name", "dtype", "cache"), ROWS)
def test_operation(name: str, dtype: str, cache: str, candidate: str, report: suite.Report, request: Any) -> None:
    row = MEASURED.row(name, dtype, cache, request.config.option.benchmark_full)
    report(row, f"{name}, {dtype}, {cache}", candidate)
