"""What became slower or less accurate since an earlier run of `pytest --benchmark`, and whether that is too much.

Times of two runs are never compared: machines have slow days. What is compared is how many times faster than NumPy a
candidate was in each run, by medians and by best rounds, of which the smaller change counts. Errors are compared above
the floor of their unit, below which they are luck. What was disturbed, or was refused itself, is nothing to compare
with: a gate that has closed stays closed until the reason is gone.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bench import output, timing

Key = tuple[str, str]
"""The name of a row, and a candidate."""
Info = dict[str, Any]
"""What pytest-benchmark keeps of a candidate as `extra_info`."""

FLOORS = {"ulp": 0.5, "K eps": 0.01, "tolerances": 0.01, "eps": 1.0, "of the loss": 1e-5}
"""By unit (bench/exactness.py): errors below are not told apart."""
OWN = ("numba", "c", "ops", "fastnn")  # how the columns of fastnn begin, before a comma
NOTICED = 1.05  # factors from which the table shows a row


@dataclass(frozen=True)
class Change:
    """One candidate of a row, then and now."""

    key: Key
    before: Info
    now: Info

    @property
    def slower(self) -> float:
        """By which factor it became slower beside NumPy; below 1: faster."""
        factors = [self.before[what] / self.now[what] for what in ("numpy_ratio", "numpy_ratio_of_best")]
        return min(factors) if min(factors) > 1 else max(min(factors), min(1.0, max(factors)))

    @property
    def less_accurate(self) -> float:
        """By which factor its error grew; 1 where none was known, the unit is another or both are below the floor;
        infinity where it is no longer known."""
        if "error" not in self.before or ("error" in self.now and self.before["unit"] != self.now["unit"]):
            return 1.0
        if "error" not in self.now or math.isnan(self.now["error"]):
            return math.inf
        least = FLOORS.get(self.now["unit"], 0.0) or 1e-300
        return float(max(self.now["error"], least) / max(self.before["error"], least))

    @property
    def is_own(self) -> bool:
        """Whether the candidate is fastnn: what became of NumPy or torch is no regression here."""
        return self.key[1].split(",")[0] in OWN

    @property
    def disturbed(self) -> bool:
        """Whether something else ran beside it in one of the runs: its time then says little."""
        return any(timing.mark(info.get("disturbed", 0.0)) for info in (self.before, self.now))


def entries(saved: Mapping[str, Any]) -> dict[Key, Info]:
    """The candidates of a saved run, pytest-benchmark's JSON, that later ones may be compared with."""
    found = {}
    for entry in saved["benchmarks"]:
        info = entry["extra_info"]
        if "numpy_ratio" in info and "refused" not in info and not timing.mark(info.get("disturbed", 0.0)):
            found[(entry["group"], info["candidate"])] = info
    return found


def changes(now: Mapping[Key, Info], runs: Iterable[Mapping[str, Any]]) -> list[Change]:
    """Every candidate of this run that an earlier one has, too, beside the last that has it."""
    before: dict[Key, Info] = {}
    for saved in runs:  # oldest first
        before |= entries(saved)
    return [Change(key, before[key], info) for key, info in now.items() if key in before]


def too_slow(found: Sequence[Change], factor: float | None) -> list[Change]:
    """Those of fastnn's candidates that became slower by more than the factor and were not disturbed."""
    return [] if factor is None else [c for c in found if c.is_own and not c.disturbed and c.slower > factor]


def too_inaccurate(found: Sequence[Change], factor: float | None) -> list[Change]:
    """Those of fastnn's candidates whose error grew by more than the factor."""
    return [] if factor is None else [c for c in found if c.is_own and c.less_accurate > factor]


def table(found: Sequence[Change]) -> str:
    """The changes that are worth a look, the worst first, and how many there are."""
    shown = [c for c in found if c.slower > NOTICED or c.slower < 1 / NOTICED or c.less_accurate > NOTICED]
    shown.sort(key=lambda change: (-change.less_accurate, -change.slower))
    lines = []
    for change in shown:
        row, candidate = change.key
        ratios = [output.number(info["numpy_ratio"]) for info in (change.before, change.now)]
        errors = [output.number(info.get("error")) for info in (change.before, change.now)]
        mark = "*" if change.disturbed else ""
        cells = [row, candidate, *ratios, f"{change.slower:.2f}{mark}", *errors, change.now.get("unit", "-")]
        lines.append([*cells, f"{change.less_accurate:.2f}"])
    headings = ["row", "candidate", "NumPy/ then", "now", "slower by", "error then", "now", "in", "larger by"]
    text = f"{len(found)} candidates compared, {len(shown)} of them changed by more than {NOTICED - 1:.0%}"
    return f"{output.table(headings, lines)}\n\n{text}" if lines else text
