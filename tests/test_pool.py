"""The thread pool of the C library: the scenarios of tests/c/pool_test.c, built plainly and under sanitizers.

The process that a scenario runs in is the judge of hangs, too: each has a time limit.
"""

import functools
import os
import platform
import shutil
import subprocess
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
KERNELS = TESTS.parent / "kernels"
WARNINGS = ["-std=c11", "-g", "-Wall", "-Wextra", "-Wconversion", "-Werror"]
BUILDS = {
    "plain": ["-O3"],
    "thread": ["-O1", "-fsanitize=thread"],
    "address": ["-O1", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"],
}
SCENARIOS = (
    "sums", "places", "callers", "limit", "refused", "sleeps", "crowd", "idle", "forks", "stops", "leaving", "modes",
)  # fmt: skip

pytestmark = pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler (cc)")


def compile_c(*arguments: str | Path) -> None:
    result = subprocess.run(["cc", *map(str, arguments)], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory):
    """Builds the program once each way, and says where it is."""
    folder = tmp_path_factory.mktemp("pool")

    @functools.cache
    def build(name: str) -> Path:
        flags = [*WARNINGS, *BUILDS[name], f"-I{KERNELS}"]
        pool, path = folder / f"{name}.o", folder / name
        # Threads are created through a function of the test, which can refuse them.
        compile_c(*flags, "-Dpthread_create=create_thread", "-c", KERNELS / "pool.c", "-o", pool)
        compile_c(*flags, TESTS / "c" / "pool_test.c", pool, "-o", path, "-pthread")
        return path

    return build


def run_scenario(path: Path, *arguments: str, seconds: float = 15, **options: str) -> None:
    command = [str(path), *arguments]
    if path.name == "thread" and shutil.which("setarch"):
        command = ["setarch", platform.machine(), "-R", *command]  # TSan knows the usual layout of memory only
    environment = {**os.environ, "TSAN_OPTIONS": "halt_on_error=1", **options}
    result = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=seconds, check=False)
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.parametrize("scenario", SCENARIOS)
@pytest.mark.parametrize("build", BUILDS)
def test_pool(program, build: str, scenario: str) -> None:
    options = {}
    if scenario == "forks":
        if build == "thread":
            pytest.skip("TSan does not follow threads that are created after a fork of several threads")
        options["ASAN_OPTIONS"] = "detect_leaks=0"  # its leak check looks for the parent's threads in the child
    run_scenario(program(build), scenario, **options)


@pytest.mark.slow
@pytest.mark.parametrize("build", BUILDS)
def test_starting_and_stopping_10000_times_leaks_nothing(program, build: str) -> None:
    # Sanitizers keep freed memory for a while: there only threads are counted.
    run_scenario(program(build), "start_stop", "10000", *(["threads"] if build != "plain" else []), seconds=60)


@pytest.mark.parametrize("compiler", ["clang", "clang-14", "aarch64-linux-gnu-gcc"])
def test_other_compilers_have_no_complaint(tmp_path: Path, compiler: str) -> None:
    if shutil.which(compiler) is None:
        pytest.skip(f"no {compiler}")
    for more in ([], ["-U__linux__"]):  # the second as on systems without thread affinity
        result = subprocess.run(
            [compiler, *WARNINGS, "-O2", *more, "-c", str(KERNELS / "pool.c"), "-o", str(tmp_path / "pool.o")],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert result.returncode == 0, result.stderr
