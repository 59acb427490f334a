"""Figures (c): what the model can no longer do when neurons are switched off, and what it confuses."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import Normalize, TwoSlopeNorm
from matplotlib.figure import Figure
from numpy.typing import NDArray

from emoscale.report.findings import Findings
from emoscale.report.phrasing import count, interval, listing, number, signed
from emoscale.report.style import (
    BLUE,
    COLOURS,
    FAINT,
    INK,
    MOST_NUMBERS,
    ORANGE,
    SOFT,
    Drawing,
    colour_bar,
    diverging,
    figure,
    frame_diagonal,
    name_both_sides,
    new_figure,
    row_height,
    sequential,
    spread_out,
    square_figure,
    write_cells,
)
from emoscale.report.verdicts import draw_deviations

_MOST_NAMES = 24
"""Most attributes that are named at the ends of their lines; more would not fit."""

_MOST_LEVEL = 5
"""Most sizes whose labels are level without touching."""

_MOST_NAMED = 3
"""Most pairs of concepts that the caption names."""


@figure("c1_accuracy_by_concept")
def accuracy_by_concept(findings: Findings) -> Drawing:
    """Draw each concept's accuracy without masks, with control and with selective ones."""
    labels = {
        "none": "no neuron off",
        "control": f"{findings.words.label} off",
        "selective": "selective neurons off",
    }
    accuracy = findings.table("accuracy")
    rows = accuracy.assign(kind=accuracy["kind"].replace({findings.control: "control"}))
    rows = rows[(rows["kind"] == "none") | ((rows["k"] == findings.k) & rows["kind"].isin(labels))]
    table = rows.pivot_table("accuracy", "concept", "kind").sort_values("none")
    places = np.arange(len(table))
    canvas = new_figure(row_height(len(table), rest=1.0), width=6.6)
    axes = canvas.subplots()
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
    held_out = " on held-out texts" if findings.study.learned_prompts else ""
    axes.set_xlabel(f"Accuracy{held_out} (grey line: guessing)")
    axes.legend(loc="lower center", bbox_to_anchor=(0.45, 1.0), ncols=3, handletextpad=0.2, columnspacing=1.4)
    means = table.mean()
    worse = int((table["selective"] < table["control"]).sum())
    return Drawing(
        canvas,
        "Accuracy of each concept, with and without its neurons.",
        f"How often the model is right about a concept with all its neurons (bar), with {findings.k:,} "
        f"{findings.words.neurons} switched off (diamond) and with the {findings.k:,} most selective ones "
        f"off (dot; mean over attributes). On average {number(means['none'])}, {number(means['control'])} and "
        f"{number(means['selective'])}. The dot lies left of the diamond for {worse} of "
        f"{count(len(table), 'concept')}.",
        f"Three marks a row for {count(len(table), 'concept')}, sorted by accuracy without masks.",
    )


def _drops(
    rows: pd.DataFrame, name: str, findings: Findings, band: tuple[float, float] | None = None
) -> tuple[Figure, str]:
    places = np.arange(len(rows))
    canvas = new_figure(row_height(len(rows)), width=6.2)
    axes = canvas.subplots()
    if band:
        axes.axvspan(*band, color=ORANGE, alpha=0.13, linewidth=0)
    axes.axvline(0, color=SOFT, linewidth=0.7, zorder=0)
    axes.hlines(places, rows["ci_low"], rows["ci_high"], color=BLUE, linewidth=1.4)
    axes.plot(rows["drop"], places, "o", color=BLUE, markersize=5, markeredgecolor="white", markeredgewidth=0.6)
    axes.set_yticks(places, rows[name])
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    axes.set_ylim(-0.8, len(rows) - 0.2)
    axes.set_xlabel(f"Drop in {findings.study.outcome.label}: {findings.words.adjective} − selective masks")
    best, worst = rows.iloc[-1], rows.iloc[0]
    alt = (
        f"Dots with intervals for {count(len(rows), name)}, from {best[name]} ({number(best['drop'], 3)}) to "
        f"{worst[name]} ({number(worst['drop'], 3)})."
    )
    return canvas, alt


@figure("c2_drop_by_attribute")
def drop_by_attribute(findings: Findings) -> Drawing:
    """Draw each attribute's drop with its interval, before the spread of the random masks."""
    rows = findings.at_k("drop_by_attribute").sort_values("drop")
    draws = findings.at_k("control_draws")
    away, mean = draw_deviations(draws, findings.words.exchangeable)
    band, band_text = None, ""
    if len(away):
        band = (-away.max(), -away.min())
        masks = f"{len(draws)} {findings.words.adjective} masks"
        band_text = (
            f" The shaded band is how far the {masks} lie from {mean}: a dot within it is no further off than one such "
            f"choice of neurons from another."
        )
    canvas, alt = _drops(rows, "attribute", findings, band)
    above, below = int((rows["ci_low"] > 0).sum()), int((rows["ci_high"] < 0).sum())
    return Drawing(
        canvas,
        "Which attributes’ neurons the model needs.",
        f"{findings.study.outcome.clause} lost with the {findings.k:,} neurons of an attribute, beyond what is lost "
        f"with as many "
        f"{findings.words.neurons}; lines are 95% intervals over {findings.study.replicates}, not "
        f"corrected for the number of attributes. Right of zero for {count(above, 'attribute')}, left for {below}."
        f"{band_text}",
        alt,
    )


