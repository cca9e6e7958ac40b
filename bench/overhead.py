"""What a call costs over the work itself: one kernel on plain arrays, one training step, one run.

    python -m bench.overhead
    python -m bench.overhead --quick      fewer rounds

"kernel" is the same kernel on equal arrays called by the native loop: the work itself. "call" is
`fastnn.ops.<name>(...)` with all its checks, "bound" the function that `fastnn.ops.<name>.bind(...)` returns, which has
made them; what they take over the kernel is their cost. A step is one of 4-16-16-3 at batch 32: in a long run ("run"),
one by one from `for loss in bound.steps(order)` ("steps"), in a run of a single step ("run of one"), and on batches
from an iterator, which are checked, gathered and run together as by `fit(batches)` ("batches"). What fastnn does not
offer is left out. An empty Python function and an empty native one (by ctypes) stand beside them.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))  # cases
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from bench import environment

if __name__ == "__main__":
    environment.prepare()

import cases

from bench import machine, native, output, timing
from bench.networks import NETWORKS, problem
from fastnn import ops
from fastnn.kernels import OPERATIONS

CALLS = (
    ("sgd_update", {"N": 256}), ("adam_update", {"N": 256}), ("tanh_forward", {"F": 16, "B": 16}),
    ("dense_forward", {"O": 16, "B": 16, "K": 16}), ("cross_entropy", {"C": 10, "B": 16}),
)  # fmt: skip
NETWORK = "4-16-16-3, 32"
STEPS = 2048

Timings = dict[str, timing.Timing]


def repeated(function: Callable[[], object]) -> native.Run:
    def run(count: int) -> None:
        for _ in range(count):
            function()

    return run


def call_row(name: str, sizes: dict[str, int], kernel_set: str, rounds: int) -> dict[str, Any]:
    """Nanoseconds of one operation on small float32 arrays: through the native loop, fastnn.ops, and bound."""
    entry = OPERATIONS[name]
    arguments = cases.arguments(name, sizes, "float32")
    values = list(arguments.values())
    function = getattr(ops, name)
    candidates = {"kernel": native.one_call(kernel_set, entry, "float32", arguments)[0]}
    candidates["call"] = repeated(lambda: function(*values, backend=kernel_set))
    if hasattr(function, "bind"):
        candidates["bound"] = repeated(function.bind(*values, backend=kernel_set))
    found = timing.interleaved(candidates, rounds, stretch=0.01)
    return {"name": f"ops.{name}", "backend": kernel_set, **_summary(found, "kernel")}


def step_row(kernel_set: str, rounds: int) -> dict[str, Any]:
    """Nanoseconds of a step of the smallest network: in a run, one by one, and as a run of its own."""
    from bench.baselines.fastnn_mlp import FastnnMLP

    data = problem(next(network for network in NETWORKS if network.name == NETWORK))
    order = data.order(STEPS)
    bound = FastnnMLP(data, kernel_set).bound

    def run(count: int) -> None:
        for done in range(0, count, STEPS):
            bound.run(order[: count - done])

    candidates: dict[str, native.Run] = {"run": run, "run of one": repeated(lambda: bound.run(order[:1]))}
    if hasattr(bound, "steps"):

        def steps(count: int) -> None:
            for done in range(0, count, STEPS):
                for _ in bound.steps(order[: count - done]):
                    pass

        candidates["steps"] = steps
    from_batches = batches_of(data, order, kernel_set)
    if from_batches is not None:
        candidates["batches"] = from_batches
    found = timing.interleaved(candidates, rounds, stretch=0.02)
    return {"name": f"step of {NETWORK}", "backend": kernel_set, **_summary(found, "run")}


def batches_of(data: Any, order: Any, kernel_set: str) -> native.Run | None:
    """Steps on the same rows from a list of batches, as `fit` makes them."""
    from bench.baselines.fastnn_mlp import FastnnMLP

    try:
        from fastnn.batches import Batches, BatchSource
    except ImportError:
        return None
    trainer = FastnnMLP(data, kernel_set).trainer
    given = [(data.X[rows], data.y[rows]) for rows in order]
    source = BatchSource(trainer, Batches(given, "batches", trainer.model, trainer.loss, False))

    def run(count: int) -> None:
        while count:
            source.begin(0, 0)
            while count and (fetched := source.fetch(count)):
                source.run(None)
                count -= fetched

    return run


def _summary(found: Timings, work: str) -> dict[str, Any]:
    return {
        "work": work,
        "nanoseconds": {name: result.median * 1e9 for name, result in found.items()},
        "over": {name: (found[name].median - found[work].median) * 1e9 for name in found if name != work},
        "disturbed": {name: result.disturbed for name, result in found.items()},
    }


def cells(row: dict[str, Any]) -> list[str]:
    found = [row["name"], row["backend"], output.number(row["nanoseconds"][row["work"]])]
    for columns in (("call", "run of one"), ("bound", "steps"), ("batches",)):
        name = next((name for name in columns if name in row["over"]), None)
        if name is None:
            found += ["-", "-"]
            continue
        mark = timing.mark(row["disturbed"][name])
        found += [f"{name}: {row['nanoseconds'][name]:,.0f}{mark}", f"{row['over'][name]:,.0f}"]
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="5 rounds instead of 25")
    native.add_option(parser)
    parser.add_argument("--save", action="store_true", help="write the JSON also for --quick")
    arguments = parser.parse_args()
    sets, rounds = native.kernel_sets(arguments.backend), 5 if arguments.quick else 25
    header = environment.header()
    print(environment.describe(header))
    empty = {"ctypes": machine.call_nanoseconds(rounds)}
    found = timing.interleaved({"Python": repeated(lambda: None)}, rounds, stretch=0.01)
    empty["Python"] = found["Python"].median * 1e9
    rows = [call_row(name, sizes, kernel_set, rounds) for name, sizes in CALLS for kernel_set in sets]
    rows += [step_row(kernel_set, rounds) for kernel_set in sets]
    headings = ["nanoseconds", "kernels", "work itself", "checked at each call", "over", "bound", "over", "", "over"]
    print("\n" + output.table(headings, [cells(row) for row in rows]))
    print(f"\nan empty call: {empty['Python']:.0f} ns of a Python function, {empty['ctypes']:.0f} ns of a native one")
    print(timing.LEGEND)
    if arguments.save or not arguments.quick:
        payload = {"sets": sets, "empty": empty, "rows": rows}
        print(f"saved {output.save('overhead', header, payload).relative_to(environment.ROOT)}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
