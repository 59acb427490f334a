"""What the drop depends on: the number of neurons and the kind of control."""

from __future__ import annotations

import pandas as pd

from emoscale.report.controls import control_neurons
from emoscale.report.phrasing import count, interval, listing, number, probability, signed, statistic
from emoscale.report.verdicts import LESS, MORE, SAME, UNCLEAR, UNTESTED, direction, side


def sizes_verdict(overall: pd.DataFrame, shown: int) -> str:
    """Say whether the other sizes of masks tell the same as the one shown.

    Parameters
    ----------
    overall : DataFrame
        ``drop_overall`` of one control: one row per k.
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


def controls_verdict(rows: pd.DataFrame) -> str:
    """Say whether the conclusion depends on what the selective masks are compared with.

    Parameters
    ----------
    rows : DataFrame
        ``drop_overall`` of one k: one row per control.

    Returns
    -------
    str
        One or two sentences; empty if there is only one control.
    """
    if len(rows) < 2:
        return ""
    phrases = {
        MORE: "hurt more than",
        LESS: "hurt less than",
        SAME: "was no different from",
        UNCLEAR: "was not clearly different from",
        UNTESTED: "could not be compared with",
    }
    sides = [side(row) for _, row in rows.iterrows()]
    told = [
        f"losing {control_neurons(row['control'])} (drop {number(row['drop'], 3)} "
        f"{interval(row['ci_low'], row['ci_high'], 3)})"
        for row in rows.to_dict("records")
    ]
    groups = {
        phrase: [text for text, where in zip(told, sides, strict=True) if where == which]
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


def dose_verdict(rows: pd.DataFrame) -> list[str]:
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
    if where == UNTESTED:
        return [
            f"{sizes}, each doubling of the neurons switched off changed the drop by {signed(slope, 3)}; the concepts "
            f"do not vary enough to say how certain that is."
        ]
    test = (
        f"95% interval {interval(pooled['ci_low'], pooled['ci_high'], 3)}, t({int(pooled['df'])}) = "
        f"{statistic(pooled['t'])}, {probability(pooled['p'])}, d = {number(pooled['d'])}"
    )
    if where == SAME:
        told = (
            f"{sizes}, the drop was not shown to depend on how many neurons are switched off: each doubling changed it "
            f"by {signed(slope, 3)} ({test}), and the interval includes zero."
        )
    else:
        told = (
            f"{sizes}, each doubling of the neurons switched off made the drop {number(abs(slope), 3)} "
            f"{'larger' if where == MORE else 'smaller'} ({test})."
        )
    return [told, _doses_one_by_one(single)]


def _doses_one_by_one(rows: pd.DataFrame) -> str:
    parts = []
    for which, verb in ((MORE, "grows"), (LESS, "shrinks")):
        names = [row["attribute"] for _, row in rows.iterrows() if direction(row["ci_low"], row["ci_high"]) == which]
        if names:
            parts.append(f"{verb} for {len(names)} of {count(len(rows), 'attribute')} ({listing(names)})")
    told = " and ".join(parts) if parts else "neither grows nor shrinks clearly for any attribute"
    return (
        f"Taken one by one, it {told}. These intervals are over concepts and do not include what other draws of the "
        f"control masks would give."
    )
