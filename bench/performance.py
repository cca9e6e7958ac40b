"""docs/performance.md from the newest saved result of every benchmark; bench.report writes it.

A benchmark without a saved result has no section. Each section names the machine, the date, the versions and the commit
of its own run.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from bench import agreement, environment, kernels, output, pictures, products, readme, steps, sweep, timing

PAGE = environment.ROOT / "docs" / "performance.md"
TITLE = """# Performance

How fast each part of fastnn is, by kernel set, beside what the machine can do and beside its peers. Written by
`python -m bench.report` from the files in `bench/results/`; how a figure is measured says the docstring of the
benchmark that is named with it.
"""

Result = dict[str, Any]
percent, number = output.percent, output.number


def microseconds(seconds: float | None) -> str:
    """Seconds as microseconds with three digits."""
    return number(None if seconds is None else seconds * 1e6)


def exponent(value: float | None) -> str:
    """A small number with two digits; "-" for None."""
    return "-" if value is None else f"{value:.1e}"


def about(result: Result) -> str:
    """What was run where: the lines above each table."""
    head = result["header"]
    versions = ", ".join(f"{name} {version}" for name, version in head["versions"].items())
    level = f", FASTNN_ISA={head['isa']}" if head.get("isa") else ""
    cores = f"{head['threads']} thread{'s' if head['threads'] > 1 else ''}"
    machine = f"{head['cpu']['model']}, {cores}{level}; {head['date']}, commit {head['commit']}"
    command = head.get("command", f"-m bench.{result['benchmark']}")
    return f"`python {command}`; {machine}; {versions}."


def pairs(sets: Sequence[str], *labels: str) -> list[str]:
    """Headings of columns that every kernel set has."""
    return [f"{name} {label}".strip() for name in sets for label in labels]


def machine_section(result: Result) -> str:
    """Peaks and bandwidths by number of cores."""
    cores = result["cores"]
    rows = []
    for dtype, peaks in cores["1"]["peaks"].items():
        for width in peaks:
            cells = [number(found["peaks"][dtype][width]) for found in cores.values()]
            rows.append([f"FMA peak, {dtype}, {width}-byte vectors, GFLOP/s", *cells])
    for what in ("read", "update"):
        for level, size in result["footprints"].items():
            cells = [number(found[what][level]) for found in cores.values()]
            rows.append([f"{what}, {size >> 10:,} KiB ({level}), GB/s", *cells])
    text = output.markdown(["", *(f"{count} core{'s' if count != '1' else ''}" for count in cores)], rows)
    return f"{text}\n\nAn empty native call from Python takes {result['call']:.0f} ns."


def steps_section(result: Result) -> str:
    """A table for each group of networks."""
    sets = result["sets"]
    parts = []
    titles = {
        "table": "Networks", "width": "One width throughout", "odd": "Odd widths and batches",
        "bf16": "Products of bfloat16", "large": "Beyond the caches",
    }  # fmt: skip
    for group, title in titles.items():
        rows = [row for row in result["rows"] if row["group"] == group and not row["wrong"]]
        if not rows:
            continue
        peers = [name for name in steps.PEERS if any(name in row["seconds"] for row in rows)]
        reached = [what for what in steps.LABELS if any(what in row["fastnn"][name] for row in rows for name in sets)]
        if group != "bf16" and "bf16_speedup" in reached:
            reached.remove("bf16_speedup")  # older results have it there
        headings = ["network, batch (us per step)", *peers, *sets, "floor"]
        headings += [steps.heading(what, name) for what in reached for name in sets] + ["c/numba"]
        drifts = [name for name in sets if any("loss_difference" in row for row in rows)]
        headings += [f"loss after 300 {name}" for name in drifts]
        lines = []
        for row in rows:
            cells = [row["name"], *(microseconds(row["seconds"].get(name)) for name in (*peers, *sets))]
            cells.append(microseconds(row["floor"]))
            for what in reached:
                form = percent if what.startswith("fraction") else number
                cells += [form(row["fastnn"][name].get(what)) for name in sets]
            cells.append(number(row["c/numba"]))
            drift = row.get("loss_difference", {})
            lines.append([*cells, *(exponent(drift.get(name, {}).get("300")) for name in drifts)])
        parts.append(f"### {title}\n\n{output.markdown(headings, lines)}")
    legend = f"{steps.LEGEND}; {agreement.LEGEND}".replace("\n", " ")
    return "\n\n".join([*parts, legend])


def products_section(result: Result) -> str:
    """The least of each group, then every product by batch."""
    sets, rows = result["sets"], [row for row in result["rows"] if not row["wrong"]]
    parts = []
    headings = ["", "product", *(f"{name}, at" for name in sets)]
    lines = []
    for group, (key, _) in products.GROUPS.items():
        for product in products.PRODUCTS:
            found = [products.least(rows, name, group, product) for name in sets]
            if any(found):
                form = (lambda value: f"{value:.2f} of NumPy's speed") if key == "numpy_ratio" else percent
                lines.append([group, product, *(f"{form(least[0])} ({least[1]})" if least else "-" for least in found)])
    parts.append(f"The least of each group, share of the peak unless said:\n\n{output.markdown(headings, lines)}")
    parts += [f'### By batch: `backend="{name}"`\n\n{_by_batch(rows, name)}' for name in sets]
    lines = []
    for row in rows:
        if "bandwidth" in row:
            cells = [row["layer"], row["product"], row["level"], number(row["bandwidth"])]
            for name in sets:
                cells += [number(row["gigabytes"].get(name)), percent(row["fraction_of_bandwidth"].get(name))]
            lines.append(cells)
    if lines:
        headings = ["layer, batch, dtype", "product", "weights in", "GB/s possible", *pairs(sets, "GB/s", "of it")]
        parts.append(f"### Batch 1: bandwidth of the weights\n\n{output.markdown(headings, lines)}")
    return "\n\n".join(parts)


def _by_batch(rows: list[dict[str, Any]], name: str) -> str:
    """Share of the peak, and the ratio of NumPy's time, of each product of each layer at each batch."""
    batches = sorted({row["batch"] for row in rows})
    found: dict[tuple[str, str, str], dict[int, str]] = {}
    for row in rows:
        if name in row.get("numpy_ratio", {}):
            layer = row["layer"].split(",", 1)[0]
            text = f"{percent(row['fraction_of_peak'][name])}, {row['numpy_ratio'][name]:.2f}"
            found.setdefault((layer, row["dtype"], row["product"]), {})[row["batch"]] = text
    lines = [[", ".join(key[:2]), key[2], *(own.get(batch, "") for batch in batches)] for key, own in found.items()]
    table = output.markdown(["layer", "product", *(f"batch {batch}" for batch in batches)], lines)
    return f"Share of the peak; NumPy's time over this one's.\n\n{table}"


