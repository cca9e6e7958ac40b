"""The commands, end to end on small files: what they print, write and return."""

import csv
import gzip
import io
import re
from pathlib import Path

import numpy as np
import pytest
from command_data import houses, number, people, write_idx

pytest.importorskip("pandas")
pytest.importorskip("sklearn")


def test_train_digits_reaches_96_percent_and_reports(run):
    code, out, err = run("train", "digits")
    assert code == 0
    # Kernels compiled for the first time are announced there.
    assert "error" not in err
    assert number("validation accuracy", out) >= 0.96
    assert len(re.findall(r"epoch +\d+/30  loss [\d.]+  val_loss [\d.]+  val_accuracy [\d.]+", out)) > 5
    assert "classify 'digit', 10 classes" in out
    assert "64" in out
    assert re.search(
        r"[\d.]+ s for \d+ epochs, [\d,]+ samples per second in training steps, \w+ kernels, 1 thread", out
    )


@pytest.mark.parametrize(("name", "least"), [("iris", 0.85), ("wine", 0.9), ("breast_cancer", 0.92), ("digits", 0.96)])
def test_bundled_classification_sets_are_learnt(run, name, least):
    code, out, _ = run("train", name, "--seed", 3, "--quiet")
    assert code == 0
    assert number("validation accuracy", out) >= least


def test_bundled_regression_set_is_learnt_and_scored_in_its_own_unit(run):
    code, out, _ = run("train", "diabetes", "--quiet")
    assert code == 0
    assert "regress 'progression'" in out
    assert 40 < number("RMSE", out) < 75


def test_same_seed_prints_the_same_losses(run):
    def losses(seed):
        return re.findall(r"loss [\d.]+", run("train", "iris", "--epochs", 5, "--seed", seed)[1])

    assert losses(1) == losses(1)
    assert losses(1) != losses(2)


def test_table_is_learnt_saved_plotted_and_applied_to_new_rows(run, tmp_path):
    Path("people.csv").write_text(people())
    code, out, _ = run(
        *("train", "people.csv", "--target", "rich", "--hidden", "16,8", "--epochs", 60, "--lr", 0.01),
        *("--save", "net.safetensors", "--plot", "curves.png"),
    )
    assert code == 0
    assert "2 number and 1 category columns as 5 inputs" in out
    assert number("validation accuracy", out) > 0.88
    assert Path("curves.png").read_bytes().startswith(b"\x89PNG")

    Path("new.csv").write_text(people(200, seed=1))
    code, out, err = run("predict", "net.safetensors", "new.csv", "--output", "out.csv")
    assert code == 0
    assert out == ""
    assert "200 predictions written to out.csv" in err
    assert number("accuracy", err) > 0.88
    rows = list(csv.reader(Path("out.csv").read_text().splitlines()))
    assert rows[0] == ["prediction", "probability"]
    assert len(rows) == 201
    assert {row[0] for row in rows[1:]} == {"yes", "no"}
    assert all(0.5 <= float(row[1]) <= 1 for row in rows[1:])


def test_new_rows_may_have_gaps_new_categories_and_other_columns_in_any_order(run):
    Path("people.csv").write_text(people())
    run("train", "people.csv", "--target", "rich", "--epochs", 2, "--quiet", "--save", "net.safetensors")
    Path("new.csv").write_text("name,colour,height,age\nEve,violet,,30\nAda,red,NA,?\n")
    code, out, err = run("predict", "net.safetensors", "new.csv")
    assert code == 0
    assert len(out.splitlines()) == 3
    assert "'colour': 1 cell of a category unseen in training" in err
    assert "not used: 'name'" in err


def test_predictions_are_the_models_own(run):
    """What predict writes equals the model applied by hand to what the encoder gives."""
    import fastnn
    from fastnn.encoding import TableEncoder
    from fastnn.storage import read_extra
    from fastnn.tables import read_table

    text = people()
    Path("people.csv").write_text(text)
    run("train", "people.csv", "--target", "rich", "--epochs", 3, "--quiet", "--save", "net.safetensors")
    _, out, _ = run("predict", "net.safetensors", "people.csv", "--probabilities")
    extra = read_extra("net.safetensors")["recipe"]
    X, _ = TableEncoder.from_json(extra["encoder"]).transform(read_table(text.encode(), "people.csv").frame)
    z = fastnn.load("net.safetensors").predict(X).astype(float)
    shares = np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)
    rows = list(csv.DictReader(io.StringIO(out)))
    printed = [[float(row[f"probability of {name}"]) for name in ("no", "yes")] for row in rows]
    np.testing.assert_allclose(printed, shares, atol=0.5001e-4)
    assert [row["prediction"] for row in rows] == [("no", "yes")[best] for best in z.argmax(axis=1)]


