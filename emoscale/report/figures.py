"""The figures of the report, drawn and saved.

To add one, decorate a function from `Findings` to `Drawing` (or None where its data are missing) with `figure`, in one
of the modules imported here, and give it a caption in ``captions.j2``.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

from emoscale.report import (  # noqa: F401 (they fill FIGURES)
    answer_figures,
    faithfulness,
    loss_figures,
    neuron_figures,
    people_figures,
)
from emoscale.report.findings import Findings
from emoscale.report.fonts import undrawable
from emoscale.report.marks import Cell, Point, places
from emoscale.report.style import FIGURES, Drawing, ReportFigure, house_style, save
from emoscale.system.progress import Progress

_SHOWN_LETTERS = 12
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class SavedFigure:
    """A figure on disk.

    Attributes
    ----------
    number : int
        In the report, from 1.
    entry : ReportFigure
    drawing : Drawing
    shown : Path
        The PNG; or the SVG, whose texts the reader's own fonts write, if no font here has all their letters.
    size : tuple of int
        Width and height in hundredths of an inch.
    points, cells : list of tuple
        See `emoscale.report.marks.places`.
    """

    number: int
    entry: ReportFigure
    drawing: Drawing
    shown: Path
    size: tuple[int, int]
    points: list[Point]
    cells: list[Cell]


def make_figures(findings: Findings, folder: Path, progress: Progress) -> tuple[list[SavedFigure], list[ReportFigure]]:
    """Draw and save every figure whose data are there.

    Parameters
    ----------
    findings : Findings
    folder : Path
        Receives ``<name>.png`` and ``<name>.svg``. Files of figures that cannot be drawn any more are removed.
    progress : Progress

    Returns
    -------
    saved : list of SavedFigure
        In the order of their names. Made twice from the same findings, the files are equal byte for byte.
    left_out : list of ReportFigure
        Those that would show nothing.
    """
    progress.start(len(FIGURES), "figures")
    saved: list[SavedFigure] = []
    left_out: list[ReportFigure] = []
    lacking: set[str] = set()
    with house_style():
        for name, entry in sorted(FIGURES.items()):
            belongs = findings.study.as_published or not entry.only_as_published
            drawing = entry.draw(findings) if belongs and findings.is_yes(*entry.gate) else None
            if drawing is not None:
                png, svg = save(drawing.figure, folder, name)
                lacking |= (unwritten := undrawable(drawing.figure))
                size = (round(100 * drawing.figure.get_figwidth()), round(100 * drawing.figure.get_figheight()))
                marked = places(drawing.figure, drawing.marks)
                saved.append(SavedFigure(len(saved) + 1, entry, drawing, svg if unwritten else png, size, *marked))
            else:
                for suffix in ("png", "svg"):
                    (folder / f"{name}.{suffix}").unlink(missing_ok=True)
                left_out += [entry] if belongs else []
            progress.advance()
    if lacking:
        some = "".join(sorted(lacking)[:_SHOWN_LETTERS]) + ("…" if len(lacking) > _SHOWN_LETTERS else "")
        _log.warning(
            f"figures: no font here writes {some}, so the PNG files have boxes in their place (the report has the SVG, "
            "which browsers write with their own fonts); install one, e.g. Noto Sans CJK, and do the report again"
        )
    return saved, left_out
