"""Tables for people and JSON for later comparisons."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).resolve().parent / "results"


def table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Plain text in columns: the first flush left, the others flush right."""
    widths = [max(len(cell) for cell in column) for column in zip(headings, *rows, strict=True)]
    lines = []
    for cells in (headings, ["-" * width for width in widths], *rows):
        first, *others = (
            cell.ljust(width) if index == 0 else cell.rjust(width)
            for index, (cell, width) in enumerate(zip(cells, widths, strict=True))
        )
        lines.append("  ".join([first, *others]).rstrip())
    return "\n".join(lines)


def number(value: float | None, digits: int = 3) -> str:
    """A number with that many significant digits, never in exponent form; "-" for None."""
    if value is None:
        return "-"
    if value == 0:
        return "0"
    whole = len(str(int(abs(value)))) if abs(value) >= 1 else 0
    return f"{value:,.{max(digits - whole, 0)}f}" if abs(value) >= 0.01 else f"{value:.{digits}g}"


def percent(value: float | None) -> str:
    """A share of one in whole percent; "-" for None."""
    return "-" if value is None else f"{value:.0%}"


def markdown(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """The same as a table of Markdown."""
    lines = [headings, ["---", *["---:"] * (len(headings) - 1)], *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def newest(name: str, key: str) -> dict[str, Any] | None:
    """The last saved result of a benchmark that holds something under that key."""
    saved = [json.loads(path.read_text()) for path in RESULTS.glob(f"{name}-*.json")]
    found = [result for result in saved if key in result]
    return max(found, key=lambda result: str(result["header"]["date"]), default=None)


def save(name: str, header: dict[str, Any], payload: dict[str, Any]) -> Path:
    """Write bench/results/<name>-<date>-<commit>.json and return its path; with FASTNN_ISA the level is in the name."""
    RESULTS.mkdir(exist_ok=True)
    name = f"{name}_{header['isa']}" if header.get("isa") else name
    path = RESULTS / f"{name}-{header['date'][:10]}-{header['commit'].rstrip('+')}.json"
    path.write_text(json.dumps({"benchmark": name, "header": header, **payload}, indent=1) + "\n")
    return path
