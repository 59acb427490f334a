"""What the intervals allow to be said, in plain words and not a word more."""

from __future__ import annotations

import math

import pandas as pd

from emoscale.report.wording import count, interval, listing, number, probability, signed, statistic

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
    """Say whether the selective masks of one size hurt more than the random ones.

    Parameters
    ----------
    overall : Series
        One row of ``drop_overall``.

    Returns
    -------
    str
        Like `direction`, but `UNCLEAR` where the interval over concepts excludes 0 and yet the drop is within what the
        draw of the random masks, the same for all concepts, leaves open.
    """
    where = direction(overall["ci_low"], overall["ci_high"])
    settled = abs(overall["drop"]) > overall["random_error"]  # not so for NaN: a single random mask
    return UNCLEAR if where in (MORE, LESS) and not settled else where


def ablation_verdict(overall: pd.Series, by_attribute: pd.DataFrame, draws: pd.DataFrame) -> list[str]:
    """Say what the selective masks of one size did that random ones did not.

    Parameters
    ----------
    overall : Series
        One row of ``drop_overall``: k, n, drop, ci_low, ci_high, d, random_masks, random_error.
    by_attribute : DataFrame
        The rows of ``drop_by_attribute`` for that k.
    draws : DataFrame
        The rows of ``random_draws`` for that k.

    Returns
    -------
    list of str
        The verdict over all attributes, the attributes one by one, and how far random masks differ among themselves
        (left out if there is a single one).
    """
    return [_pooled(overall), _one_by_one(by_attribute), *_for_scale(by_attribute, draws)]


def _pooled(overall: pd.Series) -> str:
    k, n, drop, error = int(overall["k"]), int(overall["n"]), float(overall["drop"]), float(overall["random_error"])
    selective, random = f"the {k:,} neurons most selective for an attribute", "as many neurons chosen at random"
    averages = f"averaged over attributes, over {count(n, 'concept')}"
    span = f"95% interval of the drop {interval(overall['ci_low'], overall['ci_high'], 3)}"
    size = f"{averages}; {span}, d = {number(overall['d'])}"
    where = side(overall)
    if where == MORE:
        return (
            f"Switching off {selective} hurt the model more than switching off {random}: accuracy fell "
            f"{number(drop, 3)} further ({size})."
        )
    if where == LESS:
        return (
            f"Switching off {selective} hurt the model less than switching off {random}, the opposite of what would be "
            f"expected if it needed them: accuracy stayed {number(-drop, 3)} higher ({size})."
        )
    if where == UNCLEAR:
        masks = int(overall["random_masks"])
        doubt = (
            f"the {masks} random masks differ so much among themselves that their mean is known only to within "
            f"{number(error, 3)}"
            if masks > 1
            else "only one random mask of this size was drawn"
        )
        return (
            f"Switching off {selective} was not clearly different from switching off {random}: accuracy was "
            f"{number(abs(drop), 3)} {'lower' if drop > 0 else 'higher'} ({size}), but {doubt}, so a difference of "
            f"this size may be due to which random neurons were drawn."
        )
    if where == SAME:
        return (
            f"Switching off {selective} was no different from switching off {random}: the drop in accuracy was "
            f"{signed(drop, 3)} ({size}), and the interval includes zero. This is no proof that there is no "
            f"difference, only that one outside this interval is unlikely."
        )
    return (
        f"Switching off {selective} and switching off {random} differed by {signed(drop, 3)} in accuracy ({averages}). "
        f"The concepts do not vary enough to say how certain that is."
    )


def _one_by_one(rows: pd.DataFrame) -> str:
    sides = pd.Series([direction(*ends) for ends in zip(rows["ci_low"], rows["ci_high"], strict=True)], dtype=object)
    names = rows["attribute"].to_numpy()
    below, above = list(names[sides == MORE]), list(names[sides == LESS])
    if not below and not above:
        return "No attribute stands out when they are taken one by one."
    parts = [
        f"{word} for {len(those)} of {len(rows)} ({listing(those)})"
        for word, those in (("below that after random masks", below), ("above it" if below else "above that", above))
        if those
    ]
    return (
        f"Taking the attributes one by one, accuracy after the selective mask was {' and '.join(parts)}, each by more "
        f"than prompts differ."
    )


