"""What the pictures of bench/pictures.py have in common: colours, marks, lines of points, and SVG that stays the same.

matplotlib (the extra `plots`) is imported here alone, when something is drawn.
"""

from __future__ import annotations

import io
import re
import textwrap
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

THEMES = ("light", "dark")
WIDTH = 8.2  # inches

Result = dict[str, Any]
Values = dict[str, dict[str, float]]  # by row, then by candidate

# The cards and hues of fastnn/plots.py: Okabe and Ito's, darker or lighter until they stand out from the card. A
# library has the same hue and the same shape in every picture; hollow and half filled marks are its other forms.
CARDS = {
    "light": {"card": "#ffffff", "text": "#24292f", "faint": "#57606a", "grid": "#d8dee4"},
    "dark": {"card": "#161b22", "text": "#d7dde4", "faint": "#9da7b1", "grid": "#30363d"},
}
HUES = {
    "fastnn": {"light": "#0072b2", "dark": "#56b4e9"},
    "NumPy": {"light": "#57606a", "dark": "#9da7b1"},
    "sklearn": {"light": "#b0568a", "dark": "#e39cc5"},
    "torch": {"light": "#d55e00", "dark": "#f0883e"},
    "JAX": {"light": "#00855f", "dark": "#2dc99a"},
}
SHAPES = {"fastnn": "o", "NumPy": "s", "sklearn": "^", "torch": "D", "JAX": "v"}
SHIFTS = {"NumPy": -0.2, "sklearn": -0.2, "JAX": 0.2}  # of a row's height, so that equal figures are all seen
HOLLOW, HALF = ("numba", "torch", "JAX jit"), ("torch compiled",)


def family(candidate: str) -> str:
    """The library that a candidate belongs to: kernel sets to fastnn."""
    first = candidate.split()[0].rstrip(",")
    return first if first in HUES else "fastnn"


def source(*results: Result) -> str:
    """Where the figures are from: machine, days and commits, once where the results agree."""
    heads = [result["header"] for result in results]
    runs = dict.fromkeys(f"{head['date'][:10]}, commit {head['commit'].rstrip('+')}" for head in heads)
    cores = f"{heads[0]['threads']} core{'s' if heads[0]['threads'] > 1 else ''}"
    return f"{heads[0]['cpu']['model']}, {cores}; {'; '.join(runs)}"


