"""Pictures of sweeps: what is drawn, where, and what is refused."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("matplotlib")

import fastnn as fnn
from fastnn import sweeps
from fastnn.sweeps.pictures import KINDS
from fastnn.sweeps.scales import objective, text_of
from fastnn.sweeps.trials import Trial

LR = ["Range", 1e-4, 1e-1, True]


def result_of(
    trials: list[Trial], mode: str = "min", metric: str = "val_loss", **space: Any
) -> fnn.SweepResult:  # fmt: skip
    return fnn.SweepResult.of({"space": space, "metric": metric, "mode": mode}, trials)


def trials_of(values: Any, **columns: Any) -> list[Trial]:
    """A trial for each value, with its configuration from columns."""
    rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    return [
        Trial(number, config, value=value, status="finished" if math.isfinite(value) else "diverged")
        for number, (config, value) in enumerate(zip(rows, values, strict=True))
    ]


def many(count: int) -> fnn.SweepResult:
    rng = np.random.default_rng(0)
    lr, width = 10 ** rng.uniform(-4, -1, count), rng.choice([32, 64, 128], count)
    values = 0.1 + (np.log10(lr) + 2) ** 2 / 10 + 1 / width + 0.01 * rng.random(count)
    trials = trials_of(values.tolist(), lr=lr.tolist(), width=width.tolist())
    return result_of(trials, lr=LR, width=["Choice", [32, 64, 128]])


def panel(figure: Any, label: str) -> Any:
    """The one whose horizontal axis says so."""
    (found,) = [axes for axes in figure.axes if axes.get_xlabel() == label]
    return found


def points(axes: Any, figure: Any, label: str) -> Any:
    """Where a panel has the points that the figure's legend calls so; on the edge, the height is a share."""
    (legend,) = figure.legends
    texts = [text.get_text().split(" (")[0] for text in legend.get_texts()]
    shape = legend.legend_handles[texts.index(label)]
    return next(
        np.asarray(c.get_offsets()) for c in axes.collections
        if len(c.get_paths()) == 1 and np.array_equal(c.get_paths()[0].vertices, shape.get_paths()[0].vertices)
        and np.allclose(c.get_facecolor()[:, :3], shape.get_facecolor()[:, :3])
    )  # fmt: skip


def said(figure: Any) -> list[str]:
    return [text.get_text() for legend in figure.legends for text in legend.get_texts()]


def test_trials_are_points_and_the_best_so_far_a_line(tmp_path: Path) -> None:
    result = result_of(trials_of([3.0, 1.0, 2.0, math.nan, 0.5], lr=[1e-4, 1e-3, 1e-2, 1e-1, 2e-3]), lr=LR)
    figure = result.plot(tmp_path / "sweep.png")
    axes = panel(figure, "Trial")
    assert axes.get_ylabel() == "Validation loss"
    np.testing.assert_array_equal(axes.lines[0].get_xydata(), [(0, 3), (1, 1), (2, 1), (3, 1), (4, 0.5)])
    np.testing.assert_array_equal(points(axes, figure, "finished"), [(0, 3), (1, 1), (2, 2), (4, 0.5)])
    np.testing.assert_array_equal(points(axes, figure, "best"), [(4, 0.5)])
    assert "Best: 0.5 at lr 0.002" in figure.get_suptitle()
    lr = panel(figure, "lr")
    assert lr.get_xscale() == "log"
    np.testing.assert_array_equal(points(lr, figure, "finished")[:, 0], [1e-4, 1e-3, 1e-2, 2e-3])
    assert (tmp_path / "sweep.png").stat().st_size > 10_000


def test_the_best_so_far_rises_where_larger_is_better(tmp_path: Path) -> None:
    result = result_of(trials_of([0.5, 0.9, 0.7], a=[1, 2, 3]), "max", "accuracy", a=["Choice", [1, 2, 3]])
    figure = result.plot(tmp_path / "a.png", "trials")
    np.testing.assert_array_equal(figure.axes[0].lines[0].get_ydata(), [0.5, 0.9, 0.9])


