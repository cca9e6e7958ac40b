"""docs/methods.md has every method that can be chosen, and no other."""

import re
from pathlib import Path

import pytest

from fastnn import checks, initializers, losses, optimizers, preprocessing, schedules
from fastnn.activations import ACTIVATIONS
from fastnn.layers import Layer
from fastnn.metrics import METRICS

PAGE = (Path(__file__).resolve().parents[1] / "docs" / "methods.md").read_text(encoding="utf-8")
SECTIONS = dict(re.findall(r"^## (.+?)\n(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL))


def named_in(section: str) -> set[str]:
    """The names in the first column of a section's first table."""
    table = re.search(r"^\|.*?(?=^(?!\|)|\Z)", SECTIONS[section], re.MULTILINE | re.DOTALL)
    rows = [line.split("|")[1] for line in (table[0] if table else "").splitlines() if line.startswith("| `")]
    return {name for row in rows for name in re.findall(r"`(\w+)`", row)}


CHOICES = {
    "Optimizers": {cls.__name__ for cls in (*optimizers.OPTIMIZERS.values(), *optimizers.SEARCHES.values())},
    "Schedules": {name for name in schedules.__all__ if name[0].isupper()} - {"Schedule", "ScheduleLike", "Rates"},
    "Initializers": set(initializers.INITIALIZERS),
    "Layers": {name for name, cls in checks.subclasses(Layer).items() if cls.__module__.startswith("fastnn.")},
    "Activations": set(ACTIVATIONS),
    "Losses": {cls.__name__ for cls in losses.LOSSES.values()},
    "Preprocessing": set(checks.subclasses(preprocessing.Transform)),
    "Metrics": set(METRICS),
}


@pytest.mark.parametrize("section", CHOICES)
def test_every_method_has_a_line(section: str) -> None:
    assert named_in(section) == CHOICES[section]
