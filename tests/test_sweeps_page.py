"""docs/sweeps.md tells the truth: its examples run as printed, one after the other, up to the one on files."""

import re
from pathlib import Path

import pytest

for needed in ("sklearn", "scipy", "optuna", "pandas", "matplotlib"):
    pytest.importorskip(needed)

PAGE = (Path(__file__).parents[1] / "docs" / "sweeps.md").read_text(encoding="utf-8").split("\n## From a file")[0]


@pytest.mark.slow
def test_examples_of_the_page_on_sweeps_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    examples = re.findall(r"^```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    assert len(examples) == 6
    names = {}
    for example in examples:
        exec(compile(example, "docs/sweeps.md", "exec"), names)  # the examples are ours
        assert names["result"].stopped == "finished"
        assert "failed" not in names["result"].counts
    assert names["best"].mean < 0.15
    assert len([*tmp_path.glob("*.png")]) == 6
