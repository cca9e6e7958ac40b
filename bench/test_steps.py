"""Training steps under `pytest --benchmark`: see bench/steps.py and bench/suite.py."""

from typing import Any

import pytest

from bench import agreement, native, steps, suite
from bench.networks import NETWORKS

SETS = native.kernel_sets()
BY_NAME = {network.name: network for network in NETWORKS if network.group != "large"}
LOWER = [f"{name}, bf16" for name in SETS]
SHORT = [name for name, network in BY_NAME.items() if network.group in ("table", "bf16")]


def measure(name: str, full: bool) -> suite.Row:
    row = steps.measure(BY_NAME[name], 15 if full else 5, SETS, threads=1, peers=full, compiled=full)
    if not row["wrong"]:
        differences = row["loss_difference"]
        row |= {"unit": "of the loss", "errors": {column: found["20"] for column, found in differences.items()}}
        row["loss_after_300"] = {column: found["300"] for column, found in differences.items()}
        row["gigaflops"] = {column: row["flops"] / seconds * 1e-9 for column, seconds in row["seconds"].items()}
        row["fraction"] = {column: row["fastnn"][column]["fraction_of_floor"] for column in SETS}
    return row


MEASURED = suite.Rows(
    "training steps", measure, lambda rows: f"{steps.table(list(rows), SETS)}\n\n{steps.LEGEND}\n{agreement.LEGEND}"
)


@pytest.mark.benchmark(timer=suite.CLOCK)
@pytest.mark.parametrize("candidate", [*steps.PEERS, *SETS, *LOWER])
@pytest.mark.parametrize("name", BY_NAME)
def test_step(name: str, candidate: str, report: suite.Report, request: Any) -> None:
    full = request.config.option.benchmark_full
    if not full and (name not in SHORT or candidate in steps.PEERS[1:]):
        pytest.skip("with --benchmark-full")
    row = MEASURED.row(name, full)
    if not row["wrong"] and candidate not in row["rounds"]:
        pytest.skip(f"{candidate} is not installed, or has no such network")
    report(row, name, candidate)
