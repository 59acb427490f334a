"""Whether what matters to people matters to the model, in plain words and not a word more."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from emoscale.report.findings import Findings
from emoscale.report.phrasing import count, interval, listing, number, probability, statistic
from emoscale.report.study import ControlWords
from emoscale.report.verdicts import Verdict, direction


def agreement_text(within: pd.Series, over: pd.Series) -> str:
    """Say whether what matters to people matters to the model, for masks of one size and kind of control.

    Parameters
    ----------
    within : Series
        One row of ``human_comparison``: correlations within concepts.
    over : Series
        The row of ``mean_drop_correlation`` for the same control and k: one correlation over attributes.

    Returns
    -------
    str
        Two sentences.
    """
    where = direction(within["ci_low"], within["ci_high"])
    if where == Verdict.UNTESTED:
        return (
            f"Whether the attributes that matter most to people are those whose neurons matter most to the model could "
            f"not be tested: {count(int(within['concepts']), 'concept')} had a correlation that is defined and varies."
        )
    test = (
        f"mean correlation within a concept r = {number(within['mean_r'])}, 95% interval "
        f"{interval(within['ci_low'], within['ci_high'])}, t({int(within['df'])}) = {statistic(within['t'])}, "
        f"{probability(within['p'])}"
    )
    if where == Verdict.SAME:
        return (
            f"How much an attribute matters to people did not predict how much the model lost with that attribute’s "
            f"neurons ({test}). The interval includes zero, so these data show no agreement with people, nor do they "
            f"rule it out."
        )
    trend = "the more" if where == Verdict.MORE else "the less"
    opposite = "" if where == Verdict.MORE else ", the opposite of agreement with people"
    return (
        f"The more an attribute matters in people’s own space of these concepts, {trend} the model lost with that "
        f"attribute’s neurons{opposite} ({test}). {_over_attributes(over)}"
    )


def _over_attributes(over: pd.Series) -> str:
    few = int(over["attributes"])
    text = f"As all concepts met the same masks, the {few} attributes’ mean drops are the stricter test"
    span = f"95% interval {interval(over['ci_low'], over['ci_high'])}"
    result = f"r = {number(over['r'])}, {span}, {probability(over['p'])}"
    if over["p"] < 0.05:
        return f"{text}: they agree ({result})."
    return f"{text}: they leave it open ({result}); with so few attributes it can be chance."


def agreement_by_control(rows: pd.DataFrame, controls: Mapping[str, ControlWords]) -> str:
    """Say whether the agreement with people depends on what the selective masks are compared with.

    Parameters
    ----------
    rows : DataFrame
        ``human_comparison`` of one k: one row per control.
    controls : mapping of str to ControlWords
        By kind.

    Returns
    -------
    str
        One sentence; empty if there is only one control.
    """
    if len(rows) < 2:
        return ""
    sides = {direction(row["ci_low"], row["ci_high"]) for _, row in rows.iterrows()}
    means = [
        f"{number(row['mean_r'])} {interval(row['ci_low'], row['ci_high'])} against {controls[row['control']].neurons}"
        for row in rows.to_dict("records")
    ]
    verb = "does not depend" if len(sides) == 1 else "depends"
    return f"The conclusion about people {verb} on the kind of control: the mean correlation is {listing(means)}."


def people_text(findings: Findings) -> list[str]:
    """Say how the model's losses compare with what matters to people."""
    if not findings.has_people:
        return []
    within = findings.at_k("human_comparison").iloc[0]
    over = findings.at_k("mean_drop_correlation").iloc[0]
    comparison = findings.of_drawn("human_comparison")
    by_control = agreement_by_control(comparison[comparison["k"] == findings.k], findings.study.controls)
    return [agreement_text(within, over), by_control]
