"""Do the concepts fall into groups that need an attribute's neurons and groups that do not?"""

from __future__ import annotations

import diptest
import numpy as np
import pandas as pd

from emoscale.analysis.manipulation import SIZE

_FEWEST = 4
"""Hartigan's dip is not defined below."""


def unimodality(paired: pd.DataFrame) -> pd.DataFrame:
    """Test whether the concepts' mean differences have one mode (Hartigan's dip test; Li, Su et al. 2024).

    Parameters
    ----------
    paired : DataFrame
        From `emoscale.analysis.manipulation.paired_accuracies`.

    Returns
    -------
    DataFrame
        Columns ``control``, ``k``, ``attribute``, ``dip`` (0 to .25, the distance from the nearest distribution with
        one mode), ``p`` (small: more than one mode). NaN with fewer than 4 concepts.
    """
    keys = [*SIZE, "attribute"]
    means = paired.groupby([*keys, "concept"], observed=True)["d"].mean()
    rows = []
    for names, values in means.groupby(keys, observed=True):
        enough = len(values) >= _FEWEST
        dip, p = diptest.diptest(values.to_numpy(np.float64)) if enough else (np.nan, np.nan)
        rows.append((*names, dip, p))
    return pd.DataFrame(rows, columns=[*keys, "dip", "p"])
