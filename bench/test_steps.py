"""Training steps under `pytest --benchmark`: see bench/steps.py and bench/suite.py."""

from typing import Any

import pytest

from bench import native, steps, suite
from bench.networks import NETWORKS

SETS = native.kernel_sets()
BY_NAME = {network.name: network for network in NETWORKS if network.group != "large"}
SHORT = [name for name, network in BY_NAME.items() if network.group == "table"]


def measure(name: str, full: bool) -> suite.Row:
    return steps.measure(BY_NAME[name], 15 if full else 5, SETS, threads=1, peers=full)


MEASURED = suite.Rows("training steps", measure, lambda rows: f"{steps.table(list(rows), SETS)}\n\n{steps.LEGEND}")


@pytest.mark.benchmark(timer=suite.CLOCK)
@pytest.mark.parametrize("candidate", [*steps.PEERS, *SETS])
@pytest.mark.parametrize("name", BY_NAME)
def test_step(name: str, candidate: str, report: suite.Report, request: Any) -> None:
    full = request.config.option.benchmark_full
    if not full and (name not in SHORT or candidate in steps.PEERS[1:]):
        pytest.skip("with --benchmark-full")
    row = MEASURED.row(name, full)
    if not row["wrong"] and candidate not in row["rounds"]:
        pytest.skip(f"{candidate} is not installed, or has no such network")
    report(row, name, candidate)
