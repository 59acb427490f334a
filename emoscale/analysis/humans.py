"""Do the attributes that matter to the model matter to people? (Li, Su et al. 2024, comparison with people.)"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from emoscale.analysis.manipulation import SIZE, mean_drops
from emoscale.analysis.significance import correlation_interval, mean_tests, q_values

_FEWEST = 3
"""Two points always correlate perfectly."""


def importance(
    dissimilarity: NDArray[np.float64], rdms: NDArray[np.float64], attributes: Sequence[str]
) -> pd.DataFrame:
    """Measure how much each attribute counts in people's own space of the concepts.

    Parameters
    ----------
    dissimilarity : ndarray, float, shape (P,)
        People's mean dissimilarity of each pair of concepts, pairs in `numpy.triu_indices(C, 1)` order.
    rdms : ndarray, float, shape (A, P)
        Attribute RDMs, |score_i - score_j|, pairs in the same order.
    attributes : sequence of str, length A

    Returns
    -------
    DataFrame
        Columns ``attribute``, ``tau`` (Kendall's tau-b between `dissimilarity` and the RDM), ``p`` (asymptotic,
        one-sided: greater) and ``q`` over the attributes. NaN for an attribute that does not vary.
    """
    tests = [stats.kendalltau(dissimilarity, rdm, method="asymptotic", alternative="greater") for rdm in rdms]
    p = np.array([test.pvalue for test in tests], np.float64)
    return pd.DataFrame(
        {"attribute": list(attributes), "tau": [test.statistic for test in tests], "p": p, "q": q_values(p)}
    )


def concept_correlations(paired: pd.DataFrame, importances: pd.DataFrame) -> pd.DataFrame:
    """Correlate, within each concept, the attributes' drops with their importance in people.

    Parameters
    ----------
    paired : DataFrame
        From `emoscale.analysis.manipulation.paired_accuracies`; the drop is -d averaged over a concept's prompts.
    importances : DataFrame
        From `importance`.

    Returns
    -------
    DataFrame
        Columns ``control``, ``k``, ``concept``, ``r`` (Pearson, over the attributes). NaN where fewer than 3 attributes
        have both values or either does not vary.
    """
    drops = mean_drops(paired)
    r, _ = _correlations(drops, importances)
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
    r, n = _correlations(drops, importances)
    df = max(n - 2, 1)
    # (1 - r)(1 + r) is 0 for a perfect correlation, whose p is 0.
    with np.errstate(divide="ignore"):
        t = np.abs(r) * np.sqrt(df / ((1 - r) * (1 + r)))
    low, high = correlation_interval(r, n)
    p = np.asarray(2 * stats.t.sf(t, df))
    return drops.index.to_frame(index=False).assign(r=r, ci_low=low, ci_high=high, p=p, attributes=n)


def _correlations(drops: pd.DataFrame, importances: pd.DataFrame) -> tuple[NDArray[np.float64], int]:
    """Correlate each row of `drops` (columns: attributes) with importance; also return the number of attributes."""
    tau = importances.set_index("attribute")["tau"].reindex(drops.columns.astype(str)).to_numpy(np.float64)
    known = ~np.isnan(tau)
    y, x = drops.to_numpy(np.float64)[:, known], tau[known]
    r = np.full(len(y), np.nan)
    if len(x) >= _FEWEST:
        x = x - x.mean()
        y = y - y.mean(axis=1, keepdims=True)
        norms = np.linalg.norm(y, axis=1) * np.linalg.norm(x)
        # Below this the values are equal but for rounding.
        r = np.divide(y @ x, norms, out=r, where=norms > 1e-12)
    return np.clip(r, -1, 1), len(x)


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
        are left out.
    """
    z = np.arctanh(correlations["r"].where(correlations["r"].abs() < 1))
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
