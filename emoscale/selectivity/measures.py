"""The measures that compare neurons' RDMs with attributes' RDMs. A new one is a module beside this and an entry."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emoscale.selectivity import kendall
from emoscale.selectivity.permutation import Results
from emoscale_kernels import attribute_patterns

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Measure:
    """Compares neurons with attributes, one block of neurons at a time, in one thread.

    Its functions are sent to Dask's workers.

    Parameters
    ----------
    name : str
    symbol : str
        Of one value, for stores and reports.
    meaning : str
        What a value is, for stores and reports.
    prepare : callable
        From the attributes' RDMs (A, P) to what every block needs of them.
    value : callable
        From a block's activations (R, C, n), what was prepared (``patterns``) and the function that makes RDMs of
        activations (``distances_of``) to values (n, A), NaN where there is none.
    asymptotic : callable
        The same arguments; values and their p.
    permuted : callable
        The same, and permutations of the concepts (``orders``, (B, C)) and the setting of the backend (``backend``).
    """

    name: str
    symbol: str
    meaning: str
    prepare: Callable[[Floats], Any]
    value: Callable[..., Floats]
    asymptotic: Callable[..., Results]
    permuted: Callable[..., Results]


MEASURES = {
    measure.name: measure
    for measure in (
        Measure(
            "kendall",
            "τ",
            "Kendall's tau-b of the neuron's and the attribute's RDM",
            attribute_patterns,
            kendall.tau,
            kendall.asymptotic,
            kendall.permuted,
        ),
    )
}
"""Measures by name."""
