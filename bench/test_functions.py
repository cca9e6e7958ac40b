"""exp, tanh, sigmoid, activations and softmax under `pytest --benchmark`: see bench/functions.py and bench/suite.py."""

from typing import Any

import pytest

from bench import activations, functions, native, suite

SETS = native.kernel_sets()
NAMES = (*functions.FUNCTIONS, *activations.NAMES, *(f"softmax of {outputs}" for outputs in functions.OUTPUTS))


def measure(name: str, dtype: str, full: bool) -> suite.Row:
    if name in functions.FUNCTIONS:
        return functions.function_row(name, dtype, SETS, not full)
    if name in activations.NAMES:
        return functions.activation_row(name, dtype, SETS, not full)
    return functions.softmax_row(int(name.split()[-1]), dtype, SETS, not full)


MEASURED = suite.Rows("functions", measure, lambda rows: functions.table(list(rows), SETS))


@pytest.mark.benchmark(timer=suite.CLOCK)
@pytest.mark.parametrize("candidate", ["NumPy", *SETS])
@pytest.mark.parametrize("dtype", functions.DTYPES)
@pytest.mark.parametrize("name", NAMES)
def test_function(name: str, dtype: str, candidate: str, report: suite.Report, request: Any) -> None:
    row = MEASURED.row(name, dtype, request.config.option.benchmark_full)
    if not row["wrong"] and candidate not in row["rounds"]:
        pytest.skip(f"{candidate} needs a compiler")
    report(row, f"{name}, {dtype}", candidate)
