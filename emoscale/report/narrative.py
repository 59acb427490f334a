"""The report's findings in sentences, section by section."""

from __future__ import annotations

import pandas as pd

from emoscale.report.ablation_text import (
    ablation_text,
    controls_text,
    dose_text,
    sizes_text,
    specificity_elsewhere,
    specificity_text,
    yardstick_text,
)
from emoscale.report.draws_text import draws_text
from emoscale.report.findings import Findings
from emoscale.report.people_text import people_text
from emoscale.report.phrasing import count, interval, listing, number
from emoscale.report.study import OutcomeWords

_TOP = 3


def prompt_text(findings: Findings) -> list[str]:
    """Say how well the model infers the concepts before anything is switched off."""
    prompts = findings.prompts
    means = prompts.groupby("concept")["accuracy"].mean().sort_values(ascending=False)
    replicates = prompts["replicate"].nunique()
    by_concept = [f"{concept} ({number(value)})" for concept, value in means.items()]
    ends = min(3, len(by_concept) // 2)
    each = f"({count(len(means), 'concept')}, {count(replicates, 'replicate')} each)"
    right = f"right in {number(prompts['accuracy'].mean())} of cases on average, where guessing gives"
    sentences = [
        f"On texts that were held out of training, the {count(len(prompts), 'prompt')} {each} are {right} "
        f"{number(findings.chance)}."
        if findings.study.learned_prompts
        else f"On the questions about the concepts {each}, the model is {right} {number(findings.chance)}.",
        f"The easiest: {listing(by_concept[:ends])}; the hardest: {listing(by_concept[: -ends - 1 : -1])}.",
    ]
    sentences += choice_text(findings.table("choice"), findings.study.outcome)
    if weak := means[means <= findings.chance + 0.05].index.tolist():
        sentences.append(
            f"For {listing(weak)} the model is hardly better than guessing; what masks do to "
            f"{'it' if len(weak) == 1 else 'them'} says little."
        )
    return sentences


def choice_text(choice: pd.DataFrame, outcome: OutcomeWords) -> list[str]:
    """Say how often the right concept had the highest score, or one of the three highest, before anything is edited.

    Parameters
    ----------
    choice : DataFrame
        ``choice``; may be without rows.
    outcome : OutcomeWords
        Says by which normalization all else goes.

    Returns
    -------
    list of str
        A sentence, or none.
    """
    rows = choice[choice["kind"] == "none"].to_dict("records")
    if not rows:
        return []
    shares = [
        f"in {number(row['accuracy'])} {interval(row['ci_low'], row['ci_high'])} ({number(row['top3'])}) by "
        f"{outcome.normalizations.get(str(row['normalization']), row['normalization'])}"
        for row in rows
    ]
    chance = float(rows[0]["chance"])
    return [
        f"A concept’s name can be scored in more ways than one. The right name comes first (among the first three) "
        f"{listing(shares)}; these are means over concepts with 95% intervals, and guessing gives {number(chance)} "
        f"({number(min(_TOP * chance, 1.0))}). All else here goes by {outcome.scored_by}."
    ]


def ablation_paragraphs(findings: Findings) -> list[list[str]]:
    """Say what switching off selective neurons did, beyond control ones: a list of sentences for each paragraph."""
    overall = findings.at_k("drop_overall").iloc[0]
    draws = findings.at_k("control_draws")
    pooled, *details = ablation_text(
        overall,
        findings.at_k("drop_by_attribute"),
        draws,
        findings.words,
        findings.study.outcome,
        findings.study.replicates,
    )
    details += draws_text(findings.at_k("control_variates"), findings.words)
    dips = findings.at_k("unimodality")
    if tested := int(dips["p"].notna().sum()):
        split = dips[dips["p"] < 0.05]["attribute"].tolist()
        found = f"{len(split)} of {tested} attributes ({listing(split)})" if split else f"none of {tested} attributes"
        details.append(
            f"Hartigan’s dip test asks whether the concepts fall into two camps, those that need an attribute’s "
            f"neurons and those that do not: p < .05 for {found}."
        )
    sizes = [sizes_text(findings.of_control("drop_overall"), findings.k)]
    sizes += dose_text(findings.of_control("dose_response"))
    summary = findings.at_k("specificity_summary")
    specific = [specificity_text(row) for _, row in summary.iterrows()]
    specific.append(
        specificity_elsewhere(
            findings.of_drawn("specificity_summary"), findings.k, findings.control, findings.study.controls
        )
    )
    return [
        paragraph for paragraph in ([pooled, *_controls_text(findings)], sizes, details, specific) if any(paragraph)
    ]


def _controls_text(findings: Findings) -> list[str]:
    drawn, others = (findings.of_drawn("drop_overall", is_drawn) for is_drawn in (True, False))
    texts = [
        controls_text(drawn[drawn["k"] == findings.k], findings.study.controls),
        *yardstick_text(others[others["k"] == findings.k], findings.study.controls, findings.study.outcome),
    ]
    return [text for text in texts if text]


def summary(findings: Findings) -> str:
    """Say everything in one paragraph."""
    people = people_text(findings)[:1] or ["How this compares with people was not asked, for want of their judgements."]
    right, guessing = f"{findings.prompts['accuracy'].mean():.0%}", f"(guessing: {findings.chance:.0%})"
    asked = (
        f"Asked whether a text expresses a concept, the model was right for {right} of the texts {guessing}."
        if findings.study.learned_prompts
        else f"The model answered {right} of the questions about the concepts correctly {guessing}."
    )
    pooled = ablation_paragraphs(findings)[0][0]
    return " ".join([asked, _selective_text(findings), pooled, *_controls_text(findings), *people])


def _selective_text(findings: Findings) -> str:
    by = "By a lenient test, " if findings.permutations is None else ""
    if not findings.selective_neurons:
        text = f"{by}none of its neurons could be shown to follow any"
    else:
        text = f"{by}{findings.selective_neurons / findings.neurons:.1%} of its neurons follow at least one"
    attributes = count(len(findings.attributes), "attribute")
    return f"{text[0].upper()}{text[1:]} of the {attributes} by which people describe these concepts."


def limits(findings: Findings) -> list[str]:
    """Say what the run does not show."""
    prompts = findings.prompts
    replicates, texts = prompts["replicate"].nunique(), prompts["dev"].median()
    each = f"{count(replicates, 'replicate')} a concept"
    if texts == texts:
        each += f", about {count(int(texts), 'held-out text')} each"
    units = findings.study.replicates
    sentences = [
        _inference_limit(findings),
        *_optimism(findings),
        findings.study.edit.limit,
        f"The data are few: {each}. Intervals speak of other concepts or {units} like these, not of other "
        f"models or kinds of text.",
        f"The comparison is with {_masks_text(findings)}, the same for all {units}, and with one selective "
        f"mask an attribute. Intervals over {units} or concepts do not include what other draws would give.",
        "Attributes are related to one another (what is pleasant is seldom unfair), so the neurons of one attribute "
        "can be those of another. That a neuron follows an attribute is a correlation; only the masks are an "
        "intervention, and they act on many neurons at once.",
        "The attributes’ scores come from one group of people. Others may see these concepts otherwise.",
    ]
    if findings.has_people:
        sentences.append(
            "Agreement with people is a correlation over a handful of attributes. It does not show that the model "
            "understands emotions as people do, nor that people use such neurons."
        )
    return sentences


def _optimism(findings: Findings) -> list[str]:
    if not findings.study.learned_prompts:
        return []
    chosen, last = findings.prompts["accuracy"].mean(), findings.prompts["accuracy_last"].mean()
    against = f": {number(chosen)} on average, against {number(last)} after the last pass, which nothing chose"
    return [
        f"The held-out texts also chose each prompt’s best training pass, so the accuracies are somewhat optimistic"
        f"{against if last == last else ''}."
    ]


def _masks_text(findings: Findings) -> str:
    draws = findings.at_k("control_draws")
    noun = f"{findings.words.adjective} mask"
    if findings.words.cross_fitted:
        return f"one {noun} of each size for each half of the questions"
    if (draws["attribute"] == "").all():
        return f"{count(len(draws), noun)} of each size"
    return f"{count(int(draws.groupby('attribute').size().median()), noun)} of each size for each attribute"


def _inference_limit(findings: Findings) -> str:
    if findings.permutations is None:
        return (
            "Neurons that follow an attribute are counted with p-values that treat all pairs of concepts as "
            "independent. They are not: all pairs come from the same few concepts, so these p-values are too small and "
            "some of the neurons called significant are not. The ranking of the neurons, and so the masks, does not "
            "depend on it."
        )
    return (
        f"Which neurons count as significant is found by permuting the concepts {findings.permutations:,} times; "
        f"p-values too small to be counted so come from a curve fitted to each test’s permutations, which is an "
        f"approximation. The masks hold the neurons that rank highest, significant or not."
    )
