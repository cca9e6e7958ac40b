"""What README promises: its example runs as printed, its commands exist, the examples work."""

import contextlib
import io
import os
import re
import runpy
import shlex
import tomllib
from pathlib import Path

import pytest

pytest.importorskip("sklearn")

from fastnn.cli import parser

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language):
    """The code blocks of a language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


def test_python_examples_run_and_the_first_has_fifteen_lines(tmp_path, monkeypatch):
    example, sweep, _ = blocks("python")  # test_sweep_workers.py runs the one on a cluster
    assert len([line for line in example.splitlines() if line.strip()]) <= 15
    monkeypatch.chdir(tmp_path)
    names = {}
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        exec(compile(example, "README.md", "exec"), names)  # the example is ours
    assert "accuracy" in printed.getvalue()
    assert (names["digits"] == names["y_test"]).mean() >= 0.96
    assert (tmp_path / "digits.safetensors").is_file()
    pytest.importorskip("scipy")
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        exec(compile(sweep, "README.md", "exec"), names)
    assert names["result"].counts == {"finished": 100}
    assert printed.getvalue().count("5/5  finished") == 20
    assert len((tmp_path / "sweep.jsonl").read_text().splitlines()) == 101


def test_commands_are_ones_that_the_parser_knows():
    lines = [line.split("#")[0] for block in blocks("sh") for line in block.splitlines()]
    commands = [line.split("-m fastnn", 1)[1] for line in lines if "-m fastnn" in line]
    assert len(commands) >= 6
    for command in commands:
        parser().parse_args(shlex.split(command))


def test_set_up_commands_are_two_and_name_extras_that_exist():
    set_up = [line for block in blocks("sh") for line in block.splitlines() if "venv" in line]
    assert len(set_up) == 2
    assert set_up[0].endswith("-m fastnn train digits")
    assert set_up[1].endswith("-m pytest -n auto")
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    for line in set_up:
        assert re.search(r"'\.\[(\w+)\]'", line)[1] in extras
    assert set(re.findall(r"^\| `(\w+)` \|", README, re.MULTILINE)) == set(extras)


def test_benchmarks_have_their_place():
    assert README.index("<!-- benchmarks -->") < README.index("<!-- /benchmarks -->")


def test_files_that_readme_names_exist():
    for name in re.findall(r"\b(?:docs/)?\w+\.md\b", README):
        assert (ROOT / name).is_file(), name


@pytest.mark.parametrize("example", sorted((ROOT / "examples").glob("*.py")), ids=lambda path: path.stem)
def test_example_runs(example, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    runpy.run_path(os.fspath(example), run_name="__main__")
    out = capsys.readouterr().out
    assert out
    for accuracy in re.findall(r"accuracy.* (0\.\d+|1\.0+)$", out, re.MULTILINE):
        assert float(accuracy) > 0.95
