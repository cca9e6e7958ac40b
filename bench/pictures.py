"""The pictures of the pages: what each shows of the newest saved results. bench.report writes them to docs/pictures.

A picture whose results are missing is left out, from the folder and from the pages; so are candidates that a result
does not have. Titles are put together from the figures, so that they stay true.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from bench import environment, output
from bench import sheet as sheets
from bench.sheet import Result, Sheet, Values, family, source

FOLDER = environment.ROOT / "docs" / "pictures"
PEERS = ("sklearn", "torch", "torch fused", "torch compiled", "JAX jit", "JAX scan")
LABELS = {"c": "fastnn c", "numba": "fastnn numba", "sklearn": "scikit-learn"}  # others: their own name
PRODUCTS = ("forward", "input gradient", "weight gradient")
LARGE = 32  # rows from which products should reach the peak
UNITS = {
    "functions": ("largest error, ulp", "Functions of vectors, arguments of all magnitudes"),
    "tolerances": ("largest error, as a fraction of the tolerance of the tests", "Operations"),
    "ulp": ("largest error, ulp", "Operations that go number by number"),
    "K eps": ("largest error, K eps of the sum of the magnitudes of its K terms", "Products"),
}

Data = tuple[list[Result], Any]  # the results behind a picture, and what it shows of them


def label(candidate: str) -> str:
    """A candidate's name for readers."""
    return LABELS.get(candidate, candidate)


def marks(sheet: Sheet, *candidates: str) -> dict[str, dict[str, Any]]:
    """The marks of candidates, named as readers know them."""
    return {name: sheet.mark(name, label(name)) for name in candidates}


def span(values: list[float]) -> str:
    """The least and the largest of some values in words."""
    low, high = (output.number(value, 2) for value in (min(values), max(values)))
    return low if low == high else f"{low} to {high}"


def right_rows(result: Result | None) -> list[dict[str, Any]]:
    """The rows of a result whose answers were right."""
    return [row for row in result["rows"] if not row["wrong"]] if result else []


def speedup_data() -> Data | None:
    """How many times faster than NumPy everybody takes a step, by network."""
    result, values = output.newest("steps", "sets"), {}
    for row in right_rows(result):
        if row["group"] == "table":
            times = {name: row["seconds"][name] for name in (*PEERS, *result["sets"]) if name in row["seconds"]}
            values[row["name"]] = {name: row["seconds"]["NumPy"] / seconds for name, seconds in times.items()}
    return ([result], values) if values else None


def speedup(sheet: Sheet, data: Data) -> None:
    """Every candidate's speed over NumPy's, a line for each network."""
    (result,), values = data
    main = result["sets"][-1]
    (axes,) = sheet.panels(1.75 + 0.36 * len(values))
    sheet.line(axes, 1, "NumPy", "NumPy")
    kinds = marks(sheet, *PEERS, *result["sets"])
    sheet.rows(axes, values, kinds, lambda row: f"{output.number(row[main], 2)}x", label(main))
    sheet.dress(axes, "times as fast as the NumPy baseline, logarithmic")
    sheet.logarithmic(axes, "x")
    claim = f"fastnn takes training steps {span([row[main] for row in values.values()])} times as fast as NumPy"
    first = sum(family(max(row, key=row.__getitem__)) == "fastnn" for row in values.values())
    more = f"It is the fastest in {first} of {len(values)} networks; gather, forward, loss, backward and Adam"
    sheet.words(claim, more, source(result), axes)


def roofline_data() -> Data | None:
    """The products of the newest result, if the roofs were measured on the same kind of machine."""
    products, machine = output.newest("products", "sets"), output.newest("machine", "cores")
    if not products or not machine or products["header"]["cpu"]["model"] != machine["header"]["cpu"]["model"]:
        return None
    rows = [row for row in right_rows(products) if row["product"] in PRODUCTS and "gflops" in row]
    return ([products, machine], rows) if rows and str(products["header"]["threads"]) in machine["cores"] else None


