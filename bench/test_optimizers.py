"""Optimizers under `pytest --benchmark`: see bench/optimizers.py and bench/suite.py."""

from typing import Any

import pytest

from bench import native, optimizers, suite

SETS = native.kernel_sets()


def measure(name: str, size: int, full: bool) -> suite.Row:
    return optimizers.measure(name, size, SETS, peers=full, rounds=11 if full else 3)


MEASURED = suite.Rows("optimizers", measure, lambda rows: optimizers.table(list(rows), SETS))


@pytest.mark.benchmark(timer=suite.CLOCK)
@pytest.mark.parametrize("candidate", [*optimizers.PEERS, *SETS])
@pytest.mark.parametrize("size", optimizers.SIZES)
@pytest.mark.parametrize("name", optimizers.OPTIMIZERS)
def test_optimizer(name: str, size: int, candidate: str, report: suite.Report, request: Any) -> None:
    full = request.config.option.benchmark_full
    if not full and size == optimizers.SIZES[-1] and name != "Adam":
        pytest.skip("with --benchmark-full")
    row = MEASURED.row(name, size, full)
    if not row["wrong"] and candidate not in row["rounds"]:
        pytest.skip(f"{candidate} is not there, or has no such form")
    report(row, f"{name}, {size:,} parameters", candidate)
