"""Kendall's numerator from packed signs: 64 comparisons a word, then AND and popcount.

The signs of all P(P-1)/2 comparisons between the distances of one RDM are packed once; two RDMs are then compared a
word at a time. The work grows with P^2, that is with C^4, but a step handles 64 comparisons.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from emoscale_kernels.jit import kernel

Floats = NDArray[np.float64]
Words = NDArray[np.uint64]
Integers = NDArray[np.int64]

_WORD = 64
# The popcount loop handles 32 words a step where the machine has vectors of 512 bits; a remainder would go one by one.
_STEP = 32


@kernel
def _popcount(word: np.uint64) -> np.uint64:
    # Sums of 1, 2, 4 and then all eight bytes side by side. LLVM knows these steps and turns them into the popcnt
    # instruction, or into a vector of popcounts.
    word -= (word >> np.uint64(1)) & np.uint64(0x5555555555555555)
    word = (word & np.uint64(0x3333333333333333)) + ((word >> np.uint64(2)) & np.uint64(0x3333333333333333))
    word = (word + (word >> np.uint64(4))) & np.uint64(0x0F0F0F0F0F0F0F0F)
    return (word * np.uint64(0x0101010101010101)) >> np.uint64(56)


def pack_signs(distances: Floats) -> Words:
    """Compare every two distances of each row and pack the outcomes.

    Parameters
    ----------
    distances : ndarray of float64, shape (n, P)
        Finite.

    Returns
    -------
    ndarray of uint64, shape (n, 2, W)
        Bits of ``d[i] < d[j]`` in ``[:, 0]`` and of ``d[i] > d[j]`` in ``[:, 1]``, for i < j: a row of words per i,
        j = i + 1 in the lowest bit of its first word. Bits without a comparison are 0 in both.
    """
    n, P = distances.shape
    # NaN is neither less nor greater, so a row's last word needs no special case.
    padded = np.full((n, P + _WORD), np.nan)
    padded[:, :P] = distances
    words = int(np.sum(-(-np.arange(1, P) // _WORD)))
    return _pack_signs(padded, -(-words // _STEP) * _STEP)


@kernel
def _pack_signs(padded: Floats, words: int) -> Words:
    n = padded.shape[0]
    P = padded.shape[1] - _WORD
    signs = np.zeros((n, 2, words), dtype=np.uint64)
    for row in range(n):
        word = 0
        for i in range(P - 1):
            first = padded[row, i]
            for j in range(i + 1, P, _WORD):
                others = padded[row, j : j + _WORD]
                less = np.uint64(0)
                greater = np.uint64(0)
                # A fixed number of turns: LLVM makes vector comparisons of it.
                for bit in range(_WORD):
                    less |= np.uint64(first < others[bit]) << np.uint64(bit)
                    greater |= np.uint64(first > others[bit]) << np.uint64(bit)
                signs[row, 0, word] = less
                signs[row, 1, word] = greater
                word += 1
    return signs


@kernel
def bit_numerators(neurons: Words, attributes: Words) -> Integers:
    """Count concordant minus discordant comparisons of every neuron with every attribute.

    Parameters
    ----------
    neurons : ndarray of uint64, shape (n, 2, W)
    attributes : ndarray of uint64, shape (A, 2, W)
        Both as `pack_signs` makes them.

    Returns
    -------
    ndarray of int64, shape (n, A)
    """
    numerators = np.empty((neurons.shape[0], attributes.shape[0]), dtype=np.int64)
    for a in range(attributes.shape[0]):
        attribute_less = attributes[a, 0]
        attribute_greater = attributes[a, 1]
        for k in range(neurons.shape[0]):
            less = neurons[k, 0]
            greater = neurons[k, 1]
            total = np.int64(0)
            for w in range(less.size):
                concordant = (less[w] & attribute_less[w]) | (greater[w] & attribute_greater[w])
                discordant = (less[w] & attribute_greater[w]) | (greater[w] & attribute_less[w])
                total += np.int64(_popcount(concordant)) - np.int64(_popcount(discordant))
            numerators[k, a] = total
    return numerators


@kernel
def untied_comparisons(signs: Words) -> Integers:
    """Count each row's comparisons of unequal distances.

    Parameters
    ----------
    signs : ndarray of uint64, shape (n, 2, W)
        As `pack_signs` makes them.

    Returns
    -------
    ndarray of int64, shape (n,)
    """
    counts = np.empty(signs.shape[0], dtype=np.int64)
    for k in range(signs.shape[0]):
        total = np.int64(0)
        for w in range(signs.shape[2]):
            total += np.int64(_popcount(signs[k, 0, w] | signs[k, 1, w]))
        counts[k] = total
    return counts
