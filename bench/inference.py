"""Microseconds per prediction with given weights: fastnn's kernel sets, NumPy by hand, the reference and other peers.

    python -m bench.inference                 four networks at batch 1 and 1024
    python -m bench.inference --quick         fewer and shorter rounds
    python -m bench.inference -k 784-256      rows by a part of their name
    python -m bench.inference --no-peers      only NumPy and fastnn

The column of a kernel set is `model.predictor(backend).run(X)`, the fastest way that a user of fastnn has: it makes no
checks, which are those of `model.predict(X, backend=backend)`, the column beside it. "reference" is the same predictor
with the NumPy kernels of the table of operations. NumPy by hand is `np.matmul(out=)` into arrays that exist; torch runs
in eager mode under no_grad and eval(), JAX under jit, scikit-learn through MLPRegressor.predict, which checks its input
as well. Everybody has the same weights, and the input as an array of its own kind.

Before anything is timed, all outputs are compared with float64. An error counts in eps times the size of the last sums:
the sum of |h| |W| over the inputs of the last layer, and |b|. A row with an answer beyond TOLERANCE is not timed and
makes the run fail. FLOPs are those of the products, without padding and without the bias.
"""

from __future__ import annotations

import argparse
import importlib.util
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from bench import environment

if __name__ == "__main__":
    environment.prepare()

import numpy as np

from bench import machine, native, output, timing
from bench.networks import Network, Problem, problem

WIDTHS = ((4, 16, 16, 3), (64, 128, 64, 10), (784, 256, 128, 10), (784, 1024, 1024, 10))
BATCHES = (1, 1024)
ROWS = {row.name: row for row in (Network(widths, batch, rows=1024) for widths in WIDTHS for batch in BATCHES)}
# In eps times the size of the last sums. All are below 4 here; weights rounded to 17 bits or less give 12 and more.
TOLERANCE = 8.0
PEERS = ("NumPy", "reference", "sklearn", "torch", "JAX jit")
CHECKED = ", predict"  # behind the name of a kernel set: with the checks of `model.predict`

Array = np.ndarray[Any, Any]
Predict = Callable[[], Any]
"""The outputs (rows, outputs) of a row's network on its input, in an array of the library's own kind."""


def data_of(network: Network) -> tuple[Problem, Array]:
    """Weights, with biases that are not zero, and the rows to predict: as many as a batch has."""
    data, generator = problem(network), np.random.default_rng(7)
    weights = [w if w.ndim == 2 else 0.1 * generator.standard_normal(w.shape, dtype=w.dtype) for w in data.weights]
    return replace(data, weights=weights), np.ascontiguousarray(data.X[: network.batch])


def exact(data: Problem, X: Array) -> tuple[Array, Array]:
    """The outputs in float64, and the size of the sums that make them."""
    x = X.astype(np.float64)
    *hidden, last, bias = [value.astype(np.float64) for value in data.weights]
    for weight, shift in zip(hidden[::2], hidden[1::2], strict=True):
        x = np.maximum(x @ weight + shift, 0)
    return x @ last + bias, np.abs(x) @ np.abs(last) + np.abs(bias)


def error_of(outputs: Any, expected: Array, size: Array) -> float:
    """The largest error of an output, in eps of its dtype times the size of its sum; infinite for another shape."""
    outputs = np.asarray(outputs)
    if outputs.shape != expected.shape:
        return float("inf")
    return float((np.abs(outputs - expected) / (np.finfo(outputs.dtype).eps * size)).max())


def numpy_by_hand(data: Problem, X: Array) -> Predict:
    """Dense layers with ReLU between them, everything written into arrays that were made before."""
    weights, biases = data.weights[::2], data.weights[1::2]
    values = [np.empty((len(X), len(bias)), X.dtype) for bias in biases]

    def predict() -> Array:
        x = X
        for weight, bias, y in zip(weights, biases, values, strict=True):
            np.matmul(x, weight, out=y)
            y += bias
            if y is not values[-1]:
                np.maximum(y, 0, out=y)
            x = y
        return x

    return predict


def sklearn_predict(data: Problem, X: Array) -> Predict:
    """scikit-learn's regressor, whose outputs are those of the last layer, with the given weights in its arrays."""
    from sklearn.neural_network import MLPRegressor

    model = MLPRegressor(hidden_layer_sizes=data.network.widths[1:-1], activation="relu")
    model.partial_fit(data.X[:2], np.zeros((2, data.network.widths[-1]), X.dtype))  # makes the arrays
    model.coefs_, model.intercepts_ = list(data.weights[::2]), list(data.weights[1::2])
    return partial(model.predict, X)


def torch_predict(data: Problem, X: Array) -> Predict:
    import torch

    from bench.baselines.torch_mlp import TorchMLP

    model, x = TorchMLP(data, fused=False).model.eval(), torch.from_numpy(X)

    def predict() -> Any:
        with torch.no_grad():
            return model(x)

    return predict


def jax_predict(data: Problem, X: Array) -> Predict:
    import jax

    from bench.baselines.jax_mlp import JaxMLP, forward

    params, key = JaxMLP(data, scan=False).state[0], jax.random.key(0)
    call, x = jax.jit(lambda params, x: forward(data.network, params, x, key)), jax.numpy.asarray(X)
    return lambda: call(params, x).block_until_ready()


