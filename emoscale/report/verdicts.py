"""What the intervals allow to be said, before any words: on which side of zero, or of chance, a result lies."""

from __future__ import annotations

import math
from enum import Enum

import pandas as pd

LEVEL = 0.05


class Verdict(Enum):
    """On which side of no effect the evidence lies."""

    MORE = "more"
    LESS = "less"
    SAME = "same"
    """Not shown to differ."""
    UNCLEAR = "unclear"
    """Two tests disagree."""
    UNTESTED = "untested"


def direction(low: float, high: float) -> Verdict:
    """Judge on which side of 0 an interval lies.

    Parameters
    ----------
    low, high : float
        NaN if the interval is not defined.

    Returns
    -------
    Verdict
        `MORE` (all above 0), `LESS` (all below), `SAME` (holds 0) or `UNTESTED`.
    """
    if not (math.isfinite(low) and math.isfinite(high)):
        return Verdict.UNTESTED
    return Verdict.MORE if low > 0 else Verdict.LESS if high < 0 else Verdict.SAME


def side(overall: pd.Series) -> Verdict:
    """Judge whether the selective masks of one size hurt more than the control masks.

    Parameters
    ----------
    overall : Series
        One row of ``drop_overall``.

    Returns
    -------
    Verdict
        Like `direction`, but `UNCLEAR` where the interval over concepts excludes 0 and yet the drop is within what the
        draw of the control masks, the same for all concepts, leaves open.
    """
    where = direction(overall["ci_low"], overall["ci_high"])
    settled = abs(overall["drop"]) > overall["random_error"]  # not so for NaN: a single control mask
    return Verdict.UNCLEAR if where in (Verdict.MORE, Verdict.LESS) and not settled else where


def specificity_side(summary: pd.Series) -> Verdict:
    """Judge on which side the evidence for specific losses lies.

    Parameters
    ----------
    summary : Series
        One row of ``specificity_summary``: own, ci_low, ci_high, p (one-sided: own is greater).

    Returns
    -------
    Verdict
        `MORE` (specific), `LESS` (the opposite), `SAME` (not shown), `UNCLEAR` (interval and permutations disagree, or
        the correlation with an attribute's own scores is not even positive) or `UNTESTED`.
    """
    where = direction(summary["ci_low"], summary["ci_high"])
    if where == Verdict.MORE:
        return Verdict.MORE if summary["p"] < LEVEL and summary["own"] > 0 else Verdict.UNCLEAR
    if where == Verdict.LESS:
        return Verdict.LESS if summary["p"] > 1 - LEVEL else Verdict.UNCLEAR
    return Verdict.UNCLEAR if where == Verdict.SAME and summary["p"] < LEVEL else where


def overlap_side(rows: pd.DataFrame) -> Verdict:
    """Judge whether two attributes' sets of neurons share more or fewer neurons than chance: rows of ``overlap``."""
    median = float(rows["ratio"].median())
    # A tenth off chance is no more than the eye would call equal in a figure.
    return Verdict.MORE if median > 1.1 else Verdict.LESS if median < 0.9 else Verdict.SAME


def draw_deviations(draws: pd.DataFrame, exchangeable: bool) -> tuple[pd.Series, str]:
    """Measure how far each control mask's outcome lies from the mean of those that differ from it by chance alone.

    Parameters
    ----------
    draws : DataFrame
        Rows of ``control_draws`` of one control and k: attribute, value.
    exchangeable : bool
        Whether masks that were drawn for different attributes differ in chance alone.

    Returns
    -------
    deviations : Series
        Of float; empty where each mask is the only one of its kind. Masks drawn for an attribute are compared with
        others of that attribute; exchangeable ones, of which each attribute has a single one, with all.
    mean : str
        Which mean that is, in words.
    """
    value, each = draws["value"], draws.groupby("attribute")["value"]
    if len(each) > 1 and (each.size() > 1).all():
        return value - each.transform("mean"), "the mean of those drawn for the same attribute"
    if len(draws) > 1 and (exchangeable or len(each) == 1):
        return value - value.mean(), "their mean"
    return value.iloc[:0], ""
