"""Which configuration comes next: all of a grid, random ones, Sobol's sequence, each with all of its repeats.

Searches that learn from results, and pruning, are Optuna's (studies.py).
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count, islice
from typing import Any, Protocol

import numpy as np

from fastnn import checks, randomness

from .space import Config, Space
from .trials import Trial


class Strategy(Protocol):
    """What the sweep asks. It is called from one thread, but for `stops`."""

    total: int | None
    """How many trainings it will ask for; None where it does not know."""

    prunes: bool
    """Whether `stops` ever says so."""

    ahead: bool
    """Whether what it proposes does not depend on results, so that it can be asked before a worker is free."""

    def ask(self) -> tuple[Config, Any] | None:
        """The next configuration, seed included, and what the strategy knows it by; None when there are no more."""

    def stops(self, token: Any, step: int, value: float) -> bool:
        """Whether a training that has come so far is to be pruned."""

    def tell(self, token: Any, trial: Trial) -> None:
        """What came of it."""

    def drop(self, token: Any) -> None:
        """A trial was stopped with the sweep."""

    def restore(self, trials: list[Trial], owner: str) -> None:
        """Trials of an earlier run of the same sweep, before the first `ask`.

        owner   the results file, which no other sweep writes at the same time
        """


class Listed:
    """Configurations that are known beforehand."""

    prunes, ahead = False, True

    def __init__(self, space: Space, search: str, trials: int | None, seed: int) -> None:
        configurations = proposals(space, search, seed)
        size = None if search != "grid" else sum(1 for _ in space.grid()) * len(space.repeats)
        if trials is None and size is None:
            raise ValueError(f"sweep(search={search!r}): say how many: trials=...")
        self.total = trials if size is None else size if trials is None else min(trials, size)
        self._next = islice(({**c, **repeat} for c in configurations for repeat in space.repeats), self.total)

    def ask(self) -> tuple[Config, Any] | None:
        """As `Strategy.ask`."""
        config = next(self._next, None)
        return None if config is None else (config, None)

    def stops(self, token: Any, step: int, value: float) -> bool:
        """Never."""
        del token, step, value
        return False

    def tell(self, token: Any, trial: Trial) -> None:
        """Nothing is learnt."""

    def drop(self, token: Any) -> None:
        """Nothing is remembered."""

    def restore(self, trials: list[Trial], owner: str) -> None:
        """Nothing: the sweep passes by what is done."""


SEARCHES = ("grid", "random", "sobol", "tpe")


def proposals(space: Space, search: str, seed: int) -> Iterator[Config]:
    """Configurations without their repeats: each is a function of space, search, seed and its number alone."""
    if search == "grid":
        return space.grid()
    if search == "random":
        return _random(space, seed)
    if search == "sobol":
        return _sobol(space, seed)
    raise checks.unknown_name("search", search, SEARCHES)


def _random(space: Space, seed: int) -> Iterator[Config]:
    stream = randomness.Stream(randomness.key(seed, randomness.SWEEP))
    return (space.at(stream.at(number).random(len(space.varied))) for number in count())


def _sobol(space: Space, seed: int) -> Iterator[Config]:
    try:
        from scipy.stats import qmc
    except ImportError:
        raise ImportError("sweep(search='sobol') needs scipy: pip install 'fastnn[sweeps]'") from None
    sequence = qmc.Sobol(len(space.varied), scramble=True, rng=np.random.default_rng(seed))
    return (space.at(sequence.random(1)[0]) for _ in count())
