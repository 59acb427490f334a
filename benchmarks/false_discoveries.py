"""How often is a neuron found significant when the concepts are shuffled, so that none follows any attribute?

On the activations of a RUN and on noise of the same size: the share of shuffles of the concepts in which some q is
below --level, by Benjamini & Hochberg alone (`ungated`) and as the stage `select` gives it (`gated`: at least the
corrected p of the attribute's number of followers), with 199 and with 999 permutations. The gated share should be at
most the level.

1 + B orders of the concepts are drawn; each plays the true one against the B others, which are as exchangeable with it
as fresh ones, so that a set of orders gives 1 + B shuffles for the price of one searchlight. These are not independent,
so the standard errors are those of --sets independent sets with 999 permutations (and three times as many with 199).
`largest_burst` is the most tests that were significant at once, `count` the share of shuffles in which the corrected p
of some attribute's followers is at most the level: within a set never more than that by construction.

    python -m benchmarks.false_discoveries --run RUN [--every N] [--sets S] [--json FILE]
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from benchmarks.common import arguments, tell
from emoscale.concepts.loading import load_concepts
from emoscale.config import load_settings
from emoscale.permutations import count_tests
from emoscale.run.folder import RunFolder
from emoscale.run.stores import open_extraction
from emoscale.selectivity.executor import Executor
from emoscale.selectivity.inference import gated_q
from emoscale.selectivity.kendall import permuted
from emoscale.selectivity.permutation import concept_orders, permutation_p
from emoscale.selectivity.permuted_values import PermutedValues
from emoscale.statistics import benjamini_hochberg
from emoscale.system.progress import Silent
from emoscale.system.ranks import cores
from emoscale_kernels import (
    NullCounts,
    attribute_patterns,
    decimal_distances,
    mean_pair_distances,
    numerators,
    pack_rdms,
    permuted_patterns,
    tau_b,
)
from emoscale_kernels.kendall import count_followers

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

PERMUTATIONS = {199: 3, 999: 1}
"""Number of permutations, and sets of orders that are drawn in place of one."""
NEURONS_AT_ONCE, ORDERS_AT_ONCE = 256, 50


class Orders(NamedTuple):
    """Every neuron and attribute under M orders of the concepts.

    Attributes
    ----------
    tau : ndarray of float64, shape (M, n, A)
    reached : ndarray of int16, shape (M, n, A)
        Other orders under which tau is at least this one's.
    sums : ndarray of float64, shape (3, n, A)
        Of tau, its square and its cube over all orders.
    followers : ndarray of int64, shape (M, A)
        Neurons whose tau is largest under each order, the first of equal ones.
    moved : ndarray of int64, shape (t, 3)
        First and second order of neurons and attributes with several largest tau, and the attribute.
    """

    tau: Floats
    reached: NDArray[np.int16]
    sums: Floats
    followers: Integers
    moved: Integers


def compare(values: Floats, scores: Floats, orders: Integers) -> Orders:
    patterns = attribute_patterns(decimal_distances(scores))
    M, n, A = len(orders), values.shape[2], scores.shape[1]
    tau, reached = np.empty((M, n, A)), np.empty((M, n, A), np.int16)
    followers, moved = np.zeros((M, A), np.int64), []
    for start in range(0, n, NEURONS_AT_ONCE):
        some = slice(start, start + NEURONS_AT_ONCE)
        rdms = pack_rdms(mean_pair_distances(np.ascontiguousarray(values[:, :, some])), bits=True)
        counted = [
            numerators(rdms, permuted_patterns(patterns, orders[first : first + ORDERS_AT_ONCE]))
            for first in range(0, M, ORDERS_AT_ONCE)
        ]
        by_order = np.concatenate([part.reshape(len(part), -1, A) for part in counted], axis=1).transpose(1, 0, 2)
        for order in range(M):
            tau[order, some] = tau_b(by_order[order], rdms.ties, patterns.ties, patterns.pairs)
        reached[:, some] = rankdata(-by_order, method="max", axis=0) - 1
        untied = ~np.isnan(tau[0, some])
        followers += count_followers(by_order.argmax(axis=0), untied, M)
        largest = by_order == by_order.max(axis=0)
        for k, a in zip(*np.nonzero((largest.sum(axis=0) > 1) & untied), strict=True):
            moved.append((*np.flatnonzero(largest[:, k, a])[:2], a))
    sums = sum(powers(one) for one in tau)
    return Orders(tau, reached, sums, followers, np.array(moved, np.int64).reshape(-1, 3))


def powers(tau: Floats) -> Floats:
    return np.stack([tau, tau * tau, tau * tau * tau])


def followers_of(found: Orders, true: int) -> Integers:
    """Count as the stage does, which gives the true order only what exceeds all others."""
    counts = found.followers.copy()
    for first, second, a in found.moved[found.moved[:, 0] == true]:
        counts[first, a] -= 1
        counts[second, a] += 1
    return np.concatenate([counts[true : true + 1], np.delete(counts, true, axis=0)])


def tests_of(found: Orders, true: int) -> tuple[Floats, Integers]:
    """Compute p and followers with one order in the place of the true one."""
    tau, followers = found.tau[true], followers_of(found, true)
    sums = found.sums - powers(tau)
    highest = np.zeros((len(found.tau) - 1, tau.shape[1]))
    counts = NullCounts(found.reached[true].astype(np.int64), sums, highest, followers)
    return permutation_p(tau, counts), followers


def test_each(found: Orders, level: float) -> dict[str, float]:
    M = len(found.tau)
    ungated, gated, counts, largest = 0, 0, 0, 0
    for true in range(M):
        p, followers = tests_of(found, true)
        burst = int(np.count_nonzero(benjamini_hochberg(p) < level))
        largest = max(largest, burst)
        ungated += burst > 0
        gated += burst > 0 and bool((gated_q(p, followers) < level).any())
        counts += bool((count_tests(followers).p_corrected <= level).any())
    return {"ungated": ungated / M, "gated": gated / M, "count": counts / M, "largest_burst": largest}


def main() -> None:
    options = arguments(__doc__ or "", run="", every=8, sets=2, level=0.01)
    values, scores = read(Path(options.run))
    values = np.ascontiguousarray(values[:, :, :: options.every])
    noise = np.random.default_rng(0).normal(size=values.shape)
    numbers: dict[str, float] = {"level": options.level, "neurons": values.shape[2]}
    check(values[:, :, :64], scores)
    for kind, activations in {"run": values, "noise": noise}.items():
        for permutations, times in PERMUTATIONS.items():
            work = partial(one_set, activations, scores, permutations, options.level)
            with ThreadPoolExecutor(cores()) as pool:
                results = list(pool.map(work, range(1, 1 + options.sets * times)))
            name = f"{kind}_{permutations}"
            numbers[f"{name}_shuffles"] = len(results) * (1 + permutations)
            for key in ("ungated", "gated", "count"):
                shares = np.array([result[key] for result in results])
                numbers[f"{name}_{key}"] = float(shares.mean())
                numbers[f"{name}_{key}_se"] = float(shares.std(ddof=1) / np.sqrt(len(shares)))
            numbers[f"{name}_largest_burst"] = max(result["largest_burst"] for result in results)
    tell("Shuffled concepts: how often anything is found", numbers, options.json)


def one_set(values: Floats, scores: Floats, permutations: int, level: float, seed: int) -> dict[str, float]:
    return test_each(compare(values, scores, concept_orders(len(scores), 1 + permutations, seed)), level)


def check(values: Floats, scores: Floats) -> None:
    """Check that an order that plays the true one gets the stage's own p and followers."""
    orders = concept_orders(len(scores), 150, 0)
    found = compare(values, scores, orders)
    for true in range(0, 150, 30):
        patterns = attribute_patterns(decimal_distances(scores[orders[true]]))
        expected = permuted(values, patterns, np.argsort(orders[true])[np.delete(orders, true, axis=0)])
        p, followers = tests_of(found, true)
        np.testing.assert_allclose(p, expected.p, rtol=1e-6)
        np.testing.assert_array_equal(followers, expected.followers)


def read(run: Path) -> tuple[Floats, Floats]:
    """Read the mean activations, (R, C, N), and the scores."""
    folder, settings = RunFolder(run), load_settings(run / "config.yaml")
    concepts, executor = load_concepts(settings.concepts), Executor.of(settings.machine, settings.selectivity)
    store = open_extraction(folder)
    found = PermutedValues.of(store, concepts, settings.selectivity, executor, Silent())
    return found.means, found.scores


if __name__ == "__main__":
    main()
