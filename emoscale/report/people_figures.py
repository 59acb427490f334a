"""Figures that bring people in: what matters to them, and whether the same matters to the model."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from emoscale.report.findings import Findings
from emoscale.report.marks import Points, names_of
from emoscale.report.phrasing import count, listing, number
from emoscale.report.style import BLUE, DOTS, FAINT, INK, SOFT, Drawing, figure, new_figure, row_height, spread_out
from emoscale.run.verdicts import Question
from emoscale.schema import WITH_IMPORTANCE

_GATE = (Question.TASK, Question.FOLLOWERS)
"""Without these, nothing with a sign is said of people."""


@figure("e1_importance", "What matters to people?", "tables/importance.csv", gate=_GATE)
def importance_bars(findings: Findings) -> Drawing | None:
    """Draw how much each attribute matters in people's own space of the concepts."""
    if not findings.has_people:
        return None
    rows = findings.table("importance").sort_values("tau", ascending=True, na_position="first")
    canvas = new_figure(row_height(len(rows)), width=6.0)
    axes = canvas.subplots()
    axes.barh(range(len(rows)), rows["tau"], height=0.66, color=BLUE)
    has_intervals = "ci_low" in rows
    if has_intervals:
        axes.hlines(range(len(rows)), rows["ci_low"], rows["ci_high"], color=INK, linewidth=1)
    for place, (tau, end) in enumerate(zip(rows["tau"], rows["ci_high" if has_intervals else "tau"], strict=True)):
        if np.isfinite(tau):
            axes.annotate(
                number(tau),
                (max(tau, end, 0), place),
                (3, 0),
                textcoords="offset points",
                va="center",
                fontsize=7,
                color=SOFT,
            )
    axes.axvline(0, color=SOFT, linewidth=0.6)
    axes.set_yticks(range(len(rows)), rows["attribute"])
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    axes.margins(y=0.02)
    axes.set_xlabel("Importance in people (Kendall’s τ)")
    names = names_of(rows["attribute"], rows["tau"], *((rows["ci_low"], rows["ci_high"]) if has_intervals else ()))
    return Drawing(
        canvas,
        f"Bars of {count(len(rows), 'attribute')}, from {number(rows['tau'].max())} to {number(rows['tau'].min())}.",
        {"has_intervals": has_intervals, "dropped": rows[rows["tau"].isna()]["attribute"].tolist()},
        marks=[Points(axes, rows["tau"].tolist(), list(range(len(rows))), names)],
    )


@figure(
    "e2_drop_by_importance", "Does the model need what people need?", "tables/drop_by_concept_attribute.csv", gate=_GATE
)
def drop_by_importance(findings: Findings) -> Drawing | None:
    """Draw the attributes' drops against their importance, a line for each concept."""
    if not findings.has_people:
        return None
    tau = findings.table("importance").set_index("attribute")["tau"].dropna().sort_values()
    rows = findings.at_k("drop_by_concept_attribute")
    all_drops = rows.pivot_table("drop", "concept", "attribute").reindex(columns=tau.index)
    drops = all_drops.dropna()
    x, y = tau.to_numpy(), drops.to_numpy()
    if len(np.unique(x)) < 2 or not len(y):
        return None
    canvas = new_figure(4.4, width=6.4)
    axes = canvas.subplots()
    ends = np.array([x.min(), x.max()])
    slope, level = np.polyfit(x, y.T, 1)
    for line_slope, line_level in zip(slope, level, strict=True):
        axes.plot(ends, line_slope * ends + line_level, color=SOFT, alpha=0.45, linewidth=0.7)
    axes.plot(ends, slope.mean() * ends + level.mean(), color=BLUE, linewidth=2.2)
    axes.plot(x, y.mean(axis=0), "o", color=BLUE, markersize=4.5, markeredgecolor="white", markeredgewidth=0.5)
    axes.axhline(0, color=FAINT, linewidth=0.8, zorder=0)
    _names_above(axes, x, tau.index.tolist())
    axes.set_xlabel("Importance of the attribute in people (Kendall’s τ)")
    axes.set_ylabel(f"Drop in {findings.study.outcome.label}\n({findings.words.adjective} − selective masks)")

    importances = findings.table("importance")["attribute"]
    return Drawing(
        canvas,
        f"Scatter of {count(len(x), 'attribute')} with {count(len(slope), 'trend line')}.",
        {
            "k": findings.k,
            "neurons": findings.words.neurons,
            "rising": int((slope > 0).sum()),
            "concepts": len(slope),
            "dropped": sorted({*importances} - {*tau.index}) + sorted({*all_drops.index} - {*drops.index}),
        },
        marks=[
            Points(
                axes,
                x.tolist(),
                y.mean(axis=0).tolist(),
                [
                    f"{name}: importance {number(value)}, drop {number(lost, 3)}"
                    for name, value, lost in zip(tau.index, x, y.mean(axis=0), strict=True)
                ],
            )
        ],
    )


def _names_above(axes: Axes, x: NDArray[np.float64], names: list[str]) -> None:
    # Many attributes matter about equally little; their names are moved apart and tied to their place by a thin line.
    low, high = axes.get_xlim()
    gap = 0.036 * (high - low)
    places = spread_out(x, gap)
    frame = axes.get_xaxis_transform()
    for value, place, name in zip(x, places, names, strict=True):
        axes.plot([value, place], [1.0, 1.05], color=FAINT, linewidth=0.6, transform=frame, clip_on=False)
        axes.text(place, 1.055, name, rotation=60, ha="left", va="bottom", fontsize=7, color=INK, transform=frame)
    axes.set_xlim(low, high)


@figure(
    "e3_correlation_by_size",
    "Does agreement with people depend on the number of neurons?",
    "tables/permuted_tests.csv",
    gate=_GATE,
)
def correlation_by_size(findings: Findings) -> Drawing | None:
    """Draw the correlation of drop and importance for each size of the masks, before that of permuted masks."""
    rows = findings.permuted_tests(WITH_IMPORTANCE)
    rows = rows[np.isfinite(rows["value"])] if len(rows) else rows
    if len(rows) < 2:
        return None
    canvas = new_figure(2.9, width=5.0)
    axes = canvas.subplots()
    axes.axhline(0, color=FAINT, linewidth=0.8, zorder=0)
    axes.fill_between(rows["k"], rows["null_low"], rows["null_high"], color=FAINT, alpha=0.5, linewidth=0, zorder=0)
    axes.vlines(rows["k"], rows["ci_low"], rows["ci_high"], color=BLUE, linewidth=1.4)
    axes.plot(rows["k"], rows["value"], color=BLUE, linewidth=1.2, **DOTS)
    axes.set_xscale("log", base=2)
    axes.set_xticks(rows["k"], [f"{k:,}" for k in rows["k"]])
    axes.minorticks_off()
    axes.margins(x=0.12)
    axes.set_ylim(-1, 1)
    axes.set_xlabel("Neurons switched off (logarithmic)")
    axes.set_ylabel("Correlation of drop and importance")
    return Drawing(
        canvas,
        f"Correlations at {count(len(rows), 'size')} of masks: {listing([number(r) for r in rows['value']], 12)}.",
        {"draws": int(rows["draws"].max())},
        marks=[
            Points(
                axes,
                rows["k"].tolist(),
                rows["value"].tolist(),
                names_of([f"{k:,} neurons, r" for k in rows["k"]], rows["value"], rows["ci_low"], rows["ci_high"]),
            )
        ],
    )
