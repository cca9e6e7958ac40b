"""Predictions under `pytest --benchmark`: see bench/inference.py and bench/suite.py."""

from typing import Any

import pytest

from bench import inference, native, suite

SETS = native.kernel_sets()
FORMS = [form for name in SETS for form in (name, f"{name}{inference.CHECKED}")]
SHORT = ("NumPy", "reference", *FORMS)


def measure(name: str, full: bool) -> suite.Row:
    return inference.measure(inference.ROWS[name], SETS, peers=full, quick=not full)


MEASURED = suite.Rows("predictions", measure, lambda rows: f"{inference.table(list(rows), SETS)}\n\n{inference.LEGEND}")


@pytest.mark.benchmark(timer=suite.CLOCK)
@pytest.mark.parametrize("candidate", [*inference.PEERS, *FORMS])
@pytest.mark.parametrize("name", inference.ROWS)
def test_prediction(name: str, candidate: str, report: suite.Report, request: Any) -> None:
    full = request.config.option.benchmark_full
    if not full and candidate not in SHORT:
        pytest.skip("with --benchmark-full")
    row = MEASURED.row(name, full)
    if not row["wrong"] and candidate not in row["rounds"]:
        pytest.skip(f"{candidate} is not installed")
    report(row, f"prediction of {name}", candidate)
