"""The measures of selectivity there are. A new one is a module beside this and a line below."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emoscale.selectivity import kendall
from emoscale_kernels import attribute_patterns

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Measure:
    """A way to compare neurons with attributes, one block of neurons at a time.

    Parameters
    ----------
    prepare : callable
        From the scores (C, A) to what every block needs of them. It travels to Dask's workers.
    prepare_rdms : callable
        The same from the attributes' RDMs (A, P), for a study that gives these and not the scores.
    inferences : mapping of str to callable
        By name: from a block's activations (R, C, n) and what was prepared to the values and their one-sided p, both
        (n, A), NaN where there is no test. It runs in one thread.
    """

    prepare: Callable[[Floats], Any]
    prepare_rdms: Callable[[Floats], Any]
    inferences: Mapping[str, Callable[[Floats, Any], tuple[Floats, Floats]]]


MEASURES = {
    "kendall": Measure(
        kendall.prepare,
        attribute_patterns,
        {"asymptotic": kendall.asymptotic, "as_published": kendall.as_published},
    ),
}
