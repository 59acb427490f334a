"""What the report says a run does not show, and how neurons were switched off."""

from __future__ import annotations

from typing import NamedTuple

from emoscale.report.controls import control_adjective
from emoscale.report.findings import Findings
from emoscale.report.phrasing import count, number


class Edit(NamedTuple):
    """How the report tells one way of switching neurons off: what was done, and what it leaves open."""

    done: str
    limit: str


EDITS = {
    "zero": Edit(
        "were set to zero",
        "Switching a neuron off sets it to zero, a value it may never take by itself. Some of the harm can come from "
        "that unusual state rather than from the loss of what the neuron stood for.",
    ),
    "mean": Edit(
        "were held at their mean activation",
        "Switching a neuron off holds it at its mean. That takes away how it varies, but so many neurons at their "
        "means at once may be a state that the model never reaches by itself; some of the harm can come from that.",
    ),
    "resample": Edit(
        "were given the activations that they had for another input",
        "Switching a neuron off gives it the activation that it had for another input. The neuron takes such values, "
        "but not with the rest of the model as it is now, and what is true of another input can mislead the model, "
        "which is more than to miss something.",
    ),
    "scale": Edit(
        "were multiplied by a constant",
        "Switching a neuron off only scales it here. What is left of it may still serve, so that the losses say "
        "nothing of what the model would lose without it altogether.",
    ),
}


def limits_told(findings: Findings) -> list[str]:
    """Say what the run does not show."""
    prompts = findings.prompts
    replicates, texts = prompts["replicate"].nunique(), prompts["dev"].median()
    each = f"{count(replicates, 'replicate')} a concept"
    if texts == texts:
        each += f", about {count(int(texts), 'held-out text')} each"
    limits = [
        _inference_limit(findings),
        *_optimism(findings),
        EDITS[findings.edit].limit,
        f"The data are few: {each}. Intervals speak of other concepts or {findings.units} like these, not of other "
        f"models or kinds of text.",
        f"The comparison is with {_masks_told(findings)}, the same for all {findings.units}, and with one selective "
        f"mask an attribute. Intervals over {findings.units} or concepts do not include what other draws would give.",
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


def _optimism(findings: Findings) -> list[str]:
    if not findings.learned_prompts:
        return []
    chosen, last = findings.prompts["accuracy"].mean(), findings.prompts["accuracy_last"].mean()
    against = f": {number(chosen)} on average, against {number(last)} after the last pass, which nothing chose"
    return [
        f"The held-out texts also chose each prompt’s best training pass, so the accuracies are somewhat optimistic"
        f"{against if last == last else ''}."
    ]


def _masks_told(findings: Findings) -> str:
    draws = findings.at_k(findings.control_draws)
    noun = f"{control_adjective(findings.control)} mask"
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
