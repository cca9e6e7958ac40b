"""Time candidates against each other: interleaved rounds, medians, and a mark where something else was running.

Candidates take turns, a short stretch each, so that a slow minute of the machine meets all of them; each turn begins
with some untimed work, because training is a long run and not a cold start. The time of a candidate is the median over
the rounds. A stretch in which the process got clearly less CPU time than wall time passed was disturbed by something
else on the machine; where many were, all is measured again, and results that stay disturbed carry a mark.
"""

from __future__ import annotations

import gc
import math
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

DISTURBED = 1.1  # wall time over CPU time of a stretch from which it counts as disturbed
MANY = 0.25  # share of disturbed stretches from which a result is measured again, or marked
ATTEMPTS = 3
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


LEGEND = "*: disturbed, the process had to wait for the CPU in more than a quarter of the rounds"


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
    attempts: list[dict[str, Timing]] = []
    while len(attempts) < ATTEMPTS and (not attempts or _most_disturbed(attempts[-1]) > MANY):
        attempts.append(_in_turns(candidates, rounds, units, warm_up))
    return min(attempts, key=_most_disturbed)


def _most_disturbed(found: Mapping[str, Timing]) -> float:
    return max(timing.disturbed for timing in found.values())


def _in_turns(
    candidates: Mapping[str, Callable[[int], object]],
    rounds: int,
    units: Mapping[str, int],
    warm_up: Mapping[str, int],
) -> dict[str, Timing]:
    """So many rounds, in each of them a turn of every candidate."""
    walls: dict[str, list[float]] = {name: [] for name in candidates}
    disturbed = dict.fromkeys(candidates, 0)
    collecting = gc.isenabled()
    gc.disable()
    try:
        for _ in range(rounds):
            for name, candidate in candidates.items():
                candidate(warm_up[name])  # not timed: brings the candidate's own data back into the caches
                cpu, wall = time.process_time(), time.perf_counter()
                candidate(units[name])
                wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
                walls[name].append(wall / units[name])
                disturbed[name] += wall > DISTURBED * cpu + 1e-4
            gc.collect()
    finally:
        if collecting:
            gc.enable()
    return {name: Timing(tuple(values), disturbed[name] / rounds) for name, values in walls.items()}


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
