"""What editing every single neuron would change, and how far the estimates can be relied on."""

from __future__ import annotations

import numpy as np
import pandas as pd

from emoscale.report.findings import Findings
from emoscale.report.phrasing import count, interval, listing, number, probability, signed
from emoscale.report.verdicts import LEVEL
from emoscale.schema import ALL_ATTRIBUTES, EFFECT_IN_LAYERS, ESTIMATES_ALONE, SINGLE_NEURONS, SIZE, SIZE_IN_LAYERS

_RELIABLE = 0.8
"""Correlation with exact ablation below which estimates are not to be relied on."""
_NAMED = 3


def effect_text(findings: Findings) -> list[list[str]]:
    """Say where estimated effects are, which neurons are needed most, and how estimates compare with exact ablation.

    Returns
    -------
    list of list of str
        Sentences of each paragraph; none if the run has no effects.
    """
    layers, needed = findings.table("effects_by_layer"), findings.table("most_needed")
    if layers.empty:
        return []
    own = findings.table("concept_effects")
    paragraphs = [
        [
            f"One forward and one backward pass for each question estimate what each of the {findings.neurons:,} "
            "neurons does for the mean log-odds of the right answer: to first order, by how much editing that neuron "
            "alone would change them.",
            *_layers_text(layers),
            *_needed_text(needed),
        ],
        concepts_text(own[own["k"] == findings.k], named=not findings.table("choice").empty),
        agreement_text(findings.table("effect_agreement")),
        relation_text(findings.table("tau_and_effect")),
    ]
    return [paragraph for paragraph in paragraphs if paragraph]


def _layers_text(layers: pd.DataFrame) -> list[str]:
    ranked = layers.sort_values("share", ascending=False, kind="stable")
    few = int(np.searchsorted(ranked["share"].cumsum(), 0.5)) + 1
    named = listing([str(layer) for layer in sorted(ranked["layer"].iloc[:few])])
    noun = "layer" if few == 1 else "layers"
    return [f"Half of the sum of all effects’ sizes lies in {few} of {count(len(layers), 'layer')} ({noun} {named})."]


def _needed_text(needed: pd.DataFrame) -> list[str]:
    if needed.empty:
        return ["No neuron’s loss is estimated to do harm."]
    named = []
    for row in needed.head(_NAMED).to_dict("records"):
        expert = f", expert {row['expert']}" if row["expert"] >= 0 else ""
        named.append(f"unit {row['unit']} of layer {row['layer']}{expert} ({signed(row['effect'])})")
    return [f"The neurons needed most, by these estimates: {listing(named)}."]


def concepts_text(rows: pd.DataFrame, named: bool) -> list[str]:
    """Say whether concepts need neurons of their own.

    Parameters
    ----------
    rows : DataFrame
        ``concept_effects`` of one k; may be without rows.
    named : bool
        Whether the concepts' names were the answers.
    """
    if rows.empty:
        return []
    together, each = rows[rows["concept"] == ""].iloc[0], rows[rows["concept"] != ""]
    first = int((each["place"] == 1).sum())
    shown = "costs" if together["p"] < LEVEL else "could not be shown to cost"
    loss = f"{number(-together['specificity'], 3)} {interval(-together['ci_high'], -together['ci_low'], 3)} nats"
    return [
        f"For each concept one half of the questions chose the {together['k']:,} neurons that it needs most beyond "
        f"what all concepts need. By the estimates for the other half, losing them {shown} the concept more than that: "
        f"{loss} on average ({probability(together['p'])}).",
        f"For {first} of {count(len(each), 'concept')} no other loses more to these neurons (by chance: one).",
        *(["Among them are neurons that make the concept’s name likelier whatever the text."] if named else []),
    ]