@dataclass
class Sheet:
    """A figure in one theme, and how pictures put something on it."""

    figure: Any
    theme: str

    def colour(self, name: str) -> str:
        """A colour of the card, or the hue of a candidate."""
        return CARDS[self.theme].get(name) or HUES[family(name)][self.theme]

    def mark(self, candidate: str, label: str, size: float = 6.5, **changes: Any) -> dict[str, Any]:
        """How a candidate's points look: its hue and shape; fastnn's are larger, and Numba's is a ring around C's."""
        hue, own, hollow = self.colour(candidate), family(candidate) == "fastnn", candidate in HOLLOW
        half = {"fillstyle": "left", "markerfacecoloralt": "none", "markeredgecolor": hue}
        return {
            "label": label, "linestyle": "", "zorder": 4 if own else 3, "marker": SHAPES[family(candidate)],
            "markersize": size * (1.45 if hollow else 1.0) if own else size * (0.9 if hollow else 1.0),
            "markerfacecolor": "none" if hollow else hue, "markeredgecolor": hue if hollow else self.colour("card"),
            "markeredgewidth": 1.3 if hollow else 0.5,
        } | (half if candidate in HALF else {}) | changes  # fmt: skip

    def panels(self, height: float, above: float = 0.8, **arguments: Any) -> list[Any]:
        """Sets the height in inches and makes panels, between room for the words above (so many inches) and below."""
        self.figure.set_size_inches(WIDTH, height)
        self.figure.get_layout_engine().set(rect=(0, 0.22 / height, 1, 1 - (above + 0.22) / height))
        return list(self.figure.subplots(squeeze=False, **arguments).flat)

    def words(self, claim: str, more: str, source: str, *legend_of: Any) -> None:
        """Above the panels the claim, more about it and what marks mean, each once; below them the source."""
        height = self.figure.get_figheight()
        for text, inches, size, weight in ((claim, 0.27, 12, "bold"), (more, 0.49, 9, "normal")):
            where = {"x": 0.015, "y": 1 - inches / height}
            self.figure.text(**where, s=text, fontsize=size, fontweight=weight, color=self.colour("text"))
        self.figure.text(0.015, 0.09 / height, source, fontsize=7.5, color=self.colour("faint"))
        found = {}
        for axes in legend_of:
            handles, labels = axes.get_legend_handles_labels()
            found |= dict(zip(labels, handles, strict=True))
        if found:
            self.figure.legend(
                found.values(), found, loc="upper left", bbox_to_anchor=(0.005, 1 - 0.52 / height), ncols=9,
                frameon=False, fontsize=8 if len(found) > 8 else 8.5,
                labelcolor=self.colour("text"), handlelength=1.4, handletextpad=0.4,
                columnspacing=1.0 if len(found) > 8 else 1.2, borderaxespad=0,
            )  # fmt: skip

    def dress(self, axes: Any, xlabel: str, title: str = "", grid: str = "x") -> None:
        """Colours, grid and words of a panel."""
        axes.set_facecolor(self.colour("card"))
        axes.set_title(title, loc="left", fontsize=9, color=self.colour("text"))
        axes.set_xlabel(xlabel, fontsize=9, color=self.colour("text"))
        axes.grid(True, axis=grid, color=self.colour("grid"), linewidth=0.7)
        axes.set_axisbelow(True)
        axes.tick_params(which="both", colors=self.colour("text"), labelsize=8.5)
        axes.tick_params(which="both", color=self.colour("grid"))
        for spine in axes.spines.values():
            spine.set_color(self.colour("grid"))

    def rows(
        self, axes: Any, values: Values, marks: Mapping[str, Any], column: Callable[..., str], head: str = ""
    ) -> None:
        """A line for each row, on it a point for each candidate, and a word in a column to the right. Points stand
        below the line by their mark's `shift`, or by their library's."""
        for candidate, mark in marks.items():
            drawn = dict(mark)
            shift = drawn.pop("shift", SHIFTS.get(family(candidate), 0.0))
            found = [(row[candidate], index + shift) for index, row in enumerate(values.values()) if candidate in row]
            if found:
                axes.plot(*zip(*found, strict=True), **drawn)
        axes.set_yticks(range(len(values)), [textwrap.fill(name, 27) for name in values])
        axes.set_ylim(len(values) - 0.4, -0.6)
        axes.tick_params(axis="y", length=0)
        words = {"fontsize": 8.5, "fontweight": "bold", "color": self.colour("text")}
        axes.text(1.015, 1.0, head, transform=axes.transAxes, va="bottom", **words)
        for index, row in enumerate(values.values()):
            axes.axhline(index, color=self.colour("grid"), linewidth=0.7, zorder=0)
            axes.text(1.015, index, column(row), transform=axes.get_yaxis_transform(), va="center", **words)

    def line(self, axes: Any, x: float, colour: str = "faint", label: str | None = None) -> None:
        """A vertical line that points are compared with."""
        axes.axvline(x, color=self.colour(colour), linewidth=1.4, label=label, zorder=1)

    def logarithmic(self, axes: Any, *names: str) -> None:
        """Axes "x", "y" or both with 1, 2, 5, 10, ... written out."""
        from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

        axes.set(**{f"{name}scale": "log" for name in names})
        for axis in (getattr(axes, f"{name}axis") for name in names):
            axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
            axis.set_minor_locator(NullLocator())
            axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))


def drawn(draw: Callable[[Sheet], None], theme: str) -> Any:
    """The figure that is on a new sheet after `draw`."""
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    layout = ConstrainedLayoutEngine(w_pad=0.1, h_pad=0.06)
    sheet = Sheet(Figure(layout=layout, facecolor=CARDS[theme]["card"]), theme)
    draw(sheet)
    return sheet.figure


def svg(draw: Callable[[Sheet], None], theme: str) -> str:
    """The figure as text: the same for the same figures and the same matplotlib, with texts that stay texts, and
    coordinates of two decimals."""
    from matplotlib import rc_context, style

    text = io.StringIO()
    with style.context("default"), rc_context({"svg.hashsalt": "fastnn", "svg.fonttype": "none"}):
        drawn(draw, theme).savefig(text, format="svg", metadata={"Date": None, "Creator": None})
    rounded = re.sub(r"(\.\d\d)\d{3,}", r"\1", text.getvalue())
    return re.sub(r"[ \t]+$", "", rounded, flags=re.MULTILINE)
