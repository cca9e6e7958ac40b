"""Write the pages from the newest saved result of every benchmark: docs/performance.md, README's section on speed and
the pictures of both; no figure in them is typed by hand.

    python -m bench.report             rewrites what differs
    python -m bench.report --check     changes nothing; says what differs, and then exits with 1

A benchmark without a saved result has no section, no table and no picture. Pictures take matplotlib (the extra
`plots`): without it they stay as they are. Another version of it may write other text for the same picture.
"""

from __future__ import annotations

import argparse
import importlib.util
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from bench import environment, performance, pictures, readme


def files() -> dict[Path, str | None]:
    """Every file that the results give, and its text; None for a picture whose results are missing."""
    found: dict[Path, str | None] = {readme.README: readme.text(), performance.PAGE: performance.page()}
    return found | pictures.files() if importlib.util.find_spec("matplotlib") else found


def current(path: Path) -> str | None:
    """The text of a file as it is; None if there is none."""
    return path.read_text(encoding="utf-8") if path.exists() else None


def write(path: Path, text: str | None) -> None:
    """Make the file be that text, or be gone."""
    if text is None:
        path.unlink()
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def main(arguments: list[str] | None = None) -> int:
    """The command; returns its exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="change nothing; exit code 1 if a file differs")
    check = parser.parse_args(arguments).check
    try:
        found = files()
    except readme.MarkersMissing as error:
        print(error, file=sys.stderr)
        return 1
    if not importlib.util.find_spec("matplotlib"):
        print("without matplotlib pictures stay as they are: pip install -e '.[plots]'", file=sys.stderr)
    differing = {path: text for path, text in found.items() if current(path) != text}
    for path, text in differing.items():
        shown = path.relative_to(environment.ROOT) if path.is_relative_to(environment.ROOT) else path
        if check:
            print(f"{shown} differs from the results: python -m bench.report", file=sys.stderr)
        else:
            write(path, text)
            print(f"{shown} {'removed' if text is None else 'rewritten'}")
    if not differing:
        print(f"all {sum(text is not None for text in found.values())} files are what the results give")
    return 1 if check and differing else 0


if __name__ == "__main__":
    raise SystemExit(main())
