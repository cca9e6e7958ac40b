"""Microseconds per training step (gather, forward, loss, backward, Adam) of fastnn's kernel sets and their peers.

    python -m bench.steps                 all rows but the largest network
    python -m bench.steps --quick         fewer rounds
    python -m bench.steps -k 64-128       rows by a part of their name, or by group: table, odd, width, bf16, large
    python -m bench.steps -k bf16 --save  products of bfloat16, as a result of its own
    python -m bench.steps --no-peers      only NumPy and fastnn
    python -m bench.steps --compiled      PyTorch's compiled step too: takes half a minute more for each row
    python -m bench.steps --threads 2     networks with products of 10 MFLOP and more, and the full batch, on two cores

Every candidate starts from the same weights and walks the rows in the same order. Before anything is timed, each must
reproduce the losses of the NumPy baseline over 20 steps in float64 (dropout off) and in the row's own dtype; a row
whose answers disagree is not timed and makes the run fail. How far each has drifted from float64 after 20 and after 300
steps stands in the row (bench/agreement.py). Then the candidates take turns in one process, all with the same number of
threads.
"""

from __future__ import annotations

import argparse
import importlib.util
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from bench import environment

if __name__ == "__main__":
    environment.prepare(environment.asked_threads())

import numpy as np

from bench import agreement, machine, native, output, timing
from bench.agreement import Candidate, Maker
from bench.networks import NETWORKS, Network, problem
from fastnn.kernels import OPERATIONS, backends


def makers(network: Network, sets: list[str], threads: int, peers: bool, compiled: bool = False) -> dict[str, Maker]:
    """What takes part in a row, by column name: NumPy, the judge, first; then fastnn's kernel sets.

    compiled   PyTorch's compiled step is among the peers, where there is a C++ compiler
    """
    from bench.baselines.fastnn_mlp import FastnnMLP
    from bench.baselines.numpy_mlp import NumpyMLP

    found: dict[str, Maker] = {"NumPy": NumpyMLP}
    for name in sets:
        found[name] = partial(FastnnMLP, backend=name, threads=threads)
        if threads > 1:
            found[f"{name}, 1 thread"] = partial(FastnnMLP, backend=name)
        if network.group == "bf16" and backends.can_run(name, OPERATIONS["dense_forward_bf16"]):
            found[f"{name}, bf16"] = partial(FastnnMLP, backend=name, threads=threads, precision="bf16")
    if not peers or network.group != "table":
        return found
    if importlib.util.find_spec("sklearn"):
        from bench.baselines import sklearn_mlp

        if sklearn_mlp.supports(network):
            found["sklearn"] = sklearn_mlp.SklearnMLP
    if importlib.util.find_spec("torch"):
        from bench.baselines import torch_mlp

        found["torch"] = partial(torch_mlp.TorchMLP, fused=False)
        found["torch fused"] = partial(torch_mlp.TorchMLP, fused=True)
        if compiled and torch_mlp.can_compile():
            found["torch compiled"] = torch_mlp.TorchCompiledMLP
    if importlib.util.find_spec("jax"):
        from bench.baselines.jax_mlp import JaxMLP

        found["JAX jit"] = partial(JaxMLP, scan=False)
        found["JAX scan"] = partial(JaxMLP, scan=True)
    return found


