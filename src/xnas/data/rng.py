"""Hashes of addresses: a few whole numbers, as (purpose, seed, epoch) or (purpose, seed, epoch, image).

`mix` is the finaliser of splitmix64 (Steele, Lea and Flood 2014); an address is hashed word by word,
h <- mix((h + golden) ^ word). This file does without torch, for processes that only read images.
"""

import operator

GOLDEN, FIRST, SECOND = 0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB


MASK = 2**64 - 1

ORDER, SPLIT, CROP, CUTOUT, RESIZED, POLICY, DROP_PATH = 1, 2, 3, 4, 5, 6, 7
"""First words of addresses, one for each purpose."""


def mix_address(*words: int) -> int:
    """Return a hash of whole numbers in [-2^63, 2^64), itself in [0, 2^63). Raises ValueError for a number outside."""
    state = 0
    for word in map(operator.index, words):  # numpy's numbers overflow where Python's grow
        if not -(2**63) <= word <= MASK:
            raise ValueError(f"seeds and addresses lie in [-2^63, 2^64); got {word}")
        state = _mix(((state + GOLDEN) & MASK) ^ (word & MASK))
    return state >> 1


def _mix(word: int) -> int:
    word = ((word ^ (word >> 30)) * FIRST) & MASK
    word = ((word ^ (word >> 27)) * SECOND) & MASK
    return word ^ (word >> 31)


TRAIN, VALIDATION, ARCHITECTURE = 0, 1, 2
"""Addresses of the randomness of the two halves, and of what learns the architecture."""
