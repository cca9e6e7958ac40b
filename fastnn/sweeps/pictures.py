"""Pictures of a sweep, by matplotlib (the extra `plots`): trials, hyper-parameters, learning curves."""

from __future__ import annotations

import math
from collections.abc import Mapping
from os import PathLike
from typing import TYPE_CHECKING, Any

import numpy as np

from fastnn import cards, checks

from . import maps
from .scales import Scale, Sheet, beside, objective, set_ticks, shortened, text_of, tilt

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from .summary import Group, SweepResult

KINDS = ("overview", "trials", "parameters", "curves", "heatmap", "parallel")
_BEST = 5  # configurations whose learning curves stand out
_BEHIND = 200  # learning curves of others behind them
_ROW = 0.05  # of the height of a panel, for a row of marks at its edge


def draw(
    result: SweepResult, path: str | PathLike[str] | None, kind: str, theme: str, x: str | None, y: str | None
) -> Figure:
    """As `SweepResult.plot`."""
    if kind not in KINDS:
        raise checks.unknown_name("kind of picture", kind, KINDS)
    if kind != "heatmap" and (x is not None or y is not None):
        raise ValueError(f"plot(kind={kind!r}): x and y are of kind='heatmap'")
    colours = {**cards.colours_of(theme), "theme": theme, "diverged": cards.HUES[theme][3]}
    file = None if path is None else cards.check_path(str(path))
    sheet = Sheet.of(result)
    if kind == "heatmap":
        pair = maps.pair_of(sheet, x, y)
    if kind == "curves" and not _has_curves(sheet):
        raise ValueError("plot(kind='curves'): no trial reported its objective after its epochs")
    with cards.plain_text():  # names and values are the user's
        figure = cards.card(_size(kind, sheet), colours, cards.pyplots() if file is None else None)
        if kind == "heatmap":
            maps.heatmap(figure, sheet, *pair, colours)
        elif kind == "parallel":
            maps.parallel(figure, sheet, colours)
        else:
            _panels(figure, sheet, kind, colours)
        if file is not None:
            cards.write(figure, file, colours)
    return figure


# Layout.


def _columns(sheet: Sheet) -> int:
    """Of the hyper-parameters' panels: rows as full as can be."""
    count = len(sheet.dimensions)
    return min((2, 3, 4), key=lambda columns: (-count % columns, -columns)) if count > 1 else 1


def _size(kind: str, sheet: Sheet) -> tuple[float, float]:
    if kind in ("trials", "curves"):
        return 7.2, 4.4
    if kind == "heatmap":
        return 7.0, 5.2
    if kind == "parallel":
        return max(6.0, 1.7 * (len(sheet.dimensions) + 2)), 4.8
    rows = math.ceil(len(sheet.dimensions) / _columns(sheet))
    return 12.0, (4.2 if kind == "overview" else 0.6) + 3.0 * rows


def _panels(figure: Figure, sheet: Sheet, kind: str, colours: Mapping[str, str]) -> None:
    """The kinds that are made of panels: a row for trials and curves, then rows for hyper-parameters."""
    columns = _columns(sheet)
    rows = math.ceil(len(sheet.dimensions) / columns) if kind in ("overview", "parameters") else 0
    first = int(kind != "parameters")
    grid = figure.add_gridspec(first + rows, 12, height_ratios=[*([4.0] if first else []), *[3.0] * rows])
    curves = kind == "curves" or (kind == "overview" and _has_curves(sheet))
    shown: dict[str, Any] = {}
    if kind in ("overview", "trials"):
        _trials(figure.add_subplot(grid[0, : 7 if curves else 12]), sheet, colours, shown)
    if curves:
        _curves(figure.add_subplot(grid[0, 7 if kind == "overview" else 0 :]), sheet, colours)
    if rows:
        width = 12 // columns
        for number, scale in enumerate(sheet.dimensions):
            row, column = divmod(number, columns)
            axes = figure.add_subplot(grid[first + row, column * width : (column + 1) * width])
            _parameter(axes, sheet, scale, colours, shown, column == 0)
    if kind != "curves":
        sheet.headline(figure, colours)
    if shown:
        legend = figure.legend(
            shown.values(), shown.keys(), loc="outside lower left", ncols=4 if kind == "trials" else 8, frameon=False,
            labelcolor=colours["text"], fontsize="small", handletextpad=0.4, columnspacing=1.4,
        )  # fmt: skip
        for handle in legend.legend_handles:
            if handle is not None:
                handle.set_alpha(1.0)  # one point alone would hardly be seen


