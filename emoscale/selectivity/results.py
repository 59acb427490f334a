"""What a measure says of a block of neurons."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


class Tested(NamedTuple):
    """Values of a block of n neurons for A attributes, and how likely they are by chance.

    Attributes
    ----------
    value : ndarray of float64, shape (n, A)
        NaN where there is none.
    p : ndarray of float64, shape (n, A)
        One-sided p by the inference chosen; NaN where there is no value.
    p_asymptotic : ndarray of float64, shape (n, A)
        By the measure's approximation for independent pairs.
    spread : ndarray of float64, shape (n, A)
        Root mean square of the value under permutation, in units of what that approximation assumes; NaN without
        permutations.
    highest : ndarray of float64, shape (B, A)
        Largest value of any of the neurons under each permutation; -inf where there is none. B = 0 without them.
    """

    value: Floats
    p: Floats
    p_asymptotic: Floats
    spread: Floats
    highest: Floats

    @staticmethod
    def joined(parts: Sequence[Tested]) -> Tested:
        """Put blocks of neurons behind one another."""
        value, p, p_asymptotic, spread = (np.concatenate([part[i] for part in parts]) for i in range(4))
        return Tested(value, p, p_asymptotic, spread, np.max([part.highest for part in parts], axis=0))
