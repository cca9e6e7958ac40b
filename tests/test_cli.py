"""The commands, end to end on small files: what they print, write and return, and one line for every mistake."""

import csv
import gzip
import io
import os
import re
import signal
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("pandas")
pytest.importorskip("sklearn")

from fastnn.cli import main

DATA = Path(os.environ.get("FASTNN_DATA", Path(__file__).parents[1] / ".." / "shared" / "data"))
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason="FASTNN_DATA names no folder with the real data sets")


@pytest.fixture
def run(capsys, tmp_path, monkeypatch):
    """Runs a command in an empty folder: (exit code, standard output, standard error)."""
    monkeypatch.chdir(tmp_path)

    def run_command(*arguments):
        capsys.readouterr()
        try:
            code = main([str(argument) for argument in arguments])
        except SystemExit as stop:
            code = stop.code
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run_command


@pytest.fixture
def fails(run):
    """Runs a command that must end in exit code 2 and one line; returns the line."""

    def run_failing(*arguments):
        code, _, err = run(*arguments)
        assert code == 2
        assert err.count("\n") == 1
        assert err.startswith("fastnn")
        assert ": error: " in err
        assert "Traceback" not in err
        return err

    return run_failing


def number(pattern, text):
    """The number that follows a text."""
    return float(re.search(pattern + r"\s*([-\d.,]+\d)", text)[1].replace(",", ""))


def people(rows=600, seed=0):
    """A table as text: numbers, categories, gaps; the class follows from age and colour."""
    generator = np.random.default_rng(seed)
    lines = ["age,colour,height,rich"]
    for _ in range(rows):
        age, colour = generator.integers(18, 80), generator.choice(["red", "green", "blue"])
        rich = "yes" if age + 20 * (colour == "red") > 55 else "no"
        shown = age if generator.random() > 0.05 else "?"
        lines.append(f"{shown},{colour},{generator.normal(170, 10):.1f},{rich}")
    return "\n".join(lines) + "\n"


def houses(rows=600, seed=0):
    """A regression table: the price is linear in two columns."""
    generator = np.random.default_rng(seed)
    lines = ["rooms,town,price"]
    for _ in range(rows):
        rooms, town = generator.integers(1, 9), generator.choice(["North", "South"])
        lines.append(f"{rooms},{town},{50_000 * rooms + 80_000 * (town == 'South') + generator.normal(0, 5000):.2f}")
    return "\n".join(lines) + "\n"


def write_idx(path, array, pack=bytes):
    sizes = struct.pack(f">{array.ndim}I", *array.shape)
    path.write_bytes(pack(bytes((0, 0, 8, array.ndim)) + sizes + array.astype(np.uint8).tobytes()))


def test_train_digits_reaches_96_percent_and_reports(run):
    code, out, err = run("train", "digits")
    assert code == 0
    assert err == ""
    assert number("validation accuracy", out) >= 0.96
    assert len(re.findall(r"epoch +\d+/30  loss [\d.]+  val_loss [\d.]+  val_accuracy [\d.]+", out)) > 5
    assert "classify 'digit', 10 classes" in out
    assert "64" in out
    assert re.search(
        r"[\d.]+ s for \d+ epochs, [\d,]+ samples per second in training steps, \w+ kernels, 1 thread", out
    )


@pytest.mark.parametrize(("name", "least"), [("iris", 0.8), ("wine", 0.9), ("breast_cancer", 0.92), ("digits", 0.96)])
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
    from fastnn.storage import read_extra
    from fastnn.tables import TableEncoder, read_table

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
        *("train", "iris", "--hidden", "7,5", "--activation", "tanh", "--batch-norm", "--dropout", 0.1),
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


# Mistakes


