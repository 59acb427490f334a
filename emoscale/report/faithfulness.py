"""How much of the outcome the first neurons of a ranking carry alone: the figure and its numbers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from emoscale.effect_schema import RANDOM_RANKING
from emoscale.report.findings import Findings
from emoscale.report.marks import Points, names_of
from emoscale.report.phrasing import count
from emoscale.report.sides import Side, direction
from emoscale.report.study import RankingWords, Study
from emoscale.report.style import BLUE, FAINT, INK, ORANGE, SOFT, Drawing, figure, new_figure
from emoscale.run.verdicts import Question

_COLOURS = (BLUE, ORANGE, INK, "#009E73", "#CC79A7")
"""From Okabe and Ito's palette."""
_HALF = 0.5


def is_defined(areas: pd.DataFrame) -> bool:
    """Whether the model was shown to do better with all neurons than with none: rows of ``faithfulness_areas``."""
    return not areas.empty and direction(areas["gap_ci_low"].iloc[0], areas["gap_ci_high"].iloc[0]) == Side.MORE


def against_random(areas: pd.DataFrame) -> dict[Side, list[str]]:
    """Sort the rankings by whether their first neurons carry more than random ones.

    Parameters
    ----------
    areas : DataFrame
        ``faithfulness_areas``.

    Returns
    -------
    dict
        Names of rankings by `MORE`, `LESS` and `SAME` (not shown to differ); those that were not compared are missing.
    """
    found: dict[Side, list[str]] = {}
    for row in areas.to_dict("records"):
        side = direction(row["over_random_ci_low"], row["over_random_ci_high"])
        if side != Side.UNTESTED:
            found.setdefault(side, []).append(str(row["ranking"]))
    return found


def smallest_half(rows: pd.DataFrame) -> float:
    """Return the smallest measured share from which on the neurons carry half of the outcome or more alone.

    Parameters
    ----------
    rows : DataFrame
        Of one ranking in ``faithfulness``.
    """
    ordered = rows.sort_values("share")
    less = np.flatnonzero(ordered["faithfulness"].to_numpy() < _HALF)
    return float(ordered["share"].iloc[less[-1] + 1])


def faithfulness_data(findings: Findings) -> dict[str, Any] | None:
    """Return how much the first neurons of the rankings carry alone, and whether that is more than random ones do.

    Returns
    -------
    dict or None
        ``first`` (any row of the areas), ``defined``, ``halves`` (label and the share from which on half is kept),
        ``against`` (rows with their labels by side of random neurons) and ``optimistic`` (labels of rankings by
        estimates from the same items); None if the run has not measured it.
    """
    areas, study = findings.table("faithfulness_areas"), findings.study
    if areas.empty:
        return None
    defined = is_defined(areas)
    table = findings.table("faithfulness")
    rows = {
        str(row["ranking"]): row | {"label": _label(study, str(row["ranking"]))} for row in areas.to_dict("records")
    }
    halves = [(rows[name]["label"], smallest_half(table[table["ranking"] == name])) for name in rows] if defined else []
    return {
        "first": areas.iloc[0].to_dict(),
        "defined": defined,
        "halves": halves,
        "against": {side.value: [rows[name] for name in names] for side, names in against_random(areas).items()},
        "optimistic": [row["label"] for name, row in rows.items() if _words(study, name).by_effects],
    }


def _words(study: Study, name: str) -> RankingWords:
    return study.rankings.get(name, RankingWords(name))


def _label(study: Study, name: str) -> str:
    return _words(study, name).label


@figure(
    "f1_faithfulness",
    "How much do the first neurons carry alone?",
    "tables/faithfulness.csv",
    gate=(Question.TASK,),
)
def faithfulness_curves(findings: Findings) -> Drawing | None:
    """Draw faithfulness against the share of the neurons kept, one line a ranking with its interval."""
    areas, table = findings.table("faithfulness_areas"), findings.table("faithfulness")
    if not is_defined(areas):
        return None
    names = [str(name) for name in areas["ranking"]]
    canvas = new_figure(3.2, width=6.2)
    axes = canvas.subplots()
    for level in (0, 1):
        axes.axhline(level, color=FAINT, linewidth=1, zorder=0)
    drawn = table[table["k"] > 0]
    for number_, name in enumerate(names):
        rows = drawn[drawn["ranking"] == name].sort_values("share")
        colour = SOFT if name == RANDOM_RANKING else _COLOURS[number_ % len(_COLOURS)]
        style = "--" if name == RANDOM_RANKING else "-"
        percent = 100 * rows["share"]
        axes.fill_between(percent, rows["ci_low"], rows["ci_high"], color=colour, alpha=0.15, linewidth=0)
        label = _label(findings.study, name)
        axes.plot(percent, rows["faithfulness"], style, marker="o", markersize=3, color=colour, label=label)
    axes.set_xscale("log")
    ticks = sorted({float(f"{100 * share:.2g}") for share in drawn["share"]})
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.minorticks_off()
    axes.set_xlabel("Neurons kept, % of all (log scale)")
    axes.set_ylabel("Faithfulness")
    axes.legend(loc="lower center", bbox_to_anchor=(0.45, 1.0), ncols=4, handletextpad=0.4, columnspacing=1.4)
    by_area = areas.sort_values("cpr", ascending=False, kind="stable").to_dict("records")
    labelled = [row | {"label": _label(findings.study, str(row["ranking"]))} for row in by_area]
    return Drawing(
        canvas,
        f"{count(len(names), 'rising curve')} from few neurons on the left to all on the right, where each is 1.",
        {"areas": labelled},
        marks=[
            Points(
                axes,
                (100 * drawn["share"]).tolist(),
                drawn["faithfulness"].tolist(),
                names_of(
                    [
                        f"{_label(findings.study, str(name))}, {100 * share:.3g}%"
                        for name, share in zip(drawn["ranking"], drawn["share"], strict=True)
                    ],
                    *(drawn[name] for name in ("faithfulness", "ci_low", "ci_high")),
                ),
            )
        ],
    )
