"""Microseconds per training step (gather, forward, loss, backward, Adam) of fastnn and its peers.

    python -m bench.steps                 all rows but the largest network
    python -m bench.steps --quick         fewer rounds
    python -m bench.steps -k 64-128       rows and groups whose name contains the text; -k large adds the largest

Every candidate starts from the same weights and walks the rows in the same order. Before anything is timed, each must
reproduce the losses of the NumPy baseline over 20 steps in float64 (dropout off) and in the row's own dtype; a row
whose answers disagree is not timed and makes the run fail. Then the candidates take turns in one process on one thread.
"""

from __future__ import annotations

import argparse
import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from bench import environment

if __name__ == "__main__":
    environment.prepare()

import numpy as np

from bench import machine, report, timing
from bench.networks import NETWORKS, Network, Problem, problem

CHECKED_STEPS = 20
# Largest relative difference of a loss from NumPy's over those steps. In float32 Adam turns the sign of a gradient near
# zero into a whole step; scikit-learn adds eps elsewhere. The float64 bound is the one that finds mistakes.
TOLERANCE = {"float64": 1e-11, "float32": 2e-3}
SKLEARN_TOLERANCE = {"float64": 2e-3, "float32": 3e-2}
DROPOUT_TOLERANCE = 0.15  # masks are drawn differently by everyone


class Candidate(Protocol):
    chunk: int

    def run(self, order: np.ndarray) -> np.ndarray: ...


Maker = Callable[[Problem], Candidate]


def makers(network: Network, backend: str, peers: bool) -> dict[str, Maker]:
    """What takes part in a row, by column name; NumPy, the judge, first."""
    from bench.baselines.fastnn_mlp import FastnnMLP
    from bench.baselines.numpy_mlp import NumpyMLP

    found: dict[str, Maker] = {"NumPy": NumpyMLP, "fastnn": lambda p: FastnnMLP(p, backend)}
    if not peers:
        return found
    if importlib.util.find_spec("sklearn"):
        from bench.baselines import sklearn_mlp

        if sklearn_mlp.supports(network):
            found["sklearn"] = sklearn_mlp.SklearnMLP
    if importlib.util.find_spec("torch"):
        from bench.baselines.torch_mlp import TorchMLP

        found["torch"] = lambda p: TorchMLP(p, fused=False)
        found["torch fused"] = lambda p: TorchMLP(p, fused=True)
    if importlib.util.find_spec("jax"):
        from bench.baselines.jax_mlp import JaxMLP

        found["JAX jit"] = lambda p: JaxMLP(p, scan=False)
        found["JAX scan"] = lambda p: JaxMLP(p, scan=True)
    return found


