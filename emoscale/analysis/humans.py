"""What matters to people, and whether the same matters to the model (Li, Su et al. 2024, comparison with people)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from emoscale.analysis.drops import SIZE, mean_drops
from emoscale.permutations import permutation_tests
from emoscale.statistics import (
    Floats,
    benjamini_hochberg,
    correlation_interval,
    fisher_z,
    mean_tests,
    published_q,
    row_correlations,
)
from emoscale_kernels import attribute_patterns, numerators, pack_rdms, permuted_patterns, tau_b

RESAMPLES = 1000
"""Times that participants are drawn with replacement."""

PERMUTATIONS = 9_999
"""Of the concepts."""

_BLOCK_BYTES = 2**24
"""Of the packed comparisons of some permutations: 15 kB each with 27 concepts."""
_DIGITS = 12


def importance(
    dissimilarity: Floats,
    rdms: Floats,
    attributes: Sequence[str],
    *,
    permutations: int = PERMUTATIONS,
    seed: int = 0,
) -> pd.DataFrame:
    """Measure how much each attribute counts in people's own space of the concepts.

    Parameters
    ----------
    dissimilarity : ndarray, float, shape (P,)
        People's mean dissimilarity of each pair of concepts, pairs in `numpy.triu_indices(C, 1)` order.
    rdms : ndarray, float, shape (A, P)
        Attribute RDMs, |score_i - score_j|, pairs in the same order.
    attributes : sequence of str, length A
    permutations : int
        Of the concepts; the same for all attributes.
    seed : int

    Returns
    -------
    DataFrame
        Columns ``attribute``; ``tau``, Kendall's tau-b between `dissimilarity` and the RDM; ``p``, one-sided (greater),
        the share of permutations of the concepts, the true order among them, whose tau is as large;
        ``p_corrected``, the same for the largest tau of all attributes, each in standard deviations under permutation;
        ``q``, p by Benjamini and Hochberg over the attributes; ``p_published``, the asymptotic p, one-sided, which
        takes pairs of concepts for independent, and ``q_published``, see `emoscale.statistics.published_q`. NaN for an
        attribute that does not vary.

    Notes
    -----
    Mantel (1967), *Cancer Research* 27, 209-220; with rank correlation Dietz (1983), *Systematic Zoology* 32, 21-26.
    """
    tests = [stats.kendalltau(dissimilarity, rdm, method="asymptotic", alternative="greater") for rdm in rdms]
    published = np.array([test.pvalue for test in tests], np.float64)
    concepts = np.arange((1 + math.isqrt(1 + 8 * len(dissimilarity))) // 2)
    orders = np.random.default_rng(seed).permuted(np.tile(concepts, (permutations, 1)), axis=1)
    mantel = permutation_tests(mantel_taus(dissimilarity, rdms, np.vstack([concepts, orders])), greater=True)
    return pd.DataFrame(
        {
            "attribute": list(attributes),
            "tau": [test.statistic for test in tests],
            "p": mantel.p,
            "p_corrected": mantel.p_corrected,
            "q": benjamini_hochberg(mantel.p),
            "p_published": published,
            "q_published": published_q(published),
        }
    )


def mantel_taus(dissimilarity: Floats, rdms: Floats, orders: NDArray[np.int64]) -> Floats:
    """Correlate people's dissimilarities of permuted concepts with the attributes' RDMs.

    Parameters
    ----------
    dissimilarity : ndarray of float64, shape (P,)
    rdms : ndarray of float64, shape (A, P)
        Pairs in the same order.
    orders : ndarray of int64, shape (B, C)
        Concept c takes the place of ``orders[b, c]``.

    Returns
    -------
    ndarray of float64, shape (B, A)
        Kendall's tau-b; NaN where the dissimilarities or the RDM do not vary.
    """
    patterns = attribute_patterns(dissimilarity[np.newaxis])
    packed = pack_rdms(rdms, bits=patterns.signs is not None)
    block = 1 + 8 * _BLOCK_BYTES // patterns.pairs**2
    blocks = [orders[start : start + block] for start in range(0, len(orders), block)]
    counted = np.hstack([numerators(packed, permuted_patterns(patterns, block)) for block in blocks])
    ties = np.tile(patterns.ties, (len(orders), 1))
    return np.ascontiguousarray(tau_b(counted, packed.ties, ties, patterns.pairs).T)


def importance_intervals(
    participants: Floats, rdms: Floats, attributes: Sequence[str], *, resamples: int = RESAMPLES, seed: int = 0
) -> pd.DataFrame:
    """Bootstrap the importance of attributes over participants.

    Parameters
    ----------
    participants : ndarray, float64, shape (S, P)
        Each participant's dissimilarity of each pair of concepts.
    rdms : ndarray, float64, shape (A, P)
        Attribute RDMs, pairs in the same order.
    attributes : sequence of str, length A
    resamples : int
        Times that S participants are drawn with replacement.
    seed : int

    Returns
    -------
    DataFrame
        Columns ``attribute``, ``ci_low``, ``ci_high``: the 2.5th and 97.5th percentile of Kendall's tau-b between the
        mean dissimilarity of the drawn participants and the RDM. It speaks of other people, not of other concepts.
    """
    S = len(participants)
    drawn = np.random.default_rng(seed).integers(S, size=(resamples, S))
    weights = np.stack([np.bincount(row, minlength=S) for row in drawn])
    taus = _taus(_decimal(weights @ participants / S), rdms)
    low, high = np.quantile(taus, [0.025, 0.975], axis=0)
    return pd.DataFrame({"attribute": list(attributes), "ci_low": low, "ci_high": high})


def noise_ceiling(participants: Floats) -> pd.DataFrame:
    """Bound what any model of people's mean dissimilarities can reach, by how well people agree.

    Parameters
    ----------
    participants : ndarray, float64, shape (S, P)
        Of at least two participants.

    Returns
    -------
    DataFrame
        One row: ``lower``, the mean tau-b of each participant with the mean of the others; ``upper``, with the mean of
        all, the participant among them; ``participants``.

    Notes
    -----
    Nili et al. (2014), *PLoS Computational Biology* 10, e1003553, with tau-b as the measure. The bounds are for the
    correlation with single participants; with their mean, as importance has it, higher values are possible.
    """
    S = len(participants)
    total = participants.sum(axis=0)
    others = (total - participants) / (S - 1)
    lower = np.diag(_taus(participants, _decimal(others))).mean()
    upper = _taus(participants, _decimal(total[np.newaxis] / S)).mean()
    return pd.DataFrame({"lower": [lower], "upper": [upper], "participants": [S]})


def _taus(dissimilarities: Floats, rdms: Floats) -> Floats:
    patterns = attribute_patterns(rdms)
    judged = pack_rdms(dissimilarities, bits=patterns.signs is not None)
    return tau_b(numerators(judged, patterns), judged.ties, patterns.ties, patterns.pairs)


def _decimal(means: Floats) -> Floats:
    """Make means that are equal as decimals equal, whatever order their sums were added in."""
    scale = float(np.abs(means).max()) or 1.0
    return np.asarray(np.round(means / scale, _DIGITS), dtype=np.float64)


def concept_correlations(paired: pd.DataFrame, importances: pd.DataFrame) -> pd.DataFrame:
    """Correlate, within each concept, the attributes' drops with their importance in people.

    Parameters
    ----------
    paired : DataFrame
        From `emoscale.analysis.drops.paired_answers`; the drop is -d averaged over a concept's prompts.
    importances : DataFrame
        From `importance`.

    Returns
    -------
    DataFrame
        Columns ``control``, ``k``, ``concept``, ``r`` (Pearson, over the attributes). NaN where fewer than 3 attributes
        have both values or either does not vary.
    """
    drops = mean_drops(paired)
    r, _ = _with_importance(drops, importances)
    return drops.index.to_frame(index=False).assign(r=r)


def mean_drop_correlation(paired: pd.DataFrame, importances: pd.DataFrame) -> pd.DataFrame:
    """Correlate the attributes' mean drops with their importance in people, an attribute being one observation.

    All concepts meet the same masks, so that their correlations (`human_comparison`) are not independent: a mask that
    happens to hurt does so in every concept. This is the test whose n is the number of attributes.

    Parameters
    ----------
    paired, importances : DataFrame
        As for `concept_correlations`.

    Returns
    -------
    DataFrame
        Columns ``control``, ``k``, ``r`` (Pearson), ``ci_low``, ``ci_high`` (95 %, by Fisher's z), ``p`` (two-sided),
        ``attributes``.
    """
    drops = mean_drops(paired).groupby(level=SIZE, observed=True).mean()
    r, n = _with_importance(drops, importances)
    df = max(n - 2, 1)
    # (1 - r)(1 + r) is 0 for a perfect correlation, whose p is 0.
    with np.errstate(divide="ignore"):
        t = np.abs(r) * np.sqrt(df / ((1 - r) * (1 + r)))
    low, high = correlation_interval(r, n)
    p = np.asarray(2 * stats.t.sf(t, df))
    return drops.index.to_frame(index=False).assign(r=r, ci_low=low, ci_high=high, p=p, attributes=n)


def _with_importance(drops: pd.DataFrame, importances: pd.DataFrame) -> tuple[Floats, int]:
    """Correlate each row of `drops` (columns: attributes) with importance; also return the number of attributes."""
    tau = importances.set_index("attribute")["tau"].reindex(drops.columns.astype(str)).to_numpy(np.float64)
    known = ~np.isnan(tau)
    return row_correlations(drops.to_numpy(np.float64)[:, known], tau[known]), int(known.sum())


def human_comparison(correlations: pd.DataFrame) -> pd.DataFrame:
    """Test the concepts' correlations with importance against 0, for each control and k.

    Parameters
    ----------
    correlations : DataFrame
        From `concept_correlations`.

    Returns
    -------
    DataFrame
        Per ``control`` and ``k``: ``mean_r``, ``ci_low``, ``ci_high`` (mean of Fisher's z and its 95 % t interval,
        transformed back), ``t``, ``df``, ``p`` (two-sided; the study's test, but see `mean_drop_correlation`) and
        ``concepts``, the number that entered. Concepts whose r is undefined, or exactly 1 or -1 so that z is infinite,
        are ignored.
    """
    z = pd.Series(fisher_z(correlations["r"]), correlations.index)
    sizes = [correlations[name] for name in SIZE]
    groups = z.groupby(sizes, observed=True).agg(["count", "mean", "std"]).reset_index()
    test = mean_tests(groups["count"], groups["mean"], groups["std"])
    table: pd.DataFrame = groups[SIZE].assign(
        mean_r=np.tanh(groups["mean"]),
        ci_low=np.tanh(test.ci_low),
        ci_high=np.tanh(test.ci_high),
        t=test.t,
        df=np.maximum(test.df, 0),
        p=test.p_two_sided,
        concepts=groups["count"],
    )
    return table
