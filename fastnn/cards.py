"""What all pictures share: the card that they are drawn on, its colours, and the files that they are written to.

Figures are made outside pyplot's global state, which works without a display and in threads. Needs matplotlib (the
extra `plots`).
"""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .checks import unknown_name

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FORMATS = (".png", ".svg", ".pdf")

# An opaque card, so that a picture reads the same on a white page and on a dark one. Blue and orange are Okabe and
# Ito's (told apart by all forms of colour vision); contrast with the card is above 4.5 for text and 3 for lines.
THEMES = {
    "light": {"card": "#ffffff", "text": "#24292f", "grid": "#d8dee4", "train": "#0072b2", "validation": "#d55e00"},
    "dark": {"card": "#161b22", "text": "#d7dde4", "grid": "#30363d", "train": "#56b4e9", "validation": "#f0a44b"},
}
HUES = {"light": ("#0072b2", "#d55e00", "#009e73", "#aa3377"), "dark": ("#56b4e9", "#f0a44b", "#3fc79a", "#e08fc0")}
"""Four hues of Okabe and Ito's, in four kinds of line for sixteen."""
LINES: tuple[Any, ...] = ("-", (0, (4, 1.5)), (0, (1, 1.2)), (0, (6, 1.5, 1, 1.5)))
_NAMES = {"rmse": "RMSE", "r2": "R²"}


def check_path(path: str | Path) -> Path:
    """The path, when a picture can be written there: a known format, an existing folder, matplotlib installed."""
    path = Path(path)
    if path.suffix.lower() not in FORMATS:
        raise ValueError(f"plot {str(path)!r}: the name must end in one of {', '.join(FORMATS)}")
    if not path.absolute().parent.is_dir():
        raise ValueError(f"plot {str(path)!r}: there is no folder {str(path.parent)!r}")
    figure_type()
    return path


def colours_of(theme: str) -> Mapping[str, str]:
    """The colours of a theme, "light" or "dark"."""
    if theme not in THEMES:
        raise unknown_name("theme", theme, THEMES)
    return THEMES[theme]


def figure_type() -> Any:
    """matplotlib's Figure type, or the error that says how to get it."""
    try:
        from matplotlib.figure import Figure
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] != "matplotlib":
            raise
        raise ModuleNotFoundError("plots take matplotlib: pip install 'fastnn[plots]'", name="matplotlib") from None
    return Figure


def plain_text() -> "AbstractContextManager[None]":
    """Text that is drawn within is what it says: two dollar signs make no formula."""
    figure_type()
    from matplotlib import rc_context

    return rc_context({"text.parse_math": False})


def card(
    size: tuple[float, float], colours: Mapping[str, str], figure: "Figure | None" = None, dpi: int = 160
) -> "Figure":
    """An empty figure of a size in inches: the one that was given, or one outside pyplot."""
    kind = figure_type()
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    if figure is None:
        figure = kind(dpi=dpi)
    figure.set_size_inches(*size)
    figure.set_layout_engine(ConstrainedLayoutEngine(w_pad=0.12, h_pad=0.1))  # some air around the panels
    figure.set_facecolor(colours["card"])
    return figure


def write(figure: "Figure", path: Path, colours: Mapping[str, str]) -> None:
    """Without a date and with a fixed salt: the same numbers give the same file."""
    from matplotlib import rc_context

    metadata: dict[str, Any] = {".svg": {"Date": None}, ".pdf": {"CreationDate": None}}.get(path.suffix.lower(), {})
    with rc_context({"svg.hashsalt": "fastnn"}):
        figure.savefig(path, metadata=metadata, facecolor=colours["card"])


def dress(axes: "Axes", x: str, y: str, colours: Mapping[str, str]) -> None:
    """Labels, grid and colours of a panel whose horizontal axis counts something."""
    from matplotlib.ticker import MaxNLocator

    axes.set_xlabel(x, color=colours["text"])
    axes.set_ylabel(y, color=colours["text"])
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_facecolor(colours["card"])
    axes.grid(True, color=colours["grid"], linewidth=0.7)
    axes.set_axisbelow(True)
    axes.tick_params(which="both", colors=colours["text"])
    for side, spine in axes.spines.items():
        spine.set_visible(side in ("left", "bottom"))
        spine.set_color(colours["grid"])


def label_of(name: str) -> str:
    """A loss or a metric as axes call it."""
    if name.startswith("val_"):
        inner = label_of(name.removeprefix("val_"))
        return f"Validation {inner if inner in _NAMES.values() else inner[:1].lower() + inner[1:]}"
    return _NAMES.get(name, name[:1].upper() + name[1:].replace("_", " "))


def pyplots() -> "Figure":
    """An empty figure of pyplot's, for `matplotlib.pyplot.show()` and notebooks."""
    figure_type()
    import matplotlib.pyplot as plt

    return plt.figure()