def losses_of(candidate: Candidate, order: np.ndarray) -> np.ndarray:
    """The first losses of a candidate; one that may only run whole chunks runs them, or has a check of its own."""
    if hasattr(candidate, "check"):
        return np.asarray(candidate.check(order[:CHECKED_STEPS]))
    return candidate.run(order[: -(-CHECKED_STEPS // candidate.chunk) * candidate.chunk])[:CHECKED_STEPS]


def disagreements(data: Problem, made: dict[str, Maker]) -> dict[str, float]:
    """Largest relative difference from NumPy's losses, by candidate, for those that exceed their tolerance."""
    wrong = {}
    for dtype in dict.fromkeys(("float64", data.network.dtype)):
        plain = data.in_dtype(dtype).without_dropout()
        order = plain.order(1024)
        expected = losses_of(made["NumPy"](plain), order)
        for name, make in made.items():
            difference = float(np.abs(losses_of(make(plain), order) / expected - 1).max())
            bound = (SKLEARN_TOLERANCE if name == "sklearn" else TOLERANCE)[dtype]
            if not difference <= bound:  # also true for NaN
                wrong[f"{name} {dtype}"] = difference
    if data.network.dropout and not wrong:
        order = data.order(1024)
        expected = losses_of(made["NumPy"](data), order).mean()
        for name, make in made.items():
            difference = float(abs(losses_of(make(data), order).mean() / expected - 1))
            if not difference <= DROPOUT_TOLERANCE:
                wrong[f"{name} with dropout"] = difference
    return wrong


def timed(candidate: Candidate, order: np.ndarray) -> Callable[[int], None]:
    order = order[: len(order) // candidate.chunk * candidate.chunk]

    def run(steps: int) -> None:
        while steps > 0:
            candidate.run(order[:steps])
            steps -= len(order)

    return run


def measure(network: Network, rounds: int, backend: str, peers: bool) -> dict[str, Any]:
    """Check and time one row."""
    data = problem(network)
    made = makers(network, backend, peers)
    row: dict[str, Any] = {"name": network.name, "group": network.group, "flops": network.flops}
    row["wrong"] = disagreements(data, made)
    if row["wrong"]:
        return row
    candidates = {name: make(data) for name, make in made.items()}
    # Long enough that a call's own cost vanishes, short enough for memory.
    longest = max(candidate.chunk for candidate in candidates.values())
    order = data.order(max(longest, int(np.clip(4_000_000_000 // network.flops, 16, 16_384))))
    found = timing.interleaved(
        {name: timed(candidate, order) for name, candidate in candidates.items()},
        rounds,
        {name: candidate.chunk for name, candidate in candidates.items()},
    )
    row["seconds"] = {name: result.median for name, result in found.items()}
    row["best"] = {name: result.best for name, result in found.items()}
    row["disturbed"] = {name: result.disturbed for name, result in found.items()}
    row["peak"] = machine.fma_peak(network.dtype)
    row["fraction_of_peak"] = network.flops / found["fastnn"].median * 1e-9 / row["peak"]
    row["numpy_ratio"] = found["NumPy"].median / found["fastnn"].median
    row["target"] = network.target
    if "JAX scan" in found:
        row["jax_ratio"] = found["JAX scan"].median / found["fastnn"].median
        row["jax_target"] = network.jax_target
    return row


def missed(row: dict[str, Any]) -> list[str]:
    """Which promises a measured row breaks."""
    broken = []
    if row["target"] and row["numpy_ratio"] < row["target"]:
        broken.append("NumPy")
    if row["group"] == "table" and row.get("jax_ratio", np.inf) < row.get("jax_target", 0):
        broken.append("JAX")
    return broken


COLUMNS = ("NumPy", "sklearn", "torch", "torch fused", "JAX jit", "JAX scan", "fastnn")


def cells(row: dict[str, Any]) -> list[str]:
    if row["wrong"]:
        what = ", ".join(f"{name} off by {difference:.1e}" for name, difference in row["wrong"].items())
        return [f"{row['name']}  ANSWERS DISAGREE: {what}", *[""] * (len(COLUMNS) + 4)]
    times = []
    for name in COLUMNS:
        seconds = row["seconds"].get(name)
        times.append(report.number(seconds and seconds * 1e6) + timing.mark(row["disturbed"].get(name, 0)))
    ratio = f"{row['numpy_ratio']:.2f}" + (f" ({row['target']:g})" if row["target"] else "")
    jax = f"{row['jax_ratio']:.2f}" if "jax_ratio" in row else "-"
    verdict = ", ".join(missed(row))
    return [row["name"], *times, f"{row['fraction_of_peak']:.0%}", ratio, jax, f"missed: {verdict}" if verdict else ""]


def show(rows: list[dict[str, Any]]) -> str:
    headings = ["network, batch (us per step)", *COLUMNS, "of peak", "NumPy/fastnn (goal)", "JAX scan/fastnn", ""]
    return report.table(headings, [cells(row) for row in rows])


def selected(text: str) -> list[Network]:
    if not text:
        return [network for network in NETWORKS if network.group != "large"]
    return [network for network in NETWORKS if text in network.name or text == network.group]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="5 rounds instead of 15")
    parser.add_argument("-k", default="", metavar="TEXT", help="only rows whose name contains this, or of this group")
    parser.add_argument("--backend", default="auto", help="fastnn's backend")
    parser.add_argument("--no-peers", action="store_true", help="only NumPy and fastnn")
    parser.add_argument("--save", action="store_true", help="write the JSON also for --quick or -k")
    arguments = parser.parse_args()

    networks = selected(arguments.k)
    if not networks:
        parser.error(f"-k {arguments.k!r}: no row's name contains that; rows: {'; '.join(n.name for n in NETWORKS)}")
    header = environment.header()
    print(environment.describe(header))
    peaks = {dtype: machine.fma_peak(dtype, 25) for dtype in ("float32", "float64")}
    print("FMA peak of one core, GFLOP/s: " + ", ".join(f"{dtype} {peak:.0f}" for dtype, peak in peaks.items()))
    rows = []
    for number, network in enumerate(networks, 1):
        print(f"[{number}/{len(networks)}] {network.name}", file=sys.stderr, flush=True)
        rows.append(measure(network, 5 if arguments.quick else 15, arguments.backend, not arguments.no_peers))
    print("\n" + show(rows))
    print(f"\n{timing.LEGEND}")
    if arguments.save or not (arguments.quick or arguments.k):
        print(f"saved {report.save('steps', header, {'peaks': peaks, 'rows': rows}).relative_to(environment.ROOT)}")
    return 1 if any(row["wrong"] for row in rows) else 0


if __name__ == "__main__":
    raise SystemExit(main())