# Panels whose points are trials.


def _trials(axes: Axes, sheet: Sheet, colours: Mapping[str, str], shown: dict[str, Any]) -> None:
    """The objective of each configuration in the order in which they were begun, and the best so far."""
    places = np.arange(1.0, len(sheet.groups) + 1)
    if sheet.result.repeats == 1:
        places = np.array([float(group.trials[0].number) for group in sheet.groups])
    finished = np.array([group.mean if group.status == "finished" else math.nan for group in sheet.groups])
    _dress(axes, sheet, "Trial" if sheet.result.repeats == 1 else "Configuration", True, colours)
    if not np.isnan(finished).all():
        running = np.fmax if sheet.result.larger_is_better else np.fmin
        (line,) = axes.plot(
            places, running.accumulate(finished), color=colours["validation"], linewidth=1.6, drawstyle="steps-post",
            zorder=3,
        )  # fmt: skip
        shown["best so far"] = line
    _points(axes, sheet, places, colours, shown)
    air = max(0.5, 0.02 * (places[-1] - places[0]))
    axes.set_xlim(places[0] - air, places[-1] + air)
    set_ticks(axes.xaxis, *Scale("", places[0], places[-1], whole=True).ticks(9))


def _parameter(
    axes: Axes, sheet: Sheet, scale: Scale, colours: Mapping[str, str], shown: dict[str, Any], labelled: bool
) -> None:
    """The objective over the values of a hyper-parameter."""
    places = sheet.places(scale)
    _dress(axes, sheet, scale.label, labelled, colours)
    if scale.log:
        axes.set_xscale("log")
    axes.set_xlim(*scale.limits(0.05))
    most = 6
    if scale.values is not None:
        places = places + beside(places)
        most = 8
    set_ticks(axes.xaxis, *scale.ticks(most))
    tilt(axes, 30)
    _points(axes, sheet, places, colours, shown)


def _points(axes: Axes, sheet: Sheet, places: Any, colours: Mapping[str, str], shown: dict[str, Any]) -> None:
    """A point for each trial that has an objective, a larger one for the mean of repeats, and marks at the edge.

    places   of the groups, along the horizontal axis
    shown    what the legend says, to be added to
    """
    x, y, many, repeated = places[sheet.owner], sheet.value, len(sheet.value), sheet.result.repeats > 1
    size = 26 if many <= 100 else 12 if many <= 1000 else 5
    few = {"linewidths": 0, "rasterized": many > 2000}  # a file of thousands of shapes is slow to look at

    def scatter(label: str, x: Any, y: Any, area: float, **style: Any) -> None:
        shown[label] = axes.scatter(x, y, area, **{**few, **style})

    pruned, seen = sheet.status == "pruned", sheet.status == "finished"
    if pruned.any():
        style = {"facecolors": "none", "edgecolors": colours["text"], "linewidths": 0.7, "alpha": 0.45, "zorder": 2}
        scatter(f"pruned ({sheet.result.counts['pruned']})", x[pruned], y[pruned], 0.6 * size, **style)
    if seen.any():
        alpha = 0.4 if repeated else 0.85 if many <= 200 else 0.5 if many <= 2000 else 0.25
        style = {"color": colours["train"], "alpha": alpha, "zorder": 2}
        scatter(
            f"finished ({sheet.result.counts['finished']})",
            x[seen],
            y[seen],
            (0.4 if repeated else 1.0) * size,
            **style,
        )
    if repeated and seen.any():
        # A mean of some of the repeats is no mean to compare: it may be better than the best.
        mean = np.array([group.mean if group.status == "finished" else math.nan for group in sheet.groups])
        inside = (mean >= sheet.objective.low) & (mean <= sheet.objective.high)
        scatter("mean of repeats", places[inside], mean[inside], 1.2 * size, color=colours["train"], zorder=2.5)
    if sheet.best is not None:
        best = sheet.best
        at = next(number for number, group in enumerate(sheet.groups) if group is best)
        style = {"color": colours["validation"], "edgecolors": colours["card"], "linewidths": 0.8, "zorder": 4}
        scatter("best", places[at : at + 1], [best.mean], 130, marker="*", **style)
    for row, (name, marker, colour) in enumerate(_edge(sheet)):
        mine, height = sheet.status == name, (row + 0.5) * _ROW
        height = height if sheet.result.larger_is_better else 1 - height
        style = {"color": colours[colour], "linewidths": 1.0 if marker == "x" else 0, "zorder": 3}
        scatter(
            f"{name} ({mine.sum()})", x[mine], np.full(mine.sum(), height), 0.8 * max(size, 12), marker=marker,
            transform=axes.get_xaxis_transform(), **style,
        )  # fmt: skip


