"""Time candidates against each other: interleaved rounds, medians, and a mark where something else was running.

Candidates take turns, a short stretch each, so that a slow minute of the machine meets all of them; each turn begins
with some untimed work, because training is a long run and not a cold start. The time of a candidate is the median over
the rounds. A turn was disturbed if the process got clearly less CPU time than wall time passed, or if something else
ran on the same core before or after it (bench/neighbours.py). More rounds are measured in place of those, and results
that stay disturbed carry a mark.
"""

from __future__ import annotations

import gc
import math
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from bench import environment, neighbours

DISTURBED = 1.1  # wall time over CPU time of a turn from which it counts as disturbed
MANY = 0.25  # share of disturbed rounds up to which medians are trusted
ATTEMPTS = 3  # times as many rounds as asked for, at most
STRETCH = 0.05  # seconds that one turn of a candidate should take
# Seconds that several threads work untimed before each turn: threads of the candidate before may still spin, and cores
# that have slept need some 30 ms of work to be at full speed again.
AWAKE = 0.06


@dataclass(frozen=True)
class Timing:
    """Seconds per unit of work in each round, and the share of disturbed rounds."""

    rounds: tuple[float, ...]
    disturbed: float

    @property
    def median(self) -> float:
        return statistics.median(self.rounds)

    @property
    def best(self) -> float:
        return min(self.rounds)

    @property
    def spread(self) -> float:
        """Half of the range between the quartiles, as a share of the median; 0 of fewer than three rounds."""
        if len(self.rounds) < 3:
            return 0.0
        low, _, high = statistics.quantiles(self.rounds, n=4, method="inclusive")
        return (high - low) / 2 / self.median


def mark(disturbed: float) -> str:
    """What stands behind a number of which that share of the rounds was disturbed."""
    return "*" if disturbed > MANY else ""


LEGEND = "*: disturbed, something else ran on the same core in more than a quarter of the rounds"


def interleaved(
    candidates: Mapping[str, Callable[[int], object]],
    rounds: int,
    least: Mapping[str, int] | None = None,
    stretch: float = STRETCH,
    threads: int = 1,
) -> dict[str, Timing]:
    """Time each candidate(n), which does n units of work, in turns.

    The number of units a turn is set once, after a warm-up, so that a turn takes about `stretch` seconds. It is a
    multiple of `least[name]` (1 when not given), for candidates that are compiled for a fixed number. With several
    threads the warm-up takes AWAKE seconds.
    """
    least = dict.fromkeys(candidates, 1) | dict(least or {})
    units = {name: _units(candidate, stretch, least[name]) for name, candidate in candidates.items()}
    warm = max(0.2, AWAKE / stretch if threads > 1 else 0.0)  # of a turn
    warm_up = {name: math.ceil(warm * units[name] / step) * step for name, step in least.items()}
    turns = [Turn(name, run, warm_up[name], units[name]) for name, run in candidates.items()]
    kept = _rounds(turns, environment.cores()[:threads], rounds)
    return {
        turn.name: Timing(tuple(one[turn.name][0] for one in kept), statistics.mean(one[turn.name][1] for one in kept))
        for turn in turns
    }


@dataclass(frozen=True)
class Turn:
    """What a candidate does in a round: some units of work untimed, then some that are timed."""

    name: str
    run: Callable[[int], object]
    warm_up: int
    units: int

    def take(self, cores: Sequence[int]) -> tuple[float, bool]:
        """Seconds of a unit, and whether the turn was disturbed."""
        accompanied = neighbours.at_work(cores)
        self.run(self.warm_up)  # brings the candidate's own data back into the caches
        cpu, wall = time.process_time(), time.perf_counter()
        self.run(self.units)
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        waited = wall > DISTURBED * cpu + 1e-4
        return wall / self.units, waited or accompanied or neighbours.at_work(cores)


Round = Mapping[str, tuple[float, bool]]
"""Of each candidate, the seconds of a unit and whether its turn was disturbed."""


def _rounds(turns: Sequence[Turn], cores: Sequence[int], count: int) -> list[Round]:
    """So many rounds: the first ones, or later ones in place of disturbed ones."""
    found = [_round(turns, cores) for _ in range(count)]
    patience = PATIENCE.each
    while _disturbed(kept := _best(found, count)) and len(found) < ATTEMPTS * count and PATIENCE.left > 0:
        started = time.perf_counter()
        patience -= neighbours.wait(cores, min(patience, PATIENCE.left))
        found.append(_round(turns, cores))
        PATIENCE.left -= time.perf_counter() - started
    return kept


def _round(turns: Sequence[Turn], cores: Sequence[int]) -> Round:
    """A turn of every candidate."""
    collecting = gc.isenabled()
    gc.disable()
    try:
        return {turn.name: turn.take(cores) for turn in turns}
    finally:
        gc.collect()
        if collecting:
            gc.enable()


def _best(found: Sequence[Round], count: int) -> list[Round]:
    """The rounds with the fewest disturbed turns, and of equal ones the first."""
    return sorted(found, key=lambda one: sum(disturbed for _, disturbed in one.values()))[:count]


def _disturbed(rounds: Sequence[Round]) -> bool:
    """Whether the result of a candidate would be marked."""
    return any(statistics.mean(one[name][1] for one in rounds) > MANY for name in rounds[0])


@dataclass
class Patience:
    """Seconds that this process may spend on disturbed results.

    each   waiting for cores of its own, for one result
    left   waiting and measuring again, for all that are still to come
    """

    each: float = 10.0
    left: float = math.inf


PATIENCE = Patience()


def _units(candidate: Callable[[int], object], stretch: float, least: int) -> int:
    """How many units fill a stretch, found by doubling after a first call that warms up."""
    candidate(least)
    units = least
    while True:
        started = time.perf_counter()
        candidate(units)
        seconds = time.perf_counter() - started
        if seconds > 0.3 * stretch:
            return least * max(1, round(units / least * stretch / seconds))
        units *= 2
