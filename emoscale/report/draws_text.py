"""How closely a few drawn control masks tell the mean over all of their kind."""

from __future__ import annotations

import numpy as np
import pandas as pd

from emoscale.report.phrasing import count, number, signed
from emoscale.report.study import ControlWords


def draws_text(control_variates: pd.DataFrame, words: ControlWords) -> list[str]:
    """Say what the estimated effects of the drawn masks' neurons add to what is known of the mean over all masks.

    Parameters
    ----------
    control_variates : DataFrame
        Rows of the table of this name of one control and k; may be without rows.
    words : ControlWords

    Returns
    -------
    list of str
        A sentence, or none.
    """
    return [
        f"Over {count(int(row['masks']), f'{words.adjective} mask')} of this size the log-odds of the right answer "
        f"change by {signed(row['exact'], 3)} on average (standard error {number(row['se'], 3)}); with the estimated "
        f"effects of their neurons as control variate (r = {number(row['rho'])}), whose mean over all such masks is "
        f"known, it is {signed(row['adjusted'], 3)} (standard error {number(row['adjusted_se'], 3)}), with "
        f"{number(row['variance_ratio'])} times the variance."
        for row in control_variates.to_dict("records")
        if np.isfinite(row["variance_ratio"])
    ]
