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
    """The record of one call of `fit`.

    columns        one list per name, one number per finished epoch: "epoch" (counted from 1), "loss" (the mean over
                   the epoch's rows, each at the weights its step started from), "lr", "seconds" (since training
                   began, at the end of the epoch) and, with validation, "val_loss" and "val_<metric>"
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

    def plot(self, path: str | PathLike[str] | None = None) -> Figure:
        """Draw the curves over the epochs: losses in the first panel, one panel for each metric.

        path   a file to write (its suffix says the format: .png, .svg, .pdf), or None: the figure is made with pyplot,
               for `matplotlib.pyplot.show()` or a notebook. Returns the figure in both cases.
        Needs matplotlib. Raises ValueError when no epoch was finished.
        """
        try:
            from matplotlib.figure import Figure
        except ImportError:
            raise ImportError("History.plot needs matplotlib: pip install 'fastnn[plots]'") from None
        if not self.epochs:
            raise ValueError("History.plot: no epoch was finished, there is nothing to draw")
        panels: dict[str, list[str]] = {"loss": []}
        for name in self.columns:
            if name not in ("epoch", "lr", "seconds"):
                panels.setdefault(name.removeprefix("val_"), []).append(name)
        size = (4.5 * len(panels), 3.5)
        if path is None:
            import matplotlib.pyplot as plt

            figure = plt.figure(figsize=size, layout="constrained")
        else:
            # Without pyplot: no window, no global state, safe in any thread.
            figure = Figure(figsize=size, layout="constrained")
        for number, (title, names) in enumerate(panels.items(), 1):
            axes = figure.add_subplot(1, len(panels), number)
            self._draw(axes, title, names)
        if path is not None:
            figure.savefig(path, dpi=150)
        return figure

    def _draw(self, axes, title: str, names: list[str]) -> None:  # type: ignore[no-untyped-def]
        epochs = self.columns["epoch"]
        for name in names:
            validation = name.startswith("val_")
            label = "validation" if validation else "training"
            # A single epoch is a point, which a line would not show.
            marker = "o" if len(epochs) == 1 else None
            axes.plot(epochs, self.columns[name], label=label, color="C1" if validation else "C0", marker=marker)
        axes.set(xlabel="epoch", title=title)
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.grid(alpha=0.3)
        axes.legend()
