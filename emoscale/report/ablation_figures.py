"""Figures (c): what the model can no longer do when neurons are switched off."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from emoscale.report.controls import control_adjective, control_label, control_neurons, draw_deviations
from emoscale.report.findings import Findings
from emoscale.report.phrasing import count, listing, number
from emoscale.report.style import BLUE, COLOURS, FAINT, ORANGE, SOFT, Drawing, new_figure, row_height


def accuracy_by_concept(findings: Findings) -> Drawing:
    """Draw each concept's accuracy without masks, with control and with selective ones."""
    labels = {
        "none": "no neuron off",
        "control": f"{control_label(findings.control)} off",
        "selective": "selective neurons off",
    }
    rows = findings.accuracy.assign(kind=findings.accuracy["kind"].replace({findings.control: "control"}))
    rows = rows[(rows["kind"] == "none") | ((rows["k"] == findings.k) & rows["kind"].isin(labels))]
    table = rows.pivot_table("accuracy", "concept", "kind").sort_values("none")
    places = np.arange(len(table))
    figure = new_figure(row_height(len(table), rest=1.0), width=6.6)
    axes = figure.subplots()
    axes.axvline(findings.chance, color=FAINT, linewidth=1, zorder=0)
    axes.hlines(places, table.min(axis=1), table.max(axis=1), color=FAINT, linewidth=1.6, zorder=1)
    for kind, label in labels.items():
        marker = {"none": "|", "control": "D", "selective": "o"}[kind]
        size = {"none": 8, "control": 4, "selective": 5}[kind]
        edge = {"markeredgewidth": 1.6} if kind == "none" else {"markeredgecolor": "white", "markeredgewidth": 0.5}
        axes.plot(table[kind], places, marker, color=COLOURS[kind], markersize=size, label=label, **edge)
    axes.set_yticks(places, table.index)
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    axes.set_ylim(-0.8, len(table) - 0.2)
    held_out = " on held-out texts" if findings.learned_prompts else ""
    axes.set_xlabel(f"Accuracy{held_out} (grey line: guessing)")
    axes.legend(loc="lower center", bbox_to_anchor=(0.45, 1.0), ncols=3, handletextpad=0.2, columnspacing=1.4)
    means = table.mean()
    worse = int((table["selective"] < table["control"]).sum())
    return Drawing(
        figure,
        "Accuracy of each concept, with and without its neurons.",
        f"How often the model is right about a concept with all its neurons (bar), with {findings.k:,} "
        f"{control_neurons(findings.control)} switched off (diamond) and with the {findings.k:,} most selective ones "
        f"off (dot; mean over attributes). On average {number(means['none'])}, {number(means['control'])} and "
        f"{number(means['selective'])}. The dot lies left of the diamond for {worse} of "
        f"{count(len(table), 'concept')}.",
        f"Three marks a row for {count(len(table), 'concept')}, sorted by accuracy without masks.",
    )


def _drops(rows: pd.DataFrame, name: str, control: str, band: tuple[float, float] | None = None) -> tuple[Figure, str]:
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
    axes.set_xlabel(f"Drop in accuracy: {control_adjective(control)} − selective masks")
    best, worst = rows.iloc[-1], rows.iloc[0]
    alt = (
        f"Dots with intervals for {count(len(rows), name)}, from {best[name]} ({number(best['drop'], 3)}) to "
        f"{worst[name]} ({number(worst['drop'], 3)})."
    )
    return figure, alt


def drop_by_attribute(findings: Findings) -> Drawing:
    """Draw each attribute's drop with its interval, before the spread of the random masks."""
    rows = findings.at_k(findings.drop_by_attribute).sort_values("drop")
    draws = findings.at_k(findings.control_draws)
    away, mean = draw_deviations(draws)
    band, band_told = None, ""
    if len(away):
        band = (-away.max(), -away.min())
        masks = f"{len(draws)} {control_adjective(findings.control)} masks"
        band_told = (
            f" The shaded band is how far the {masks} lie from {mean}: a dot within it is no further off than one such "
            f"choice of neurons from another."
        )
    figure, alt = _drops(rows, "attribute", findings.control, band)
    above, below = int((rows["ci_low"] > 0).sum()), int((rows["ci_high"] < 0).sum())
    return Drawing(
        figure,
        "Which attributes’ neurons the model needs.",
        f"Accuracy lost with the {findings.k:,} neurons of an attribute, beyond what is lost with as many "
        f"{control_neurons(findings.control)}; lines are 95% intervals over {findings.units}, not "
        f"corrected for the number of attributes. Right of zero for {count(above, 'attribute')}, left for {below}."
        f"{band_told}",
        alt,
    )


def drop_by_concept(findings: Findings) -> Drawing:
    """Draw each concept's drop with its interval."""
    rows = findings.at_k(findings.drop_by_concept).sort_values("drop")
    figure, alt = _drops(rows, "concept", findings.control)
    above = rows[rows["ci_low"] > 0]["concept"].tolist()[::-1]
    told = f"for {listing(above)}" if above else "for none of them"
    return Drawing(
        figure,
        "Which concepts suffer most.",
        f"The same loss by concept, averaged over attributes, with 95% intervals over {findings.units} and attributes "
        f"(which share the concept’s texts, so the true uncertainty is larger). The interval is above zero {told}.",
        alt,
    )
