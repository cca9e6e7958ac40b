"""Write the tables of README's section on speed from the newest saved results, between its two markers.

    python -m bench.readme             rewrites README.md
    python -m bench.readme --check     only says whether README is what the results give

Every figure in the section comes from a file in bench/results/; without such files it stays empty.
"""

from __future__ import annotations

import argparse
import re
import statistics
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from bench import environment, output

README = environment.ROOT / "README.md"
SECTION = re.compile(r"(?<=<!-- benchmarks -->\n).*?(?=<!-- /benchmarks -->)", re.DOTALL)


def machine_line(result: dict[str, Any]) -> str:
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
    peers = ("NumPy", "sklearn", "torch", "torch fused", "JAX jit", "JAX scan")
    rows = []
    for row in result["rows"]:
        if row["group"] != "table" or row["wrong"]:
            continue
        columns = (*peers, row["backend"])  # the kernel set that a user gets by default
        times = [output.number(seconds and seconds * 1e6) for seconds in map(row["seconds"].get, columns)]
        times[-1] = f"**{times[-1]}**"
        rows.append([row["name"], *times, f"{row['fraction_of_peak']:.0%}", f"{row['numpy_ratio']:.1f}x"])
    headings = ["network, batch", "NumPy", "scikit-learn", "torch", "torch fused", "JAX jit", "JAX scan", "fastnn"]
    title = "Microseconds per training step (gather, forward, loss, backward, Adam; float32 unless said):"
    return f"{title}\n\n{output.markdown([*headings, 'of FMA peak', 'NumPy / fastnn'], rows)}"


def real_data_table(result: dict[str, Any]) -> str:
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
        parts += [machine_line(steps) + ".", steps_table(steps)]
    for name, key, text in (("real_data", "rows", real_data_table), ("startup", "fastnn", startup_text)):
        result = output.newest(name, key)
        if result is not None:
            parts.append(text(result))
    return "".join(f"\n{part}\n" for part in parts) + ("\n" if parts else "")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="change nothing; exit code 1 if README differs")
    arguments = parser.parse_args()
    before = README.read_text(encoding="utf-8")
    if not SECTION.search(before):
        print("README.md has no lines <!-- benchmarks --> and <!-- /benchmarks -->", file=sys.stderr)
        return 1
    text = section()
    after = SECTION.sub(lambda _: text, before, count=1)
    if after == before:
        print("README.md is what the results give")
        return 0
    if arguments.check:
        print("README.md differs from the results: python -m bench.readme", file=sys.stderr)
        return 1
    README.write_text(after, encoding="utf-8")
    print("README.md rewritten")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
