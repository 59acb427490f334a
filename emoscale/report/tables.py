"""The report's tables: drops by size of the masks and by kind of control, and neurons by kind of inference."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

from emoscale.report.findings import Findings
from emoscale.report.phrasing import DASH, interval, number, threshold

_DROP_HEADER = ["Drop", "95% interval", "d", "± draw"]
_PEOPLE_HEADER = ["r with people", "95% interval"]


def sizes_table(findings: Findings) -> tuple[list[str], list[list[str]]]:
    """Tabulate accuracy, drop and agreement with people by size of the masks, for the control described in full.

    Parameters
    ----------
    findings : Findings

    Returns
    -------
    header : list of str
    rows : list of list of str
        In the order of the table ``drop_overall``.
    """
    adjective = findings.words.adjective
    means = findings.table("accuracy").groupby(["kind", "k"])["accuracy"].mean()
    rows = [
        [
            _off(findings, row["k"]),
            number(means[findings.control][row["k"]]),
            number(means["selective"][row["k"]]),
            *_drop_cells(row),
            *_people_cells(findings, row),
        ]
        for row in findings.of_control("drop_overall").to_dict("records")
    ]
    header = ["Neurons off", adjective[0].upper() + adjective[1:], "Selective", *_DROP_HEADER]
    return header + (_PEOPLE_HEADER if findings.has_people else []), rows


def controls_table(findings: Findings) -> tuple[list[str], list[list[str]]]:
    """Tabulate drop and agreement with people by kind of control and size of the masks.

    Parameters
    ----------
    findings : Findings

    Returns
    -------
    header : list of str
    rows : list of list of str
        In the order of the table ``drop_overall``.
    """
    rows = [
        [
            findings.study.controls[row["control"]].label,
            _off(findings, row["k"]),
            *_drop_cells(row),
            *_people_cells(findings, row),
        ]
        for row in findings.table("drop_overall").to_dict("records")
    ]
    header = ["Compared with", "Neurons off", *_DROP_HEADER]
    return header + (_PEOPLE_HEADER if findings.has_people else []), rows


def _off(findings: Findings, k: int) -> str:
    return f"{k:,} ({k / findings.neurons:.1%})"


def _drop_cells(row: Mapping[Hashable, Any]) -> list[str]:
    span = interval(row["ci_low"], row["ci_high"], 3)
    return [number(row["drop"], 3), span, number(row["d"]), number(row["random_error"], 3)]


def _people_cells(findings: Findings, row: Mapping[Hashable, Any]) -> list[str]:
    if not findings.has_people:
        return []
    table = findings.table("human_comparison")
    there = table[(table["control"] == row["control"]) & (table["k"] == row["k"])]
    if there.empty:
        return [DASH, DASH]
    found = there.iloc[0]
    return [number(found["mean_r"]), interval(found["ci_low"], found["ci_high"])]


def evidence_table(findings: Findings) -> tuple[list[str], list[list[str]]]:
    """Tabulate by attribute how many neurons each kind of inference leaves, and how well tau repeats.

    Parameters
    ----------
    findings : Findings

    Returns
    -------
    header : list of str
    rows : list of list of str
    """
    level = f"q < {threshold(findings.alpha)}"
    merged = findings.table("inference").merge(findings.table("reliability"), on="attribute", how="left")
    permuted = findings.permutations is not None
    header = ["Attribute", f"As published, {level}"]
    if permuted:
        header += [f"Permutation, {level}", "Corrected, neurons", "Corrected, all"]
    header += ["Split-half r", "Ceiling"]
    names = ["asymptotic", *(["chosen", "attribute_corrected", "all_corrected"] if permuted else [])]
    rows = [
        [
            str(row["attribute"]),
            *(f"{row[name]:,}" for name in names),
            number(row["split_half"]),
            number(row["ceiling"]),
        ]
        for row in merged.to_dict("records")
    ]
    return header, rows
