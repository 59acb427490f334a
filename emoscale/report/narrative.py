"""The report's findings in sentences, section by section."""

from __future__ import annotations

import pandas as pd

from emoscale.report.agreement import agreement_by_control, human_verdict, mixed_verdict
from emoscale.report.dependence import controls_verdict, dose_verdict, sizes_verdict
from emoscale.report.evidence import criterion, inferences_told, overlap_verdict
from emoscale.report.findings import Findings
from emoscale.report.phrasing import count, interval, listing, number
from emoscale.report.specificity import specificity_elsewhere, specificity_verdict
from emoscale.report.verdicts import ablation_verdict
from emoscale.tasks.normalization import NONE, PER_CHARACTER, PER_TOKEN

_TOP = 3


def prompts_told(findings: Findings) -> list[str]:
    """Say how well the model infers the concepts before anything is switched off."""
    prompts = findings.prompts
    means = prompts.groupby("concept")["accuracy"].mean().sort_values(ascending=False)
    replicates = prompts["replicate"].nunique()
    told = [f"{concept} ({number(value)})" for concept, value in means.items()]
    ends = min(3, len(told) // 2)
    each = f"({count(len(means), 'concept')}, {count(replicates, 'replicate')} each)"
    right = f"right in {number(prompts['accuracy'].mean())} of cases on average, where guessing gives"
    sentences = [
        f"On texts that were held out of training, the {count(len(prompts), 'prompt')} {each} are {right} "
        f"{number(findings.chance)}."
        if findings.learned_prompts
        else f"On the questions about the concepts {each}, the model is {right} {number(findings.chance)}.",
        f"The easiest: {listing(told[:ends])}; the hardest: {listing(told[: -ends - 1 : -1])}.",
    ]
    sentences += choice_told(findings.choice)
    if weak := means[means <= findings.chance + 0.05].index.tolist():
        sentences.append(
            f"For {listing(weak)} the model is hardly better than guessing; what masks do to "
            f"{'it' if len(weak) == 1 else 'them'} says little."
        )
    return sentences


_SCORINGS = {
    NONE: "log probability",
    PER_TOKEN: "that for each of its tokens",
    PER_CHARACTER: "that for each of its characters",
}


def choice_told(choice: pd.DataFrame) -> list[str]:
    """Say how often the right concept had the highest score, or one of the three highest, before anything is edited.

    Parameters
    ----------
    choice : DataFrame
        ``choice``; may be without rows.

    Returns
    -------
    list of str
        A sentence, or none.
    """
    rows = choice[choice["kind"] == "none"].to_dict("records")
    if not rows:
        return []
    told = [
        f"in {number(row['accuracy'])} {interval(row['ci_low'], row['ci_high'])} ({number(row['top3'])}) by "
        f"{_SCORINGS.get(str(row['scoring']), row['scoring'])}"
        for row in rows
    ]
    chance = float(rows[0]["chance"])
    return [
        f"A concept’s name can be scored in more ways than one. The right name comes first (among the first three) "
        f"{listing(told)}; these are means over concepts with 95% intervals, and guessing gives {number(chance)} "
        f"({number(min(_TOP * chance, 1.0))}). All else here goes by the {_SCORINGS[NONE]}."
    ]


def populations_told(findings: Findings) -> list[str]:
    """Say how many neurons follow an attribute, and whether attributes share them."""
    summary = findings.tau_summary
    share = findings.selective_neurons / findings.neurons
    ranked = summary.sort_values("significant", kind="stable")
    (least, fewest), (most, many) = (ranked[["attribute", "significant"]].iloc[end] for end in (0, -1))
    spread = f"from {fewest:,} for {least} to {many:,} for {most}" if fewest < many else f"{many:,} for each"
    sentences = [
        f"Of the model’s {findings.neurons:,} neurons, {findings.selective_neurons:,} ({share:.1%}) follow at least "
        f"one attribute {criterion(findings)}: {spread}."
        if many
        else f"None of the model’s {findings.neurons:,} neurons follows an attribute {criterion(findings)}.",
        *inferences_told(findings),
    ]
    if constant := int(summary["undefined"].max()):
        sentences.append(
            f"{count(constant, 'neuron')} could not be measured: they never changed, or a concept never reached their "
            "expert."
        )
    if short := summary[summary["significant"] < findings.k]["attribute"].tolist():
        sentences.append(
            f"For {listing(short)}, fewer neurons are significant than the {findings.k:,} that the masks shown below "
            f"switch off, so these masks also hold neurons without evidence of selectivity."
        )
    if overlap := overlap_verdict(findings.at_k(findings.overlap)):
        sentences.append(overlap)
    return sentences


def ablation_told(findings: Findings) -> list[list[str]]:
    """Say what switching off selective neurons did, beyond control ones: a list of sentences for each paragraph."""
    overall = findings.at_k(findings.drop_overall).iloc[0]
    draws = findings.at_k(findings.control_draws)
    pooled, *details = ablation_verdict(overall, findings.at_k(findings.drop_by_attribute), draws, findings.units)
    dips = findings.at_k(findings.unimodality)
    if tested := int(dips["p"].notna().sum()):
        split = dips[dips["p"] < 0.05]["attribute"].tolist()
        found = f"{len(split)} of {tested} attributes ({listing(split)})" if split else f"none of {tested} attributes"
        details.append(
            f"Hartigan’s dip test asks whether the concepts fall into two camps, those that need an attribute’s "
            f"neurons and those that do not: p < .05 for {found}."
        )
    sizes = [sizes_verdict(findings.of_control(findings.drop_overall), findings.k)]
    sizes += dose_verdict(findings.of_control(findings.dose_response))
    summary = findings.at_k(findings.specificity_summary)
    specific = [specificity_verdict(row) for _, row in summary.iterrows()]
    specific.append(specificity_elsewhere(findings.specificity_summary, findings.k, findings.control))
    return [
        paragraph for paragraph in ([pooled, *_controls_told(findings)], sizes, details, specific) if any(paragraph)
    ]


def _controls_told(findings: Findings) -> list[str]:
    overall = findings.drop_overall
    return [told] if (told := controls_verdict(overall[overall["k"] == findings.k])) else []


def people_told(findings: Findings) -> list[str]:
    """Say how the model's losses compare with what matters to people."""
    if findings.people is None:
        return []
    people = findings.people
    within = findings.at_k(people.comparison).iloc[0]
    over = findings.at_k(people.mean_drop_correlation).iloc[0]
    models = [mixed_verdict(row) for _, row in findings.at_k(people.mixed_model).iterrows()]
    comparison = people.comparison[people.comparison["k"] == findings.k]
    return [human_verdict(within, over), *models, agreement_by_control(comparison)]


def summary_told(findings: Findings) -> str:
    """Tell everything in one paragraph."""
    people = people_told(findings)[:1] or ["How this compares with people was not asked, for want of their judgements."]
    right, guessing = f"{findings.prompts['accuracy'].mean():.0%}", f"(guessing: {findings.chance:.0%})"
    asked = (
        f"Asked whether a text expresses a concept, the model was right for {right} of the texts {guessing}."
        if findings.learned_prompts
        else f"The model answered {right} of the questions about the concepts correctly {guessing}."
    )
    pooled = ablation_told(findings)[0][0]
    return " ".join([asked, _selective_told(findings), pooled, *_controls_told(findings), *people])


def _selective_told(findings: Findings) -> str:
    by = "By a lenient test, " if findings.permutations is None else ""
    if not findings.selective_neurons:
        told = f"{by}none of its neurons could be shown to follow any"
    else:
        told = f"{by}{findings.selective_neurons / findings.neurons:.1%} of its neurons follow at least one"
    attributes = count(len(findings.attributes), "attribute")
    return f"{told[0].upper()}{told[1:]} of the {attributes} by which people describe these concepts."
