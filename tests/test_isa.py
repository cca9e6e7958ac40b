"""The kernels of lower instruction set levels, on whatever CPU this is: narrower vectors, fewer registers, no FMA."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from fastnn.kernels import cpu

TESTS = Path(__file__).parent
LEVELS = ("avx512", "avx2", "baseline")


@pytest.mark.slow
@pytest.mark.parametrize("level", LEVELS[1:])
def test_kernels_pass_their_tests_at_a_lower_level(level: str) -> None:
    if LEVELS.index(level) < LEVELS.index(cpu.best_isa()):
        pytest.skip(f"this CPU only has {cpu.best_isa()}")
    names = (
        "test_kernels.py",
        "test_kernel_values.py",
        "test_native.py",
        "test_vecmath.py",
        "test_special.py",
        "test_softmax.py",
    )
    files = [str(TESTS / name) for name in names]
    environment = {**os.environ, "FASTNN_ISA": level, "FASTNN_TEST_SHAPES": "6"}
    result = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-k", "not coefficients", *files],
        cwd=TESTS.parent, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert result.returncode == 0, result.stdout[-4000:] + result.stderr[-1000:]
    assert int(re.findall(r"(\d+) passed", result.stdout)[0]) > 300


def test_level_follows_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cpu, "best_isa", lambda: "avx512")
    for asked, level in (("", "avx512"), ("avx2", "avx2"), ("BASELINE", "baseline")):
        monkeypatch.setenv("FASTNN_ISA", asked)
        assert cpu.isa.__wrapped__() == level


def test_unknown_level_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FASTNN_ISA", "avx1024")
    with pytest.raises(ValueError, match="FASTNN_ISA='avx1024': must be one of avx512, avx2, baseline"):
        cpu.isa.__wrapped__()


def test_level_above_the_cpus_own_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cpu, "best_isa", lambda: "avx2")
    monkeypatch.setenv("FASTNN_ISA", "avx512")
    with pytest.raises(ValueError, match="FASTNN_ISA='avx512': this CPU only has avx2"):
        cpu.isa.__wrapped__()


def test_code_of_a_lower_level_is_not_made_for_this_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cpu, "best_isa", lambda: "avx512")
    for level, name in (("avx512", cpu.name()), ("avx2", "x86-64-v3"), ("baseline", "x86-64")):
        monkeypatch.setattr(cpu, "isa", lambda level=level: level)
        assert cpu.target()[0] == name
