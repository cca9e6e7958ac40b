"""The record of a training: columns, frame, plot, repr."""

import math
import sys

import pytest

from fastnn.history import History


@pytest.fixture
def history():
    history = History(steps=24, rows=2000, seconds=0.5, train_seconds=0.25, backend="numba", stopped="finished")
    history.append({"epoch": 1, "loss": 0.5, "val_loss": 0.6, "val_accuracy": 0.8, "lr": 0.1, "seconds": 0.2})
    history.append({"epoch": 2, "loss": 0.25, "val_loss": 0.4, "val_accuracy": 0.9, "lr": 0.1, "seconds": 0.4})
    return history


def test_columns_and_counts(history):
    assert history.epochs == 2
    assert history["loss"] == [0.5, 0.25]
    assert history.samples_per_second == 8000


def test_unknown_column_names_the_known_ones(history):
    with pytest.raises(KeyError, match="val_accuracy"):
        history["val_acc"]


def test_repr_tells_the_end(history):
    text = repr(history)
    for part in ("2 epochs", "24 steps", "8,000 samples/s", "numba", "val_accuracy 0.9", "finished"):
        assert part in text
    assert "\n" not in text


def test_empty_history_is_readable():
    history = History()
    assert history.epochs == 0
    assert math.isnan(history.samples_per_second)
    assert "0 epochs" in repr(history)


def test_an_epoch_of_which_a_part_was_added_is_taken_away(history):
    history.columns["epoch"].append(3)
    history.columns["loss"].append(0.125)
    history.trim()
    assert [len(values) for values in history.columns.values()] == [2] * 6
    history.trim()
    assert history.epochs == 2
    History().trim()


def test_frame_is_indexed_by_epoch(history):
    pytest.importorskip("pandas")
    frame = history.to_frame()
    assert list(frame.index) == [1, 2]
    assert frame.loc[2, "val_loss"] == 0.4
    assert len(History({"epoch": [], "loss": []}).to_frame()) == 0
    assert len(History().to_frame()) == 0


@pytest.mark.parametrize("suffix", ["png", "svg"])
def test_plot_writes_a_file_without_pyplot(history, tmp_path, suffix):
    pytest.importorskip("matplotlib")
    path = tmp_path / f"curves.{suffix}"
    figure = history.plot(path)
    assert path.stat().st_size > 1000
    loss, scores = figure.axes
    assert loss.get_ylabel() == "Loss"
    assert [line.get_label() for line in loss.lines] == ["train", "validation"]
    assert [line.get_label() for line in scores.lines] == ["validation"]


def test_plot_of_one_epoch_shows_points(tmp_path):
    pytest.importorskip("matplotlib")
    history = History()
    history.append({"epoch": 1, "loss": 0.5, "lr": 0.1, "seconds": 0.2})
    assert history.plot(tmp_path / "one.png").axes[0].lines[0].get_marker() == "o"


def test_plot_for_the_screen_is_pyplots(history):
    matplotlib = pytest.importorskip("matplotlib")
    matplotlib.use("agg")
    import matplotlib.pyplot as plt

    figure = history.plot()
    assert plt.fignum_exists(figure.number)
    plt.close(figure)


def test_plot_without_epochs_is_an_error():
    pytest.importorskip("matplotlib")
    with pytest.raises(ValueError, match="nothing to draw"):
        History().plot()


@pytest.mark.parametrize(
    ("module", "extra", "method"), [("matplotlib", "plots", "plot"), ("pandas", "tables", "to_frame")]
)
def test_missing_extras_say_how_to_get_them(history, monkeypatch, module, extra, method):
    for name in list(sys.modules):
        if name.split(".")[0] == module:
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ImportError, match=rf"pip install 'fastnn\[{extra}\]'"):
        getattr(history, method)()
