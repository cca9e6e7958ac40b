"""Pictures of a training, by matplotlib (the extra `plots`)."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .cards import HUES, LINES, card, check_path, colours_of, dress, label_of, write

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from .landscapes import Landscape

_NOT_DRAWN = ("epoch", "lr", "seconds")


def learning_curves(
    columns: Mapping[str, Sequence[float]],
    path: str | Path | None = None,
    title: str = "",
    best_epoch: int | None = None,
    theme: str = "light",
    figure: "Figure | None" = None,
) -> "Figure":
    """Loss and metrics over the epochs, for training and validation; written to `path` when one is given.

    columns      a history's columns: "epoch" (counted as given), "loss", "val_loss", and any metric, its "val_" twin
                 in the same panel; "lr" and "seconds" are not drawn
    path         .png, .svg or .pdf
    best_epoch   the epoch whose weights were kept, marked in every panel
    theme        "light" or "dark": the card the curves are drawn on, opaque
    figure       an empty figure to draw on, such as pyplot's; None makes one outside pyplot's global state, which works
                 without a display and in threads

    Returns the figure.
    """
    colours = colours_of(theme)
    if path is not None:
        path = check_path(path)
    drawn = [name for name in columns if name not in _NOT_DRAWN]
    panels = list(dict.fromkeys(name.removeprefix("val_") for name in drawn))
    if not any(len(columns[name]) for name in drawn):
        raise ValueError("the history is empty: nothing to draw")
    figure = card((5.2 * len(panels), 3.9), colours, figure)
    for axes, name in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
        _panel(axes, name, columns, best_epoch, colours)
    if title:
        figure.suptitle(title, color=colours["text"], fontsize=12, fontweight="bold")
    if path is not None:
        write(figure, Path(path), colours)
    return figure


def rates(values: Sequence[float], per: str, path: str | Path | None = None, theme: str = "light") -> "Figure":
    """The rates of a schedule over time; written to `path` when one is given.

    values   one rate for each finished `per`, "epoch" or "step"
    path     .png, .svg or .pdf;  theme   "light" or "dark"

    Returns the figure.
    """
    path = None if path is None else check_path(path)
    colours = colours_of(theme)
    figure, axes = _one_panel(colours)
    drawn = np.asarray(values, np.float64)
    axes.plot(drawn, color=colours["train"], linewidth=1.8, marker="o" if len(drawn) <= 30 else "", markersize=3.5)
    if drawn.min() > 0 and drawn.max() > 20 * drawn.min():
        axes.set_yscale("log")
    dress(axes, f"Finished {per}s", "Learning rate", colours)
    if path is not None:
        write(figure, path, colours)
    return figure


def range_test(
    tried: Sequence[float],
    losses: Sequence[float],
    smoothed: Sequence[float],
    steepest: float,
    path: str | Path | None = None,
    theme: str = "light",
) -> "Figure":
    """The loss against the learning rate, and where it falls fastest; written to `path` when one is given.

    tried, losses, smoothed   one number for each step
    path                      .png, .svg or .pdf;  theme   "light" or "dark"

    Returns the figure.
    """
    path = None if path is None else check_path(path)
    colours = colours_of(theme)
    figure, axes = _one_panel(colours)
    axes.plot(tried, losses, color=colours["grid"], linewidth=1, label="each step")
    axes.plot(tried, smoothed, color=colours["train"], linewidth=1.8, label="smoothed")
    axes.axvline(steepest, color=colours["validation"], linewidth=1, linestyle=":", label=f"steepest: {steepest:.1e}")
    # A loss that has begun to grow would flatten all that came before it.
    low, high = float(np.min(smoothed)), float(np.max(smoothed[: max(1, len(smoothed) // 4)]))
    margin = 0.15 * max(high - low, 1e-3 * abs(high), 1e-12)
    axes.set_ylim(low - margin, high + 2 * margin)
    dress(axes, "Learning rate", "Loss", colours)
    axes.set_xscale("log")
    axes.legend(frameon=False, labelcolor=colours["text"])
    if path is not None:
        write(figure, path, colours)
    return figure


_LOWEST, _HIGHEST = 1e-12, 1e4  # heights that are drawn


def descent_paths(
    maps: Sequence[tuple["Landscape", Mapping[str, Any]]], path: str | Path | None = None, theme: str = "light"
) -> "Figure":
    """The paths of optimizers down functions of two variables; written to `path` when one is given.

    maps    a landscape with the points (steps + 1, 2) of each optimizer, by name, for each row of the picture: on the
            left a contour map with the paths, on the right how far above the minimum each is after each step
    path    .png, .svg or .pdf;  theme   "light" or "dark"

    Returns the figure.
    """
    path = None if path is None else check_path(path)
    colours = colours_of(theme)
    figure = card((11.0, 4.4 * len(maps)), colours, dpi=130)
    rows = figure.subplots(len(maps), 2, squeeze=False)
    for (landscape, paths), (left, right) in zip(maps, rows, strict=True):
        _contours(left, landscape, colours)
        least = float(landscape.value(np.array(landscape.minimum)))
        for number, (name, points) in enumerate(paths.items()):
            style = {"color": HUES[theme][number % 4], "linestyle": LINES[number // 4 % 4], "linewidth": 1.5}
            left.plot(points[:, 0], points[:, 1], label=name, **style)
            with np.errstate(over="ignore", invalid="ignore"):
                above = landscape.value(points) - least
            right.plot(np.where(above < _HIGHEST, np.maximum(above, _LOWEST), np.nan), label=name, **style)
        dress(right, "Step", f"Height above the minimum of the {landscape.name}", colours)
        right.set_yscale("log")
        right.legend(frameon=False, labelcolor=colours["text"], ncols=2, fontsize="small")
    if path is not None:
        write(figure, path, colours)
    return figure


def _contours(axes: "Axes", landscape: "Landscape", colours: Mapping[str, str]) -> None:
    """The map of a landscape: lines of equal height, closer and closer towards the minimum."""
    left, right, bottom, top = landscape.view
    x, y = np.meshgrid(np.linspace(left, right, 240), np.linspace(bottom, top, 240))
    height = landscape.value(np.stack([x, y], axis=-1)) - landscape.value(np.array(landscape.minimum))
    levels = float(height.max()) * np.geomspace(1e-4, 1.0, 13)
    axes.contour(x, y, height, levels=levels, colors=colours["grid"], linewidths=0.8)
    dress(axes, "x", "y", colours)
    axes.grid(False)
    for place, marker in ((landscape.start, "o"), (landscape.minimum, "*")):
        axes.plot(*place, marker=marker, color=colours["text"], markersize=7, linestyle="none")
    axes.set_xlim(left, right)
    axes.set_ylim(bottom, top)


def _one_panel(colours: Mapping[str, str]) -> "tuple[Figure, Axes]":
    figure = card((5.2, 3.9), colours)
    return figure, figure.subplots()


def _panel(
    axes: "Axes",
    name: str,
    columns: Mapping[str, Sequence[float]],
    best_epoch: int | None,
    colours: Mapping[str, str],
) -> None:
    """One quantity over the epochs: training and validation where there are both."""
    drawn = [(key, label) for key, label in ((name, "train"), (f"val_{name}", "validation")) if key in columns]
    finite = []
    for key, label in drawn:
        values = np.asarray(columns[key], np.float64)
        epochs = np.asarray(columns.get("epoch", range(1, len(values) + 1)), np.float64)
        marker = "o" if len(values) <= 30 else ""
        axes.plot(epochs, values, label=label, color=colours[label], linewidth=1.8, marker=marker, markersize=3.5)
        finite.append(values[np.isfinite(values)])
    shown = np.concatenate(finite)
    # Losses fall over orders of magnitude: a linear axis would show the first epochs only.
    if name == "loss" and shown.size and shown.min() > 0 and shown.max() > 20 * shown.min():
        axes.set_yscale("log")
    if best_epoch is not None:
        axes.axvline(
            best_epoch, color=colours["text"], linewidth=1, linestyle=":", zorder=1, label=f"kept: epoch {best_epoch}"
        )
    dress(axes, "Epoch", label_of(name), colours)
    axes.legend(frameon=False, labelcolor=colours["text"])
