"""Does accuracy fall further, the more of an attribute's neurons are switched off?"""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from emoscale.analysis.manipulation import mean_drops
from emoscale.analysis.significance import mean_tests

Floats = NDArray[np.float64]


def dose_response(paired: pd.DataFrame) -> pd.DataFrame:
    """Measure how much the drop grows each time that k doubles, for each control and attribute.

    Within each concept the least-squares slope of its mean drop on log2(k) is taken; the concepts' slopes are tested
    against 0. So a concept is one observation, and how concepts differ in level does not matter.

    Parameters
    ----------
    paired : DataFrame
        From `emoscale.analysis.manipulation.paired_accuracies`.

    Returns
    -------
    DataFrame
        Per ``control`` and ``attribute`` ("" for the mean over all, which comes first): ``sizes`` (values of k),
        ``slope`` (accuracy per doubling of k, mean over concepts), ``ci_low``, ``ci_high`` (95 % t interval), ``t``,
        ``df``, ``p`` (two-sided), ``d`` (slope in standard deviations over concepts), ``n`` (concepts that have at
        least two k). The slope is NaN with a single k, its test also with a single concept or none that vary.

    Notes
    -----
    This is the method of summary measures (Matthews, Altman, Campbell & Royston 1990, *BMJ* 300, 230-235).
    """
    drops = mean_drops(paired)
    rows = []
    for control, table in drops.groupby(level="control", observed=True):
        for attribute, series in {"": table.mean(axis=1), **{str(name): table[name] for name in table}}.items():
            by_size = series.rename("drop").reset_index().pivot_table("drop", "concept", "k", observed=True)
            if len(by_size):
                slopes = _slopes(by_size.to_numpy(np.float64), np.log2(by_size.columns.to_numpy(np.float64)))
                rows.append((control, attribute, by_size.shape[1], *_summary(slopes)))
    found = pd.DataFrame(rows, columns=["control", "attribute", "sizes", "n", "slope", "sd"])
    test = mean_tests(found["n"], found["slope"], found["sd"])
    return found[["control", "attribute", "sizes", "slope"]].assign(
        ci_low=test.ci_low,
        ci_high=test.ci_high,
        t=test.t,
        df=np.maximum(test.df, 0),
        p=test.p_two_sided,
        d=test.effect_size,
        n=found["n"],
    )


def _slopes(drops: Floats, size: Floats) -> Floats:
    """Take the slopes of rows, shape (C, K), on `size`, shape (K,), over the values that are there; NaN without two."""
    there = np.isfinite(drops)
    count = np.maximum(there.sum(axis=1, keepdims=True), 1)
    x = np.where(there, size, 0.0)
    x = np.where(there, size - x.sum(axis=1, keepdims=True) / count, 0.0)
    products, squares = (x * np.where(there, drops, 0.0)).sum(axis=1), (x**2).sum(axis=1)
    slopes = np.full(len(drops), np.nan)
    np.divide(products, squares, out=slopes, where=there.sum(axis=1) > 1)
    return slopes


def _summary(slopes: Floats) -> tuple[int, float, float]:
    known = slopes[np.isfinite(slopes)]
    mean = float(known.mean()) if len(known) else np.nan
    return len(known), mean, float(known.std(ddof=1)) if len(known) > 1 else np.nan