def test_regression_is_reported_and_predicted_in_the_targets_unit(run):
    Path("houses.csv.gz").write_bytes(gzip.compress(houses().encode()))
    code, out, _ = run(
        *("train", "houses.csv.gz", "--target", "price", "--hidden", "32", "--epochs", 100, "--lr", 0.01),
        *("--save", "net.safetensors"),
    )
    assert code == 0
    assert "regress 'price'" in out
    assert number("RMSE", out) < 8000
    assert number("R2", out.split("Result")[1]) > 0.99
    # The epochs speak the same unit as the result.
    assert min(float(text) for text in re.findall(r"val_rmse ([\d.]+)", out)) < 8000
    Path("new.csv").write_text("rooms,town\n4,North\n4,South\n")
    code, out, _ = run("predict", "net.safetensors", "new.csv")
    north, south = (float(line) for line in out.splitlines()[1:])
    assert north == pytest.approx(200_000, abs=15_000)
    assert south == pytest.approx(280_000, abs=15_000)


@pytest.mark.parametrize("loss", ["cross_entropy", "bce"])
def test_two_classes_by_either_loss(run, loss):
    Path("people.csv").write_text(people())
    options = ("--epochs", 60, "--lr", 0.01, "--quiet", "--save", "net.safetensors", "--loss", loss)
    code, out, _ = run("train", "people.csv", "--target", "rich", *options)
    assert code == 0
    accuracy = number("validation accuracy", out)
    assert accuracy > 0.88
    code, out, err = run("predict", "net.safetensors", "people.csv")
    assert number("accuracy", err) > 0.88
    assert all(float(line.split(",")[1]) >= 0.5 for line in out.splitlines()[1:])


def test_table_without_a_header_is_learnt_and_the_target_may_be_left_out_later(run):
    body = people().split("\n", 1)[1]
    Path("people.data").write_text(body)
    Path("turned.data").write_text("".join(",".join(line.split(",")[::-1]) + "\n" for line in body.split()))
    for file, target in (("people.data", "3"), ("people.data", "-1"), ("turned.data", "0")):
        code, out, _ = run("train", file, "--target", target, "--epochs", 3, "--quiet", "--save", "net.safetensors")
        assert code == 0
        assert "no header: columns are numbered from 0" in out
        _, whole, err = run("predict", "net.safetensors", file)
        assert "accuracy" in err
        cut = slice(1, None) if target == "0" else slice(0, -1)
        Path("cut.data").write_text(
            "".join(",".join(line.split(",")[cut]) + "\n" for line in Path(file).read_text().split())
        )
        code, without, err = run("predict", "net.safetensors", "cut.data")
        assert code == 0
        assert without == whole
        assert "without the target" in err


def test_labels_with_a_full_stop_are_recognised(run):
    Path("a.csv").write_text(people())
    Path("b.csv").write_text(people(100, seed=2).replace("yes\n", "yes.\n").replace("no\n", "no.\n"))
    code, out, _ = run(
        *("train", "a.csv", "--target", "rich", "--epochs", 30, "--lr", 0.01, "--quiet"),
        *("--validation", "b.csv", "--save", "net.safetensors"),
    )
    assert code == 0
    assert "without the full stop" in out
    assert re.search(r"of 100 rows", out)
    _, _, err = run("predict", "net.safetensors", "b.csv")
    assert number("accuracy", err) > 0.8


