"""Figure (c): does the drop grow with the number of neurons?"""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from emoscale.report.controls import control_adjective, control_neurons
from emoscale.report.findings import Findings
from emoscale.report.phrasing import count, interval, listing, number, signed
from emoscale.report.style import BLUE, FAINT, INK, SOFT, Drawing, new_figure, spread_out

_MOST_NAMES = 24
"""Most attributes that are named at the ends of their lines; more would not fit."""

_MOST_LEVEL = 5
"""Most sizes whose labels stand level without touching."""


def drop_by_size(findings: Findings) -> Drawing | None:
    """Draw the drop against the number of neurons switched off, overall and for each attribute."""
    overall = findings.of_control(findings.drop_overall).sort_values("k")
    if len(overall) < 2:
        return None
    lines = findings.of_control(findings.drop_by_attribute).pivot_table("drop", "k", "attribute", dropna=False)
    figure = new_figure(max(3.2, 1.2 + 0.14 * min(lines.shape[1], _MOST_NAMES)), width=6.2)
    axes = figure.subplots()
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
        _names_at_the_end(axes, figure.get_figheight(), lines.iloc[-1].dropna().sort_values(), int(lines.index[-1]))
    axes.set_xlabel("Neurons switched off (logarithmic)")
    axes.set_ylabel(f"Drop in accuracy\n({control_adjective(findings.control)} − selective masks)")
    drops = listing([number(drop, 3) for drop in overall["drop"]], 12)
    return Drawing(
        figure,
        "Does the loss grow with the number of neurons?",
        f"The thick line is the drop averaged over attributes, compared with as many "
        f"{control_neurons(findings.control)}, with 95% intervals over concepts; each thin line is one attribute. "
        f"{_slope_told(findings)}Where even the control masks leave little to lose, the drop must shrink again.",
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


def _slope_told(findings: Findings) -> str:
    rows = findings.of_control(findings.dose_response)
    pooled = rows[rows["attribute"] == ""]
    if pooled.empty:
        return ""
    row = pooled.iloc[0]
    span = interval(row["ci_low"], row["ci_high"], 3)
    return f"Each doubling changes the drop by {signed(row['slope'], 3)} {span} on average. "