def agreement_text(agreement: pd.DataFrame) -> list[str]:
    """Say how far estimates agree with exact ablation, with a warning where they do not.

    Parameters
    ----------
    agreement : DataFrame
        ``effect_agreement``; may be without rows.
    """
    if agreement.empty:
        return ["The estimates were not compared with exact ablation in this run."]
    rows = agreement.to_dict("records")
    single = [row for row in rows if row["stratum"] == SINGLE_NEURONS]
    alone = [row for row in rows if row["stratum"] == ESTIMATES_ALONE]
    groups = [row for row in rows if row["k"] > 1]
    sentences = [
        f"Ablated one at a time on {row['items']} questions, {count(row['samples'], 'neuron')} changed the mean "
        f"outcome as estimated with r = {number(row['r'])} and a slope of {number(row['slope'])} (exact by estimated)."
        for row in single
    ]
    sentences += [
        "The effects of the neurons with the largest estimates were computed exactly, by ablation, and count so here; "
        f"with their estimates r is {number(row['r'])}."
        for row in alone
    ]
    if groups:
        each = [f"{number(row['item_r'])} ({row['k']:,} neurons)" for row in groups]
        sentences.append(
            f"For groups of neurons drawn at random, what each question contributes agrees with r = {listing(each)}."
        )
    used = [row for row in rows if row not in alone]
    values = [(row["stratum"], row["r"] if row["k"] == 1 else row["item_r"]) for row in used]
    if weak := [f"{name} ({number(r)})" for name, r in values if r < _RELIABLE]:
        sentences.append(
            f"Below r = {number(_RELIABLE, 1)} estimates are not to be relied on: {listing(weak)}. For "
            "single neurons set attribution.exact_neurons to more; attribution.steps may bring groups closer."
        )
    return sentences


def relation_text(relation: pd.DataFrame) -> list[str]:
    """Say whether neurons that follow an attribute more are those that matter more for the answers.

    Parameters
    ----------
    relation : DataFrame
        ``tau_and_effect``; may be without rows.
    """
    if relation.empty:
        return []
    rows = {str(name): table.set_index("attribute") for name, table in relation.groupby("relation")}
    sentences = [
        "Does being selective for an attribute predict being used? Over neurons, the rank correlation of τ with the "
        f"size of the estimated effect is {_range(rows[SIZE])}, and among neurons of the same layer "
        f"{_range(rows[SIZE_IN_LAYERS])}; with the effect itself, among neurons of the same layer, "
        f"{_range(rows[EFFECT_IN_LAYERS])}."
    ]
    if relation["p"].isna().all():
        return [*sentences, "These were not compared with permuted concepts (attribution.permutations is 0)."]
    found = [_related_text(name, table) for name, table in rows.items()]
    if not any(found):
        within = rows[SIZE_IN_LAYERS].drop(ALL_ATTRIBUTES)
        smallest = float(relation.loc[relation["attribute"] != ALL_ATTRIBUTES, "p_corrected"].min())
        sentences.append(
            "With the concepts permuted, attributes that mean nothing give as much (smallest p corrected for the "
            f"attributes: {probability(smallest)}; within layers 95 % of them lie between "
            f"{number(within['null_low'].min())} and {number(within['null_high'].max())}). So the answer is no: being "
            "selective is not shown to predict being used."
        )
    return [*sentences, *filter(None, found), *_mean_text(rows)]


def _range(table: pd.DataFrame) -> str:
    rho = table["rho"].drop(ALL_ATTRIBUTES)
    return f"{number(rho.min())} to {number(rho.max())} for the {count(len(rho), 'attribute')}"


def _related_text(name: str, table: pd.DataFrame) -> str:
    """Name the attributes whose correlation is beyond what permuted concepts give."""
    beyond = table.drop(ALL_ATTRIBUTES)
    beyond = beyond[beyond["p_corrected"] < LEVEL]
    if beyond.empty:
        return ""
    rows = zip(beyond.index, beyond["rho"], beyond["p_corrected"], strict=True)
    named = [f"{attribute} ({number(rho)}, {probability(p)})" for attribute, rho, p in rows]
    return (
        "Beyond what permuted concepts give, corrected for the attributes, τ correlates with the "
        f"{name} for {listing(named)}."
    )


def _mean_text(rows: dict[str, pd.DataFrame]) -> list[str]:
    columns = ["rho", "null_low", "null_high", "p"]
    named = []
    for name, table in rows.items():
        rho, low, high, p = map(float, table.loc[ALL_ATTRIBUTES, columns])
        if p < LEVEL:
            named.append(f"the {name} ({number(rho)}; permuted {number(low)} to {number(high)}, {probability(p)})")
    return [f"The mean over attributes is beyond permuted concepts for {listing(named)}."] if named else []
