"""Drawing neurons evenly from strata, and what that makes of any sum over the drawn ones."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from emoscale.masks.request import Mask, Request


@dataclass(frozen=True, eq=False)
class Strata:
    """What the masks of one size (and attribute) are drawn from: every stratum evenly, without replacement.

    Attributes
    ----------
    pools : list of ndarray of int
        Neurons that can be drawn, by stratum.
    taken : ndarray of int, shape (strata,)
        How many of each are.
    attribute : str
        Empty where all attributes share the masks.
    """

    pools: list[NDArray[np.intp]]
    taken: NDArray[np.intp]
    attribute: str = ""

    @property
    def k(self) -> int:
        """Number of neurons of each mask."""
        return int(self.taken.sum())

    def moments(self, values: NDArray[np.float64]) -> tuple[float, float]:
        """Return mean and variance, over all masks that can be drawn, of the sum of a mask's values.

        Of n neurons drawn from N in each stratum they are n times the mean and n (1 - n / N) S², S² with N - 1 in the
        denominator (Cochran 1977, *Sampling Techniques*, chapters 2 and 5).

        Parameters
        ----------
        values : ndarray of float64, shape (neurons,)

        Examples
        --------
        >>> Strata([np.arange(4)], np.array([2])).moments(np.array([0.0, 0.0, 3.0, 3.0]))
        (3.0, 3.0)
        """
        mean = variance = 0.0
        for pool, taken in zip(self.pools, self.taken, strict=True):
            if not taken:
                continue
            mean += float(taken * values[pool].mean())
            if taken < len(pool):
                variance += float(taken * (1 - taken / len(pool)) * values[pool].var(ddof=1))
        return mean, variance


@dataclass(frozen=True)
class Drawn:
    """How a control draws its masks.

    Attributes
    ----------
    strata : callable
        Yields what they are drawn from, by k and attribute.
    stream : int
        Which random numbers it takes where masks belong to attributes; different controls have different ones.
    """

    strata: Callable[[Request], Iterator[Strata]]
    stream: int

    def __call__(self, request: Request) -> Iterator[Mask]:
        """Yield the masks, by k, attribute and draw."""
        for strata in self.strata(request):
            own = [self.stream, crc32(strata.attribute.encode())] if strata.attribute else []
            for draw in range(request.draws):
                # A generator of its own: a mask must not depend on which others are asked for.
                generator = np.random.default_rng([request.seed, *own, strata.k, draw])
                drawn = [
                    generator.choice(pool, size=taken, replace=False)
                    for pool, taken in zip(strata.pools, strata.taken, strict=True)
                ]
                yield Mask(np.concatenate(drawn), attribute=strata.attribute, draw=draw)