def timed(candidate: Candidate, order: np.ndarray) -> Callable[[int], None]:
    order = order[: len(order) // candidate.chunk * candidate.chunk]

    def run(steps: int) -> None:
        while steps > 0:
            candidate.run(order[:steps])
            steps -= len(order)

    return run


def floor(network: Network, threads: int) -> dict[str, float]:
    """What no step can be faster than: its products at the FMA peak, then Adam's bytes at the bandwidth of updates in
    the memory that holds parameters, gradients and moments; both measured now."""
    peak = machine.fma_peak(network.dtype, threads=threads)
    streams, written = machine.ADAM
    vector = network.parameters * np.dtype(network.dtype).itemsize
    bandwidth = machine.bandwidth(streams * vector, streams, written, threads=threads)
    seconds = network.flops / peak * 1e-9 + (streams + written) * vector / bandwidth * 1e-9
    return {"peak": peak, "footprint": streams * vector, "bandwidth": bandwidth, "floor": seconds}


def measure(
    network: Network, rounds: int, sets: list[str], threads: int, peers: bool, compiled: bool = False
) -> dict[str, Any]:
    """Check and time one row."""
    data = problem(network)
    made = makers(network, sets, threads, peers, compiled)
    row: dict[str, Any] = {"name": network.name, "group": network.group, "flops": network.flops, "backend": sets[-1]}
    row["wrong"] = agreement.disagreements(data, made)
    if row["wrong"]:
        return row
    row["loss_difference"] = agreement.loss_differences(data, made)
    candidates = {name: make(data) for name, make in made.items()}
    orders = dict.fromkeys(candidates, data)
    if network.neighbour is not None:
        for name in sets:
            orders[f"{name} beside"] = beside = problem(network.neighbour)
            candidates[f"{name} beside"] = made[name](beside)
    # Long enough that a call's own cost vanishes, short enough for memory.
    longest = max(candidate.chunk for candidate in candidates.values())
    steps = max(longest, int(np.clip(4_000_000_000 // network.flops, 16, 16_384)))
    before = floor(network, threads)
    found = timing.interleaved(
        {name: timed(candidate, orders[name].order(steps)) for name, candidate in candidates.items()},
        rounds,
        {name: candidate.chunk for name, candidate in candidates.items()},
        threads=threads,
    )
    row["seconds"] = {name: result.median for name, result in found.items()}
    row["best"] = {name: result.best for name, result in found.items()}
    row["rounds"] = {name: result.rounds for name, result in found.items()}
    row["disturbed"] = {name: result.disturbed for name, result in found.items()}
    row |= min(before, floor(network, threads), key=lambda found: found["floor"])
    row["fastnn"] = {name: compared(row, name) for name in sets}
    row["c/numba"] = native.ratio(row["seconds"])
    row |= row["fastnn"][row["backend"]] | {"target": network.target, "jax_target": network.jax_target}
    return row


def compared(row: dict[str, Any], name: str) -> dict[str, float]:
    """The speed of one of fastnn's kernel sets beside what a row holds of others."""
    seconds = row["seconds"]
    found = {
        "fraction_of_peak": row["flops"] / seconds[name] * 1e-9 / row["peak"],
        "fraction_of_floor": row["floor"] / seconds[name],
        "numpy_ratio": seconds["NumPy"] / seconds[name],
    }
    others = {
        "jax_ratio": "JAX scan", "over_neighbour": f"{name} beside", "speedup": f"{name}, 1 thread",
        "bf16_speedup": f"{name}, bf16",
    }  # fmt: skip
    for what, other in others.items():
        if other in seconds:
            found[what] = seconds[other] / seconds[name]
    for what in ("over_neighbour", "bf16_speedup"):
        if what in found:
            found[what] = 1 / found[what]
    return found


def missed(row: dict[str, Any]) -> list[str]:
    """Which promises a measured row breaks."""
    broken = []
    if row["target"] and row["numpy_ratio"] < row["target"]:
        broken.append("NumPy")
    if row["group"] == "table" and row.get("jax_ratio", np.inf) < row.get("jax_target", 0):
        broken.append("JAX")
    return broken


PEERS = ("NumPy", "sklearn", "torch", "torch fused", "torch compiled", "JAX jit", "JAX scan")
LABELS = {
    "fraction_of_peak": "of peak", "fraction_of_floor": "of floor", "numpy_ratio": "NumPy/", "jax_ratio": "JAX scan/",
    "over_neighbour": "/even", "speedup": "1 thread/", "bf16_speedup": "/bf16",
}  # fmt: skip
LEGEND = (
    "of floor: the step's floor (products at the FMA peak, Adam's bytes at the bandwidth of that footprint) over its "
    "time\nNumPy/: NumPy's time over fastnn's; /even: fastnn's over that of the network of whole vectors beside it; "
    "/bf16: over its time with that precision; c/numba: times"
)


def heading(what: str, name: str) -> str:
    """The heading of the column that says what a kernel set reaches."""
    return f"{LABELS[what]}{'' if LABELS[what].endswith('/') else ' '}{name}"


def table(rows: list[dict[str, Any]], sets: list[str]) -> str:
    """The rows as text: times of everybody, then what each kernel set reaches."""
    measured = [row for row in rows if not row["wrong"]]
    peers = [name for name in PEERS if any(name in row["seconds"] for row in measured)]
    reached = [what for what in LABELS if any(what in row["fastnn"][name] for row in measured for name in sets)]
    headings = ["network, batch (us per step)", *peers, *sets, "floor"]
    headings += [heading(what, name) for what in reached for name in sets]
    headings += ["c/numba", *(f"loss after {agreement.LONG_STEPS} {name}" for name in sets), ""]
    lines = []
    for row in rows:
        if row["wrong"]:
            what = ", ".join(f"{name} off by {difference:.1e}" for name, difference in row["wrong"].items())
            lines.append([f"{row['name']}  ANSWERS DISAGREE: {what}", *[""] * (len(headings) - 1)])
            continue
        cells = [row["name"]]
        for name in (*peers, *sets):
            seconds = row["seconds"].get(name)
            cells.append(output.number(seconds and seconds * 1e6) + timing.mark(row["disturbed"].get(name, 0)))
        cells.append(output.number(row["floor"] * 1e6))
        for what in reached:
            form = output.percent if what.startswith("fraction") else output.number
            cells += [form(row["fastnn"][name].get(what)) for name in sets]
        cells.append(output.number(row["c/numba"]))
        late = [row["loss_difference"][name][str(agreement.LONG_STEPS)] for name in sets]
        cells += ["-" if difference is None else f"{difference:.1e}" for difference in late]
        broken = ", ".join(missed(row))
        lines.append([*cells, f"missed: {broken}" if broken else ""])
    return output.table(headings, lines)


def selected(text: str, threads: int) -> list[Network]:
    if text:
        return [n for n in NETWORKS if text in n.name or text == n.group]
    if threads > 1:  # where there is something to share out
        return [n for n in NETWORKS if n.group == "table" and (n.flops_of_largest >= 10e6 or not n.batch)]
    return [network for network in NETWORKS if network.group != "large"]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="5 rounds instead of 15")
    parser.add_argument("-k", default="", metavar="TEXT", help="only rows whose name contains this, or of a group")
    native.add_option(parser)
    parser.add_argument("--threads", type=int, default=1, help="threads of a step; 2: only networks with work for them")
    parser.add_argument("--no-peers", action="store_true", help="only NumPy and fastnn")
    parser.add_argument("--compiled", action="store_true", help="PyTorch's compiled step too, with a C++ compiler")
    parser.add_argument("--save", action="store_true", help="write the JSON also for --quick or -k")
    arguments = parser.parse_args()

    networks, threads = selected(arguments.k, arguments.threads), arguments.threads
    if not networks:
        parser.error(f"-k {arguments.k!r}: no row's name contains that; rows: {'; '.join(n.name for n in NETWORKS)}")
    sets = native.kernel_sets(arguments.backend)
    header = environment.header(threads)
    print(environment.describe(header))
    peaks = {dtype: machine.fma_peak(dtype, 25, threads=threads) for dtype in ("float32", "float64")}
    cores = "one core" if threads == 1 else f"{threads} cores"
    print(f"FMA peak of {cores}, GFLOP/s: " + ", ".join(f"{dtype} {peak:.0f}" for dtype, peak in peaks.items()))
    rows = []
    for number, network in enumerate(networks, 1):
        print(f"[{number}/{len(networks)}] {network.name}", file=sys.stderr, flush=True)
        rounds, peers = 5 if arguments.quick else 15, not arguments.no_peers
        rows.append(measure(network, rounds, sets, threads, peers, arguments.compiled))
    print(f"\n{table(rows, sets)}\n\n{LEGEND}\n{agreement.LEGEND}\n{timing.LEGEND}")
    if arguments.save or not (arguments.quick or arguments.k):
        name = "steps" if threads == 1 else f"steps_{threads}_threads"
        name += f"_{arguments.k}" if arguments.k == "bf16" else ""
        saved = output.save(name, header, {"peaks": peaks, "sets": sets, "rows": rows})
        print(f"saved {saved.relative_to(environment.ROOT)}")
    return 1 if any(row["wrong"] for row in rows) else 0


if __name__ == "__main__":
    raise SystemExit(main())
