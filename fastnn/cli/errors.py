"""Mistakes of the user, told from faults of the program: the former end in one line, the latter in a traceback."""

from collections.abc import Iterator
from contextlib import contextmanager


class CommandError(Exception):
    """Something the user can put right; the message is all that is printed. `code` is the exit code."""

    def __init__(self, message: str, code: int = 2) -> None:
        super().__init__(message)
        self.code = code


@contextmanager
def as_command_errors() -> Iterator[None]:
    """Around code whose ValueErrors, TypeErrors and missing packages come from what the user asked for."""
    try:
        yield
    except (ValueError, TypeError) as error:
        raise CommandError(str(error)) from error
    except ImportError as error:
        # Packages that are missing, and our own words on what needs them (which name no module), are the user's to put
        # right; modules of ours, and names that a module lacks, are not.
        missing = isinstance(error, ModuleNotFoundError) and not (error.name or "").startswith("fastnn.")
        if error.name and not missing:
            raise
        raise CommandError(str(error)) from error
    except BrokenPipeError:
        raise
    except OSError as error:
        name = f"{error.filename}: " if error.filename else ""
        raise CommandError(f"{name}{(error.strerror or str(error)).lower()}") from error