def functions_section(result: Result) -> str:
    """Elements per nanosecond and errors in ulp."""
    sets, lines = result["sets"], []
    for row in result["rows"]:
        if row["wrong"]:
            continue
        cells = [f"{row['name']}, {row['dtype']}", number(row["speed"]["NumPy"])]
        for name in sets:
            error = row["errors"].get(name, {})
            cells += [number(row["speed"].get(name)), number(error.get("normal")), number(error.get("subnormal"))]
        lines.append([*cells, number(row["c/numba"])])
    headings = ["elements per ns", "NumPy", *pairs(sets, "", "max ulp", "ulp, subnormal results"), "c/numba"]
    return output.markdown(headings, lines)


def kernels_section(result: Result) -> str:
    """Every operation by dtype and cache."""
    sets, lines = result["sets"], []
    for row in result["rows"]:
        if row["wrong"]:
            continue
        times = row["nanoseconds"]
        cells = [
            f"{row['name']}, {row['dtype']}, {row['cache']}",
            *map(number, (times["NumPy"], times.get(kernels.BY_HAND))),
        ]
        for name in sets:
            speed = row["gigabytes_per_second"][name] if "gigaflops" not in row else row["gigaflops"][name]
            cells += [number(times[name]), number(speed), percent(row.get("fraction", {}).get(name))]
            cells.append(number(row["errors"][name], 2))
        lines.append([*cells, row.get("unit", "tolerances"), number(row["c/numba"])])
    headings = [
        "ns per element",
        "NumPy",
        kernels.BY_HAND,
        *pairs(sets, "", "GB/s or GFLOP/s", "reached", "error"),
        "in",
        "c/numba",
    ]
    text = output.markdown(headings, lines)
    return (
        f"Reached: of the FMA peak by products, of a loop that only reads and writes as much by all others.\n\n{text}"
    )


def optimizers_section(result: Result) -> str:
    """One update by number of parameters."""
    sets, lines = result["sets"], []
    peers = ("NumPy", "torch", "torch fused")
    for row in result["rows"]:
        if row["wrong"]:
            continue
        time = row["nanoseconds"]
        cells = [f"{row['name']}, {row['parameters']:,}", *(number(time.get(name)) for name in peers), row["level"]]
        cells.append(number(row["possible"]))
        for name in sets:
            cells += [number(time[name]), percent(row["fraction"][name])]
        lines.append([*cells, number(row["c/numba"])])
    headings = ["ns per parameter", *peers, "in", "possible", *pairs(sets, "", "of bandwidth"), "c/numba"]
    return output.markdown(headings, lines)


