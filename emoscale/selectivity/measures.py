"""The measures that compare neurons' RDMs with attributes' RDMs. A new one is a module beside this and a line below."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emoscale.selectivity import kendall
from emoscale.selectivity.results import Tested
from emoscale_kernels import attribute_patterns

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Measure:
    """A way to compare neurons with attributes, one block of neurons at a time, in one thread.

    Parameters
    ----------
    prepare : callable
        From the attributes' RDMs (A, P) to what every block needs of them. It travels to Dask's workers.
    value : callable
        From a block's activations (R, C, n), what was prepared (``patterns``) and the function that makes RDMs of
        activations (``distances_of``) to values (n, A), NaN where there is none.
    asymptotic : callable
        The same arguments; values and their p.
    permuted : callable
        The same, and permutations of the concepts (``orders``, (B, C)) and what counts (``backend``).
    """

    prepare: Callable[[Floats], Any]
    value: Callable[..., Floats]
    asymptotic: Callable[..., Tested]
    permuted: Callable[..., Tested]


MEASURES = {"kendall": Measure(attribute_patterns, kendall.tau, kendall.asymptotic, kendall.permuted)}
