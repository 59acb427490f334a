"""How likely neurons' values are by chance: the inferences that ``selectivity.inference`` can name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from emoscale.permutations import count_tests
from emoscale.selectivity.measures import Measure
from emoscale.selectivity.options import SelectivityOptions
from emoscale.selectivity.permutation import Results, concept_orders
from emoscale.statistics import benjamini_hochberg, published_q

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


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
        From all p (N, A), NaN where there is none, and the followers under each order (`Results`) to q.
    settings : tuple of str
        The options it depends on, besides its name; they are recorded with the results.
    """

    name: str
    meaning: str
    test: Callable[[Measure, int, SelectivityOptions, str], Callable[..., Results]]
    correct: Callable[[Floats, Integers], Floats]
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


def gated_q(p: Floats, followers: Integers) -> Floats:
    """Adjust p to control false discoveries, and leave none to an attribute that no more neurons follow than by chance.

    Parameters
    ----------
    p : ndarray of float64, shape (N, A)
        NaN where there was no test.
    followers : ndarray of int64, shape (1 + B, A)
        As in `Results`.

    Returns
    -------
    ndarray of float64, shape (N, A)
        The larger of the p that `benjamini_hochberg` adjusts over all tests and the corrected p of the attribute's
        number of followers (`emoscale.permutations.count_tests`); 1 where these were not counted, NaN where `p` is.

    Notes
    -----
    Neurons depend on each other so much that false discoveries come in bursts, and p far below 1 / B, which come from
    a fitted tail, can be too small: on permuted concepts Benjamini & Hochberg alone find something more often than the
    level says. The test of the counts is exact, so at any level t, in the share t of such runs at most, some q is below
    t; with 1 / t - 1 permutations or fewer none is. On shuffled concepts, with 5,760 neurons of a language model, some
    q was below .01 in 16.5 % of shuffles by Benjamini & Hochberg alone and in .3 % by this with 199 permutations, in
    1.7 % and .2 % with 999 (``benchmarks/false_discoveries.py``).
    """
    corrected = count_tests(followers).p_corrected
    return np.maximum(benjamini_hochberg(p), np.where(np.isnan(corrected), 1.0, corrected))


def _published_q(p: Floats, followers: Integers) -> Floats:
    return published_q(p)


INFERENCES = {
    inference.name: inference
    for inference in (
        Inference(
            "permutation",
            "permutations of the concepts, which keep the dependence between distances; q by Benjamini and Hochberg, "
            "for attributes that more neurons follow than under permutation",
            _by_permutation,
            gated_q,
            ("permutations", "seed"),
        ),
        Inference(
            "asymptotic",
            "the published normal approximation, which ignores the dependence between distances and gives p that are "
            "too small; q as published (Li, Su et al. 2024)",
            _by_approximation,
            _published_q,
        ),
    )
}
"""Inferences by name. A new one is an entry."""
