"""The commands on real data, where FASTNN_DATA names a folder that has them."""

import os
from pathlib import Path

import pytest
from command_data import number

pytest.importorskip("pandas")
pytest.importorskip("sklearn")

DATA = Path(os.environ.get("FASTNN_DATA", Path(__file__).parents[1] / ".." / "shared" / "data"))
pytestmark = pytest.mark.skipif(not DATA.is_dir(), reason="FASTNN_DATA names no folder with the real data sets")


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


def test_california_housing_is_learnt_in_dollars(run):
    file = DATA / "tabular" / "california-housing.csv.gz"
    code, out, _ = run("train", file, "--target", "median_house_value", "--quiet")
    assert code == 0
    assert "8 number and 1 category columns as 13 inputs" in out
    assert 45_000 < number("RMSE", out) < 57_000


def test_mnist_files_are_learnt(run):
    images = DATA / "mnist10k" / "t10k-images-idx3-ubyte.gz"
    code, out, _ = run("train", images, "--hidden", "128", "--epochs", 5, "--quiet")
    assert code == 0
    assert number("validation accuracy", out) > 0.91
