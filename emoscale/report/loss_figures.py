"""Figures of the losses: by number of neurons, by concept, and by how well attribute and concept go together."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import TwoSlopeNorm

from emoscale.report.answer_figures import drop_rows
from emoscale.report.findings import Findings
from emoscale.report.marks import Points, matrix, names_of
from emoscale.report.on_axes import Colours, square_matrix
from emoscale.report.phrasing import count, listing, number
from emoscale.report.style import (
    BLUE,
    DOTS,
    FAINT,
    INK,
    SOFT,
    Drawing,
    diverging,
    figure,
    new_figure,
    spread_out,
    square_figure,
)
from emoscale.run.verdicts import Question
from emoscale.schema import ALL_ATTRIBUTES

_MOST_NAMES = 24
"""Most attributes that are named at the ends of their lines; more would not fit."""

_MOST_LEVEL = 5
"""Most sizes whose labels are level without touching."""


@figure(
    "d1_drop_by_size",
    "Does the loss grow with the number of neurons?",
    "tables/needed.csv",
    gate=(Question.TASK, Question.FOLLOWERS),
)
def drop_by_size(findings: Findings) -> Drawing | None:
    """Draw the drop against the number of neurons switched off, overall and for each attribute."""
    overall, single, compared = _by_size(findings)
    if len(overall) < 2:
        return None
    lines = single.pivot_table("drop", "k", "attribute", dropna=False)
    canvas = new_figure(max(3.2, 1.2 + 0.14 * min(lines.shape[1], _MOST_NAMES)), width=6.2)
    axes = canvas.subplots()
    axes.axhline(0, color=FAINT, linewidth=0.8, zorder=0)
    if "estimated_low" in overall:
        null = (overall["estimated_low"], overall["estimated_high"])
        axes.fill_between(overall["k"], *null, color=FAINT, alpha=0.5, linewidth=0, zorder=0)
    if lines.shape[1] > 1:
        axes.plot(lines.index, lines, color=SOFT, alpha=0.55, linewidth=0.8)
    axes.vlines(overall["k"], overall["ci_low"], overall["ci_high"], color=BLUE, linewidth=1.6, zorder=3)
    axes.plot(overall["k"], overall["drop"], color=BLUE, linewidth=2.2, zorder=4, **DOTS)
    axes.set_xscale("log", base=2)
    level = len(overall) <= _MOST_LEVEL
    axes.set_xticks(overall["k"], [f"{k:,}" for k in overall["k"]], rotation=0 if level else 60)
    axes.minorticks_off()
    if 1 < lines.shape[1] <= _MOST_NAMES:
        _names_at_the_end(axes, canvas.get_figheight(), lines.iloc[-1].dropna().sort_values(), int(lines.index[-1]))
    axes.set_xlabel("Neurons switched off (logarithmic)")
    axes.set_ylabel(f"Drop in {findings.study.outcome.label}\n({compared} − selective masks)")
    drops = listing([number(drop, 3) for drop in overall["drop"]], 12)
    return Drawing(
        canvas,
        f"Drops at {count(len(overall), 'size')} of masks: {drops}; {count(lines.shape[1], 'thin line')}.",
        {"compared": compared, "has_null": "estimated_low" in overall},
        marks=[
            Points(axes, single["k"].tolist(), single["drop"].tolist(), _sized(single)),
            Points(
                axes, overall["k"].tolist(), overall["drop"].tolist(), _sized(overall.assign(attribute=ALL_ATTRIBUTES))
            ),
        ],
    )


def _sized(table: pd.DataFrame) -> list[str]:
    """Return the attribute, number of neurons, drop and interval of each row."""
    labels = [f"{name}, {k:,}" for name, k in zip(table["attribute"], table["k"], strict=True)]
    return names_of(labels, table["drop"], table["ci_low"], table["ci_high"])


def _by_size(findings: Findings) -> tuple[pd.DataFrame, pd.DataFrame, str]:
    """Return the mean over attributes, each attribute, and what they are compared with."""
    table = findings.table("needed")
    if table.empty or table["drop"].isna().all():
        overall = findings.of_control("drop_overall").sort_values("k")
        return overall, findings.of_control("drop_by_attribute"), findings.words.adjective
    return findings.needed_by_size, table[table["attribute"] != ALL_ATTRIBUTES], "permuted"


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


@figure(
    "d2_drop_by_concept",
    "Which concepts suffer most?",
    "tables/drop_by_concept.csv",
    gate=(Question.TASK, Question.FOLLOWERS),
)
def drop_by_concept(findings: Findings) -> Drawing | None:
    """Draw each concept's drop with its interval."""
    rows = findings.at_k("drop_by_concept").sort_values("drop")
    if rows.empty:
        return None
    canvas, alt, marks = drop_rows(rows, "concept", findings)
    return Drawing(
        canvas,
        alt,
        {
            "units": findings.study.replicates,
            "neurons": findings.words.neurons,
            "above": rows[rows["ci_low"] > 0]["concept"].tolist()[::-1],
        },
        marks=[marks],
    )


@figure(
    "d3_specificity",
    "Do the concepts that an attribute describes suffer most?",
    "tables/specificity.csv",
    gate=(Question.TASK, Question.FOLLOWERS),
)
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
    texts = [["" if np.isnan(value) else number(value) for value in row] for row in cells]
    coloured = Colours(diverging(), TwoSlopeNorm(0, -reach, reach), np.abs(cells) > 0.6 * reach)
    square_matrix(axes, cells, texts, names, coloured, "Correlation over concepts", framed=True)
    axes.set_ylabel("Neurons switched off")
    axes.set_xlabel("Scores of the concepts")

    own = np.diag(cells)
    return Drawing(
        canvas,
        f"Square matrix of {len(names)} attributes with a framed diagonal; correlations from "
        f"{number(np.nanmin(cells))} to {number(np.nanmax(cells))}.",
        {
            "k": findings.k,
            "neurons": findings.words.neurons,
            "highest": [
                name
                for name, row, value in zip(names, cells, own, strict=True)
                if np.isfinite(value) and value >= np.nanmax(row)
            ],
            "dropped": [name for name, value in zip(names, own, strict=True) if not np.isfinite(value)],
        },
        marks=[matrix(axes, cells, [f"{name} neurons off" for name in names], names, between=", scores on ")],
    )
