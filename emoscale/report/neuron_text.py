"""How many neurons follow an attribute, how good the evidence is, and whether attributes share them."""

from __future__ import annotations

import numpy as np
import pandas as pd

from emoscale.report.findings import Findings
from emoscale.report.phrasing import count, listing, number, threshold
from emoscale.report.verdicts import Verdict, overlap_side

_FAMILY_ALPHA = ".05"


def criterion(findings: Findings) -> str:
    """Name the test that says which neurons are significant, in a few words."""
    level = f"q < {threshold(findings.alpha)}"
    if findings.permutations is None:
        return f"by a lenient test ({level}; see below)"
    return f"({level}, against {count(findings.permutations, 'permutation')} of the concepts)"


def inference_text(findings: Findings) -> list[str]:
    """Say how many neuron-attribute pairs each kind of inference leaves."""
    table = findings.table("inference")
    tests, asymptotic = int(table["tests"].sum()), int(table["asymptotic"].sum())
    if findings.permutations is None:
        return []
    chosen, corrected, all_corrected = (
        int(table[name].sum()) for name in ("chosen", "attribute_corrected", "all_corrected")
    )
    spread = table["spread"].dropna()
    sentences = [
        f"Of all {tests:,} pairs of a neuron and an attribute, {chosen:,} ({chosen / max(tests, 1):.1%}) pass this "
        f"test; {corrected:,} survive correction for all neurons of the attribute, and {all_corrected:,} for all "
        f"neurons and attributes (p < {_FAMILY_ALPHA} by the largest τ of each permutation).",
        f"By the test of the published study, which takes the distances between concepts for independent, "
        f"{asymptotic:,} ({asymptotic / max(tests, 1):.1%}) would be significant.",
    ]
    if len(spread):
        overall = float(np.sqrt((spread**2).mean()))
        sentences.append(
            f"They are not independent: when the concepts are permuted, τ varies {overall:.2f} times as much as that "
            f"test assumes ({spread.min():.2f} to {spread.max():.2f} by attribute)."
        )
    return sentences


def reliability_text(findings: Findings) -> list[str]:
    """Say how well tau over neurons repeats from one half of the replicates to the other."""
    known = findings.table("reliability").dropna(subset=["split_half"]).sort_values("split_half", kind="stable")
    if not len(known):
        return ["With a single replicate, how well τ repeats is not known."]
    low, high = known.iloc[0], known.iloc[-1]
    sentences = [
        f"Computed from half of the replicates and again from the other half, the τ of all neurons correlate with "
        f"{number(high['split_half'])} for {high['attribute']} down to {number(low['split_half'])} for "
        f"{low['attribute']}.",
        f"Noise therefore keeps any other map of neurons from correlating more than {number(high['ceiling'])} "
        f"({high['attribute']}) to {number(known['ceiling'].min())} with these.",
    ]
    if unstable := known[known["split_half"] < 0.1]["attribute"].tolist():
        sentences.append(f"For {listing(unstable)} the map hardly repeats: which neurons it names is mostly noise.")
    return sentences


def overlap_text(rows: pd.DataFrame) -> str:
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
    verb = {Verdict.MORE: "share more neurons than", Verdict.LESS: "share fewer neurons than"}.get(
        overlap_side(rows), "overlap like"
    )
    above = int((rows["ratio"] > 1).sum())
    return (
        f"The sets of the {k:,} most selective neurons of two attributes typically {verb} two sets drawn at random "
        f"(median {median:.1f} times chance; above chance for {above} of {len(rows)} pairs). The pair with most in "
        f"common is {most['attribute_1']} and {most['attribute_2']}, with {count(shared, 'neuron')} "
        f"({shared / k:.0%} of each set)."
    )


def population_text(findings: Findings) -> list[str]:
    """Say how many neurons follow an attribute, and whether attributes share them."""
    summary = findings.table("tau_summary")
    share = findings.selective_neurons / findings.neurons
    ranked = summary.sort_values("significant", kind="stable")
    (least, fewest), (most, many) = (ranked[["attribute", "significant"]].iloc[end] for end in (0, -1))
    spread = f"from {fewest:,} for {least} to {many:,} for {most}" if fewest < many else f"{many:,} for each"
    sentences = [
        f"Of the model’s {findings.neurons:,} neurons, {findings.selective_neurons:,} ({share:.1%}) follow at least "
        f"one attribute {criterion(findings)}: {spread}."
        if many
        else f"None of the model’s {findings.neurons:,} neurons follows an attribute {criterion(findings)}.",
        *inference_text(findings),
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
    if overlap := overlap_text(findings.at_k("overlap")):
        sentences.append(overlap)
    return sentences
