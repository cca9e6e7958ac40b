"""Random numbers by name: the same seed, purpose and index give the same numbers, whatever was drawn before.

Everything is drawn from NumPy's Philox4x64 (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3"), a
counter-based generator. The key is made of the seed and of what the numbers are for, the counter starts at the index
(a parameter's number, an epoch), so that no draw depends on an earlier one: a run that goes on at epoch 7 shuffles as
an unbroken run does in its epoch 7.
"""

from __future__ import annotations

import numpy as np

# What the numbers are for. The values are part of what a seed means: never change them, only add.
INITIALIZE = 0  # index: parameter number, see initializers.draw
SHUFFLE = 1  # index: epoch, counted from 0
SPLIT = 2  # index: 0
SEARCH = 3  # index: step, counted from 0
SWEEP = 4  # index: configuration, counted from 0


def key(seed: int, purpose: int) -> int:
    """The 128-bit Philox key of one purpose (INITIALIZE, SHUFFLE, SPLIT, SEARCH, SWEEP) under a seed (at least 0)."""
    words = np.random.SeedSequence(seed, spawn_key=(purpose,)).generate_state(2, np.uint64)
    return int(words[0]) | int(words[1]) << 64


def generator(philox_key: int, index: int) -> np.random.Generator:
    """The generator of one index (0 to 2**64 - 1) under a key; two indices are 2**192 draws apart."""
    return np.random.Generator(np.random.Philox(key=philox_key, counter=index << 192))


class Stream:
    """The generators of one key, one at a time: `at(index)` draws as `generator(key, index)` and takes 2 us, not 8."""

    def __init__(self, philox_key: int) -> None:
        self._bits = np.random.Philox(key=philox_key)
        self._generator = np.random.Generator(self._bits)
        self._state = self._bits.state

    def at(self, index: int) -> np.random.Generator:
        """The generator of an index; the one returned before goes on from here too."""
        self._state["state"]["counter"][3] = index
        self._bits.state = self._state
        return self._generator


def step_keys(seed: int, layer: int, counters: np.ndarray) -> np.ndarray:
    """32-bit dropout keys, (passes,) int64 in [0, 2**32): one for each pass counter (int64), by seed and layer's index.

    The finaliser of splitmix64 (Steele, Lea and Flood 2014) over seed, layer and counter: nothing is kept between
    calls, so a resumed run has the keys of an unbroken one.
    """
    with np.errstate(over="ignore"):
        z = counters.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        for word in (layer, seed & 0xFFFFFFFFFFFFFFFF, seed >> 64):
            z = _splitmix(z + np.uint64(word & 0xFFFFFFFFFFFFFFFF) + np.uint64(0x9E3779B97F4A7C15))
    return (z >> np.uint64(32)).astype(np.int64)


def _splitmix(z: np.ndarray) -> np.ndarray:
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mixed: np.ndarray = z ^ (z >> np.uint64(31))
    return mixed
