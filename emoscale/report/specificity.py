"""Whether the losses are specific to the concepts that an attribute describes, in plain words and not a word more."""

from __future__ import annotations

import pandas as pd

from emoscale.report.controls import control_neurons
from emoscale.report.phrasing import count, interval, listing, number, probability, signed
from emoscale.report.verdicts import LESS, MORE, SAME, UNCLEAR, UNTESTED, direction

_LEVEL = 0.05


def specificity_verdict(summary: pd.Series) -> str:
    """Say whether which concepts suffer from a mask follows their scores on its own attribute more than on others.

    Parameters
    ----------
    summary : Series
        One row of ``specificity_summary``: own, other, difference, ci_low, ci_high, p (one-sided: own is
        greater), attributes.

    Returns
    -------
    str
        Two sentences.
    """
    where = specificity_side(summary)
    if where == UNTESTED:
        return (
            "Whether losing an attribute’s neurons harms most the concepts that score high on it could not be tested: "
            "there are too few concepts or attributes, or they do not vary."
        )
    found = (
        f"averaged over {count(int(summary['attributes']), 'attribute')}, the concepts’ drops correlate with their "
        f"scores on the attribute whose neurons are off with r = {number(summary['own'])}, and with their scores on "
        f"another with r = {number(summary['other'])} (difference {signed(summary['difference'])}, 95% interval "
        f"{interval(summary['ci_low'], summary['ci_high'])}; {probability(summary['p'])}, one-sided, by "
        f"permuting the concepts)"
    )
    if where in (MORE, LESS):
        name, verb = ("specific", "more") if where == MORE else ("the opposite of specific", "less")
        told = (
            f"The losses are {name}: which concepts suffer most without an attribute’s neurons follows their scores "
            f"on that attribute {verb} than their scores on others. In numbers, {found}."
        )
    elif where == SAME:
        told = (
            f"The losses were not shown to be specific: {found}. The interval includes zero: these data do not show "
            f"that the concepts an attribute describes best need its neurons most, nor do they rule it out."
        )
    else:
        told = f"Whether the losses are specific is not clear: {found}. {_doubt(summary)}."
    return f"{told} Attributes whose scores go together cannot be told apart in this way."


def _doubt(summary: pd.Series) -> str:
    if direction(summary["ci_low"], summary["ci_high"]) == SAME:
        return "The permutations say so, but the interval includes zero"
    if summary["p"] < _LEVEL:
        return "The interval excludes zero, but high scores do not go with large drops"
    return "The interval excludes zero, but the permutations leave it open"


def specificity_side(summary: pd.Series) -> str:
    """Say on which side the evidence for specific losses lies.

    Parameters
    ----------
    summary : Series
        One row of ``specificity_summary``: own, ci_low, ci_high, p (one-sided: own is greater).

    Returns
    -------
    str
        `MORE` (specific), `LESS` (the opposite), `SAME` (not shown), `UNCLEAR` (interval and permutations disagree, or
        the correlation with an attribute's own scores is not even positive) or `UNTESTED`.
    """
    where = direction(summary["ci_low"], summary["ci_high"])
    if where == MORE:
        return MORE if summary["p"] < _LEVEL and summary["own"] > 0 else UNCLEAR
    if where == LESS:
        return LESS if summary["p"] > 1 - _LEVEL else UNCLEAR
    return UNCLEAR if where == SAME and summary["p"] < _LEVEL else where


def specificity_elsewhere(table: pd.DataFrame, k: int, control: str) -> str:
    """Say whether masks of other sizes, and other controls, tell the same of specificity.

    Parameters
    ----------
    table : DataFrame
        ``specificity_summary``.
    k : int
    control : str
        The size and the control that are told in full.

    Returns
    -------
    str
        One or two sentences; empty if there are no others.
    """
    sides, here = {}, ""
    for _, row in table.iterrows():
        where = specificity_side(row)
        if row["k"] == k and row["control"] == control:
            here = where
        elif row["control"] == control:
            sides[f"at {row['k']:,} neurons"] = where
        elif row["k"] == k:
            sides[f"against {control_neurons(row['control'])}"] = where
    if not sides:
        return ""
    if set(sides.values()) == {here}:
        return f"It is the same {listing(list(sides))}."
    phrases = {
        MORE: "specific",
        SAME: "not shown to be specific",
        LESS: "the opposite of specific",
        UNCLEAR: "not clearly specific",
        UNTESTED: "not tested",
    }
    told = [
        f"{phrase} {listing([place for place, where in sides.items() if where == which])}"
        for which, phrase in phrases.items()
        if which in sides.values()
    ]
    return f"It is not the same throughout: the losses are {listing(told)}. One of several can stand out by chance."
