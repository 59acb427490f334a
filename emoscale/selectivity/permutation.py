"""How selective neurons would be if the attributes said nothing about the concepts: permutations of the labels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from emoscale.progress import Progress
from emoscale.run_folder import RunFolder
from emoscale.schema import SELECTIVITY
from emoscale.selectivity.grid import observation_grid
from emoscale.selectivity.inference import q_values
from emoscale.selectivity.kendall import numerator_variance
from emoscale.selectivity.searchlight import block_tasks, compute_blocks, finished_activations
from emoscale.store import open_store
from emoscale_kernels import (
    Patterns,
    attribute_patterns,
    kendall_block,
    mean_pair_distances,
    published_distances,
    tau_b,
)

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

_BINS = 20_000
"""Steps in which null values of tau are counted, over -1 to 1. The spread of tau under the null is some hundred."""


@dataclass(frozen=True)
class PermutationTest:
    """Every neuron and attribute against permuted concept labels.

    Attributes
    ----------
    p : ndarray of float64, shape (N, A)
        One-sided p of tau > 0. The null values of all neurons are pooled within an attribute. NaN where tau is.
    q : ndarray of float64, shape (N, A)
        As in `emoscale.selectivity.q_values`.
    p_family : ndarray of float64, shape (N, A)
        p corrected for all neurons and attributes: how often the largest tau of a permutation reaches the neuron's.
    spread : ndarray of float64, shape (A,)
        Standard deviation of tau under permutation, in units of the one that the normal approximation assumes.
    permutations : int
    """

    p: Floats
    q: Floats
    p_family: Floats
    spread: Floats
    permutations: int


def permutation_test(
    folder: RunFolder,
    rdms: Floats,
    concepts: list[str],
    *,
    permutations: int,
    seed: int,
    as_published: bool = False,
    block_neurons: int = 1024,
    threads: int | None = None,
    progress: Progress,
) -> PermutationTest:
    """Test the taus of a run's selectivity store by permuting the concept labels of the attributes' RDMs.

    The distances of a neuron come from as few values as there are concepts, so they are not independent; permuting the
    labels keeps that dependence, which the normal approximation ignores (Li, Su et al. 2024).

    Parameters
    ----------
    folder : RunFolder
        Holds the finished activations and the selectivity made from them and `rdms`.
    rdms : ndarray of float64, shape (A, P)
        Pairs in ``numpy.triu_indices(C, 1)`` order.
    concepts : list of str
        C names.
    permutations : int
        Number B of permutations, the same for all neurons and attributes. The smallest `p_family` is 1 / (B + 1).
    seed : int
    as_published : bool
        Whether tau was computed from distances rounded as the published study's were.
    block_neurons : int
        Neurons a task, rounded up to whole chunks.
    threads : int, optional
    progress : Progress

    Returns
    -------
    PermutationTest

    Notes
    -----
    p is (1 + null values that reach tau) / (1 + null values), counted on the fly in steps of 1e-4 of tau; null values
    in the step of tau count as reaching it, so p errs to the safe side. Pooling supposes that neurons share one null,
    which holds as far as their RDMs have the same dependence; `p_family` needs no such thing.
    """
    store = finished_activations(folder)
    rows = observation_grid(store, concepts)
    tau = open_store(folder.selectivity, SELECTIVITY).read("tau")
    chunk = store.chunks("activations")[1]
    block = -(-block_neurons // chunk) * chunk
    patterns = attribute_patterns(permuted_rdms(rdms, len(concepts), permutations, seed))
    tasks = block_tasks(store, rows, _null_block, _Null(patterns, len(rdms), as_published), block)
    neurons = store.sizes["neuron"]
    progress.start(neurons, "neurons")
    lengths = [min(block, neurons - start) for start in range(0, neurons, block)]
    blocks = compute_blocks(tasks, lengths, threads, None, progress)
    counts = np.sum([counted for counted, _, _ in blocks], axis=0)
    squares = np.sum([summed for _, summed, _ in blocks], axis=0)
    highest = np.max([largest for _, _, largest in blocks], axis=0)
    total = counts.sum(axis=1)
    p = (1 + _at_least(counts, tau)) / (1 + total)
    p[np.isnan(tau)] = np.nan
    family = (1.0 + (permutations - np.searchsorted(np.sort(highest), tau, side="left"))) / (permutations + 1)
    family[np.isnan(tau)] = np.nan
    return PermutationTest(p, q_values(p), family, np.sqrt(squares / np.maximum(total, 1)), permutations)


def permuted_rdms(rdms: Floats, concepts: int, permutations: int, seed: int) -> Floats:
    """Exchange the concepts of every RDM.

    Parameters
    ----------
    rdms : ndarray of float64, shape (A, P)
    concepts : int
        Number C, with P = C(C-1)/2.
    permutations : int
    seed : int

    Returns
    -------
    ndarray of float64, shape (B * A, P)
        All attributes after the first permutation, then all after the second, and so on.
    """
    first, second = np.triu_indices(concepts, 1)
    square = np.zeros((len(rdms), concepts, concepts))
    square[:, first, second] = square[:, second, first] = rdms
    generator = np.random.default_rng(seed)
    orders = [generator.permutation(concepts) for _ in range(permutations)]
    return np.concatenate([square[:, order[first], order[second]] for order in orders])


class _Null(NamedTuple):
    patterns: Patterns
    attributes: int
    as_published: bool


def _null_block(values: Floats, null: _Null) -> tuple[Integers, Floats, Floats]:
    """Return counts of tau (A, bins), sums of squared z (A,) and the largest tau of each permutation (B,)."""
    distances_of = published_distances if null.as_published else mean_pair_distances
    numerators, ties = kendall_block(values, null.patterns, distances_of)
    pairs = values.shape[1] * (values.shape[1] - 1) // 2
    shape = (len(values[0, 0]), -1, null.attributes)
    tau = tau_b(numerators, ties, null.patterns.ties, pairs)
    known = ~np.isnan(tau)
    with np.errstate(divide="ignore", invalid="ignore"):
        squares = numerators**2 / numerator_variance(ties, null.patterns.ties, pairs)
    squares[~known] = 0.0
    bins = np.where(known, _bin(np.nan_to_num(tau)), _BINS + 1).reshape(shape)
    counts = [np.bincount(bins[:, :, a].ravel(), minlength=_BINS + 2)[: _BINS + 1] for a in range(null.attributes)]
    highest = np.where(known, tau, -np.inf).reshape(shape).max(axis=(0, 2))
    return np.stack(counts), squares.reshape(shape).sum(axis=(0, 1)), highest


def _bin(tau: Floats) -> Integers:
    return np.floor((tau + 1) * (_BINS / 2)).astype(np.int64)


def _at_least(counts: Integers, tau: Floats) -> Floats:
    """Count, for every tau (N, A), its attribute's null values in its bin or above."""
    above = counts[:, ::-1].cumsum(axis=1)[:, ::-1]
    reached = np.take_along_axis(above, _bin(np.nan_to_num(tau)).T, axis=1)
    return np.asarray(reached.T, dtype=np.float64)


def permutation_table(test: PermutationTest, attributes: list[str], alpha: float) -> pd.DataFrame:
    """Summarise a permutation test by attribute.

    Parameters
    ----------
    test : PermutationTest
    attributes : list of str
        A names.
    alpha : float
        A neuron counts as significant at q < alpha.

    Returns
    -------
    DataFrame
        Columns ``attribute``, ``significant`` (q < alpha), ``survivors`` (p_family < .05), ``spread``, ``neurons``,
        ``permutations``.
    """
    return pd.DataFrame(
        {
            "attribute": attributes,
            "significant": (test.q < alpha).sum(axis=0),
            "survivors": (test.p_family < 0.05).sum(axis=0),
            "spread": test.spread,
            "neurons": len(test.p),
            "permutations": test.permutations,
        }
    )
