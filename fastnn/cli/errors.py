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
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("fastnn."):
            raise
        raise CommandError(str(error)) from error
    except BrokenPipeError:
        raise
    except OSError as error:
        name = f"{error.filename}: " if error.filename else ""
        raise CommandError(f"{name}{(error.strerror or str(error)).lower()}") from error
