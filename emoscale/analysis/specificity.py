"""Do the neurons of an attribute matter most to the concepts that are high, or low, on that attribute?"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from emoscale.analysis.drops import SIZE, mean_drops
from emoscale.concepts.loading import Concepts
from emoscale.rounding import OUTCOME_DIGITS
from emoscale.statistics import Floats, column_correlations, correlation_interval, fisher_z, unit_columns

RESAMPLES = 9_999
"""Permutations and bootstrap samples of the concepts."""

_FEWEST_BOOTSTRAP = 4
_BLOCK = 500
_ROUNDING = 10.0**-OUTCOME_DIGITS


def specificity(paired: pd.DataFrame, concepts: Concepts) -> pd.DataFrame:
    """Correlate the drops after each attribute's neurons with the concepts' scores on each attribute.

    Parameters
    ----------
    paired : DataFrame
        From `emoscale.analysis.drops.paired_answers`.
    concepts : Concepts

    Returns
    -------
    DataFrame
        Per ``control``, ``k``, ``attribute`` (whose neurons were switched off) and ``score`` (all A of each):
        ``r`` (Pearson, over the concepts; positive where concepts that score high lose more), ``ci_low``, ``ci_high``
        (95 %, by Fisher's z) and ``concepts``, those with all drops and all scores. NaN with fewer than 3 of them, or
        where drops or scores do not vary.
    """
    tables = []
    for size, names, drops, known in _sizes(paired, concepts):
        r = np.clip(column_correlations(drops, known), -1, 1)
        low, high = correlation_interval(r.ravel(), len(drops))
        tables.append(
            pd.DataFrame(
                {
                    **dict(zip(SIZE, size, strict=True)),
                    "attribute": np.repeat(names, len(concepts.attributes)),
                    "score": np.tile(np.array(concepts.attributes, object), len(names)),
                    "r": r.ravel(),
                    "ci_low": low,
                    "ci_high": high,
                    "concepts": len(drops),
                }
            )
        )
    return pd.concat(tables, ignore_index=True)


def specificity_summary(
    paired: pd.DataFrame, concepts: Concepts, *, resamples: int = RESAMPLES, seed: int = 0
) -> pd.DataFrame:
    """Test whether drops correlate with the scores on the same attribute more than with those on the others.

    Parameters
    ----------
    paired, concepts
        As for `specificity`.
    resamples : int
        Permutations, and bootstrap samples, of the concepts.
    seed : int

    Returns
    -------
    DataFrame
        Per ``control`` and ``k``: ``own`` and ``other``, the mean correlation on and off the diagonal of `specificity`
        (tanh of the mean Fisher z; correlations that are undefined or perfect are ignored); ``difference`` = own -
        other; ``ci_low``, ``ci_high``: its 95 % percentile interval over bootstrap samples of the concepts (NaN with
        fewer than 4); ``p``: one-sided (own is greater), (1 + permutations that reach the difference) / (1 +
        `resamples`), where a permutation gives each concept the scores of another, all attributes together;
        ``attributes``, those with neurons switched off. A permutation keeps how attributes' scores correlate with one
        another, and how drops do; so the more similar the attributes are, the smaller a difference there is to find.
    """
    rows = []
    for size, names, drops, known in _sizes(paired, concepts):
        own = np.array(names)[:, np.newaxis] == np.array(concepts.attributes)
        at_own, at_other = (_mean_r(column_correlations(drops, known)[np.newaxis], where)[0] for where in (own, ~own))
        difference = at_own - at_other
        low, high, p = np.nan, np.nan, np.nan
        if np.isfinite(difference):
            permuted = _permuted(drops, known, own, resamples, seed)
            # What cannot be computed counts against the finding; sums differ by rounding.
            p = (1 + np.count_nonzero(~(permuted < difference - _ROUNDING))) / (1 + resamples)
            if len(drops) >= _FEWEST_BOOTSTRAP:
                drawn = _bootstrapped(drops, known, own, resamples, seed)
                drawn = drawn[np.isfinite(drawn)]
                low, high = np.quantile(drawn, [0.025, 0.975]) if len(drawn) else (np.nan, np.nan)
        rows.append((*size, at_own, at_other, difference, low, high, p, len(names)))
    columns = [*SIZE, "own", "other", "difference", "ci_low", "ci_high", "p", "attributes"]
    return pd.DataFrame(rows, columns=columns)


def own_minus_other(drops: Floats, scores: Floats) -> Floats:
    """Compare correlations over concepts of drops with scores on the same attribute and on the others.

    Parameters
    ----------
    drops : ndarray of float64, shape (B, C, A)
        Of B tables.
    scores : ndarray of float64, shape (C, A)

    Returns
    -------
    ndarray of float64, shape (B,)
        Mean correlation with the own score minus that with others, see `specificity_summary`.
    """
    return _difference(column_correlations(drops, scores), np.eye(scores.shape[1], dtype=np.bool_))


def _sizes(paired: pd.DataFrame, concepts: Concepts) -> list[tuple[tuple[Any, ...], list[str], Floats, Floats]]:
    """Split by control and k: the attributes with drops, the drops (n, a) and scores (n, A) of complete concepts."""
    by_concept = pd.DataFrame(np.asarray(concepts.scores, np.float64), index=concepts.names)
    parts = []
    for size, table in mean_drops(paired).groupby(level=SIZE, observed=True):
        drops = table.dropna(axis="columns", how="all")
        names = drops.index.get_level_values("concept").astype(str)
        values = drops.to_numpy(np.float64).round(OUTCOME_DIGITS)
        known = by_concept.reindex(names).to_numpy(np.float64)
        complete = np.isfinite(values).all(axis=1) & np.isfinite(known).all(axis=1)
        parts.append((size, [str(name) for name in drops], values[complete], known[complete]))
    return parts


def _mean_r(r: Floats, where: NDArray[np.bool_]) -> Floats:
    """Average Fisher's z of correlations (B, a, A) over the cells of `where`, and transform back: (B,)."""
    z = fisher_z(r[:, where])
    usable = np.isfinite(z)
    count = usable.sum(axis=1)
    return np.asarray(np.tanh(np.where(usable, z, 0.0).sum(axis=1) / np.where(count, count, np.nan)))


def _difference(r: Floats, own: NDArray[np.bool_]) -> Floats:
    return _mean_r(r, own) - _mean_r(r, ~own)


def _permuted(drops: Floats, scores: Floats, own: NDArray[np.bool_], resamples: int, seed: int) -> Floats:
    generator = np.random.default_rng([seed, 0])
    orders = generator.permuted(np.tile(np.arange(len(drops)), (resamples, 1)), axis=1)
    blocks = [orders[start : start + _BLOCK] for start in range(0, resamples, _BLOCK)]
    x, y = unit_columns(drops).T, unit_columns(scores)
    return np.concatenate([_difference(x @ y[block], own) for block in blocks])


def _bootstrapped(drops: Floats, scores: Floats, own: NDArray[np.bool_], resamples: int, seed: int) -> Floats:
    drawn = np.random.default_rng([seed, 1]).integers(len(drops), size=(resamples, len(drops)))
    blocks = [drawn[start : start + _BLOCK] for start in range(0, resamples, _BLOCK)]
    return np.concatenate([_difference(column_correlations(drops[block], scores[block]), own) for block in blocks])
