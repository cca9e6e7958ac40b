"""What a sweep is asked for, checked before anything is trained."""

from __future__ import annotations

import difflib
import multiprocessing.process
from typing import Any

from fastnn import checks, metrics

from .space import Space
from .strategies import SEARCHES, Listed, Strategy


def not_in_a_worker() -> None:
    """Refuses a sweep in a process that is about to become a worker of another: it has come so far because the script
    that it imports sweeps when it is imported."""
    if getattr(multiprocessing.process.current_process(), "_inheriting", False):
        raise RuntimeError(
            "sweep: a worker process that is starting has imported this script, and came to the sweep in it; a script "
            "that starts processes has its own work below `if __name__ == '__main__':`"
        )


def objective(metric: Any, mode: Any, validated: bool) -> tuple[str, bool]:
    """The name of the objective, and whether a larger one is better."""
    name = ("val_loss" if validated else "loss") if metric is None else metric
    if not isinstance(name, str) or not name:
        raise TypeError(f"sweep(metric={metric!r}): expected the name of a column of the history, such as 'val_loss'")
    if mode not in ("auto", "min", "max"):
        raise checks.unknown_name("mode", mode, ("auto", "min", "max"))
    larger = metrics.larger_is_better(name) if mode == "auto" else mode == "max"
    if larger is None:
        own = name.removeprefix("val_")
        near = difflib.get_close_matches(own, ["loss", *metrics.METRICS], n=1, cutoff=0.5)
        hint = f" (or did you mean {name.removesuffix(own) + near[0]!r}?)" if near else ""
        raise ValueError(f"sweep(metric={name!r}): say mode='min' or mode='max' for a metric of your own{hint}")
    return name, larger


def strategy_for(
    space: Space, search: Any, trials: Any, prune: Any, larger_is_better: bool, budget: int | None, seed: Any
) -> Strategy:  # fmt: skip
    """Who says what is trained next."""
    trials = None if trials is None else checks.integer("sweep", "trials", trials, minimum=1)
    seed = checks.integer("sweep", "seed", seed, minimum=0)
    if isinstance(search, str) and search not in SEARCHES:
        raise checks.unknown_name("search", search, SEARCHES)
    if isinstance(search, str) and search in SEARCHES[:-1] and prune is None:
        return Listed(space, search, trials, seed)
    from .studies import Studied

    return Studied(space, search, trials, seed, prune, larger_is_better, budget)
