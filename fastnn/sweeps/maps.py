"""Pictures of several hyper-parameters at once: the heat map of two, and a line through all of them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from fastnn import cards

from .scales import Scale, Sheet, beside, set_ticks, shortened, tilt

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_FEW = 12  # cells along an axis, up to which each says its number


def _shades(sheet: Sheet, colours: Mapping[str, str]) -> tuple[Any, Any]:
    """Colours of objectives: the better, the more they stand out from the card; told apart in all forms of colour
    vision, and in grey."""
    from matplotlib import colormaps
    from matplotlib.colors import ListedColormap, LogNorm, Normalize

    shades = colormaps["viridis"](np.linspace(0.0, 0.95, 256))
    low_stands_out = colours["theme"] == "light"
    if low_stands_out == sheet.result.larger_is_better:
        shades = shades[::-1]
    scale = sheet.objective
    low, high = scale.limits(0.0)
    return ListedColormap(shades), (LogNorm if scale.log else Normalize)(low, high)


def _colour_bar(figure: Figure, axes: Axes, sheet: Sheet, label: str, colours: Mapping[str, str]) -> None:
    from matplotlib.cm import ScalarMappable

    shades, norm = _shades(sheet, colours)
    bar = figure.colorbar(ScalarMappable(norm, shades), ax=axes, pad=0.02, aspect=30)
    bar.set_label(label, color=colours["text"])
    places, texts = sheet.objective.ticks()
    bar.minorticks_off()
    bar.set_ticks(places, labels=texts)
    bar.ax.tick_params(colors=colours["text"])
    bar.outline.set_visible(False)


# The heat map.


def pair_of(sheet: Sheet, x: str | None, y: str | None) -> tuple[Scale, Scale]:
    """The two hyper-parameters of a heat map."""
    known = {scale.name: scale for scale in sheet.dimensions}
    for argument, name in (("x", x), ("y", y)):
        if name is not None and name not in known:
            raise ValueError(
                f"plot({argument}={name!r}): expected a hyper-parameter that was varied: {', '.join(known)}"
            )
    names = [name for name in known if name not in (x, y)]
    x = x if x is not None else next(iter(names), None)
    y = y if y is not None else next((name for name in names if name != x), None)
    if x is None or y is None or x == y:
        raise ValueError(
            f"plot(kind='heatmap', x={x!r}, y={y!r}): takes two hyper-parameters, varied were: {', '.join(known)}"
        )
    return known[x], known[y]


def heatmap(figure: Figure, sheet: Sheet, x: Scale, y: Scale, colours: Mapping[str, str]) -> None:
    """The mean objective of the finished trials in each cell; a cross where all trials failed or diverged."""
    axes = figure.subplots()
    across, up = (_borders(scale, len(sheet.groups)) for scale in (x, y))
    columns, rows = (_cells(sheet.places(scale), borders) for scale, borders in ((x, across), (y, up)))
    total, count, bad = (np.zeros((len(up) - 1, len(across) - 1)) for _ in range(3))
    for group, row, column in zip(sheet.groups, rows, columns, strict=True):
        if row >= 0 <= column:
            total[row, column] += math.fsum(group.values)
            count[row, column] += len(group.values)
            bad[row, column] += sum(trial.status in ("failed", "diverged") for trial in group.trials)
    mean = np.divide(total, count, out=np.full_like(total, math.nan), where=count > 0)
    shades, norm = _shades(sheet, colours)
    axes.pcolormesh(across, up, np.ma.masked_invalid(mean), cmap=shades, norm=norm, edgecolors=colours["card"],
                    linewidth=1.0)  # fmt: skip
    cards.dress(axes, x.label, y.label, colours)
    axes.grid(False)
    _lay_out(axes, x, y, across, up)
    _write_cells(axes, sheet, mean, bad, (_middles(x, across), _middles(y, up)), colours)
    if (count > 0).any() and not sheet.objective.is_constant:
        _colour_bar(figure, axes, sheet, f"{cards.label_of(sheet.result.metric)}, mean", colours)


def _borders(scale: Scale, groups: int) -> Any:
    """Between the cells along an axis: one for each value, or bins of a range, few where there are few groups."""
    if scale.values is not None:
        return np.arange(len(scale.values) + 1) - 0.5
    if scale.is_constant:
        return np.array(scale.limits(0.0))
    if scale.whole and not scale.log and scale.high - scale.low < _FEW:
        return np.arange(scale.low, scale.high + 2) - 0.5
    bins = int(min(20, max(4, math.sqrt(groups) / 1.5)))
    return np.geomspace(scale.low, scale.high, bins + 1) if scale.log else np.linspace(scale.low, scale.high, bins + 1)


def _cells(places: Any, borders: Any) -> Any:
    """The cell of each place; -1: none."""
    cells = np.clip(np.searchsorted(borders, places, side="right") - 1, 0, len(borders) - 2)
    return np.where(np.isnan(places), -1, cells)


def _middles(scale: Scale, borders: Any) -> Any:
    return np.sqrt(borders[1:] * borders[:-1]) if scale.log else (borders[1:] + borders[:-1]) / 2


def _lay_out(axes: Axes, x: Scale, y: Scale, across: Any, up: Any) -> None:
    if x.log:
        axes.set_xscale("log")
    if y.log:
        axes.set_yscale("log")
    axes.set_xlim(across[0], across[-1])
    axes.set_ylim(up[0], up[-1])
    set_ticks(axes.xaxis, *x.ticks(8))
    set_ticks(axes.yaxis, *y.ticks(8))
    tilt(axes, 45)


def _write_cells(
    axes: Axes, sheet: Sheet, mean: Any, bad: Any, middles: tuple[Any, Any], colours: Mapping[str, str]
) -> None:
    """The number of each cell, where there is room for it."""
    shades, norm = _shades(sheet, colours)
    rows, columns = mean.shape
    if max(rows, columns) > _FEW:
        return
    for row, column in np.ndindex(rows, columns):
        value = mean[row, column]
        text = "" if not math.isnan(value) or not bad[row, column] else "x"
        colour = colours["text"]
        if not math.isnan(value):
            text = f"{value:.3g}"
            shade = shades(norm(value))
            colour = "#ffffff" if np.dot(shade[:3], (0.299, 0.587, 0.114)) < 0.5 else "#000000"
        axes.text(
            middles[0][column], middles[1][row], text, ha="center", va="center", color=colour,
            fontsize=9 if columns <= 8 else 7,
        )  # fmt: skip


# Parallel coordinates.


def parallel(figure: Figure, sheet: Sheet, colours: Mapping[str, str]) -> None:
    """A line for each configuration through its values to its mean objective, the best ones on top; dotted ones end at
    the edge where a configuration has failed or diverged."""
    from matplotlib.collections import LineCollection

    axes = figure.subplots()
    scales = [*sheet.dimensions, sheet.objective]
    lines = np.stack([_heights(sheet, scale) for scale in sheet.dimensions] + [_ends(sheet)], axis=1)
    mean = np.array([group.mean for group in sheet.groups])
    lost = np.isnan(mean)
    shades, norm = _shades(sheet, colours)
    x, many = np.arange(len(scales)), len(lines)
    alpha = 0.8 if many <= 200 else 0.4 if many <= 2000 else 0.15
    for mine, style in (
        (lost, {"colors": colours["diverged"], "linestyles": ":", "linewidths": 0.8, "alpha": 0.6, "zorder": 1}),
        (~lost, {"linewidths": 1.3 if many <= 200 else 0.7, "alpha": alpha, "zorder": 2}),
    ):
        worst_first = np.argsort(mean[mine] if sheet.result.larger_is_better else -mean[mine], kind="stable")
        drawn = LineCollection(
            [np.column_stack([x, line]) for line in lines[mine][worst_first]], rasterized=many > 2000, **style
        )
        if mine is not lost:
            drawn.set(array=mean[mine][worst_first], cmap=shades, norm=norm)
        axes.add_collection(drawn, autolim=False)
    if sheet.best is not None:
        at = next(number for number, group in enumerate(sheet.groups) if group is sheet.best)
        axes.plot(x, lines[at], color=colours["validation"], linewidth=2.0, zorder=3, label="best")
    _stands(axes, scales, lines[:, -1], lost, colours)
    sheet.headline(figure, colours)
    if axes.get_legend_handles_labels()[0]:
        figure.legend(loc="outside lower left", frameon=False, labelcolor=colours["text"], fontsize="small", ncols=2)
    if not sheet.objective.is_constant and not lost.all():
        strip = np.linspace(0, 1, 129)
        axes.pcolormesh(
            [x[-1], x[-1] + 0.07], strip, (strip[1:] + strip[:-1])[:, None] / 2, cmap=shades, vmin=0, vmax=1, zorder=3
        )


def _heights(sheet: Sheet, scale: Scale) -> Any:
    """Of the groups on the stand of a hyper-parameter, 0 to 1, those of one value beside each other."""
    places = sheet.places(scale)
    if scale.values is None:
        return scale.share(places)
    low, high = scale.limits(0.0)
    return (places + 0.5 * beside(places) - low) / (high - low)


def _ends(sheet: Sheet) -> Any:
    """Of the groups at the objective: its share, or outside of 0 to 1 where there is none or it is off the scale."""
    mean = np.array([group.mean for group in sheet.groups])
    scale, down = sheet.objective, sheet.result.larger_is_better
    off = np.isnan(mean) | (mean < scale.low) | (mean > scale.high)
    shares = scale.share(np.where(off, scale.low, mean))
    return np.where(off, -0.07 if down else 1.07, shares)


def _stands(axes: Axes, scales: list[Scale], ends: Any, lost: Any, colours: Mapping[str, str]) -> None:
    """The upright lines with the ticks of their scales beside them."""
    axes.set_facecolor(colours["card"])
    for spine in axes.spines.values():
        spine.set_visible(False)
    names = [*(scale.label for scale in scales[:-1]), shortened(cards.label_of(scales[-1].name), 24)]
    axes.set_xticks(range(len(scales)), names)
    axes.tick_params(length=0, colors=colours["text"], labelsize=10, pad=8)
    axes.set_yticks([])
    axes.set_xlim(-0.35, len(scales) - 0.7)
    down, up = float(np.nanmin(ends)), float(np.nanmax(ends))
    axes.set_ylim(min(down, 0.0) - 0.03, max(up, 1.0) + 0.03)
    axes.vlines(range(len(scales)), 0, 1, colors=colours["text"], linewidths=1.0, alpha=0.6, zorder=4)
    for at, scale in enumerate(scales):
        places, texts = ([], []) if scale is scales[-1] and lost.all() else scale.ticks(7)
        low, high = scale.limits(0.0)
        shares = [float(scale.share(place)) for place in places]
        if scale.values is not None:
            shares = [(place - low) / (high - low) for place in places]
        box = {"facecolor": colours["card"], "edgecolor": "none", "alpha": 0.7, "pad": 0.8}
        style: dict[str, Any] = {"va": "center", "fontsize": 8, "color": colours["text"], "zorder": 5, "bbox": box}
        right = 0.07 if scale is scales[-1] else 0.0  # of the strip of colours
        for share, text in zip(shares, texts, strict=True):
            axes.annotate(text, (at + right, share), (4, 0), textcoords="offset points", **style)
    if lost.any():
        axes.plot([], [], ":", color=colours["diverged"], label=f"failed, diverged or pruned ({lost.sum()})")
