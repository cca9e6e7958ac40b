"""Seconds and memory from a standing start, measured in fresh processes, for every compiled kernel set.

    python -m bench.startup
    python -m bench.startup --quick       fewer processes, of fastnn and NumPy only

Rows: `import fastnn` beside an empty interpreter and `import numpy`, and whether numba came with it; process start to
the end of 100 training steps of 64-128-64-10 (batch 32, Adam) with a warm cache of compiled kernels and with an empty
one; memory that is resident then, and the most that was; what Numba's first compilation adds. The same program with
NumPy, scikit-learn, torch and JAX beside it. The data and starting weights are made by NumPy in each process, with the
imports that this takes. The processes take turns, one at a time, on any core; a row whose last losses are not NumPy's
makes the run fail.
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
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from bench import environment

if __name__ == "__main__" and "--child" not in sys.argv:
    environment.prepare(pin=False)

from bench import neighbours, output, timing

STEPS = 100
CHILDREN = {"NumPy": "numpy", "sklearn": "sklearn", "torch": "torch", "JAX scan": "jax"}
# Largest relative difference of the last loss from NumPy's, as in bench/steps.py; scikit-learn, which starts from
# weights of its own and gives means of epochs, is not compared.
TOLERANCE = 2e-3
WARM, COLD = "process start to 100 steps", "process start to 100 steps, empty cache"
IMPORT, COMPILATION = "interpreter that imports", "first compilation"
CODES = {"NumPy": "import numpy", "fastnn": "import fastnn", "empty": "pass"}

Answer = dict[str, Any]
"""What a process that trained has to say: seconds, loss, resident and peak MiB, what it printed, what it imported."""
Row = dict[str, Any]


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
    answer = {"finished": finished, "loss": float(losses[-1]), "resident": resident_mib(), "peak": peak_mib()}
    print("\n" + json.dumps(answer | {"numba": "numba" in sys.modules, "llvmlite": "llvmlite" in sys.modules}))


def resident_mib() -> float:
    """Resident memory of this process now, in MiB; its peak where the system does not tell."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except OSError:
        return peak_mib()
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def peak_mib() -> float:
    """Largest resident memory of this process so far, in MiB. What getrusage tells can be that of the parent: Linux
    counts the moment before exec, in which the new process still has the parent's memory."""
    try:
        status = Path("/proc/self/status").read_text()
        return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM:")) / 2**10
    except (OSError, StopIteration):
        import resource

        used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return used / (2**20 if sys.platform == "darwin" else 2**10)


class Ended(NamedTuple):
    """A process that has ended; `started` on the clock of `time.monotonic`. It was disturbed if it had to wait for a
    CPU, or something else ran on one of the cores that it could use, before or after it."""

    process: subprocess.CompletedProcess[str]
    started: float
    seconds: float
    disturbed: bool


def ended(command: Sequence[str], variables: Mapping[str, str]) -> Ended:
    """Run a command to its end."""
    import resource

    cores = environment.cores()
    accompanied = neighbours.at_work(cores)

    def computed() -> float:
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        return used.ru_utime + used.ru_stime

    cpu, started = computed(), time.monotonic()
    done = subprocess.run(
        command, cwd=environment.ROOT, env=variables, capture_output=True, text=True, check=False, timeout=600
    )
    wall, cpu = time.monotonic() - started, computed() - cpu
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} failed:\n{done.stderr}")
    waited = wall > timing.DISTURBED * cpu + 0.01
    return Ended(done, started, wall, waited or accompanied or neighbours.at_work(cores))


def run_child(library: str, cache: str | None = None) -> Answer:
    """Start a process that trains, and wait for it; seconds are from its start."""
    variables = dict(os.environ) | ({"FASTNN_CACHE_DIR": cache} if cache else {})
    command = [sys.executable, str(Path(__file__).resolve()), "--child", library]
    done = ended(command, variables)
    answer: Answer = json.loads(done.process.stdout.splitlines()[-1])
    seconds = answer["finished"] - done.started
    return answer | {"seconds": seconds, "disturbed": done.disturbed, "said": done.process.stderr.strip()}