def test_npz_is_learnt_and_predicted(run):
    generator = np.random.default_rng(0)
    X = generator.normal(size=(300, 4))
    y = (X[:, 0] > 0).astype(int)
    X[generator.random(X.shape) < 0.02] = np.nan
    np.savez("a.npz", X=X, y=y)
    code, out, _ = run("train", "a.npz", "--epochs", 20, "--lr", 0.01, "--save", "net.safetensors", "--quiet")
    assert code == 0
    assert "classify 'y', 2 classes: 0, 1" in out
    np.savez("new.npz", inputs=X[:10])
    code, out, _ = run("predict", "net.safetensors", "new.npz", "--features", "inputs")
    assert code == 0
    assert {line.split(",")[0] for line in out.splitlines()[1:]} <= {"0", "1"}
    assert len(out.splitlines()) == 11
    # The same numbers as a table, taken by position.
    np.savetxt("new.csv", X[:10], delimiter=",", fmt="%.18g")
    _, from_table, err = run("predict", "net.safetensors", "new.csv", "--no-header")
    assert from_table == out
    assert "by position" in err


def test_named_arrays_are_found_again(run):
    X = np.random.default_rng(0).normal(size=(100, 3))
    np.savez("a.npz", inputs=X, goal=X[:, 0] + X[:, 1], y=np.zeros(3))
    names = ("--features", "inputs", "--target", "goal")
    assert run("train", "a.npz", *names, "--epochs", 1, "--quiet", "--save", "net.safetensors")[0] == 0
    code, out, err = run("predict", "net.safetensors", "a.npz")
    assert code == 0
    assert "R2" in err
    assert len(out.splitlines()) == 101


def test_npz_with_text_labels(run):
    X = np.random.default_rng(0).normal(size=(60, 2))
    np.savez("a.npz", X=X, y=np.where(X[:, 0] > 0, "up", "down"))
    code, out, _ = run("train", "a.npz", "--epochs", 2)
    assert code == 0
    assert "2 classes: down, up" in out


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_idx_images_find_their_labels(run, pack):
    labels = np.arange(300) % 3
    images = np.random.default_rng(0).integers(0, 60, (300, 5, 5)) + 90 * labels[:, None, None] // 2
    write_idx(Path("train-images-idx3-ubyte"), images, pack)
    write_idx(Path("train-labels-idx1-ubyte"), labels, pack)
    code, out, _ = run("train", "train-images-idx3-ubyte", "--epochs", 30, "--save", "net.safetensors", "--quiet")
    assert code == 0
    assert "labels from train-labels-idx1-ubyte" in out
    assert "divided by 255" in out
    assert number("validation accuracy", out) > 0.9
    write_idx(Path("others"), images[:7], pack)
    code, out, _ = run("predict", "net.safetensors", "others")
    assert code == 0
    assert len(out.splitlines()) == 8
    code, out, _ = run("predict", "net.safetensors", "others", "--labels", "train-labels-idx1-ubyte")
    assert code == 2
    Path("labels").write_bytes(Path("train-labels-idx1-ubyte").read_bytes())
    Path("train-labels-idx1-ubyte").unlink()
    code, out, _ = run("train", "train-images-idx3-ubyte", "--labels", "labels", "--epochs", 1)
    assert code == 0


def test_task_is_told_from_the_target_and_can_be_overruled(run):
    generator = np.random.default_rng(0)
    columns = {
        "few": generator.integers(0, 5, 200),
        "many": generator.integers(0, 100, 200),
        "real": generator.normal(size=200),
        "text": generator.choice(["a", "b"], 200),
        "truth": generator.choice(["True", "False"], 200),
    }
    lines = [",".join(columns), *(",".join(map(str, row)) for row in zip(*columns.values(), strict=True))]
    Path("a.csv").write_text("\n".join(lines))
    expected = {"few": "classify", "many": "regress", "real": "regress", "text": "classify", "truth": "classify"}
    for target, task in expected.items():
        assert f"{task} {target!r}" in run("train", "a.csv", "--target", target, "--epochs", 1)[1]
    assert "regress 'few'" in run("train", "a.csv", "--target", "few", "--task", "regress", "--epochs", 1)[1]
    assert "classify 'many'" in run("train", "a.csv", "--target", "many", "--task", "classify", "--epochs", 1)[1]


