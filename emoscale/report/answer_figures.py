"""Figures of the answers: what is needed, what follows the attributes, and how well the model does the task."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from emoscale.report.findings import Findings
from emoscale.report.marks import Points, matrix, names_of
from emoscale.report.on_axes import (
    darker,
    draw_ticks,
    follower_rows,
    interval_rows,
    legend_above,
    name_rows,
    square_matrix,
)
from emoscale.report.phrasing import count, named, number
from emoscale.report.sides import draw_deviations
from emoscale.report.style import (
    BLUE,
    COLOURS,
    FAINT,
    ORANGE,
    SOFT,
    Drawing,
    figure,
    new_figure,
    result_dot,
    row_height,
    square_figure,
)
from emoscale.run.verdicts import LEVEL, Answer, Question, can_decide, deciding_p
from emoscale.schema import ALL_ATTRIBUTES, PERMUTED

_MOST_NAMED = 3
"""Most pairs of concepts that the caption names."""

_ANSWERS = {
    Answer.YES.value: "needed",
    Answer.NO.value: "not needed",
    Answer.UNKNOWN.value: "cannot be told",
}


@figure(
    "a1_needed",
    "Which attributes’ neurons does the model need?",
    "tables/needed.csv",
    gate=(Question.TASK, Question.FOLLOWERS),
)
def needed_forest(findings: Findings) -> Drawing | None:
    """Draw each attribute's drop with its interval, the spread under permuted concepts and the smallest effect."""
    rows = findings.needed
    if rows.empty:
        return None
    rows = rows[np.isfinite(rows["drop"]) | np.isfinite(rows["estimated_drop"])].sort_values(
        "drop", kind="stable", na_position="first"
    )
    if rows.empty:
        return None
    mean = findings.at_k("needed")
    table = pd.concat([mean[mean["attribute"] == ALL_ATTRIBUTES], rows], ignore_index=True)
    places = np.arange(len(table), dtype=np.float64)
    places[0] -= 0.5
    canvas = new_figure(row_height(len(table), 0.21, 1.15), width=7.0)
    axes = canvas.subplots()
    smallest, draws = findings.smallest_effect, _permuted_draws(findings)
    if np.isfinite(smallest):
        axes.axvspan(-smallest, smallest, color=ORANGE, alpha=0.12, linewidth=0, label="too small to matter")
    axes.axvline(0, color=SOFT, linewidth=0.7, zorder=0)
    has_estimates = bool(np.isfinite(table["estimated_low"]).any())
    if has_estimates:
        _estimates(axes, table, places)
    draw_ticks(axes, places, table["attribute"].tolist(), draws)
    _dots(axes, table, places, _deciding_p(table))
    name_rows(axes, places, ["mean over attributes", *rows["attribute"]])
    _write_answers(axes, places, table["answer"].astype(str).tolist())
    compared = "masks of permuted concepts − selective masks"
    axes.set_xlabel(f"Drop in {findings.study.outcome.label}{_unit(findings)}: {compared}")
    legend_above(axes)
    return Drawing(
        canvas,
        f"Dots with intervals for {count(len(rows), 'attribute')} and their mean, which is "
        f"{number(float(table['drop'].iloc[0]), 3)}.",
        {
            "k": findings.k,
            "outcome": findings.study.outcome,
            "draws": int(table["draws"].max()),
            "by_estimates": not can_decide(table["draws"].max()),
            "has_estimates": has_estimates,
            "has_draws": bool(draws),
            "smallest": smallest,
        },
        marks=[
            Points(
                axes,
                table["estimated_drop"].tolist(),
                places.tolist(),
                names_of([f"{name}, estimated" for name in table["attribute"]], table["estimated_drop"]),
            ),
            Points(axes, table["drop"].tolist(), places.tolist(), names_of(table["attribute"], *_drops(table))),
        ],
    )


def _drops(table: pd.DataFrame) -> tuple[pd.Series, pd.Series, pd.Series]:
    return table["drop"], table["ci_low"], table["ci_high"]


def _estimates(axes: Axes, table: pd.DataFrame, places: NDArray[np.float64]) -> None:
    label = "middle 95% under permuted concepts (estimated)"
    axes.hlines(places, table["estimated_low"], table["estimated_high"], color=FAINT, linewidth=7, label=label)
    axes.plot(
        table["estimated_drop"],
        places,
        "D",
        label="estimated from single neurons",
        markeredgecolor=SOFT,
        markerfacecolor="white",
        markersize=4,
    )


