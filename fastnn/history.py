"""What a training did, epoch by epoch: a few lists of numbers, a plot and a data frame of them."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from os import PathLike
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from pandas import DataFrame


@dataclass(repr=False)
class History:
    """The record of one call of `fit`; of a training that was resumed from a checkpoint, from its beginning.

    columns        one list per name, one number per finished epoch: "epoch" (counted from 1), "loss" (the mean over
                   the epoch's rows, each at the weights its step started from), "lr", "seconds" (since training
                   began, at the end of the epoch; short epochs that were trained together share their time) and, with
                   validation, "val_loss" and "val_<metric>"
    steps          optimizer steps done, those of an unfinished epoch included
    rows           rows that went through these steps
    seconds        from the first step's preparation to the end, callbacks and validation included
    train_seconds  the part of it spent in training steps
    backend        kernels that ran ("reference", "numba", "c")
    threads        threads asked for
    stopped        why training ended: "finished", "interrupted", "non-finite loss", or the reason that a callback gave
    """

    columns: dict[str, list[float]] = field(default_factory=dict)
    steps: int = 0
    rows: int = 0
    seconds: float = 0.0
    train_seconds: float = 0.0
    backend: str = ""
    threads: int = 1
    stopped: str = ""

    @property
    def epochs(self) -> int:
        """How many epochs were finished."""
        return len(self.columns.get("epoch", ()))

    @property
    def samples_per_second(self) -> float:
        """Rows per second of training steps; the time of validation and callbacks is not counted."""
        return self.rows / self.train_seconds if self.train_seconds > 0 else math.nan

    def append(self, row: dict[str, float]) -> None:
        """Add the numbers of one finished epoch."""
        for name, value in row.items():
            self.columns.setdefault(name, []).append(value)

    def trim(self) -> None:
        """Take away an epoch of which only some numbers were added, as after Ctrl-C in the middle of `append`."""
        for values in self.columns.values():
            del values[min(map(len, self.columns.values())) :]

    def __getitem__(self, name: str) -> list[float]:
        """A column: `history["val_loss"]`. KeyError names the columns there are."""
        if name not in self.columns:
            raise KeyError(f"{name!r}: this history has the columns {', '.join(self.columns)}")
        return self.columns[name]

    def __repr__(self) -> str:
        last = ", ".join(f"{n} {v[-1]:.4g}" for n, v in self.columns.items() if n not in ("epoch", "seconds") and v)
        return (
            f"<History: {self.epochs} epochs, {self.steps} steps, {self.seconds:.3g} s, "
            f"{self.samples_per_second:,.0f} samples/s on {self.backend or 'no'} kernels"
            f"{'; ' if last else ''}{last}; {self.stopped or 'running'}>"
        )

    def to_frame(self) -> DataFrame:
        """The columns as a pandas data frame with "epoch" as its index. Needs pandas."""
        try:
            from pandas import DataFrame
        except ImportError:
            raise ImportError("History.to_frame needs pandas: pip install 'fastnn[tables]'") from None
        frame = DataFrame(self.columns, columns=list(self.columns) or ["epoch"])
        return frame.set_index("epoch")

    def plot(self, path: str | PathLike[str] | None = None, theme: str = "light") -> Figure:
        """Draw loss and metrics over the epochs, one panel each; see `fastnn.plots.learning_curves`.

        path    a file to write (.png, .svg, .pdf), or None: the figure is one of pyplot's, for
                `matplotlib.pyplot.show()` or a notebook; it is returned in both cases
        theme   "light" or "dark"
        Needs matplotlib. Raises ValueError when no epoch was finished.
        """
        from fastnn.plots import learning_curves

        if path is not None or not self.epochs:
            return learning_curves(self.columns, None if path is None else str(path), theme=theme)
        try:
            import matplotlib.pyplot as plt
        except ImportError:
            raise ImportError("History.plot needs matplotlib: pip install 'fastnn[plots]'") from None
        return learning_curves(self.columns, theme=theme, figure=plt.figure())
