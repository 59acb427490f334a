"""The figures of the report, drawn and saved.

To add one, decorate a function from `Findings` to `Drawing` (or None where its data are missing) with `figure`, in one
of the modules imported here.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from emoscale.report import ablation_figures, faithfulness, neuron_figures, people_figures  # noqa: F401 (they fill FIGURES)
from emoscale.report.findings import Findings
from emoscale.report.style import FIGURES, house_style, save
from emoscale.system.progress import Progress


@dataclass(frozen=True)
class SavedFigure:
    """A figure on disk, with its width in inches and its words."""

    name: str
    png: Path
    width: float
    title: str
    caption: str
    alt: str


def make_figures(findings: Findings, folder: Path, progress: Progress) -> list[SavedFigure]:
    """Draw and save every figure whose data are there.

    Parameters
    ----------
    findings : Findings
    folder : Path
        Receives ``<name>.png`` and ``<name>.svg``. Files of figures that cannot be drawn any more are removed.
    progress : Progress

    Returns
    -------
    list of SavedFigure
        In the order of their names. Made twice from the same findings, the files are equal byte for byte.
    """
    progress.start(len(FIGURES), "figures")
    saved = []
    with house_style():
        for name, entry in sorted(FIGURES.items()):
            drawing = entry.draw(findings)
            if drawing is None:
                for suffix in ("png", "svg"):
                    (folder / f"{name}.{suffix}").unlink(missing_ok=True)
            else:
                png, _ = save(drawing.figure, folder, name)
                width = drawing.figure.get_figwidth()
                saved.append(SavedFigure(name, png, width, drawing.title, drawing.caption, drawing.alt))
            progress.advance()
    return saved
