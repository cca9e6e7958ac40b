"""Every mistake on the command line ends in exit code 2 and one line that says what to do."""

import gzip
import sys
from pathlib import Path

import numpy as np
import pytest
from command_data import people, write_idx

from fastnn.kernels import backends

pytest.importorskip("pandas")
pytest.importorskip("sklearn")


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
    assert "--delimiter: ',,' must be one character" in fails("train", "iris", "--delimiter", ",,")
    code, out, _ = run("train", "--help")
    assert code == 0
    assert "--target" in out


def test_a_backend_that_is_not_there_is_one_line(fails, monkeypatch):
    without = backends.Backends({"reference": "NumPy"}, {"c": "there is none"}, "reference", "no other")
    monkeypatch.setattr(backends, "backends", lambda: without)
    line = fails("train", "iris", "--backend", "c")
    assert "--backend c: backend='c': not available: there is none" in line


@pytest.mark.parametrize(
    ("flag", "wrong", "nearest"),
    [
        ("--optimizer", "adm", "'adam'"),
        ("--loss", "cross_entrpy", "'cross_entropy'"),
        ("--activation", "rely", "'relu'"),
        ("--init", "he_normel", "'he_normal'"),
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


def test_validation_file_mistakes(fails):
    Path("a.csv").write_text(people())
    train = ("train", "a.csv", "--target", "rich", "--validation")
    assert "cannot read 20%" in fails(*train, "20%")
    Path("bare.csv").write_text("age,colour,height\n30,red,170\n")
    assert "has no target 'rich' to validate with" in fails(*train, "bare.csv")
    Path("other.csv").write_text("age,colour,height,rich\n30,red,170,perhaps\n")
    assert "no row has a target 'rich' known from training" in fails(*train, "other.csv")
    Path("less.csv").write_text("age,rich\n30,yes\n40,no\n")
    assert "lacks the columns 'colour', 'height'" in fails(*train, "less.csv")


def test_flags_that_would_be_ignored_are_refused(fails, run):
    assert "--target means nothing here: digits is a bundled data set" in fails("train", "digits", "--target", "x")
    assert "--no-header means nothing here" in fails("train", "digits", "--no-header")
    np.savez("a.npz", X=np.eye(20), y=np.arange(20) % 2)
    assert "--drop means nothing here: a.npz is an .npz file" in fails("train", "a.npz", "--drop", "a")
    assert "--labels" in fails("train", "a.npz", "--labels", "a")
    Path("people.csv").write_text(people())
    assert "--features" in fails("train", "people.csv", "--target", "rich", "--features", "a")
    run("train", "a.npz", "--epochs", 1, "--quiet", "--save", "net.safetensors")
    assert "--missing" in fails("predict", "net.safetensors", "a.npz", "--missing", "-9")


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
    code, out, _ = run("train", "hollow.csv", "--target", "c", "--epochs", 1)
    assert code == 0
    assert "- left out 'b': no values in the training rows" in out
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


def test_columns_without_a_header_are_explained(fails, run):
    lines = [f"x{i % 4},{i},y{i % 2}" for i in range(40)]
    Path("bare.csv").write_text("\n".join(lines))
    numbered = "(columns are numbered from 0 to 2)"
    line = fails("train", "bare.csv", "--target", "kind")
    assert f"unknown --target column 'kind': no header was found in the file {numbered}; --header takes" in line
    line = fails("train", "bare.csv", "--target", "2", "--drop", "size")
    assert f"unknown --drop column 'size': no header was found in the file {numbered}" in line
    line = fails("train", "bare.csv", "--target", "kind", "--no-header")
    assert f"--no-header says that the first line holds no names {numbered}" in line
    # The name 2020 reads as a number, so that the first line looks like data.
    Path("years.csv").write_text("\n".join(["2020,size,kind", *lines]))
    code, out, _ = run("train", "years.csv", "--target", "kind", "--epochs", 1)
    assert code == 0
    assert "first line is the header, since 'kind' stands in it (--no-header if it is not)" in out
    assert "40 rows" in out


@pytest.mark.parametrize("fractions", [True, False])
def test_text_among_the_numbers_of_a_target_is_named(fails, run, fractions):
    lines = [f"{i % 7},{i * 0.14 if fractions else i}" for i in range(100)]
    lines[50] = "1,n.v."
    lines[20] = "1,-"
    Path("odd.csv").write_text("a,b\n" + "\n".join(lines))
    expected = "column 'b' holds numbers, but 'n.v.' in row 51: correct it, or take it as missing with --missing n.v."
    assert f"{expected}; --task classify takes all as classes" in fails("train", "odd.csv", "--target", "b")
    assert expected in fails("train", "odd.csv", "--target", "b", "--task", "regress")
    code, out, _ = run("train", "odd.csv", "--target", "b", "--missing", "n.v.", "--epochs", 1)
    assert code == 0
    assert "regress 'b'" in out
    assert "left out 2 rows without a target" in out


def test_errors_about_the_target_count_the_rows_without_one(fails):
    left = "(30 rows were left out: the target 'b' is missing there)"
    for value in ("x", "1.5"):
        Path("few.csv").write_text("a,b\n" + "".join(f"{i},{value if i < 20 else ''}\n" for i in range(50)))
        assert left in fails("train", "few.csv", "--target", "b")
    Path("gone.csv").write_text("a,b\n" + "".join(f"{i},\n" for i in range(30)))
    line = fails("train", "gone.csv", "--target", "b")
    assert f"0 rows to learn from: at least 10 are needed {left}" in line


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


def test_precision_and_threads_that_cannot_be_had_are_refused(fails):
    assert "the model has dtype float64, expected float32" in fails(
        "train", "iris", "--dtype", "float64", "--precision", "bf16"
    )
    assert "the reference backend runs on one thread" in fails(
        "train", "iris", "--backend", "reference", "--threads", 2
    )
