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
from dataclasses import dataclass, field
from typing import Any, Protocol

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
    work = [Candidate(run, warm_up[name], units[name]) for name, run in candidates.items()]
    collecting = gc.isenabled()
    gc.disable()
    try:
        take_turns(work, environment.cores()[:threads], rounds)
    finally:
        if collecting:
            gc.enable()
    return {name: one.timing(rounds) for name, one in zip(candidates, work, strict=True)}


@dataclass
class Candidate:
    """Some work, and the turns that it has had: units untimed, then units that are timed."""

    run: Callable[[int], object]
    warm_up: int
    units: int
    turns: list[tuple[bool, float]] = field(default_factory=list)
    """Whether each was disturbed, and the seconds of a unit."""

    def take(self, cores: Sequence[int]) -> None:
        """One more turn."""
        accompanied = neighbours.at_work(cores)
        self.run(self.warm_up)  # brings the candidate's own data back into the caches
        cpu, wall = time.process_time(), time.perf_counter()
        self.run(self.units)
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        waited = wall > DISTURBED * cpu + 1e-4
        self.turns.append((waited or accompanied or neighbours.at_work(cores), wall / self.units))

    def timing(self, count: int) -> Timing:
        """Of so many turns: the first ones, or later ones in place of disturbed ones."""
        kept = sorted(self.turns, key=lambda turn: turn[0])[:count]
        return Timing(tuple(seconds for _, seconds in kept), statistics.mean(disturbed for disturbed, _ in kept))


class Ran(Protocol):
    """What came of a whole run that has times of its own."""

    @property
    def seconds(self) -> float: ...

    @property
    def waited(self) -> bool:
        """Whether what ran had to wait for a CPU."""


@dataclass
class WholeRuns(Candidate):
    """Some work of which a turn is one whole run, from a cold start, such as a pool of processes that is started and
    used: `run(1)` returns what came of it."""

    warm_up: int = 0
    units: int = 1
    found: list[Any] = field(default_factory=list)

    def take(self, cores: Sequence[int]) -> None:
        """One more turn."""
        accompanied = neighbours.at_work(cores)
        ran: Any = self.run(1)
        self.found.append(ran)
        self.turns.append((ran.waited or accompanied or neighbours.at_work(cores), ran.seconds))


def whole_runs(candidates: Mapping[str, Callable[[], Ran]], rounds: int) -> dict[str, WholeRuns]:
    """Runs each candidate as often, in turns, on all cores of this process."""
    work = {name: WholeRuns(lambda _, run=run: run()) for name, run in candidates.items()}  # type: ignore[misc]
    take_turns(list(work.values()), environment.cores(), rounds)
    return work


def take_turns(candidates: Sequence[Candidate], cores: Sequence[int], rounds: int) -> None:
    """So many rounds, and more of those candidates that were disturbed too often."""
    for _ in range(rounds):
        _round(candidates, cores, 0.0)
    patience = PATIENCE.each
    for _ in range((ATTEMPTS - 1) * rounds):
        disturbed = [one for one in candidates if one.timing(rounds).disturbed > MANY]
        if not disturbed or min(patience, PATIENCE.left) <= 0:
            return
        started = time.perf_counter()
        _round(disturbed, cores, min(patience, PATIENCE.left) / len(disturbed))
        spent = time.perf_counter() - started
        patience, PATIENCE.left = patience - spent, PATIENCE.left - spent


def _round(candidates: Sequence[Candidate], cores: Sequence[int], patience: float) -> None:
    """A turn of each, for which it may wait so many seconds until the cores are its own."""
    for candidate in candidates:
        neighbours.wait(cores, patience)
        candidate.take(cores)


@dataclass
class Patience:
    """Seconds that this process may spend on disturbed results.

    each   for one result, waiting included
    left   for all that are still to come
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
