"""Runs of `pytest --benchmark` are saved and compared: what became slow, inaccurate or wrong is caught (bench/)."""

import json
import math
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from test_suite import run_pytest  # noqa: E402

from bench import kernels, timing, tracking  # noqa: E402
from bench.baselines import numpy_operations  # noqa: E402
from fastnn.kernels import OPERATIONS  # noqa: E402

KEY = ("a row", "c")


@pytest.fixture(autouse=True)
def without_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows are measured once, however busy the machine is: no test looks at their times."""
    monkeypatch.setattr(timing.PATIENCE, "left", 0.0)


def change(before: dict, now: dict) -> tracking.Change:
    plain = {"numpy_ratio": 10.0, "numpy_ratio_of_best": 10.0}
    return tracking.Change(KEY, {**plain, **before}, {**plain, **now})


def test_speeds_are_compared_beside_numpy_and_the_smaller_change_counts() -> None:
    assert change({}, {"numpy_ratio": 5.0, "numpy_ratio_of_best": 8.0}).slower == 1.25
    assert change({}, {"numpy_ratio": 8.0, "numpy_ratio_of_best": 5.0}).slower == 1.25
    assert change({}, {"numpy_ratio": 20.0, "numpy_ratio_of_best": 12.5}).slower == 0.8
    assert change({}, {"numpy_ratio": 5.0, "numpy_ratio_of_best": 12.5}).slower == 1.0  # they disagree


def test_errors_below_the_floor_of_their_unit_are_not_told_apart() -> None:
    assert change({"error": 0.01, "unit": "ulp"}, {"error": 0.4, "unit": "ulp"}).less_accurate == 1
    assert change({"error": 0.01, "unit": "ulp"}, {"error": 2.0, "unit": "ulp"}).less_accurate == 4
    assert change({"error": 1.0, "unit": "ulp"}, {"error": 4.0, "unit": "K eps"}).less_accurate == 1
    assert change({}, {"error": 4.0, "unit": "ulp"}).less_accurate == 1


def test_an_error_that_is_no_number_or_no_longer_known_closes_the_gate() -> None:
    before = {"error": 1.0, "unit": "ulp"}
    for now in ({"error": math.nan, "unit": "ulp"}, {}):
        found = [tracking.Change(KEY, {"numpy_ratio": 1.0, "numpy_ratio_of_best": 1.0, **before}, now)]
        assert tracking.too_inaccurate(found, 2.0) == found
    torch = tracking.Change(("a row", "torch"), before, {"error": 9.0, "unit": "ulp"})
    assert tracking.too_inaccurate([torch], 2.0) == []  # no regression of this library


def test_disturbed_rows_are_shown_and_do_not_close_the_gate() -> None:
    slow = change({}, {"numpy_ratio": 1.0, "numpy_ratio_of_best": 1.0, "disturbed": 0.5})
    assert tracking.too_slow([slow], 1.2) == []
    assert "10.00*" in tracking.table([slow])


def test_each_row_is_compared_with_the_last_run_that_has_it() -> None:
    def run(group: str, ratio: float) -> dict:
        info = {"candidate": "c", "numpy_ratio": ratio, "numpy_ratio_of_best": ratio}
        return {"benchmarks": [{"group": group, "extra_info": info}]}

    now = tracking.entries(run("a", 8.0)) | tracking.entries(run("b", 8.0)) | tracking.entries(run("new", 1.0))
    found = tracking.changes(now, [run("a", 2.0), run("b", 4.0), run("a", 16.0)])
    assert {c.key[0]: c.slower for c in found} == {"a": 2.0, "b": 0.5}
    refused, disturbed = run("a", 1.0), run("a", 1.0)
    refused["benchmarks"][0]["extra_info"]["refused"] = True
    disturbed["benchmarks"][0]["extra_info"]["disturbed"] = 0.5
    (found,) = tracking.changes(tracking.entries(run("a", 8.0)), [run("a", 16.0), refused, disturbed])
    assert found.slower == 2.0


# A run, and one after it with something changed, which the environment tells.
FAKES = """
import os, time
import numpy as np
import pytest
from bench import suite, timing

timing.PATIENCE.left = 0.0
measured = []

def work(count):
    for _ in range(count):
        sum(range(2000))

def measure(name):
    sleep = float(os.environ.get("FAKE_SLEEP", 0))
    if "FAKE_FIRST" in os.environ and measured:
        sleep = 0
    measured.append(name)
    def kernel(count):
        work(count)
        time.sleep(sleep * count)
    found = timing.interleaved({"NumPy": lambda count: work(3 * count), "c": kernel}, 5, stretch=0.005)
    return {
        "wrong": {}, "rounds": {n: f.rounds for n, f in found.items()}, "disturbed": {"NumPy": 0.0, "c": 0.0},
        "errors": {"c": float(os.environ.get("FAKE_ERROR", 1.0))}, "unit": "ulp",
    }