def test_wrong_commands_and_options(fails, run):
    assert "required: command" in fails()
    assert "invalid choice: 'trian'" in fails("trian")
    assert "unrecognized arguments: --epoch" in fails("train", "iris", "--epoch", 3)
    assert "--epochs: 0: must be at least 1" in fails("train", "iris", "--epochs", 0)
    assert "'many' is not a whole number" in fails("train", "iris", "--epochs", "many")
    assert "--batch-size: 0" in fails("train", "iris", "--batch-size", 0)
    assert "--hidden: 0: must be at least 1" in fails("train", "iris", "--hidden", "12,0")
    assert "--hidden: 'x' is not a whole number" in fails("train", "iris", "--hidden", "12,x")
    assert "lr must be" in fails("train", "iris", "--lr", -1)
    assert "lr must be" in fails("train", "iris", "--lr", "nan")
    assert "momentum" in fails("train", "iris", "--momentum", 0.9)
    assert "rate must be" in fails("train", "iris", "--dropout", 1)
    assert "above 0 and below 1" in fails("train", "iris", "--validation", 1.5)
    assert "--backend c: " in fails("train", "iris", "--backend", "c")
    assert "--delimiter: ',,' must be one character" in fails("train", "iris", "--delimiter", ",,")
    code, out, _ = run("train", "--help")
    assert code == 0
    assert "--target" in out


@pytest.mark.parametrize(
    ("flag", "wrong", "nearest"),
    [
        ("--optimizer", "adm", "'adam'"),
        ("--loss", "cross_entrpy", "'cross_entropy'"),
        ("--activation", "rely", "'relu'"),
        ("--backend", "nomba", "'numba'"),
    ],
)
def test_unknown_names_are_answered_with_the_nearest(fails, flag, wrong, nearest):
    line = fails("train", "iris", flag, wrong)
    assert wrong in line
    assert nearest in line


def test_missing_and_unusable_files(fails, tmp_path):
    assert "cannot read none.csv: no such file" in fails("train", "none.csv", "--target", "a")
    assert "did you mean the bundled data set 'digits'" in fails("train", "digit")
    assert "bundled data sets are digits" in fails("train", "something")
    assert "is a folder" in fails("train", tmp_path)
    for name, content, message in (
        ("empty.csv", b"", "empty.csv is empty"),
        ("blank.csv", b"\n\n\n", "nothing but empty lines"),
        ("header.csv", b"a,b\n", "a header and no rows"),
        ("one.csv", b"a\n1\n2\n", "one column"),
        ("short.csv", b"a,b\n1,2\n3,4\n", "2 rows to learn from: at least 10"),
        ("cut.csv.gz", gzip.compress(people().encode())[:-20], "truncated or damaged"),
        ("picture.png", b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "neither a table in text"),
        ("cut.npz", b"PK\x03\x04 and no more", r"truncated or not an .npz file"),
        ("ragged.csv", b"a,b\n" + b"1,2\n" * 300 + b"1,2,3\n", "cannot be read as a table"),
    ):
        Path(name).write_bytes(content)
        assert message in fails("train", name, "--target", "b")


def test_idx_mistakes(fails):
    write_idx(Path("images"), np.zeros((20, 2, 2)))
    assert "name their file with --labels" in fails("train", "images")
    Path("cut").write_bytes(Path("images").read_bytes()[:-5])
    assert "cut is truncated: 20 x 2 x 2 uint8 take 96 bytes, it has 91" in fails("train", "cut")
    write_idx(Path("labels"), np.arange(19) % 2)
    assert "labels has shape (19,): expected (20,)" in fails("train", "images", "--labels", "labels")
    assert "not an IDX file" in fails("train", "images", "--labels", __file__)
    write_idx(Path("same"), np.zeros(20))
    assert "one class, '0', in all 20 rows" in fails("train", "images", "--labels", "same")


def test_npz_mistakes(fails):
    np.savez("text.npz", X=np.array([["a"]] * 20), y=np.zeros(20))
    assert "not numbers" in fails("train", "text.npz")
    np.savez("rows.npz", X=np.zeros((20, 2)), y=np.zeros(19))
    assert "shape (19,): expected (20,)" in fails("train", "rows.npz")
    np.savez("alone.npz", X=np.zeros((20, 2)))
    assert "no array named y or target" in fails("train", "alone.npz")
    np.savez("other.npz", a=np.zeros((20, 2)), b=np.zeros(20))
    assert "other.npz holds a, b" in fails("train", "other.npz")
    np.savez("infinite.npz", X=np.full((20, 2), np.inf), y=np.arange(20) % 2)
    assert "infinite value" in fails("train", "infinite.npz")
    np.savez("nan.npz", X=np.eye(20), y=np.full(20, np.nan))
    assert "0 rows to learn from" in fails("train", "nan.npz")
    assert "only tables have" in fails("train", "infinite.npz", "--drop", "a")


