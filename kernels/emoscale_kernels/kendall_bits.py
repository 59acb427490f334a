"""Kendall's numerator from packed comparisons: 512 comparisons an instruction, then XOR, AND and popcount.

The outcomes of all P(P-1)/2 comparisons between the distances of an RDM are packed once; two RDMs are then compared a
vector of words at a time. The work grows with P^2, that is with C^4, but with a very small factor.

Distances become integers in the same order first, because integers are compared twice as many at a time as floats.
"""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray

from emoscale_kernels.jit import kernel
from emoscale_kernels.reuse import reused
from emoscale_kernels.vectors import BLOCK, count_discordant_one, count_discordant_tile, pack_comparisons

Floats = NDArray[np.float64]
Words = NDArray[np.uint64]
Integers = NDArray[np.int64]
Keys = NDArray[np.int32]

_LARGEST_KEY = 2**31 - 2  # one less than fits, so that 1 can be added
_TILE_NEURONS, _TILE_PATTERNS = 8, 2
_BLOCK_WORDS = 256
"""Words of each row that a tile goes through before the next tile: eight rows of them fit the first cache."""


def words_of(pairs: int) -> int:
    """Return the number W of 64-bit words that the comparisons of P distances are packed in."""
    blocks = -(-pairs // BLOCK)
    return blocks * (blocks + 1) // 2 * BLOCK // 2


@cache
def valid_comparisons(pairs: int) -> Words:
    """Return the bits, shape (W,), that represent a comparison of distance i with distance j > i."""
    first, second = np.arange(BLOCK)[:, np.newaxis], np.arange(BLOCK)
    squares = []
    for j in range(0, pairs, BLOCK):
        for i in range(0, j + 1, BLOCK):
            squares.append((first + i < second + j) & (second + j < pairs))
    # The first comparison is in the highest bit, as `pack_comparisons` has it.
    weights = np.uint32(1) << np.arange(BLOCK - 1, -1, -1, dtype=np.uint32)
    words = [np.sum(square * weights[:, np.newaxis], axis=0, dtype=np.uint32) for square in squares]
    return np.concatenate([*words, np.empty(0, np.uint32)]).view(np.uint64)


def order_keys(distances: Floats, reuse: bool = False) -> tuple[Keys, NDArray[np.bool_]]:
    """Replace distances by integers in the same order, where that is quick.

    Parameters
    ----------
    distances : ndarray of float64, shape (n, P)
        Finite.
    reuse : bool
        Whether this thread's next such call may overwrite the keys.

    Returns
    -------
    keys : ndarray of int32, shape (n, P rounded up to 32)
        From 0; the last ones are 0.
    doubtful : ndarray of bool, shape (n,)
        Rows in which two keys are equal, a distance is negative, or all are too small: their keys are not to be used.
    """
    n, P = distances.shape
    shape = n, -(-P // BLOCK) * BLOCK
    keys = reused("keys", shape, np.int32) if reuse else np.empty(shape, dtype=np.int32)
    keys[:, P:] = 0
    doubtful = np.zeros(n, dtype=np.bool_)
    distances = np.ascontiguousarray(distances)
    slots = 1 << max(13, int(32 * P).bit_length())
    _order_keys(distances, distances.view(np.int64), keys, doubtful, slots)
    return keys, doubtful


@kernel
def _order_keys(distances: Floats, bits: Integers, keys: Keys, doubtful: NDArray[np.bool_], slots: int) -> None:
    n, P = distances.shape
    seen = np.zeros(slots, dtype=np.uint8)
    shift = np.uint32(32 - int(np.log2(slots)))
    for k in range(n):
        # Floats that are not negative are in the order of their bits, and the largest integer is found in vectors.
        largest_bits = np.int64(0)
        smallest_bits = np.int64(0)
        for p in range(P):
            largest_bits = max(largest_bits, bits[k, p])
            smallest_bits = min(smallest_bits, bits[k, p])
        largest = np.array([largest_bits]).view(np.float64)[0]
        scale = _LARGEST_KEY / largest if largest > 0.0 and smallest_bits == 0 else np.inf
        if not scale < np.inf:
            doubtful[k] = P > 1
            keys[k, :] = 0
            continue
        # Multiplying and rounding down keep the order, but may make two distances one.
        for p in range(P):
            keys[k, p] = np.int32(distances[k, p] * scale)
        mark = np.uint8(k % 255 + 1)
        if mark == 1 and k > 0:
            seen[:] = 0
        for p in range(P):
            slot = np.uint32(np.uint32(keys[k, p]) * np.uint32(0x9E3779B1)) >> shift  # Knuth's multiplicative hash
            if seen[slot] == mark:
                same = 0
                for other in range(P):
                    same += keys[k, other] == keys[k, p]
                if same > 1:
                    doubtful[k] = True
                    break
            seen[slot] = mark


def pack_keys(keys: Keys, pairs: int, lift: int = 0, reuse: bool = False) -> Words:
    """Pack the comparisons between the keys of each row.

    Parameters
    ----------
    keys : ndarray of int32, shape (n, P rounded up to 32)
        From 0 to 2^31 - 2.
    pairs : int
        Number P of distances.
    lift : int
        0 for "less"; 1 for "less or equal".
    reuse : bool
        Whether this thread's next such call may overwrite the result.

    Returns
    -------
    ndarray of uint64, shape (n, W)
        Bits of ``key[i] < key[j] + lift`` for i < j, in squares of 32 by 32; bits that are not set in
        `valid_comparisons` mean nothing.
    """
    shape = len(keys), 2 * words_of(pairs)
    words = reused(f"words {lift}", shape, np.uint32) if reuse else np.empty(shape, dtype=np.uint32)
    _pack_keys(np.ascontiguousarray(keys), lift, words)
    return words.view(np.uint64)


@kernel
def _pack_keys(keys: Keys, lift: int, words: NDArray[np.uint32]) -> None:
    for k in range(keys.shape[0]):
        word = 0
        for second in range(0, keys.shape[1], BLOCK):
            for first in range(0, second + 1, BLOCK):
                pack_comparisons(keys, k, first, second, np.int32(lift), words, word)
                word += BLOCK


def discordant_comparisons(signs: Words, pattern_signs: Words, masks: Words) -> Integers:
    """Count the comparisons that come out differently in a neuron and in a pattern.

    Parameters
    ----------
    signs : ndarray of uint64, shape (n, W)
    pattern_signs : ndarray of uint64, shape (A, W)
        Both as `pack_keys` makes them.
    masks : ndarray of uint64, shape (A, W)
        The comparisons that count.

    Returns
    -------
    ndarray of int64, shape (n, A)
    """
    counts = np.zeros((len(signs), len(pattern_signs)), dtype=np.int64)
    _count_discordant(signs, pattern_signs, masks, counts)
    return counts


@kernel
def _count_discordant(signs: Words, pattern_signs: Words, masks: Words, counts: Integers) -> None:
    n, words = signs.shape
    A = pattern_signs.shape[0]
    tiled_n = n - n % _TILE_NEURONS
    tiled_a = A - A % _TILE_PATTERNS
    for start in range(0, words, _BLOCK_WORDS):
        stop = min(start + _BLOCK_WORDS, words)
        for k in range(0, tiled_n, _TILE_NEURONS):
            for a in range(0, tiled_a, _TILE_PATTERNS):
                count_discordant_tile(signs, pattern_signs, masks, k, a, start, stop, counts)
            for a in range(tiled_a, A):
                for one in range(k, k + _TILE_NEURONS):
                    count_discordant_one(signs, pattern_signs, masks, one, a, start, stop, counts)
        for k in range(tiled_n, n):
            for a in range(A):
                count_discordant_one(signs, pattern_signs, masks, k, a, start, stop, counts)
