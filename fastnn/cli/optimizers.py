"""List the optimizers, or draw how they walk down a bowl and a ravine.

With --plot, a contour map for each landscape with the paths of all optimizers, or of those named, and beside it how far
down each has come after each step.
"""

import argparse
import inspect
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
    from fastnn import plots
    from fastnn.landscapes import LANDSCAPES, path, shown

    known = shown("bowl")
    for name in options.names:
        if name not in known:
            raise CommandError(f"unknown optimizer {name!r}; known: {', '.join(known)}")
    if options.steps < 1:
        raise CommandError(f"--steps {options.steps}: must be at least 1")
    names = options.names or list(known)
    if options.plot is None:
        for name in names:
            say(name, (inspect.getdoc(known[name]) or "").splitlines()[0], repr(known[name]))
        return 0
    with as_command_errors():
        picture = plots.check_path(options.plot)
        maps = []
        for landscape in LANDSCAPES.values():
            optimizers = {name: optimizer for name, optimizer in shown(landscape.name).items() if name in names}
            maps.append((landscape, {n: path(o, landscape, options.steps) for n, o in optimizers.items()}))
        plots.descent_paths(maps, picture, options.theme)
    say("Picture", str(Path(picture)))
    return 0
