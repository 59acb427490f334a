"""The report's sentences that depend on the data, section by section."""

from __future__ import annotations

from emoscale.report.evidence import criterion, inferences_told
from emoscale.report.findings import CHANCE, Findings
from emoscale.report.verdict import ablation_verdict, human_verdict, overlap_verdict, sizes_verdict
from emoscale.report.wording import count, interval, listing, number


def prompts_told(findings: Findings) -> list[str]:
    """Say how well the model infers the concepts before anything is switched off."""
    prompts = findings.prompts
    means = prompts.groupby("concept")["accuracy"].mean().sort_values(ascending=False)
    replicates = prompts["replicate"].nunique()
    told = [f"{concept} ({number(value)})" for concept, value in means.items()]
    ends = min(3, len(told) // 2)
    sentences = [
        f"On texts that were held out of training, the {count(len(prompts), 'prompt')} "
        f"({count(len(means), 'concept')}, {count(replicates, 'replicate')} each) are right in "
        f"{number(prompts['accuracy'].mean())} of cases on average, where guessing gives {number(CHANCE)}.",
        f"The easiest: {listing(told[:ends])}; the hardest: {listing(told[: -ends - 1 : -1])}.",
    ]
    if weak := means[means <= CHANCE + 0.05].index.tolist():
        sentences.append(
            f"For {listing(weak)} the model is hardly better than guessing; what masks do to "
            f"{'it' if len(weak) == 1 else 'them'} says little."
        )
    return sentences


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
    """Say what switching off selective neurons did, beyond random ones: a list of sentences for each paragraph."""
    overall = findings.at_k(findings.drop_overall).iloc[0]
    draws = findings.at_k(findings.random_draws)
    pooled, *details = ablation_verdict(overall, findings.at_k(findings.drop_by_attribute), draws)
    dips = findings.at_k(findings.unimodality)
    if tested := int(dips["p"].notna().sum()):
        split = dips[dips["p"] < 0.05]["attribute"].tolist()
        found = f"{len(split)} of {tested} attributes ({listing(split)})" if split else f"none of {tested} attributes"
        details.append(
            f"Hartigan’s dip test asks whether the concepts fall into two camps, those that need an attribute’s "
            f"neurons and those that do not: p < .05 for {found}."
        )
    return [[pooled, sizes_verdict(findings.drop_overall, findings.k)], details]


def people_told(findings: Findings) -> list[str]:
    """Say how the model's losses compare with what matters to people."""
    if findings.people is None:
        return []
    within = findings.at_k(findings.people.comparison).iloc[0]
    over = findings.at_k(findings.people.mean_drop_correlation).iloc[0]
    return [human_verdict(within, over)]


def summary_told(findings: Findings) -> str:
    """Tell everything in one paragraph."""
    people = people_told(findings) or ["How this compares with people was not asked, for want of their judgements."]
    right = findings.prompts["accuracy"].mean()
    return " ".join(
        [
            f"Asked whether a text expresses a concept, the model was right for {right:.0%} of the texts (guessing: "
            f"{CHANCE:.0%}).",
            _selective_told(findings),
            ablation_told(findings)[0][0],
            *people,
        ]
    )


def _selective_told(findings: Findings) -> str:
    by = "By a lenient test, " if findings.permutations is None else ""
    if not findings.selective_neurons:
        told = f"{by}none of its neurons could be shown to follow any"
    else:
        told = f"{by}{findings.selective_neurons / findings.neurons:.1%} of its neurons follow at least one"
    attributes = count(len(findings.attributes), "attribute")
    return f"{told[0].upper()}{told[1:]} of the {attributes} by which people describe these concepts."


def sizes_table(findings: Findings) -> tuple[list[str], list[list[str]]]:
    """Tabulate accuracy, drop and agreement with people by size of the masks.

    Parameters
    ----------
    findings : Findings

    Returns
    -------
    header : list of str
    rows : list of list of str
    """
    header = ["Neurons off", "Random", "Selective", "Drop", "95% interval", "d", "± draw"]
    means = findings.accuracy.groupby(["kind", "k"])["accuracy"].mean()
    rows = [
        [
            f"{row['k']:,} ({row['k'] / findings.neurons:.1%})",
            number(means["random"][row["k"]]),
            number(means["selective"][row["k"]]),
            number(row["drop"], 3),
            interval(row["ci_low"], row["ci_high"], 3),
            number(row["d"]),
            number(row["random_error"], 3),
        ]
        for row in findings.drop_overall.to_dict("records")
    ]
    if findings.people is not None:
        header += ["r with people", "95% interval"]
        comparison = findings.people.comparison.set_index("k")
        for cells, k in zip(rows, findings.drop_overall["k"], strict=True):
            r = comparison.loc[k]
            cells += [number(r["mean_r"]), interval(r["ci_low"], r["ci_high"])]
    return header, rows


def limits_told(findings: Findings) -> list[str]:
    """Say what the run does not show."""
    prompts = findings.prompts
    replicates, texts = prompts["replicate"].nunique(), prompts["dev"].median()
    each = f"{count(replicates, 'replicate')} a concept"
    if texts == texts:
        each += f", about {count(int(texts), 'held-out text')} each"
    chosen, last = prompts["accuracy"].mean(), prompts["accuracy_last"].mean()
    against = f": {number(chosen)} on average, against {number(last)} after the last pass, which nothing chose"
    draws = len(findings.at_k(findings.random_draws))
    limits = [
        _inference_limit(findings),
        f"The held-out texts also chose each prompt’s best training pass, so the accuracies are somewhat optimistic"
        f"{against if last == last else ''}.",
        "Switching a neuron off sets it to zero, a value it may never take by itself. Some of the harm can come from "
        "that unusual state rather than from the loss of what the neuron stood for.",
        f"The data are few: {each}. Intervals speak of other concepts or prompts like these, not of other models or "
        f"kinds of text.",
        f"The comparison is with {count(draws, 'random mask')} of each size, the same for all prompts, and with one "
        f"selective mask an attribute. Intervals over prompts or concepts do not include what other draws would give.",
        "Attributes are related to one another (what is pleasant is seldom unfair), so the neurons of one attribute "
        "can stand for another. That a neuron follows an attribute is a correlation; only the masks are an "
        "intervention, and they act on many neurons at once.",
        "The attributes’ scores come from one group of people. Others may see these concepts otherwise.",
    ]
    if findings.people is not None:
        limits.append(
            "Agreement with people is a correlation over a handful of attributes. It does not show that the model "
            "understands emotions as people do, nor that people use such neurons."
        )
    return limits


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