def starts(libraries: Mapping[str, str], rounds: int) -> dict[str, list[Answer]]:
    """Processes that train, by column name, in turns; the first of each, which fills caches, is not counted."""
    found: dict[str, list[Answer]] = {name: [] for name in libraries}
    for _ in range(rounds + 1):
        for name, library in libraries.items():
            found[name].append(run_child(library))
    return {name: answers[1:] for name, answers in found.items()}


def cold_starts(libraries: Mapping[str, str], rounds: int) -> dict[str, list[Answer]]:
    """The same, each with an empty cache of compiled kernels; NumPy has none."""
    found: dict[str, list[Answer]] = {name: [] for name in libraries}
    with tempfile.TemporaryDirectory() as folder:
        for number in range(rounds):
            for name, library in libraries.items():
                found[name].append(run_child(library, str(Path(folder) / f"{library}{number}")))
    return found


def taking_part(sets: Sequence[str], peers: bool) -> dict[str, str]:
    """What is started, by column name: NumPy, the peers that are installed, the kernel sets."""
    asked = CHILDREN if peers else {"NumPy": CHILDREN["NumPy"]}
    there = {name: library for name, library in asked.items() if importlib.util.find_spec(library)}
    return there | {name: name for name in sets}


def row_of(name: str, found: Mapping[str, Sequence[Answer]]) -> Row:
    """A row of such processes; it is wrong where the last loss of one is not NumPy's."""
    row: Row = {"name": name, "wrong": {}}
    expected = found["NumPy"][0]["loss"]
    for column, answers in found.items():
        differences = [abs(answer["loss"] / expected - 1) for answer in answers]
        wrong = [difference for difference in differences if not difference <= TOLERANCE]  # NaN too
        if wrong and column != "sklearn":
            row["wrong"][column] = wrong[0]
    if row["wrong"]:
        return row
    for what, key in (("rounds", "seconds"), ("resident", "resident"), ("peak_memory", "peak")):
        row[what] = {column: [answer[key] for answer in answers] for column, answers in found.items()}
    for what in ("resident", "peak_memory"):
        row[what] = {column: statistics.median(values) for column, values in row[what].items()}
    row["disturbed"] = {n: statistics.mean(answer["disturbed"] for answer in answers) for n, answers in found.items()}
    row["said"] = {column: answers[0]["said"] for column, answers in found.items()}
    row["imported"] = {
        column: [name for name in ("numba", "llvmlite") if any(answer[name] for answer in answers)]
        for column, answers in found.items()
    }
    return row


def imports(rounds: int) -> Row:
    """Interpreters that import NumPy, fastnn or nothing, in turns."""
    row: Row = {"name": IMPORT, "wrong": {}, "rounds": {name: [] for name in CODES}}
    waited: dict[str, list[bool]] = {name: [] for name in CODES}
    for _ in range(rounds + 1):
        for name, code in CODES.items():
            done = ended([sys.executable, "-c", code], os.environ)
            row["rounds"][name].append(done.seconds)
            waited[name].append(done.disturbed)
    row["rounds"] = {name: seconds[1:] for name, seconds in row["rounds"].items()}  # byte code and file caches
    return row | {"disturbed": {name: statistics.mean(found[1:]) for name, found in waited.items()}}


def compilation(warm: Row, cold: Row) -> Row:
    """What Numba's first compilation adds: starts with an empty cache over the usual one with a warm cache. NumPy's
    start stands beside it."""
    row: Row = {"name": COMPILATION, "wrong": warm["wrong"] | cold["wrong"]}
    if row["wrong"]:
        return row
    usual = statistics.median(warm["rounds"]["numba"])
    row["rounds"] = {"NumPy": warm["rounds"]["NumPy"], "numba": [took - usual for took in cold["rounds"]["numba"]]}
    return row | {"disturbed": {"NumPy": warm["disturbed"]["NumPy"], "numba": cold["disturbed"]["numba"]}}


