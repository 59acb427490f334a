"""How likely neurons' values are by chance: the inferences that ``selectivity.inference`` can name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import ArrayLike, NDArray

from emoscale.selectivity.measures import Measure
from emoscale.selectivity.options import SelectivityOptions
from emoscale.selectivity.permutation import Results, concept_orders
from emoscale.statistics import benjamini_hochberg, published_q

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Inference:
    """Where p and q come from.

    Parameters
    ----------
    name : str
    meaning : str
    test : callable
        From a measure, the number of concepts, the options and the setting of the backend to the function that tests a
        block of neurons: from its activations (R, C, n), ``patterns`` and ``distances_of`` to `Results`. That function
        is sent to Dask's workers.
    correct : callable
        From all p (N, A), NaN where there is none, to q.
    settings : tuple of str
        The options it depends on, besides its name; they are recorded with the results.
    """

    name: str
    meaning: str
    test: Callable[[Measure, int, SelectivityOptions, str], Callable[..., Results]]
    correct: Callable[[ArrayLike], Floats]
    settings: tuple[str, ...] = ()


def _by_permutation(
    measure: Measure, concepts: int, options: SelectivityOptions, backend: str
) -> Callable[..., Results]:
    orders = concept_orders(concepts, options.permutations, options.seed)
    return partial(measure.permuted, orders=orders, backend=backend)


def _by_approximation(
    measure: Measure, concepts: int, options: SelectivityOptions, backend: str
) -> Callable[..., Results]:
    return measure.asymptotic


INFERENCES = {
    inference.name: inference
    for inference in (
        Inference(
            "permutation",
            "permutations of the concepts, which keep the dependence between distances; q by Benjamini and Hochberg",
            _by_permutation,
            benjamini_hochberg,
            ("permutations", "seed"),
        ),
        Inference(
            "asymptotic",
            "the published normal approximation, which ignores the dependence between distances and gives p that are "
            "too small; q as published (Li, Su et al. 2024)",
            _by_approximation,
            published_q,
        ),
    )
}
"""Inferences by name. A new one is an entry."""
