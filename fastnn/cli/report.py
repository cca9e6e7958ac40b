"""The look of what the commands print: a label, then text, the following lines under the text."""

from collections.abc import Iterable

_WIDTH = 12


def say(label: str, *lines: str) -> None:
    """One labelled paragraph on standard output; nothing without lines."""
    for line in lines:
        print(f"{label:<{_WIDTH}}{line}")
        label = ""


def note(lines: Iterable[str]) -> None:
    """Remarks on the data, under the label of the paragraph before."""
    say("", *(f"- {line}" for line in lines))


def count(number: int, thing: str) -> str:
    """ "1 row", "1,437 rows"."""
    return f"{number:,} {thing}{'' if number == 1 else 's'}"


def significant(value: float) -> str:
    """A measured value in at most six figures, thousands grouped."""
    return f"{value:,.0f}" if abs(value) >= 1e5 else f"{value:,.6g}"