def test_target_mistakes(fails):
    Path("a.csv").write_text(people())
    assert "say which column of a.csv to predict with --target; its columns: age, colour" in fails("train", "a.csv")
    assert "'rich'" in fails("train", "a.csv", "--target", "rihc")
    assert "4 columns, numbered 0 to 3" in fails("train", "a.csv", "--target", "4")
    assert "'height'" in fails("train", "a.csv", "--target", "rich", "--drop", "hieght")
    assert "no column is left" in fails("train", "a.csv", "--target", "rich", "--drop", "age,colour,height")
    assert "labels, not numbers" in fails("train", "iris", "--task", "regress")
    assert "target 'rich' is text, such as" in fails("train", "a.csv", "--target", "rich", "--task", "regress")
    assert "does not fit the task classify" in fails("train", "a.csv", "--target", "rich", "--loss", "mse")
    assert "takes two classes, 'species' has 3" in fails("train", "iris", "--loss", "bce")
    Path("same.csv").write_text("a,b\n" + "".join(f"{i},x\n" for i in range(20)))
    assert "one class, 'x', in all 20 rows" in fails("train", "same.csv", "--target", "b")
    Path("level.csv").write_text("a,b\n" + "".join(f"{i},1.5\n" for i in range(20)))
    assert "1.5 in all 20 rows" in fails("train", "level.csv", "--target", "b")
    Path("names.csv").write_text("a,b\n" + "".join(f"{i},name {i}\n" for i in range(20)))
    assert "20 classes in 20 rows" in fails("train", "names.csv", "--target", "b")
    Path("gone.csv").write_text("a,b\n" + "".join(f"{i},\n" for i in range(20)))
    assert "0 rows to learn from" in fails("train", "gone.csv", "--target", "b")


def test_column_mistakes(fails, run):
    Path("hollow.csv").write_text("a,b,c\n" + "".join(f"{i},,{i % 2}\n" for i in range(20)))
    line = fails("train", "hollow.csv", "--target", "c")
    assert "'b' has no values in the training rows: leave it out with --drop" in line
    assert run("train", "hollow.csv", "--target", "c", "--drop", "b", "--epochs", 1)[0] == 0
    lines = [f"{i},{i % 2}" for i in range(100)]
    lines[50] = "n.a.,1"
    Path("mixed.csv").write_text("a,b\n" + "\n".join(lines))
    assert "'n.a.' in row 51" in fails("train", "mixed.csv", "--target", "b")
    assert run("train", "mixed.csv", "--target", "b", "--missing", "n.a.", "--epochs", 1)[0] == 0
    lines[50] = "inf,1"
    Path("mixed.csv").write_text("a,b\n" + "\n".join(lines))
    assert "'inf' in row 51" in fails("train", "mixed.csv", "--target", "b")
    assert run("train", "mixed.csv", "--target", "b", "--missing", "inf", "--epochs", 1)[0] == 0


def test_outputs_are_checked_before_training(fails):
    assert "no folder 'none'" in fails("train", "iris", "--save", "none/net.safetensors")
    assert "must end in" in fails("train", "iris", "--plot", "curves.jpg")
    assert "no folder 'none'" in fails("train", "iris", "--plot", "none/curves.png")
    assert not list(Path().iterdir())


def test_missing_extras_name_the_command_that_brings_them(fails, monkeypatch):
    Path("a.csv").write_text(people())
    for module in ("pandas", "matplotlib", "matplotlib.figure"):
        monkeypatch.setitem(sys.modules, module, None)
    assert "pip install 'fastnn[tables]'" in fails("train", "a.csv", "--target", "rich")
    assert "pip install 'fastnn[plots]'" in fails("train", "iris", "--plot", "a.png")