@pytest.mark.parametrize("mode", ["min", "max"])
def test_what_has_no_objective_is_a_mark_at_the_worse_edge(tmp_path: Path, mode: str) -> None:
    trials = trials_of([1.0, 2.0, math.nan, math.nan], a=[1, 2, 3, 4])
    trials[3] = Trial(3, {"a": 4}, status="failed", error="why")
    figure = result_of(trials, mode, a=["Choice", [1, 2, 3, 4]]).plot(tmp_path / "a.png")
    assert {"finished (2)", "diverged (1)", "failed (1)"} < set(said(figure))
    for axes in (panel(figure, "Trial"), panel(figure, "a")):
        heights = [points(axes, figure, name)[:, 1] for name in ("failed", "diverged")]
        heights = heights if mode == "min" else [1 - height for height in heights]
        assert 1 > heights[0] > heights[1] > 0.88
        shown = axes.transAxes.inverted().transform(axes.transData.transform([(0, 1.0), (0, 2.0)]))[:, 1]
        assert ((shown if mode == "min" else 1 - shown) < 0.9).all(), "the marks have the edge for themselves"


def test_repeats_are_points_with_their_mean_and_the_best_is_a_mean(tmp_path: Path) -> None:
    trials = trials_of([1.0, 3.0, 0.5, math.nan, 1.5, 1.7], lr=[1e-3] * 2 + [1e-2] * 2 + [1e-4] * 2, seed=[0, 1] * 3)
    figure = result_of(trials, lr=LR, seed=["Choice", [0, 1]]).plot(tmp_path / "a.png")
    axes = panel(figure, "Configuration")
    np.testing.assert_allclose(axes.lines[0].get_ydata(), [2.0, 2.0, 1.6])
    np.testing.assert_allclose(points(axes, figure, "best"), [(3, 1.6)])
    sizes = {len(c.get_offsets()) for c in panel(figure, "lr").collections}
    assert sizes >= {5, 2, 1}, "five trials, two means, one that diverged"
    assert not [axes for axes in figure.axes if axes.get_xlabel() == "seed"]


def test_values_of_a_choice_are_ticks_in_their_order(tmp_path: Path) -> None:
    space = {"name": ["Choice", ["b", None, True, 1]], "width": ["Choice", [64, 8, 16]], "fixed": ["Choice", [3]]}
    trials = trials_of([1.0, 2.0, 3.0, 4.0], name=["b", None, True, 1], width=[8, 16, 64, 8], fixed=[3] * 4)
    figure = result_of(trials, **space).plot(tmp_path / "a.png", "parameters")
    assert [axes.get_xlabel() for axes in figure.axes] == ["name", "width"], "what is constant has no panel"
    ticks = [[label.get_text() for label in axes.get_xticklabels()] for axes in figure.axes]
    assert ticks == [["b", "None", "True", "1"], ["8", "16", "64"]]
    np.testing.assert_array_equal(points(figure.axes[0], figure, "finished")[:, 0], [0, 1, 2, 3])


def test_a_result_that_does_not_know_its_space_takes_it_from_the_trials(tmp_path: Path) -> None:
    lr = np.geomspace(1e-4, 1e-1, 20).tolist()
    figure = result_of(trials_of(lr, lr=lr, name=["a", "b"] * 10)).plot(tmp_path / "a.png", "parameters")
    assert panel(figure, "lr").get_xscale() == "log"
    assert [label.get_text() for label in panel(figure, "name").get_xticklabels()] == ["a", "b"]


def test_a_results_file_draws_what_its_sweep_draws(tmp_path: Path) -> None:
    def train(config: dict[str, Any], budget: int | None, report: Any) -> float:
        for step in range(5):
            report(config["lr"] * (5 - step))
        return float(config["lr"])

    path, space = tmp_path / "sweep.jsonl", fnn.Space(lr=fnn.log_uniform(1e-3, 1.0), seed=range(2))
    result = fnn.sweep(train, space, search="random", trials=8, results=path, progress=False)
    again = sweeps.read(path)
    assert (again.repeats, again.metric, again.larger_is_better, again.stopped) == (2, "loss", False, "unknown")
    assert again.best.config == result.best.config
    result.plot(tmp_path / "a.svg")
    again.plot(tmp_path / "b.svg")
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()


def test_learning_curves_of_the_best_stand_before_the_others(tmp_path: Path) -> None:
    trials = [
        Trial(n, {"a": n}, value=n + 1.0, curve=(n + 3.0, math.inf if n == 1 else n + 2.0, n + 1.0)) for n in range(9)
    ]
    (axes,) = result_of(trials).plot(tmp_path / "a.png", "curves").axes
    labels = [text.get_text() for text in axes.get_legend().get_texts()]
    assert labels == [f"{n + 1}: a {n}" for n in range(5)]
    best = next(line for line in axes.lines if line.get_label() == labels[0])
    np.testing.assert_array_equal(best.get_xydata(), [(1, 3), (2, 2), (3, 1)])
    assert len(axes.collections[0].get_segments()) == 4