def _deciding_p(table: pd.DataFrame) -> NDArray[np.float64]:
    """Return the corrected p by ablated masks, or by estimates where the masks are too few for any p to be small."""
    return np.array([deciding_p(row) for _, row in table.iterrows()], dtype=np.float64)


def _permuted_draws(findings: Findings) -> dict[str, NDArray[np.float64]]:
    """Return by attribute how far each permuted mask's outcome lies below the mean of the others of its attribute."""
    rows = findings.table("control_draws")
    rows = rows[(rows["control"] == PERMUTED) & (rows["k"] == findings.k)]
    if rows.empty:
        return {}
    away = -draw_deviations(rows, exchangeable=False)
    return {str(name): values.to_numpy() for name, values in away.groupby(rows["attribute"]) if len(values) > 1}


def _dots(axes: Axes, table: pd.DataFrame, places: NDArray[np.float64], p: NDArray[np.float64]) -> None:
    axes.hlines(places, table["ci_low"], table["ci_high"], color=BLUE, linewidth=1.5, zorder=3)
    for passed, label in ((True, "corrected p ≤ .05"), (False, "not significant")):
        some = (p <= LEVEL) == passed
        if np.isfinite(table["drop"][some]).any():
            axes.plot(table["drop"][some], places[some], "o", label=label, **result_dot(passed))


def _write_answers(axes: Axes, places: NDArray[np.float64], answers: Sequence[str]) -> None:
    frame = axes.get_yaxis_transform()
    for place, answer in zip(places, answers, strict=True):
        text = _ANSWERS.get(answer, "")
        axes.text(1.02, place, text, transform=frame, va="center", fontsize=7, color=SOFT)


def _unit(findings: Findings) -> str:
    unit = findings.study.outcome.unit
    return f" ({unit})" if unit else ""


@figure("a2_followers", "How many neurons follow an attribute, and how many by chance?", "tables/followers.csv")
def followers_forest(findings: Findings) -> Drawing | None:
    """Draw each attribute's number of followers beside the numbers under permuted concepts."""
    rows = findings.table("followers")
    if rows.empty or not np.isfinite(rows["p_corrected"]).any():
        return None
    rows = rows.sort_values("followers", kind="stable").reset_index(drop=True)
    places = np.arange(len(rows), dtype=np.float64)
    canvas = new_figure(row_height(len(rows), 0.2, 1.1), width=6.6)
    axes = canvas.subplots()
    follower_rows(axes, rows)
    top = rows.iloc[-1]
    return Drawing(
        canvas,
        f"Dots for {count(len(rows), 'attribute')} beside bars for permuted concepts; most for {top['attribute']} "
        f"({top['followers']:,.0f}).",
        {"permutations": findings.permutations},
        marks=[Points(axes, rows["followers"].tolist(), places.tolist(), _counts(rows))],
    )


def _counts(rows: pd.DataFrame) -> list[str]:
    return [
        f"{one.attribute}: {one.followers:,.0f}, permuted concepts {one.null_low:,.0f} to {one.null_high:,.0f}, "
        f"at most {one.null_largest:,.0f}"
        for one in rows.itertuples()
    ]


@figure(
    "a3_drop_by_attribute",
    "Which attributes’ neurons does the model need, by the published test?",
    "tables/drop_by_attribute.csv",
    only_as_published=True,
)
def published_forest(findings: Findings) -> Drawing | None:
    """Draw each attribute's drop against the control, with the published test's interval."""
    rows = findings.at_k("drop_by_attribute").sort_values("drop")
    if rows.empty:
        return None
    draws = findings.at_k("control_draws")
    away = draw_deviations(draws, findings.words.exchangeable)
    band = (-away.max(), -away.min()) if len(away) else None
    canvas, alt, marks = drop_rows(rows, "attribute", findings, band)
    return Drawing(
        canvas,
        alt,
        {
            "k": findings.k,
            "outcome": findings.study.outcome,
            "neurons": findings.words.neurons,
            "units": findings.study.replicates,
            "masks": len(draws) if band else 0,
            "above": int((rows["ci_low"] > 0).sum()),
            "below": int((rows["ci_high"] < 0).sum()),
        },
        marks=[marks],
    )