MEASURED = suite.Rows("fakes", measure, lambda rows: f"{len(rows)} row")

@pytest.mark.benchmark(timer=suite.CLOCK)
@pytest.mark.parametrize("candidate", ["NumPy", "c"])
def test_fake(candidate, report):
    report(MEASURED.row("fake"), "fake", candidate)
"""
# No busy machine makes one of two that take turns slower by a factor of ten; the sleep does by one of fifty.
GATE = ("--benchmark", "--fail-slower", "10", "--fail-less-accurate", "2", "test_fakes.py")


def test_the_gate_closes_for_a_kernel_that_sleeps_or_is_less_exact(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "conftest.py").write_text('pytest_plugins = ("bench.suite",)\n')
    (tmp_path / "test_fakes.py").write_text(FAKES)
    code, said = run_pytest(tmp_path, *GATE)
    assert code == 1
    assert "NOTHING TO COMPARE WITH" in said
    code, said = run_pytest(tmp_path, "--benchmark", "test_fakes.py")
    assert code == 0, said
    saved = list((tmp_path / ".benchmarks").rglob("*.json"))
    assert len(saved) == 2
    assert {e["extra_info"]["candidate"] for e in json.loads(saved[0].read_text())["benchmarks"]} == {"NumPy", "c"}
    code, said = run_pytest(tmp_path, *GATE)
    assert code == 0, said
    assert "2 candidates compared" in said
    monkeypatch.setenv("FAKE_SLEEP", "0.002")
    for _ in range(2):  # the run that was refused is nothing to compare with
        code, said = run_pytest(tmp_path, *GATE)
        assert code == 1
        assert "TOO SLOW: fake, c: by a factor of" in said
    monkeypatch.setenv("FAKE_FIRST", "1")  # slow once, and not when it is measured again
    code, said = run_pytest(tmp_path, *GATE)
    assert code == 0, said
    monkeypatch.delenv("FAKE_SLEEP")
    monkeypatch.setenv("FAKE_ERROR", "4.0")
    code, said = run_pytest(tmp_path, *GATE)
    assert code == 1
    assert "TOO INACCURATE: fake, c: 1 -> 4 ulp" in said


@pytest.mark.parametrize(
    "option", [("--benchmark-full",), ("--fail-slower", "2"), ("--benchmark", "--fail-slower", "0.5")]
)
def test_options_that_would_be_ignored_or_make_no_sense_are_refused(tmp_path: Path, option: tuple[str, ...]) -> None:
    (tmp_path / "conftest.py").write_text('pytest_plugins = ("bench.suite",)\n')
    code, said = run_pytest(tmp_path, *option)
    assert code == 4
    assert "needs --benchmark" in said or "must be at least 1" in said


def measured(name: str) -> dict:
    entry, cache = OPERATIONS[name], "L1"
    sets = kernels.native.kernel_sets()[-1:]
    return kernels.measure(sets, entry, "float32", cache, kernels.budgets()[cache] / 8, quick=True)


def test_a_kernel_perturbed_by_three_ulp_is_less_exact_by_three_ulp(monkeypatch: pytest.MonkeyPatch) -> None:
    before = measured("tanh_forward")
    genuine = kernels.native.one_call

    def perturbed(*arguments):
        run, given = genuine(*arguments)

        def run_and_perturb(count: int) -> None:
            run(count)
            given["y"].view("int32")[...] += 3

        return run_and_perturb, given

    monkeypatch.setattr(kernels.native, "one_call", perturbed)
    now = measured("tanh_forward")
    (name,) = before["errors"].keys() - {"NumPy", kernels.BY_HAND}
    assert now["unit"] == "ulp"
    assert 2.4 < now["errors"][name] - before["errors"][name] < 3.6
    errors = [{"error": row["errors"][name], "unit": "ulp"} for row in (before, now)]
    assert tracking.too_inaccurate([change(*errors)], 2.0)


def test_a_baseline_that_computes_something_else_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    def something_else(name, arguments):
        def run() -> None:
            arguments["y"][...] = 1.001 * arguments["x"]

        return run

    monkeypatch.setattr(numpy_operations, "prepared", something_else)
    row = measured("tanh_forward")
    assert row["wrong"].keys() == {kernels.BY_HAND}
    assert "rounds" not in row  # it was not timed


def test_a_kernel_that_computes_something_else_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    genuine = kernels.native.one_call

    def doubled(kernel_set, entry, dtype, arguments):
        run, given = genuine(kernel_set, entry, dtype, arguments)

        def run_and_double(count: int) -> None:
            run(count)
            given["y"] *= 2

        return run_and_double, given

    monkeypatch.setattr(kernels.native, "one_call", doubled)
    assert measured("dense_forward")["wrong"]
