"""A grid of 24 points and 3 folds of the digits: `fnn.sweep` and scikit-learn's GridSearchCV with its MLPClassifier.

Both train the same networks (one hidden layer of ReLU) on the same folds with Adam, the same rates and batch sizes,
for the same number of epochs, in float32, without penalties, and score the accuracy of the rows held out; the best
mean accuracies must be about the same. What differs: the random numbers; scikit-learn starts from Glorot's uniform
weights, biases too, fastnn from its defaults, biases at zero; scikit-learn adds Adam's eps before the bias
correction. GridSearchCV runs with as many jobs as there are cores, in joblib's processes, which are started inside of
the clock; it neither fits the best anew nor scores training rows.
"""

from __future__ import annotations

import importlib.util
import os
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, NamedTuple

import numpy as np

import fastnn as fnn
from bench import datasets, environment, timing

WIDTHS, RATES, BATCHES, FOLDS = (32, 64, 128), (3e-4, 1e-3, 3e-3, 1e-2), (32, 128), 3
EPOCHS = 20
CLOSE = 0.015  # of one another are the best mean accuracies, at most

Data = tuple[np.ndarray, np.ndarray, list[tuple[np.ndarray, np.ndarray]]]
"""X, y, and the rows that each fold trains on and holds out."""


class Found(NamedTuple):
    """The best mean accuracy, where it is, and the seconds that it took to find it."""

    accuracy: float
    best: dict[str, Any]
    seconds: float
    waited: bool = False  # that something else ran is seen by its traces on the cores alone


def folds() -> Data:
    """All digits, in the order of bench/datasets.py."""
    data = datasets.digits()
    X, y = np.concatenate([data.X, data.Xv]), np.concatenate([data.y, data.yv])
    held_out = np.array_split(np.arange(len(X)), FOLDS)
    return X, y, [(np.setdiff1d(np.arange(len(X)), rows), rows) for rows in held_out]


def by_sweep(data: Data, backend: str, epochs: int, widths: Sequence[int]) -> Found:
    """The grid by fastnn: the folds are its repeats."""
    started = time.perf_counter()
    X, y, splits = data
    parts = [(X[rows], y[rows], X[held_out], y[held_out]) for rows, held_out in splits]

    def train(config: dict[str, Any], budget: int, report: Any) -> float:
        X, y, Xv, yv = parts[config["seed"]]
        model = fnn.Sequential([fnn.Dense(config["width"], activation="relu"), fnn.Dense(10)], inputs=64)
        how = {"epochs": budget, "batch_size": config["batch"], "backend": backend, "progress": False}
        model.fit(X, y, loss="cross_entropy", optimizer=fnn.Adam(lr=config["lr"]), **how)
        return float(model.evaluate(Xv, yv, metrics=("accuracy",))["accuracy"])

    space = fnn.Space(width=list(widths), lr=RATES, batch=BATCHES, seed=range(FOLDS))
    best = fnn.sweep(train, space, budget=epochs, metric="accuracy", progress=False).best
    return Found(best.mean, best.config, time.perf_counter() - started)


def by_grid_search(data: Data, jobs: int, epochs: int, widths: Sequence[int]) -> Found:
    """The same by scikit-learn; joblib's processes end afterwards."""
    from joblib.externals.loky import get_reusable_executor
    from sklearn.model_selection import GridSearchCV
    from sklearn.neural_network import MLPClassifier

    started = time.perf_counter()
    X, y, splits = data
    model = MLPClassifier(max_iter=epochs, n_iter_no_change=epochs + 1, alpha=0.0, random_state=0)
    points = {
        "hidden_layer_sizes": [(width,) for width in widths], "learning_rate_init": RATES, "batch_size": BATCHES,
    }  # fmt: skip
    search = GridSearchCV(model, points, n_jobs=jobs, cv=splits, refit=False, error_score="raise")
    with without_warnings():
        search.fit(X, y)
    found = Found(float(search.best_score_), dict(search.best_params_), time.perf_counter() - started)
    get_reusable_executor().shutdown(wait=True)
    return found


@contextmanager
def without_warnings() -> Iterator[None]:
    """In processes that are started meanwhile, too: that the last epoch is not the best is known."""
    before = os.environ.get("PYTHONWARNINGS")
    os.environ["PYTHONWARNINGS"] = "ignore"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        del os.environ["PYTHONWARNINGS"]
        if before is not None:
            os.environ["PYTHONWARNINGS"] = before


def measure(
    rounds: int, sets: Sequence[str], peers: bool, epochs: int = EPOCHS, widths: Sequence[int] = WIDTHS
) -> dict[str, Any] | None:
    """The row: seconds, best accuracies and how many times as fast fastnn is; None without scikit-learn, which brings
    the digits."""
    if not importlib.util.find_spec("sklearn"):
        return None
    jobs, data = len(environment.cores()), folds()
    made: dict[str, Callable[[], Found]] = {name: partial(by_sweep, data, name, epochs, widths) for name in sets}
    if peers:
        made = {"sklearn": partial(by_grid_search, data, jobs, epochs, widths), **made}
    points = len(widths) * len(RATES) * len(BATCHES)
    row: dict[str, Any] = {"name": f"grid of {points} points x {FOLDS} folds of the digits", "workers": jobs}
    row |= {"epochs": epochs, "wrong": {}}
    found = {name: run() for name, run in made.items()}
    row["accuracy"] = {name: one.accuracy for name, one in found.items()}
    row["best"] = {name: one.best for name, one in found.items()}
    expected = row["accuracy"].get("sklearn", row["accuracy"][sets[0]])
    for name, accuracy in row["accuracy"].items():
        if not abs(accuracy - expected) <= CLOSE:
            row["wrong"][name] = accuracy - expected
    if row["wrong"]:
        return row
    results = {name: runs.timing(rounds) for name, runs in timing.whole_runs(made, rounds).items()}
    row["rounds"] = {name: result.rounds for name, result in results.items()}
    row["disturbed"] = {name: result.disturbed for name, result in results.items()}
    row["seconds"] = {name: result.median for name, result in results.items()}
    if "sklearn" in results:
        row["sklearn_ratio"] = {name: row["seconds"]["sklearn"] / own for name, own in row["seconds"].items()}
    return row
