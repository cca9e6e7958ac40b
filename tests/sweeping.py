"""What the tests of sweeps share: functions that worker processes can import, and a small problem."""

import contextlib
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

import fastnn as fnn

X = np.random.default_rng(0).standard_normal((96, 8)).astype(np.float32)
Y = (X @ np.random.default_rng(1).standard_normal((8, 3))).argmax(axis=1)
DATA = {"X": X, "y": Y, "validation_data": (X[:32], Y[:32])}


def build(config: dict[str, Any]) -> tuple[fnn.Sequential, dict[str, Any]]:
    layers = [fnn.Dense(config.get("width", 8), "tanh"), fnn.Dropout(0.1), fnn.Dense(3)]
    model = fnn.Sequential(layers, inputs=8, seed=config.get("seed", 0))
    return model, {"loss": "cross_entropy", "optimizer": fnn.SGD(config["lr"]), "epochs": 4, "batch_size": 16}


def value_of(config: dict[str, Any], budget: int | None, report: Any) -> float:
    """The configuration's own "value", or what it says is to happen. Into the folder "runs", if there is one, goes a
    file for each run."""
    del budget
    what = config.get("what")
    if "runs" in config:
        Path(config["runs"], f"{config['value']} {what} {os.getpid()} {time.time_ns()}".replace("/", "_")).touch()
    if what == "raise":
        raise ZeroDivisionError("as the configuration says")
    if what == "diverge":
        return float("nan")
    if what == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    if isinstance(what, str) and what.startswith("die once "):
        mark = Path(what.removeprefix("die once "))
        if not mark.exists():
            mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)
    if what == "sys.exit":
        sys.exit(3)
    if what == "os._exit":
        os._exit(7)
    if what == "interrupt":
        raise KeyboardInterrupt
    if what == "talk":
        for _ in range(64):
            os.write(1, b"x" * 65536)
    if what == "slow":
        time.sleep(0.3)
    if what == "wait":
        for _ in range(10_000):
            time.sleep(0.01)
            report(1.0)
    return float(config["value"])


def curve_of(config: dict[str, Any], budget: int | None, report: Any) -> dict[str, float]:
    """As many reports as the budget, each the configuration's value and a little less with every step."""
    for step in range(budget or 1):
        report(config["value"] - 0.01 * step)
    return {"loss": config["value"] - 0.01 * (budget or 1), "steps": float(budget or 1)}


def threads_of(config: dict[str, Any], budget: int | None, report: Any) -> float:
    """The largest pool of threads that a library has in a trial."""
    import scipy.linalg  # noqa: F401 - SciPy's wheels bring a BLAS of their own, scikit-learn's OpenMP
    import sklearn.neural_network  # noqa: F401
    from threadpoolctl import threadpool_info

    return float(max(pool["num_threads"] for pool in threadpool_info()))


def data_of(config: dict[str, Any]) -> tuple[fnn.Sequential, dict[str, Any]]:
    """A model for any data, with hardly a step of training."""
    del config
    return fnn.Sequential([fnn.Dense(1)], inputs=8), {"loss": "mse", "epochs": 1, "batch_size": 64}


def build_or_die(config: dict[str, Any]) -> tuple[fnn.Sequential, dict[str, Any]]:
    """As `build`, or, for one learning rate, the end of the process that trains."""
    if config["lr"] == 0.3:
        os.kill(os.getpid(), signal.SIGKILL)
    return build(config)


def dies_after_a_report(config: dict[str, Any], budget: int | None, report: Any) -> float:
    """Two reports, with a death between them the first time."""
    del budget
    mark = Path(config["marks"], "died")
    report(config["value"])
    if not mark.exists():
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    report(config["value"])
    return float(config["value"])


class DiesAtItsSecondStart:
    """The configuration's value. The second process that gets it is killed before it begins, while the first is at
    work."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __call__(self, config: dict[str, Any], budget: int | None, report: Any) -> float:
        (self.folder / "at work").touch()
        time.sleep(0.1)
        return float(config["value"])

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        try:
            (self.folder / "first").touch(exist_ok=False)
        except FileExistsError:
            with contextlib.suppress(FileExistsError):
                (self.folder / "second").touch(exist_ok=False)
                while not (self.folder / "at work").exists():
                    time.sleep(0.01)
                os.kill(os.getpid(), signal.SIGKILL)
