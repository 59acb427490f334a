"""The report stage: figures and one self-contained HTML page."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from emoscale.report import narrative, tables
from emoscale.report.effect_text import effect_text
from emoscale.report.faithfulness import faithfulness_text
from emoscale.report.figures import SavedFigure, make_figures
from emoscale.report.findings import Findings, read_findings
from emoscale.report.neuron_text import population_text, reliability_text
from emoscale.report.people_text import people_text
from emoscale.report.study import Study
from emoscale.run.folder import RunFolder
from emoscale.system.files import write_text
from emoscale.system.progress import Progress

_PIXELS_AN_INCH = 124
"""Shows all figures at one scale, so that their letters are of one size, the widest as wide as the page allows."""


def write_report(folder: RunFolder, study: Study, *, progress: Progress) -> dict[str, Any]:
    """Draw the figures and write ``report.html``.

    Parameters
    ----------
    folder : RunFolder
        Holds the tables, the selectivity store and the prompt or the ablation table.
    study : Study
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
    findings = read_findings(folder, study)
    figures = make_figures(findings, folder.figures, progress)
    page = _template().render(
        study=study,
        findings=findings,
        figures=[_shown(figure) for figure in figures],
        outputs={path: meaning for path, meaning in study.outputs.items() if _is_shown(folder, path)},
        made_with=_made_with(folder.manifest()),
        **_text(findings),
        **_tables(findings),
    )
    write_text(folder.report, page)
    return {"figures": [figure.name for figure in figures], "k": findings.k}


def _is_shown(folder: RunFolder, path: str) -> bool:
    return folder.path / path != folder.report and (folder.path / path).exists()


def _text(findings: Findings) -> dict[str, Any]:
    controls = [findings.study.controls[kind] for kind in findings.controls]
    return {
        "summary": narrative.summary(findings),
        "prompts": narrative.prompt_text(findings),
        "populations": population_text(findings),
        "reliability": reliability_text(findings),
        "effects": effect_text(findings),
        "faithfulness": faithfulness_text(findings),
        "ablation": narrative.ablation_paragraphs(findings),
        "people": people_text(findings),
        "limits": narrative.limits(findings),
        "controls": {f"{words.adjective} mask": words.drawn for words in controls},
    }


def _tables(findings: Findings) -> dict[str, Any]:
    shown = {
        "sizes": (tables.sizes_table, findings.of_control("drop_overall")["k"] == findings.k),
        "controls": (tables.controls_table, findings.table("drop_overall")["k"] == findings.k),
    }
    made = {"evidence": tables.evidence_table(findings)} | {name: table(findings) for name, (table, _) in shown.items()}
    headers = {f"{name}_header": header for name, (header, _) in made.items()}
    rows = {f"{name}_rows": rows for name, (_, rows) in made.items()}
    return headers | rows | {f"{name}_shown": bold.tolist() for name, (_, bold) in shown.items()}


def _shown(figure: SavedFigure) -> dict[str, Any]:
    return {
        "part": figure.name[0],
        "width": round(figure.width * _PIXELS_AN_INCH),
        "title": figure.title,
        "caption": figure.caption,
        "alt": figure.alt,
        "data": base64.b64encode(figure.png.read_bytes()).decode("ascii"),
    }


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