@figure("c5_drop_by_concept")
def drop_by_concept(findings: Findings) -> Drawing:
    """Draw each concept's drop with its interval."""
    rows = findings.at_k("drop_by_concept").sort_values("drop")
    canvas, alt = _drops(rows, "concept", findings)
    above = rows[rows["ci_low"] > 0]["concept"].tolist()[::-1]
    names = f"for {listing(above)}" if above else "for none of them"
    return Drawing(
        canvas,
        "Which concepts suffer most.",
        f"The same loss by concept, averaged over attributes, with 95% intervals over {findings.study.replicates} and "
        f"attributes (which share the concept’s texts, so the true uncertainty is larger). The interval is above zero "
        f"{names}.",
        alt,
    )


@figure("c6_drop_by_size")
def drop_by_size(findings: Findings) -> Drawing | None:
    """Draw the drop against the number of neurons switched off, overall and for each attribute."""
    overall = findings.of_control("drop_overall").sort_values("k")
    if len(overall) < 2:
        return None
    lines = findings.of_control("drop_by_attribute").pivot_table("drop", "k", "attribute", dropna=False)
    canvas = new_figure(max(3.2, 1.2 + 0.14 * min(lines.shape[1], _MOST_NAMES)), width=6.2)
    axes = canvas.subplots()
    axes.axhline(0, color=FAINT, linewidth=0.8, zorder=0)
    if lines.shape[1] > 1:
        axes.plot(lines.index, lines, color=SOFT, alpha=0.55, linewidth=0.8)
    axes.vlines(overall["k"], overall["ci_low"], overall["ci_high"], color=BLUE, linewidth=1.6, zorder=3)
    axes.plot(overall["k"], overall["drop"], color=BLUE, linewidth=2.2, zorder=3)
    axes.plot(
        overall["k"],
        overall["drop"],
        "o",
        color=BLUE,
        markersize=5,
        markeredgecolor="white",
        markeredgewidth=0.6,
        zorder=4,
    )
    axes.set_xscale("log", base=2)
    level = len(overall) <= _MOST_LEVEL
    axes.set_xticks(overall["k"], [f"{k:,}" for k in overall["k"]], rotation=0 if level else 60)
    axes.minorticks_off()
    if 1 < lines.shape[1] <= _MOST_NAMES:
        _names_at_the_end(axes, canvas.get_figheight(), lines.iloc[-1].dropna().sort_values(), int(lines.index[-1]))
    axes.set_xlabel("Neurons switched off (logarithmic)")
    axes.set_ylabel(f"Drop in {findings.study.outcome.label}\n({findings.words.adjective} − selective masks)")
    drops = listing([number(drop, 3) for drop in overall["drop"]], 12)
    return Drawing(
        canvas,
        "Does the loss grow with the number of neurons?",
        f"The thick line is the drop averaged over attributes, compared with as many "
        f"{findings.words.neurons}, with 95% intervals over concepts; each thin line is one attribute. "
        f"{_slope_text(findings)}Where even the control masks leave little to lose, the drop must shrink again.",
        f"Drops at {count(len(overall), 'size')} of masks: {drops}; {count(lines.shape[1], 'thin line')}.",
    )


def _names_at_the_end(axes: Axes, height: float, ends: pd.Series, k: int) -> None:
    low, high = axes.get_ylim()
    inch = (high - low) / (height - 0.7)  # the labels below the axes take the rest
    places = spread_out(ends.to_numpy(np.float64), 0.125 * inch)
    frame = axes.get_yaxis_transform()
    right = axes.transAxes.inverted().transform(axes.transData.transform((k, 0)))[0]
    for value, place, name in zip(ends, places, ends.index, strict=True):
        axes.plot([right, 1.03], [value, place], color=FAINT, linewidth=0.6, transform=frame, clip_on=False, zorder=0)
        axes.text(1.04, place, name, ha="left", va="center", fontsize=7, color=INK, transform=frame)
    axes.set_ylim(low, high)


def _slope_text(findings: Findings) -> str:
    rows = findings.of_control("dose_response")
    pooled = rows[rows["attribute"] == ""]
    if pooled.empty:
        return ""
    row = pooled.iloc[0]
    span = interval(row["ci_low"], row["ci_high"], 3)
    return f"Each doubling changes the drop by {signed(row['slope'], 3)} {span} on average. "


