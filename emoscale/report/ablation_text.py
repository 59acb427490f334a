"""What was lost without the neurons, in plain words and not a word more."""

from __future__ import annotations

import math
from collections.abc import Mapping

import pandas as pd

from emoscale.report.phrasing import count, interval, listing, number, probability, signed, statistic
from emoscale.report.study import ControlWords, OutcomeWords
from emoscale.report.verdicts import LEVEL, Verdict, direction, draw_deviations, side, specificity_side


def ablation_text(
    overall: pd.Series,
    by_attribute: pd.DataFrame,
    draws: pd.DataFrame,
    words: ControlWords,
    outcome: OutcomeWords,
    units: str,
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
    words : ControlWords
        Of the control.
    outcome : OutcomeWords
        What the drops are measured in.
    units : str
        What the intervals by attribute are over, in the plural.

    Returns
    -------
    list of str
        The verdict over all attributes, what else changed, the attributes one by one, and how far control masks differ
        among themselves (absent where chance cannot be separated from the attribute they were drawn for).
    """
    return [
        _pooled(overall, words, outcome),
        *_beside(overall, words.adjective, outcome),
        _one_by_one(by_attribute, words.adjective, outcome, units),
        *_for_scale(by_attribute, draws, words, outcome),
    ]


def _pooled(overall: pd.Series, words: ControlWords, outcome: OutcomeWords) -> str:
    k, n, drop = int(overall["k"]), int(overall["n"]), float(overall["drop"])
    selective = f"the {k:,} neurons most selective for an attribute"
    control = f"as many {words.neurons}"
    averages = f"averaged over attributes, over {count(n, 'concept')}"
    span = f"95% interval of the drop {interval(overall['ci_low'], overall['ci_high'], 3)}"
    size = f"{averages}; {span}, d = {number(overall['d'])}"
    where = side(overall)
    if where == Verdict.MORE:
        return (
            f"Switching off {selective} hurt the model more than switching off {control}: {outcome.noun} fell "
            f"{number(drop, 3)} further ({size})."
        )
    if where == Verdict.LESS:
        return (
            f"Switching off {selective} hurt the model less than switching off {control}, the opposite of what would "
            f"be expected if it needed them: {outcome.noun} stayed {number(-drop, 3)} higher ({size})."
        )
    if where == Verdict.UNCLEAR:
        return (
            f"Switching off {selective} was not clearly different from switching off {control}: {outcome.noun} came "
            f"out {number(abs(drop), 3)} {'lower' if drop > 0 else 'higher'} ({size}), but "
            f"{_doubt(overall, words.adjective)}, so a difference of this size may be due to which control neurons "
            f"were drawn."
        )
    if where == Verdict.SAME:
        return (
            f"Switching off {selective} was no different from switching off {control}: the drop in {outcome.label} was "
            f"{signed(drop, 3)} ({size}), and the interval includes zero. This is no proof that there is no "
            f"difference, only that one outside this interval is unlikely."
        )
    return (
        f"Switching off {selective} and switching off {control} differed by {signed(drop, 3)} in {outcome.label} "
        f"({averages}). The concepts do not vary enough to say how certain that is."
    )


def _beside(overall: pd.Series, adjective: str, outcome: OutcomeWords) -> list[str]:
    """Say what became of the accuracy, and how far the answers moved, where drops are measured in something else."""
    if outcome.is_accuracy:
        return []
    text = f"In accuracy the drop is {signed(overall['accuracy_drop'], 3)}"
    if math.isfinite(overall.get("kl_selective", math.nan)):
        text += (
            f"; the distribution of the answers is {number(overall['kl_selective'], 3)} nats (Kullback-Leibler) from "
            f"that without a mask after selective masks, and {number(overall['kl_control'], 3)} after {adjective} ones"
        )
    return [f"{text}."]


def _doubt(overall: pd.Series, adjective: str) -> str:
    masks, error = int(overall["random_masks"]), overall["random_error"]
    if math.isfinite(error):
        return (
            f"the {masks} {adjective} masks differ so much among themselves that their mean is known only to within "
            f"{number(error, 3)}"
        )
    each = " for each attribute" if masks > 1 else ""
    return f"only one {adjective} mask of this size was drawn{each}"


def _one_by_one(rows: pd.DataFrame, adjective: str, outcome: OutcomeWords, units: str) -> str:
    sides = pd.Series([direction(*ends) for ends in zip(rows["ci_low"], rows["ci_high"], strict=True)], dtype=object)
    names = rows["attribute"].to_numpy()
    below, above = list(names[sides == Verdict.MORE]), list(names[sides == Verdict.LESS])
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
        f"Taking the attributes one by one, {outcome.noun} after the selective mask was {' and '.join(parts)}, each by "
        f"more than {units} differ."
    )


def _for_scale(
    by_attribute: pd.DataFrame, draws: pd.DataFrame, words: ControlWords, outcome: OutcomeWords
) -> list[str]:
    away, mean = draw_deviations(draws, words.exchangeable)
    if away.empty:
        return []
    low, high, reach = draws["value"].min(), draws["value"].max(), away.abs().max()
    beyond = int((by_attribute["drop"] > reach).sum())
    return [
        f"For scale: single {words.adjective} masks of this size left {outcome.noun} between {number(low, 3)} and "
        f"{number(high, 3)}, up to {number(reach, 3)} from {mean}; the drop is larger than that for {beyond} of "
        f"{count(len(by_attribute), 'attribute')}."
    ]


def sizes_text(overall: pd.DataFrame, shown: int) -> str:
    """Say whether the other sizes of masks lead to the same verdict as the one shown.

    Parameters
    ----------
    overall : DataFrame
        ``drop_overall`` of one control: one row per k.
    shown : int
        The k that is described in full.

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
        Verdict.MORE: "hurt more",
        Verdict.LESS: "hurt less",
        Verdict.SAME: "were no different",
        Verdict.UNCLEAR: "were not clearly different",
        Verdict.UNTESTED: "could not be compared",
    }
    clauses = [
        f"{phrase} at {listing([f'{k:,}' for k, where in sides.items() if where == which])}"
        for which, phrase in phrases.items()
        if which in sides.values()
    ]
    return f"The sizes do not all agree: the selective masks {listing(clauses)} neurons."


