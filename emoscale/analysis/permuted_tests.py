"""Statistics over all attributes, each against the same one for the masks of permuted attributes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from emoscale.analysis.drop_estimates import FEWEST_DRAWS, estimate_drops
from emoscale.analysis.needed import INTERVAL
from emoscale.analysis.permuted_masks import PermutedMasks
from emoscale.analysis.specificity import own_minus_other
from emoscale.permutations import permutation_tests
from emoscale.schema import ALL_ATTRIBUTES, DOSE, MEAN_DROP, SPECIFICITY, WITH_IMPORTANCE
from emoscale.statistics import Floats, row_correlations

RESAMPLES = 1_000
"""Bootstrap samples of texts and draws."""


@dataclass(frozen=True, eq=False)
class People:
    """What the drops are compared with.

    Attributes
    ----------
    importance : ndarray of float64, shape (A,)
        Of each attribute to people; NaN where it is not known.
    scores : ndarray of float64, shape (C, A)
        Of each concept on each attribute, concepts as in `ItemSample`.
    """

    importance: Floats
    scores: Floats


def permuted_tests(masks: PermutedMasks, needed: pd.DataFrame, people: People, seed: int = 0) -> pd.DataFrame:
    """Test statistics over all attributes against the same ones under permuted concepts.

    Parameters
    ----------
    masks : PermutedMasks
    needed : DataFrame
        From `emoscale.analysis.needed.needed_table`.
    people : People
    seed : int
        Of the bootstrap.

    Returns
    -------
    DataFrame
        One row a statistic and size: ``statistic``, ``k`` (0: all sizes together), ``value``, ``ci_low``, ``ci_high``
        (95 %), ``null_low``, ``null_high`` (middle 95 % over draws), ``draws``, ``p`` (two-sided); and from the
        neurons' estimated effects ``estimated_value``, ``estimated_null_low``, ``estimated_null_high``,
        ``estimated_draws``, ``estimated_p``. NaN where something is not known.

        - ``mean drop``: as in `needed`, with p not corrected for the attributes;
        - ``correlation with importance``: over attributes, of an attribute's drop with its importance to people;
        - ``specificity``: how much more a concept's drop correlates, over concepts, with its score on the attribute
          whose neurons are off than with its scores on others; not estimated;
        - ``dose``: slope of the mean drop on log2 of the size, with two sizes or more.

    Notes
    -----
    For p, the drop of each order is the mean outcome over all orders minus its own, so that the true order and the
    permuted ones are treated in the same way. Intervals of correlations are percentiles of a bootstrap over texts
    within concepts (normal multipliers, so that few texts of a concept vary as much as they should; Mammen 1993,
    *Annals of Statistics* 21, 255-285) and over draws.
    """
    rows = []
    for k in masks.numbers:
        drops = _bootstrapped_drops(masks, k, seed)
        rows += [
            _mean_drop(masks, k, needed),
            _importance(masks, k, people.importance, drops),
            _specificity(masks, k, people.scores, drops),
        ]
    if len(masks.numbers) > 1:
        rows.append(_dose(masks))
    return pd.DataFrame(rows)


def _mean_drop(masks: PermutedMasks, k: int, needed: pd.DataFrame) -> dict[str, Any]:
    row = needed[(needed["k"] == k) & (needed["attribute"] == ALL_ATTRIBUTES)].iloc[0]
    outcomes, estimates = masks.outcomes(k), masks.estimates(k)
    return {
        "statistic": MEAN_DROP,
        "k": k,
        **_tested(_drop_of(outcomes).mean(axis=1)),
        **_estimated(None if estimates is None else _drop_of(estimates).mean(axis=1)),
        **{"value": row["drop"], "ci_low": row["ci_low"], "ci_high": row["ci_high"]},
    }


def _importance(masks: PermutedMasks, k: int, importance: Floats, drops: Floats) -> dict[str, Any]:
    known, estimates = np.isfinite(importance), masks.estimates(k)

    def correlate(table: Floats) -> Floats:
        return row_correlations(table[:, known], importance[known])

    return {
        "statistic": WITH_IMPORTANCE,
        "k": k,
        **_tested(correlate(_drop_of(masks.outcomes(k)))),
        **_percentiles(correlate(drops.mean(axis=1))),
        **_estimated(None if estimates is None else correlate(_drop_of(estimates))),
    }


def _specificity(masks: PermutedMasks, k: int, scores: Floats, drops: Floats) -> dict[str, Any]:
    by_order = _drop_of(masks.by_concept(k))
    return {
        "statistic": SPECIFICITY,
        "k": k,
        **_tested(own_minus_other(by_order, scores)),
        **_percentiles(own_minus_other(drops, scores)),
        **_estimated(None),
    }


def _dose(masks: PermutedMasks) -> dict[str, Any]:
    sizes = np.log2(list(masks.numbers))
    weights = (sizes - sizes.mean()) / ((sizes - sizes.mean()) ** 2).sum()

    def slope(tables: Iterable[Floats]) -> Floats:
        return np.asarray(sum(w * table.mean(axis=-1) for w, table in zip(weights, tables, strict=True)))

    found = {"statistic": DOSE, "k": 0, **_tested(_drop_of(slope(map(masks.outcomes, masks.numbers))))}
    if found["draws"]:
        drop = estimate_drops(slope(map(masks.values, masks.numbers))[:, :, None], masks.sample)[0]
        found["value"] = drop.drop
        found["ci_low"], found["ci_high"] = drop.interval(INTERVAL)
    estimates = [table for k in masks.numbers if (table := masks.estimates(k)) is not None]
    return found | _estimated(_drop_of(slope(estimates)) if len(estimates) == len(sizes) else None)


def _drop_of(outcomes: Floats) -> Floats:
    """Turn outcomes by order, (1 + D, ...), into drops, every order in the same way."""
    return np.asarray(outcomes.mean(axis=0) - outcomes)


def _tested(values: Floats) -> dict[str, Any]:
    """Test a statistic of each order, the true one first."""
    test = permutation_tests(values[:, None])
    found = {"null_low": test.null_low[0], "null_high": test.null_high[0], "p": test.p[0]}
    return {"value": values[0], "ci_low": np.nan, "ci_high": np.nan, "draws": len(values) - 1, **found}


def _estimated(values: Floats | None) -> dict[str, Any]:
    tested = {"draws": 0} if values is None else _tested(values)
    names = ("value", "null_low", "null_high", "draws", "p")
    return {f"estimated_{name}": tested.get(name, np.nan) for name in names}


def _percentiles(values: Floats) -> dict[str, Any]:
    known = values[np.isfinite(values)]
    low, high = np.quantile(known, [0.025, 0.975]) if len(known) else (np.nan, np.nan)
    return {"ci_low": low, "ci_high": high}


def _bootstrapped_drops(masks: PermutedMasks, k: int, seed: int) -> Floats:
    """Draw texts and permutations again: drops by concept, (resamples, C, A); no resamples with too few draws."""
    values, sample, draws = masks.values(k), masks.sample, masks.draws(k)
    A, C = values.shape[2], sample.concept.max() + 1
    if draws < FEWEST_DRAWS or sample.df < 1:
        return np.empty((0, C, A))
    generator = np.random.default_rng([seed, k])
    multipliers = generator.normal(size=(RESAMPLES, sample.text.max() + 1))
    # One draw fewer makes the variance of the mean that of all draws, as for texts.
    weights = generator.multinomial(draws - 1, np.full(draws, 1 / draws), size=RESAMPLES) / (draws - 1)
    by_concept, found = masks.by_concept(k), np.empty((RESAMPLES, C, A))
    for number, (multiplier, weight) in enumerate(zip(multipliers, weights, strict=True)):
        apart = sample.deviations(np.tensordot(weight, values[:, 1:], axes=(0, 1)) - values[:, 0])
        found[number] = np.tensordot(weight, by_concept[1:], axes=1) - by_concept[0]
        found[number] += sample.by_concept(multiplier[sample.text, None] * apart)
    return found