@figure("c0_confusion")
def confusion_matrix(findings: Findings) -> Drawing | None:
    """Draw how often each concept was answered to the texts of each, with no neurons edited."""
    confusion = findings.table("confusion")
    rows = confusion[confusion["kind"] == "none"]
    if rows.empty:
        return None
    names = list(dict.fromkeys(rows["answer"]))
    cells = rows.pivot_table("share", "concept", "answer").reindex(index=names, columns=names).to_numpy(np.float64)
    canvas = square_figure(len(names))
    axes = canvas.subplots()
    most = max(float(np.nanmax(cells)), 0.01)
    image = axes.imshow(cells, cmap=sequential(), norm=Normalize(1e-9, most), interpolation="nearest")
    if len(names) <= MOST_NUMBERS:
        texts = [["" if np.isnan(value) else number(value) for value in row] for row in cells]
        write_cells(axes, texts, cells > 0.36 * most)
    frame_diagonal(axes, len(names))
    name_both_sides(axes, names)
    axes.set_ylabel("What the text shows")
    axes.set_xlabel("What the model answered")
    colour_bar(canvas, image, axes, "Share of the concept’s texts")

    right, answered = float(np.nanmean(np.diag(cells))), np.nanmean(cells, axis=0)
    often = int(answered.argmax())
    return Drawing(
        canvas,
        "What the model takes for what.",
        f"Each row: the texts of one concept, while no neuron is switched off; each cell: the share of them that the "
        f"model answered with the concept of the column (names scored by "
        f"{findings.study.outcome.scored_by}). In the frames are the "
        f"right answers, {number(right)} on average, where guessing gives {number(findings.chance)}. "
        f"{_mistakes(names, cells)}The commonest answer of all is {names[often]}, to {number(answered[often])} of a "
        f"concept’s texts on average.",
        f"Square matrix of {count(len(names), 'concept')} with a framed diagonal; shares on it from "
        f"{number(float(np.nanmin(np.diag(cells))))} to {number(float(np.nanmax(np.diag(cells))))}.",
    )


def _mistakes(names: list[str], cells: NDArray[np.float64]) -> str:
    """Name the pairs that were confused most often."""
    wrong = np.where(np.eye(len(names), dtype=bool) | np.isnan(cells), 0.0, cells)
    order = np.argsort(-wrong, axis=None, kind="stable")[:_MOST_NAMED]
    pairs = [divmod(int(place), len(names)) for place in order]
    mistakes = [
        f"{names[row]} for {names[column]} ({number(wrong[row, column])})"
        for row, column in pairs
        if wrong[row, column]
    ]
    return f"Most often it took {listing(mistakes)}. " if mistakes else ""


@figure("c7_specificity")
def specificity_matrix(findings: Findings) -> Drawing | None:
    """Draw how the concepts' drops after each attribute's neurons correlate with their scores on each attribute."""
    rows = findings.at_k("specificity")
    if rows.empty or rows["r"].isna().all() or len(findings.attributes) < 2:
        return None
    names = findings.attributes
    cells = rows.pivot_table("r", "attribute", "score").reindex(index=names, columns=names).to_numpy(np.float64)
    canvas = square_figure(len(names))
    axes = canvas.subplots()
    reach = max(float(np.nanmax(np.abs(cells))), 0.1)
    image = axes.imshow(cells, cmap=diverging(), norm=TwoSlopeNorm(0, -reach, reach), interpolation="nearest")
    if len(names) <= MOST_NUMBERS:
        texts = [["" if np.isnan(value) else number(value) for value in row] for row in cells]
        write_cells(axes, texts, np.abs(cells) > 0.6 * reach)
    frame_diagonal(axes, len(names))
    name_both_sides(axes, names)
    axes.set_ylabel("Neurons switched off")
    axes.set_xlabel("Scores of the concepts")
    colour_bar(canvas, image, axes, "Correlation over concepts")

    own = np.diag(cells)
    mean = float(own[np.isfinite(own)].mean()) if np.isfinite(own).any() else np.nan
    highest = [
        name
        for name, row, value in zip(names, cells, own, strict=True)
        if np.isfinite(value) and value >= np.nanmax(row)
    ]
    bluest = f"so for {listing(highest)}" if highest else "so for none of them"
    return Drawing(
        canvas,
        "Do the concepts that an attribute describes suffer most?",
        f"Each row: the {findings.k:,} neurons of one attribute are off. Each cell: how the concepts’ drops go with "
        f"their scores on the attribute of the column; blue means that concepts with high scores lose more, brown that "
        f"they lose less. If the losses were specific, the framed cells would be the bluest of their rows; they are "
        f"{bluest}.",
        f"Square matrix of {len(names)} attributes with a framed diagonal; correlations from "
        f"{number(np.nanmin(cells))} to {number(np.nanmax(cells))}, on the diagonal {number(mean)} on "
        f"average.",
    )