def intensity(row: Mapping[str, Any]) -> float:
    """FLOPs for each byte of the product's three matrices, each of them read or written once."""
    sizes = [*map(int, row["layer"].split(",")[0].split("x")), row["batch"]]
    numbers = math.prod(sizes) * sum(1 / size for size in sizes)
    return float(row["flops"] / (numbers * (8 if row["dtype"] == "float64" else 4)))


def share(rows: list[dict[str, Any]], candidate: str, peak: float) -> str:
    """The median share of the peak of products with many rows."""
    speeds = [row["gflops"][candidate] for row in rows if row["batch"] >= LARGE and candidate in row["gflops"]]
    return output.percent(statistics.median(speeds) / peak if speeds else None)


def roofline(sheet: Sheet, data: Data) -> None:
    """GFLOP/s of every product over its arithmetic intensity, below what the machine can do."""
    (products, machine), rows = data
    roofs = machine["cores"][str(products["header"]["threads"])]
    main = products["sets"][-1]
    peaks = {dtype: max(found.values()) for dtype, found in roofs["peaks"].items()}
    of = {dtype: own for dtype in peaks if (own := [row for row in rows if row["dtype"] == dtype])}
    panels = sheet.panels(5.4, ncols=len(of), sharey=True)
    for axes, (dtype, own) in zip(panels, of.items(), strict=True):
        for name in ("NumPy", main):
            points = [(intensity(row), row["gflops"][name]) for row in own if name in row["gflops"]]
            axes.plot(*zip(*points, strict=True), **sheet.mark(name, label(name), 3.5, markeredgewidth=0))
        found = ", ".join(f"{label(name)} {share(own, name, peaks[dtype])}" for name in (main, "NumPy"))
        sheet.dress(axes, "FLOP per byte of the three matrices, logarithmic", f"{dtype}: {found} of the peak", "both")
        sheet.logarithmic(axes, "x", "y")
        inside = list(map(intensity, own))
        _roofs(sheet, axes, roofs["read"], peaks[dtype], min(inside) / 7, max(inside) * 1.5)
    panels[0].set_ylabel("GFLOP/s, logarithmic", fontsize=9, color=sheet.colour("text"))
    dtype = next(iter(of))
    reached = [share(of[dtype], name, peaks[dtype]) for name in (main, "NumPy")]
    claim = f"fastnn's products reach {reached[0]} of the FMA peak, NumPy's {reached[1]}"
    more = f"Medians of {dtype} from {LARGE} rows on; all layers and batches, forward and gradients"
    more += "; lines: the machine's limits"
    sheet.words(claim, more, source(products, machine), panels[0])


def _roofs(sheet: Sheet, axes: Any, bandwidths: Mapping[str, float], peak: float, left: float, right: float) -> None:
    """The peak, and for each level of memory the speed that reading from it allows."""
    line = {"color": sheet.colour("faint"), "linewidth": 1.0, "zorder": 1}
    words = {"color": sheet.colour("faint"), "fontsize": 7.5}
    for level, bandwidth in bandwidths.items():
        axes.plot([left, peak / bandwidth], [left * bandwidth, peak], **line)
        text = f"{level} {bandwidth:.0f} GB/s"
        where = (left * 1.1, left * bandwidth * 1.25)
        axes.text(*where, text, rotation=45, rotation_mode="anchor", va="bottom", **words)
    axes.plot([peak / max(bandwidths.values()), right], [peak, peak], **line)
    axes.text(right / 1.1, peak * 1.05, f"FMA peak {peak:.0f} GFLOP/s", ha="right", va="bottom", **words)
    axes.set_xlim(left, right)
    axes.set_aspect("equal")  # bandwidths then have 45 degrees