def test_predict_mistakes(fails, run):
    Path("people.csv").write_text(people())
    run("train", "people.csv", "--target", "rich", "--epochs", 1, "--quiet", "--save", "net.safetensors")
    run("train", "iris", "--epochs", 1, "--quiet", "--save", "iris.safetensors")
    assert "there is no model file none" in fails("predict", "none", "people.csv")
    assert "cannot read none.csv" in fails("predict", "net.safetensors", "none.csv")
    assert "people.csv" in fails("predict", "people.csv", "people.csv")
    Path("cut.safetensors").write_bytes(Path("net.safetensors").read_bytes()[:-7])
    assert "cut.safetensors" in fails("predict", "cut.safetensors", "people.csv")
    Path("less.csv").write_text("height,rich\n170,yes\n")
    assert "less.csv lacks the columns 'age', 'colour'" in fails("predict", "net.safetensors", "less.csv")
    Path("bare.csv").write_text("30,red,170\n40,blue,180\n")
    assert "--header" in fails("predict", "net.safetensors", "bare.csv")
    Path("words.csv").write_text("age,colour,height\nold,red,170\n")
    assert "column 'age' holds numbers, but 'old' in row 1" in fails("predict", "net.safetensors", "words.csv")
    assert "give it a table" in fails("predict", "net.safetensors", "iris")
    assert "13 columns, the model takes 4" in fails("predict", "iris.safetensors", "wine")
    assert "no folder 'none'" in fails("predict", "net.safetensors", "people.csv", "--output", "none/out.csv")
    import fastnn

    fastnn.load("iris.safetensors").save("plain.safetensors")
    assert "without preprocessing" in fails("predict", "plain.safetensors", "iris")


def test_loss_that_is_no_longer_finite_ends_in_one_line(run):
    code, _, err = run("train", "diabetes", "--lr", 1e30, "--optimizer", "sgd", "--quiet")
    assert code == 1
    assert err.count("\n") == 1
    assert "learning rate" in err


# As a process


def command(*arguments):
    return [sys.executable, "-m", "fastnn", *map(str, arguments)]


@pytest.mark.skipif(os.name == "nt", reason="signals")
def test_ctrl_c_reports_saves_and_says_so(tmp_path):
    process = subprocess.Popen(
        command("train", "digits", "--epochs", 10**7, "--patience", 0, "--save", tmp_path / "net.safetensors"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])},
    )
    assert process.stdout is not None
    seen = [next(line for line in process.stdout if line.startswith("epoch"))]
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0
    assert "Traceback" not in err
    assert "Interrupted" in out
    assert "validation accuracy" in out
    assert (tmp_path / "net.safetensors").is_file()
    assert seen


def test_closed_pipe_is_no_error(tmp_path):
    Path(tmp_path / "many.csv").write_text(people(20_000))
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])}
    trained = command("train", "many.csv", "--target", "rich", "--epochs", 1, "--quiet", "--save", "net.safetensors")
    subprocess.run(trained, cwd=tmp_path, env=environment, check=True, stdout=subprocess.DEVNULL)
    process = subprocess.Popen(
        command("predict", "net.safetensors", "many.csv"),
        cwd=tmp_path,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    assert process.stdout.readline() == b"prediction,probability\n"
    process.stdout.close()
    assert b"rror" not in process.stderr.read()
    process.stderr.close()
    assert process.wait(timeout=60) == 0


def test_training_a_bundled_set_imports_neither_pandas_nor_scikit_learn():
    program = (
        "import sys; from fastnn.cli import main; assert main(['train', 'digits', '--epochs', '2', '--quiet']) == 0; "
        "print(sorted({'sklearn', 'pandas', 'scipy', 'matplotlib', 'tqdm'} & set(sys.modules)))"
    )
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])}
    done = subprocess.run([sys.executable, "-c", program], env=environment, check=True, capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "[]"


# Real data


@needs_data
def test_adult_is_learnt_as_well_as_by_scikit_learn(run):
    folder = DATA / "tabular"
    code, out, _ = run(
        *("train", folder / "adult-train.csv.gz", "--target", "14", "--save", "net.safetensors", "--quiet")
    )
    assert code == 0
    assert "no header" in out
    assert number("validation accuracy", out) > 0.84
    code, _, err = run("predict", "net.safetensors", folder / "adult-test.csv.gz", "--output", "out.csv")
    assert code == 0
    assert number("accuracy", err) > 0.84
    assert len(Path("out.csv").read_text().splitlines()) == 16_282


@needs_data
def test_california_housing_is_learnt_in_dollars(run):
    file = DATA / "tabular" / "california-housing.csv.gz"
    code, out, _ = run("train", file, "--target", "median_house_value", "--quiet")
    assert code == 0
    assert "8 number and 1 category columns as 13 inputs" in out
    assert 45_000 < number("RMSE", out) < 57_000


@needs_data
def test_mnist_files_are_learnt(run):
    images = DATA / "mnist10k" / "t10k-images-idx3-ubyte.gz"
    code, out, _ = run("train", images, "--hidden", "128", "--epochs", 5, "--quiet")
    assert code == 0
    assert number("validation accuracy", out) > 0.91
