"""What the report says first: the published figures beside ours, and the study's questionable choices."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
import pandas as pd

from emoscale.analysis.drops import paired_answers
from emoscale.analysis.humans import concept_correlations, human_comparison
from emoscale.commands.reproduce.accuracies import read_accuracies
from emoscale.commands.reproduce.comparison import PUBLISHED, TOP, as_printed
from emoscale.report.phrasing import DASH
from emoscale.report.study import Opening
from emoscale.run.folder import RunFolder
from emoscale.schema import SELECTIVITY
from emoscale.store import open_store

_EXACT = 1e-12
"""Scores that differ by less are equal: the files hold 15 digits."""


def opening(folder: RunFolder, label_counts: pd.Series | None) -> Opening:
    """Write the comparison and the questions for the head of the report.

    Parameters
    ----------
    folder : RunFolder
        Holds every table of the reproduction.
    label_counts : Series or None
        How often raters gave each concept, where the release says so.

    Returns
    -------
    Opening
    """
    comparison = folder.table("comparison")
    there = comparison["ours"].notna()
    agreeing = int(comparison["agrees"].sum())
    agreement = [
        f"Every figure of the article that the released files allow is computed again here, with the same code as any "
        f"run of emoscale. Of {int(there.sum())} figures, {agreeing} agree to the last digit printed."
    ]
    return Opening(
        title="The published figures and ours",
        sentences=[*agreement, *_ranks_text(folder), *_scores_text(folder), *_ceiling_text(folder)],
        header=["Figure", "Published", "Ours", "Difference", "Agrees"],
        rows=[_row(row, printed) for row, printed in zip(comparison.to_dict("records"), _printed(), strict=True)],
        points_title="Choices of the study that can be questioned, and what they change",
        points=[
            _dependence(folder),
            _single_draws(folder),
            _batch_means(folder),
            _false_negatives(folder, label_counts),
            *_score_choices(folder),
        ],
    )


def _printed() -> list[str]:
    return pd.read_csv(PUBLISHED, dtype=str)["published"].tolist()


def _row(row: Mapping[Hashable, Any], printed: str) -> list[str]:
    size = "" if pd.isna(row["k"]) else f" (k = {int(row['k']):,})"
    item = f", {row['item']}" if row["item"] else ""
    name = f"{row['quantity']}{item}{size}"
    if np.isnan(row["ours"]):
        return [name, printed.replace("-", "−"), DASH, DASH, "not in these files"]
    cells = [printed, as_printed(row["ours"], printed), f"{row['difference']:+.1e}"]
    return [name, *(cell.replace("-", "−") for cell in cells), "yes" if row["agrees"] else "no"]


def _ranks_text(folder: RunFolder) -> list[str]:
    if not (folder.tables / "rank_comparison.csv").is_file():
        return ["The release at hand has no ranks of neurons to compare ours with."]
    ranks = folder.table("rank_comparison")
    differing = int(ranks["top_differing"].sum())
    sets = "are the same" if not differing else f"differ in {differing} neurons over all attributes"
    return [
        f"Of the released ranks of {ranks['neurons'].iloc[0]:,} neurons, {ranks['equal'].mean():.2%} equal ours and "
        f"the lowest correlation of an attribute is {ranks['correlation'].min():.10f}; the sets of the "
        f"{ranks['top'].iloc[0]:,} best neurons {sets}."
    ]


def _scores_text(folder: RunFolder) -> list[str]:
    if not (folder.tables / "score_comparison.csv").is_file():
        return ["The release at hand has no tidy ratings, so the attribute scores are taken as published."]
    scores = folder.table("score_comparison")
    exact = int((scores["largest_difference"] < _EXACT).sum())
    worst = scores.sort_values("correlation").iloc[0]
    return [
        f"The attribute scores computed from the raw ratings equal the published ones to {_EXACT:.0e} for "
        f"{exact} of {len(scores)} attributes; the lowest correlation is {worst['correlation']:.6f} "
        f"({worst['attribute']})."
    ]


def _score_choices(folder: RunFolder) -> list[str]:
    if not (folder.tables / "score_notes.csv").is_file():
        return []
    notes = "; ".join(folder.table("score_notes")["note"])
    return [
        f"The article does not say all that its appraisal scores rest on. {notes}. These choices make the published "
        "scores come out. Which event is missing was found by leaving out each in turn and comparing with the "
        "published scores; that it was left out for its missing answers is our reading, not the article's word."
    ]


def _ceiling_text(folder: RunFolder) -> list[str]:
    ceiling = folder.table("noise_ceiling").iloc[0]
    best = folder.table("importance").sort_values("tau").iloc[-1]
    return [
        f"The most important attribute, {best['attribute']}, follows the mean judgement of people with τ = "
        f"{best['tau']:.3f} (95% interval over participants {best['ci_low']:.3f} to {best['ci_high']:.3f}); single "
        f"people follow the others' mean with τ = {ceiling['lower']:.3f}, and the mean of all with "
        f"{ceiling['upper']:.3f}."
    ]


def _dependence(folder: RunFolder) -> str:
    table = folder.table("inference")
    permutations = open_store(folder.selectivity, SELECTIVITY).attributes["origin"]["permutations"]
    tests = int(table["tests"].sum())
    before, after = int(table["asymptotic"].sum()), int(table["chosen"].sum())
    spread = table["spread"]
    return (
        f"The distances between concepts that a neuron is tested on come from few concepts and are not independent, "
        f"which the published p-values ignore: {before / tests:.1%} of all tests are significant (q < "
        f"{table['alpha'].iloc[0]:g}) as published, {after / tests:.1%} against {permutations:,} permutations of the "
        f"concepts, under which τ varies {np.sqrt((spread**2).mean()):.2f} times as much as was assumed "
        f"({spread.min():.2f} to {spread.max():.2f} by attribute); {int(table['attribute_corrected'].sum()):,} "
        f"neuron-attribute pairs survive correction for all neurons of the attribute by the largest τ of each "
        f"permutation, {int(table['all_corrected'].sum()):,} for all tests at once (p < .05); the ranks, and so the "
        f"masks, stay."
    )


def _single_draws(folder: RunFolder) -> str:
    accuracies = read_accuracies(folder)
    k = _shown(accuracies)
    draws = folder.table("control_draws").query("k == @k")["accuracy"]
    pooled = accuracies.assign(attribute=accuracies["attribute"].where(accuracies["kind"] == "selective", ""))
    correlations = concept_correlations(
        paired_answers(pooled.assign(value=pooled["accuracy"])), folder.table("importance")
    )
    r = human_comparison(correlations).set_index("k")["mean_r"]
    own = folder.table("human_comparison").set_index("k")["mean_r"]
    drops = folder.table("drop_by_attribute").query("k == @k")["drop"]
    reach = float((draws - draws.mean()).abs().max())
    return (
        f"Each selective mask was compared with a single random mask of its own, drawn without a seed: at k = {k:,} "
        f"the {len(draws)} random masks, which differ in nothing but chance, left accuracies from {draws.min():.3f} to "
        f"{draws.max():.3f} (standard deviation {draws.std():.3f}), and {int((drops.abs() <= reach).sum())} of the "
        f"{len(drops)} attributes' drops are no larger than the farthest of them is from their mean; against the mean "
        f"of all of them the correlation of drop and importance is {r[k]:.3f} instead of {own[k]:.3f}."
    )


def _batch_means(folder: RunFolder) -> str:
    prompts = pd.read_parquet(folder.prompt_table)["accuracy"]
    unmasked = read_accuracies(folder).query("kind == 'none'")["accuracy"]
    difference = abs(prompts.to_numpy() - unmasked.to_numpy()).max() if len(prompts) == len(unmasked) else np.nan
    return (
        "Accuracy is the mean of the means of batches of 100 texts, so that a text of a short last batch counts for "
        "more than others; the release has no counts of right answers, so how much this changes cannot be computed "
        f"from it (the accuracies without masks in its two tables differ by up to {difference:.1e})."
    )


def _false_negatives(folder: RunFolder, label_counts: pd.Series | None) -> str:
    means = pd.read_parquet(folder.prompt_table).groupby("concept")["accuracy"].mean()
    wrong = (
        "Texts that do not show a concept were drawn from all texts, those that do among them, so some answers that "
        "count as wrong are right"
    )
    if label_counts is None:
        return f"{wrong}; the release at hand does not say how many."
    share = (label_counts / label_counts.sum()).reindex(means.index).dropna()
    return (
        f"{wrong}: by raters' use of the emotion labels about {share.mean():.1%} of such texts, {share.max():.1%} for "
        f"{share.idxmax()} (an upper estimate, since neutral texts are not counted); half as much of the accuracy is "
        f"out of reach, and accuracy without masks is {means.mean():.3f}."
    )


def _shown(accuracies: pd.DataFrame) -> int:
    sizes = sorted(set(accuracies.query("kind == 'selective'")["k"]))
    return TOP if TOP in sizes else int(sizes[-1])
