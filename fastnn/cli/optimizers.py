"""List the optimizers with their defaults, or draw how they walk down a bowl and a ravine.

With --plot, a contour map for each landscape with the paths of all optimizers, or of those named, with rates chosen for
it, and beside it how far down each has come after each step.
"""

import argparse
import inspect
from collections.abc import Iterable, Sequence
from pathlib import Path

from fastnn.cli.errors import CommandError, as_command_errors
from fastnn.cli.report import say

USAGE = "fastnn optimizers [NAME ...] [--plot PICTURE] [--steps N] [--theme light|dark]"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `fastnn optimizers`."""
    parser.add_argument("names", nargs="*", metavar="NAME", help="only these (all)")
    parser.add_argument("--plot", metavar="PICTURE", help="draw their paths: .png, .svg or .pdf")
    parser.add_argument("--steps", type=int, default=300, metavar="N", help="how many steps of each path (300)")
    parser.add_argument("--theme", choices=("light", "dark"), default="light", help="the picture's card (light)")


def run(options: argparse.Namespace) -> int:
    """`fastnn optimizers`."""
    from fastnn import cards, plots
    from fastnn.landscapes import LANDSCAPES, path, shown
    from fastnn.optimizers import OPTIMIZERS, SEARCHES, get_optimizer

    if options.steps < 1:
        raise CommandError(f"--steps {options.steps}: must be at least 1")
    if options.plot is None:
        known = {name: get_optimizer(name) for name in (*OPTIMIZERS, *SEARCHES)}
        for name in _chosen(options.names, known):
            say(name, (inspect.getdoc(known[name]) or "").splitlines()[0], repr(known[name]))
        return 0
    names = _chosen(options.names, shown("bowl"))
    with as_command_errors():
        picture = cards.check_path(options.plot)
        maps = []
        for landscape in LANDSCAPES.values():
            optimizers = {name: optimizer for name, optimizer in shown(landscape.name).items() if name in names}
            maps.append((landscape, {n: path(o, landscape, options.steps) for n, o in optimizers.items()}))
        plots.descent_paths(maps, picture, options.theme)
    say("Picture", str(Path(picture)))
    return 0


def _chosen(names: Sequence[str], known: Iterable[str]) -> Sequence[str]:
    """The names asked for, or all that there are."""
    for name in names:
        if name not in known:
            raise CommandError(f"unknown optimizer {name!r}; known: {', '.join(known)}")
    return names or list(known)