def controls_text(rows: pd.DataFrame, controls: Mapping[str, ControlWords]) -> str:
    """Say whether the conclusion depends on what the selective masks are compared with.

    Parameters
    ----------
    rows : DataFrame
        ``drop_overall`` of one k: one row per control.
    controls : mapping of str to ControlWords
        By kind.

    Returns
    -------
    str
        One or two sentences; empty if there is only one control.
    """
    if len(rows) < 2:
        return ""
    phrases = {
        Verdict.MORE: "hurt more than",
        Verdict.LESS: "hurt less than",
        Verdict.SAME: "was no different from",
        Verdict.UNCLEAR: "was not clearly different from",
        Verdict.UNTESTED: "could not be compared with",
    }
    sides = [side(row) for _, row in rows.iterrows()]
    losses = [
        f"losing {controls[row['control']].neurons} (drop {number(row['drop'], 3)} "
        f"{interval(row['ci_low'], row['ci_high'], 3)})"
        for row in rows.to_dict("records")
    ]
    groups = {
        phrase: [text for text, where in zip(losses, sides, strict=True) if where == which]
        for which, phrase in phrases.items()
        if which in sides
    }
    found = listing([f"{phrase} {listing(texts)}" for phrase, texts in groups.items()])
    if len(groups) == 1:
        return f"The conclusion does not depend on the kind of control: losing selective neurons {found}."
    return (
        f"The conclusion depends on the kind of control: losing selective neurons {found}. Whether the controls "
        f"themselves differ was not tested."
    )


_CROSS_FITTED = " Each half of the questions was judged without the neurons that the other half chose."


def yardstick_text(rows: pd.DataFrame, controls: Mapping[str, ControlWords], outcome: OutcomeWords) -> list[str]:
    """Say how much more it costs to lose the neurons that matter most.

    Parameters
    ----------
    rows : DataFrame
        ``drop_overall`` of one k: one row per control whose neurons chance did not choose.
    controls, outcome
        As above.

    Returns
    -------
    list of str
        One sentence a row.
    """
    return [
        f"As a yardstick: after losing as many {controls[row['control']].neurons}, {outcome.noun} came out "
        f"{number(-row['drop'], 3)} {interval(-row['ci_high'], -row['ci_low'], 3)} lower than after losing the "
        f"selective ones.{_CROSS_FITTED if controls[row['control']].cross_fitted else ''}"
        for row in rows.to_dict("records")
    ]