def test_network_options_reach_the_network(run):
    code, out, _ = run(
        *(
            "train",
            "iris",
            "--hidden",
            "7,5",
            "--activation",
            "tanh",
            "--init",
            "he_normal",
            "--batch-norm",
            "--dropout",
            0.1,
        ),
        *(
            "--dtype",
            "float64",
            "--optimizer",
            "sgd",
            "--momentum",
            0.9,
            "--lr",
            0.05,
            "--epochs",
            3,
            "--batch-size",
            16,
        ),
    )
    assert code == 0
    assert "momentum=0.9" in out
    assert "batches of 16" in out
    assert "BatchNorm" in out
    assert "Dropout" in out
    assert "float64" in out
    code, out, _ = run("train", "iris", "--hidden", "none", "--epochs", 3)
    assert code == 0


@pytest.mark.parametrize(
    ("scale", "said"),
    [
        ("standard", "standardised"),
        ("minmax", "scaled from 0 to 1"),
        ("robust", "scaled by median and quartiles"),
        ("none", "as they are"),
    ],
)
def test_columns_are_scaled_as_asked_for_and_new_rows_the_same_way(run, scale, said):
    from fastnn.preprocessing import ArrayEncoder
    from fastnn.storage import read_extra

    X = np.random.default_rng(0).integers(0, 9, (60, 3)).astype(float)
    np.savez("rows.npz", X=X, y=X[:, 0] > 4)
    code, out, _ = run("train", "rows.npz", "--scale", scale, "--epochs", 2, "--quiet", "--save", "net.safetensors")
    assert code == 0
    assert f"3 numbers, {said}" in out
    code, predicted, _ = run("predict", "net.safetensors", "rows.npz")
    assert code == 0
    assert len(predicted.splitlines()) == 61
    state = read_extra("net.safetensors")["recipe"]["encoder"]
    white = ArrayEncoder.from_json(state).transform(X, np.float64)
    if scale == "minmax":
        assert (white.min(), white.max()) == (0.0, 1.0)
    if scale == "none":
        np.testing.assert_array_equal(white, X)
    # Files of before there was a choice do not say which.
    del state["scaling"]
    np.testing.assert_array_equal(ArrayEncoder.from_json(state).transform(X, np.float64), white)


def test_images_are_divided_by_white_unless_told_otherwise(run):
    code, out, _ = run("train", "digits", "--epochs", 1, "--quiet")
    assert (code, "divided by 16" in out) == (0, True)
    code, out, _ = run("train", "digits", "--epochs", 1, "--quiet", "--scale", "standard")
    assert (code, "64 numbers, standardised" in out) == (0, True)


def test_rows_without_a_target_are_left_out_and_said(run):
    Path("a.csv").write_text(people().replace(",yes\n", ",\n", 3))
    code, out, _ = run("train", "a.csv", "--target", "rich", "--epochs", 1)
    assert code == 0
    assert "left out 3 rows without a target" in out
    assert "597 rows" in out


def test_early_stopping_says_so_and_keeps_the_best_epoch(run):
    code, out, _ = run("train", "iris", "--epochs", 500, "--lr", 0.05, "--patience", 3)
    assert code == 0
    assert "early stopping" in out
    assert re.search(r"weights of epoch \d+", out)


def test_index_column_of_pandas_is_left_out(run):
    import pandas as pd

    pd.read_csv(io.StringIO(people())).to_csv("a.csv")
    code, out, _ = run("train", "a.csv", "--target", "rich", "--epochs", 1)
    assert code == 0
    assert "row numbers without a name" in out
    assert "2 number and 1 category columns" in out


def test_table_may_start_like_a_zip_file(run):
    Path("a.csv").write_text(people().replace("age", "PK", 1))
    code, _, _ = run("train", "a.csv", "--target", "rich", "--epochs", 1)
    assert code == 0


def test_delimiter_at_the_end_of_every_line_is_no_column(run):
    Path("a.csv").write_text(people().replace("\n", ",\n"))
    code, out, _ = run("train", "a.csv", "--target", "rich", "--epochs", 1)
    assert code == 0
    assert "left out column 3: it has neither a name nor values" in out


def test_info_tells_versions_cpu_kernels_threads_and_cache(run):
    code, out, err = run("info")
    assert code == 0
    assert err == ""
    for text in ("fastnn", "Python", "numpy", "numba", "CPU", "bits", "reference", "thread", "Cache"):
        assert text in out
