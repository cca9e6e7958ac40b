"""README's section on speed, between its two markers, from the newest saved results; bench.report writes it.

Every figure in the section comes from a file in bench/results/; without such files it stays empty.
"""

from __future__ import annotations

import re
import statistics
from typing import Any

from bench import environment, output, pictures, steps

README = environment.ROOT / "README.md"
SECTION = re.compile(r"(?<=<!-- benchmarks -->\n).*?(?=<!-- /benchmarks -->)", re.DOTALL)


class MarkersMissing(ValueError):
    """README has no place for the section."""


def machine_line(result: dict[str, Any]) -> str:
    """What was run where."""
    header = result["header"]
    versions = header["versions"]
    peers = [
        ("NumPy", "numpy"),
        ("Numba", "numba"),
        ("PyTorch", "torch"),
        ("JAX", "jax"),
        ("scikit-learn", "scikit-learn"),
    ]
    named = ", ".join(f"{name} {versions[key]}" for name, key in peers if key in versions)
    return f"{header['cpu']['model']}, one core; {named}; {header['date'][:10]}, commit {header['commit'].rstrip('+')}"


def steps_table(result: dict[str, Any]) -> str:
    """The networks of the list beside the peers; of fastnn's kernel sets the one that a user gets."""
    right = [row for row in result["rows"] if row["group"] == "table" and not row["wrong"]]
    peers = [name for name in steps.PEERS if any(name in row["seconds"] for row in right)]
    rows = []
    for row in right:
        columns = (*peers, row["backend"])  # the kernel set that a user gets by default
        times = [output.number(seconds and seconds * 1e6) for seconds in map(row["seconds"].get, columns)]
        times[-1] = f"**{times[-1]}**"
        rows.append([row["name"], *times, f"{row['fraction_of_peak']:.0%}", f"{row['numpy_ratio']:.1f}x"])
    headings = ["network, batch", *("scikit-learn" if name == "sklearn" else name for name in peers), "fastnn"]
    title = "Microseconds per training step (gather, forward, loss, backward, Adam; float32 unless said):"
    return f"{title}\n\n{output.markdown([*headings, 'of FMA peak', 'NumPy / fastnn'], rows)}"


def real_data_table(result: dict[str, Any]) -> str:
    """Whole trainings: seconds and scores."""
    rows = []
    for row in result["rows"]:
        score = statistics.mean(row["scores"])
        first, *later = row["seconds"]
        times = [output.number(value, 2) for value in (row["import"] + first, statistics.median(later))]
        rows.append([row["data"], row["library"], *times, f"{score:.3f}" if score < 2 else f"RMSE ${score:,.0f}"])
    headings = ["data", "library", "standing start, s", "later, s", "validation score"]
    title = "Whole trainings on real data (Adam 1e-3, batch 128, 3 seeds; standing start: import and first training):"
    return f"{title}\n\n{output.markdown(headings, rows)}"


def startup_text(result: dict[str, Any]) -> str:
    """Import, first training and memory in words."""
    text = f"`import fastnn` takes {result['import over empty']:.2f} s over an empty interpreter."
    for name, found in result["fastnn"].items():
        text += (
            f' With the kernels of `backend="{name}"`, 100 steps of 64-128-64-10 are done {found["seconds"]:.2f} s '
            f"after process start, {found['cold']:.2f} s the first time on a machine; such a process uses "
            f"{found['resident']:.0f} MiB."
        )
    return text


def section() -> str:
    """The text between the markers."""
    parts = []
    steps = output.newest("steps", "sets")
    if steps is not None:
        parts += [machine_line(steps) + ".", *pictures.embedded("steps", "docs/pictures"), steps_table(steps)]
    for name, key, form in (("real_data", "rows", real_data_table), ("startup", "fastnn", startup_text)):
        result = output.newest(name, key)
        if result is not None:
            parts.append(form(result))
    return "".join(f"\n{part}\n" for part in parts) + ("\n" if parts else "")


def text() -> str:
    """All of README, with the section as the results give it."""
    before = README.read_text(encoding="utf-8")
    if not SECTION.search(before):
        raise MarkersMissing(f"{README.name} has no lines <!-- benchmarks --> and <!-- /benchmarks -->")
    new = section()
    return SECTION.sub(lambda _: new, before, count=1)
