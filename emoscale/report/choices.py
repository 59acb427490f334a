"""The losses by size, control and outcome, for a reader to choose from: the figures show one of each."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from emoscale.report.charts import Mark, forest
from emoscale.report.findings import Findings
from emoscale.run.verdicts import LEVEL, deciding_p
from emoscale.schema import ALL_ATTRIBUTES, PERMUTED

Values = dict[str, Any]

OUTCOME, ACCURACY = "outcome", "accuracy"
_COLUMNS = {
    OUTCOME: ("drop", "ci_low", "ci_high"),
    ACCURACY: ("accuracy_drop", "accuracy_low", "accuracy_high"),
}


def choices_data(findings: Findings) -> Values | None:
    """Return a chart of the attributes' drops for each size, control and outcome; None where there is one alone."""
    outcomes = [OUTCOME] if findings.study.outcome.is_accuracy else [OUTCOME, ACCURACY]
    panels = [
        panel | {"outcome": outcome, "is_shown": panel["k"] == findings.k and panel["control"] == findings.control}
        for panel in _panels(findings)
        for outcome in outcomes
        if _is_known(panel["table"], outcome)
    ]
    if len(panels) < 2:  # nothing to choose from
        return None
    order = list(dict.fromkeys(panels[0]["table"]["attribute"]))
    shown = []
    for outcome in outcomes:
        some = [panel for panel in panels if panel["outcome"] == outcome]
        everything = [mark for panel in some for mark in _marks(panel["table"], outcome).values()]
        for panel in some:
            marks = _marks(panel["table"], outcome)
            rows = {name: [marks[name]] for name in order if name in marks}
            label = "accuracy" if outcome == ACCURACY else findings.study.outcome.label
            words = findings.study.controls[panel["control"]]
            chart = forest(rows, f"Drop in {label}: {words.adjective} − selective masks", over=everything)
            shown.append(
                {name: value for name, value in panel.items() if name != "table"}
                | {"chart": chart, "words": words, "noun": label}
            )
    first = next((one for one in shown if one["is_shown"]), shown[0])
    return {"first": first, "others": [one for one in shown if one is not first]}


def _panels(findings: Findings) -> Iterator[Values]:
    """Yield what is known of every size and control: attribute, drops with intervals, and whether a test passed."""
    single, overall, needed = (findings.table(name) for name in ("drop_by_attribute", "drop_overall", "needed"))
    for row in overall.to_dict("records"):
        control, k = row["control"], int(row["k"])
        own = needed[needed["k"] == k] if control == PERMUTED and len(needed) else needed.iloc[:0]
        by_permutations = len(own) > 0 and bool(np.isfinite(own["drop"]).any())
        if by_permutations:
            passed = [deciding_p(one) <= LEVEL for _, one in own.iterrows()]
            table = own.assign(passed=passed)
        else:
            rows = single[(single["control"] == control) & (single["k"] == k)]
            table = pd.concat([rows, pd.DataFrame([{**row, "attribute": ALL_ATTRIBUTES}])], ignore_index=True)
            table = table.assign(passed=(table["ci_low"] > 0) | (table["ci_high"] < 0))
        table = pd.concat([table[table["attribute"] == ALL_ATTRIBUTES], table[table["attribute"] != ALL_ATTRIBUTES]])
        yield {"control": control, "k": k, "table": table, "by_permutations": by_permutations}


def _is_known(table: pd.DataFrame, outcome: str) -> bool:
    name = _COLUMNS[outcome][0]
    return name in table and bool(np.isfinite(table[name]).any())


def _marks(table: pd.DataFrame, outcome: str) -> dict[str, Mark]:
    value, low, high = _COLUMNS[outcome]
    nothing = pd.Series(np.nan, index=table.index)
    rows = zip(
        table["attribute"],
        table[value],
        table.get(low, nothing),
        table.get(high, nothing),
        table["passed"],
        strict=True,
    )
    return {
        name: Mark(v, a, b, name, filled=bool(passed) and outcome == OUTCOME)
        for name, v, a, b, passed in rows
        if np.isfinite(v)
    }
