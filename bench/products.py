"""The three products of a dense layer, as a training plan calls them: GFLOP/s, share of the FMA peak, beside NumPy.

    python -m bench.products                     all layers and batches, float32 and float64
    python -m bench.products --quick             3 short rounds, batches 1, 8, 32, 128
    python -m bench.products -k 784x128          only layers whose name contains the text
    python -m bench.products --batch 32 128      only these batches
    python -m bench.products --threads 2         products of 10 MFLOP and more on two cores

A model with such a layer is compiled, and the calls that touch its weights are timed one by one in the native loop,
whatever layouts and kernels the plan has chosen; bias included. Calls that only rearrange an operand for one of them
are a row of their own ("transposition"); the row "layer" is the sum of all. Before anything is timed, each product is
compared with NumPy's in float64. The peer is `np.matmul(out=)` on contiguous row-major arrays:
x W, dy W^T and x^T dy, without a bias. FLOPs are counted without padding and without the bias.

At batch 1 a product reads each weight once: GB/s of the weights, and the share of the read bandwidth at that footprint;
the weight gradient writes them once, which is compared with the bandwidth of updates.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from bench import environment

if __name__ == "__main__":
    environment.prepare(environment.asked_threads())

import numpy as np

import fastnn as fnn
from bench import machine, native, output, timing
from fastnn.plan.arena import Ref

LAYERS = (
    (64, 128), (128, 64), (256, 128), (784, 128), (784, 256), (1024, 1024), (4096, 4096),
    (64, 1), (64, 3), (128, 10), (784, 10),
)  # fmt: skip
BATCHES = (1, 2, 4, 8, 16, 32, 64, 128, 256)
QUICK_BATCHES = (1, 8, 32, 128)
LARGE_BATCHES = (1, 32, 128)  # of 4096x4096
DTYPES = ("float32", "float64")
THREADED = 10e6  # FLOPs of a product from which two threads should pay

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Part:
    """Some calls of a plan that make one product, or rearrange its operands."""

    name: str
    calls: native.PlanCalls
    first: int
    last: int

    def run(self, count: int) -> None:
        self.calls.run(self.first, self.last)(count)


def _touches(call: Any, arena: str, weight: str) -> bool:
    """Whether a call takes that layer's weights, or writes their gradient."""
    refs = [value for value in call.arguments.values() if isinstance(value, Ref)]
    return any(ref.arena == arena and ref.slot.name == weight for ref in refs)


def parts(calls: native.PlanCalls, layer: int) -> Iterator[Part]:
    """What a plan does for a dense layer, the last one of its model."""
    weight, before = f"W{layer}", f"W{layer - 1}"
    forward, backward = calls.section("forward"), calls.section("backward")
    started = max(q for q in forward if _touches(calls.calls[q], "parameters", before))
    ended = max(q for q in backward if any(_touches(calls.calls[q], a, weight) for a in ("parameters", "gradients")))
    own = [*range(started + 1, forward.stop), *range(backward.start, ended + 1)]
    for q in own:
        if _touches(calls.calls[q], "gradients", weight):
            name = "weight gradient"
        elif _touches(calls.calls[q], "parameters", weight):
            name = "forward" if q in forward else "input gradient"
        else:
            name = "transposition"
        yield Part(name, calls, q, q + 1)


def compiled(kernel_set: str, fan_in: int, fan_out: int, batch: int, dtype: str, threads: int) -> list[Part]:
    """The parts of the second layer of a small network with random weights and data."""
    generator = np.random.default_rng(0)
    X, y = (generator.standard_normal((batch, width)).astype(dtype) for width in (1, fan_out))
    layers = [fnn.Dense(fan_in), fnn.Dense(fan_out)]
    model = fnn.Sequential(layers, inputs=1, dtype=dtype, seed=0)
    trainer = fnn.Trainer(model, "mse", fnn.SGD(), batch_size=batch, threads=threads, backend=kernel_set)
    calls = native.PlanCalls.of(trainer, X, y, batch)
    calls.run(*calls.program.calls("gather", "backward"))(1)  # real numbers everywhere
    return list(parts(calls, 1))


