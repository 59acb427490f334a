"""Do the concepts fall into groups that need an attribute's neurons and groups that do not?"""

from __future__ import annotations

import diptest
import numpy as np
import pandas as pd

_FEWEST = 4
"""Hartigan's dip is not defined below."""


def unimodality(paired: pd.DataFrame) -> pd.DataFrame:
    """Test whether the concepts' mean differences have one mode (Hartigan's dip test; Li, Su et al. 2024).

    Parameters
    ----------
    paired : DataFrame
        From `emoscale.analysis.paired_accuracies`.

    Returns
    -------
    DataFrame
        Columns ``k``, ``attribute``, ``dip``, ``p`` (small: more than one mode). NaN with fewer than 4 concepts.
    """
    means = paired.groupby(["k", "attribute", "concept"], observed=True)["d"].mean()
    rows = []
    for (k, attribute), values in means.groupby(["k", "attribute"], observed=True):
        enough = len(values) >= _FEWEST
        dip, p = diptest.diptest(values.to_numpy(np.float64)) if enough else (np.nan, np.nan)
        rows.append({"k": k, "attribute": attribute, "dip": dip, "p": p})
    return pd.DataFrame(rows, columns=["k", "attribute", "dip", "p"])
