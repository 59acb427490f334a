"""Neurons that single concepts need, by estimated effects: chosen on one half of the items, judged on the other."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from emoscale.run.effects import mean_effects, open_effects
from emoscale.run.folder import RunFolder
from emoscale.statistics import Floats, mean_tests
from emoscale.tasks.halves import HALVES
from emoscale.tasks.outcomes import NORMALIZATIONS, Design

PERMUTATIONS = 9_999
"""Of the concepts."""
_FEWEST = 2
_ROUNDING = 1e-12


def are_by_concept(folder: RunFolder, design: Design) -> bool:
    """Whether the mean effect over a concept's items is that on the concept's own outcome.

    It is not where calibration takes means over several concepts' items: then an item's effect is what its scores
    contribute to the mean outcome of all. A neuron that makes a name likelier whatever the text changes no calibrated
    outcome, but adds much to the items of which that name is right and takes the same from all others.

    Parameters
    ----------
    folder : RunFolder
        Holds the finished effects.
    design : Design
        Of the same items.
    """
    normalization = open_effects(folder).attributes["origin"]["normalization"]
    return not (NORMALIZATIONS[normalization].needs_several and design.concepts_share_questions)


def concept_effects(folder: RunFolder, concepts: Sequence[str], ks: Sequence[int]) -> pd.DataFrame | None:
    """Find the neurons that each concept needs more than the others do, on one half of the items, and judge them.

    Parameters
    ----------
    folder : RunFolder
        Holds the finished effects, which `are_by_concept`.
    concepts : sequence of str
        In the order of the rows.
    ks : sequence of int
        Numbers of neurons.

    Returns
    -------
    DataFrame or None
        See `judge_sets`; None if fewer than two concepts have items in both halves, as those of two texts or more do.
    """
    found = mean_effects(folder, ["concept", "half"])
    cells = {(concept, half): row for row, (concept, half) in enumerate(zip(*_keys(found.cells), strict=True))}
    names = [name for name in concepts if all((name, half) in cells for half in range(HALVES))]
    if len(names) < _FEWEST:
        return None
    by_half = np.stack([found.by_cell[[cells[name, half] for name in names]] for half in range(HALVES)])
    return judge_sets(np.nan_to_num(by_half), names, ks)


def _keys(cells: pd.DataFrame) -> tuple[list[str], list[int]]:
    return cells["concept"].tolist(), cells["half"].tolist()


def judge_sets(
    effects: Floats, concepts: Sequence[str], ks: Sequence[int], *, permutations: int = PERMUTATIONS, seed: int = 0
) -> pd.DataFrame:
    """Choose each concept's neurons on one half of the items and judge them on the other, in both directions.

    What a concept loses beyond expectation is its mean effect minus that of all concepts, times the least-squares slope
    (through 0, over the neurons) of its effects by theirs: answers about one concept may depend more on all neurons
    than those about another. A concept's set are the k neurons with the largest loss beyond that on one half.

    Parameters
    ----------
    effects : ndarray of float64, shape (2, concepts, neurons)
        Mean effect on each half of each concept's items; 0 for neurons that were absent.
    concepts : sequence of str
    ks : sequence of int
    permutations : int
    seed : int

    Returns
    -------
    DataFrame
        Per ``k`` one row for all concepts (``concept`` is ""), then one each. All are sums over the concept's set of
        mean effects on the half that did not choose it, means of the two directions: ``own``, on the concept's items;
        ``others``, on the other concepts', their mean; ``expected``, on those of all concepts, times the slope;
        ``specificity`` = own - expected, negative where the loss costs the concept more than others. Of all concepts
        together these are means, with ``ci_low`` and ``ci_high``, the 95 % t interval of the specificity over concepts.
        ``p`` is one-sided: for all concepts by permutations that give each set another concept's items; for one concept
        its ``place`` among all, 1 for the largest loss beyond expectation to its set, over their number.

    Notes
    -----
    With M_h[c, d] the sum over the set of c, chosen on half h, of what d loses beyond expectation on the other half,
    exchanging the concepts of the second half exchanges the columns of A = M_0 + transposed M_1, and nothing else. The
    sum of A's diagonal and the places in its rows, once each column's mean is subtracted, are therefore tested exactly
    if neither half says anything of the other but how much each neuron does on average.
    """
    count = len(concepts)
    orders = np.random.default_rng(seed).permuted(np.tile(np.arange(count), (permutations, 1)), axis=1)
    expected = _expected(effects)
    best_first = np.argsort(effects - expected, axis=2, kind="stable")
    tables = [_judged(effects, expected, best_first[:, :, :k], concepts, orders).assign(k=k) for k in ks]
    columns = ["k", "concept", "own", "others", "expected", "specificity", "ci_low", "ci_high", "p", "place"]
    return pd.concat(tables, ignore_index=True).reindex(columns=columns)


def _judged(
    effects: Floats, expected: Floats, sets: NDArray[np.int64], concepts: Sequence[str], orders: NDArray[np.int64]
) -> pd.DataFrame:
    count = len(concepts)
    losses, foreseen = (
        np.stack([_sums(values[1 - half], sets[half]) for half in range(HALVES)]) for values in (effects, expected)
    )
    mean, own = losses.mean(axis=0), np.diagonal(losses.mean(axis=0))
    by_slope = np.diagonal(foreseen.mean(axis=0))
    each = pd.DataFrame({"concept": list(concepts), "own": own, "others": (mean.sum(axis=1) - own) / (count - 1)})
    each = each.assign(expected=by_slope, specificity=own - by_slope)
    means, spread = each.mean(numeric_only=True), each["specificity"].std(ddof=1)
    test = mean_tests([count], [means["specificity"]], [spread])
    beyond = losses - foreseen
    together = beyond[0] + beyond[1].T
    drawn = together[np.arange(count), orders].sum(axis=1)
    reached = np.trace(together) + _ROUNDING * np.abs(together).sum()
    row = {"concept": "", **means, "ci_low": test.ci_low[0], "ci_high": test.ci_high[0]}
    row["p"] = (1 + np.count_nonzero(drawn <= reached)) / (1 + len(orders))
    away = together - together.mean(axis=0)
    place = (away <= np.diagonal(away)[:, np.newaxis] + _ROUNDING * np.abs(away).max()).sum(axis=1)
    return pd.concat([pd.DataFrame([row]), each.assign(p=place / count, place=place)], ignore_index=True)


def _expected(effects: Floats) -> Floats:
    """Fit each concept's effects by the mean over all concepts, in each half: (2, concepts, neurons)."""
    mean = effects.mean(axis=1, keepdims=True)
    size = (mean**2).sum(axis=2, keepdims=True)
    products = (effects * mean).sum(axis=2, keepdims=True)
    return np.asarray(products / np.where(size > 0, size, 1.0) * mean)


def _sums(effects: Floats, sets: NDArray[np.int64]) -> Floats:
    """Sum up effects (concepts, neurons) over sets (sets, k): (sets, concepts)."""
    return np.stack([effects[:, chosen].sum(axis=1) for chosen in sets])