def drop_rows(
    rows: pd.DataFrame, name: str, findings: Findings, band: tuple[float, float] | None = None
) -> tuple[Figure, str, Points]:
    """Draw a row with its interval for each attribute or concept, and return what is seen and its points."""
    places = np.arange(len(rows))
    canvas = new_figure(row_height(len(rows)), width=6.2)
    axes = canvas.subplots()
    interval_rows(axes, rows[name].tolist(), rows, band)
    axes.set_xlabel(f"Drop in {findings.study.outcome.label}: {findings.words.adjective} − selective masks")
    best, worst = rows.iloc[-1], rows.iloc[0]
    alt = (
        f"Dots with intervals for {count(len(rows), name)}, from {best[name]} ({number(best['drop'], 3)}) to "
        f"{worst[name]} ({number(worst['drop'], 3)})."
    )
    return canvas, alt, Points(axes, rows["drop"].tolist(), places.tolist(), names_of(rows[name], *_drops(rows)))


@figure("b1_accuracy_by_concept", "Which concepts can the model infer?", "tables/accuracy.csv")
def accuracy_by_concept(findings: Findings) -> Drawing:
    """Draw each concept's accuracy without masks and, where losses are described, with control and selective ones."""
    labels = {
        "none": "no neuron off",
        "control": f"{findings.words.label} off",
        "selective": "selective neurons off",
    }
    accuracy = findings.table("accuracy")
    rows = accuracy.assign(kind=accuracy["kind"].replace({findings.control: "control"}))
    masked = findings.shows_losses
    rows = rows[(rows["kind"] == "none") | (masked & (rows["k"] == findings.k) & rows["kind"].isin(labels))]
    table = rows.pivot_table("accuracy", "concept", "kind").sort_values("none")
    places = np.arange(len(table))
    canvas = new_figure(row_height(len(table), rest=1.0), width=6.6)
    axes = canvas.subplots()
    axes.axvline(findings.chance, color=FAINT, linewidth=1, zorder=0)
    axes.hlines(places, table.min(axis=1), table.max(axis=1), color=FAINT, linewidth=1.6, zorder=1)
    for kind, label in labels.items():
        if kind not in table:
            continue
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
    means = {str(name): float(value) for name, value in table.mean().items()}
    return Drawing(
        canvas,
        f"Up to three marks a row for {count(len(table), 'concept')}, sorted by accuracy without masks.",
        {
            "k": findings.k,
            "neurons": findings.words.neurons,
            "masked": masked,
            "means": means,
            "worse": int((table["selective"] < table["control"]).sum()) if masked else 0,
            "concepts": len(table),
        },
        marks=[
            Points(
                axes,
                table[kind].tolist(),
                places.tolist(),
                [named(f"{concept}, {label}", value) for concept, value in table[kind].items()],
            )
            for kind, label in labels.items()
            if kind in table
        ],
    )


@figure("b2_confusion", "What does the model take for what?", "tables/confusion.csv", gate=(Question.TASK,))
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
    texts = [["" if np.isnan(value) else number(value) for value in row] for row in cells]
    square_matrix(axes, cells, texts, names, darker(cells, most), "Share of the concept’s texts", framed=True)
    axes.set_ylabel("What the text shows")
    axes.set_xlabel("What the model answered")

    answered = np.nanmean(cells, axis=0)
    often = int(answered.argmax())
    return Drawing(
        canvas,
        f"Square matrix of {count(len(names), 'concept')} with a framed diagonal; shares on it from "
        f"{number(float(np.nanmin(np.diag(cells))))} to {number(float(np.nanmax(np.diag(cells))))}.",
        {
            "scored_by": findings.study.outcome.scored_by,
            "right": float(np.nanmean(np.diag(cells))),
            "chance": findings.chance,
            "mistakes": _mistakes(names, cells),
            "often": names[often],
            "often_share": float(answered[often]),
        },
        marks=[matrix(axes, cells, names, names, between=" taken for ")],
    )


def _mistakes(names: list[str], cells: NDArray[np.float64]) -> list[str]:
    """Name the pairs that were confused most often."""
    wrong = np.where(np.eye(len(names), dtype=bool) | np.isnan(cells), 0.0, cells)
    order = np.argsort(-wrong, axis=None, kind="stable")[:_MOST_NAMED]
    pairs = [divmod(int(place), len(names)) for place in order]
    return [
        f"{names[row]} for {names[column]} ({number(wrong[row, column])})"
        for row, column in pairs
        if wrong[row, column]
    ]