def candidates(data: Problem, X: Array, sets: list[str], peers: bool) -> dict[str, Predict]:
    """What takes part in a row, by column name."""
    from bench.baselines.fastnn_mlp import model_of

    model = model_of(data)
    found = {"NumPy": numpy_by_hand(data, X), "reference": partial(model.predictor("reference").run, X)}
    others = {"sklearn": sklearn_predict, "torch": torch_predict, "jax": jax_predict}
    for library, make in others.items():
        if peers and importlib.util.find_spec(library):
            found["JAX jit" if library == "jax" else library] = make(data, X)
    for name in sets:
        found[name] = partial(model.predictor(name).run, X)
        found[f"{name}{CHECKED}"] = partial(model.predict, X, backend=name)
    return found


def repeated(predict: Predict) -> native.Run:
    def run(count: int) -> None:
        for _ in range(count):
            predict()

    return run


def measure(network: Network, sets: list[str], peers: bool, quick: bool) -> dict[str, Any]:
    """Check and time one row."""
    data, X = data_of(network)
    made, (expected, size) = candidates(data, X, sets, peers), exact(data, X)
    flops = 2 * len(X) * sum(fan_in * fan_out for fan_in, fan_out in pairwise(network.widths))
    row: dict[str, Any] = {"name": network.name, "batch": len(X), "flops": flops, "unit": "eps"}
    row["errors"] = {name: error_of(predict(), expected, size) for name, predict in made.items()}
    row["wrong"] = {name: error for name, error in row["errors"].items() if not error <= TOLERANCE}  # NaN is wrong too
    if row["wrong"]:
        return row
    peak = machine.fma_peak(network.dtype)
    rounds, stretch = (5, 0.015) if quick else (15, timing.STRETCH)
    found = timing.interleaved({name: repeated(predict) for name, predict in made.items()}, rounds, stretch=stretch)
    row["peak"] = max(peak, machine.fma_peak(network.dtype))
    row["seconds"] = {name: result.median for name, result in found.items()}
    row["rounds"] = {name: result.rounds for name, result in found.items()}
    row["disturbed"] = {name: result.disturbed for name, result in found.items()}
    row["rows_per_second"] = {name: len(X) / seconds for name, seconds in row["seconds"].items()}
    row["gflops"] = {name: flops / seconds * 1e-9 for name, seconds in row["seconds"].items()}
    row["fraction_of_peak"] = {name: speed / row["peak"] for name, speed in row["gflops"].items()}
    row["numpy_ratio"] = {name: row["seconds"]["NumPy"] / seconds for name, seconds in row["seconds"].items()}
    return row | {"c/numba": native.ratio(row["seconds"])}


LEGEND = (
    f"c, numba: model.predictor(backend).run(X); with {CHECKED!r}: model.predict(X, backend=backend)\n"
    "error: the largest one of an output against float64, in eps times the size of its sum; NumPy/: NumPy's time over "
    "fastnn's; c/numba: times"
)


def table(rows: list[dict[str, Any]], sets: list[str]) -> str:
    """The rows as text: times of everybody, then what each kernel set reaches."""
    forms = [form for name in sets for form in (name, f"{name}{CHECKED}")]
    columns = [name for name in (*PEERS, *forms) if any(name in row.get("seconds", {}) for row in rows)]
    headings = ["network, batch (us per call)", *columns]
    headings += [what for name in sets for what in (f"{name}: rows/s", "GFLOP/s", "of peak", "NumPy/", "error")]
    headings += ["NumPy: error", "c/numba"]
    lines = []
    for row in rows:
        if row["wrong"]:
            what = ", ".join(f"{name} off by {error:.3g} eps" for name, error in row["wrong"].items())
            lines.append([f"{row['name']}  ANSWERS DISAGREE: {what}", *[""] * (len(headings) - 1)])
            continue
        cells = [row["name"]]
        for name in columns:
            seconds = row["seconds"].get(name)
            cells.append(output.number(seconds and seconds * 1e6) + timing.mark(row["disturbed"].get(name, 0)))
        for name in sets:
            cells += [f"{row['rows_per_second'][name]:,.0f}", output.number(row["gflops"][name])]
            share = row["fraction_of_peak"][name]
            cells += [f"{share:.1%}" if share < 0.1 else output.percent(share)]
            cells += [f"{row['numpy_ratio'][name]:.2f}", f"{row['errors'][name]:.2f}"]
        lines.append([*cells, f"{row['errors']['NumPy']:.2f}", output.number(row["c/numba"])])
    return output.table(headings, lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="5 short rounds instead of 15")
    parser.add_argument("-k", default="", metavar="TEXT", help="only rows whose name contains this")
    native.add_option(parser)
    parser.add_argument("--no-peers", action="store_true", help="only NumPy and fastnn")
    parser.add_argument("--save", action="store_true", help="write the JSON also for --quick or -k")
    arguments = parser.parse_args()

    networks = [network for name, network in ROWS.items() if arguments.k in name]
    if not networks:
        parser.error(f"-k {arguments.k!r}: no row's name contains that; rows: {'; '.join(ROWS)}")
    sets = native.kernel_sets(arguments.backend)
    header = environment.header()
    print(environment.describe(header))
    rows = []
    for number, network in enumerate(networks, 1):
        print(f"[{number}/{len(networks)}] {network.name}", file=sys.stderr, flush=True)
        rows.append(measure(network, sets, not arguments.no_peers, arguments.quick))
    print(f"\n{table(rows, sets)}\n\n{LEGEND}\n{timing.LEGEND}")
    if arguments.save or not (arguments.quick or arguments.k):
        saved = output.save("inference", header, {"sets": sets, "rows": rows})
        print(f"saved {saved.relative_to(environment.ROOT)}")
    return 1 if any(row["wrong"] for row in rows) else 0


if __name__ == "__main__":
    raise SystemExit(main())