def dose_text(rows: pd.DataFrame) -> list[str]:
    """Say whether the drop grows with the number of neurons.

    Parameters
    ----------
    rows : DataFrame
        ``dose_response`` of one control: attribute ("" is the mean over attributes), sizes, slope, ci_low, ci_high, t,
        df, p, d.

    Returns
    -------
    list of str
        All attributes together, then one by one; empty if there is only one size.
    """
    if not rows["sizes"].gt(1).any():
        return []
    pooled, single = rows[rows["attribute"] == ""].iloc[0], rows[rows["attribute"] != ""]
    where, slope = direction(pooled["ci_low"], pooled["ci_high"]), float(pooled["slope"])
    sizes = f"Over {count(int(pooled['sizes']), 'size')} of masks"
    if where == Verdict.UNTESTED:
        return [
            f"{sizes}, each doubling of the neurons switched off changed the drop by {signed(slope, 3)}; the concepts "
            f"do not vary enough to say how certain that is."
        ]
    test = (
        f"95% interval {interval(pooled['ci_low'], pooled['ci_high'], 3)}, t({int(pooled['df'])}) = "
        f"{statistic(pooled['t'])}, {probability(pooled['p'])}, d = {number(pooled['d'])}"
    )
    if where == Verdict.SAME:
        text = (
            f"{sizes}, the drop was not shown to depend on how many neurons are switched off: each doubling changed it "
            f"by {signed(slope, 3)} ({test}), and the interval includes zero."
        )
    else:
        text = (
            f"{sizes}, each doubling of the neurons switched off made the drop {number(abs(slope), 3)} "
            f"{'larger' if where == Verdict.MORE else 'smaller'} ({test})."
        )
    return [text, _doses_one_by_one(single)]


def _doses_one_by_one(rows: pd.DataFrame) -> str:
    parts = []
    for which, verb in ((Verdict.MORE, "grows"), (Verdict.LESS, "shrinks")):
        names = [row["attribute"] for _, row in rows.iterrows() if direction(row["ci_low"], row["ci_high"]) == which]
        if names:
            parts.append(f"{verb} for {len(names)} of {count(len(rows), 'attribute')} ({listing(names)})")
    found = " and ".join(parts) if parts else "neither grows nor shrinks clearly for any attribute"
    return (
        f"Taken one by one, it {found}. These intervals are over concepts and do not include what other draws of the "
        f"control masks would give."
    )


def specificity_text(summary: pd.Series) -> str:
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
    if where == Verdict.UNTESTED:
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
    if where in (Verdict.MORE, Verdict.LESS):
        name, verb = ("specific", "more") if where == Verdict.MORE else ("the opposite of specific", "less")
        text = (
            f"The losses are {name}: which concepts suffer most without an attribute’s neurons follows their scores "
            f"on that attribute {verb} than their scores on others. In numbers, {found}."
        )
    elif where == Verdict.SAME:
        text = (
            f"The losses were not shown to be specific: {found}. The interval includes zero: these data do not show "
            f"that the concepts an attribute describes best need its neurons most, nor do they rule it out."
        )
    else:
        text = f"Whether the losses are specific is not clear: {found}. {_specificity_doubt(summary)}."
    return f"{text} Attributes whose scores go together cannot be told apart in this way."


def _specificity_doubt(summary: pd.Series) -> str:
    if direction(summary["ci_low"], summary["ci_high"]) == Verdict.SAME:
        return "The permutations say so, but the interval includes zero"
    if summary["p"] < LEVEL:
        return "The interval excludes zero, but high scores do not go with large drops"
    return "The interval excludes zero, but the permutations leave it open"


def specificity_elsewhere(table: pd.DataFrame, k: int, control: str, controls: Mapping[str, ControlWords]) -> str:
    """Say whether masks of other sizes, and other controls, lead to the same verdict on specificity.

    Parameters
    ----------
    table : DataFrame
        ``specificity_summary``.
    k : int
    control : str
        The size and the control that are described in full.
    controls : mapping of str to ControlWords
        By kind.

    Returns
    -------
    str
        One or two sentences; empty if there are no others.
    """
    sides, here = {}, Verdict.UNTESTED
    for _, row in table.iterrows():
        where = specificity_side(row)
        if row["k"] == k and row["control"] == control:
            here = where
        elif row["control"] == control:
            sides[f"at {row['k']:,} neurons"] = where
        elif row["k"] == k:
            sides[f"against {controls[row['control']].neurons}"] = where
    if not sides:
        return ""
    if set(sides.values()) == {here}:
        return f"It is the same {listing(list(sides))}."
    phrases = {
        Verdict.MORE: "specific",
        Verdict.SAME: "not shown to be specific",
        Verdict.LESS: "the opposite of specific",
        Verdict.UNCLEAR: "not clearly specific",
        Verdict.UNTESTED: "not tested",
    }
    clauses = [
        f"{phrase} {listing([place for place, where in sides.items() if where == which])}"
        for which, phrase in phrases.items()
        if which in sides.values()
    ]
    return f"It is not the same throughout: the losses are {listing(clauses)}. One of several can stand out by chance."