def accuracy_data() -> Data | None:
    """The largest errors by unit, then by operation, then by kernel set and dtype."""
    functions, kernels = output.newest("functions", "sets"), output.newest("kernels", "sets")
    panels: dict[str, Values] = {}
    for row in right_rows(functions):
        for name, error in row["errors"].items():
            if "normal" in error:
                found = panels.setdefault("functions", {}).setdefault(row["name"], {})
                found[f"{name}, {row['dtype']}"] = max(error["normal"], error["subnormal"])
    for row in right_rows(kernels):
        if row["cache"] == "memory":  # there the judge is no more exact than what it judges
            continue
        found = panels.setdefault(row.get("unit", "tolerances"), {}).setdefault(row["name"], {})
        for name in kernels["sets"]:
            key = f"{name}, {row['dtype']}"
            found[key] = max(row["errors"].get(name, 0.0), found.get(key, 0.0))
    return ([functions, kernels], panels) if "functions" in panels and len(panels) > 1 else None


def accuracy(sheet: Sheet, data: Data) -> None:
    """A panel for each unit, a line for each operation."""
    results, panels = data
    sets = results[1]["sets"]
    kinds = {
        f"{name}, {dtype}": sheet.mark(
            name, f"{label(name)}, {dtype}", 4.0, marker="o" if dtype == "float32" else "D", shift=shift
        )
        for name in sets
        for dtype, shift in (("float32", -0.16), ("float64", 0.16))
    }
    heights = [len(values) + 0.6 for values in panels.values()]
    drawn = sheet.panels(1.3 + 0.75 * len(panels) + 0.24 * sum(heights), nrows=len(panels), height_ratios=heights)
    most = {unit: max(max(row.values()) for row in values.values()) for unit, values in panels.items()}
    for axes, (unit, values) in zip(drawn, panels.items(), strict=True):
        sheet.rows(
            axes, values, kinds, lambda row: output.number(max(row.values()), 3) if any(row.values()) else "exact"
        )
        sheet.dress(axes, *UNITS.get(unit, (f"largest error, {unit}", f"Operations, in {unit}")))
        right = 1.1 * max(most[unit], unit == "tolerances") or 1.0
        if unit == "tolerances":
            sheet.line(axes, 1)
        if right > 20:
            axes.set_xscale("symlog", linthresh=1)
        axes.set_xlim(-0.02 * min(right, 20), right)
    more = (
        [f"No operation uses more than {most['tolerances']:.0%} of its tolerance"]
        if most.keys() == {"functions", "tolerances"}
        else []
    )
    more += [f"{' and '.join(sets)} err alike"] if len(sets) > 1 and alike(panels, sets) else []
    claim = f"{len(panels['functions'])} functions of vectors err by at most {most['functions']:.2f} ulp"
    sheet.words(claim, "; ".join(more), source(*results), drawn[-1])


def alike(panels: dict[str, Values], sets: list[str]) -> bool:
    """Whether all kernel sets have the same errors."""
    rows = [row for values in panels.values() for row in values.values()]
    return all(
        row.get(f"{name}, {dtype}") == row.get(f"{sets[0]}, {dtype}")
        for row in rows
        for name in sets
        for dtype in ("float32", "float64")
    )


def threads_data() -> Data | None:
    """How many times faster two threads take a step; of the others too, if the run on one core saw the same machine."""
    result, single = output.newest("steps_2_threads", "sets"), output.newest("steps", "sets")
    facts = [(found["header"]["cpu"]["model"], found["header"]["versions"]) for found in (result, single) if found]
    alone = {row["name"]: row["seconds"] for row in right_rows(single)} if facts[1:] == facts[:1] else {}
    values: Values = {}
    for row in right_rows(result):
        own = {name: found["speedup"] for name, found in row["fastnn"].items() if "speedup" in found}
        before = alone.get(row["name"], {})
        both = [name for name in ("NumPy", *PEERS) if name in before and name in row["seconds"]]
        if own:
            values[row["name"]] = {name: before[name] / row["seconds"][name] for name in both} | own
    return ([result, *([single] if alone else [])], values) if values else None


