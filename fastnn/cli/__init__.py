"""The command line: `python -m fastnn train | predict | sweep | optimizers | info`.

A mistake of the user (a missing file, an unknown name, a table that cannot be learnt) ends in one line and exit code 2;
a training whose loss is no longer finite in exit code 1; Ctrl-C outside of training in 130. A training whose report
could not be printed still saves and plots, and then ends in exit code 1, or 141 where the reader of a pipe went away.
"""

import argparse
import sys
from collections.abc import Sequence
from typing import NoReturn

from fastnn.cli.errors import CommandError
from fastnn.cli.report import discard


class _Parser(argparse.ArgumentParser):
    """argparse, except that an error is one line, without the usage of all options before it."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: error: {message} ({self.prog} --help tells more)\n")


def parser() -> argparse.ArgumentParser:
    """The parser of all commands; each command's module adds its own arguments and `run`."""
    from fastnn.cli import info, optimizers, predict, sweep, train

    main_parser = _Parser(prog="fastnn", description="Train neural networks on a CPU.", allow_abbrev=False)
    commands = main_parser.add_subparsers(metavar="command", required=True, parser_class=_Parser)
    for module in (train, predict, sweep, optimizers, info):
        name = module.__name__.rsplit(".", 1)[-1]
        summary, _, details = (module.__doc__ or "").partition("\n")
        sub = commands.add_parser(
            name,
            help=summary,
            description=f"{summary}\n{details}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
            usage=module.USAGE,
        )
        module.add_arguments(sub)
        sub.set_defaults(run=module.run, command=sub.prog)
    return main_parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command; returns the exit code."""
    options = parser().parse_args(arguments)
    try:
        code = int(options.run(options))
        if sys.stdout is not None:
            sys.stdout.flush()
        return code
    except CommandError as error:
        return _fail(options.command, " ".join(str(error).split()), error.code)
    except MemoryError as error:
        return _fail(options.command, f"not enough memory{f': {error}' if str(error) else ''}", 1)
    except KeyboardInterrupt:
        return _fail(options.command, "interrupted", 130)
    except BrokenPipeError:
        # The reader of a pipe (head, less) has seen enough. `train` does not come here: its output is only a report.
        discard(sys.stdout)
        return 0
    except OSError as error:
        if error.filename is not None:
            raise
        discard(sys.stdout)
        return _fail(options.command, f"the output could not be printed: {(error.strerror or str(error)).lower()}", 1)


def _fail(command: str, message: str, code: int) -> int:
    print(f"{command}: {'error: ' if code < 130 else ''}{message}", file=sys.stderr)
    return code
