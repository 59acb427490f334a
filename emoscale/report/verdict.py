"""What the intervals allow to be said, in plain words and not a word more."""

from __future__ import annotations

import math

import pandas as pd
from scipy import stats

from emoscale.report.wording import count, interval, listing, number, probability, signed, statistic

MORE, LESS, SAME, UNTESTED = "more", "less", "no different", "untested"


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


def ablation_verdict(overall: pd.Series, by_attribute: pd.DataFrame, draws: pd.DataFrame) -> list[str]:
    """Say whether the selective masks of one size hurt more than random ones.

    Parameters
    ----------
    overall : Series
        One row of ``drop_overall``: k, n, drop, ci_low, ci_high, d.
    by_attribute : DataFrame
        The rows of ``drop_by_attribute`` for that k.
    draws : DataFrame
        The rows of ``random_draws`` for that k.

    Returns
    -------
    list of str
        The pooled difference (with a doubt where the spread of the random masks leaves one), the attributes one by
        one, the random masks for scale.
    """
    return [_pooled(overall) + _doubt(overall, draws), _one_by_one(by_attribute), *_for_scale(by_attribute, draws)]


def _doubt(overall: pd.Series, draws: pd.DataFrame) -> str:
    if direction(overall["ci_low"], overall["ci_high"]) not in (MORE, LESS):
        return ""
    # The interval is over concepts; all of them share the same few random masks.
    if len(draws) < 2:
        return (
            " But only one random mask of this size was drawn, so this difference may be due to which random neurons "
            "it happened to hold."
        )
    half = float(stats.t.ppf(0.975, len(draws) - 1) * draws["accuracy"].std() / math.sqrt(len(draws)))
    if abs(overall["drop"]) > half:
        return ""
    return (
        f" But the {len(draws)} random masks of this size differ among themselves so much that their mean is only known "
        f"to within {number(half, 3)} (95%), so a difference this small may be due to which random neurons were drawn."
    )


def _pooled(overall: pd.Series) -> str:
    k, n, drop = int(overall["k"]), int(overall["n"]), float(overall["drop"])
    selective, random = f"the {k:,} neurons most selective for an attribute", "as many neurons chosen at random"
    where = direction(overall["ci_low"], overall["ci_high"])
    span = interval(overall["ci_low"], overall["ci_high"], 3)
    averages = f"averaged over attributes, over {count(n, 'concept')}"
    if where == MORE:
        return (
            f"Switching off {selective} hurt the model more than switching off {random}: accuracy fell "
            f"{number(drop, 3)} further ({averages}; 95% interval {span}, d = {number(overall['d'])})."
        )
    if where == LESS:
        return (
            f"Switching off {selective} hurt the model less than switching off {random}, the opposite of what would be "
            f"expected if it needed them: accuracy stayed {number(-drop, 3)} higher ({averages}; 95% interval of "
            f"the drop {span}, d = {number(overall['d'])})."
        )
    if where == SAME:
        return (
            f"Switching off {selective} was no different from switching off {random}: the difference in accuracy was "
            f"{signed(drop, 3)} ({averages}), and its 95% interval, {span}, includes zero. This is no proof that "
            f"there is no difference, only that one outside this interval is unlikely."
        )
    return (
        f"Switching off {selective} and switching off {random} differed by {signed(drop, 3)} in accuracy ({averages}). "
        f"The concepts do not vary enough to say how certain that is."
    )


def _one_by_one(rows: pd.DataFrame) -> str:
    sides = pd.Series([direction(*ends) for ends in zip(rows["ci_low"], rows["ci_high"], strict=True)], dtype=object)
    names = rows["attribute"].to_numpy()
    more, less = list(names[sides == MORE]), list(names[sides == LESS])
    if not more and not less:
        return "No attribute stands out when they are taken one by one."
    parts = [
        f"{word} than random ones for {len(names)} of {len(rows)} ({listing(names)})"
        for word, names in (("more", more), ("less", less))
        if names
    ]
    rest = len(rows) - len(more) - len(less)
    tail = f"; for {rest} no difference can be told from these data" if rest else ""
    return f"Taking the attributes one by one, the selective masks hurt {' and '.join(parts)}{tail}."


def _for_scale(by_attribute: pd.DataFrame, draws: pd.DataFrame) -> list[str]:
    if len(draws) < 2:
        return []
    low, high = draws["accuracy"].min(), draws["accuracy"].max()
    reach = max(high - draws["accuracy"].mean(), draws["accuracy"].mean() - low)
    beyond = int((by_attribute["drop"] > reach).sum())
    return [
        f"For scale: the {len(draws)} random masks of this size left accuracies between {number(low, 3)} and "
        f"{number(high, 3)}, up to {number(reach, 3)} from their mean; the drop is larger than that for {beyond} of "
        f"{count(len(by_attribute), 'attribute')}."
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
    sides = {int(row["k"]): direction(row["ci_low"], row["ci_high"]) for row in overall.to_dict("records")}
    here = sides.pop(shown)
    if not sides:
        return ""
    if set(sides.values()) == {here}:
        return "The other sizes of masks tell the same."
    phrases = {MORE: "hurt more", LESS: "hurt less", SAME: "made no difference", UNTESTED: "could not be compared"}
    told = [
        f"{phrase} at {listing([f'{k:,}' for k, side in sides.items() if side == which])}"
        for which, phrase in phrases.items()
        if which in sides.values()
    ]
    return f"The sizes do not all agree: the selective masks {listing(told)} neurons."


def human_verdict(row: pd.Series) -> str:
    """Say whether what matters to people matters to the model, for masks of one size.

    Parameters
    ----------
    row : Series
        One row of ``human_comparison``.

    Returns
    -------
    str
        One or two sentences.
    """
    r, concepts = float(row["mean_r"]), int(row["concepts"])
    where = direction(row["ci_low"], row["ci_high"])
    if where == UNTESTED:
        return (
            f"Whether the attributes that matter most to people are those whose neurons matter most to the model could "
            f"not be tested: {count(concepts, 'concept')} had a correlation that is defined and varies."
        )
    test = (
        f"mean correlation within a concept r = {number(r)}, 95% interval {interval(row['ci_low'], row['ci_high'])}, "
        f"t({int(row['df'])}) = {statistic(row['t'])}, {probability(row['p'])}"
    )
    if where == MORE:
        return (
            f"The more an attribute matters in people’s own space of these concepts, the more the model lost with that "
            f"attribute’s neurons ({test})."
        )
    if where == LESS:
        return (
            f"The more an attribute matters in people’s own space of these concepts, the less the model lost with that "
            f"attribute’s neurons ({test}): the opposite of agreement with people."
        )
    return (
        f"How much an attribute matters to people did not predict how much the model lost with that attribute’s "
        f"neurons ({test}). The interval includes zero, so these data show no agreement with people, nor do "
        f"they rule it out."
    )


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
