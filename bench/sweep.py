"""`fnn.sweep` beside pools of processes that train the same models, one model a core, and what it costs and takes.

    python -m bench.sweep                 64 trainings, 7 rounds; 10,000 trials; a grid search
    python -m bench.sweep --quick         16 trainings, 1,000 trials, 3 rounds, no peers
    python -m bench.sweep --no-peers      only NumPy and fastnn

Trainings: 64 models of 64-128-64-10, batch 128, 200 steps each, which differ in starting weights and orders of rows.
The fastnn of the table is `fnn.sweep(build, space, X, y)`: `build` makes a model of the seed that its configuration
says, `fit` shuffles by it. The peers train in pools of as many processes as there are cores, from the same weights
and in the same orders, which lie in files that were written before: NumPy and torch in those of concurrent.futures,
scikit-learn in joblib's. Every model is trained by one thread. The clock starts before the pools do and stops at the
last result; the processes are spawned, each imports its library, and the column "start" says how long it took until
the first training began, for those who want to subtract it. "NumPy forked" has processes that are copies of this one,
which has imported everything. scikit-learn draws weights and orders by itself. fastnn's forms: threads and results in
memory, where nothing else is said; one worker; a results file, each trial on disk before it counts (the file is in
the checkout); processes.

Overhead: a function that returns at once, as 10,000 trials. Memory: the peak of a process that sweeps 10,000
trainings of some 5 ms each. Grid: see bench/grid.py.

Before anything is timed, the losses must be NumPy's, and the best accuracies scikit-learn's; see bench/trainings.py and
bench/grid.py. A candidate whose answers are not makes the run fail.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from bench import environment

if __name__ == "__main__":
    environment.prepare(pin=False)

# Processes that are spawned import this file anew, on their clock: what measures is imported by `main`.
from bench import output

MODELS, QUICK_MODELS = 64, 16
ROUNDS, QUICK_ROUNDS = 7, 3
FEWER = 3  # rounds of what takes long, and varies little

Row = Mapping[str, Any]


def trainings(quick: bool, sets: list[str], peers: bool) -> dict[str, Any]:
    """The row of many trainings."""
    from bench import trainings as measured

    count, rounds = (QUICK_MODELS, QUICK_ROUNDS) if quick else (MODELS, ROUNDS)
    return measured.measure(count, rounds, sets, peers)


def in_a_process(quick: bool) -> dict[str, Any]:
    """That row, measured by a process of its own, on the cores that the calling thread may use."""
    command = [sys.executable, "-m", "bench.sweep", "--json", *(["--quick"] if quick else [])]
    done = subprocess.run(command, cwd=environment.ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} failed:\n{done.stderr}")
    row: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return row


def measure(quick: bool, sets: list[str], peers: bool) -> dict[str, Any]:
    """All that is saved, but the header."""
    from bench import grid, trials

    rounds, count = (1, trials.QUICK_TRIALS) if quick else (FEWER, trials.TRIALS)
    found: dict[str, Any] = {"sets": sets, "rows": [trainings(quick, sets, peers)]}
    found["overhead"] = trials.overhead(count, rounds)
    found["memory"] = [trials.memory(count, name) for name in sets]
    return found | {"grid": grid.measure(rounds, sets, peers)}


LEGEND = (
    "off: largest relative difference of a loss from NumPy's; NumPy/: NumPy's time over that of the line; "
    "start: seconds until the first training began"
)


def table(rows: Sequence[Row]) -> str:
    """Rows of trainings as text, a line for each candidate."""
    from bench import timing

    headings = ["trainings, by", "workers", "s", "start", "models/s", "of peak", "NumPy/", "off"]
    lines = []
    for row in rows:
        if row["wrong"]:
            lines.append([f"{row['name']}  LOSSES DISAGREE: {_wrong(row)}", *[""] * (len(headings) - 1)])
            continue
        for name, seconds in row["seconds"].items():
            cells = [f"{row['name']}, by {name}", str(row["workers_of"][name])]
            cells += [output.number(seconds) + timing.mark(row["disturbed"][name])]
            cells += ["" if name not in row["start"] else output.number(row["start"][name], 2)]
            cells += [output.number(row["models_per_second"][name]), output.percent(row["fraction_of_peak"][name])]
            lines.append([*cells, f"{row['numpy_ratio'][name]:.2f}", f"{row['differences'][name]:.1e}"])
    return output.table(headings, lines)


def _wrong(row: Row) -> str:
    return ", ".join(f"{name} off by {difference:.1e}" for name, difference in row["wrong"].items())


def other_tables(found: Row) -> list[tuple[list[str], list[list[str]]]]:
    """Headings and lines of what there is beside the trainings, for text and pages; none of older results."""
    tables = []
    ratios = [row["over_one_worker"] for row in found["rows"] if row.get("over_one_worker")]
    if ratios:
        lines = [[name, output.number(ratio)] for name, ratio in ratios[0].items()]
        tables.append((["kernels", "speed of all workers over one"], lines))
    if "overhead" in found:
        row = found["overhead"]
        lines = [[f"{row['name']}, {name}", output.number(value)] for name, value in row["microseconds"].items()]
        tables.append((["the sweep itself", "us a trial"], lines))
    if "memory" in found:
        what = ("milliseconds", "before", "peak")
        lines = [
            [f"{row['name']}, {row['backend']}", *(output.number(row[one]) for one in what)] for row in found["memory"]
        ]
        tables.append((["memory", "ms a training", "MiB before", "MiB at most"], lines))
    if found.get("grid"):
        tables.append(_grid_table(found["grid"]))
    return tables


def _grid_table(row: Row) -> tuple[list[str], list[list[str]]]:
    if row["wrong"]:
        return [f"{row['name']}  ACCURACIES DISAGREE: {_wrong(row)}"], []
    from bench import timing

    lines = []
    for name, seconds in row["seconds"].items():
        cells = [f"{row['name']}, by {name}", output.number(seconds) + timing.mark(row["disturbed"][name])]
        ratio = row.get("sklearn_ratio", {}).get(name)
        lines.append([*cells, output.number(ratio), f"{row['accuracy'][name]:.4f}"])
    return ["search, by", "s", "sklearn/", "best mean accuracy"], lines


def main() -> int:
    """The command; returns its exit code."""
    from bench import native, timing

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer trainings, trials and rounds, no peers")
    native.add_option(parser)
    parser.add_argument("--no-peers", action="store_true", help="only NumPy and fastnn")
    parser.add_argument("--save", action="store_true", help="write the JSON also for --quick")
    parser.add_argument("--json", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    sets, peers = native.kernel_sets(arguments.backend), not (arguments.quick or arguments.no_peers)
    if arguments.json:
        print(json.dumps(trainings(arguments.quick, sets, peers)))
        return 0
    header = environment.header(threads=len(environment.cores()))
    print(environment.describe(header))
    found = measure(arguments.quick, sets, peers)
    print(f"\n{table(found['rows'])}\n\n{LEGEND}\n{timing.LEGEND}")
    for headings, lines in other_tables(found):
        print(f"\n{output.table(headings, lines)}")
    if arguments.save or not arguments.quick:
        print(f"saved {output.save('sweep', header, found).relative_to(environment.ROOT)}")
    return 1 if any(row["wrong"] for row in (found["rows"][0], found["grid"] or {"wrong": {}})) else 0


if __name__ == "__main__":
    raise SystemExit(main())
