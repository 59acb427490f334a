"""The report's tables of drops, by size of the masks and by kind of control."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import pandas as pd

from emoscale.report.controls import control_adjective, control_label
from emoscale.report.findings import Findings
from emoscale.report.phrasing import DASH, interval, number

_DROP_HEADER = ["Drop", "95% interval", "d", "± draw"]
_PEOPLE_HEADER = ["r with people", "95% interval", "Slope", "95% interval"]


def sizes_table(findings: Findings) -> tuple[list[str], list[list[str]]]:
    """Tabulate accuracy, drop and agreement with people by size of the masks, for the control that is told in full.

    Parameters
    ----------
    findings : Findings

    Returns
    -------
    header : list of str
    rows : list of list of str
        In the order of `Findings.drop_overall`.
    """
    adjective = control_adjective(findings.control)
    means = findings.accuracy.groupby(["kind", "k"])["accuracy"].mean()
    rows = [
        [
            _off(findings, row["k"]),
            number(means[findings.control][row["k"]]),
            number(means["selective"][row["k"]]),
            *_drop_cells(row),
            *_people_cells(findings, row),
        ]
        for row in findings.of_control(findings.drop_overall).to_dict("records")
    ]
    header = ["Neurons off", adjective[0].upper() + adjective[1:], "Selective", *_DROP_HEADER]
    return header + (_PEOPLE_HEADER if findings.people else []), rows


def controls_table(findings: Findings) -> tuple[list[str], list[list[str]]]:
    """Tabulate drop and agreement with people by kind of control and size of the masks.

    Parameters
    ----------
    findings : Findings

    Returns
    -------
    header : list of str
    rows : list of list of str
        In the order of `Findings.drop_overall`.
    """
    rows = [
        [control_label(row["control"]), _off(findings, row["k"]), *_drop_cells(row), *_people_cells(findings, row)]
        for row in findings.drop_overall.to_dict("records")
    ]
    header = ["Compared with", "Neurons off", *_DROP_HEADER]
    return header + (_PEOPLE_HEADER if findings.people else []), rows


def _off(findings: Findings, k: int) -> str:
    return f"{k:,} ({k / findings.neurons:.1%})"


def _drop_cells(row: Mapping[Hashable, Any]) -> list[str]:
    span = interval(row["ci_low"], row["ci_high"], 3)
    return [number(row["drop"], 3), span, number(row["d"]), number(row["random_error"], 3)]


def _people_cells(findings: Findings, row: Mapping[Hashable, Any]) -> list[str]:
    if findings.people is None:
        return []
    tables = ((findings.people.comparison, "mean_r", 2), (findings.people.mixed_model, "slope", 3))
    cells = []
    for table, name, digits in tables:
        there = table[(table["control"] == row["control"]) & (table["k"] == row["k"])]
        cells += _estimate(there.iloc[0], name, digits) if len(there) else [DASH, DASH]
    return cells


def _estimate(row: pd.Series, name: str, digits: int) -> list[str]:
    return [number(row[name], digits), interval(row["ci_low"], row["ci_high"], digits)]
