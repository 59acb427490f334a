"""On which side of zero, or of chance, a result lies, before any words."""

from __future__ import annotations

import math
from enum import Enum

import pandas as pd


class Side(Enum):
    """On which side of no effect the evidence lies."""

    MORE = "more"
    LESS = "less"
    SAME = "same"
    """Not shown to differ."""
    UNTESTED = "untested"


def direction(low: float, high: float) -> Side:
    """Judge on which side of 0 an interval lies.

    Parameters
    ----------
    low, high : float
        NaN if the interval is not defined.

    Returns
    -------
    Side
        `MORE` (all above 0), `LESS` (all below), `SAME` (holds 0) or `UNTESTED`.
    """
    if not (math.isfinite(low) and math.isfinite(high)):
        return Side.UNTESTED
    return Side.MORE if low > 0 else Side.LESS if high < 0 else Side.SAME


def overlap_side(rows: pd.DataFrame) -> Side:
    """Judge whether two attributes' sets of neurons share more or fewer neurons than chance: rows of ``overlap``."""
    median = float(rows["ratio"].median())
    # A tenth off chance is no more than the eye would call equal in a figure.
    return Side.MORE if median > 1.1 else Side.LESS if median < 0.9 else Side.SAME


def draw_deviations(draws: pd.DataFrame, exchangeable: bool) -> pd.Series:
    """Measure how far each control mask's outcome lies from the mean of those that differ from it by chance alone.

    Parameters
    ----------
    draws : DataFrame
        Rows of ``control_draws`` of one control and k: attribute, value.
    exchangeable : bool
        Whether masks that were drawn for different attributes differ in chance alone.

    Returns
    -------
    Series
        Of float; empty where each mask is the only one of its kind. Masks drawn for an attribute are compared with
        others of that attribute; exchangeable ones, of which each attribute has a single one, with all.
    """
    value, each = draws["value"], draws.groupby("attribute")["value"]
    if len(each) > 1 and (each.size() > 1).all():
        return value - each.transform("mean")
    if len(draws) > 1 and (exchangeable or len(each) == 1):
        return value - value.mean()
    return value.iloc[:0]
