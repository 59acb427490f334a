"""Figures (c): what the model can no longer do when neurons are switched off."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from emoscale.report.findings import CHANCE, Findings
from emoscale.report.style import BLUE, COLOURS, FAINT, ORANGE, SOFT, Drawing, new_figure, row_height
from emoscale.report.wording import count, listing, number

_LABELS = {"none": "no neuron off", "random": "random neurons off", "selective": "selective neurons off"}


def accuracy_by_concept(findings: Findings) -> Drawing:
    """Draw each concept's accuracy without masks, with random and with selective ones."""
    rows = findings.accuracy[(findings.accuracy["kind"] == "none") | (findings.accuracy["k"] == findings.k)]
    table = rows.pivot_table("accuracy", "concept", "kind").sort_values("none")
    places = np.arange(len(table))
    figure = new_figure(row_height(len(table), rest=1.0), width=6.6)
    axes = figure.subplots()
    axes.axvline(CHANCE, color=FAINT, linewidth=1, zorder=0)
    axes.hlines(places, table.min(axis=1), table.max(axis=1), color=FAINT, linewidth=1.6, zorder=1)
    for kind, label in _LABELS.items():
        marker = {"none": "|", "random": "D", "selective": "o"}[kind]
        size = {"none": 8, "random": 4, "selective": 5}[kind]
        edge = {"markeredgewidth": 1.6} if kind == "none" else {"markeredgecolor": "white", "markeredgewidth": 0.5}
        axes.plot(table[kind], places, marker, color=COLOURS[kind], markersize=size, label=label, **edge)
    axes.set_yticks(places, table.index)
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    axes.set_ylim(-0.8, len(table) - 0.2)
    axes.set_xlabel("Accuracy on held-out texts (grey line: guessing)")
    axes.legend(loc="lower center", bbox_to_anchor=(0.45, 1.0), ncols=3, handletextpad=0.2, columnspacing=1.4)
    means = table.mean()
    worse = int((table["selective"] < table["random"]).sum())
    return Drawing(
        figure,
        "Accuracy of each concept, with and without its neurons.",
        f"How often the model is right about a concept with all its neurons (bar), with {findings.k:,} random neurons "
        f"switched off (diamond) and with the {findings.k:,} most selective ones off (dot; mean over attributes). On "
        f"average {number(means['none'])}, {number(means['random'])} and {number(means['selective'])}. The dot lies "
        f"left of the diamond for {worse} of {count(len(table), 'concept')}.",
        f"Three marks a row for {count(len(table), 'concept')}, sorted by accuracy without masks.",
    )


def _drops(rows: pd.DataFrame, name: str, band: tuple[float, float] | None) -> tuple[Figure, str]:
    places = np.arange(len(rows))
    figure = new_figure(row_height(len(rows)), width=6.2)
    axes = figure.subplots()
    if band:
        axes.axvspan(*band, color=ORANGE, alpha=0.13, linewidth=0)
    axes.axvline(0, color=SOFT, linewidth=0.7, zorder=0)
    axes.hlines(places, rows["ci_low"], rows["ci_high"], color=BLUE, linewidth=1.4)
    axes.plot(rows["drop"], places, "o", color=BLUE, markersize=5, markeredgecolor="white", markeredgewidth=0.6)
    axes.set_yticks(places, rows[name])
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    axes.set_ylim(-0.8, len(rows) - 0.2)
    axes.set_xlabel("Drop in accuracy: random − selective masks")
    best, worst = rows.iloc[-1], rows.iloc[0]
    alt = (
        f"Dots with intervals for {count(len(rows), name)}, from {best[name]} ({number(best['drop'], 3)}) to "
        f"{worst[name]} ({number(worst['drop'], 3)})."
    )
    return figure, alt


def drop_by_attribute(findings: Findings) -> Drawing:
    """Draw each attribute's drop with its interval, before the spread of the random masks."""
    rows = findings.at_k(findings.drop_by_attribute).sort_values("drop")
    draws = findings.at_k(findings.random_draws)["accuracy"]
    band, band_told = None, ""
    if len(draws) > 1:
        band = (draws.mean() - draws.max(), draws.mean() - draws.min())
        band_told = (
            f" The shaded band is how far the {len(draws)} random masks lie from their own mean: a dot within it is no "
            f"further off than one random choice of neurons from another."
        )
    figure, alt = _drops(rows, "attribute", band)
    above, below = int((rows["ci_low"] > 0).sum()), int((rows["ci_high"] < 0).sum())
    return Drawing(
        figure,
        "Which attributes’ neurons the model needs.",
        f"Accuracy lost with the {findings.k:,} neurons of an attribute, beyond what is lost with as many random ones; "
        f"lines are 95% intervals over prompts, not corrected for the number of attributes. Right of zero for "
        f"{count(above, 'attribute')}, left for {below}."
        f"{band_told}",
        alt,
    )


def drop_by_concept(findings: Findings) -> Drawing:
    """Draw each concept's drop with its interval."""
    rows = findings.at_k(findings.drop_by_concept).sort_values("drop")
    figure, alt = _drops(rows, "concept", None)
    above = rows[rows["ci_low"] > 0]["concept"].tolist()[::-1]
    told = f"for {listing(above)}" if above else "for none of them"
    return Drawing(
        figure,
        "Which concepts suffer most.",
        f"The same loss by concept, averaged over attributes, with 95% intervals over prompts and attributes (which "
        f"share the concept’s texts, so the true uncertainty is larger). The interval is above zero {told}.",
        alt,
    )
