"""The figures of the report, by name. The letter is the part of the story they belong to.

To add one: write a function from `Findings` to `Drawing` (or None when its data are lacking), and add a line here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from emoscale.report.ablation_figures import accuracy_by_concept, drop_by_attribute, drop_by_concept
from emoscale.report.choice_figures import confusion_matrix
from emoscale.report.dose_figures import drop_by_size
from emoscale.report.findings import Findings
from emoscale.report.neuron_figures import counts_by_layer, overlap_matrix, rank_map, tau_map
from emoscale.report.people_figures import correlation_by_size, drop_by_importance, importance_bars
from emoscale.report.specificity_figures import specificity_matrix
from emoscale.report.style import Drawing, house_style, save
from emoscale.system.progress import Progress

FIGURES: dict[str, Callable[[Findings], Drawing | None]] = {
    "a1_selective_neurons": tau_map,
    "a2_counts_by_layer": counts_by_layer,
    "a3_rank_map": rank_map,
    "a4_overlap": overlap_matrix,
    "b1_importance": importance_bars,
    "c0_confusion": confusion_matrix,
    "c1_accuracy_by_concept": accuracy_by_concept,
    "c2_drop_by_attribute": drop_by_attribute,
    "c3_drop_by_importance": drop_by_importance,
    "c4_correlation_by_size": correlation_by_size,
    "c5_drop_by_concept": drop_by_concept,
    "c6_drop_by_size": drop_by_size,
    "c7_specificity": specificity_matrix,
}


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
        In the order of `FIGURES`. Made twice from the same findings, the files are equal byte for byte.
    """
    progress.start(len(FIGURES), "figures")
    saved = []
    with house_style():
        for name, draw in FIGURES.items():
            drawing = draw(findings)
            if drawing is None:
                for suffix in ("png", "svg"):
                    (folder / f"{name}.{suffix}").unlink(missing_ok=True)
            else:
                png, _ = save(drawing.figure, folder, name)
                width = drawing.figure.get_figwidth()
                saved.append(SavedFigure(name, png, width, drawing.title, drawing.caption, drawing.alt))
            progress.advance()
    return saved
