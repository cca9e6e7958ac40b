"""Learning curves: what is drawn, the files, the errors."""

import math
import xml.etree.ElementTree

import numpy as np
import pytest

pytest.importorskip("matplotlib")

from fastnn import plots

COLUMNS = {
    "epoch": [1, 2, 3],
    "loss": [1.5, 0.5, 0.01],
    "val_loss": [1.4, 0.7, 0.6],
    "val_accuracy": [0.5, 0.8, 0.9],
    "lr": [1e-3] * 3,
    "seconds": [0.1, 0.2, 0.3],
}


def test_one_panel_for_each_quantity_with_its_labels():
    figure = plots.learning_curves(COLUMNS, title="digits", best_epoch=3)
    loss, accuracy = figure.axes
    assert [loss.get_ylabel(), accuracy.get_ylabel()] == ["Loss", "Accuracy"]
    assert {axes.get_xlabel() for axes in figure.axes} == {"Epoch"}
    assert [text.get_text() for text in loss.get_legend().get_texts()] == ["train", "validation", "kept: epoch 3"]
    np.testing.assert_array_equal(loss.lines[0].get_xydata(), np.transpose([COLUMNS["epoch"], COLUMNS["loss"]]))
    np.testing.assert_array_equal(accuracy.lines[0].get_ydata(), COLUMNS["val_accuracy"])


def test_loss_that_falls_far_gets_a_logarithmic_axis():
    assert plots.learning_curves(COLUMNS).axes[0].get_yscale() == "log"
    assert plots.learning_curves({"loss": [2.0, 1.0]}).axes[0].get_yscale() == "linear"
    assert plots.learning_curves({"loss": [2.0, 0.0]}).axes[0].get_yscale() == "linear"


def test_metric_of_the_users_own_gets_a_panel():
    figure = plots.learning_curves(COLUMNS | {"val_f1_score": [0.1, 0.2, 0.3]})
    assert figure.axes[-1].get_ylabel() == "F1 score"


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_picture_is_an_opaque_png(tmp_path, theme):
    from matplotlib.image import imread

    path = tmp_path / "curves.PNG"
    plots.learning_curves(COLUMNS, path, theme=theme)
    pixels = imread(path)
    assert pixels.shape[1] > 1000
    assert pixels[..., 3].min() == 1
    assert (pixels[0, 0, :3].mean() > 0.9) == (theme == "light")


def test_same_history_gives_the_same_svg(tmp_path):
    for name in ("a.svg", "b.svg"):
        plots.learning_curves(COLUMNS, tmp_path / name)
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()
    xml.etree.ElementTree.parse(tmp_path / "a.svg")


def test_pdf_is_written(tmp_path):
    plots.learning_curves(COLUMNS, tmp_path / "a.pdf")
    assert (tmp_path / "a.pdf").read_bytes().startswith(b"%PDF")


def test_numbers_that_are_not_finite_do_not_stop_the_drawing(tmp_path):
    plots.learning_curves({"epoch": [1, 2], "loss": [1.0, math.nan], "val_r2": [math.nan] * 2}, tmp_path / "a.png")


@pytest.mark.parametrize(
    ("name", "message"),
    [("a.jpg", "must end in one of .png"), ("a", "must end in"), ("none/a.png", "there is no folder")],
)
def test_path_that_cannot_be_written_is_refused(tmp_path, name, message):
    with pytest.raises(ValueError, match=message):
        plots.learning_curves(COLUMNS, tmp_path / name)


def test_empty_history_and_unknown_theme_are_refused():
    with pytest.raises(ValueError, match="empty"):
        plots.learning_curves({"epoch": [], "loss": []})
    with pytest.raises(ValueError, match="'dark'"):
        plots.learning_curves(COLUMNS, theme="darkk")
