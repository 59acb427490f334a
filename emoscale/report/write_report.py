"""The report stage: figures and one self-contained HTML page."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from emoscale.report import narrative, tables
from emoscale.report.controls import control_adjective, control_drawn, control_neurons
from emoscale.report.evidence import evidence_table, reliability_told
from emoscale.report.figures import make_figures
from emoscale.report.limits import EDITS, limits_told
from emoscale.report.reading import read_findings
from emoscale.run.folder import RunFolder
from emoscale.system.files import write_text
from emoscale.system.progress import Progress

_PIXELS_AN_INCH = 124
"""Shows all figures at one scale, so that their letters are of one size, the widest as wide as the page allows."""

_PLACES = {
    "tables/*.csv": "every number of this page and many more, one table a file",
    "figures/*.png, figures/*.svg": "the figures, for slides and for print",
    "prompts/": "the tuned prompts, with their accuracies in prompts.parquet",
    "activations.zarr": "how active each neuron was for each prompt",
    "selectivity.zarr": "τ, p, q and rank of every neuron and attribute",
    "masks.zarr": "which neurons each mask switched off",
    "ablation.parquet": "right answers for every concept, replicate and mask",
    "config.yaml, manifest.json": "the settings as used; versions, machine and time",
}


@dataclass(frozen=True)
class Opening:
    """What a report may begin with: a table, and what is to be said of it.

    Parameters
    ----------
    title : str
    told : list of str
        Sentences before the table.
    header : list of str
    rows : list of list of str
    points_title : str
    points : list of str
        Sentences after the table, one a point.
    """

    title: str
    told: list[str]
    header: list[str]
    rows: list[list[str]]
    points_title: str
    points: list[str]


def write_report(
    folder: RunFolder,
    title: str,
    facts: Mapping[str, str],
    *,
    opening: Opening | None = None,
    k: int | None = None,
    progress: Progress,
) -> dict[str, Any]:
    """Draw the figures and write ``report.html``.

    Parameters
    ----------
    folder : RunFolder
        Holds the tables, the selectivity store and the prompt table.
    title : str
    facts : mapping of str to str
        What was studied: model, texts, prompts and so on, in the order they are shown.
    opening : Opening, optional
        What stands before everything else.
    k : int, optional
        Size of the masks that the figures show; by default see `emoscale.report.reading.shown_size`.
    progress : Progress

    Returns
    -------
    dict
        ``figures`` (names) and ``k``, the size of the masks that the figures show.

    Raises
    ------
    StageError
        If the tables are missing.
    """
    findings = read_findings(folder, k)
    figures = make_figures(findings, folder.figures, progress)
    sizes_header, sizes_rows = tables.sizes_table(findings)
    controls_header, controls_rows = tables.controls_table(findings)
    evidence_header, evidence_rows = evidence_table(findings)
    page = _template().render(
        title=title,
        opening=opening,
        size_was_given=k is not None,
        facts=facts,
        findings=findings,
        summary=narrative.summary_told(findings),
        prompts=narrative.prompts_told(findings),
        populations=narrative.populations_told(findings),
        reliability=reliability_told(findings),
        evidence_header=evidence_header,
        evidence_rows=evidence_rows,
        ablation=narrative.ablation_told(findings),
        people=narrative.people_told(findings),
        limits=limits_told(findings),
        edited=EDITS[findings.edit].done,
        adjective=control_adjective(findings.control),
        control_neurons=control_neurons(findings.control),
        controls={f"{control_adjective(kind)} mask": control_drawn(kind) for kind in findings.controls},
        sizes_header=sizes_header,
        sizes_rows=sizes_rows,
        sizes_shown=(findings.of_control(findings.drop_overall)["k"] == findings.k).tolist(),
        controls_header=controls_header,
        controls_rows=controls_rows,
        controls_shown=(findings.drop_overall["k"] == findings.k).tolist(),
        figures=[
            {
                "part": figure.name[0],
                "width": round(figure.width * _PIXELS_AN_INCH),
                "title": figure.title,
                "caption": figure.caption,
                "alt": figure.alt,
                "data": base64.b64encode(figure.png.read_bytes()).decode("ascii"),
            }
            for figure in figures
        ],
        places={name: told for name, told in _PLACES.items() if _is_there(folder, name)},
        made_with=_made_with(folder.manifest()),
    )
    write_text(folder.report, page)
    return {"figures": [figure.name for figure in figures], "k": findings.k}


def _is_there(folder: RunFolder, names: str) -> bool:
    return any(any(folder.path.glob(name)) for name in names.rstrip("/").split(", "))


def _template() -> Any:
    environment = Environment(
        loader=PackageLoader("emoscale.report", ""),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )
    return environment.get_template("report.html.j2")


def _made_with(manifest: Mapping[str, Any]) -> dict[str, str]:
    """Turn what the manifest says of versions, hardware and time into lines."""
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
