"""How much of the outcome the first neurons of a ranking carry alone: the figure and its sentences."""

from __future__ import annotations

import numpy as np
import pandas as pd

from emoscale.report.findings import Findings
from emoscale.report.phrasing import count, interval, listing, number, signed
from emoscale.report.study import RankingWords, Study
from emoscale.report.style import BLUE, FAINT, INK, ORANGE, SOFT, Drawing, figure, new_figure
from emoscale.report.verdicts import Verdict, direction
from emoscale.schema import RANDOM_RANKING

_COLOURS = (BLUE, ORANGE, INK, "#009E73", "#CC79A7")
"""From Okabe and Ito's palette."""
_HALF = 0.5


def is_defined(areas: pd.DataFrame) -> bool:
    """Whether the model was shown to do better with all neurons than with none: rows of ``faithfulness_areas``."""
    return not areas.empty and direction(areas["gap_ci_low"].iloc[0], areas["gap_ci_high"].iloc[0]) == Verdict.MORE


def against_random(areas: pd.DataFrame) -> dict[Verdict, list[str]]:
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
    found: dict[Verdict, list[str]] = {}
    for row in areas.to_dict("records"):
        verdict = direction(row["over_random_ci_low"], row["over_random_ci_high"])
        if verdict != Verdict.UNTESTED:
            found.setdefault(verdict, []).append(str(row["ranking"]))
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


def faithfulness_text(findings: Findings) -> list[str]:
    """Say how much the first neurons of the rankings carry alone, and whether that is more than random ones do.

    Returns
    -------
    list of str
        Sentences; none if the run has not measured it.
    """
    areas, study = findings.table("faithfulness_areas"), findings.study
    if areas.empty:
        return []
    first = areas.iloc[0]
    gap = f"{signed(first['gap'])} nats {interval(first['gap_ci_low'], first['gap_ci_high'])}"
    asked = f"on {count(int(first['items']), 'question')}"
    if not is_defined(areas):
        return [
            f"How much the first neurons of a ranking carry alone is not defined here: {asked} the log-odds of the "
            f"right answer were not shown to be higher with all neurons than when all of them {study.others} "
            f"(difference {gap})."
        ]
    table = findings.table("faithfulness")
    halves = [
        f"{100 * smallest_half(table[table['ranking'] == name]):.3g} % by {_label(study, name)}"
        for name in areas["ranking"]
    ]
    return [
        f"All neurons together add {gap} to the log-odds of the right answer {asked}, against the same model when all "
        f"of them {study.others}. If only the first neurons of a ranking are kept, half of this or more is left from "
        f"{listing(halves)} on.",
        *_against_random_text(areas, study),
        *_optimism(areas, study),
    ]


def _against_random_text(areas: pd.DataFrame, study: Study) -> list[str]:
    said = {
        Verdict.MORE: "carry more than random ones if ranked by",
        Verdict.LESS: "carry less than random ones if ranked by",
        Verdict.SAME: "were not shown to carry more or less than random ones if ranked by",
    }
    rows = {str(row["ranking"]): row for row in areas.to_dict("records")}
    clauses = []
    for verdict, names in against_random(areas).items():
        each = [
            f"{_label(study, name)} ({signed(rows[name]['over_random'])} "
            f"{interval(rows[name]['over_random_ci_low'], rows[name]['over_random_ci_high'])})"
            for name in names
        ]
        clauses.append(f"{said[verdict]} {listing(each)}")
    if not clauses:
        return []
    return [f"Over all shares (CPR, the area under the curve), the first neurons {'; they '.join(clauses)}."]


def _optimism(areas: pd.DataFrame, study: Study) -> list[str]:
    names = [_label(study, name) for name in areas["ranking"] if _words(study, name).by_effects]
    if not names:
        return []
    return [
        f"The effects were estimated on these same questions, among others, so that the ranking by {listing(names)} "
        "may look better here than on other questions."
    ]


def _words(study: Study, name: str) -> RankingWords:
    return study.rankings.get(name, RankingWords(name))


def _label(study: Study, name: str) -> str:
    return _words(study, name).label


@figure("d1_faithfulness")
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
    each = [
        f"{_label(findings.study, str(row['ranking']))} {number(row['cpr'])} "
        f"{interval(row['cpr_ci_low'], row['cpr_ci_high'])}"
        for row in by_area
    ]
    return Drawing(
        canvas,
        "How much the first neurons carry alone.",
        f"Share of what all neurons add to the log-odds of the right answer that is left with only the first neurons "
        f"of a ranking, when all others {findings.study.others}: 0 is as with none of them, 1 as with all. Bands are "
        f"95% intervals over texts. Areas under the curves on a linear scale (CPR), ranked by "
        f"{listing(each)}.",
        f"{count(len(names), 'rising curve')} from few neurons on the left to all on the right, where each is 1.",
    )
