"""The arguments of the commands: types whose errors are one line, and the flags that several commands share."""

import argparse
from typing import Any


def add_reading_arguments(parser: Any) -> None:
    """What `train` and `predict` have in common."""
    header = parser.add_mutually_exclusive_group()
    header.add_argument("--header", action="store_true", default=None, help="the first line of the table holds names")
    header.add_argument("--no-header", action="store_false", dest="header", help="it does not")
    parser.add_argument("--delimiter", type=delimiter, metavar="D", help="between the cells of a table (told from it)")
    parser.add_argument(
        "--missing",
        action="append",
        default=[],
        metavar="TEXT",
        help="a cell that means missing, besides empty, NA, ? ...",
    )
    parser.add_argument("--features", metavar="NAME", help="the array of features in an .npz file (X, x, data ...)")
    parser.add_argument("--labels", metavar="FILE", help="the labels of an IDX file")


def names(text: str) -> tuple[str, ...]:
    """Names between commas."""
    return tuple(name.strip() for name in text.split(",") if name.strip())


def whole(text: str) -> int:
    """A whole number from 0."""
    return _integer(text, 0)


def positive(text: str) -> int:
    """A whole number from 1."""
    return _integer(text, 1)


def _integer(text: str, least: int) -> int:
    try:
        value = int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number") from None
    if value < least:
        raise argparse.ArgumentTypeError(f"{value}: must be at least {least}")
    return value


def widths(text: str) -> tuple[int, ...]:
    """Whole numbers from 1 between commas; "none" is none of them."""
    if text.strip().lower() in ("none", "", "0"):
        return ()
    return tuple(_integer(width.strip(), 1) for width in text.split(","))


def delimiter(text: str) -> str:
    """One character, by itself or by name."""
    text = {"tab": "\t", "\\t": "\t", "space": " "}.get(text, text)
    if len(text) != 1:
        raise argparse.ArgumentTypeError(f"{text!r} must be one character, tab or space")
    return text