def test_means_are_of_all_repeats_and_curves_of_what_finished(tmp_path: Path) -> None:
    """One lucky repeat of a configuration whose others were pruned is neither a mean nor the end of a curve."""
    trials = [
        Trial(2 * number + seed, {"lr": lr, "seed": seed}, value=value + seed, status=status, curve=curve)
        for number, (lr, value) in enumerate([(1e-3, 1.0), (1e-2, 3.0)])
        for seed, status, curve in [
            (0, "finished", (9.0, 8.0, 7.0)),
            (1, "pruned" if number == 0 else "finished", (9.0,)),
        ]
    ]
    result = result_of(trials, lr=LR, seed=["Choice", [0, 1]])
    figure = result.plot(tmp_path / "sweep.png")
    axes = panel(figure, "Configuration")
    drawn = [np.asarray(c.get_offsets()).tolist() for c in axes.collections]
    assert [[2.0, 3.5]] in drawn
    assert not any([1.0, 1.0] in places and len(places) < 3 for places in drawn)
    (curves,) = [axes for axes in figure.axes if axes.get_xlabel() == "Epoch"]
    lengths = {
        line.get_label().split(":")[0]: len(line.get_xdata()) for line in curves.lines if ":" in line.get_label()
    }
    assert lengths == {"3.5": 1, "1": 3}


@pytest.mark.parametrize("kind", KINDS)
def test_names_and_values_are_drawn_as_they_are_however_long(kind: str, tmp_path: Path) -> None:
    name = "a_name$that$is_longer_than_there_is_room_for"
    values = ["a$b_$^", "$x_1$", "%"] * 3
    config = {name: values, "lr": [10 ** -(1 + k / 8) for k in range(9)]}
    space = {name: ["Choice", values[:3]], "lr": LR}
    trials = [
        Trial(t.number, t.config, value=t.value, curve=(1.0, t.value))
        for t in trials_of(list(map(float, range(9))), **config)
    ]
    figure = result_of(trials, **space).plot(tmp_path / "sweep.png", kind)
    texts = [text.get_text() for text in figure.findobj(lambda artist: hasattr(artist, "get_parse_math"))]
    assert any("a_name$that$is_longer" in text for text in texts)
    labels = [axes.get_xlabel() for axes in figure.axes]
    assert kind not in ("overview", "parameters") or "a_name$that$is_longer_t…" in labels


def test_a_heat_map_has_the_means_of_finished_trials(tmp_path: Path) -> None:
    columns = {"a": [1, 1, 2, 2], "b": ["x", "x", "x", "y"]}
    space = {"a": ["Choice", [1, 2]], "b": ["Choice", ["x", "y"]]}
    figure = result_of(trials_of([1.0, 3.0, 5.0, math.nan], **columns), **space).plot(tmp_path / "a.png", "heatmap")
    axes = figure.axes[0]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("a", "b")
    means = axes.collections[0].get_array()
    np.testing.assert_array_equal(means.filled(-1).reshape(2, 2), [[2, 5], [-1, -1]])
    assert [text.get_text() for text in axes.texts] == ["2", "5", "", "x"]
    assert figure.axes[1].get_ylabel() == "Validation loss, mean"
    turned = result_of(trials_of([1.0, 3.0, 5.0, math.nan], **columns), **space).plot(
        tmp_path / "a.png", "heatmap", x="b"
    )
    assert turned.axes[0].get_xlabel() == "b"


def test_a_heat_map_sorts_ranges_into_bins(tmp_path: Path) -> None:
    axes = many(200).plot(tmp_path / "a.png", "heatmap").axes[0]
    assert (axes.get_xscale(), axes.get_yscale()) == ("log", "linear")
    np.testing.assert_allclose(axes.get_xlim(), (1e-4, 1e-1))
    assert axes.collections[0].get_array().count() > 20


