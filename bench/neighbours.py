"""Whether a core is this process's alone.

A core that has two hardware threads divides its pipeline between them. What the other one does is seen neither in CPU
time nor in the FMA peak, whose loop leaves half of the pipeline empty; but a product that reaches 96% of the peak alone
falls to 70% beside a neighbour, which on a virtual machine is somebody else's. It is seen in the rate at which the core
starts instructions that do nothing, counted by the core's own clock: a chain of multiplications.
"""

from __future__ import annotations

import collections
import ctypes
import statistics
import time
from collections.abc import Sequence

from bench import environment

SHARED = 0.95  # rate of instructions over the core's own, below which it is shared; alone it varies by 1%
TURNS, CHAIN_TURNS = 3000, 200  # of the two probes: some 15 us each
LOOKS, KEPT = 50, 1000  # a millisecond apart, at first, to learn what the core can do; of the last ones it is known
ALONE = 0.95  # quantile of these rates that counts as the core's own: a few are wrong, by an interrupt in a probe
PAUSE = 0.005  # seconds between looks while waiting
SPINNING = 0.002  # seconds that threads of one's own may go on polling after their work

_rates: dict[int, collections.deque[float]] = {}
"""The last rates of each core."""


def issue_rate() -> float:
    """Instructions that this core starts now in the time of a multiplication."""
    from bench import probes  # imports llvmlite, which children that are timed from their start must not

    nothing, chain, value = probes.issue(), probes.chain(), ctypes.c_int64(3)
    rates = []
    for _ in range(3):
        before = time.perf_counter()
        nothing(TURNS)
        between = time.perf_counter()
        chain(CHAIN_TURNS, ctypes.addressof(value))
        rates.append((time.perf_counter() - between) / (between - before))
    return statistics.median(rates) * TURNS * probes.NOPS / (CHAIN_TURNS * probes.LINKS)


def at_work(cores: Sequence[int] = ()) -> bool:
    """Whether something runs beside this thread on its core or, of several that are given, on any of them."""
    if len(cores) < 2:
        return _slow(cores[0] if cores else 0)
    time.sleep(SPINNING)
    usual = set(environment.cores())
    try:
        return any(_slow(core, move=True) for core in cores)
    finally:
        environment.keep_to(usual)


def wait(cores: Sequence[int], seconds: float) -> None:
    """Wait until nothing does, at most so long."""
    deadline = time.perf_counter() + seconds
    while seconds > 0 and at_work(cores) and time.perf_counter() < deadline:
        time.sleep(PAUSE)


def _slow(core: int, move: bool = False) -> bool:
    if move:
        environment.keep_to({core})
    rates = _rates.setdefault(core, collections.deque(maxlen=KEPT))
    while len(rates) < LOOKS:
        rates.append(issue_rate())
        time.sleep(0.001)
    rate = issue_rate()
    rates.append(rate)
    return rate < SHARED * sorted(rates)[int(ALONE * len(rates))]