def measure(what: str, sets: Sequence[str], peers: bool, rounds: int) -> Row:
    """One of the rows IMPORT, WARM and COLD. Processes with an empty cache, which compile, are a third as many."""
    if what == IMPORT:
        return imports(rounds)
    if what == WARM:
        return row_of(what, starts(taking_part(sets, peers), rounds))
    return row_of(what, cold_starts(taking_part(sets, False), max(1, rounds // 3)))


def numba_imported() -> bool:
    """Whether `import fastnn` imports Numba."""
    code = "import fastnn, sys; raise SystemExit('numba' in sys.modules)"
    return subprocess.run([sys.executable, "-c", code], cwd=environment.ROOT, check=False).returncode != 0


def available() -> list[str]:
    """The compiled kernel sets; asked in a process of its own, so that this one stays as it is."""
    code = "from bench import native; print(*native.kernel_sets())"
    run = subprocess.run([sys.executable, "-c", code], cwd=environment.ROOT, check=True, capture_output=True, text=True)
    return run.stdout.split()


@contextmanager
def unpinned() -> Iterator[None]:
    """Processes started meanwhile may use all cores: `pytest --benchmark` keeps itself, and what it starts, to one."""
    own = set(environment.cores())
    environment.keep_to(set(environment.all_cores()))
    try:
        yield
    finally:
        environment.keep_to(own)


def table(rows: Sequence[Row]) -> str:
    """The rows as text, a line for each candidate."""
    headings = ["64-128-64-10, batch 32, Adam", "s", "NumPy/", "MiB then", "MiB at most"]
    lines = []
    for row in rows:
        if row["wrong"]:
            what = ", ".join(f"{name} off by {difference:.1e}" for name, difference in row["wrong"].items())
            lines.append([f"{row['name']}  LOSSES DISAGREE: {what}", *[""] * (len(headings) - 1)])
            continue
        base = statistics.median(row["rounds"]["NumPy"])
        for name, rounds in row["rounds"].items():
            seconds = statistics.median(rounds)
            cells = [f"{row['name']}: {name}", output.number(seconds) + timing.mark(row["disturbed"][name])]
            memory = [row[what][name] if what in row else None for what in ("resident", "peak_memory")]
            lines.append([*cells, f"{base / seconds:.2f}", *map(output.number, memory)])
    return output.table(headings, lines)


def summary(rows: Mapping[str, Row], sets: Sequence[str]) -> dict[str, Any]:
    """The medians that pages quote, by library."""
    middle = {what: {n: statistics.median(r) for n, r in row["rounds"].items()} for what, row in rows.items()}
    warm, cold = rows[WARM], rows[COLD]
    everybody = {
        name: {"seconds": seconds, "resident": warm["resident"][name], "peak": warm["peak_memory"][name]}
        for name, seconds in middle[WARM].items()
    }
    for name in sets:
        everybody[name] |= {"cold": middle[COLD][name], "cold says": cold["said"][name]}
        everybody[name]["imported"] = warm["imported"][name]
    return {
        "imports": {name.lower(): seconds for name, seconds in middle[IMPORT].items()},
        "import over empty": middle[IMPORT]["fastnn"] - middle[IMPORT]["empty"],
        "fastnn": {name: values for name, values in everybody.items() if name in sets},
        "peers": {name: values for name, values in everybody.items() if name not in sets},
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="3 processes of each kind instead of 9, no peers")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    parser.add_argument("--save", action="store_true", help="write the JSON also for --quick")
    arguments = parser.parse_args()
    if arguments.child:
        child(arguments.child)
        return 0

    header = environment.header()
    print(environment.describe(header))
    sets, rounds = available(), 3 if arguments.quick else 9
    rows = {what: measure(what, sets, not arguments.quick, rounds) for what in (IMPORT, WARM, COLD)}
    if "numba" in sets:
        rows[COMPILATION] = compilation(rows[WARM], rows[COLD])
    print(f"\n{table(list(rows.values()))}\n\n{timing.LEGEND}")
    if any(row["wrong"] for row in rows.values()):
        return 1
    found = summary(rows, sets) | {"numba imported": numba_imported(), "rows": list(rows.values())}
    print(f"\n`import fastnn` over an empty interpreter: {output.number(found['import over empty'])} s")
    print(f"numba imported by `import fastnn`: {found['numba imported']}")
    for name, values in found["fastnn"].items():
        imported = ", ".join(values["imported"]) or "neither"
        print(f"{name}: of numba and llvmlite, a process that trains with a warm cache imports {imported}")
        print(f"{name}: with an empty cache it says: {values['cold says'] or '(nothing)'}")
    if arguments.save or not arguments.quick:
        print(f"saved {output.save('startup', header, found).relative_to(environment.ROOT)}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
