"""The report stage: figures and one self-contained HTML page."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any

from emoscale.report.browser import browser_data
from emoscale.report.figures import SavedFigure, make_figures
from emoscale.report.findings import read_findings
from emoscale.report.responses import Spell
from emoscale.report.sections import sections
from emoscale.report.study import Study
from emoscale.report.templates import render_page
from emoscale.run.folder import RunFolder
from emoscale.run.verdicts import Question
from emoscale.system.files import write_text
from emoscale.system.progress import Progress

_PIXELS_AN_INCH = 124
"""Shows all figures at one scale, so that their letters are of one size, the widest as wide as the page allows."""

_TYPES = {".png": "image/png", ".svg": "image/svg+xml"}


def write_report(folder: RunFolder, study: Study, *, progress: Progress, spell: Spell | None = None) -> dict[str, Any]:
    """Draw the figures and write ``report.html``.

    Parameters
    ----------
    folder : RunFolder
        Holds the tables, the selectivity store and the prompt or the ablation table.
    study : Study
    progress : Progress
    spell : callable, optional
        Writes token ids as text, so that the texts in which neurons are most active are shown.

    Returns
    -------
    dict
        ``figures`` (names) and ``k``, the size of the masks that the figures show.

    Raises
    ------
    StageError
        If the tables are missing.
    """
    findings = read_findings(folder, study)
    figures, left_out = make_figures(findings, folder.figures, progress)
    values = {
        "study": study,
        "findings": findings,
        "figures": [_shown(figure) for figure in figures],
        "left_out": [entry.title for entry in left_out],
        "controls": [study.controls[kind] for kind in findings.controls],
        "can_do_task": findings.is_yes(Question.TASK),
        "outputs": {path: meaning for path, meaning in study.outputs.items() if _is_shown(folder, path)},
        "browser": browser_data(findings, spell),
        "made_with": _made_with(folder.manifest()),
        **sections(findings),
    }
    write_text(folder.report, render_page(values))
    return {"figures": [figure.entry.name for figure in figures], "k": findings.k}


def _is_shown(folder: RunFolder, path: str) -> bool:
    return folder.path / path != folder.report and (folder.path / path).exists()


def _shown(figure: SavedFigure) -> dict[str, Any]:
    return {
        "number": figure.number,
        "part": figure.entry.name[0],
        "name": figure.entry.name,
        "title": figure.entry.title,
        "source": figure.entry.source,
        "width": round(figure.drawing.figure.get_figwidth() * _PIXELS_AN_INCH),
        "alt": figure.drawing.alt,
        "caption": figure.drawing.caption,
        "values": figure.drawing.values,
        "size": figure.size,
        "points": figure.points,
        "cells": figure.cells,
        "type": _TYPES[figure.shown.suffix],
        "data": base64.b64encode(figure.shown.read_bytes()).decode("ascii"),
    }


def _made_with(manifest: Mapping[str, Any]) -> dict[str, str]:
    """Summarise versions, hardware and time as the manifest has them, one line each."""
    lines = {}
    for key in ("model", "hardware", "versions"):
        value = manifest.get(key)
        if isinstance(value, Mapping):
            lines[key.capitalize()] = ", ".join(f"{name} {text}" for name, text in value.items() if text)
        elif value:
            lines[key.capitalize()] = str(value)
    times = {
        name: stage["wall_s"]
        for name, stage in manifest.get("stages", {}).items()
        if isinstance(stage, Mapping) and isinstance(stage.get("wall_s"), (int, float))
    }
    if times:
        lines["Time"] = ", ".join(f"{name} {seconds:,.0f} s" for name, seconds in times.items())
    return lines