def threads(sheet: Sheet, data: Data) -> None:
    """Speed with two threads over that with one, a line for each network."""
    results, values = data
    main = results[0]["sets"][-1]
    (axes,) = sheet.panels(1.75 + 0.4 * len(values))
    kinds = marks(sheet, "NumPy", *PEERS, *results[0]["sets"])
    sheet.rows(axes, values, kinds, lambda row: f"{row[main]:.2f}x", label(main))
    sheet.dress(axes, "speed with 2 threads over that with one (1: nothing gained, 2: all there is)")
    for speed in (1, 2):
        sheet.line(axes, speed)
    reached = span([row[main] for row in values.values()])
    more = "Networks with enough work to share; fastnn measured in one run, others beside their run on one core"
    sheet.words(f"fastnn's steps are {reached} times as fast with 2 threads as with one", more, source(*results), axes)


def startup_data() -> Data | None:
    """Seconds until 100 steps are done, by library, with an empty cache too where that was measured."""
    result, values = output.newest("startup", "fastnn"), {}
    for name, found in ({**result["fastnn"], **result["peers"]} if result else {}).items():
        name = "torch fused" if name == "torch" else name  # bench/startup.py takes that one
        values[label(name)] = {name: found["seconds"]}
        if "cold" in found:
            values[f"{label(name)}, empty cache"] = {name: found["cold"]}
    return ([result], values) if values else None


def startup(sheet: Sheet, data: Data) -> None:
    """Seconds from a standing start, a line for each library, the shortest first."""
    (result,), values = data
    values = dict(sorted(values.items(), key=lambda entry: min(entry[1].values())))
    (axes,) = sheet.panels(1.2 + 0.28 * len(values), above=0.55)
    kinds = {name: sheet.mark(name, "", shift=0.0) for row in values.values() for name in row}
    sheet.rows(axes, values, kinds, lambda row: f"{output.number(min(row.values()), 2)} s")
    sheet.dress(axes, "seconds, logarithmic")
    sheet.logarithmic(axes, "x")
    own = output.number(list(result["fastnn"].values())[-1]["seconds"], 2)
    others = [found["seconds"] for name, found in result["peers"].items()]
    more = f"others {span(others)} s; " if others else ""
    more = f"64-128-64-10; {more}with an empty cache: the first time on a machine"
    sheet.words(f"fastnn has done 100 training steps {own} s after process start", more, source(result))


@dataclass(frozen=True)
class Picture:
    """What one picture shows, under which section of docs/performance.md it stands, and how it is made."""

    section: str
    alt: str
    data: Callable[[], Data | None]  # None: results are missing
    draw: Callable[[Sheet, Data], None]


PICTURES = {
    "speedup": Picture("steps", "Speed of a training step over NumPy's, by network and library", speedup_data, speedup),
    "roofline": Picture("products", "GFLOP/s of products over their arithmetic intensity", roofline_data, roofline),
    "accuracy": Picture("functions", "Largest error of every operation, by kernel set", accuracy_data, accuracy),
    "threads": Picture("steps_2_threads", "Speed of a step on two threads over one", threads_data, threads),
    "startup": Picture("startup", "Seconds from process start to 100 steps, by library", startup_data, startup),
}


def embedded(section: str, folder: str) -> list[str]:
    """The HTML of a section's pictures, as far as there are results for them; `folder` as the page sees it."""
    return [
        f'<picture>\n  <source media="(prefers-color-scheme: dark)" srcset="{folder}/{name}-dark.svg">\n'
        f'  <img alt="{picture.alt}" src="{folder}/{name}-light.svg">\n</picture>'
        for name, picture in PICTURES.items()
        if picture.section == section and picture.data() is not None
    ]


def files() -> dict[Path, str | None]:
    """The text of every picture's file; None where results are missing."""
    found: dict[Path, str | None] = {}
    for name, picture in PICTURES.items():
        data = picture.data()
        for theme in sheets.THEMES:
            draw = None if data is None else partial(picture.draw, data=data)
            found[FOLDER / f"{name}-{theme}.svg"] = None if draw is None else sheets.svg(draw, theme)
    return found
