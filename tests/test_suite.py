"""`pytest --benchmark`: pytest-benchmark gets what was measured, and what is wrong fails (bench/suite.py)."""

import json
import os
import statistics
import subprocess
import sys
from pathlib import Path

import cases
import pytest

ROOT = Path(__file__).resolve().parents[1]

FAKES = """
import pytest
from bench import suite

ROWS = {
    "right": {
        "wrong": {}, "rounds": {"NumPy": (4.0, 6.0, 5.0), "c": (1.0, 3.0, 2.5)}, "disturbed": {"NumPy": 0.0, "c": 0.0},
    },
    "wrong": {"wrong": {"c": 3.0}},
}
MEASURED = suite.Rows("fakes", ROWS.get, lambda rows: f"a table of {len(rows)} rows")


@pytest.mark.benchmark(timer=suite.CLOCK)
@pytest.mark.parametrize("candidate", ["NumPy", "c"])
@pytest.mark.parametrize("name", ROWS)
def test_fake(name, candidate, report):
    report(MEASURED.row(name), name, candidate)
"""


def run_pytest(folder: Path, *arguments: str) -> tuple[int, str]:
    # A worker of pytest-xdist hands down variables with which pytest-benchmark would measure nothing.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    environment["PYTHONPATH"] = str(ROOT)
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *arguments]
    result = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    return result.returncode, result.stdout + result.stderr


def saved(path: Path) -> dict[str, dict]:
    """The entries of pytest-benchmark's JSON by row and candidate."""
    entries = json.loads(path.read_text())["benchmarks"]
    return {f"{entry['group']}: {entry['extra_info']['candidate']}": entry for entry in entries}


def test_rounds_reach_pytest_benchmark_as_measured_and_wrong_answers_fail(tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_text('pytest_plugins = ("bench.suite",)\n')
    (tmp_path / "test_fakes.py").write_text(FAKES)
    code, output = run_pytest(tmp_path, "--benchmark", "--benchmark-json=found.json", "test_fakes.py")
    assert code == 1
    assert "2 failed, 2 passed" in output
    assert "wrong: answers out of tolerance: {'c': 3.0}" in output
    assert "a table of 2 rows" in output
    found = saved(tmp_path / "found.json")
    assert found.keys() == {"right: NumPy", "right: c"}
    assert found["right: c"]["stats"]["data"] == pytest.approx([1.0, 3.0, 2.5])
    assert found["right: c"]["extra_info"]["numpy_ratio"] == 2.0


@pytest.mark.slow
def test_an_operation_is_measured_in_every_kernel_set(tmp_path: Path) -> None:
    path = tmp_path / "found.json"
    storage = f"--benchmark-storage={(tmp_path / 'runs').as_uri()}"
    selected = ("-k", "sgd_update and float32 and L1")
    code, output = run_pytest(ROOT, "--benchmark", f"--benchmark-json={path}", storage, *selected)
    assert code == 0, output
    found = saved(path)
    candidates = ("NumPy", "NumPy by hand", *cases.COMPILED)
    assert found.keys() == {f"sgd_update, float32, L1: {name}" for name in candidates}
    numpy = statistics.median(found["sgd_update, float32, L1: NumPy"]["stats"]["data"])
    for name in cases.COMPILED:
        entry = found[f"sgd_update, float32, L1: {name}"]
        assert 0 <= entry["extra_info"]["error"] <= 1
        assert entry["extra_info"]["unit"] == "ulp"
        assert entry["extra_info"]["fraction of the machine"] > 0
        ratio = numpy / statistics.median(entry["stats"]["data"])
        assert entry["extra_info"]["numpy_ratio"] == pytest.approx(ratio)
    assert "operations" in output


@pytest.mark.slow
def test_without_the_option_pytest_collects_no_benchmark() -> None:
    code, output = run_pytest(ROOT, "--collect-only", "-q")
    assert code == 0, output
    assert "tests/test_suite.py" in output
    assert "bench/" not in output