def _edge(sheet: Sheet) -> list[tuple[str, str, str]]:
    """What has no place on the axis of the objective, outermost first: status, marker, colour."""
    rows = [
        ("failed", "x", "text"),
        ("diverged", "D", "diverged"),
        ("off the scale", "v" if sheet.result.larger_is_better else "^", "train"),
    ]
    return [row for row in rows if (sheet.status == row[0]).any()]


def _dress(axes: Axes, sheet: Sheet, x: str, labelled: bool, colours: Mapping[str, str]) -> None:
    """Labels, and the axis of the objective with room for the marks at its worse edge."""
    cards.dress(axes, x, shortened(cards.label_of(sheet.objective.name), 32) if labelled else "", colours)
    room = _ROW * len(_edge(sheet))
    below, above = (room, 0.0) if sheet.result.larger_is_better else (0.0, room)
    scale_axis(axes, sheet.objective, below, above)
    if not np.isin(sheet.status, ("finished", "pruned")).any():
        axes.set_yticks([])


def scale_axis(axes: Axes, scale: Scale, below: float = 0.0, above: float = 0.0) -> None:
    """Makes the vertical axis that of a scale."""
    if scale.log:
        axes.set_yscale("log")
    axes.set_ylim(*scale.limits(0.06, below, above))
    if not scale.is_constant:
        set_ticks(axes.yaxis, *scale.ticks())


# Learning curves.


def _has_curves(sheet: Sheet) -> bool:
    return any(trial.curve for trial in sheet.result.trials)


def _curves(axes: Axes, sheet: Sheet, colours: Mapping[str, str]) -> None:
    """The objective after each epoch: of the best configurations, before a sample of the others."""
    from matplotlib.collections import LineCollection

    result = sheet.result
    seen = [g for g in result.groups if any(t.curve for t in g.trials if t.status == "finished")]
    best = seen[:_BEST]
    theirs = {trial.number for group in best for trial in group.trials}
    others = [trial.curve for trial in result.trials if trial.curve and trial.number not in theirs]
    others = others[:: math.ceil(len(others) / _BEHIND) or 1]
    known = [value for group in best for trial in group.trials for value in trial.curve]
    known = [value for value in known or [value for curve in others for value in curve] if math.isfinite(value)]
    scale = objective(known, result.metric, result.larger_is_better)
    cards.dress(axes, "Epoch", cards.label_of(result.metric), colours)
    scale_axis(axes, scale)
    lines = [np.column_stack([np.arange(1, len(curve) + 1), _finite(curve)]) for curve in others]
    axes.add_collection(LineCollection(lines, colors=colours["grid"], linewidths=0.8, zorder=1), autolim=False)
    hues = (*cards.HUES[colours["theme"]], colours["text"])
    for number, group in reversed([*enumerate(best)]):
        _curve(axes, sheet, group, hues[number], cards.LINES[number % 4])
    longest = max(len(trial.curve) for trial in result.trials)
    axes.set_xlim(1 - max(0.4, 0.02 * longest), longest + max(0.4, 0.02 * longest))
    if best:
        handles, labels = axes.get_legend_handles_labels()
        axes.legend(
            handles[::-1], labels[::-1], frameon=True, facecolor=colours["card"], edgecolor="none", framealpha=0.8,
            labelcolor=colours["text"], fontsize="x-small",
        )  # fmt: skip


def _curve(axes: Axes, sheet: Sheet, group: Group, hue: str, line: Any) -> None:
    """A configuration: its repeats thin, their mean for as long as all go on that are in its objective."""
    finished = [trial for trial in group.trials if trial.status == "finished"]
    curves = [_finite(trial.curve) for trial in finished if trial.curve]
    common = min(map(len, curves))
    if len(curves) > 1:
        for curve in curves:
            axes.plot(np.arange(1, len(curve) + 1), curve, color=hue, linewidth=0.7, alpha=0.35)
    mean = np.mean([curve[:common] for curve in curves], axis=0)
    axes.plot(
        np.arange(1, common + 1), mean, color=hue, linewidth=1.7, linestyle=line, marker="o" if common <= 2 else "",
        markersize=3.5, label=f"{text_of(group.mean)}: {sheet.said(group, 36)}",
    )  # fmt: skip


def _finite(curve: Any) -> Any:
    values = np.asarray(curve, np.float64)
    return np.where(np.isfinite(values), values, math.nan)
