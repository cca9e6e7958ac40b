"""The results file of a sweep: a line that says what was swept, then a line of JSON for each trial that is done.

A line is written by one call and on disk before its trial counts. What a crash has left of a line is cut off when the
file is opened again. One sweep at a time holds the file, by a lock that ends with its process.
"""

from __future__ import annotations

import json
import os
import stat
from os import PathLike
from pathlib import Path
from typing import Any

from .trials import Trial

FORMAT = 1
_BEGINS = b'{"fastnn sweep": '


class ResultsError(ValueError):
    """A results file that is not this sweep's, or not a results file, or in use."""


class ResultsFile:
    """The file, open and locked.

    header   what the sweep is, JSON values; that of a file with trials must be the same
    resume   go on with a file that has trials; False refuses one
    trials   those that it had, in its order
    """

    def __init__(self, path: str | PathLike[str], header: dict[str, Any], resume: bool) -> None:
        if not isinstance(path, (str, PathLike)):
            raise TypeError(f"sweep(results={path!r}): expected the path of a file")
        self.path = Path(path)
        header = {"fastnn sweep": FORMAT, **header}
        try:
            self._file = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o666)
        except OSError as error:
            raise ResultsError(f"results={str(path)!r}: {error.strerror or error}") from None
        _OPEN.add(self)
        try:
            if not stat.S_ISREG(os.fstat(self._file).st_mode):
                raise ResultsError(f"results={str(path)!r}: is no file that could be read again")
            _lock(self._file, self.path)
            self.trials, whole = self._existing(header, resume)
            os.ftruncate(self._file, whole)
            if not whole:
                from fastnn.storage import sync_folder  # with it come model files, which sweeps in memory do not need

                self._write(json.dumps(header))
                sync_folder(self.path.absolute().parent)
        except BaseException:
            self.close()
            raise

    def _existing(self, header: dict[str, Any], resume: bool) -> tuple[list[Trial], int]:
        """The trials that the file has, and how much of it is to stay."""
        text, whole = _whole_lines(self._file)
        if _has_no_trial(text):
            return [], 0
        if not resume:
            raise ResultsError(f"results={str(self.path)!r}: exists; resume=True goes on with it")
        found, trials = _parsed(text[:whole], self.path)
        _compare(found, header, self.path)
        return trials, whole

    def append(self, trial: Trial) -> None:
        """A trial's line, on disk when this returns."""
        self._write(trial.line())

    def close(self) -> None:
        """Gives the file free."""
        _OPEN.discard(self)
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def _write(self, line: str) -> None:
        data = f"{line}\n".encode()
        if os.write(self._file, data) != len(data):
            raise OSError(f"{self.path}: the disk took a part of a line; it is cut off when the sweep is resumed")
        os.fsync(self._file)


_OPEN: set[ResultsFile] = set()


def _leave_to_parent() -> None:
    """A process that was forked has the open file and with it the lock, such as those of a ProcessPoolExecutor, which
    may outlive a sweep that is killed: nobody could resume it until they end."""
    for file in list(_OPEN):
        file.close()


if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(after_in_child=_leave_to_parent)


def read(path: str | PathLike[str]) -> tuple[dict[str, Any], list[Trial]]:
    """Header and trials of a results file, which may be in use; what may be half a line at its end is left out."""
    try:
        text = Path(path).read_bytes()
    except OSError as error:
        raise ResultsError(f"{path}: {error.strerror or error}") from None
    whole = text[: text.rfind(b"\n") + 1]
    if not whole and _has_no_trial(text):
        raise ResultsError(f"{path}: is empty")
    return _parsed(whole, Path(path))


def is_begun(path: str | PathLike[str]) -> bool:
    """Whether there is a file that a sweep would have to go on with: one with trials, or of something else."""
    try:
        return not _has_no_trial(Path(path).read_bytes())
    except FileNotFoundError:
        return False
    except OSError as error:
        raise ResultsError(f"{path}: {error.strerror or error}") from None


def _whole_lines(file: int) -> tuple[bytes, int]:
    """What is in a file, and how much of it are whole lines."""
    os.lseek(file, 0, os.SEEK_SET)
    parts = []
    while part := os.read(file, 2**24):
        parts.append(part)
    text = b"".join(parts)
    return text, text.rfind(b"\n") + 1


def _has_no_trial(text: bytes) -> bool:
    """Whether it is empty, or a first line and no more, perhaps a part of it: of a sweep none of whose trials ended."""
    return _BEGINS.startswith(text) or (text.startswith(_BEGINS) and b"\n" not in text[:-1])


def _no_results_file(path: Path) -> ResultsError:
    return ResultsError(f"{path}: is no results file of a sweep")


def _parsed(text: bytes, path: Path) -> tuple[dict[str, Any], list[Trial]]:
    lines = text.decode(errors="replace").splitlines()
    try:
        header = json.loads(lines[0])
        known = header["fastnn sweep"]
    except (ValueError, TypeError, LookupError):
        raise _no_results_file(path) from None
    if known != FORMAT:
        raise ResultsError(f"{path}: was written by another version of fastnn (format {known}, expected {FORMAT})")
    if not (isinstance(header.get("space"), dict) and {"metric", "mode"} <= header.keys()):
        raise ResultsError(f"{path}: its first line does not say of which sweep it is")
    trials = []
    for number, line in enumerate(lines[1:], start=2):
        try:
            trials.append(Trial.from_line(line))
        except ValueError as error:
            raise ResultsError(f"{path}, line {number}: {error}") from None
    return header, trials


def _compare(found: dict[str, Any], header: dict[str, Any], path: Path) -> None:
    for name, value in json.loads(json.dumps(header)).items():
        if found.get(name) != value:
            raise ResultsError(
                f"{path}: is of another sweep: its {name} is {json.dumps(found.get(name))}, now {json.dumps(value)}"
            )


def _lock(file: int, path: Path) -> None:
    try:
        import fcntl
    except ImportError:  # not on Windows, where two sweeps on one file are the user's care
        return
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        raise ResultsError(f"{path}: another sweep is writing it") from None
