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


def key(seed: int, purpose: int) -> int:
    """The 128-bit Philox key of one purpose (INITIALIZE, SHUFFLE, SPLIT) under a seed (at least 0)."""
    words = np.random.SeedSequence(seed, spawn_key=(purpose,)).generate_state(2, np.uint64)
    return int(words[0]) | int(words[1]) << 64


def generator(philox_key: int, index: int) -> np.random.Generator:
    """The generator of one index (0 to 2**64 - 1) under a key; two indices are 2**192 draws apart."""
    return np.random.Generator(np.random.Philox(key=philox_key, counter=index << 192))
