"""Seconds and memory from a standing start, measured in fresh processes, for every compiled kernel set.

    python -m bench.startup
    python -m bench.startup --quick       fewer processes

Rows: `import fastnn` over an empty interpreter, and whether numba came with it; process start to the end of 100
training steps of 64-128-64-10 (batch 32, Adam) with a warm cache of compiled kernels and with an empty one; memory that
is resident then, and the most that was. The same program with NumPy, scikit-learn, torch and JAX beside it. The data
and starting weights are made by NumPy in each process, with the imports that this takes.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from bench import environment

if __name__ == "__main__" and "--child" not in sys.argv:
    environment.prepare(pin=False)

from bench import output

STEPS = 100
CHILDREN = {"NumPy": "numpy", "sklearn": "sklearn", "torch": "torch", "JAX scan": "jax"}


def child(library: str) -> None:
    """One process: data, network, 100 steps; prints when it had finished on the clock of the parent, and its memory."""
    from bench.networks import NETWORKS, problem

    network = next(network for network in NETWORKS if network.name == "64-128-64-10, 32")
    data = problem(network)
    candidate: Any
    if library in ("numba", "c"):
        from bench.baselines.fastnn_mlp import FastnnMLP

        candidate = FastnnMLP(data, library)
    elif library == "numpy":
        from bench.baselines.numpy_mlp import NumpyMLP

        candidate = NumpyMLP(data)
    elif library == "sklearn":
        from bench.baselines.sklearn_mlp import SklearnMLP

        candidate = SklearnMLP(data)
    elif library == "torch":
        from bench.baselines.torch_mlp import TorchMLP

        candidate = TorchMLP(data, fused=True)
    else:
        from bench.baselines.jax_mlp import JaxMLP

        candidate = JaxMLP(data, scan=True)
        candidate.chunk = STEPS
    losses = candidate.run(data.order(max(STEPS, candidate.chunk)))
    finished = time.monotonic()
    answer = {"finished": finished, "loss": float(losses[-1]), "resident": _resident_mib(), "peak": _peak_mib()}
    print("\n" + json.dumps(answer | {"numba": "numba" in sys.modules, "llvmlite": "llvmlite" in sys.modules}))


def _resident_mib() -> float:
    """Resident memory of this process now, in MiB; its peak where the system does not tell."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except OSError:
        return _peak_mib()
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def _peak_mib() -> float:
    """Largest resident memory of this process so far, in MiB."""
    import resource

    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return used / (2**20 if sys.platform == "darwin" else 2**10)


def run_child(library: str, cache: str | None = None) -> dict[str, Any]:
    """Start a process that trains, and wait for it; seconds are from its start."""
    variables = dict(os.environ) | ({"FASTNN_CACHE_DIR": cache} if cache else {})
    command = [sys.executable, str(Path(__file__).resolve()), "--child", library]
    started = time.monotonic()
    done = subprocess.run(command, env=variables, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"the process that trains with {library} failed:\n{done.stderr}")
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    answer["seconds"] = answer["finished"] - started
    answer["said"] = done.stderr.strip()
    return answer


def interpreter(code: str) -> float:
    """Seconds of an interpreter that runs a line of code."""
    started = time.monotonic()
    subprocess.run([sys.executable, "-c", code], cwd=environment.ROOT, check=True)
    return time.monotonic() - started


def imports(rounds: int) -> dict[str, float]:
    """Median seconds of an empty interpreter and of one that imports fastnn, or NumPy alone, in turns."""
    codes = {"empty": "pass", "numpy": "import numpy", "fastnn": "import fastnn"}
    for code in codes.values():
        interpreter(code)  # byte code and file caches
    seconds: dict[str, list[float]] = {name: [] for name in codes}
    for _ in range(rounds):
        for name, code in codes.items():
            seconds[name].append(interpreter(code))
    return {name: statistics.median(values) for name, values in seconds.items()}


def numba_imported() -> bool:
    code = "import fastnn, sys; raise SystemExit('numba' in sys.modules)"
    return subprocess.run([sys.executable, "-c", code], cwd=environment.ROOT, check=False).returncode != 0


def peers(rounds: int) -> dict[str, dict[str, float]]:
    """Median seconds and memory of the same program with other libraries, of those that are installed."""
    found = {}
    for name, library in CHILDREN.items():
        if importlib.util.find_spec(library):
            answers = [run_child(library) for _ in range(rounds + 1)][1:]
            found[name] = {
                what: statistics.median(a[what] for a in answers) for what in ("seconds", "resident", "peak")
            }
    return found


def available() -> list[str]:
    """The compiled kernel sets; asked in a process of its own, so that this one stays as it is."""
    code = "from bench import native; print(*native.kernel_sets())"
    run = subprocess.run([sys.executable, "-c", code], cwd=environment.ROOT, check=True, capture_output=True, text=True)
    return run.stdout.split()


def standing_start(kernel_set: str, rounds: int) -> dict[str, Any]:
    """Medians of processes that train with a kernel set, with a warm cache and with an empty one."""
    warm = [run_child(kernel_set) for _ in range(rounds + 1)][1:]
    with tempfile.TemporaryDirectory() as folder:
        cold = [run_child(kernel_set, str(Path(folder) / str(number))) for number in range(max(2, rounds // 3))]
    found = {what: statistics.median(answer[what] for answer in warm) for what in ("seconds", "resident", "peak")}
    found["cold"] = statistics.median(answer["seconds"] for answer in cold)
    found["cold says"] = cold[0]["said"]
    found["imported"] = [name for name in ("numba", "llvmlite") if any(answer[name] for answer in warm)]
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="3 processes of each kind instead of 9, no peers")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    parser.add_argument("--save", action="store_true", help="write the JSON also for --quick")
    arguments = parser.parse_args()
    if arguments.child:
        child(arguments.child)
        return 0

    rounds = 3 if arguments.quick else 9
    header = environment.header()
    print(environment.describe(header))
    found: dict[str, Any] = {"imports": imports(rounds), "numba imported": numba_imported()}
    found["import over empty"] = found["imports"]["fastnn"] - found["imports"]["empty"]
    sets = available()
    found["fastnn"] = {name: standing_start(name, rounds) for name in sets}
    found["peers"] = {} if arguments.quick else peers(rounds)

    rows = [
        ["import over an empty interpreter", output.number(found["import over empty"]), "-", "-", "-"],
        ["import numpy over it", output.number(found["imports"]["numpy"] - found["imports"]["empty"]), "-", "-", "-"],
    ]
    for name, values in {**found["fastnn"], **found["peers"]}.items():
        figures = (values["seconds"], values.get("cold"), values["resident"], values["peak"])
        rows.append([f"{name}: process start to {STEPS} steps", *map(output.number, figures)])
    headings = ["64-128-64-10, batch 32, Adam", "s", "s, empty cache", "MiB then", "MiB at most"]
    print("\n" + output.table(headings, rows))
    print(f"\nnumba imported by `import fastnn`: {found['numba imported']}")
    for name, values in found["fastnn"].items():
        print(
            f"{name}: imported by a process that trains with a warm cache: {', '.join(values['imported']) or 'neither'}"
        )
        print(f"{name}: with an empty cache it says: {values['cold says'] or '(nothing)'}")
    if arguments.save or not arguments.quick:
        print(f"saved {output.save('startup', header, found).relative_to(environment.ROOT)}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
