"""The data of all trials, where several processes of a machine share one copy: in files that each of them maps."""

from __future__ import annotations

import mmap
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from .job import Job


class InFile:
    """An array in a file, which each process maps.

    temporary   in a folder that is there for the sweep alone
    """

    def __init__(
        self, path: str, dtype: Any, shape: tuple[int, ...], offset: int, temporary: bool = False
    ) -> None:  # fmt: skip
        self.folder = Path(path).parent if temporary else None
        self._path, self._dtype, self._shape, self._offset = path, np.dtype(dtype), shape, offset

    def array(self) -> np.ndarray:
        """The array, read-only."""
        if 0 in self._shape:
            return np.empty(self._shape, self._dtype)
        try:
            return np.memmap(self._path, self._dtype, "r", self._offset, self._shape)
        except (OSError, ValueError) as error:
            raise OSError(
                f"{self._path}: this worker cannot map the sweep's data ({error}); memory-mapped arrays go to workers "
                "by path, so that all of them have to see the same files"
            ) from None


@contextmanager
def mapped(job: Job) -> Iterator[Job]:
    """The job with its arrays in files: those that are in one already stay there, others are written into a folder that
    is taken away in the end."""
    if job.data is None:
        yield job
        return
    folder = Path(tempfile.mkdtemp(prefix="fastnn-sweep-"))

    def moved(name: str, array: Any) -> Any:
        found = in_own_file(array)
        # What an array of objects has are addresses, and other kinds of arrays are more than their numbers.
        if isinstance(found, InFile) or type(array) not in (np.ndarray, np.memmap) or array.dtype.hasobject:
            return found
        np.ascontiguousarray(array).tofile(folder / name)
        return InFile(str(folder / name), array.dtype, array.shape, 0, temporary=True)

    try:
        yield each(job, moved)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def take_away(job: Job) -> None:
    """Takes that folder away for a sweep that could not, since it was killed."""

    def look(name: str, array: Any) -> Any:
        if isinstance(array, InFile) and array.folder is not None:
            shutil.rmtree(array.folder, ignore_errors=True)
        return array

    each(job, look)


def in_own_file(array: Any) -> Any:
    """A memory-mapped array, or rows of one, by its path; others as they are."""
    if not isinstance(array, np.memmap) or not array.flags.c_contiguous or array.size == 0:
        return array
    whole: Any = array
    while isinstance(whole.base, np.memmap):
        whole = whole.base
    # Copy-on-write maps may hold what their file does not.
    if not isinstance(whole.base, mmap.mmap) or whole.mode == "c" or whole.filename is None:
        return array
    path = Path(whole.filename)
    offset = whole.offset + array.ctypes.data - whole.ctypes.data
    if not path.is_file() or path.stat().st_size < offset + array.nbytes:
        return array
    return InFile(str(path.resolve()), array.dtype, array.shape, int(offset))


def opened(job: Job) -> Job:
    """The job with its arrays mapped, in the process that trains."""
    return each(job, lambda name, array: array.array() if isinstance(array, InFile) else array)


def each(job: Job, change: Callable[[str, Any], Any]) -> Job:
    """The job with each of its arrays changed: (name, array) -> array."""
    if job.data is None:
        return job
    data = {
        name: tuple(change(f"{name}.{k}", part) for k, part in enumerate(value))
        if isinstance(value, tuple) else change(name, value)
        for name, value in job.data.items()
    }  # fmt: skip
    return replace(job, data=data)