def errors_of(found: list[Part]) -> float | None:
    """The largest error of the products among these parts, beside NumPy in float64; None if there is none.

    Products are recognised by what they take; operands are feature-major, (features, rows).
    """
    errors = []
    for part in found:
        given = {
            name: np.array(value, np.float64)
            for name, value in part.calls.arguments(part.first).items()
            if isinstance(value, np.ndarray) and value.dtype.kind == "f"
        }
        if part.name == "transposition":
            continue
        part.run(1)
        made = part.calls.arguments(part.first)
        if part.name == "forward":
            errors.append(error_of(made["y"], given["weight"], given["x"]))
        elif part.name == "input gradient":
            errors.append(error_of(made["dx"], given["weight"].T, given["dy"]))
        else:
            errors.append(error_of(made["dweight"], given["dy"], given["x"].T))
    return float(np.max(errors)) if errors else None


def error_of(result: Array, left: Array, right: Array) -> float:
    """The largest error of a product in units of K eps times the sum of the magnitudes of its K terms; any order of
    summation keeps below (K + 2) / K."""
    left, right = left.astype(np.float64), right.astype(np.float64)
    unit = left.shape[1] * np.finfo(result.dtype).eps * (np.abs(left) @ np.abs(right))
    return float(np.max(np.abs(result - left @ right) / np.maximum(unit, 1e-300)))


def peers(fan_in: int, fan_out: int, batch: int, dtype: str) -> dict[str, tuple[native.Run, float]]:
    """`np.matmul(out=)` of the three products, and its error."""
    generator = np.random.default_rng(1)
    shapes = ((batch, fan_in), (fan_in, fan_out), (batch, fan_out))
    x, weight, dy = (generator.standard_normal(shape).astype(dtype) for shape in shapes)
    y, dx, dweight = (np.empty_like(array) for array in (dy, x, weight))

    def repeated(count: int, left: Array, right: Array, out: Array) -> None:
        for _ in range(count):
            np.matmul(left, right, out=out)

    operands = {"forward": (x, weight, y), "input gradient": (dy, weight.T, dx), "weight gradient": (x.T, dy, dweight)}
    found = {}
    for name, (left, right, out) in operands.items():
        run = partial(repeated, left=left, right=right, out=out)
        run(1)
        found[name] = run, error_of(out, left, right)
    return found


def measure(layer: tuple[int, int], batch: int, dtype: str, sets: list[str], threads: int, quick: bool) -> list[Any]:
    """Check and time the products of one layer at one batch: a row for each."""
    made = {name: compiled(name, *layer, batch, dtype, threads) for name in sets}
    if threads > 1:
        made |= {f"{name}, 1 thread": compiled(name, *layer, batch, dtype, 1) for name in sets}
    others = peers(*layer, batch, dtype)
    flops = 2 * batch * layer[0] * layer[1]
    itemsize = np.dtype(dtype).itemsize
    terms = {"forward": layer[0], "input gradient": layer[1], "weight gradient": batch}
    rounds, stretch = (3, 0.004) if quick else (7, 0.006)
    rows = []
    for name in ("forward", "input gradient", "weight gradient", "transposition"):
        own = {column: [part for part in found if part.name == name] for column, found in made.items()}
        candidates = {column: _all(found) for column, found in own.items() if found}
        if not candidates:
            continue
        label = f"{layer[0]}x{layer[1]}, {batch}, {dtype}"
        row: dict[str, Any] = {"layer": label, "product": name, "batch": batch, "dtype": dtype, "flops": flops}
        row["weights"], row["unit"] = layer[0] * layer[1] * itemsize, "K eps"
        errors = {column: errors_of(found) for column, found in own.items()}
        if name in others:
            run, errors["NumPy"] = others[name]
            candidates["NumPy"] = run
        row["errors"] = {column: error for column, error in errors.items() if error is not None}
        row["wrong"] = {
            column: error for column, error in row["errors"].items() if not error <= 1 + 2 / terms.get(name, 1)
        }
        rows.append(row)
        if row["wrong"]:
            continue
        found = timing.interleaved(candidates, rounds, stretch=stretch, threads=threads)
        row["seconds"] = {column: result.median for column, result in found.items()}
        row["rounds"] = {column: result.rounds for column, result in found.items()}
        row["disturbed"] = {column: result.disturbed for column, result in found.items()}
        row["c/numba"] = native.ratio(row["seconds"])
        if name != "transposition":
            row |= reached(row, threads)
    return [*rows, whole(rows)] if not any(row["wrong"] for row in rows) else rows