def _for_scale(by_attribute: pd.DataFrame, draws: pd.DataFrame) -> list[str]:
    if len(draws) < 2:
        return []
    low, high = draws["accuracy"].min(), draws["accuracy"].max()
    reach = max(high - draws["accuracy"].mean(), draws["accuracy"].mean() - low)
    beyond = int((by_attribute["drop"] > reach).sum())
    return [
        f"For scale: single random masks of this size left accuracies between {number(low, 3)} and {number(high, 3)}, "
        f"up to {number(reach, 3)} from their mean; {beyond} of {count(len(by_attribute), 'attribute')} lie further "
        f"below that mean."
    ]


def sizes_verdict(overall: pd.DataFrame, shown: int) -> str:
    """Say whether the other sizes of masks tell the same as the one shown.

    Parameters
    ----------
    overall : DataFrame
        ``drop_overall``: one row per k.
    shown : int
        The k that is told in full.

    Returns
    -------
    str
        One sentence; empty if there is only one size.
    """
    sides = {int(row["k"]): side(row) for _, row in overall.iterrows()}
    here = sides.pop(shown)
    if not sides:
        return ""
    if set(sides.values()) == {here}:
        return "The other sizes of masks tell the same."
    phrases = {
        MORE: "hurt more",
        LESS: "hurt less",
        SAME: "were no different",
        UNCLEAR: "were not clearly different",
        UNTESTED: "could not be compared",
    }
    told = [
        f"{phrase} at {listing([f'{k:,}' for k, where in sides.items() if where == which])}"
        for which, phrase in phrases.items()
        if which in sides.values()
    ]
    return f"The sizes do not all agree: the selective masks {listing(told)} neurons."


def human_verdict(within: pd.Series, over: pd.Series) -> str:
    """Say whether what matters to people matters to the model, for masks of one size.

    Parameters
    ----------
    within : Series
        One row of ``human_comparison``: correlations within concepts.
    over : Series
        The row of ``mean_drop_correlation`` for the same k: one correlation over attributes.

    Returns
    -------
    str
        Two sentences.
    """
    where = direction(within["ci_low"], within["ci_high"])
    if where == UNTESTED:
        return (
            f"Whether the attributes that matter most to people are those whose neurons matter most to the model could "
            f"not be tested: {count(int(within['concepts']), 'concept')} had a correlation that is defined and varies."
        )
    test = (
        f"mean correlation within a concept r = {number(within['mean_r'])}, 95% interval "
        f"{interval(within['ci_low'], within['ci_high'])}, t({int(within['df'])}) = {statistic(within['t'])}, "
        f"{probability(within['p'])}"
    )
    if where == SAME:
        return (
            f"How much an attribute matters to people did not predict how much the model lost with that attribute’s "
            f"neurons ({test}). The interval includes zero, so these data show no agreement with people, nor do they "
            f"rule it out."
        )
    trend = "the more" if where == MORE else "the less"
    opposite = "" if where == MORE else ", the opposite of agreement with people"
    return (
        f"The more an attribute matters in people’s own space of these concepts, {trend} the model lost with that "
        f"attribute’s neurons{opposite} ({test}). {_over_attributes(over)}"
    )


def _over_attributes(over: pd.Series) -> str:
    few = int(over["attributes"])
    told = f"As all concepts met the same masks, the {few} attributes’ mean drops are the stricter test"
    result = f"r = {number(over['r'])}, {probability(over['p'])}"
    if over["p"] < 0.05:
        return f"{told}: they agree ({result})."
    return f"{told}: they leave it open ({result}); with so few attributes it can be chance."


def overlap_verdict(rows: pd.DataFrame) -> str:
    """Say whether the attributes' sets of neurons are separate.

    Parameters
    ----------
    rows : DataFrame
        The rows of ``overlap`` for one k.

    Returns
    -------
    str
        Two sentences; empty if there is only one attribute.
    """
    if rows.empty:
        return ""
    median = float(rows["ratio"].median())
    most = rows.sort_values("ratio", kind="stable").iloc[-1]
    k, shared = int(most["k"]), int(most["shared"])
    # A tenth off chance is no more than the eye would call equal in a figure.
    verb = "share more neurons than" if median > 1.1 else "share fewer neurons than" if median < 0.9 else "overlap like"
    above = int((rows["ratio"] > 1).sum())
    return (
        f"The sets of the {k:,} most selective neurons of two attributes typically {verb} two sets drawn at random "
        f"(median {median:.1f} times chance; above chance for {above} of {len(rows)} pairs). The pair with most in "
        f"common is {most['attribute_1']} and {most['attribute_2']}, with {count(shared, 'neuron')} "
        f"({shared / k:.0%} of each set)."
    )