def overhead_section(result: Result) -> str:
    """What calls cost over their work."""
    lines = []
    for row in result["rows"]:
        bound = next((name for name in ("bound", "steps") if name in row["over"]), "")
        checked = next(name for name in ("call", "run of one") if name in row["over"])
        figures = (row["nanoseconds"][row["work"]], row["over"][checked], row["over"].get(bound))
        lines.append([row["name"], row["backend"], *map(number, figures)])
    headings = ["nanoseconds", "kernels", "the work itself", "checked call, over it", "bound, over it"]
    return output.markdown(headings, lines)


def startup_section(result: Result) -> str:
    """Process start to 100 steps, and memory."""
    lines = []
    for name, found in {**result["fastnn"], **result["peers"]}.items():
        times = (found["seconds"], found.get("cold"))
        lines.append([name, *map(number, times), f"{found['resident']:.0f}", f"{found['peak']:.0f}"])
    headings = ["process start to 100 steps of 64-128-64-10", "s", "s, empty cache", "MiB then", "MiB at most"]
    text = output.markdown(headings, lines)
    return f"{text}\n\n`import fastnn` takes {result['import over empty']:.3f} s over an empty interpreter."


def inference_section(result: Result) -> str:
    """Predictions by network and batch."""
    sets, rows = result["sets"], [row for row in result["rows"] if not row["wrong"]]
    columns = list(dict.fromkeys(name for row in rows for name in row["seconds"]))
    lines = []
    for row in rows:
        cells = [row["name"], *(microseconds(row["seconds"].get(name)) for name in columns)]
        for name in sets:
            cells += [percent(row["fraction_of_peak"][name]), number(row["errors"][name], 2)]
        lines.append(cells)
    headings = ["network, batch (us per call)", *columns, *pairs(sets, "of peak", "error, eps")]
    return output.markdown(headings, lines)


def sweep_section(result: Result) -> str:
    """Many models on all cores, and what a sweep costs over them; older results have less to say."""
    lines = []
    for row in (row for row in result["rows"] if not row["wrong"]):
        for name, seconds in row["seconds"].items():
            cells = [f"{row['name']}, by {name}", str(row.get("workers_of", {}).get(name, row["workers"]))]
            mark = timing.mark(row["disturbed"].get(name, 0.0)) if "disturbed" in row else ""
            cells += [number(seconds) + mark, *([number(row["start"].get(name), 2)] if "start" in row else [])]
            cells += [number(row["models_per_second"][name]), percent(row["fraction_of_peak"][name])]
            lines.append([*cells, number(row["numpy_ratio"][name])])
    start = ["of them until the first training"] if any("start" in row for row in result["rows"]) else []
    headings = ["models, by", "workers", "s", *start, "models a second", "of peak", "NumPy/"]
    tables = [output.markdown(headings, lines)]
    if any("*" in cell for line in lines for cell in line):
        tables.append(timing.LEGEND)
    return "\n\n".join([*tables, *(output.markdown(*table) for table in sweep.other_tables(result))])


NEEDED = {"machine": "cores", "startup": "fastnn", "real_data": "rows"}  # others: "sets"
SECTIONS: dict[str, tuple[str, Callable[[Result], str]]] = {
    "machine": ("The machine", machine_section),
    "steps": ("Training steps", steps_section),
    "steps_bf16": ("Training steps with bfloat16", steps_section),
    "steps_2_threads": ("Training steps on two threads", steps_section),
    "products": ("Products", products_section),
    "products_2_threads": ("Products on two threads", products_section),
    "products_avx2": ("Products with 32-byte vectors", products_section),
    "functions": ("Functions of vectors", functions_section),
    "optimizers": ("Optimizers", optimizers_section),
    "overhead": ("What a call costs", overhead_section),
    "inference": ("Predictions", inference_section),
    "sweep": ("Many models at once", sweep_section),
    "startup": ("From a standing start", startup_section),
    "real_data": ("Real data", readme.real_data_table),
    "kernels": ("Every operation", kernels_section),
}


def page() -> str:
    """The text of the page."""
    parts = [TITLE]
    for name, (title, section) in SECTIONS.items():
        result = output.newest(name, NEEDED.get(name, "sets"))
        if result is not None:
            body = [about(result), *pictures.embedded(name, "pictures"), section(result)]
            parts.append("\n\n".join([f"## {title}", *body]) + "\n")
    return "\n".join(parts)