def whole(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """All products of a layer and what they need, added up."""
    products = [row for row in rows if row["product"] != "transposition"]
    first = rows[0]
    row = {key: first[key] for key in ("layer", "batch", "dtype", "weights")} | {"product": "layer", "wrong": {}}
    row["flops"] = sum(product["flops"] for product in products)
    columns = first["seconds"].keys()
    row["seconds"] = {column: sum(part["seconds"].get(column, 0.0) for part in rows) for column in columns}
    row["disturbed"] = {column: max(part["disturbed"].get(column, 0.0) for part in rows) for column in columns}
    row["c/numba"] = native.ratio(row["seconds"])
    return row | compared(row, max(product["peak"] for product in products))


def _all(found: list[Part]) -> native.Run:
    def run(count: int) -> None:
        for part in found:
            part.run(count)

    return run


def compared(row: dict[str, Any], peak: float) -> dict[str, Any]:
    """The speed of everybody, beside the peak and beside NumPy's."""
    own = {column: value for column, value in row["seconds"].items() if column != "NumPy"}
    return {
        "peak": peak,
        "gflops": {column: row["flops"] / value * 1e-9 for column, value in row["seconds"].items()},
        "fraction_of_peak": {column: row["flops"] / value * 1e-9 / peak for column, value in own.items()},
        "numpy_ratio": {column: row["seconds"]["NumPy"] / value for column, value in own.items()},
    }


def reached(row: dict[str, Any], threads: int) -> dict[str, Any]:
    """Shares of what the machine can do, measured now."""
    found = compared(row, machine.fma_peak(row["dtype"], 3, threads=threads))
    if row["batch"] == 1:
        streams = (1, 1) if row["product"] == "weight gradient" else (1, 0)
        found["level"] = machine.level_of(row["weights"])
        # The gradient of the weights is written without having been read.
        found["bandwidth"] = machine.bandwidth(row["weights"], *streams, repeats=3) / (1 + streams[1])
        found["gigabytes"] = {column: row["weights"] / row["seconds"][column] * 1e-9 for column in found["numpy_ratio"]}
        found["fraction_of_bandwidth"] = {c: value / found["bandwidth"] for c, value in found["gigabytes"].items()}
    return found


def table(rows: list[dict[str, Any]], columns: list[str]) -> str:
    """Every row: microseconds, GFLOP/s, share of the peak and of NumPy's time, for each kernel set."""
    headings = ["layer, batch, dtype", "product", "NumPy GFLOP/s"]
    for name in columns:
        headings += [f"{name} us", "GFLOP/s", "of peak", "NumPy/", "K eps"]
    lines = []
    for row in rows:
        if row["wrong"]:
            lines.append([row["layer"], f"{row['product']} WRONG: {row['wrong']}", *[""] * (len(headings) - 1)])
            continue
        speed, share, ratio = (row.get(key, {}) for key in ("gflops", "fraction_of_peak", "numpy_ratio"))
        cells = [row["layer"], row["product"], output.number(speed.get("NumPy"))]
        for name in columns:
            seconds = row["seconds"].get(name)
            cells.append(output.number(seconds and seconds * 1e6) + timing.mark(row["disturbed"].get(name, 0)))
            cells += [output.number(speed.get(name)), output.percent(share.get(name)), output.number(ratio.get(name))]
            cells.append(output.number(row.get("errors", {}).get(name), 2))
        lines.append([*cells, output.number(row["c/numba"])])
    return output.table([*headings, "c/numba"], lines)


def bandwidth_table(rows: list[dict[str, Any]], columns: list[str]) -> str:
    """What products of one row reach of the bandwidth at which their weights can be read (or written)."""
    headings = ["layer, batch, dtype", "product", "weights in", "GB/s possible"]
    headings += [text for name in columns for text in (f"{name} GB/s", "of it")]
    lines = []
    for row in rows:
        if "bandwidth" in row:
            cells = [row["layer"], row["product"], row["level"], output.number(row["bandwidth"])]
            for name in columns:
                share = row["fraction_of_bandwidth"].get(name)
                cells += [output.number(row["gigabytes"].get(name)), output.percent(share)]
            lines.append(cells)
    return output.table(headings, lines) if lines else ""


WIDE = ("64x128", "128x64", "256x128", "784x128", "784x256")
GROUPS: dict[str, tuple[str, Callable[[dict[str, Any]], bool]]] = {
    "64x128 to 784x256, batch >= 32": ("fraction_of_peak", lambda r: _layer(r) in WIDE and r["batch"] >= 32),
    "1024x1024 and 4096x4096, batch >= 128": (
        "fraction_of_peak",
        lambda r: _layer(r) in ("1024x1024", "4096x4096") and r["batch"] >= 128,
    ),
    "4096x4096, batch 32": ("fraction_of_peak", lambda r: _layer(r) == "4096x4096" and r["batch"] == 32),
    "all, beside NumPy": ("numpy_ratio", lambda r: True),
    "batch 1": ("fraction_of_bandwidth", lambda r: r["batch"] == 1 and "bandwidth" in r),
    "10 MFLOP and more, batch >= 32": ("fraction_of_peak", lambda r: r["flops"] >= THREADED and r["batch"] >= 32),
}


def _layer(row: dict[str, Any]) -> str:
    return str(row["layer"]).split(",", 1)[0]


def least(rows: list[dict[str, Any]], name: str, group: str, product: str) -> tuple[float, str] | None:
    """The least figure of a kernel set in a group of rows, and whose it is; None where there is no row."""
    key, belongs = GROUPS[group]
    own = [r for r in rows if not r["wrong"] and r["product"] == product and belongs(r) and name in r.get(key, {})]
    if not own:
        return None
    worst = min(own, key=lambda row: float(row[key][name]))
    return float(worst[key][name]), str(worst["layer"])


PRODUCTS = ("forward", "weight gradient", "input gradient", "layer")


def summary(rows: list[dict[str, Any]], sets: list[str]) -> str:
    """The least figure of every group."""
    lines = []
    for group, (key, _) in GROUPS.items():
        for product in PRODUCTS:
            cells = []
            for name in sets:
                found = least(rows, name, group, product)
                form = output.number if key == "numpy_ratio" else output.percent
                cells.append(f"{form(found[0])} ({found[1]})" if found else "-")
            if any(cell != "-" for cell in cells):
                lines.append([group, product, key.replace("_", " "), *cells])
    return output.table(["at least", "product", "what", *sets], lines)


def selected(text: str, batches: list[int] | None, quick: bool, threads: int) -> list[tuple[tuple[int, int], int]]:
    found = []
    for layer in LAYERS:
        large = layer[0] * layer[1] > 2**22
        if text not in f"{layer[0]}x{layer[1]}":
            continue
        for batch in batches or (LARGE_BATCHES if large else QUICK_BATCHES if quick else BATCHES):
            if threads == 1 or 2 * batch * layer[0] * layer[1] >= THREADED:
                found.append((layer, batch))
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="3 short rounds instead of 7, fewer batches")
    parser.add_argument("-k", default="", metavar="TEXT", help="only layers whose name contains this")
    parser.add_argument("--batch", type=int, nargs="+", metavar="B", help="only these batches")
    parser.add_argument("--dtype", choices=DTYPES, help="only this dtype")
    native.add_option(parser)
    parser.add_argument("--threads", type=int, default=1, help="threads of a product; 2: only large products")
    parser.add_argument("--save", action="store_true", help="write the JSON also for a selection")
    arguments = parser.parse_args()

    cases = selected(arguments.k, arguments.batch, arguments.quick, arguments.threads)
    if not cases:
        parser.error(f"no layer and batch fits; layers: {', '.join(f'{i}x{o}' for i, o in LAYERS)}")
    sets, threads = native.kernel_sets(arguments.backend), arguments.threads
    header = environment.header(threads)
    print(environment.describe(header))
    rows = []
    for number, (layer, batch) in enumerate(cases, 1):
        print(f"[{number}/{len(cases)}] {layer[0]}x{layer[1]}, {batch}", file=sys.stderr, flush=True)
        for dtype in [arguments.dtype] if arguments.dtype else DTYPES:
            rows += measure(layer, batch, dtype, sets, threads, arguments.quick)
    columns = [*sets, *(f"{name}, 1 thread" for name in sets if threads > 1)]
    for text in (table(rows, columns), bandwidth_table(rows, columns), summary(rows, sets)):
        print(f"\n{text}")
    print(timing.LEGEND)
    selection = arguments.quick or arguments.k or arguments.batch or arguments.dtype
    if arguments.save or not selection:
        name = "products" if threads == 1 else f"products_{threads}_threads"
        print(f"saved {output.save(name, header, {'sets': sets, 'rows': rows}).relative_to(environment.ROOT)}")
    return 1 if any(row["wrong"] for row in rows) else 0


if __name__ == "__main__":
    raise SystemExit(main())
