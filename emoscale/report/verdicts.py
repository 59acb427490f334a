"""What the intervals allow to be said, in plain words and not a word more."""

from __future__ import annotations

import math

import pandas as pd

from emoscale.report.controls import control_adjective, control_neurons, draw_deviations
from emoscale.report.phrasing import count, interval, listing, number, signed

MORE, LESS, SAME, UNCLEAR, UNTESTED = "more", "less", "same", "unclear", "untested"


def direction(low: float, high: float) -> str:
    """Say on which side of 0 an interval lies.

    Parameters
    ----------
    low, high : float
        NaN if the interval is not defined.

    Returns
    -------
    str
        `MORE` (all above 0), `LESS` (all below), `SAME` (holds 0) or `UNTESTED`.
    """
    if not (math.isfinite(low) and math.isfinite(high)):
        return UNTESTED
    return MORE if low > 0 else LESS if high < 0 else SAME


def side(overall: pd.Series) -> str:
    """Say whether the selective masks of one size hurt more than the control masks.

    Parameters
    ----------
    overall : Series
        One row of ``drop_overall``.

    Returns
    -------
    str
        Like `direction`, but `UNCLEAR` where the interval over concepts excludes 0 and yet the drop is within what the
        draw of the control masks, the same for all concepts, leaves open.
    """
    where = direction(overall["ci_low"], overall["ci_high"])
    settled = abs(overall["drop"]) > overall["random_error"]  # not so for NaN: a single control mask
    return UNCLEAR if where in (MORE, LESS) and not settled else where


def ablation_verdict(
    overall: pd.Series, by_attribute: pd.DataFrame, draws: pd.DataFrame, units: str = "prompts"
) -> list[str]:
    """Say what the selective masks of one size did that control masks of one kind did not.

    Parameters
    ----------
    overall : Series
        One row of ``drop_overall``: control, k, n, drop, ci_low, ci_high, d, random_masks, random_error.
    by_attribute : DataFrame
        The rows of ``drop_by_attribute`` for that control and k.
    draws : DataFrame
        The rows of ``control_draws`` for that control and k.
    units : str
        What the intervals by attribute are over: see `emoscale.report.findings.Findings.units`.

    Returns
    -------
    list of str
        The verdict over all attributes, the attributes one by one, and how far control masks differ among themselves
        (left out where chance cannot be told from the attribute they were drawn for).
    """
    adjective = control_adjective(overall["control"])
    return [_pooled(overall), _one_by_one(by_attribute, adjective, units), *_for_scale(by_attribute, draws, adjective)]


def _pooled(overall: pd.Series) -> str:
    k, n, drop = int(overall["k"]), int(overall["n"]), float(overall["drop"])
    selective = f"the {k:,} neurons most selective for an attribute"
    control = f"as many {control_neurons(overall['control'])}"
    averages = f"averaged over attributes, over {count(n, 'concept')}"
    span = f"95% interval of the drop {interval(overall['ci_low'], overall['ci_high'], 3)}"
    size = f"{averages}; {span}, d = {number(overall['d'])}"
    where = side(overall)
    if where == MORE:
        return (
            f"Switching off {selective} hurt the model more than switching off {control}: accuracy fell "
            f"{number(drop, 3)} further ({size})."
        )
    if where == LESS:
        return (
            f"Switching off {selective} hurt the model less than switching off {control}, the opposite of what would "
            f"be expected if it needed them: accuracy stayed {number(-drop, 3)} higher ({size})."
        )
    if where == UNCLEAR:
        return (
            f"Switching off {selective} was not clearly different from switching off {control}: accuracy was "
            f"{number(abs(drop), 3)} {'lower' if drop > 0 else 'higher'} ({size}), but {_doubt(overall)}, so a "
            f"difference of this size may be due to which control neurons were drawn."
        )
    if where == SAME:
        return (
            f"Switching off {selective} was no different from switching off {control}: the drop in accuracy was "
            f"{signed(drop, 3)} ({size}), and the interval includes zero. This is no proof that there is no "
            f"difference, only that one outside this interval is unlikely."
        )
    return (
        f"Switching off {selective} and switching off {control} differed by {signed(drop, 3)} in accuracy "
        f"({averages}). The concepts do not vary enough to say how certain that is."
    )


def _doubt(overall: pd.Series) -> str:
    masks, error, adjective = (
        int(overall["random_masks"]),
        overall["random_error"],
        control_adjective(overall["control"]),
    )
    if math.isfinite(error):
        return (
            f"the {masks} {adjective} masks differ so much among themselves that their mean is known only to within "
            f"{number(error, 3)}"
        )
    each = " for each attribute" if masks > 1 else ""
    return f"only one {adjective} mask of this size was drawn{each}"


def _one_by_one(rows: pd.DataFrame, adjective: str, units: str) -> str:
    sides = pd.Series([direction(*ends) for ends in zip(rows["ci_low"], rows["ci_high"], strict=True)], dtype=object)
    names = rows["attribute"].to_numpy()
    below, above = list(names[sides == MORE]), list(names[sides == LESS])
    if not below and not above:
        return "No attribute stands out when they are taken one by one."
    parts = [
        f"{word} for {len(those)} of {len(rows)} ({listing(those)})"
        for word, those in (
            (f"below that after {adjective} masks", below),
            ("above it" if below else "above that", above),
        )
        if those
    ]
    return (
        f"Taking the attributes one by one, accuracy after the selective mask was {' and '.join(parts)}, each by more "
        f"than {units} differ."
    )


def _for_scale(by_attribute: pd.DataFrame, draws: pd.DataFrame, adjective: str) -> list[str]:
    away, mean = draw_deviations(draws)
    if away.empty:
        return []
    low, high, reach = draws["accuracy"].min(), draws["accuracy"].max(), away.abs().max()
    beyond = int((by_attribute["drop"] > reach).sum())
    return [
        f"For scale: single {adjective} masks of this size left accuracies between {number(low, 3)} and "
        f"{number(high, 3)}, up to {number(reach, 3)} from {mean}; the drop is larger than that for {beyond} of "
        f"{count(len(by_attribute), 'attribute')}."
    ]