def test_parallel_coordinates_end_at_the_objective(tmp_path: Path) -> None:
    trials = trials_of([1.0, 2.0, 3.0, math.nan], lr=[1e-4, 1e-3, 1e-2, 1e-1], a=[1, 2, 1, 2])
    figure = result_of(trials, lr=LR, a=["Choice", [1, 2]]).plot(tmp_path / "a.png", "parallel")
    (axes,) = figure.axes
    assert [label.get_text() for label in axes.get_xticklabels()] == ["lr", "a", "Validation loss"]
    lost, kept = axes.collections[:2]
    np.testing.assert_allclose([line[[0, 2], 1] for line in kept.get_segments()], [(2 / 3, 1), (1 / 3, 0.5), (0, 0)])
    np.testing.assert_array_equal(kept.get_array(), [3, 2, 1])  # the best one last, on top
    (line,) = lost.get_segments()
    assert line[2, 1] > 1
    assert "failed, diverged or pruned (1)" in said(figure)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_is_drawn_of_whatever_there_is(tmp_path: Path, kind: str) -> None:
    space = {"lr": LR, "a": ["Choice", [True, None]]}
    curve = (2.0, 1.0)
    failed = [Trial(n, {"lr": 0.01, "a": None}, status="failed", curve=curve) for n in range(2)]
    for trials in (
        [Trial(0, {"lr": 0.01, "a": True}, value=1.0, curve=curve)],
        [Trial(n, {"lr": 0.01, "a": True}, value=0.0, curve=curve) for n in range(3)],
        failed,
        [Trial(0, {"lr": 0.01, "a": True}, value=1.0, status="pruned", curve=curve)],
        [Trial(0, {"lr": 0.01}, value=1.0, curve=curve), Trial(1, {"a": True}, value=-2.0, curve=(math.nan,)), *failed],
        [Trial(n, {"lr": 0.01 * n, "a": None}, value=10.0**n, curve=curve) for n in range(1, 9)],
    ):
        result_of(trials, **space).plot(tmp_path / "a.png", kind)
        if kind != "heatmap":  # which takes two that vary
            result_of(trials).plot(tmp_path / "a.png", kind, "dark")


@pytest.mark.parametrize("kind", ["overview", "heatmap", "parallel"])
def test_ten_thousand_trials_are_drawn_as_pixels(tmp_path: Path, kind: str) -> None:
    many(10_000).plot(tmp_path / "a.svg", kind)
    assert (tmp_path / "a.svg").stat().st_size < 2_000_000


def test_a_few_objectives_far_off_do_not_flatten_the_others(tmp_path: Path) -> None:
    values = [-0.5, -0.2, 0.1, 0.3, 0.5, 0.6, 0.7, 0.8, 0.85, -1e9]
    scale = objective(values, "val_r2", True)
    assert (scale.low, scale.high, scale.log) == (-0.5, 0.85, False)
    figure = result_of(trials_of(values, a=range(10)), "max", "val_r2").plot(tmp_path / "a.png")
    assert "off the scale (1)" in said(figure)
    assert panel(figure, "Trial").get_ylabel() == "Validation R²"
    scale = objective([0.01, 0.1, 1.0, 10.0], "loss", False)
    assert (scale.low, scale.high, scale.log) == (0.01, 10.0, True)


def test_numbers_are_as_short_as_can_be() -> None:
    given = [1e-5, 0.1, 1 / 3, 12345.678, 1e6, 64, 1.0, True, None, "adam", "a name that is long enough"]
    expected = ["1e-5", "0.1", "0.3333", "1.235e4", "1e6", "64", "1", "True", "None", "adam", "a name that is lo…"]
    assert [text_of(value) for value in given] == expected


def test_without_a_path_the_figure_is_pyplots() -> None:
    pyplot = pytest.importorskip("matplotlib.pyplot")
    with pytest.raises(ValueError, match="unknown theme"):
        many(5).plot(theme="red")
    assert not pyplot.get_fignums(), "what is refused leaves no empty figure"
    figure = many(5).plot()
    assert pyplot.figure(pyplot.get_fignums()[0]) is figure
    pyplot.close(figure)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"kind": "overvew"}, "unknown kind of picture 'overvew': did you mean 'overview'"),
        ({"path": "a.jpg"}, "must end in one of .png"),
        ({"theme": "red"}, "unknown theme 'red'"),
        ({"x": "lr"}, r"plot\(kind='overview'\): x and y are of kind='heatmap'"),
        (
            {"kind": "heatmap", "y": "depth"},
            r"plot\(y='depth'\): expected a hyper-parameter that was varied: lr, width",
        ),
        ({"kind": "heatmap", "x": "lr", "y": "lr"}, "takes two hyper-parameters, varied were: lr, width"),
        ({"kind": "curves"}, "no trial reported its objective after its epochs"),
    ],
)
def test_what_cannot_be_drawn_is_refused(tmp_path: Path, given: dict[str, Any], message: str) -> None:
    path = tmp_path / given.pop("path", "a.png")
    with pytest.raises(ValueError, match=message):
        many(5).plot(path, **given)
    assert not [*tmp_path.iterdir()]


def test_a_sweep_without_trials_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no trial of the sweep is done"):
        result_of([], lr=LR).plot(tmp_path / "a.png")
